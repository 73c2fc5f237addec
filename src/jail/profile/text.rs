//! A manifest written as a file that reads back as the same.

use std::fmt::Write;
use std::path::Path;

use super::limits::KEYS;
use crate::wire::manifest::{Class, Destination, Manifest};

/// The whole manifest, every key that has a meaning in its class.
pub fn toml(manifest: &Manifest) -> String {
    let class = format!("class = {}\n", quoted(manifest.class.name()));
    class + &keys(manifest, "")
}

/// All keys but the class, the tables among them named behind `table` (`jail.`, or nothing).
pub(crate) fn keys(manifest: &Manifest, table: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if manifest.class == Class::Foreign {
        let _ = write!(text, "ro = {}", list(&manifest.ro, |one| path(one)));
        let _ = write!(text, "rw = {}", list(&manifest.rw, |one| path(one)));
        let _ = write!(text, "net = {}", list(&manifest.net, destination));
        if let Some(dir) = &manifest.dir {
            let _ = writeln!(text, "dir = {}", path(dir));
        }
        let _ = writeln!(text, "loopback = {}", manifest.loopback);
        let _ = writeln!(text, "whole_proc = {}", manifest.whole_proc);
    }
    let _ = writeln!(text, "observe = {}", manifest.observe);
    if !manifest.env.is_empty() {
        let _ = writeln!(text, "\n[{table}env]");
        for (name, value) in &manifest.env {
            let _ = writeln!(text, "{name} = {}", quoted(value));
        }
    }
    let _ = writeln!(text, "\n[{table}limits]");
    for key in &KEYS {
        let value = key.of(manifest.limits);
        let (least, _) = key.bounds;
        let none = match manifest.class {
            Class::Native => matches!(key.name, "processes" | "tmp_mib" | "net_mib"),
            Class::NativeGeneric => matches!(key.name, "tmp_mib" | "net_mib"),
            Class::Foreign => false,
        };
        if !none && value >= least {
            let _ = writeln!(text, "{} = {value}", key.name);
        }
    }
    text
}

fn list<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
    match items {
        [] => "[]\n".into(),
        _ => {
            let lines: String = items
                .iter()
                .map(|item| format!("  {},\n", write(item)))
                .collect();
            format!("[\n{lines}]\n")
        }
    }
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn destination(to: &Destination) -> String {
    if to.private.is_empty() {
        return quoted(&to.to_string());
    }
    let private: Vec<String> = to.private.iter().map(|net| quoted(net)).collect();
    format!(
        "{{ host = {}, port = {}, private = [{}] }}",
        quoted(&to.host),
        to.port,
        private.join(", ")
    )
}

/// A basic string (TOML 1.0) of printable ASCII only: what is shown is what is there.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            ' '..='~' => quoted.push(character),
            other => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(other));
            }
        }
    }
    quoted.push('"');
    quoted
}
