//! What a server says when it is asked what it has: messages and pages of listings, read strictly.
//! No input and no output here; whoever has a line gives it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::LISTED_MAX;
use super::report::Era;
use crate::error::{Error, Result};
use crate::wire::json::{self, Limits};
use crate::wire::text::{Escaped, escaped};

/// Longest message of a server while it is vetted, in bytes.
pub const MESSAGE_MAX: usize = 8 << 20;
/// Most pages of one listing.
pub const PAGES_MAX: usize = 64;
/// What one message may hold.
pub const LIMITS: Limits = Limits {
    bytes: MESSAGE_MAX,
    depth: 56,
    members: 10_000,
    values: 400_000,
};

/// One message of a server.
#[derive(Debug)]
pub enum Message {
    /// The result of the question of that number, as it was written.
    Result(u64, Box<RawValue>),
    /// An error in its place: code and text.
    Fault(u64, i64, String),
    /// The server asks something; its id as it was written.
    Asks(Box<RawValue>, String),
    /// It tells something.
    Tells(String),
}

#[derive(Deserialize)]
struct Envelope {
    jsonrpc: Option<String>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Box<RawValue>>,
    method: Option<String>,
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: i64,
    #[serde(default)]
    message: String,
}

/// `null` is a value too.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

impl Message {
    /// Reads one line; what a fuzzer calls.
    ///
    /// # Errors
    /// Says what of it is no message.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let wrong = |why: String| Error::new(format!("the server sent no message of MCP: {why}"));
        json::check(line, &LIMITS).map_err(|bad| wrong(bad.to_string()))?;
        let envelope: Envelope =
            serde_json::from_slice(line).map_err(|error| wrong(escaped(&error.to_string())))?;
        if envelope.jsonrpc.as_deref() != Some("2.0") {
            return Err(wrong("it is not of JSON-RPC 2.0".into()));
        }
        let number = |id: &RawValue| {
            let number = id.get().parse::<u64>();
            number.map_err(|_| {
                let shown = Escaped::cut(id.get(), 40).to_string();
                wrong(format!(
                    "it answers the question {shown}, which nobody asked"
                ))
            })
        };
        match (
            envelope.method,
            envelope.id,
            envelope.result,
            envelope.error,
        ) {
            (Some(method), Some(id), None, None) => Ok(Self::Asks(id, method)),
            (Some(method), None, None, None) => Ok(Self::Tells(method)),
            (None, Some(id), Some(result), None) => Ok(Self::Result(number(&id)?, result)),
            (None, Some(id), None, Some(fault)) => {
                Ok(Self::Fault(number(&id)?, fault.code, fault.message))
            }
            (None, None, None, Some(fault)) => {
                let shown = Escaped::cut(&fault.message, 200).to_string();
                Err(Error::new(format!("the server complains: {shown}")))
            }
            _ => Err(wrong(
                "it is neither question, nor answer, nor notice".into(),
            )),
        }
    }
}

/// Everything a server lists.
#[derive(Debug)]
pub struct Listed {
    /// How it speaks.
    pub era: Era,
    /// What it calls itself, escaped and cut.
    pub server: String,
    /// What it would have every model read.
    pub instructions: Option<String>,
    /// Its tools, as they were sent.
    pub tools: Vec<Box<RawValue>>,
    /// Its prompts.
    pub prompts: Vec<Box<RawValue>>,
    /// Its resources, and behind them their templates.
    pub resources: Vec<Box<RawValue>>,
}

/// One page of the listing whose objects are in member `key`.
///
/// # Errors
/// Says what of it is no page.
pub fn page(result: &RawValue, key: &str) -> Result<(Vec<Box<RawValue>>, Option<String>)> {
    let wrong = |why: &str| Error::new(format!("the server's listing of `{key}` {why}"));
    let members: std::collections::BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(result.get()).map_err(|_| wrong("is no object"))?;
    let list = members.get(key).ok_or_else(|| wrong("is missing"))?;
    let objects: Vec<Box<RawValue>> =
        serde_json::from_str(list.get()).map_err(|_| wrong("is no list"))?;
    if objects.len() > LISTED_MAX {
        return Err(wrong(&format!("has more than {LISTED_MAX} entries")));
    }
    let cursor = match members.get("nextCursor") {
        None => None,
        Some(cursor) => {
            serde_json::from_str(cursor.get()).map_err(|_| wrong("has a cursor that is no text"))?
        }
    };
    Ok((objects, cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let read = |text: &str| Message::parse(text.as_bytes());
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":7,"result":{"x":1}}"#),
            Ok(Message::Result(7, raw)) if raw.get() == r#"{"x":1}"#
        ));
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"no"}}"#),
            Ok(Message::Fault(7, -32601, text)) if text == "no"
        ));
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#),
            Ok(Message::Asks(id, _)) if id.get() == "\"a\""
        ));
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#),
            Ok(Message::Tells(_))
        ));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{}1{}}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        for (line, why) in [
            ("{}", "not of JSON-RPC 2.0"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "neither question"),
            (
                r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#,
                "duplicate key `id`",
            ),
            (
                r#"{"jsonrpc":"2.0","id":"1","result":{}}"#,
                "which nobody asked",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1}}"#,
                "neither question",
            ),
            (&deep, "nested deeper"),
            ("[]", "no message"),
        ] {
            let error = Message::parse(line.as_bytes()).unwrap_err();
            assert!(error.message().contains(why), "{line:.80}: {error}");
        }
        assert!(
            Message::parse(b"\xff")
                .unwrap_err()
                .message()
                .contains("not UTF-8")
        );
    }

    #[test]
    fn pages_keep_their_objects_bytes() {
        let raw = RawValue::from_string(r#"{"tools":[{"b":1, "a":2}],"nextCursor":"c"}"#.into());
        let (objects, cursor) = page(&raw.unwrap(), "tools").unwrap();
        assert_eq!(objects[0].get(), r#"{"b":1, "a":2}"#);
        assert_eq!(cursor.as_deref(), Some("c"));
        for text in [
            r#"{"tools":{}}"#,
            r#"{"tool":[]}"#,
            r#"{"tools":[],"nextCursor":7}"#,
            "7",
        ] {
            let raw = RawValue::from_string(text.into()).unwrap();
            assert!(page(&raw, "tools").is_err(), "{text}");
        }
    }
}
