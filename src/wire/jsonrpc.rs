//! JSON-RPC 2.0 messages as agents and servers send them: one object each, every member but the
//! envelope's own kept as the bytes it came with.
//!
//! What is not strict JSON ([`super::json`]) is refused before anything here looks at it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The members of a message that mean something; others pass.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    /// The id as it came, of whatever kind.
    #[serde(default, borrow, deserialize_with = "present")]
    pub id: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A message that keeps the form of JSON-RPC.
#[derive(Debug)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// As it came.
        id: &'a RawValue,
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
    /// An answer: a result, or an error.
    Response {
        /// As it came.
        id: &'a RawValue,
        /// As it came, of whatever kind.
        answer: Result<&'a RawValue, &'a RawValue>,
    },
}

impl<'a> Envelope<'a> {
    /// The envelope of one message; `line` is strict JSON.
    ///
    /// # Errors
    /// Refuses batches and whatever is no object, in words that hold nothing of the line.
    pub fn read(line: &'a [u8]) -> Result<Self, &'static str> {
        match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            Some(b'[') => return Err("a batch is no message; send one message a line"),
            Some(_) | None => return Err("a message is an object"),
        }
        serde_json::from_slice(line).map_err(|_| "a message is an object")
    }

    /// What kind of message it is.
    ///
    /// # Errors
    /// Says what is wrong with it, in words that hold nothing of the line.
    pub fn message(self) -> Result<Message<'a>, &'static str> {
        if self.jsonrpc.and_then(string).as_deref() != Some("2.0") {
            return Err("`jsonrpc` is not \"2.0\"");
        }
        let answer = match (self.result, self.error) {
            (Some(result), None) => Some(Ok(result)),
            (None, Some(error)) => Some(Err(error)),
            (None, None) => None,
            (Some(_), Some(_)) => return Err("a result and an error at the same time"),
        };
        let Some(method) = self.method else {
            return match (answer, self.id) {
                (Some(answer), Some(id)) => Ok(Message::Response { id, answer }),
                _ => Err("neither a request nor a response"),
            };
        };
        if answer.is_some() {
            return Err("a request and a response at the same time");
        }
        let method = string(method).ok_or("`method` is not a string")?;
        let params = self.params;
        if params.is_some_and(|params| !params.get().starts_with('{')) {
            return Err("`params` is not an object");
        }
        Ok(match self.id {
            Some(id) => Message::Request { id, method, params },
            None => Message::Notification { method, params },
        })
    }
}

/// A member that is there, even as `null`.
///
/// # Errors
/// As the deserialiser.
pub fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// The text of a JSON string; `None` for other values.
pub fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// JSON on one line: it has newlines only between tokens, where a space means the same.
pub fn one_line(mut line: Vec<u8>) -> Vec<u8> {
    if let Some((_, body)) = line.split_last_mut() {
        body.iter_mut()
            .filter(|byte| matches!(**byte, b'\n' | b'\r'))
            .for_each(|byte| *byte = b' ');
    }
    line
}

/// An object's members in the order in which they came, values as the bytes they came with.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Members<'a> {
    /// Takes an object apart; `None` for other values.
    pub fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The value of a member, as JSON.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_ref())
    }

    /// Gives a member another value (JSON) where it stands, or adds it at the end.
    pub fn set(&mut self, name: &'static str, json: impl Into<Cow<'a, str>>) {
        let json = json.into();
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, value)) => *value = json,
            None => self.0.push((name.into(), json)),
        }
    }

    /// Takes a member away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// Keeps the members whose name is good.
    pub fn keep(&mut self, good: impl Fn(&str) -> bool) {
        self.0.retain(|(key, _)| good(key));
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object.
    pub fn json(&self) -> String {
        let length = self
            .0
            .iter()
            .map(|(key, value)| key.len() + value.len() + 8);
        let mut text = String::with_capacity(length.sum::<usize>() + 2);
        text.push('{');
        for (key, value) in &self.0 {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&serde_json::Value::from(key.as_ref()).to_string());
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        text
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((key.into(), value.get().into()));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_result_or_an_error() {
        let read = |line: &'static str| Envelope::read(line.as_bytes()).unwrap().message();
        let Ok(Message::Response { id, answer }) = read(r#"{"jsonrpc":"2.0","id": 7,"result":{}}"#)
        else {
            panic!()
        };
        assert_eq!((id.get(), answer.unwrap().get()), ("7", "{}"));
        let Ok(Message::Response { id, answer }) =
            read(r#"{"jsonrpc":"2.0","id":null,"error":{"a" :1}}"#)
        else {
            panic!()
        };
        assert_eq!(
            (id.get(), answer.unwrap_err().get()),
            ("null", "{\"a\" :1}")
        );
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":1,"result":1,"error":1}"#).unwrap_err(),
            "a result and an error at the same time"
        );
    }

    #[test]
    fn members_keep_their_order_and_bytes() {
        let text = r#"{ "b" : 1.0e0, "\u0061":[ ], "c":"\u0041" }"#;
        let mut members = Members::of(text).unwrap();
        assert_eq!(members.get("a"), Some("[ ]"));
        members.set("a", "2");
        members.set("d", "null");
        members.remove("c");
        assert_eq!(members.json(), r#"{"b":1.0e0,"a":2,"d":null}"#);
        members.keep(|name| name == "x");
        assert!(members.is_empty() && members.json() == "{}");
        assert!(Members::of("[]").is_none());
    }
}
