//! A manifest written as a file that reads back as the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::manifest::reversible;
use super::secret::{Placing, Slot};
use super::{Connector, ConnectorLimits, Launch};
use crate::call::declared::{Declared, DryRun, HighValue, Origin};
use crate::jail::profile::{keys, quoted};
use crate::wire::manifest::Manifest;
use crate::wire::text::escaped;

/// The whole manifest. `remarks` are comments above the tables of tools, by the tools' names: each a
/// line, escaped here.
pub fn toml(connector: &Connector, remarks: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = format!("name = {}\n", quoted(&connector.name));
    // Writing to a string cannot fail.
    let _ = writeln!(text, "title = {}", quoted(&connector.title));
    for (key, value) in [
        ("version", &connector.version),
        ("publisher", &connector.publisher),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "{key} = {}", quoted(value));
        }
    }
    text += "# Whether what it lists of resources is pinned, or \"data\" that comes and goes.\n";
    let _ = writeln!(text, "resources = {}", quoted(connector.resources.name()));
    if let Some(package) = &connector.package {
        text += "\n[package]\n";
        let _ = writeln!(text, "registry = {}", quoted(package.registry.name()));
        let _ = writeln!(text, "identifier = {}", quoted(&package.identifier));
        let _ = writeln!(text, "version = {}", quoted(&package.version));
        if let Some(sha256) = &package.sha256 {
            let _ = writeln!(text, "sha256 = {}", quoted(sha256));
        }
    }
    text += &launch(&connector.launch);
    for (name, slot) in &connector.secrets {
        text += &secret(name, slot);
    }
    text += &limits(&connector.limits);
    let allow = connector.allow;
    text += "\n# What the server may ask of agents' clients.\n[allow]\n";
    for (key, value) in [
        ("sampling", allow.sampling),
        ("elicitation", allow.elicitation),
        ("roots", allow.roots),
    ] {
        let _ = writeln!(text, "{key} = {value}");
    }
    for (name, declared) in &connector.tools {
        text.push('\n');
        for remark in remarks.get(name).into_iter().flatten() {
            let _ = writeln!(text, "# {}", escaped(remark));
        }
        text += &tool(name, declared);
    }
    text
}

fn launch(launch: &Launch) -> String {
    let mut text = String::new();
    match launch {
        Launch::Stdio {
            program,
            argv,
            files,
            jail,
        } => {
            let arguments = argv.get(1..).unwrap_or_default();
            let paths = files.iter().map(|file| quoted(&file.to_string_lossy()));
            let paths: Vec<String> = paths.collect();
            text += "\n[stdio]\n";
            let _ = writeln!(text, "program = {}", quoted(&program.to_string_lossy()));
            let words = arguments.iter().map(|word| quoted(word)).collect();
            let _ = writeln!(text, "arguments = {}", list(words));
            text += "# Pinned: what it executes.\n";
            let _ = writeln!(text, "files = {}", list(paths));
            text += &jailed(jail);
        }
        Launch::Remote {
            url,
            private,
            pin_sha256,
            toolkits,
        } => {
            let networks = private.iter().map(|net| quoted(net)).collect();
            text += "\n[remote]\n";
            let _ = writeln!(text, "url = {}", quoted(url));
            let _ = writeln!(text, "private = {}", list(networks));
            if let Some(pin) = pin_sha256 {
                let _ = writeln!(text, "pin_sha256 = {}", quoted(pin));
            }
            if !toolkits.is_empty() {
                let names = toolkits.iter().map(|name| quoted(name)).collect();
                text += "# All its tools belong to these.\n";
                let _ = writeln!(text, "toolkits = {}", list(names));
            }
        }
        Launch::Skill {
            folder,
            scripts,
            jail,
        } => {
            text += "\n[skill]\n";
            let _ = writeln!(text, "folder = {}", quoted(&folder.to_string_lossy()));
            for (name, script) in scripts {
                let with = script.with.iter().map(|word| quoted(word)).collect();
                let path = quoted(&script.script.to_string_lossy());
                let _ = writeln!(text, "\n[skill.scripts.{}]", quoted(name));
                let _ = writeln!(text, "script = {path}");
                let _ = writeln!(text, "with = {}", list(with));
                if let Some(about) = &script.about {
                    let _ = writeln!(text, "about = {}", quoted(about));
                }
            }
            text += &jailed(jail);
        }
    }
    text
}

fn jailed(jail: &Manifest) -> String {
    format!("\n[jail]\n{}", keys(jail, "jail."))
}

