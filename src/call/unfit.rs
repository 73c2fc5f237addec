//! Why arguments are not what a tool takes: told to the agent, so that it can mend them.
//!
//! An argument's name is shown escaped and cut; its value is never shown, because the same sentence
//! goes into the log beside the masked arguments.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use crate::wire::text::Escaped;

/// The class of arguments that are not what the tool takes.
pub(super) const BAD_ARGUMENT: &str = "bad_argument";
/// The class of arguments over a limit of bytes.
pub(super) const TOO_LARGE: &str = "too_large";

/// Characters of a name that are shown.
const NAME_SHOWN: usize = 64;
/// Choices of an enumeration that are shown.
const CHOICES_SHOWN: usize = 12;

/// Arguments that are no call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// `bad_argument` or `too_large`.
    pub class: &'static str,
    /// The argument to blame: its name, and below it the way to the value (`headers/Accept`).
    /// Escaped and cut; nothing where no single one is to blame.
    pub argument: Option<String>,
    /// What was expected: one sentence that holds no value.
    pub say: String,
}

impl Unfit {
    /// Blames no single argument.
    pub(super) fn whole(class: &'static str, say: impl Into<String>) -> Self {
        Self {
            class,
            argument: None,
            say: say.into(),
        }
    }

    /// Blames the argument `name`.
    pub(super) fn argument(name: &str, say: impl Into<String>) -> Self {
        Self {
            argument: Some(shown(name)),
            ..Self::whole(BAD_ARGUMENT, say)
        }
    }

    /// What the schema found first.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other kind is worded elsewhere"
    )]
    pub(super) fn schema(error: &ValidationError<'_>) -> Self {
        let at = error.instance_path().to_string();
        let at = at.strip_prefix('/').unwrap_or_default();
        let below = |name: &str| {
            if at.is_empty() {
                name.into()
            } else {
                format!("{at}/{name}")
            }
        };
        let (at, say) = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let name = unexpected.first().map(String::as_str).unwrap_or_default();
                (below(name), "there is no such argument".to_owned())
            }
            ValidationErrorKind::Required { property } => (
                below(property.as_str().unwrap_or_default()),
                "it is missing".to_owned(),
            ),
            kind => (at.to_owned(), expected(kind, error)),
        };
        if at.is_empty() {
            Self::whole(BAD_ARGUMENT, say)
        } else {
            Self::argument(&at, say)
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a keyword without words of its own is named, whatever it is"
)]
fn expected(kind: &ValidationErrorKind, error: &ValidationError<'_>) -> String {
    match kind {
        ValidationErrorKind::Type { kind } => {
            let wanted = match kind {
                TypeKind::Single(one) => one.to_string(),
                TypeKind::Multiple(set) => set
                    .iter()
                    .map(|one| one.to_string())
                    .collect::<Vec<_>>()
                    .join(" or "),
            };
            format!("expected {wanted}, not {}", type_of(error.instance()))
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let names = options
                .iter()
                .take(CHOICES_SHOWN)
                .map(|one| format!("`{}`", shown_value(one)));
            format!("expected one of {}", names.collect::<Vec<_>>().join(", "))
        }
        ValidationErrorKind::Constant { expected_value } => {
            format!("expected `{}`", shown_value(expected_value))
        }
        ValidationErrorKind::MinLength { limit: 1 } => "it is empty".into(),
        ValidationErrorKind::MinLength { limit } => format!("expected at least {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("expected at most {limit} characters"),
        ValidationErrorKind::Minimum { limit } => format!("expected at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("expected at most {limit}"),
        ValidationErrorKind::MinItems { limit } => format!("expected at least {limit} items"),
        ValidationErrorKind::MaxItems { limit } => format!("expected at most {limit} items"),
        ValidationErrorKind::MaxProperties { limit } => format!("expected at most {limit} members"),
        ValidationErrorKind::Pattern { pattern } => {
            format!(
                "expected a text that matches `{}`",
                Escaped::cut(pattern, NAME_SHOWN)
            )
        }
        ValidationErrorKind::PropertyNames { .. } => {
            "a name in it is not one that is allowed".into()
        }
        // The product's own tools use no other keyword; a foreign tool's is named.
        other => format!("it does not fit the schema's `{}`", shown(other.keyword())),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn shown(name: &str) -> String {
    Escaped::cut(name, NAME_SHOWN).to_string()
}

fn shown_value(value: &Value) -> String {
    match value.as_str() {
        Some(text) => shown(text),
        None => shown(&value.to_string()),
    }
}
