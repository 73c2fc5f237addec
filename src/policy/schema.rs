//! The Cedar schema of the pinned tools: what a rule may name. Made from their input schemas by
//! Cedar's own generator, then given what every question is asked with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use cedar_policy::{Entities, EntityId, EntityTypeName, EntityUid, Schema, SchemaFragment};
use cedar_policy_mcp_schema_generator::{SchemaGenerator, SchemaGeneratorConfig};
use mcp_tools_sdk::description::ServerDescription;
use serde_json::{Map, Value, json};

use super::shape::Fields;
use crate::call::tool::{Meaning, Tool};
use crate::catalog::Catalog;
use crate::error::{Context, Error, Result};

/// The generator wants a namespace; rules are shorter without.
const NAMESPACE: &str = "Keepgate";

/// What the generator starts from.
const STUB: &str = r#"
namespace Keepgate {
    @mcp_principal("Agent")
    entity Agent in [Plane] = { "name": String, "plane": String };
    @mcp_resource("Plane")
    entity Plane;
}
"#;

/// Attributes that every question has.
const ALWAYS: [(&str, &str); 2] = [("mode", "String"), ("unattended", "Bool")];
/// Attributes of a tool whose argument is a path beneath a root.
const OF_FILES: [(&str, &str); 2] = [("root", "String"), ("path", "String")];
/// Attributes of a tool whose argument is a URL.
const OF_HTTP: [(&str, &str); 4] = [
    ("scheme", "String"),
    ("host", "String"),
    ("port", "Long"),
    ("url_path", "String"),
];

/// Attributes of a connector's tool: what its manifest declares of it, on these arguments.
const OF_CONNECTORS: [(&str, &str); 2] = [("high_value", "Bool"), ("targets", "Set")];

/// Everything about the tools that rules are checked and asked with.
pub(super) struct Model {
    /// What rules are validated against.
    pub(super) schema: Schema,
    /// The same in Cedar's schema language, for people.
    pub(super) text: String,
    /// The actions and their groups.
    pub(super) entities: Entities,
    actions: BTreeMap<String, Action>,
    agent: EntityTypeName,
    plane: EntityTypeName,
}

/// One tool as rules see it.
#[derive(Debug)]
pub(super) struct Action {
    /// `Action::"file__read"`.
    pub(super) uid: EntityUid,
    /// Its arguments.
    pub(super) fields: Fields,
    /// Digest of the definition this was made from.
    pub(super) pin: [u8; 32],
}

impl Model {
    /// The model of all tools of a catalog.
    pub(super) fn of(catalog: &Catalog) -> Result<Self> {
        let value = complete(generate(catalog)?, catalog)?;
        let what = || "make the policy schema of the tools".to_owned();
        let fragment = SchemaFragment::from_json_value(value.clone()).context(what)?;
        let text = fragment.to_cedarschema().context(what)?;
        let schema = Schema::from_json_value(value).context(what)?;
        let entities = schema.action_entities().context(what)?;
        let kind = EntityTypeName::from_str("Action").context(what)?;
        let actions = catalog
            .tools()
            .map(|tool| {
                let wire = tool.wire();
                let uid = EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(wire));
                let fields = Fields::of(tool.input_schema());
                (
                    wire.to_owned(),
                    Action {
                        uid,
                        fields,
                        pin: *tool.digest(),
                    },
                )
            })
            .collect();
        Ok(Self {
            schema,
            text,
            entities,
            actions,
            agent: EntityTypeName::from_str("Agent").context(what)?,
            plane: EntityTypeName::from_str("Plane").context(what)?,
        })
    }

    /// The tool with this wire name as rules see it.
    pub(super) fn action(&self, wire: &str) -> Option<&Action> {
        self.actions.get(wire)
    }

    /// All tools as rules see them.
    pub(super) fn actions(&self) -> impl Iterator<Item = &Action> {
        self.actions.values()
    }

    /// `Agent::"name"`.
    pub(super) fn agent(&self, name: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.agent.clone(), EntityId::new(name))
    }

    /// `Plane::"name"`.
    pub(super) fn plane(&self, name: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.plane.clone(), EntityId::new(name))
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("actions", &self.actions)
            .finish_non_exhaustive()
    }
}

/// What Cedar's generator makes of the tools, as a JSON schema without its namespace.
fn generate(catalog: &Catalog) -> Result<Value> {
    let what = || "make the policy schema of the tools".to_owned();
    let wires: Vec<&str> = catalog.tools().map(|tool| tool.wire()).collect();
    let names = plain_names(&wires);
    let described: Vec<Value> = catalog
        .tools()
        .zip(&names)
        .map(|(tool, name)| {
            let arguments = Fields::of(tool.input_schema()).plain();
            json!({"name": name, "inputSchema": arguments})
        })
        .collect();
    let described = ServerDescription::from_json_str(&Value::from(described).to_string());
    let config = SchemaGeneratorConfig::default()
        .objects_as_records(true)
        .flatten_namespaces(true)
        .inline_empty_records(true);
    let mut generator =
        SchemaGenerator::from_cedarschema_str_with_config(STUB, config).context(what)?;
    generator
        .add_actions_from_server_description(&described.context(what)?)
        .context(what)?;
    let (fragment, _) =
        SchemaFragment::from_cedarschema_str(&generator.get_schema_as_str()).context(what)?;
    let mut value = fragment.to_json_value().context(what)?;
    let inner = value.get_mut(NAMESPACE).map(Value::take);
    let mut inner = inner.ok_or_else(|| Error::new(what()))?;
    unqualify(&mut inner);
    let actions = inner.get_mut("actions").and_then(Value::as_object_mut);
    let actions = actions.ok_or_else(|| Error::new(what()))?;
    for (tool, name) in catalog.tools().zip(&names) {
        if name != tool.wire()
            && let Some(action) = actions.remove(name)
        {
            actions.insert(tool.wire().into(), action);
        }
    }
    Ok(inner)
}

