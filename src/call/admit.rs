//! From raw argument bytes to a [`Call`].

use std::fmt;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use ring::digest::{Context, SHA256};
use serde_json::{Map, Value};

use super::id::Id;
use super::kind;
use super::path::RootPath;
use super::tool::{Meaning, Tool};
use super::unfit::{BAD_ARGUMENT, TOO_LARGE, Unfit};
use crate::time::Timestamp;
use crate::wire::json;
use crate::wire::messages::ARGUMENTS_MAX;

/// Arrays and objects inside each other in the arguments of a call, at most.
pub const DEPTH_MAX: usize = 32;

/// Separates this digest from every other one in Keepgate.
const TAG: &[u8] = b"keepgate/v1/call\0";

/// Who calls, as Keepgate itself knows it.
#[derive(Debug)]
pub struct Caller {
    /// The enrolled agent whose socket it came from.
    pub agent: String,
    /// The task it belongs to.
    pub run: Id,
    /// The request id.
    pub call: Id,
    /// When it came.
    pub received: Timestamp,
}

/// A call whose limits, form, schema and tool pin were checked. Only [`admit`] makes one.
pub struct Call {
    caller: Caller,
    tool: Arc<Tool>,
    arguments: Map<String, Value>,
    canonical: Vec<u8>,
    digest: [u8; 32],
}

/// Checks raw argument bytes against the contract of `tool`.
///
/// # Errors
/// Refuses over [`ARGUMENTS_MAX`] bytes, anything but one strict JSON object (see
/// [`json::parse`]) of at most [`DEPTH_MAX`] levels, what the tool's input schema refuses, paths
/// that are none, and values that are not of the kind that a manifest declares. The first thing
/// wrong is named.
pub fn admit(raw: &[u8], tool: &Arc<Tool>, caller: Caller) -> Result<Call, Unfit> {
    if raw.len() > ARGUMENTS_MAX {
        return Err(over());
    }
    let limits = json::Limits {
        bytes: ARGUMENTS_MAX,
        depth: DEPTH_MAX,
        ..json::Limits::default()
    };
    let value = json::parse(raw, &limits)
        .map_err(|bad| Unfit::whole(BAD_ARGUMENT, format!("the arguments are not JSON: {bad}")))?;
    if !value.is_object() {
        return Err(Unfit::whole(
            BAD_ARGUMENT,
            "the arguments are not an object",
        ));
    }
    if let Some(error) = tool.validator().iter_errors(&value).next() {
        return Err(Unfit::schema(&error));
    }
    let canonical = serde_json_canonicalizer::to_vec(&value)
        .map_err(|_| Unfit::whole(BAD_ARGUMENT, "the arguments have no canonical form"))?;
    if canonical.len() > ARGUMENTS_MAX {
        return Err(over());
    }
    let Value::Object(arguments) = value else {
        return Err(Unfit::whole(
            BAD_ARGUMENT,
            "the arguments are not an object",
        ));
    };
    check_groups(tool, &arguments)?;
    check_paths(tool, &arguments)?;
    check_kinds(tool, &arguments)?;
    let digest = digest(tool, &canonical);
    Ok(Call {
        caller,
        tool: Arc::clone(tool),
        arguments,
        canonical,
        digest,
    })
}

/// Checks what is known already of the arguments of a later call, where `pending` are still to
/// come: what is wrong with them then is wrong with them now.
///
/// # Errors
/// As [`admit`].
pub fn foresee(tool: &Tool, known: &Map<String, Value>, pending: &[&str]) -> Result<(), Unfit> {
    let value = Value::Object(known.clone());
    let comes = |name: &str| pending.contains(&name);
    for error in tool.validator().iter_errors(&value) {
        let within = !error.instance_path().to_string().is_empty();
        let lacks = if let ValidationErrorKind::Required { property } = error.kind() {
            !property.as_str().is_some_and(comes)
        } else {
            matches!(
                error.kind(),
                ValidationErrorKind::AdditionalProperties { .. }
            )
        };
        if within || lacks {
            return Err(Unfit::schema(&error));
        }
    }
    check_kinds(tool, known)
}

impl Call {
    /// The request id.
    pub fn id(&self) -> Id {
        self.caller.call
    }

    /// The enrolled agent.
    pub fn agent(&self) -> &str {
        &self.caller.agent
    }

    /// The task it belongs to.
    pub fn run(&self) -> Id {
        self.caller.run
    }

    /// The pinned contract it was checked against.
    pub fn tool(&self) -> &Arc<Tool> {
        &self.tool
    }

    /// The arguments.
    pub fn arguments(&self) -> &Map<String, Value> {
        &self.arguments
    }

    /// The arguments as canonical JSON (RFC 8785).
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// SHA-256 over a tag, the tool's pin and the canonical arguments: what is judged, approved
    /// and recorded.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// When it came.
    pub fn received(&self) -> Timestamp {
        self.caller.received
    }

    /// Whoever made it, for a call that stands in for it, or follows from it.
    pub fn caller(&self) -> Caller {
        Caller {
            agent: self.caller.agent.clone(),
            ..self.caller
        }
    }
}

impl fmt::Debug for Call {
    /// Without the arguments, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("caller", &self.caller)
            .field("tool", &self.tool)
            .field("bytes", &self.canonical.len())
            .finish_non_exhaustive()
    }
}

fn check_groups(tool: &Tool, arguments: &Map<String, Value>) -> Result<(), Unfit> {
    for group in tool.exactly_one() {
        if group
            .iter()
            .filter(|name| arguments.contains_key(*name))
            .count()
            != 1
        {
            let names = group
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>();
            let say = format!("give exactly one of {}", names.join(" and "));
            return Err(match group.first() {
                Some(first) => Unfit::argument(first, say),
                None => Unfit::whole(BAD_ARGUMENT, say),
            });
        }
    }
    Ok(())
}

fn check_paths(tool: &Tool, arguments: &Map<String, Value>) -> Result<(), Unfit> {
    for (name, meaning) in tool.meanings() {
        let Some(text) = arguments.get(name).and_then(Value::as_str) else {
            continue;
        };
        match meaning {
            Meaning::RootPathOrRoots if text == "." => {}
            Meaning::RootPath | Meaning::RootPathOrRoots => {
                RootPath::parse(text).map_err(|fault| Unfit::argument(name, fault.to_string()))?;
            }
            // What a URL or a header is allowed to be is for the rules to say, on the record.
            Meaning::Url | Meaning::Headers => {}
        }
    }
    Ok(())
}

fn check_kinds(tool: &Tool, arguments: &Map<String, Value>) -> Result<(), Unfit> {
    let parameters = tool.declared().map(|declared| &declared.parameters);
    for (name, parameter) in parameters.into_iter().flatten() {
        let (Some(kind), Some(value)) = (parameter.kind, arguments.get(name)) else {
            continue;
        };
        kind::check(kind, value).map_err(|unkind| {
            let name = format!("{name}{}", unkind.at);
            Unfit::argument(&name, unkind.say)
        })?;
    }
    Ok(())
}

fn digest(tool: &Tool, canonical: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(TAG);
    context.update(tool.digest());
    context.update(canonical);
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

fn over() -> Unfit {
    Unfit::whole(
        TOO_LARGE,
        format!("the arguments are longer than {ARGUMENTS_MAX} bytes"),
    )
}
