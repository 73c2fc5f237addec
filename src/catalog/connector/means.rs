//! Whether what a manifest declares of undo and dry run can be carried out with the tools that the
//! server lists. What cannot be is found when a connector is vetted, and is as good as not declared
//! where it was approved all the same: its effects cannot be taken back, and it is not rehearsed.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::Connector;
use crate::call::declared::{Declared, DryRun, Origin, Undo};
use crate::call::tool::{EffectClass, Reversibility, Tool};
use crate::call::{Listed, foresee};
use crate::wire::text::Escaped;

/// Characters of a name that are shown.
const NAME_SHOWN: usize = 64;

/// Something that is declared and cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The rule of vetting that finds it.
    pub rule: &'static str,
    /// One sentence.
    pub say: String,
    /// How to mend it.
    pub hint: &'static str,
}

/// What can be acted on of what is declared of the tool `name`, and what cannot. `tools` are the
/// server's, by its own names, as it lists them.
pub fn carried(
    connector: &Connector,
    tools: &BTreeMap<String, Box<RawValue>>,
    name: &str,
) -> (Declared, Vec<Lack>) {
    let mut declared = connector.declared(name);
    let own = Shape::of(tools, name).unwrap_or_default();
    let mut lacks = Vec::new();
    if let Some(lack) = rehearsal(&declared, connector, tools, &own) {
        declared.dry_run = DryRun::None;
        lacks.push(lack);
    }
    let lack = declared
        .undo
        .as_ref()
        .and_then(|undo| taken_back(undo, connector, tools, &own));
    if let Some(lack) = lack {
        declared.undo = None;
        lacks.push(lack);
    }
    // An effect that nothing declared takes back cannot be taken back, whatever else is declared.
    if declared.undo.is_none() && !declared.class.only_reads() {
        declared.reversibility = Reversibility::Irreversible;
    }
    // Where nothing is changed there is nothing to take back.
    if declared.class.only_reads() {
        declared.reversibility = Reversibility::Reversible;
    }
    (declared, lacks)
}

fn rehearsal(
    declared: &Declared,
    connector: &Connector,
    tools: &BTreeMap<String, Box<RawValue>>,
    own: &Shape,
) -> Option<Lack> {
    match &declared.dry_run {
        DryRun::None => None,
        DryRun::Arguments(more) => {
            let Some(stray) = more.keys().find(|name| !own.has(name)) else {
                return own.refuses(more);
            };
            Some(Lack {
                rule: "no-such-parameter",
                say: format!(
                    "its dry run sets a parameter `{}` that it does not have",
                    shown(stray)
                ),
                hint: "a server ignores what it does not know, and does the thing",
            })
        }
        DryRun::Tool(other) if !tools.contains_key(other) => Some(no_tool("dry run", other)),
        DryRun::Tool(other) if connector.declared(other).class != EffectClass::Read => Some(Lack {
            rule: "dry-run-unfit",
            say: format!(
                "its dry run is the tool `{}`, which is not declared as a read",
                shown(other)
            ),
            hint: "a rehearsal changes nothing: name a tool of class `read`, and declare it so",
        }),
        DryRun::Tool(_) => None,
    }
}

fn taken_back(
    undo: &Undo,
    connector: &Connector,
    tools: &BTreeMap<String, Box<RawValue>>,
    own: &Shape,
) -> Option<Lack> {
    let Some(other) = Shape::of(tools, &undo.tool) else {
        return Some(no_tool("undo", &undo.tool));
    };
    let tool = shown(&undo.tool);
    let unfit = |say: String| {
        Some(Lack {
            rule: "undo-unfit",
            say,
            hint: "without an undo that can be carried out, every live call needs a person",
        })
    };
    if connector.declared(&undo.tool).class.only_reads() {
        return unfit(format!(
            "its undo is the tool `{tool}`, which is declared to change nothing"
        ));
    }
    if let Some(stray) = undo.arguments.keys().find(|name| !other.has(name)) {
        let stray = shown(stray);
        return unfit(format!(
            "its undo gives `{tool}` an argument `{stray}` that it does not have"
        ));
    }
    let given = |name: &&String| !undo.arguments.contains_key(*name);
    if let Some(missing) = other.required.iter().find(given) {
        let missing = shown(missing);
        return unfit(format!(
            "its undo does not give `{tool}` the argument `{missing}`, which it needs"
        ));
    }
    let strays = |origin: &Origin| match origin {
        Origin::Arguments(at) => first(at).filter(|name| !own.has(name)),
        Origin::Result(_) | Origin::Value(_) => None,
    };
    let stray = undo.arguments.values().find_map(strays)?;
    unfit(format!(
        "its undo takes the argument `{}`, which the tool does not have",
        shown(&stray)
    ))
}

fn no_tool(of: &str, name: &str) -> Lack {
    Lack {
        rule: "no-such-tool",
        say: format!(
            "its {of} is the tool `{}`, which the server does not list",
            shown(name)
        ),
        hint: "name a tool of the same connector",
    }
}

/// The first name of a JSON pointer (RFC 6901); nothing for that of the whole.
fn first(pointer: &str) -> Option<String> {
    let name = pointer.strip_prefix('/')?.split('/').next()?;
    Some(name.replace("~1", "/").replace("~0", "~"))
}

fn shown(name: &str) -> String {
    Escaped::cut(name, NAME_SHOWN).to_string()
}