/// A name for each tool that the generator can make names of types from: Cedar's identifiers, where
/// tools may be called `get-sum` and what is beside them `resources/read`. The action keeps the
/// tool's own.
fn plain_names(wires: &[&str]) -> Vec<String> {
    let plain = wires.iter().filter(|wire| is_identifier(wire));
    let mut taken: BTreeSet<String> = plain.map(|&wire| wire.to_owned()).collect();
    let name = |wire: &&str| {
        if is_identifier(wire) {
            return (*wire).to_owned();
        }
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        // A letter first, whatever the name begins with.
        let mut name = format!("t_{}", wire.chars().map(letter).collect::<String>());
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        name
    };
    wires.iter().map(name).collect()
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Drops the namespace from every name.
fn unqualify(value: &mut Value) {
    match value {
        Value::String(text) => {
            let bare = text
                .strip_prefix(NAMESPACE)
                .and_then(|rest| rest.strip_prefix("::"));
            if let Some(bare) = bare {
                *text = bare.to_owned();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unqualify),
        Value::Object(members) => members.values_mut().for_each(unqualify),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Adds what the generator cannot know: the attributes taken from arguments, and the groups of
/// actions by effect class.
fn complete(mut schema: Value, catalog: &Catalog) -> Result<Value> {
    let missing = || Error::new("the generated policy schema has another form than expected");
    let mut groups = BTreeSet::new();
    for tool in catalog.tools() {
        let action = schema
            .get_mut("actions")
            .and_then(|actions| actions.get_mut(tool.wire()))
            .and_then(Value::as_object_mut)
            .ok_or_else(missing)?;
        let names = tool.classes().iter().map(|class| class.name());
        groups.extend(names.clone());
        action.insert(
            "memberOf".into(),
            names.map(|id| json!({"id": id})).collect(),
        );
        let attributes = action
            .get_mut("appliesTo")
            .and_then(|applies| applies.get_mut("context"))
            .and_then(|context| context.get_mut("attributes"))
            .and_then(Value::as_object_mut)
            .ok_or_else(missing)?;
        for (name, kind) in derived(tool) {
            let kind = match kind {
                "Set" => {
                    let text = json!({"type": "EntityOrCommon", "name": "String"});
                    json!({"type": "Set", "element": text, "required": true})
                }
                kind => json!({"type": "EntityOrCommon", "name": kind, "required": true}),
            };
            attributes.insert(name.into(), kind);
        }
    }
    let actions = schema
        .get_mut("actions")
        .and_then(Value::as_object_mut)
        .ok_or_else(missing)?;
    for group in groups {
        actions.insert(group.into(), json!({}));
    }
    let mut whole = Map::new();
    whole.insert(String::new(), schema);
    Ok(Value::Object(whole))
}

/// Attributes that the keeper takes from a call of `tool` and its ground.
fn derived(tool: &Tool) -> impl Iterator<Item = (&'static str, &'static str)> {
    let has = |wanted: &[Meaning]| {
        tool.meanings()
            .any(|(_, meaning)| wanted.contains(&meaning))
    };
    let files: &[_] = match has(&[Meaning::RootPath, Meaning::RootPathOrRoots]) {
        true => &OF_FILES,
        false => &[],
    };
    let http: &[_] = if has(&[Meaning::Url]) { &OF_HTTP } else { &[] };
    let foreign: &[_] = match tool.declared() {
        Some(_) => &OF_CONNECTORS,
        None => &[],
    };
    let all = ALWAYS.iter().chain(files).chain(http).chain(foreign);
    all.copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tool::Method;

    #[test]
    fn names_that_are_no_identifiers_get_others_and_nobody_s() {
        let wires = ["a__b", "a-b", "a.b", "a/b", "t_a_b", "1"];
        let names = plain_names(&wires);
        assert_eq!(
            names,
            ["a__b", "t_a_b_", "t_a_b__", "t_a_b___", "t_a_b", "t_1"]
        );
    }

    /// One connector with resources, prompts or a hyphen must not take the plane's policy away.
    #[test]
    fn what_is_beside_tools_is_an_action_too() {
        let beside = |method| Tool::beside("git-hub", "00", method).unwrap();
        let tools: Vec<Tool> = Method::BESIDE.into_iter().map(beside).collect();
        let wires: Vec<String> = tools.iter().map(|tool| tool.wire().to_owned()).collect();
        let model = Model::of(&Catalog::with(tools).unwrap()).unwrap();
        for wire in wires {
            assert!(model.action(&wire).is_some(), "{wire}");
            assert!(
                model.text.contains(&format!("\"{wire}\"")),
                "{wire}: {}",
                model.text
            );
        }
    }
}
