//! What readers of files say, in words for people.

use super::text::escaped;

/// Characters of a name that are compared.
const COMPARED: usize = 64;
/// Types of this program's own, as serde names them, and what they are in a file.
const TYPES: [(&str, &str); 10] = [
    ("i64", "a whole number"),
    ("u64", "a whole number"),
    ("u32", "a whole number"),
    ("u16", "a whole number"),
    ("usize", "a whole number"),
    ("f64", "a number"),
    ("a sequence", "a list"),
    ("a map", "a table"),
    ("a boolean", "`true` or `false`"),
    ("a string", "a text"),
];

/// What a TOML reader said, on one line, without names of types, and with the key that was probably
/// meant where there is no such key.
pub fn said(message: &str) -> String {
    let mut line = message.lines().map(escaped).collect::<Vec<_>>().join("; ");
    for (ours, theirs) in TYPES {
        line = line.replace(&format!("expected {ours}"), &format!("expected {theirs}"));
    }
    for kind in ["struct ", "tuple struct "] {
        let from = format!("expected {kind}");
        while let Some(at) = line.find(&from) {
            let rest = line.get(at + from.len()..).unwrap_or_default();
            let end = rest.find(|c: char| !c.is_alphanumeric());
            let rest = end.and_then(|end| rest.get(end..)).unwrap_or_default();
            let before = line.get(..at).unwrap_or_default();
            line = format!("{before}expected a table{rest}");
        }
    }
    let mut quoted = line.split('`').skip(1).step_by(2);
    let meant = quoted.next().filter(|_| line.starts_with("unknown "));
    let meant = meant.and_then(|name| nearest(name, &quoted.collect::<Vec<_>>()));
    match meant {
        Some(meant) => format!("{line}; did you mean `{meant}`?"),
        None => line,
    }
}

/// The known name that differs least from `name`, where it differs little: by a third of its letters.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let cut = |name: &str| name.chars().take(COMPARED).collect::<String>();
    let name = cut(name);
    let distance = |known: &&'a str| (strsim::osa_distance(&name, &cut(known)), *known);
    let (distance, known) = known.iter().map(distance).min()?;
    let letters = name.chars().count().max(known.chars().count());
    (distance * 3 <= letters.max(3)).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_meant_where_it_is_near() {
        let known = ["assistant", "clerk", "a"];
        assert_eq!(nearest("asistant", &known), Some("assistant"));
        assert_eq!(nearest("Clerk", &known), Some("clerk"));
        assert_eq!(nearest("b", &known), Some("a"));
        assert_eq!(nearest("somebody", &known), None);
        assert_eq!(nearest("x", &[]), None);
        assert_eq!(nearest("mial", &["mail", "out"]), Some("mail"));
    }

    #[test]
    fn readers_are_put_in_words() {
        for (message, wanted) in [
            (
                "invalid type: string \"x\", expected i64",
                "invalid type: string \"x\", expected a whole number",
            ),
            (
                "invalid type: integer `1`, expected struct RawTool",
                "invalid type: integer `1`, expected a table",
            ),
            (
                "unknown field `clas`, expected one of `class`, `undo`",
                "unknown field `clas`, expected one of `class`, `undo`; did you mean `class`?",
            ),
            (
                "unknown field `x\u{1b}`, expected `colour`",
                "unknown field `x\\u{1b}`, expected `colour`",
            ),
            ("missing field `a`", "missing field `a`"),
            ("two\nlines", "two; lines"),
        ] {
            assert_eq!(said(message), wanted);
        }
    }
}
