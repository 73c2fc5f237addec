//! Agents and roots that rules name. The schema knows the tools only: a rule about an agent or a root
//! that there is none of is valid, and never says anything. Somebody may enrol the agent later, so
//! that is worth a warning and no error.

use serde::Serialize;
use serde_json::Value;

use crate::wire::words::nearest;

/// Most names that a warning lists.
const KNOWN_SHOWN: usize = 16;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `Agent::"NAME"`.
    Agent,
    /// `context.root == "NAME"`.
    Root,
}

/// A name in a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// The rule's `@id`.
    pub(super) rule: String,
    /// Line of the name, or of the rule where it is spelled with escapes.
    pub(super) line: u32,
}

/// A rule names what there is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What is missing.
    pub kind: Kind,
    /// The name that is nobody's.
    pub name: String,
    /// The rule's `@id`.
    pub rule: String,
    /// Name of the policy file.
    pub file: String,
    /// Line in it, from 1.
    pub line: u32,
    /// Names there are, in order; at most 16.
    pub known: Vec<String>,
    /// The one that was probably meant.
    pub meant: Option<String>,
}

impl Kind {
    /// How it is spelled in a rule.
    fn spelled(self, name: &str) -> String {
        match self {
            Self::Agent => format!("Agent::\"{name}\""),
            Self::Root => format!("\"{name}\""),
        }
    }
}

/// All names in a rule as Cedar's JSON shows it; `line` finds the line of a piece of its text.
pub(super) fn of(rule: &Value, id: &str, line: impl Fn(&str) -> u32) -> Vec<Named> {
    let mut found = Vec::new();
    collect(rule, &mut found);
    found.sort();
    found.dedup();
    let named = |(kind, name): (Kind, String)| Named {
        line: line(&kind.spelled(&name)),
        rule: id.to_owned(),
        kind,
        name,
    };
    found.into_iter().map(named).collect()
}

/// Those of `named` that are not among `known`.
pub(super) fn missing<'a>(
    named: &'a [Named],
    kind: Kind,
    file: &'a str,
    known: &'a [&str],
) -> impl Iterator<Item = Warning> + 'a {
    named
        .iter()
        .filter(move |named| named.kind == kind && !known.contains(&named.name.as_str()))
        .map(move |named| Warning {
            kind,
            name: named.name.clone(),
            rule: named.rule.clone(),
            file: file.to_owned(),
            line: named.line,
            known: known
                .iter()
                .take(KNOWN_SHOWN)
                .map(|name| (*name).to_owned())
                .collect(),
            meant: nearest(&named.name, known).map(str::to_owned),
        })
}

fn collect(value: &Value, found: &mut Vec<(Kind, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(members) => {
            if let (Some("Agent"), Some(name)) = (text(value, "type"), text(value, "id")) {
                found.push((Kind::Agent, name.to_owned()));
            }
            for operator in ["==", "!=", "contains", "containsAny"] {
                if let Some(sides) = members.get(operator) {
                    compared(sides, found);
                }
            }
            members.values().for_each(|member| collect(member, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Texts that `context.root` is compared with.
fn compared(sides: &Value, found: &mut Vec<(Kind, String)>) {
    let (Some(left), Some(right)) = (sides.get("left"), sides.get("right")) else {
        return;
    };
    let other = match (is_root(left), is_root(right)) {
        (true, false) => right,
        (false, true) => left,
        (true, true) | (false, false) => return,
    };
    let items = match other.get("Set").and_then(Value::as_array) {
        Some(items) => items.as_slice(),
        None => std::slice::from_ref(other),
    };
    let names = items.iter().filter_map(|item| text(item, "Value"));
    // The list of all roots has none.
    let names = names.filter(|name| !name.is_empty());
    found.extend(names.map(|name| (Kind::Root, name.to_owned())));
}

/// `context.root`, alone or as the only member of a set.
fn is_root(value: &Value) -> bool {
    if let Some([only]) = value
        .get("Set")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        return is_root(only);
    }
    value.get(".").is_some_and(|access| {
        text(access, "attr") == Some("root")
            && access.get("left").and_then(|left| text(left, "Var")) == Some("context")
    })
}

fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::PolicySet;

    fn names(condition: &str) -> Vec<(Kind, String)> {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let set: PolicySet = text.parse().unwrap();
        let tree = set.policies().next().unwrap().to_json().unwrap();
        let named = of(&tree, "x", |_| 1);
        named
            .into_iter()
            .map(|named| (named.kind, named.name))
            .collect()
    }

    #[test]
    fn names_are_found_wherever_a_rule_has_them() {
        let root = |name: &str| vec![(Kind::Root, name.to_owned())];
        let agent = |name: &str| vec![(Kind::Agent, name.to_owned())];
        for condition in [
            "context.root == \"r\"",
            "\"r\" != context[\"root\"]",
            "true && (if context.root == \"r\" then true else false)",
            "[\"r\"].contains(context.root)",
            "[\"r\"].containsAny([context.root])",
            "[context.root].contains(\"r\")",
        ] {
            assert_eq!(names(condition), root("r"), "{condition}");
        }
        for condition in [
            "principal == Agent::\"a\"",
            "[Agent::\"a\"].contains(principal)",
            "principal in [Agent::\"a\"]",
        ] {
            assert_eq!(names(condition), agent("a"), "{condition}");
        }
        for condition in [
            "context.root == \"\"",
            "context.path == \"r\"",
            "{root: \"r\"}.root == \"r\"",
            "context.input.root == \"r\"",
            "context.root == context.path",
            "principal in Plane::\"a\"",
            "{\"type\": \"Agent\", \"id\": \"a\"}.id == \"b\"",
        ] {
            assert_eq!(names(condition), [], "{condition}");
        }
        let scope = "permit (principal == Agent::\"a\", action, resource);";
        let set: PolicySet = scope.parse().unwrap();
        let tree = set.policies().next().unwrap().to_json().unwrap();
        assert_eq!(of(&tree, "x", |_| 1)[0].name, "a");
    }
}
