//! Digests of what a server lists. Each object is read strictly (a key twice is refused: two readers
//! could see two tools), brought into its one canonical form (RFC 8785) with every member it has,
//! known or not, and hashed. The set is hashed too: a tool that is added, removed or renamed changes
//! it.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};
use serde_json::Value;
use serde_json::value::RawValue;

use super::LISTED_MAX;
use crate::error::{Error, Result};
use crate::wire::json::{self, Limits};
use crate::wire::text::{Escaped, hex};

/// Longest object of a listing, in bytes.
pub const OBJECT_MAX: usize = 256 << 10;
/// Longest name or URI of a listed object, in bytes.
pub const NAME_MAX: usize = 1_024;

/// What one listed object may hold.
pub const LIMITS: Limits = Limits {
    bytes: OBJECT_MAX,
    depth: 48,
    members: 2_000,
    values: 20_000,
};

/// Objects of one listing by the name that tells them apart, with their digests.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The objects, byte for byte as the server sent them.
    pub raw: BTreeMap<String, Box<RawValue>>,
    /// SHA-256 of the canonical form of each, hexadecimal.
    pub digests: BTreeMap<String, String>,
}

impl Listing {
    /// Of `objects`, each of which has its name in one of the members `keys` (the first it has).
    ///
    /// # Errors
    /// Fails on an object that is none, has no name or one of more than [`NAME_MAX`] bytes, is beyond
    /// [`LIMITS`], has a key twice, or has the name of another; on more than [`LISTED_MAX`].
    pub fn of(objects: Vec<Box<RawValue>>, keys: &[&str], what: &str) -> Result<Self> {
        if objects.len() > LISTED_MAX {
            return Err(Error::new(format!("more than {LISTED_MAX} {what}s")));
        }
        let mut listing = Self::default();
        for (place, raw) in objects.into_iter().enumerate() {
            let wrong = |why: String| Error::new(format!("the {what} {}: {why}", place + 1));
            let value = read(&raw).map_err(&wrong)?;
            let name = keys
                .iter()
                .find_map(|key| value.get(key))
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty() && name.len() <= NAME_MAX)
                .ok_or_else(|| wrong(format!("it has no `{}`", keys.join("` or `"))))?;
            let name = name.to_owned();
            let digest = of_value(&value).map_err(&wrong)?;
            if listing.digests.insert(name.clone(), digest).is_some() {
                let shown = Escaped::cut(&name, 100);
                return Err(wrong(format!("another one is called `{shown}` too")));
            }
            listing.raw.insert(name, raw);
        }
        Ok(listing)
    }

    /// The tools of `tools/list`.
    ///
    /// # Errors
    /// As [`Listing::of`].
    pub fn tools(objects: Vec<Box<RawValue>>) -> Result<Self> {
        Self::of(objects, &["name"], "tool")
    }

    /// The prompts of `prompts/list`.
    ///
    /// # Errors
    /// As [`Listing::of`].
    pub fn prompts(objects: Vec<Box<RawValue>>) -> Result<Self> {
        Self::of(objects, &["name"], "prompt")
    }

    /// The resources of `resources/list` and the templates of `resources/templates/list`.
    ///
    /// # Errors
    /// As [`Listing::of`].
    pub fn resources(objects: Vec<Box<RawValue>>) -> Result<Self> {
        Self::of(objects, &["uri", "uriTemplate"], "resource")
    }

    /// [`set`] over its digests.
    pub fn sha256(&self) -> String {
        set(&self.digests)
    }
}

/// Whether a listed object is a template of resources, and no resource.
pub fn is_template(raw: &RawValue) -> bool {
    read(raw).is_ok_and(|value| value.get("uri").is_none() && value.get("uriTemplate").is_some())
}

/// The object `raw` holds; what a fuzzer calls.
///
/// # Errors
/// Says why it is none, or not read.
pub fn read(raw: &RawValue) -> Result<Value, String> {
    let value = json::parse(raw.get().as_bytes(), &LIMITS).map_err(|bad| bad.to_string())?;
    match value.is_object() {
        true => Ok(value),
        false => Err("it is no object".into()),
    }
}

