//! An entry as one line.

use serde_json::Value;

use crate::cli::layout::{number, text};
use crate::cli::print::{Screen, Style};
use crate::wire::text::Escaped;

/// Longest rest of a line, in characters.
const REST: usize = 80;
/// Longest text shown beside its name, in characters.
const SHORT: usize = 24;

/// Number, time, kind, and what matters of it.
pub(super) fn row(screen: &Screen, entry: &Value) -> String {
    let empty = Value::Null;
    let body = entry.get("body").unwrap_or(&empty);
    let (kind, seq) = (text(entry, "kind"), number(entry, "seq"));
    let time = text(entry, "time");
    let time = time.get(..19).unwrap_or(&time).replace('T', " ");
    let style = match (kind.as_str(), text(body, "status").as_str()) {
        ("call.refused" | "quota.exceeded" | "front.malformed" | "log.recovered", _) => {
            Some(Style::Warn)
        }
        (_, "failed" | "unknown") => Some(Style::Bad),
        ("call.intent", _) => None,
        (_, "done" | "rehearsed") => Some(Style::Good),
        _ => None,
    };
    let kind = format!("{kind:<15}");
    let kind = style.map_or(kind.clone(), |style| screen.paint(style, kind));
    format!("{seq:>8}  {time}  {kind} {}", what(body))
        .trim_end()
        .to_owned()
}

/// The members a reader looks for, in one order; where there are none of them, all there are, with
/// what is short of them.
fn what(body: &Value) -> String {
    const WORDS: [&str; 11] = [
        "agent", "tool", "mode", "status", "class", "argument", "call", "uid", "file", "digest",
        "why",
    ];
    // The digest of a call says nothing to people; its id does.
    let call = body.get("call").is_some();
    let words: Vec<String> = WORDS
        .iter()
        .filter(|name| !(call && **name == "digest"))
        .filter_map(|name| {
            let value = text(body, name);
            let cut = if *name == "digest" { 12 } else { REST };
            (!value.is_empty()).then(|| value.chars().take(cut).collect())
        })
        .collect();
    if !words.is_empty() {
        return words.join("  ");
    }
    let all: Vec<String> = body
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| match value {
            Value::String(text) if text.chars().count() <= SHORT => format!("{name} {text}"),
            Value::Number(_) | Value::Bool(_) => format!("{name} {value}"),
            Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => name.clone(),
        })
        .collect();
    Escaped::cut(&all.join(", "), REST).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_says_who_did_what_and_how_it_ended() {
        let entry = json!({
            "seq": 8812, "time": "2026-11-24T09:12:47.123456Z", "kind": "call.refused",
            "body": {"agent": "a", "tool": "file.read", "class": "not_permitted", "call": "7q2k",
                     "digest": "aa", "rules": ["x"]},
        });
        assert_eq!(
            row(&Screen::new(false, true), &entry),
            "    8812  2026-11-24 09:12:47  call.refused    a  file.read  not_permitted  7q2k"
        );
        let odd =
            json!({"seq": 0, "time": "x", "kind": "segment", "body": {"size": 0, "\u{1b}": 1}});
        assert_eq!(
            row(&Screen::new(false, true), &odd),
            "       0  x  segment         size 0, \\u{1b} 1"
        );
    }
}
