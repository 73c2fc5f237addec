//! A tool as the server of a connector lists it: its bytes are kept, because they are what was
//! pinned, and unknown members are as much a part of it as known ones.

use serde_json::Value;
use serde_json::value::RawValue;

use super::declared::Declared;
use crate::wire::jsonrpc::Members;

/// A tool of a connector: what its server says of it, and what its manifest declares.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Name of the connector: letters, digits and `-`.
    pub connector: &'a str,
    /// SHA-256 of the connector's manifest, lower-case hex: what is declared is part of the pin.
    pub manifest: &'a str,
    /// The complete `Tool` object, byte for byte.
    pub raw: &'a RawValue,
    /// What its manifest declares, without what cannot be acted on.
    pub declared: &'a Declared,
    /// Its name on the wire begins with the connector's.
    pub prefix: bool,
}

/// `raw` with another `name`; everything else keeps its bytes. Nothing where it is no object with
/// a name.
pub(super) fn renamed(raw: &RawValue, name: &str) -> Option<Box<RawValue>> {
    let mut members = Members::of(raw.get())?;
    members.get("name")?;
    members.set("name", Value::from(name).to_string());
    RawValue::from_string(members.json()).ok()
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
        for odd in ["[]", "{}"] {
            let raw = RawValue::from_string(odd.into()).unwrap();
            assert_eq!(renamed(&raw), None, "{odd}");
        }
    }
}