/// SHA-256 of the canonical form of a value, hexadecimal.
///
/// # Errors
/// Fails only on values that have no such form, which [`read`] gives none of.
pub fn of_value(value: &Value) -> Result<String, String> {
    let canonical = serde_json_canonicalizer::to_vec(value).map_err(|error| error.to_string())?;
    Ok(sha256(&canonical))
}

/// SHA-256 over names and digests of a whole listing, in the order of the names.
pub fn set(digests: &BTreeMap<String, String>) -> String {
    let parts: Vec<&str> = digests
        .iter()
        .flat_map(|(name, digest)| [name.as_str(), digest])
        .collect();
    tagged("keepgate/v1/connector-set", &parts)
}

/// SHA-256 over a tag and parts, each behind its length: `tag ‖ 0 ‖ (length(u64, little endian) ‖
/// part)…`, hexadecimal.
pub fn tagged(tag: &str, parts: &[&str]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(tag.as_bytes());
    context.update(&[0]);
    for part in parts {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        context.update(&length.to_le_bytes());
        context.update(part.as_bytes());
    }
    hex(context.finish().as_ref())
}

/// SHA-256 of bytes, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    fn digest(text: &str) -> String {
        let listing = Listing::tools(vec![raw(text)]).unwrap();
        listing.digests.into_values().next().unwrap()
    }

    #[test]
    fn order_and_spelling_do_not_count_and_everything_else_does() {
        let one = digest(r#"{"name":"a","x":{"b":1,"c":[1,2]}}"#);
        assert_eq!(
            one,
            digest(r#" { "x" : {"c":[1.0,2], "b":1e0}, "name":"\u0061" } "#)
        );
        for other in [
            r#"{"name":"a","x":{"b":1,"c":[2,1]}}"#,
            r#"{"name":"a","x":{"b":1,"c":[1,2]},"unknown":null}"#,
            r#"{"name":"a","x":{"b":"1","c":[1,2]}}"#,
            r#"{"name":"a ","x":{"b":1,"c":[1,2]}}"#,
        ] {
            assert_ne!(one, digest(other), "{other}");
        }
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        for (text, why) in [
            (r#"{"name":"a","name":"b"}"#, "duplicate key `name`"),
            (
                r#"{"name":"a","x":{"y":1,"\u0079":2}}"#,
                "duplicate key `y`",
            ),
            (r#"{"title":"a"}"#, "it has no `name`"),
            (r#"{"name":""}"#, "it has no `name`"),
            (r#"{"name":7}"#, "it has no `name`"),
            (r#"["name"]"#, "it is no object"),
        ] {
            let error = Listing::tools(vec![raw(text)]).unwrap_err();
            assert!(error.message().contains(why), "{text}: {error}");
        }
        let twice = vec![raw(r#"{"name":"a"}"#), raw(r#"{"name":"\u0061","x":1}"#)];
        let error = Listing::tools(twice).unwrap_err();
        assert!(
            error.message().contains("another one is called `a`"),
            "{error}"
        );
        let many = (0..=LISTED_MAX).map(|n| raw(&format!("{{\"name\":\"{n}\"}}")));
        assert!(Listing::tools(many.collect()).is_err());
    }

    #[test]
    fn the_set_knows_names_and_order_does_not_count() {
        let list = |texts: &[&str]| {
            let all = texts.iter().map(|text| raw(text)).collect();
            Listing::tools(all).unwrap().sha256()
        };
        let (a, b) = (r#"{"name":"a"}"#, r#"{"name":"b"}"#);
        assert_eq!(list(&[a, b]), list(&[b, a]));
        assert_ne!(list(&[a, b]), list(&[a]));
        assert_ne!(list(&[]), list(&[a]));
        assert_ne!(tagged("t", &["ab", "c"]), tagged("t", &["a", "bc"]));
    }
}