fn secret(name: &str, slot: &Slot) -> String {
    let mut text = format!("\n[secrets.{name}]\n");
    let place = &slot.place;
    let _ = writeln!(text, "{} = {}", place.name(), quoted(place.at()));
    if let Placing::Header { prefix, .. } = place
        && !prefix.is_empty()
    {
        let _ = writeln!(text, "prefix = {}", quoted(prefix));
    }
    let _ = writeln!(text, "required = {}", slot.required);
    if let Some(about) = &slot.about {
        let _ = writeln!(text, "about = {}", quoted(about));
    }
    text
}

fn limits(limits: &ConnectorLimits) -> String {
    format!(
        "\n# Of each agent's use of it.\n[limits]\ncalls_per_minute = {}\ncalls_at_a_time = {}\n\
         result_kib = {}\ncall_s = {}\nstart_s = {}\nidle_s = {}\nnotices_per_minute = {}\n",
        limits.calls_per_minute,
        limits.calls_at_a_time,
        limits.result >> 10,
        limits.call_ms / 1_000,
        limits.start_ms / 1_000,
        limits.idle_ms / 1_000,
        limits.notices_per_minute,
    )
}

fn tool(name: &str, declared: &Declared) -> String {
    let name = quoted(name);
    let mut text = format!("[tools.{name}]\n");
    let _ = writeln!(text, "class = {}", quoted(declared.class.name()));
    let how = quoted(reversible(declared.reversibility));
    let _ = writeln!(text, "reversibility = {how}");
    match &declared.dry_run {
        DryRun::None => {}
        DryRun::Tool(tool) => {
            let _ = writeln!(text, "dry_run = {{ tool = {} }}", quoted(tool));
        }
        DryRun::Arguments(arguments) => {
            let inner = pairs(arguments.iter().map(|(name, value)| (name, inline(value))));
            let _ = writeln!(text, "dry_run = {{ arguments = {inner} }}");
        }
    }
    if let Some(undo) = &declared.undo {
        let from = undo.arguments.iter().map(|(name, origin)| {
            let from = match origin {
                Origin::Arguments(at) => quoted(&format!("arguments:{at}")),
                Origin::Result(at) => quoted(&format!("result:{at}")),
                Origin::Value(value) => format!("{{ value = {} }}", inline(value)),
            };
            (name, from)
        });
        let inner = pairs(from);
        let tool = quoted(&undo.tool);
        let _ = writeln!(text, "undo = {{ tool = {tool}, arguments = {inner} }}");
    }
    let rule = declared.high_value.as_ref().map(|rule| match rule {
        HighValue::Always => quoted("always"),
        HighValue::Above { parameter, above } => {
            format!("{{ parameter = {}, above = {above} }}", quoted(parameter))
        }
        HighValue::NotOneOf { parameter, usual } => {
            let usual: Vec<String> = usual.iter().map(|text| quoted(text)).collect();
            let parameter = quoted(parameter);
            format!(
                "{{ parameter = {parameter}, usual = [{}] }}",
                usual.join(", ")
            )
        }
    });
    if let Some(rule) = rule {
        let _ = writeln!(text, "high_value = {rule}");
    }
    for (key, calls) in [
        ("calls_per_minute", declared.rates.calls_per_minute),
        ("calls_per_day", declared.rates.calls_per_day),
    ] {
        if let Some(calls) = calls {
            let _ = writeln!(text, "{key} = {calls}");
        }
    }
    if !declared.parameters.is_empty() {
        let _ = writeln!(text, "[tools.{name}.parameters]");
        for (parameter, what) in &declared.parameters {
            let kind = what
                .kind
                .map(|kind| format!(", kind = {}", quoted(kind.name())));
            let role = quoted(what.role.name());
            let (name, kind) = (quoted(parameter), kind.unwrap_or_default());
            let _ = writeln!(text, "{name} = {{ role = {role}{kind} }}");
        }
    }
    if !declared.outputs.is_empty() {
        let _ = writeln!(text, "[tools.{name}.outputs]");
        for (at, label) in &declared.outputs {
            let _ = writeln!(text, "{} = {}", quoted(at), quoted(label.name()));
        }
    }
    text
}

/// Several items one a line.
fn list(items: Vec<String>) -> String {
    match items.as_slice() {
        [] => "[]".into(),
        [one] => format!("[{one}]"),
        many => {
            let lines: String = many.iter().map(|item| format!("  {item},\n")).collect();
            format!("[\n{lines}]")
        }
    }
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a String, String)>) -> String {
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{} = {value}", quoted(name)))
        .collect();
    match pairs.is_empty() {
        true => "{}".into(),
        false => format!("{{ {} }}", pairs.join(", ")),
    }
}

/// A JSON value that came from TOML, as TOML again.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(members) => pairs(members.iter().map(|(name, value)| (name, inline(value)))),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::String(text) => quoted(text),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        // TOML has none: a manifest cannot hold one.
        Value::Null => quoted(""),
    }
}
