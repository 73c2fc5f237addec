//! The contract of one pinned tool: what it is called, what it takes and gives, what it may do to
//! the world. Its digest is the pin; a call is checked against exactly this.

use std::collections::BTreeMap;
use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Context, Error, Result};
use crate::wire::text::Escaped;

/// Longest name on the wire, in bytes: model APIs allow `[a-zA-Z0-9_-]{1,64}`.
const WIRE_MAX: usize = 64;

/// What a tool may do to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EffectClass {
    /// Reads what the operator gave.
    Read,
    /// Reads by a request that leaves the appliance: the request itself is a message.
    Egress,
    /// Changes what the operator gave.
    Write,
    /// Sends something to somebody.
    Send,
    /// Lets somebody see or change something.
    Share,
    /// Moves money.
    Pay,
    /// Publishes.
    Public,
    /// Makes, shows or changes a credential.
    Credential,
    /// Deletes, or overwrites without a way back.
    Destructive,
}

impl EffectClass {
    /// All classes, mildest first.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Egress,
        Self::Write,
        Self::Send,
        Self::Share,
        Self::Pay,
        Self::Public,
        Self::Credential,
        Self::Destructive,
    ];

    /// The word used in manifests, and as the name of the action group in policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Egress => "egress",
            Self::Write => "write",
            Self::Send => "send",
            Self::Share => "share",
            Self::Pay => "pay",
            Self::Public => "public",
            Self::Credential => "credential",
            Self::Destructive => "destructive",
        }
    }

    /// A live call of this class needs a person each time, whatever a policy says.
    pub fn needs_person(self) -> bool {
        match self {
            Self::Pay | Self::Public | Self::Credential | Self::Destructive => true,
            Self::Read | Self::Egress | Self::Write | Self::Send | Self::Share => false,
        }
    }
}

/// Whether what a tool did can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reversibility {
    /// It changes nothing, or Keepgate can take it back.
    Reversible,
    /// Its consequences can be reduced, not undone.
    Mitigable,
    /// It cannot be taken back.
    Irreversible,
}

/// What an argument means beyond its JSON type: rules and policies see it taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// `ROOT/relative/path`: see [`super::path::RootPath`].
    RootPath,
    /// The same, or `.` for the list of roots.
    RootPathOrRoots,
    /// A URL to be asked with the argument `method`: see [`super::http::Target`].
    Url,
    /// Request headers.
    Headers,
}

/// The pinned contract of one tool.
pub struct Tool {
    pin: Pin,
    wire: String,
    digest: [u8; 32],
    validator: Validator,
}

/// A tool's definition as it is stored; everything in it is part of the digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Pin {
    /// `connector.tool`.
    name: String,
    title: String,
    description: String,
    classes: Vec<EffectClass>,
    reversibility: Reversibility,
    /// Argument name → what it means.
    #[serde(default)]
    meanings: BTreeMap<String, Meaning>,
    /// Groups of arguments of which exactly one has to be given. Kept out of the schema: model APIs
    /// refuse `oneOf` at its top.
    #[serde(default)]
    exactly_one: Vec<Vec<String>>,
    input_schema: Value,
    output_schema: Value,
    annotations: Annotations,
}

/// MCP's hints to clients. They describe; nothing here is decided by them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "MCP's ToolAnnotations has four flags"
)]
pub struct Annotations {
    /// It changes nothing.
    pub read_only_hint: bool,
    /// What it changes may be lost.
    pub destructive_hint: bool,
    /// Twice is the same as once.
    pub idempotent_hint: bool,
    /// It reaches beyond what the operator gave.
    pub open_world_hint: bool,
}

