//! Values that occur in many places of a manifest.

use std::path::{Component, PathBuf};

use serde_json::Value;
use toml::Spanned;

use super::From;
use crate::catalog::connector::MANY;
use crate::error::Result;
use crate::jail::profile::Place;
use crate::wire::text::Escaped;

/// Longest text of one value, in bytes.
const TEXT_MAX: usize = 4_096;
/// Longest name of a tool, parameter, header or variable, in bytes.
pub(super) const NAME_MAX: usize = 256;

pub(super) fn cut(text: &str) -> Escaped<'_> {
    Escaped::cut(text, 100)
}

/// A limit: at least 1, at most `most`.
pub(super) fn number(
    said: Option<Spanned<u64>>,
    most: u64,
    source: From<'_>,
) -> Result<Option<u64>> {
    let Some(said) = said else { return Ok(None) };
    let value = *said.get_ref();
    match (1..=most).contains(&value) {
        true => Ok(Some(value)),
        false => Err(source.place(&said).wrong(
            format!("{value} is out of bounds"),
            format!("1 to {most}; what a manifest does not name keeps its default"),
        )),
    }
}

pub(super) fn few(number: usize, what: &str, place: &Place) -> Result<()> {
    if number <= MANY {
        return Ok(());
    }
    Err(place.wrong(format!("more than {MANY} {what}"), "make two connectors"))
}

/// A value of text: no NUL, not too long.
pub(super) fn text(said: &Spanned<String>, source: From<'_>) -> Result<String> {
    let text = said.get_ref();
    if text.len() > TEXT_MAX || text.contains('\0') {
        return Err(source.place(said).wrong(
            "the text is too long or holds a NUL",
            format!("at most {TEXT_MAX} bytes"),
        ));
    }
    Ok(text.clone())
}

/// A text of one line.
pub(super) fn line(said: &Spanned<String>, source: From<'_>) -> Result<String> {
    let text = text(said, source)?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(source.place(said).wrong(
            "the text is empty or has more than one line",
            "one line of text",
        ));
    }
    Ok(text)
}

/// A key of a table that a server or publisher chose.
pub(super) fn named(said: Spanned<String>, what: &str, source: From<'_>) -> Result<String> {
    let name = said.get_ref();
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(source.place(&said).wrong(
            format!("`{}` cannot be the name of {what}", cut(name)),
            format!("1 to {NAME_MAX} bytes on one line"),
        ));
    }
    Ok(said.into_inner())
}

pub(super) fn word<T: Copy>(
    said: &Spanned<String>,
    all: &[T],
    name: impl Fn(T) -> &'static str,
    what: &str,
    source: From<'_>,
) -> Result<T> {
    let found = all.iter().copied().find(|one| name(*one) == said.get_ref());
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        let what = format!("`{}` is no {what}", cut(said.get_ref()));
        source.place(said).wrong(what, names.join(", "))
    })
}

pub(super) fn path(said: &Spanned<PathBuf>, source: From<'_>) -> Result<PathBuf> {
    let path = said.get_ref();
    let shown = path.to_string_lossy();
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || shown.len() > TEXT_MAX || shown.contains('\0') {
        return Err(source.place(said).wrong(
            format!("the path `{}` is not absolute", cut(&shown)),
            "begin with `/`",
        ));
    }
    if !path.components().all(plain) {
        return Err(source.place(said).wrong(
            format!("the path `{}` holds `..`", cut(&shown)),
            "write where it leads",
        ));
    }
    Ok(path.components().collect())
}

pub(super) fn sha256(said: &Spanned<String>, source: From<'_>) -> Result<String> {
    let text = said.get_ref();
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == 64 && text.bytes().all(hex) {
        return Ok(text.clone());
    }
    Err(source.place(said).wrong(
        format!("`{}` is no SHA-256", cut(text)),
        "64 digits of 0-9 and a-f",
    ))
}

pub(super) fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

pub(super) fn pointer(said: &Spanned<String>, source: From<'_>) -> Result<String> {
    let text = text(said, source)?;
    if is_pointer(&text) {
        return Ok(text);
    }
    Err(source.place(said).wrong(
        format!("`{}` is no JSON pointer", cut(&text)),
        "begin with `/`, such as `/items/0/id`; the empty text means all",
    ))
}

/// A TOML value as JSON; times, infinities and what is no number have no form there.
pub(super) fn json(value: toml::Value, place: &Place) -> Result<Value> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Boolean(on) => Value::Bool(on),
        toml::Value::Float(number) if number.is_finite() => Value::from(number),
        toml::Value::Array(items) => {
            let items = items.into_iter().map(|item| json(item, place));
            Value::Array(items.collect::<Result<_>>()?)
        }
        toml::Value::Table(members) => {
            let members = members
                .into_iter()
                .map(|(name, value)| Ok((name, json(value, place)?)));
            Value::Object(members.collect::<Result<_>>()?)
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) => {
            return Err(place.wrong(
                "the value has no form in JSON",
                "write times as texts, and numbers as they are",
            ));
        }
    })
}
