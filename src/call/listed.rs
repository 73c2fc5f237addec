//! A tool as the server of a connector lists it: its bytes are kept, because they are what was
//! pinned, and unknown members are as much a part of it as known ones.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::tool::{EffectClass, Reversibility};

/// A tool of a connector: what its server says of it, and what its manifest declares.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Name of the connector: letters, digits and `-`.
    pub connector: &'a str,
    /// SHA-256 of the connector's manifest, lower-case hex: what is declared is part of the pin.
    pub manifest: &'a str,
    /// The complete `Tool` object, byte for byte.
    pub raw: &'a RawValue,
    /// What it may do to the world at worst.
    pub class: EffectClass,
    /// Whether that can be taken back.
    pub reversibility: Reversibility,
    /// Its name on the wire begins with the connector's.
    pub prefix: bool,
}

/// The members of an object in their order, values untouched.
#[derive(Debug)]
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object).map(Self)
    }
}

/// `raw` with another `name`; everything else keeps its bytes. Nothing where it is no object with
/// one name.
pub(super) fn renamed(raw: &RawValue, name: &str) -> Option<Box<RawValue>> {
    let Members(members) = serde_json::from_str(raw.get()).ok()?;
    let mut found = 0;
    let mut text = String::with_capacity(raw.get().len() + name.len());
    let name = serde_json::Value::from(name).to_string();
    for (key, value) in &members {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&serde_json::Value::from(key.as_str()).to_string());
        text.push(':');
        let named = key == "name";
        found += usize::from(named);
        text.push_str(if named { &name } else { value.get() });
    }
    text.push('}');
    RawValue::from_string(text).ok().filter(|_| found == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_is_exchanged() {
        let raw = RawValue::from_string(
            r#"{ "x-y": 1.50, "name" : "a", "inputSchema":{ "b" :1e3}, "name2":"a"}"#.into(),
        );
        let renamed = |raw: &RawValue| renamed(raw, "c__\"").map(|raw| raw.get().to_owned());
        assert_eq!(
            renamed(&raw.unwrap()).as_deref(),
            Some(r#"{"x-y":1.50,"name":"c__\"","inputSchema":{ "b" :1e3},"name2":"a"}"#)
        );
        for odd in ["[]", "{}", r#"{"name":"a","name":"b"}"#] {
            let raw = RawValue::from_string(odd.into()).unwrap();
            assert_eq!(renamed(&raw), None, "{odd}");
        }
    }
}
