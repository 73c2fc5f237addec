//! Arguments that a tool's schema wants in HTTP headers too (`x-mcp-header`, MCP 2026-07-28): what
//! the headers say must be what the arguments say. Nothing is decided by a header; whoever decided
//! by one on the way must not have been misled.
//!
//! Both ways: what comes from an agent is checked ([`check`]), and what goes to a server elsewhere has
//! its headers ([`of`]), if the tool's schema marks its properties as it may ([`marks`]).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::wire::messages::MIRRORED_MAX;
use crate::wire::text::Escaped;

/// The headers are called this and the name in the schema, in any case.
const PREFIX: &str = "mcp-param-";
/// The member of a property's schema that names a header.
const MARK: &str = "x-mcp-header";

/// A header's name in lower case, and its text; none where that could not be decoded.
pub(super) type Header = (String, Option<String>);

/// Compares. `headers` are all that came with a request over HTTP.
///
/// # Errors
/// The name of the first header that is missing, or does not say what its argument says.
pub(super) fn check(
    schema: &Value,
    arguments: &Map<String, Value>,
    headers: &[Header],
) -> std::result::Result<(), String> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Ok(());
    };
    let none = Map::new();
    for (name, property) in properties {
        let value = arguments.get(name).filter(|value| !value.is_null());
        if let Some(mark) = property.get(MARK).and_then(Value::as_str) {
            let wanted = format!("{PREFIX}{}", mark.to_ascii_lowercase());
            let mut found = headers.iter().filter(|(header, _)| *header == wanted);
            let agrees = match (value, found.next(), found.next()) {
                (None, None, _) => true,
                (Some(value), Some((_, Some(said))), None) => says(value, said),
                (None, Some(_), _) | (Some(_), None, _) | (Some(_), Some(_), _) => false,
            };
            if !agrees {
                return Err(format!("Mcp-Param-{mark}"));
            }
        }
        // Only what is reached by names alone can be marked.
        let inner = value.and_then(Value::as_object).unwrap_or(&none);
        check(property, inner, headers)?;
    }
    Ok(())
}

/// The headers that say what the arguments say: the name behind `Mcp-Param-`, and the text before it
/// is encoded. None of a property that is absent or null.
///
/// # Errors
/// The name of the first property whose value has no text, or with which all are longer than
/// [`MIRRORED_MAX`].
pub(super) fn of(
    schema: &Value,
    arguments: &Map<String, Value>,
) -> std::result::Result<Vec<(String, String)>, String> {
    let mut headers = Vec::new();
    collect(schema, arguments, &mut headers)?;
    Ok(headers)
}

fn collect(
    schema: &Value,
    arguments: &Map<String, Value>,
    headers: &mut Vec<(String, String)>,
) -> std::result::Result<(), String> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Ok(());
    };
    for (name, property) in properties {
        let Some(value) = arguments.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        if let Some(mark) = property.get(MARK).and_then(Value::as_str) {
            let text = text(value).ok_or_else(|| name.clone())?;
            headers.push((mark.to_owned(), text));
            let long = |(name, text): &(String, String)| name.len().saturating_add(text.len());
            if headers.iter().map(long).sum::<usize>() > MIRRORED_MAX {
                return Err(name.clone());
            }
        }
        if let Some(inner) = value.as_object() {
            collect(property, inner, headers)?;
        }
    }
    Ok(())
}

/// A value as text: of texts, truths and whole numbers that every reader has the same of.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => whole(number.as_f64()?),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn whole(number: f64) -> Option<String> {
    let safe = number.fract() == 0.0 && number.abs() <= SAFE;
    // Without a sign of nothing: `-0` is `0`.
    safe.then(|| format!("{:.0}", number + 0.0))
}

/// Looks whether a schema marks its properties as it may (MCP 2026-07-28, "Schema Extension").
///
/// # Errors
/// Says what mark is wrong: one that is no name of a header, is used twice, is on what is no text,
/// truth or whole number, or is not reached from the top by `properties` alone.
pub(super) fn marks(schema: &Value) -> Result<()> {
    let wrong = |why: String| Error::new(format!("`{MARK}` in its input schema {why}"));
    let mut seen = BTreeSet::new();
    if schema.get(MARK).is_some() {
        return Err(wrong("is on the whole of it".into()));
    }
    walk(schema, true, 0, &mut seen).map_err(wrong)
}