impl Tool {
    /// Reads a definition (JSON) and compiles its input schema.
    ///
    /// # Errors
    /// Fails where the definition is not one: unknown members, a name no model API takes, a schema
    /// that does not compile, that refers to another document, or that lets unknown arguments in.
    pub fn define(definition: &str) -> Result<Self> {
        let pin: Pin =
            serde_json::from_str(definition).context(|| "read a tool's definition".into())?;
        let what = || {
            format!(
                "read the definition of tool `{}`",
                Escaped::cut(&pin.name, 64)
            )
        };
        let wire = wire_name(&pin.name).ok_or_else(|| {
            Error::new(what()).hint("a tool is called CONNECTOR.TOOL, of letters, digits and `-`")
        })?;
        check_shape(&pin).map_err(|why| Error::new(format!("{}: {why}", what())))?;
        let canonical = serde_json_canonicalizer::to_vec(&pin).context(what)?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, &canonical).as_ref());
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(false)
            .build(&pin.input_schema)
            .map_err(|error| Error::new(format!("{}: its input schema: {error}", what())))?;
        Ok(Self {
            pin,
            wire,
            digest: sha256,
            validator,
        })
    }

    /// The name inside: `file.read`.
    pub fn name(&self) -> &str {
        &self.pin.name
    }

    /// The name agents use: `file__read`.
    pub fn wire(&self) -> &str {
        &self.wire
    }

    /// A short name for people.
    pub fn title(&self) -> &str {
        &self.pin.title
    }

    /// What agents read about it.
    pub fn description(&self) -> &str {
        &self.pin.description
    }

    /// What it may do to the world at worst.
    pub fn classes(&self) -> &[EffectClass] {
        &self.pin.classes
    }

    /// Whether that can be taken back, at worst.
    pub fn reversibility(&self) -> Reversibility {
        self.pin.reversibility
    }

    /// JSON Schema (draft 2020-12) of its arguments.
    pub fn input_schema(&self) -> &Value {
        &self.pin.input_schema
    }

    /// JSON Schema of its result.
    pub fn output_schema(&self) -> &Value {
        &self.pin.output_schema
    }

    /// MCP's hints.
    pub fn annotations(&self) -> Annotations {
        self.pin.annotations
    }

    /// Arguments that mean more than their type, in the order of their names.
    pub fn meanings(&self) -> impl Iterator<Item = (&str, Meaning)> {
        self.pin
            .meanings
            .iter()
            .map(|(name, meaning)| (name.as_str(), *meaning))
    }

    /// Groups of arguments of which exactly one has to be given.
    pub fn exactly_one(&self) -> &[Vec<String>] {
        &self.pin.exactly_one
    }

    /// The pin: SHA-256 over the canonical JSON (RFC 8785) of the whole definition.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The tool as MCP's `tools/list` shows it.
    pub fn listing(&self) -> Value {
        json!({
            "name": self.wire,
            "title": self.pin.title,
            "description": self.pin.description,
            "inputSchema": self.pin.input_schema,
            "outputSchema": self.pin.output_schema,
            "annotations": self.pin.annotations,
        })
    }

    /// The compiled input schema.
    pub(super) fn validator(&self) -> &Validator {
        &self.validator
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("name", &self.pin.name)
            .finish_non_exhaustive()
    }
}

/// `file.read` → `file__read`; `None` where that is no name model APIs take, or could be read back
/// as another.
fn wire_name(name: &str) -> Option<String> {
    let (connector, tool) = name.split_once('.')?;
    let plain = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !part.is_empty()
            && part.bytes().all(letter)
            && !part.contains("__")
            && !part.starts_with('_')
            && !part.ends_with('_')
    };
    let wire = format!("{connector}__{tool}");
    (plain(connector) && plain(tool) && wire.len() <= WIRE_MAX).then_some(wire)
}

fn check_shape(pin: &Pin) -> Result<(), String> {
    let schema = &pin.input_schema;
    if schema.get("type") != Some(&Value::from("object"))
        || schema.get("additionalProperties") != Some(&Value::Bool(false))
    {
        return Err("its input schema lets unknown arguments in".into());
    }
    if refers(schema) {
        return Err("its input schema refers to another document".into());
    }
    let none = Map::new();
    let known = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let named = pin.meanings.keys().chain(pin.exactly_one.iter().flatten());
    if let Some(stray) = named.into_iter().find(|name| !known.contains_key(*name)) {
        return Err(format!("it has no argument `{}`", Escaped::cut(stray, 64)));
    }
    if pin.classes.is_empty() {
        return Err("it has no effect class".into());
    }
    Ok(())
}

/// A `$ref` that leaves the document.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let away = matches!(name.as_str(), "$ref" | "$dynamicRef")
                && value.as_str().is_some_and(|to| !to.starts_with('#'));
            away || refers(value)
        }),
        Value::Array(items) => items.iter().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
