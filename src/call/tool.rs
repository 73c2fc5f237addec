//! The contract of one pinned tool: what it is called, what it takes and gives, what it may do to
//! the world. Its digest is the pin; a call is checked against exactly this.

use std::collections::BTreeMap;
use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::declared::Declared;
use super::listed::{Listed, renamed};
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

    /// It changes nothing: it reads, or asks.
    pub fn only_reads(self) -> bool {
        matches!(self, Self::Read | Self::Egress)
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
    name: String,
    wire: String,
    classes: Vec<EffectClass>,
    reversibility: Reversibility,
    meanings: BTreeMap<String, Meaning>,
    exactly_one: Vec<Vec<String>>,
    input_schema: Value,
    listing: Box<RawValue>,
    digest: [u8; 32],
    validator: Validator,
    upstream: Option<Upstream>,
    declared: Option<Declared>,
}

/// Whose tool it is, where it is not the product's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The connector.
    pub connector: String,
    /// What its server calls the tool; nothing where it is no tool of the server's.
    pub tool: String,
    /// What its server is asked.
    pub method: Method,
}

/// What an agent asks of a server: a tool, or what servers have beside tools. The latter are calls
/// like any other, of the class `read`; no list of tools shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// `tools/call`.
    Call,
    /// `resources/read`.
    Read,
    /// `prompts/get`.
    Prompt,
    /// `completion/complete`.
    Complete,
}

impl Method {
    /// Those that no list of tools shows.
    pub const BESIDE: [Self; 3] = [Self::Read, Self::Prompt, Self::Complete];

