//! The one way in which an outside string reaches a terminal, a report, a journal or an error
//! text: every character that could move a cursor, hide text or look like another is written out.

use std::fmt;

/// Shows outside text with everything but printable ASCII escaped, and at most `max` characters.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    text: &'a str,
    max: usize,
}

impl<'a> Escaped<'a> {
    /// Escapes all of `text`.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            max: usize::MAX,
        }
    }

    /// Cuts after `max` source characters and says so with `…`.
    pub fn cut(text: &'a str, max: usize) -> Self {
        Self { text, max }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, character) in self.text.chars().enumerate() {
            if count == self.max {
                return f.write_str("…");
            }
            match character {
                '\\' => f.write_str("\\\\")?,
                ' '..='~' => fmt::Write::write_char(f, character)?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                other => write!(f, "\\u{{{:x}}}", u32::from(other))?,
            }
        }
        Ok(())
    }
}

/// [`Escaped`] as a string.
pub fn escaped(text: &str) -> String {
    Escaped::new(text).to_string()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
    text
}

/// Bytes of lower- or upper-case hexadecimal text of even length; `None` for anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| {
            let high = char::from(*high).to_digit(16)?;
            let low = char::from(*low).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_printable_ascii_gets_through() {
        let hostile = "a\u{1b}[2J\u{202e}\u{430}\\\n";
        assert_eq!(escaped(hostile), "a\\u{1b}[2J\\u{202e}\\u{430}\\\\\\n");
        assert_eq!(Escaped::cut("abcdef", 3).to_string(), "abc…");
    }

    #[test]
    fn hex_survives() {
        assert_eq!(hex(&[0, 15, 255]), "000fff");
        assert_eq!(unhex("000FfF"), Some(vec![0, 15, 255]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("+1"), None);
    }
}
