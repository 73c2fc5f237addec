//! RFC 8785 canonical JSON, narrowed to what the log stores: integers up to 2^53-1 and no floats.
//!
//! [`write`] makes it and [`check`] recognises it in one pass over the bytes, without building a
//! tree: a text passes exactly when parsing it and writing it again gives the same bytes.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::wire::text::push_decimal;

/// Deepest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 64;
/// Largest absolute value of an integer: 2^53-1 (RFC 7493, section 2.2).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Why, and at which byte, a text is not canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Offset in the text.
    pub at: usize,
    /// What is wrong there.
    pub why: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} of the entry", self.why, self.at)
    }
}

/// Appends the canonical form of `value` to `out`.
///
/// # Errors
/// Fails on a number that is not an integer of at most 2^53-1 and on nesting over [`DEPTH_MAX`].
pub fn write(value: &Value, out: &mut Vec<u8>) -> Result<()> {
    write_value(value, out, 0)
}

fn write_value(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            let small = number.as_i64().filter(|n| n.unsigned_abs() <= INTEGER_MAX);
            let small = small.ok_or_else(|| {
                Error::new(format!(
                    "`{number}` is not an integer between -(2^53-1) and 2^53-1"
                ))
                .hint("the log holds integers only; write other numbers as strings")
            })?;
            if small < 0 {
                out.push(b'-');
            }
            push_decimal(small.unsigned_abs(), out);
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            check_depth(depth)?;
            for (index, item) in items.iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                write_value(item, out, depth + 1)?;
            }
            out.extend_from_slice(if items.is_empty() { b"[]" } else { b"]" });
        }
        Value::Object(members) => write_members(members, out, depth)?,
    }
    Ok(())
}

/// Appends the canonical form of an entry's body to `out`: an object that will stand in another.
///
/// # Errors
/// As [`write`].
pub fn write_body(members: &serde_json::Map<String, Value>, out: &mut Vec<u8>) -> Result<()> {
    write_members(members, out, 1)
}

fn write_members(
    members: &serde_json::Map<String, Value>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<()> {
    check_depth(depth)?;
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| compare_keys(a, b));
    for (index, (key, item)) in sorted.iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        write_string(key, out);
        out.push(b':');
        write_value(item, out, depth + 1)?;
    }
    out.extend_from_slice(if sorted.is_empty() { b"{}" } else { b"}" });
    Ok(())
}

fn check_depth(depth: usize) -> Result<()> {
    if depth < DEPTH_MAX {
        return Ok(());
    }
    Err(Error::new(format!(
        "the body of a log entry is nested deeper than {DEPTH_MAX}"
    )))
}

/// Appends `text` as a canonical JSON string.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if !text.bytes().any(special) {
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            other => out.push(other),
        }
    }
    out.push(b'"');
}

/// Order of RFC 8785, section 3.2.3: by UTF-16 code units.
fn compare_keys(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        a.cmp(b)
    } else {
        a.encode_utf16().cmp(b.encode_utf16())
    }
}

/// Whether `bytes` are one canonical JSON value and nothing else. Fit for fuzzing.
///
/// # Errors
/// Says what is not canonical, and where.
pub fn check(bytes: &[u8]) -> Result<(), Fault> {
    let mut cursor = Cursor::new(text(bytes)?);
    cursor.value(0)?;
    cursor.end()
}

/// The bytes as UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| Fault {
        at: error.valid_up_to(),
        why: "invalid UTF-8",
    })
}

/// A string as it stands between its quotes.
#[derive(Debug, Clone, Copy)]
struct Raw<'a> {
    text: &'a str,
    /// ASCII without escapes: stands for itself.
    plain: bool,
}

impl Raw<'_> {
    fn follows(&self, before: &Raw<'_>) -> bool {
        if self.plain && before.plain {
            return before.text < self.text;
        }
        before.units().lt(self.units())
    }

    /// UTF-16 code units, escapes undone. The text has passed [`Cursor::string`].
    fn units(&self) -> impl Iterator<Item = u16> {
        let quoted = format!("\"{}\"", self.text);
        let text: String = serde_json::from_str(&quoted).unwrap_or_default();
        text.encode_utf16().collect::<Vec<_>>().into_iter()
    }
}

