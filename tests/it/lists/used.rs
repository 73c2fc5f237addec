//! Every rule of the native tools' list is used: the tools run under strace(1), outside a jail, and
//! what they call is held against the list.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::stat::Mode;

use super::LISTS;
use super::rules::{List, number};
use crate::harness::binary;

/// What a comment says of a rule that an ordinary run does not use.
const REASONS: [&str; 8] = [
    "C library: abort",
    "where there is no vDSO",
    "kernel: after a stop",
    "kernel: end of a signal handler",
    "C library: pthread_once",
    "C library before",
    "C library from",
    "jail: becomes the tool",
];

/// A call and its arguments.
type Traced = (u32, [u64; 6]);

/// Runs one tool with descriptors 3 and 4 and gives what it called.
fn trace(place: &Path, tool: &str, order: &str) -> Vec<Traced> {
    let path = |name: &str| place.join(name);
    fs::write(path("order"), order).unwrap();
    let third = match tool {
        "file.list" => "3<list",
        "http.request" => "3<>stream",
        _ => "3<file",
    };
    let script = format!(
        "exec strace -f -qq -e raw=all -e signal=none -o trace \
         keepgate-tool {tool} <order {third} 4>new"
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(place)
        .env("PATH", format!("{}:/usr/bin:/bin", place.display()))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let reply = String::from_utf8_lossy(&output.stdout);
    let expected = match tool {
        "noop" => "",
        "self-test" => "{\"attempted\":",
        // It reads its own question from the pipe, which is no answer.
        "http.request" => "{\"reply\":\"fault\"",
        _ => "{\"reply\":\"done\"",
    };
    assert!(reply.starts_with(expected), "{tool}: {output:?}");
    let text = fs::read_to_string(path("trace")).unwrap();
    let calls = text.lines().filter_map(call);
    let calls: Vec<Traced> = calls
        .skip_while(|(call, _)| *call == number("execve"))
        .collect();
    assert!(calls.len() > 20, "strace shows nothing: {text}");
    calls
}

/// Reads `PID call(0x1, 0x2) = 0x3`; whatever else strace prints is none.
fn call(line: &str) -> Option<Traced> {
    let (_, call) = line.split_once(' ')?;
    let (name, rest) = call.trim_start().split_once('(')?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.chars().all(plain) || name.is_empty() {
        return None;
    }
    let (inner, _) = rest.split_once(')').or(rest.split_once(" <unfinished"))?;
    let mut arguments = [0; 6];
    for (value, text) in arguments
        .iter_mut()
        .zip(inner.split(", ").filter(|text| !text.is_empty()))
    {
        *value = u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
    }
    Some((number(name), arguments))
}

#[test]
fn every_rule_of_the_native_tools_is_used_or_says_why_not() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    std::os::unix::fs::symlink(binary(), place.join("keepgate-tool")).unwrap();
    fs::write(place.join("file"), "a line\n".repeat(100_000)).unwrap();
    fs::create_dir(place.join("list")).unwrap();
    fs::write(place.join("list/entry"), "").unwrap();
    nix::unistd::mkfifo(&place.join("stream"), Mode::S_IRWXU).unwrap();
    let read = r#"{"mode":"live","arguments":{"path":"mail/file","offset":3}}"#;
    let list = r#"{"mode":"live","arguments":{"path":"mail"}}"#;
    let write = |mode| {
        let text = "another line\\n".repeat(1000);
        format!(r#"{{"mode":"{mode}","arguments":{{"path":"mail/file","content":"{text}"}}}}"#)
    };
    let get = r#"{"mode":"live","arguments":{"url":"https://a.example/"}}"#;
    let mut traced = Vec::new();
    for (tool, order) in [
        ("noop", ""),
        ("file.read", read),
        ("file.list", list),
        ("file.write", &write("live")),
        ("file.write", &write("rehearse")),
        ("http.request", get),
        ("self-test", ""),
    ] {
        traced.extend(trace(place, tool, order));
    }
    let list = List::read(LISTS[0].1);
    let mut spare = Vec::new();
    for rule in &list.rules {
        let call = number(&rule.call);
        let used = traced
            .iter()
            .any(|(traced, arguments)| *traced == call && rule.met(*arguments));
        if !used && !REASONS.iter().any(|reason| rule.comment.contains(reason)) {
            spare.push((&rule.call, &rule.comment));
        }
    }
    assert!(spare.is_empty(), "no tool uses these: {spare:#?}");
}
