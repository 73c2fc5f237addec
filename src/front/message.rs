//! One line of an agent as a JSON-RPC 2.0 message, or why it is none.
//!
//! The arguments of a call and the id of a request keep the bytes they came with.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::reply;
pub(super) use crate::wire::jsonrpc::{present, string};
use crate::wire::text::Escaped;
use crate::wire::{json, jsonrpc};

/// Longest line of an agent, in bytes: the largest arguments and half as much around them.
pub const LINE_MAX: usize = 3 << 19;
/// Longest id, in bytes as it is written.
const ID_MAX: usize = 256;
/// Most messages of one batch.
const BATCH_MAX: usize = 64;
/// Characters of a method that an error shows.
const METHOD_SHOWN: usize = 64;

/// JSON-RPC: the line is not JSON.
pub(super) const PARSE_ERROR: i64 = -32700;
/// JSON-RPC: JSON, but not a request.
pub(super) const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC: no such method.
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: a method's parameters are not what it takes.
pub(super) const INVALID_PARAMS: i64 = -32602;
/// JSON-RPC: not the agent's fault.
pub(super) const INTERNAL_ERROR: i64 = -32603;
/// Ours, from the range for servers: too much at one time.
pub(super) const BUSY: i64 = -32000;

/// A message that keeps the form of JSON-RPC.
#[derive(Debug)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// Given back in the answer.
        id: RequestId,
        /// What is asked.
        method: String,
        /// An object, as it came.
        params: Option<&'a RawValue>,
    },
    /// Wants none.
    Notification {
        /// What is told.
        method: String,
        /// An object, as it came.
        params: Option<&'a RawValue>,
    },
    /// An answer to what the front asked, or never did.
    Response {
        /// Of the question.
        key: Key,
        /// It is a result.
        ok: bool,
        /// The result or the error, as it came.
        raw: &'a RawValue,
    },
}

/// The id of a request: the text it came as, which is what goes back, and what it means, which is
/// what it is compared by.
#[derive(Debug, Clone)]
pub struct RequestId {
    /// As it came: JSON without a newline.
    pub(super) raw: String,
    key: Key,
}

impl RequestId {
    /// What the id means.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}

/// What an id means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A whole number.
    Number(i64),
    /// Text, unescaped.
    Text(String),
}

/// Why a line is refused.
#[derive(Debug)]
pub struct Refusal {
    id: Option<RequestId>,
    code: i64,
    /// For the log: holds nothing of the line.
    what: String,
    /// For the agent: may hold escaped parts of the line.
    detail: Option<Box<str>>,
    /// Raw JSON for the agent, beside the text.
    data: Option<Box<str>>,
}

impl Refusal {
    pub(super) fn new(code: i64, what: impl Into<String>) -> Self {
        Self {
            id: None,
            code,
            what: what.into(),
            detail: None,
            data: None,
        }
    }

    pub(super) fn of(mut self, id: &RequestId) -> Self {
        self.id = Some(id.clone());
        self
    }

    /// A method that does not exist here.
    pub(super) fn unknown(method: &str) -> Self {
        let detail = format!("unknown method `{}`", Escaped::cut(method, METHOD_SHOWN));
        Self {
            detail: Some(detail.into()),
            ..Self::new(METHOD_NOT_FOUND, "unknown method")
        }
    }

    /// What was wrong, without a byte of what came.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// Tells the agent `detail`, which may hold escaped parts of what it sent.
    pub(super) fn saying(mut self, detail: String) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what programs read.
    pub(super) fn with(mut self, data: &serde_json::Value) -> Self {
        self.data = Some(data.to_string().into());
        self
    }

    /// JSON-RPC's code.
    pub(super) fn code(&self) -> i64 {
        self.code
    }

    /// It was not even a message.
    pub(super) fn is_form(&self) -> bool {
        self.code == PARSE_ERROR || self.code == INVALID_REQUEST
    }

