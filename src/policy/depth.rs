//! Bounds on the shape of a rule. Cedar's reader calls itself for each level, and a rule nested too
//! deep would end the process before any error could be told. Its evaluator does the same and gives
//! up before its stack ends, which would refuse every call.

use serde_json::Value;

/// Deepest nesting of brackets in a rule.
pub(super) const NESTING_MAX: usize = 40;
/// Most operators, members and words in a rule, each of which may be a level too.
pub(super) const LINKS_MAX: usize = 2000;
/// Stack of the thread that reads a policy: room for a rule within the bounds, many times over.
/// Only what is touched takes memory.
pub(super) const STACK: usize = 256 << 20;

/// Most levels of operators in a rule: `a || b || c` has two.
pub(super) const LEVELS_MAX: usize = 200;
/// Stack of a thread that judges calls. A level takes 4.3 KiB of it in a release and ten times that
/// without optimisation, and 100 KiB have to be left: room for [`LEVELS_MAX`], twice.
pub const EVALUATION_STACK: usize = if cfg!(debug_assertions) {
    32 << 20
} else {
    2 << 20
};

/// Levels of operators in a rule as Cedar's JSON shows it: each is an object in an object.
pub(super) fn levels(rule: &Value) -> usize {
    containers(rule).div_ceil(2)
}

fn containers(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(containers).max().unwrap_or(0),
        Value::Object(members) => {
            // `a has b.c.d` is short for a chain of `&&`.
            let chain = members.get("attr").and_then(Value::as_array);
            let chain = chain.map_or(0, |names| 2 * names.len());
            1 + chain.max(members.values().map(containers).max().unwrap_or(0))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Where a rule goes beyond a bound, and which, as a sentence.
pub(super) fn beyond(text: &str) -> Option<(usize, String)> {
    let (mut depth, mut links) = (0_usize, 0_usize);
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                while bytes
                    .next_if(|(_, next)| !matches!(next, b'\n' | b'\r'))
                    .is_some()
                {}
            }
            b'"' => {
                while let Some((_, inner)) = bytes.next() {
                    match inner {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b';' => (depth, links) = (0, 0),
            b'.' | b'&' | b'|' | b'+' | b'-' | b'*' | b'<' | b'>' | b'=' | b'!' | b',' => {
                links += 1
            }
            // The last letter of a word.
            byte if byte.is_ascii_alphanumeric()
                && bytes
                    .peek()
                    .is_none_or(|(_, next)| !next.is_ascii_alphanumeric()) =>
            {
                links += 1;
            }
            _ => {}
        }
        if depth > NESTING_MAX {
            return Some((
                at,
                format!("a rule is nested deeper than {NESTING_MAX} brackets"),
            ));
        }
        if links > LINKS_MAX {
            return Some((at, format!("a rule has more than {LINKS_MAX} parts")));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_outside_text_and_comments_only() {
        let deep = "(".repeat(NESTING_MAX + 1);
        assert_eq!(beyond(&deep).map(|(at, _)| at), Some(NESTING_MAX));
        assert_eq!(beyond(&format!("\"{deep}\" // {deep}\n")), None);
        assert_eq!(beyond(&"(a);".repeat(1000)), None);
        let chain = "if a then b else ".repeat(LINKS_MAX);
        assert!(beyond(&chain).is_some());
        assert!(beyond(&"a&&".repeat(LINKS_MAX)).is_some());
    }
}
