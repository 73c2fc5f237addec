//! A JSON object taken apart by its members, each of which keeps its bytes: what is not understood
//! passes as it came.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Members in the order they came.
#[derive(Debug, Default, Clone)]
pub(super) struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Takes raw JSON apart; nothing, where it is no object.
    pub(super) fn parse(raw: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(raw).ok()
    }

    /// The value of a member.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| *value)
    }

    /// Keeps the members whose names `keep` likes.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.members.retain(|(name, _)| keep(name));
    }

    /// It has no members.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The object with `value`, raw JSON, as its member `name`, in place of an earlier one.
    pub(super) fn with(&self, name: &str, value: &[u8]) -> Vec<u8> {
        let mut rest = self.clone();
        rest.retain(|known| known != name);
        let mut raw = Vec::from(*b"{");
        push(&mut raw, name, value);
        rest.push_all(&mut raw);
        raw.push(b'}');
        raw
    }

    /// The object.
    pub(super) fn raw(&self) -> Vec<u8> {
        let mut raw = Vec::from(*b"{");
        self.push_all(&mut raw);
        raw.push(b'}');
        raw
    }

    fn push_all(&self, raw: &mut Vec<u8>) {
        for (name, value) in &self.members {
            push(raw, name, value.get().as_bytes());
        }
    }
}

/// `raw` with each of `more` that it does not have, at its beginning; unchanged, where it is no
/// object. Every other byte stays as it is.
pub(super) fn completed(raw: &[u8], more: &[(&str, &[u8])]) -> Vec<u8> {
    let Some(object) = Object::parse(raw) else {
        return raw.to_vec();
    };
    let start = raw.iter().position(|byte| *byte == b'{');
    let rest = start.and_then(|start| raw.get(start + 1..)).unwrap_or(b"}");
    let mut whole = Vec::with_capacity(raw.len() + 128);
    whole.push(b'{');
    for (name, value) in more {
        if object.get(name).is_none() {
            push(&mut whole, name, value);
        }
    }
    if whole.len() > 1 && !object.is_empty() {
        whole.push(b',');
    }
    whole.extend_from_slice(rest);
    whole
}

fn push(raw: &mut Vec<u8>, name: &str, value: &[u8]) {
    if raw.len() > 1 {
        raw.push(b',');
    }
    raw.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
    raw.push(b':');
    raw.extend_from_slice(value);
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Object { members })
            }
        }
        from.deserialize_map(Members)
    }
}

/// A member's name, unescaped; borrowed where nothing was escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: Vec<u8>) -> String {
        String::from_utf8(raw).unwrap()
    }

    #[test]
    fn members_keep_their_bytes() {
        let raw = br#" { "a" : 1.0 , "\u0062":{ "x": [ ] } } "#;
        let mut object = Object::parse(raw).unwrap();
        assert_eq!(object.get("b").unwrap().get(), r#"{ "x": [ ] }"#);
        assert_eq!(
            text(object.with("a", b"\"t\"")),
            r#"{"a":"t","b":{ "x": [ ] }}"#
        );
        assert_eq!(
            text(object.with("c\"", b"2")),
            r#"{"c\"":2,"a":1.0,"b":{ "x": [ ] }}"#
        );
        object.retain(|name| name == "a");
        assert_eq!(text(object.raw()), r#"{"a":1.0}"#);
        assert!(Object::parse(b"[]").is_none() && Object::parse(b"{").is_none());
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let more: &[(&str, &[u8])] = &[("resultType", b"\"complete\""), ("ttlMs", b"0")];
        for (raw, whole) in [
            ("{}", r#"{"resultType":"complete","ttlMs":0}"#),
            (" {\n}", "{\"resultType\":\"complete\",\"ttlMs\":0\n}"),
            (
                r#"{ "ttlMs" : 5,"x":[1, 2]}"#,
                r#"{"resultType":"complete", "ttlMs" : 5,"x":[1, 2]}"#,
            ),
            (
                r#"{"resultType":"input_required","ttlMs":1}"#,
                r#"{"resultType":"input_required","ttlMs":1}"#,
            ),
            ("[1]", "[1]"),
        ] {
            assert_eq!(text(completed(raw.as_bytes(), more)), whole);
        }
    }
}
