//! What an agent gets: MCP's `CallToolResult`.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::refuse::Refusal;
use crate::audit::evidence::{Released, Status, Whose};
use crate::call::id::Id;

/// JSON-RPC: something below failed.
const INTERNAL_ERROR: i64 = -32603;
/// Ours: what was asked was refused, or failed here.
const REFUSED: i64 = -32001;
/// Longest message of a server's error, in characters.
const MESSAGE_MAX: usize = 4_096;

/// Name of the member of `_meta` that carries the request id.
const META: &str = "keepgate/request";

/// The result of a released answer: its JSON as text and as structured content. What was not done
/// is told as an error: agents' libraries hold other results against the tool's output schema.
pub(super) fn released(released: &Released) -> Vec<u8> {
    if released.whose() != Whose::Own {
        return released.result().to_vec();
    }
    let result = String::from_utf8_lossy(released.result());
    if !matches!(released.status(), Status::Done | Status::Rehearsed) {
        let value: Value = serde_json::from_str(&result).unwrap_or_default();
        let class = value
            .get("class")
            .and_then(Value::as_str)
            .unwrap_or("failed");
        let say = value.get("message").and_then(Value::as_str);
        return error(class, None, say, None, released.call());
    }
    let text = Value::from(result.as_ref()).to_string();
    let meta = json!({META: released.call()});
    format!(
        "{{\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\
         \"structuredContent\":{result},\"isError\":false,\"_meta\":{meta}}}"
    )
    .into_bytes()
}

/// A server's JSON-RPC error.
#[derive(Debug)]
pub(super) struct Fault {
    /// Its code.
    pub(super) code: i64,
    /// Its message, cut.
    pub(super) message: String,
    /// Raw JSON of its data; empty where it has none.
    pub(super) data: String,
}

/// Reads the error object of a server; what cannot be read is an internal error.
pub(super) fn fault(raw: &[u8]) -> Fault {
    #[derive(Deserialize)]
    struct Said<'a> {
        code: i64,
        message: String,
        #[serde(default, borrow)]
        data: Option<&'a RawValue>,
    }
    let said: Result<Said<'_>, _> = serde_json::from_slice(raw);
    match said {
        Ok(said) => Fault {
            code: said.code,
            message: said.message.chars().take(MESSAGE_MAX).collect(),
            data: said
                .data
                .map(|data| data.get().to_owned())
                .unwrap_or_default(),
        },
        Err(_) => Fault {
            code: INTERNAL_ERROR,
            message: "the tool's server failed".into(),
            data: String::new(),
        },
    }
}

/// The result of a refusal.
pub(super) fn refused(refusal: &Refusal, call: Id) -> Vec<u8> {
    error(
        refusal.class,
        refusal.argument.as_deref(),
        refusal.say.as_deref(),
        refusal.limit,
        call,
    )
}

/// A refusal of what is no tool: its results have no place to say so.
pub(super) fn refused_beside(refusal: &Refusal, call: Id) -> (i64, String) {
    let say = refusal.say.as_deref();
    (
        REFUSED,
        sentence(refusal.class, refusal.argument.as_deref(), say, call),
    )
}

/// The same, of what ended without a result.
pub(super) fn failed_beside(released: &Released) -> (i64, String) {
    let value: Value = serde_json::from_slice(released.result()).unwrap_or_default();
    let text = |name| value.get(name).and_then(Value::as_str);
    let class = text("class").unwrap_or("failed");
    (
        REFUSED,
        sentence(class, None, text("message"), released.call()),
    )
}

fn error(
    class: &str,
    argument: Option<&str>,
    say: Option<&str>,
    limit: Option<(&str, u64)>,
    call: Id,
) -> Vec<u8> {
    let text = sentence(class, argument, say, call);
    let mut meta = json!({META: call, "keepgate/class": class});
    if let (Some((which, wait)), Some(members)) = (limit, meta.as_object_mut()) {
        members.insert("keepgate/limit".into(), which.into());
        members.insert("keepgate/retry_after_s".into(), wait.into());
    }
    let value = json!({
        "content": [{"type": "text", "text": text}],
        "isError": true,
        "_meta": meta,
    });
    value.to_string().into_bytes()
}

fn sentence(class: &str, argument: Option<&str>, say: Option<&str>, call: Id) -> String {
    let mut text = class.to_owned();
    if let Some(argument) = argument {
        text.push_str(&format!(" (argument `{argument}`)"));
    }
    if let Some(say) = say {
        text.push_str(&format!(": {say}"));
    }
    text.push_str(&format!("; request {call}"));
    text
}
