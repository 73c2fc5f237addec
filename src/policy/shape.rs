//! The part of JSON Schema that Cedar has types for, and values of it as Cedar sees them.
//!
//! What has no Cedar type (numbers with fractions, unions, open objects) is left out of the schema
//! and of every question alike, so a rule can never rest on half a value.

use std::collections::BTreeMap;

use cedar_policy::RestrictedExpression;
use serde_json::{Map, Value, json};

/// Words that cannot be attribute names in Cedar's schema.
const RESERVED: [&str; 10] = [
    "true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar",
];

/// A type both languages have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Flag,
    Whole,
    Text,
    Set(Box<Shape>),
    Record(Fields),
}

/// The members of a closed object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(BTreeMap<String, Field>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    shape: Shape,
    required: bool,
}

impl Shape {
    fn of(schema: &Value) -> Option<Self> {
        match schema.get("type").and_then(Value::as_str)? {
            "boolean" => Some(Self::Flag),
            "integer" => Some(Self::Whole),
            "string" => Some(Self::Text),
            "array" => {
                let open = schema.get("prefixItems").is_none();
                let items = schema.get("items").filter(|_| open)?;
                Self::of(items).map(|shape| Self::Set(Box::new(shape)))
            }
            "object" => {
                let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
                closed.then(|| Self::Record(Fields::of(schema)))
            }
            _ => None,
        }
    }

    /// As JSON Schema again, with nothing in it but types.
    fn plain(&self) -> Value {
        match self {
            Self::Flag => json!({"type": "boolean"}),
            Self::Whole => json!({"type": "integer"}),
            Self::Text => json!({"type": "string"}),
            Self::Set(items) => json!({"type": "array", "items": items.plain()}),
            Self::Record(fields) => fields.plain(),
        }
    }

    /// Some value of this type.
    fn example(&self) -> Option<RestrictedExpression> {
        match self {
            Self::Flag => Some(RestrictedExpression::new_bool(true)),
            Self::Whole => Some(RestrictedExpression::new_long(1)),
            Self::Text => Some(RestrictedExpression::new_string("x".into())),
            Self::Set(items) => items
                .example()
                .map(|item| RestrictedExpression::new_set([item])),
            Self::Record(fields) => fields.example(),
        }
    }

    fn expression(&self, value: &Value) -> Option<RestrictedExpression> {
        match (self, value) {
            (Self::Flag, Value::Bool(flag)) => Some(RestrictedExpression::new_bool(*flag)),
            (Self::Whole, Value::Number(number)) => {
                number.as_i64().map(RestrictedExpression::new_long)
            }
            (Self::Text, Value::String(text)) => {
                Some(RestrictedExpression::new_string(text.clone()))
            }
            (Self::Set(shape), Value::Array(items)) => {
                let items = items.iter().map(|item| shape.expression(item));
                items
                    .collect::<Option<Vec<_>>>()
                    .map(RestrictedExpression::new_set)
            }
            (Self::Record(fields), Value::Object(members)) => fields.expression(members),
            _ => None,
        }
    }
}

impl Fields {
    /// The arguments in a tool's input schema that Cedar has types for.
    pub(super) fn of(schema: &Value) -> Self {
        let required = schema.get("required").and_then(Value::as_array);
        let required = |name: &String| {
            required.is_some_and(|names| names.iter().any(|one| one.as_str() == Some(name)))
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let fields = properties
            .into_iter()
            .flatten()
            .filter(|(name, _)| nameable(name));
        Self(
            fields
                .filter_map(|(name, schema)| {
                    let field = Field {
                        shape: Shape::of(schema)?,
                        required: required(name),
                    };
                    Some((name.clone(), field))
                })
                .collect(),
        )
    }

    /// As JSON Schema again, with nothing in it but names and types.
    pub(super) fn plain(&self) -> Value {
        let properties: Map<String, Value> = self
            .0
            .iter()
            .map(|(name, field)| (name.clone(), field.shape.plain()))
            .collect();
        let required: Vec<&String> = self
            .0
            .iter()
            .filter(|(_, field)| field.required)
            .map(|(name, _)| name)
            .collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }

    /// Members that have a field, as a Cedar record; `None` where one is not what its field says.
    pub(super) fn expression(&self, members: &Map<String, Value>) -> Option<RestrictedExpression> {
        let mut pairs = Vec::with_capacity(self.0.len());
        for (name, field) in &self.0 {
            match members.get(name) {
                Some(value) => pairs.push((name.clone(), field.shape.expression(value)?)),
                None if field.required => return None,
                None => {}
            }
        }
        RestrictedExpression::new_record(pairs).ok()
    }

    /// A record with a value for every field, required or not.
    pub(super) fn example(&self) -> Option<RestrictedExpression> {
        let pair = |(name, field): (&String, &Field)| Some((name.clone(), field.shape.example()?));
        let pairs = self.0.iter().map(pair).collect::<Option<Vec<_>>>()?;
        RestrictedExpression::new_record(pairs).ok()
    }

    /// Members that have a field, for people: what a rule can see.
    pub(super) fn visible(&self, members: &Map<String, Value>) -> Map<String, Value> {
        let seen = members
            .iter()
            .filter(|(name, _)| self.0.contains_key(*name));
        seen.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

fn nameable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cedar_has_no_type_for_is_left_out() {
        let fields = Fields::of(&json!({
            "type": "object",
            "properties": {
                "text": {"type": "string", "enum": ["a"], "format": "date"},
                "whole": {"type": "integer"},
                "flag": {"type": "boolean"},
                "list": {"type": "array", "items": {"type": "string"}},
                "closed": {
                    "type": "object",
                    "properties": {"x": {"type": "integer"}, "y": {"type": "number"}},
                    "required": ["x", "y"],
                    "additionalProperties": false,
                },
                "open": {"type": "object", "additionalProperties": {"type": "string"}},
                "fraction": {"type": "number"},
                "either": {"type": ["string", "null"]},
                "anything": {},
                "mixed": {"type": "array"},
                "in": {"type": "string"},
                "a-b": {"type": "string"},
            },
            "required": ["text", "either"],
        }));
        let closed = json!({
            "type": "object",
            "properties": {"x": {"type": "integer"}},
            "required": ["x"],
            "additionalProperties": false,
        });
        assert_eq!(
            fields.plain(),
            json!({
                "type": "object",
                "properties": {
                    "closed": closed,
                    "flag": {"type": "boolean"},
                    "list": {"type": "array", "items": {"type": "string"}},
                    "text": {"type": "string"},
                    "whole": {"type": "integer"},
                },
                "required": ["text"],
                "additionalProperties": false,
            })
        );
        let value = |value: Value| value.as_object().cloned().unwrap_or_default();
        assert!(
            fields
                .expression(&value(json!({"text": "x", "open": {"a": "b"}})))
                .is_some()
        );
        assert!(fields.expression(&value(json!({"text": 1}))).is_none());
        assert!(fields.expression(&value(json!({"whole": 1}))).is_none());
        assert!(
            fields
                .expression(&value(json!({"text": "x", "whole": 1.5})))
                .is_none()
        );
    }
}
