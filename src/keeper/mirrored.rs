//! Arguments that a tool's schema wants in HTTP headers too (`x-mcp-header`, MCP 2026-07-28): what
//! the headers say must be what the arguments say. Nothing is decided by a header; whoever decided
//! by one on the way must not have been misled.

use serde_json::{Map, Value};

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
) -> Result<(), String> {
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

    fn told(arguments: &Value, headers: &[(&str, &str)]) -> Result<(), String> {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "count": {"type": "integer", "x-mcp-header": "Count"},
            "deep": {"type": "object", "properties": {
                "dry": {"type": "boolean", "x-mcp-header": "Dry"},
            }},
            "query": {"type": "string"},
        }});
        let headers: Vec<Header> = headers
            .iter()
            .map(|(name, said)| {
                let said = (*said != "?").then(|| (*said).to_owned());
                ((*name).to_owned(), said)
            })
            .collect();
        check(&schema, arguments.as_object().unwrap(), &headers)
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
}
