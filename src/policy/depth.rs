//! Bounds on the shape of a rule. Cedar's reader calls itself for each level, and a rule nested too
//! deep would end the process before any error could be told.

/// Deepest nesting of brackets in a rule.
pub(super) const NESTING_MAX: usize = 40;
/// Most operators, members and words in a rule, each of which may be a level too.
pub(super) const LINKS_MAX: usize = 2000;
/// Stack of the thread that reads a policy: room for a rule within the bounds, many times over.
/// Only what is touched takes memory.
pub(super) const STACK: usize = 256 << 20;

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