    /// The line that tells the agent.
    pub(super) fn line(&self) -> Vec<u8> {
        reply::error(
            self.id.as_ref(),
            self.code,
            self.detail.as_deref().unwrap_or(&self.what),
            self.data.as_deref().unwrap_or_default().as_bytes(),
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail.as_deref().unwrap_or(&self.what))
    }
}

/// Whether a line is a batch: only revision 2025-03-26 has them.
pub(super) fn is_batch(line: &[u8]) -> bool {
    let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
    first == Some(&b'[')
}

/// The messages of a batch, each as it came and none of them read yet. Takes any bytes.
///
/// # Errors
/// Refuses what is not strict JSON, no array, or has no message or more than 64.
pub fn batch(line: &[u8]) -> Result<Vec<&RawValue>, Refusal> {
    strict(line)?;
    let Few(messages) = serde_json::from_slice(line).map_err(|_| {
        let what = format!("a batch is an array of 1 to {BATCH_MAX} messages");
        Refusal::new(INVALID_REQUEST, what)
    })?;
    Ok(messages)
}

/// What [`batch`] takes.
struct Few<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Few<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Few<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a batch")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Few<'de>, A::Error> {
                let mut few = Vec::new();
                while let Some(one) = all.next_element()? {
                    if few.len() == BATCH_MAX {
                        return Err(A::Error::custom("too many"));
                    }
                    few.push(one);
                }
                match few.is_empty() {
                    true => Err(A::Error::custom("none")),
                    false => Ok(Few(few)),
                }
            }
        }
        from.deserialize_seq(Each)
    }
}

fn strict(line: &[u8]) -> Result<(), Refusal> {
    let limits = json::Limits {
        bytes: LINE_MAX,
        ..json::Limits::default()
    };
    json::check(line, &limits).map_err(|bad| Refusal {
        detail: Some(bad.to_string().into()),
        ..Refusal::new(PARSE_ERROR, format!("{} at byte {}", bad.what, bad.offset))
    })
}

/// Reads one line. Takes any bytes.
///
/// # Errors
/// Refuses what is not strict JSON (see [`json`]) or not one JSON-RPC 2.0 message; batches too.
pub fn read(line: &[u8]) -> Result<Message<'_>, Refusal> {
    strict(line)?;
    let invalid = |what: &str| Refusal::new(INVALID_REQUEST, what);
    let envelope = jsonrpc::Envelope::read(line).map_err(invalid)?;
    let id = envelope.id.map(request_id).transpose()?;
    let message = envelope.message().map_err(|what| match &id {
        Some(id) => Refusal::new(INVALID_REQUEST, what).of(id),
        None => Refusal::new(INVALID_REQUEST, what),
    })?;
    Ok(match (message, id) {
        (jsonrpc::Message::Request { method, params, .. }, Some(id)) => {
            Message::Request { id, method, params }
        }
        (jsonrpc::Message::Response { answer, .. }, Some(id)) => Message::Response {
            key: id.key,
            ok: answer.is_ok(),
            raw: answer.unwrap_or_else(|error| error),
        },
        (jsonrpc::Message::Notification { method, params }, _) => {
            Message::Notification { method, params }
        }
        // Neither is one without an id.
        (jsonrpc::Message::Request { .. } | jsonrpc::Message::Response { .. }, None) => {
            return Err(invalid("neither a request nor a response"));
        }
    })
}

fn request_id(raw: &RawValue) -> Result<RequestId, Refusal> {
    let text = raw.get();
    if text.len() > ID_MAX {
        return Err(Refusal::new(
            INVALID_REQUEST,
            format!("`id` is longer than {ID_MAX} bytes"),
        ));
    }
    let key = key(raw).ok_or_else(|| {
        Refusal::new(
            INVALID_REQUEST,
            "`id` is neither a string nor a whole number",
        )
    })?;
    Ok(RequestId {
        raw: text.to_owned(),
        key,
    })
}