    /// Its name in MCP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "tools/call",
            Self::Read => "resources/read",
            Self::Prompt => "prompts/get",
            Self::Complete => "completion/complete",
        }
    }

    /// JSON Schema of what it takes.
    fn schema(self) -> Value {
        let (properties, required) = match self {
            Self::Call => (json!({}), json!([])),
            Self::Read => (json!({"uri": {"type": "string"}}), json!(["uri"])),
            Self::Prompt => (
                json!({"name": {"type": "string"}, "arguments": {
                    "type": "object", "additionalProperties": {"type": "string"},
                }}),
                json!(["name"]),
            ),
            Self::Complete => (
                json!({
                    "ref": {"type": "object"},
                    "argument": {"type": "object"},
                    "context": {"type": "object"},
                }),
                json!(["ref", "argument"]),
            ),
        };
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }
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
        let listing = json!({
            "name": wire,
            "title": pin.title,
            "description": pin.description,
            "inputSchema": pin.input_schema,
            "outputSchema": pin.output_schema,
            "annotations": pin.annotations,
        });
        Ok(Self {
            digest: sha256(&pin).context(what)?,
            listing: to_raw_value(&listing).context(what)?,
            validator: validator(&pin.input_schema, Some(Draft::Draft202012))
                .map_err(|why| Error::new(format!("{}: {why}", what())))?,
            name: pin.name,
            wire,
            classes: pin.classes,
            reversibility: pin.reversibility,
            meanings: pin.meanings,
            exactly_one: pin.exactly_one,
            input_schema: pin.input_schema,
            upstream: None,
            declared: None,
        })
    }

    /// Takes a tool of a connector; its schema may let unknown arguments in, because it is the
    /// server's.
    ///
    /// # Errors
    /// Fails where the object is no tool, its name is none that model APIs take behind the
    /// connector's, or its input schema does not compile or refers to another document.
    pub fn listed(listed: &Listed<'_>) -> Result<Self> {
        let raw = listed.raw.get();
        let said: Said = serde_json::from_str(raw).context(|| {
            let connector = Escaped::cut(listed.connector, 64);
            format!("read a tool that connector `{connector}` lists")
        })?;
        let name = format!("{}.{}", listed.connector, said.name);
        let bad = |why: &str| Error::new(format!("tool `{}`: {why}", Escaped::cut(&name, 128)));
        let wire = match listed.prefix {
            true => format!("{}__{}", listed.connector, said.name),
            false => said.name.clone(),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if said.name.is_empty() || wire.len() > WIRE_MAX || !wire.bytes().all(plain) {
            return Err(bad("its name is none that model APIs take")
                .hint("a name has letters, digits, `-` and `_`, 64 with the connector's at most"));
        }
        if said.input_schema.get("type") != Some(&Value::from("object")) {
            return Err(bad("its input schema is not that of an object"));
        }
        if refers(&said.input_schema) {
            return Err(bad("its input schema refers to another document"));
        }
        let pin = json!({
            "manifest": listed.manifest,
            "wire": wire,
            "class": listed.declared.class,
            "reversibility": listed.declared.reversibility,
            "tool": serde_json::from_str::<Value>(raw).context(|| name.clone())?,
        });
        Ok(Self {
            digest: sha256(&pin).context(|| name.clone())?,
            listing: renamed(listed.raw, &wire).ok_or_else(|| bad("it has no name of its own"))?,
            validator: validator(&said.input_schema, None).map_err(|why| bad(&why))?,
            name,
            wire,
            classes: vec![listed.declared.class],
            reversibility: listed.declared.reversibility,
            meanings: BTreeMap::new(),
            exactly_one: Vec::new(),
            input_schema: said.input_schema,
            upstream: Some(Upstream {
                connector: listed.connector.into(),
                tool: said.name,
                method: Method::Call,
            }),
            declared: Some(listed.declared.clone()),
        })
    }

    /// What a connector's server has beside tools, as a tool that no list shows: `git.resources/read`.
    ///
    /// # Errors
    /// Fails only where a definition in this binary is damaged.
    pub fn beside(connector: &str, manifest: &str, method: Method) -> Result<Self> {
        let what = || format!("define `{}` of connector `{connector}`", method.name());
        let input_schema = method.schema();
        let wire = format!("{connector}__{}", method.name());
        let pin = json!({"manifest": manifest, "wire": wire, "schema": input_schema});
        Ok(Self {
            digest: sha256(&pin).context(what)?,
            listing: to_raw_value(&json!({"name": wire})).context(what)?,
            validator: validator(&input_schema, Some(Draft::Draft202012))
                .map_err(|why| Error::new(format!("{}: {why}", what())))?,
            name: format!("{connector}.{}", method.name()),
            wire,
            classes: vec![EffectClass::Read],
            reversibility: Reversibility::Reversible,
            meanings: BTreeMap::new(),
            exactly_one: Vec::new(),
            input_schema,
            upstream: Some(Upstream {
                connector: connector.into(),
                tool: String::new(),
                method,
            }),
            declared: None,
        })
    }

    /// Whether lists of tools show it.
    pub fn is_shown(&self) -> bool {
        let of = self.upstream.as_ref();
        of.is_none_or(|of| of.method == Method::Call)
    }

    /// The name inside: `file.read`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name agents use: `file__read`.
    pub fn wire(&self) -> &str {
        &self.wire
    }

    /// What it may do to the world at worst.
    pub fn classes(&self) -> &[EffectClass] {
        &self.classes
    }

    /// Whether that can be taken back, at worst.
    pub fn reversibility(&self) -> Reversibility {
        self.reversibility
    }

    /// JSON Schema (draft 2020-12) of its arguments.
    pub fn input_schema(&self) -> &Value {
        &self.input_schema
    }

    /// Arguments that mean more than their type, in the order of their names.
    pub fn meanings(&self) -> impl Iterator<Item = (&str, Meaning)> {
        self.meanings
            .iter()
            .map(|(name, meaning)| (name.as_str(), *meaning))
    }

    /// Groups of arguments of which exactly one has to be given.
    pub fn exactly_one(&self) -> &[Vec<String>] {
        &self.exactly_one
    }

    /// The pin: SHA-256 over the canonical JSON (RFC 8785) of the whole definition.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The tool as MCP's `tools/list` shows it.
    pub fn listing(&self) -> &RawValue {
        &self.listing
    }

    /// Whose tool it is, where it is not the product's own.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_ref()
    }

    /// What the manifest of its connector declares of it; nothing for the product's own tools and
    /// for what servers have beside tools.
    pub fn declared(&self) -> Option<&Declared> {
        self.declared.as_ref()
    }

    /// It changes nothing: at worst it reads, or asks.
    pub fn reads_only(&self) -> bool {
        self.classes.iter().all(|class| class.only_reads())
    }

    /// The compiled input schema.
    pub(super) fn validator(&self) -> &Validator {
        &self.validator
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What must be known of a listed tool; the rest is its server's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    name: String,
    input_schema: Value,
}

/// SHA-256 over the canonical JSON (RFC 8785) of `pin`.
fn sha256(pin: &impl Serialize) -> std::io::Result<[u8; 32]> {
    let canonical = serde_json_canonicalizer::to_vec(pin)?;
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, &canonical).as_ref());
    Ok(sum)
}

/// Patterns run in linear time; where no draft is given, the schema says which it is.
fn validator(schema: &Value, draft: Option<Draft>) -> Result<Validator, String> {
    let options = jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(false);
    let options = match draft {
        Some(draft) => options.with_draft(draft),
        None => options,
    };
    let built = options.build(schema);
    built.map_err(|error| format!("its input schema: {error}"))
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
