//! Schemas that lead elsewhere, cannot be checked, or carry more than a form.

use jsonschema::{Draft, PatternOptions};
use serde_json::Value;

use super::super::report::Severity;
use super::{Found, Subject, texts};

/// Bytes of a schema beyond which nobody reads it.
const LONG: usize = 32 << 10;
/// Arrays and objects inside each other beyond which nobody follows.
const DEEP: usize = 16;
/// Begins of keys that are known to be keys.
const KEYS: [&str; 12] = [
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "sk-",
    "AIza",
    "-----BEGIN",
    "eyJhbGciOi",
];

pub(super) fn tool(subject: &Subject<'_>, tool: &Value, found: &mut Found) {
    for (member, must) in [("inputSchema", true), ("outputSchema", false)] {
        let at = format!("/{member}");
        match tool.get(member) {
            None if !must => {}
            Some(schema) if schema.is_object() => one(subject, schema, &at, must, found),
            _ => found.add(
                "schema-missing",
                subject,
                Severity::High,
                &at,
                "there is no schema: arguments cannot be checked",
                None,
                "no call of this tool can be let through: ask the publisher",
            ),
        }
    }
}

fn one(subject: &Subject<'_>, schema: &Value, at: &str, input: bool, found: &mut Found) {
    let length = schema.to_string().len();
    let depth = depth(schema);
    if length > LONG || depth > DEEP {
        found.add(
            "schema-huge",
            subject,
            Severity::Medium,
            at,
            &format!("{length} bytes, {depth} levels: more than people read"),
            None,
            "see what is in it",
        );
    }
    if input && schema.get("type") != Some(&Value::from("object")) {
        found.add(
            "schema-no-object",
            subject,
            Severity::High,
            at,
            "arguments that are no object",
            None,
            "MCP's arguments are an object: ask the publisher",
        );
    }
    if let Some(away) = leads_away(schema) {
        found.add(
            "schema-leads-away",
            subject,
            Severity::High,
            at,
            "it refers to another document, which may change at any time",
            Some(&away),
            "a pinned schema is whole: ask the publisher",
        );
    } else {
        let built = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(false)
            .build(schema);
        if let Err(error) = built {
            found.add(
                "schema-does-not-compile",
                subject,
                Severity::High,
                at,
                "it cannot be checked against",
                Some(&error.to_string()),
                "no call of this tool can be let through: ask the publisher",
            );
        }
    }
    if input && schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        found.add(
            "schema-open",
            &Subject::whole(),
            Severity::Low,
            &format!("tool {}, {at}", subject.name),
            "it lets arguments in that it does not name",
            None,
            "Keepgate lets in only those it names",
        );
    }
    keys(subject, schema, at, found);
    defaults(subject, schema, at, found);
}

fn keys(subject: &Subject<'_>, schema: &Value, at: &str, found: &mut Found) {
    texts(schema, at, &mut |at, text| {
        let key = |key: &&&str| {
            text.match_indices(**key).any(|(place, _)| {
                let rest = text.get(place + key.len()..).unwrap_or_default();
                let solid = rest
                    .chars()
                    .take_while(|c| !c.is_whitespace() && !"<>{}.…".contains(*c));
                solid.count() >= 12 || key.starts_with("-----")
            })
        };
        if KEYS.iter().any(|one| key(&one)) {
            found.add(
                "schema-carries-key",
                subject,
                Severity::High,
                at,
                "it holds what looks like a key",
                Some(&text.chars().take(12).collect::<String>()),
                "whoever has that key should change it: ask the publisher",
            );
        }
    });
}

/// Values that would be sent without anybody having chosen them.
fn defaults(subject: &Subject<'_>, schema: &Value, at: &str, found: &mut Found) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                let below = format!("{at}/{name}");
                let text = value.as_str().unwrap_or_default();
                let target = text.starts_with("http://")
                    || text.starts_with("https://")
                    || (text.contains('@') && text.contains('.') && !text.contains(' '))
                    || text.starts_with("~/")
                    || (text.starts_with('/') && text.len() > 1);
                if matches!(name.as_str(), "default" | "const") && target {
                    found.add(
                        "schema-default-target",
                        subject,
                        Severity::Medium,
                        &below,
                        "a value nobody chose says where something goes",
                        Some(text),
                        "see that it is where it should go; declare the parameter a target",
                    );
                }
                defaults(subject, value, &below, found);
            }
        }
        Value::Array(items) => {
            let below = |place| format!("{at}/{place}");
            let all = items.iter().enumerate();
            all.for_each(|(place, item)| defaults(subject, item, &below(place), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A reference that leaves the document.
fn leads_away(schema: &Value) -> Option<String> {
    match schema {
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let refers = matches!(name.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef");
            match value.as_str() {
                Some(to) if refers && !to.starts_with('#') => Some(to.to_owned()),
                _ => leads_away(value),
            }
        }),
        Value::Array(items) => items.iter().find_map(leads_away),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