/// The arguments of a tool as its input schema has them.
#[derive(Debug, Default)]
struct Shape {
    names: Vec<String>,
    required: Vec<String>,
    /// Nothing where its schema cannot be used: then nobody is shown the tool.
    tool: Option<Tool>,
}

impl Shape {
    fn of(tools: &BTreeMap<String, Box<RawValue>>, name: &str) -> Option<Self> {
        let raw = tools.get(name)?;
        let tool: Value = serde_json::from_str(raw.get()).ok()?;
        let schema = tool.get("inputSchema");
        let names = schema.and_then(|schema| schema.get("properties")?.as_object());
        let required = schema.and_then(|schema| schema.get("required")?.as_array());
        Some(Self {
            names: names
                .into_iter()
                .flatten()
                .map(|(n, _)| n.clone())
                .collect(),
            required: required
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
            tool: Tool::listed(&Listed {
                connector: "vetted",
                manifest: "",
                raw,
                declared: &Declared::default(),
                prefix: true,
            })
            .ok(),
        })
    }

    /// What is wrong with constants beside the other arguments.
    fn refuses(&self, constants: &BTreeMap<String, Value>) -> Option<Lack> {
        let constants = constants.iter().map(|(n, v)| (n.clone(), v.clone()));
        let others: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let unfit = foresee(self.tool.as_ref()?, &constants.collect(), &others).err()?;
        let of = unfit.argument.unwrap_or_default();
        Some(Lack {
            rule: "dry-run-unfit",
            say: format!("its dry run sets `{}`: {}", shown(&of), unfit.say),
            hint: "give the parameter a value that the tool's schema allows",
        })
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MANIFEST: &str = r#"
name = "notes"
[remote]
url = "https://notes.example.net/mcp"
[tools.create]
class = "write"
reversibility = "reversible"
dry_run = { tool = "preview" }
undo = { tool = "remove", arguments = { id = "result:/id", name = "arguments:/name" } }
[tools.preview]
class = "read"
reversibility = "reversible"
[tools.remove]
class = "destructive"
"#;

    fn tools() -> BTreeMap<String, Box<RawValue>> {
        let tool = |name: &str, names: &[&str], required: &[&str]| {
            let properties: BTreeMap<&str, Value> = names
                .iter()
                .map(|name| (*name, json!({"type": "string"})))
                .collect();
            let schema = json!({"type": "object", "properties": properties, "required": required});
            let raw = json!({"name": name, "inputSchema": schema});
            (
                name.to_owned(),
                serde_json::value::to_raw_value(&raw).unwrap(),
            )
        };
        [
            tool("create", &["name", "text", "dry"], &["name"]),
            tool("preview", &["name", "text"], &["name"]),
            tool("remove", &["id", "name"], &["id"]),
        ]
        .into()
    }

    fn found(from: &str, to: &str) -> (Declared, Vec<String>) {
        assert!(MANIFEST.contains(from), "{from}");
        let text = MANIFEST.replacen(from, to, 1);
        let connector = Connector::parse(&text, "t.toml").unwrap();
        let (declared, lacks) = carried(&connector, &tools(), "create");
        let lacks = lacks.into_iter().map(|lack| lack.rule.to_owned());
        (declared, lacks.collect())
    }

    #[test]
    fn what_fits_the_listed_tools_is_kept() {
        let (declared, lacks) = found("notes", "notes");
        assert_eq!(lacks, Vec::<String>::new());
        assert!(declared.undo.is_some());
        assert_eq!(declared.reversibility, Reversibility::Reversible);
        assert_eq!(declared.dry_run, DryRun::Tool("preview".into()));
        let (declared, lacks) = found(
            r#"{ tool = "preview" }"#,
            r#"{ arguments = { dry = "yes" } }"#,
        );
        assert!(lacks.is_empty() && declared.dry_run != DryRun::None);
    }

    #[test]
    fn an_undo_that_cannot_be_carried_out_is_none() {
        for (from, to, rule) in [
            (r#"tool = "remove""#, r#"tool = "delete""#, "no-such-tool"),
            (
                r#"id = "result:/id""#,
                r#"key = "result:/id""#,
                "undo-unfit",
            ),
            (r#"id = "result:/id", "#, "", "undo-unfit"),
            ("arguments:/name", "arguments:/nam", "undo-unfit"),
            (
                r#"class = "destructive""#,
                r#"class = "read""#,
                "undo-unfit",
            ),
        ] {
            let (declared, lacks) = found(from, to);
            assert_eq!(lacks, [rule], "{to}");
            assert_eq!(declared.undo, None);
            assert_eq!(declared.reversibility, Reversibility::Irreversible);
        }
    }

    #[test]
    fn a_dry_run_that_might_do_it_is_none() {
        for (to, rule) in [
            (r#"{ tool = "remove" }"#, "dry-run-unfit"),
            (r#"{ tool = "create" }"#, "dry-run-unfit"),
            (r#"{ tool = "look" }"#, "no-such-tool"),
            ("{ arguments = { dry_run = true } }", "no-such-parameter"),
            ("{ arguments = { dry = 1 } }", "dry-run-unfit"),
        ] {
            let (declared, lacks) = found(r#"{ tool = "preview" }"#, to);
            assert_eq!(lacks, [rule], "{to}");
            assert_eq!(declared.dry_run, DryRun::None);
        }
    }
}