/// What an id means; `None` for what is no id.
pub(super) fn key(raw: &RawValue) -> Option<Key> {
    match raw.get().starts_with('"') {
        true => string(raw).map(Key::Text),
        // `1.0` and `1e0` are whole, but would not come back in any form a client compares.
        false => raw.get().parse().ok().map(Key::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        let refusal = read(line.as_bytes()).unwrap_err();
        String::from_utf8(refusal.line()).unwrap()
    }

    #[test]
    fn a_request_keeps_its_bytes() {
        let line = br#" {"jsonrpc":"2.0","id":"\u0061\n","method":"ping","params":{ "a" : 1 },"more":[]} "#;
        let Message::Request { id, method, params } = read(line).unwrap() else {
            panic!()
        };
        assert_eq!(id.key, Key::Text("a\n".into()));
        assert_eq!(
            (method.as_str(), params.unwrap().get()),
            ("ping", "{ \"a\" : 1 }")
        );
        let answer = String::from_utf8(reply::result(&id, &[b"{\n\"x\":1\r\n}"])).unwrap();
        assert_eq!(
            answer,
            "{\"jsonrpc\":\"2.0\",\"id\":\"\\u0061\\n\",\"result\":{ \"x\":1  }}\n"
        );
    }

    #[test]
    fn the_other_kinds_are_told_apart() {
        assert!(matches!(
            read(br#"{"jsonrpc":"2.0","method":"x"}"#).unwrap(),
            Message::Notification { params: None, .. }
        ));
        for line in [
            r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
            r#"{"jsonrpc":"2.0","id":"a","error":{}}"#,
        ] {
            let message = read(line.as_bytes()).unwrap();
            assert!(matches!(message, Message::Response { ok, .. } if ok == line.contains("null")));
        }
    }

    #[test]
    fn every_malformed_line_is_refused_precisely() {
        for (line, id, code, why) in [
            (
                "{",
                "null",
                -32700,
                "expected a key in double quotes at byte 1",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#,
                "null",
                -32700,
                "duplicate key `method` at byte 37",
            ),
            ("7", "null", -32600, "a message is an object"),
            (
                "[]",
                "null",
                -32600,
                "a batch is no message; send one message a line",
            ),
            (
                r#"{"id":1,"method":"a"}"#,
                "1",
                -32600,
                "`jsonrpc` is not \\\"2.0\\\"",
            ),
            (
                r#"{"jsonrpc":2.0,"id":1,"method":"a"}"#,
                "1",
                -32600,
                "`jsonrpc` is not \\\"2.0\\\"",
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#,
                "null",
                -32600,
                "`id` is neither a string nor a whole number",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#,
                "null",
                -32600,
                "`id` is neither a string nor a whole number",
            ),
            (
                r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#,
                "null",
                -32600,
                "`id` is neither a string nor a whole number",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
                "1",
                -32600,
                "`method` is not a string",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":null}"#,
                "1",
                -32600,
                "`method` is not a string",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1}"#,
                "1",
                -32600,
                "neither a request nor a response",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
                "1",
                -32600,
                "a result and an error at the same time",
            ),
            (
                r#"{"jsonrpc":"2.0","result":1}"#,
                "null",
                -32600,
                "neither a request nor a response",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","error":null}"#,
                "1",
                -32600,
                "a request and a response at the same time",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[]}"#,
                "1",
                -32600,
                "`params` is not an object",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","params":null}"#,
                "1",
                -32600,
                "`params` is not an object",
            ),
        ] {
            let told = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{code},\"message\":\"{why}\"}}}}\n"
            );
            assert_eq!(refused(line), told);
        }
        let long = format!(
            r#"{{"jsonrpc":"2.0","id":"{}","method":"a"}}"#,
            "x".repeat(255)
        );
        assert!(refused(&long).contains("`id` is longer than 256 bytes"));
    }

    #[test]
    fn the_log_learns_no_payload() {
        let refusal = read(br#"{"secret":1,"secret":2}"#).unwrap_err();
        assert_eq!(refusal.what(), "duplicate key at byte 12");
        assert_eq!(Refusal::unknown("secret").what(), "unknown method");
    }
}