/// Deepest schema that is looked through.
const DEPTH_MAX: usize = 64;
/// Greatest whole number that is the same for every reader (2^53 - 1).
const SAFE: f64 = 9_007_199_254_740_991.0;
/// Keywords whose members are schemas by any names.
const NAMED: [&str; 5] = [
    "$defs",
    "definitions",
    "dependentSchemas",
    "patternProperties",
    "properties",
];
/// Keywords that hold values and no schemas.
const VALUES: [&str; 4] = ["const", "default", "enum", "examples"];

/// `reached`: from the top by `properties` alone.
fn walk(
    schema: &Value,
    reached: bool,
    depth: usize,
    seen: &mut BTreeSet<String>,
) -> std::result::Result<(), String> {
    if depth > DEPTH_MAX {
        return Err("lies too deep to be looked for".into());
    }
    let parts = match schema {
        Value::Object(parts) => parts,
        Value::Array(all) => {
            let mut all = all.iter();
            return all.try_for_each(|one| walk(one, false, depth + 1, seen));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Ok(()),
    };
    if let Some(mark) = parts.get(MARK) {
        mark_of(mark, parts, reached, seen)?;
    }
    for (keyword, part) in parts {
        let keyword = keyword.as_str();
        match part.as_object().filter(|_| NAMED.contains(&keyword)) {
            Some(named) => {
                let reached = reached && keyword == "properties";
                for one in named.values() {
                    walk(one, reached, depth + 1, seen)?;
                }
            }
            None if keyword == MARK || VALUES.contains(&keyword) => {}
            None => walk(part, false, depth + 1, seen)?,
        }
    }
    Ok(())
}

fn mark_of(
    mark: &Value,
    property: &Map<String, Value>,
    reached: bool,
    seen: &mut BTreeSet<String>,
) -> std::result::Result<(), String> {
    let name = mark.as_str().unwrap_or_default();
    let shown = Escaped::cut(name, 64);
    // RFC 9110, section 5.6.2.
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(letter) {
        return Err(format!("is no name of a header: `{shown}`"));
    }
    if !reached {
        return Err(format!("is where no argument has one place: `{shown}`"));
    }
    let kind = property.get("type").and_then(Value::as_str);
    if !matches!(kind, Some("string" | "integer" | "boolean")) {
        return Err(format!(
            "is on what is no text, truth or whole number: `{shown}`"
        ));
    }
    match seen.insert(name.to_ascii_lowercase()) {
        true => Ok(()),
        false => Err(format!("is used twice: `{shown}`")),
    }
}

/// A header's text is this value. Numbers are the same in any notation.
fn says(value: &Value, said: &str) -> bool {
    match value {
        Value::String(text) => text == said,
        Value::Bool(truth) => said == if *truth { "true" } else { "false" },
        Value::Number(number) => said
            .parse::<f64>()
            .is_ok_and(|said| number.as_f64() == Some(said)),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "count": {"type": "integer", "x-mcp-header": "Count"},
            "deep": {"type": "object", "properties": {
                "dry": {"type": "boolean", "x-mcp-header": "Dry"},
            }},
            "query": {"type": "string"},
        }})
    }

    fn told(arguments: &Value, headers: &[(&str, &str)]) -> std::result::Result<(), String> {
        let headers: Vec<Header> = headers
            .iter()
            .map(|(name, said)| {
                let said = (*said != "?").then(|| (*said).to_owned());
                ((*name).to_owned(), said)
            })
            .collect();
        check(&schema(), arguments.as_object().unwrap(), &headers)
    }

    #[test]
    fn headers_say_what_the_arguments_say() {
        let arguments =
            json!({"region": "us-west1", "count": 42, "deep": {"dry": true}, "query": "x"});
        let region = ("mcp-param-region", "us-west1");
        let (count, dry) = (("mcp-param-count", "42.0"), ("mcp-param-dry", "true"));
        assert_eq!(told(&arguments, &[region, count, dry]), Ok(()));
        assert_eq!(told(&json!({"query": "x", "region": null}), &[]), Ok(()));
        let other = ("mcp-param-region", "us-east1");
        for (arguments, headers, wrong) in [
            (&arguments, vec![count, dry], "Region"),
            (&arguments, vec![other, count, dry], "Region"),
            (&arguments, vec![region, region, count, dry], "Region"),
            (
                &arguments,
                vec![("mcp-param-region", "?"), count, dry],
                "Region",
            ),
            (
                &arguments,
                vec![region, ("mcp-param-count", "43"), dry],
                "Count",
            ),
            (&arguments, vec![region, count], "Dry"),
            (
                &arguments,
                vec![region, count, ("mcp-param-dry", "True")],
                "Dry",
            ),
            (&json!({}), vec![region], "Region"),
            (&json!({"region": null}), vec![region], "Region"),
        ] {
            assert_eq!(told(arguments, &headers), Err(format!("Mcp-Param-{wrong}")));
        }
    }

    #[test]
    fn arguments_have_their_headers_and_nothing_else_has() {
        let made = |arguments: Value| of(&schema(), arguments.as_object().unwrap());
        let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let all = json!({"region": " größe\r\nHost: x", "count": -7, "deep": {"dry": true}, "query": "q"});
        let mut headers = made(all.clone()).unwrap();
        headers.sort();
        let expected = [
            text("Count", "-7"),
            text("Dry", "true"),
            text("Region", " größe\r\nHost: x"),
        ];
        assert_eq!(headers, expected);
        // What is made is what is checked.
        let said: Vec<Header> = headers
            .iter()
            .map(|(name, text)| {
                (
                    format!("{PREFIX}{}", name.to_lowercase()),
                    Some(text.clone()),
                )
            })
            .collect();
        assert_eq!(check(&schema(), all.as_object().unwrap(), &said), Ok(()));
        assert_eq!(made(json!({"region": null, "query": "q"})), Ok(Vec::new()));
        for (number, said) in [
            (json!(42.0), "42"),
            (json!(-0.0), "0"),
            (json!(9_007_199_254_740_991_u64), "9007199254740991"),
        ] {
            assert_eq!(
                made(json!({"count": number})).unwrap(),
                [text("Count", said)]
            );
        }
        for wrong in [
            json!(1.5),
            json!(9_007_199_254_740_993_u64),
            json!([1]),
            json!({}),
        ] {
            assert_eq!(
                made(json!({"count": wrong})),
                Err("count".into()),
                "{wrong}"
            );
        }
        let long = "x".repeat(MIRRORED_MAX);
        assert_eq!(made(json!({"region": long})), Err("region".into()));
    }

    #[test]
    fn a_schema_that_marks_what_it_may_not_is_refused() {
        let of = |properties: Value| marks(&json!({"type": "object", "properties": properties}));
        marks(&schema()).unwrap();
        // A property may be called like the mark, and data may hold it.
        of(json!({"x-mcp-header": {"type": "string", "default": {"x-mcp-header": 1}}})).unwrap();
        let marked = |mark: &str| json!({"type": "string", "x-mcp-header": mark});
        for (properties, why) in [
            (json!({"a": marked("")}), "no name"),
            (json!({"a": marked("A b")}), "no name"),
            (json!({"a": marked("A\r\nB")}), "no name"),
            (
                json!({"a": {"type": "string", "x-mcp-header": 7}}),
                "no name",
            ),
            (json!({"a": marked("X"), "b": marked("x")}), "twice"),
            (
                json!({"a": {"type": "number", "x-mcp-header": "X"}}),
                "whole number",
            ),
            (json!({"a": {"x-mcp-header": "X"}}), "whole number"),
            (
                json!({"a": {"type": "array", "items": marked("X")}}),
                "one place",
            ),
            (json!({"a": {"anyOf": [marked("X")]}}), "one place"),
            (json!({"a": {"if": marked("X")}}), "one place"),
            (
                json!({"a": {"type": "object", "patternProperties": {".": marked("X")}}}),
                "one place",
            ),
        ] {
            let error = of(properties).unwrap_err().message();
            assert!(error.contains(why), "{why}: {error}");
        }
        let top = marks(&json!({"type": "object", "x-mcp-header": "X"})).unwrap_err();
        assert!(top.message().contains("the whole"), "{top}");
        let defs = json!({"type": "object", "$defs": {"d": marked("X")}});
        assert!(marks(&defs).unwrap_err().message().contains("one place"));
    }
}
