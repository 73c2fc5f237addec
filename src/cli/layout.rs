//! Text from values: short tables, indented outlines, times, numbers. Everything that comes from
//! outside is escaped here.

use std::fmt::Write;

use serde_json::Value;

use crate::wire::text::{Escaped, escaped};

/// Longest text shown in one cell of a table, in characters.
const CELL: usize = 60;

/// A text member of a JSON object, escaped; empty where there is none.
pub(super) fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => Escaped::cut(text, 400).to_string(),
        Some(Value::Null) | None => String::new(),
        Some(other) => escaped(&other.to_string()),
    }
}

/// A number member; zero where there is none.
pub(super) fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `2 entries`, `1 entry`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

/// RFC 3339 as people read it: `2026-11-24 09:12:47 UTC`.
pub(super) fn time(text: &str) -> String {
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => escaped(&format!("{day} {time} UTC")),
        _ => escaped(text),
    }
}

/// Seconds as the two greatest units: `2 h 14 min`.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Bytes in the unit that fits: `1.2 GiB`.
pub(super) fn bytes(number: u64) -> String {
    let mut unit = ["KiB", "MiB", "GiB", "TiB"].into_iter();
    let (mut tenths, mut name) = (number.saturating_mul(10), "B");
    while tenths >= 10_240 {
        let Some(next) = unit.next() else { break };
        (tenths, name) = (tenths / 1024, next);
    }
    match name {
        "B" => format!("{number} B"),
        _ => format!("{}.{} {name}", tenths / 10, tenths % 10),
    }
}

/// Rows with aligned columns; cells are plain text.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A cell of a table: cut, escaped, `-` where empty.
pub(super) fn cell(text: &str) -> String {
    match text.is_empty() {
        true => "-".into(),
        false => Escaped::cut(text, CELL).to_string(),
    }
}

/// Text of several lines, each escaped, behind `indent`.
pub(super) fn block(text: &str, indent: &str) -> String {
    text.lines()
        .map(|line| format!("{indent}{}\n", tabs(line)))
        .collect()
}

/// Escaped, but tabs stay readable.
fn tabs(line: &str) -> String {
    line.split('\t')
        .map(escaped)
        .collect::<Vec<_>>()
        .join("    ")
}

/// Any JSON as an outline, one member a line.
pub(super) fn outline(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| member(&escaped(name), value, depth))
            .collect(),
        Value::Array(items) => items.iter().map(|item| member("-", item, depth)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            format!("{indent}{}\n", scalar(value))
        }
    }
}

fn member(name: &str, value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let colon = if name == "-" { "" } else { ":" };
    match value {
        Value::Null => String::new(),
        Value::Array(items) if items.is_empty() => String::new(),
        Value::Array(items)
            if items
                .iter()
                .all(|item| !item.is_object() && !item.is_array()) =>
        {
            let items: Vec<String> = items.iter().map(scalar).collect();
            format!("{indent}{name}{colon} {}\n", items.join(", "))
        }
        Value::Object(members) if name == "-" => {
            let inner: String = members
                .iter()
                .map(|(name, value)| member(&escaped(name), value, depth + 1))
                .collect();
            format!("{indent}- {}", inner.trim_start())
        }
        Value::Object(_) | Value::Array(_) => {
            format!("{indent}{name}{colon}\n{}", outline(value, depth + 1))
        }
        Value::String(text) if text.contains('\n') => {
            format!(
                "{indent}{name}{colon}\n{}",
                block(text, &format!("{indent}  "))
            )
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            format!("{indent}{name}{colon} {}\n", scalar(value))
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => escaped(text),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            escaped(&value.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_times_are_for_people() {
        assert_eq!(
            (grouped(0), grouped(999), grouped(1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!(count(1, "entry", "entries"), "1 entry");
        assert_eq!(
            time("2026-11-24T09:12:47.123456Z"),
            "2026-11-24 09:12:47 UTC"
        );
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(8_040), "2 h 14 min");
        assert_eq!(duration(200_000), "2 d 7 h");
        assert_eq!(
            (bytes(1023), bytes(1536), bytes(5 << 30)),
            ("1023 B".into(), "1.5 KiB".into(), "5.0 GiB".into())
        );
        assert_eq!(bytes(u64::MAX).split(' ').nth(1), Some("TiB"));
    }

    #[test]
    fn a_table_is_aligned_and_an_outline_is_escaped() {
        let rows = [
            vec!["a".into(), "long".into()],
            vec!["bcd".into(), "x".into()],
        ];
        assert_eq!(table(&rows), "a    long\nbcd  x\n");
        let value = json!({
            "decision": "forbid",
            "none": null,
            "list": ["a", 1],
            "rules": [{"id": "x\u{1b}", "reason": "two\nlines"}, {"id": "y"}],
        });
        assert_eq!(
            outline(&value, 0),
            "decision: forbid\nlist: a, 1\nrules:\n  - id: x\\u{1b}\n    reason:\n      two\n      lines\n  - id: y\n"
        );
    }
}
