//! The manifest against what the server lists.

use serde_json::Value;

use super::super::means::carried;
use super::super::report::Severity;
use super::{Found, Material, Subject, plain};
use crate::call::declared::HighValue;
use crate::call::tool::{EffectClass, Reversibility};

/// Begins of names of tools that change something.
const CHANGES: [&str; 26] = [
    "add", "append", "archive", "commit", "create", "delete", "drop", "edit", "exec", "insert",
    "install", "kill", "merge", "move", "pay", "post", "publish", "push", "remove", "rename",
    "reset", "run", "send", "set", "update", "write",
];

pub(super) fn tool(
    subject: &Subject<'_>,
    tool: &Value,
    material: &Material<'_>,
    found: &mut Found,
) {
    let hints = tool.get("annotations");
    let hint = |name: &str| hints.and_then(|hints| hints.get(name)?.as_bool());
    let verb = subject
        .name
        .split(['_', '-', '.'])
        .next()
        .unwrap_or_default()
        .to_lowercase();
    if hint("readOnlyHint") == Some(true) && CHANGES.contains(&verb.as_str()) {
        found.add(
            "annotation-doubt",
            subject,
            Severity::Medium,
            "/annotations/readOnlyHint",
            "it claims to read only, and its name says otherwise",
            None,
            "hints of a server never lower anything; declare what it does",
        );
    }
    let Some(declared) = material.connector.tools.get(subject.name) else {
        found.add(
            "undeclared",
            subject,
            Severity::Low,
            "",
            "nothing is declared: destructive, irreversible, every parameter a target",
            None,
            "declare it in the manifest where you know better",
        );
        return;
    };
    let mild = declared.class == EffectClass::Read;
    let says_worse = hint("destructiveHint") == Some(true) || hint("readOnlyHint") == Some(false);
    if mild && says_worse {
        found.add(
            "declared-too-mild",
            subject,
            Severity::High,
            "",
            "it is declared as a read, and the server says that it changes something",
            None,
            "declare the class of what it does at worst",
        );
    }
    if mild && hint("openWorldHint") == Some(true) {
        found.add(
            "declared-too-mild",
            subject,
            Severity::Medium,
            "",
            "it is declared as a read, and the server says that it reaches beyond this host",
            None,
            "a read whose request leaves is `egress`",
        );
    }
    if declared.class.needs_person() && declared.reversibility == Reversibility::Reversible {
        found.add(
            "declared-too-mild",
            subject,
            Severity::Medium,
            "",
            "it is declared reversible, and of a class that seldom is",
            None,
            "reversible is what Keepgate can take back: say how with `undo`",
        );
    }
    let properties = tool
        .get("inputSchema")
        .and_then(|schema| schema.get("properties"));
    let known = |name: &str| properties.is_some_and(|all| all.get(name).is_some());
    let mut named: Vec<&String> = declared.parameters.keys().collect();
    match &declared.high_value {
        Some(HighValue::Above { parameter, .. } | HighValue::NotOneOf { parameter, .. }) => {
            named.push(parameter);
        }
        Some(HighValue::Always) | None => {}
    }
    if let Some(stray) = named.into_iter().find(|name| !known(name)) {
        found.add(
            "no-such-parameter",
            subject,
            Severity::High,
            "",
            &format!("the manifest names a parameter `{stray}` that it does not have"),
            None,
            "a rule on a parameter that does not exist protects nothing",
        );
    }
    let (_, lacks) = carried(material.connector, &material.tools.raw, subject.name);
    for lack in lacks {
        found.add(
            lack.rule,
            subject,
            Severity::High,
            "",
            &lack.say,
            None,
            lack.hint,
        );
    }
}

pub(super) fn connector(material: &Material<'_>, found: &mut Found) {
    for name in material.connector.tools.keys() {
        if !material.tools.raw.contains_key(name) {
            let subject = Subject {
                what: "tool",
                name,
                id: plain(name),
            };
            found.add(
                "no-such-tool",
                &subject,
                Severity::Medium,
                "",
                "the manifest declares it, and the server does not list it",
                None,
                "take it away, or see under which name it is listed",
            );
        }
    }
    // A skill may be texts alone.
    if material.tools.raw.is_empty() && material.skill.is_none() {
        found.add(
            "declared-nothing",
            &Subject::whole(),
            Severity::Medium,
            "",
            "it lists no tool",
            None,
            "see whether its arguments and variables are what it wants",
        );
    }
    let allow = material.connector.allow;
    let asked: Vec<&str> = [
        (allow.sampling, "sampling"),
        (allow.elicitation, "elicitation"),
        (allow.roots, "roots"),
    ]
    .into_iter()
    .filter_map(|(on, name)| on.then_some(name))
    .collect();
    if !asked.is_empty() {
        found.add(
            "asks-clients",
            &Subject::whole(),
            Severity::Medium,
            "allow",
            "the server may ask agents' clients, and so put words before their models",
            Some(&asked.join(", ")),
            "allow it only where the connector is of no use without",
        );
    }
}