/// Walks over canonical JSON.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn fault<T>(&self, why: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, why })
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Takes exactly `expected`.
    pub(crate) fn literal(&mut self, expected: &str, why: &'static str) -> Result<(), Fault> {
        if !self.rest().starts_with(expected.as_bytes()) {
            return self.fault(why);
        }
        self.at += expected.len();
        Ok(())
    }

    /// Takes `byte` if it comes next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.at == self.text.len() {
            Ok(())
        } else {
            self.fault("bytes after the end")
        }
    }

    /// A string of ASCII characters that stand for themselves.
    pub(crate) fn plain(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        let raw = self.string()?;
        if raw.plain {
            Ok(raw.text)
        } else {
            Err(Fault {
                at: start,
                why: "unusual characters",
            })
        }
    }

    fn string(&mut self) -> Result<Raw<'a>, Fault> {
        if !self.take(b'"') {
            return self.fault("no string");
        }
        let start = self.at;
        let mut plain = true;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    plain = false;
                    self.escape()?;
                }
                Some(0..0x20) => return self.fault("a bare control character"),
                Some(byte) => {
                    plain &= byte < 0x80;
                    self.at += 1;
                }
                None => return self.fault("a string without end"),
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(Raw { text, plain })
    }

    /// The one way in which RFC 8785 writes each character that needs escaping.
    fn escape(&mut self) -> Result<(), Fault> {
        match *self.rest() {
            [_, b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
            [_, b'u', b'0', b'0', high @ (b'0' | b'1'), low, ..] => {
                let digit = match low {
                    b'0'..=b'9' => low - b'0',
                    b'a'..=b'f' => low - b'a' + 10,
                    _ => return self.fault("an escape that is not canonical"),
                };
                if matches!((high - b'0') * 16 + digit, 8 | 9 | 10 | 12 | 13) {
                    return self.fault("an escape that is not canonical");
                }
                self.at += 6;
            }
            _ => return self.fault("an escape that is not canonical"),
        }
        Ok(())
    }

    /// An integer of at most 2^53-1.
    pub(crate) fn integer(&mut self) -> Result<i64, Fault> {
        let negative = self.take(b'-');
        let start = self.at;
        let mut sum = 0_i64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            if self.at - start == 16 {
                return self.fault("a number that is too long");
            }
            sum = sum * 10 + i64::from(digit - b'0');
            self.at += 1;
        }
        let digits = self.at - start;
        let leading_zero = self.text.as_bytes().get(start) == Some(&b'0');
        if digits == 0 || (leading_zero && (digits > 1 || negative)) {
            return self.fault("a number that is not canonical");
        }
        if sum.unsigned_abs() > INTEGER_MAX || matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return self.fault("a number that is no integer up to 2^53-1");
        }
        Ok(if negative { -sum } else { sum })
    }

    /// A number that is not negative.
    pub(crate) fn count(&mut self) -> Result<u64, Fault> {
        let start = self.at;
        let number = self.integer()?;
        u64::try_from(number).map_err(|_| Fault {
            at: start,
            why: "a negative number",
        })
    }

    /// Any value; `depth` counts what it is nested in.
    pub(crate) fn value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{') => self.members(depth, &mut |_, cursor| cursor.value(depth + 1)),
            Some(b'[') => self.items(depth),
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.literal("true", "no value"),
            Some(b'f') => self.literal("false", "no value"),
            Some(b'n') => self.literal("null", "no value"),
            Some(_) => self.integer().map(drop),
            None => self.fault("no value"),
        }
    }

    /// The text of an object.
    pub(crate) fn object(&mut self, depth: usize) -> Result<&'a str, Fault> {
        let start = self.at;
        if self.peek() != Some(b'{') {
            return self.fault("no object");
        }
        self.value(depth)?;
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn items(&mut self, depth: usize) -> Result<(), Fault> {
        if depth >= DEPTH_MAX {
            return self.fault("nesting that is too deep");
        }
        self.at += 1;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            if self.take(b']') {
                return Ok(());
            }
            self.literal(",", "no comma")?;
        }
    }

    /// An object; `each` gets every name as it is written and takes the value.
    pub(crate) fn members(
        &mut self,
        depth: usize,
        each: &mut dyn FnMut(&'a str, &mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if depth >= DEPTH_MAX {
            return self.fault("nesting that is too deep");
        }
        self.literal("{", "no object")?;
        if self.take(b'}') {
            return Ok(());
        }
        let mut before: Option<Raw<'a>> = None;
        loop {
            let start = self.at;
            let name = self.string()?;
            if before.is_some_and(|before| !name.follows(&before)) {
                return Err(Fault {
                    at: start,
                    why: "a name out of order",
                });
            }
            before = Some(name);
            self.literal(":", "no colon")?;
            each(name.text, self)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.literal(",", "no comma")?;
        }
    }
}
