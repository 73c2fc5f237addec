//! The one way in which an outside string reaches a terminal, a report, a journal or an error
//! text: every character that could move a cursor, hide text or look like another is written out.

use std::fmt;

/// Shows outside text with everything but printable ASCII escaped, and at most `max` characters.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    text: &'a str,
    max: usize,
    /// Backslashes stay as they are.
    again: bool,
}

impl<'a> Escaped<'a> {
    /// Escapes all of `text`.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            max: usize::MAX,
            again: false,
        }
    }

    /// Cuts after `max` source characters and says so with `…`.
    pub fn cut(text: &'a str, max: usize) -> Self {
        Self {
            text,
            max,
            again: false,
        }
    }

    /// As [`Escaped::cut`], of text that whoever sent it should have escaped already: what is escaped
    /// is not escaped once more, and what is not, is.
    pub fn again(text: &'a str, max: usize) -> Self {
        Self {
            again: true,
            ..Self::cut(text, max)
        }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, character) in self.text.chars().enumerate() {
            if count == self.max {
                return f.write_str("…");
            }
            match character {
                '\\' if !self.again => f.write_str("\\\\")?,
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
    let mut text = Vec::new();
    push_hex(bytes, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends [`hex`] to `out`.
pub(crate) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().saturating_mul(2), 0);
    let (pairs, _) = out
        .get_mut(start..)
        .unwrap_or_default()
        .as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = PAIRS.get(usize::from(*byte)).copied().unwrap_or_default();
    }
}

/// The two digits of every byte: each entry of the log holds several hashes.
static PAIRS: [[u8; 2]; 256] = pairs();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn pairs() -> [[u8; 2]; 256] {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
}

/// Appends a number in decimal to `out`.
pub(crate) fn push_decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut rest, mut count) = (number, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
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
