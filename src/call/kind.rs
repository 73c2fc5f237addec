//! Whether a value is of the kind that its parameter is declared to have. One reading only: what a
//! server might repair, split or guess at (two recipients in one address, a path that climbs, digits
//! with separators) is refused before it is asked.

use serde_json::Value;

use super::declared::ValueKind;
use super::http::Target;

/// Most values of a kind in one argument.
const VALUES_MAX: usize = 256;
/// Longest address of e-mail (RFC 5321, 4.5.3.1.3, without the angle brackets), in bytes.
const EMAIL_MAX: usize = 254;
/// Longest part before the `@` (RFC 5321, 4.5.3.1.1), in bytes.
const LOCAL_MAX: usize = 64;
/// Longest label of a host name (RFC 1035, 2.3.4), in bytes.
const LABEL_MAX: usize = 63;
/// Longest path (PATH_MAX of Linux), in bytes.
const PATH_MAX: usize = 4_096;
/// Longest part of a path (NAME_MAX of Linux), in bytes.
const PART_MAX: usize = 255;
/// Longest identifier, in bytes.
const ID_MAX: usize = 256;
/// Longest name of a person or channel, in characters.
const NAME_MAX: usize = 128;
/// Most digits of an amount that is written as a text, before and after the point.
const DIGITS_MAX: (usize, usize) = (15, 9);

/// Why a value is not of its kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unkind {
    /// Where in the argument: `/0` for the first of several; empty for the argument itself.
    pub(super) at: String,
    /// What was expected: holds nothing of the value.
    pub(super) say: &'static str,
}

/// Checks one argument: a value of the kind, or a list of them. Nothing at all (null) is of every
/// kind.
pub(super) fn check(kind: ValueKind, value: &Value) -> Result<(), Unkind> {
    let mut left = VALUES_MAX;
    each(kind, value, String::new(), &mut left)
}

fn each(kind: ValueKind, value: &Value, at: String, left: &mut usize) -> Result<(), Unkind> {
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                each(kind, item, format!("{at}/{place}"), left)?;
            }
            Ok(())
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            let Some(less) = left.checked_sub(1) else {
                let say = "expected at most 256 values";
                return Err(Unkind { at, say });
            };
            *left = less;
            match is(kind, value) {
                true => Ok(()),
                false => Err(Unkind {
                    at,
                    say: expected(kind),
                }),
            }
        }
    }
}

fn is(kind: ValueKind, value: &Value) -> bool {
    let text = value.as_str();
    match kind {
        ValueKind::Email => text.is_some_and(is_email),
        ValueKind::Url => text.is_some_and(|text| Target::parse("GET", text).is_ok()),
        ValueKind::Iban => text.is_some_and(is_iban),
        ValueKind::Path => text.is_some_and(is_path),
        ValueKind::Id => value.is_i64() || value.is_u64() || text.is_some_and(is_id),
        ValueKind::Person | ValueKind::Channel => text.is_some_and(is_name),
        ValueKind::Date => text.is_some_and(is_date),
        ValueKind::Amount => Amount::read(value).is_some(),
    }
}

fn expected(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Email => "expected one e-mail address, such as `ada@example.net`, and no name",
        ValueKind::Url => {
            "expected one `http` or `https` URL in the form in which it would be sent"
        }
        ValueKind::Iban => "expected an IBAN with a right check sum, in capitals without spaces",
        ValueKind::Path => "expected a path without `..`, `~` at its start and control characters",
        ValueKind::Id => {
            "expected an identifier: a whole number, or at most 256 visible ASCII \
                          characters without a space"
        }
        ValueKind::Person => "expected one name: at most 128 letters, digits, spaces and marks",
        ValueKind::Channel => "expected one channel: at most 128 letters, digits, spaces and marks",
        ValueKind::Date => {
            "expected a date or time, such as `2026-11-23` or \
                            `2026-11-23T09:12:47Z`"
        }
        ValueKind::Amount => {
            "expected a number that is not negative, such as `12.50`, with at most \
                              15 digits before the point and 9 behind it"
        }
    }
}

/// `dot-atom@host` of RFC 5322, in ASCII: no quotes, comments, names or lists.
fn is_email(text: &str) -> bool {
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let Some((local, host)) = text.split_once('@') else {
        return false;
    };
    text.len() <= EMAIL_MAX
        && local.len() <= LOCAL_MAX
        && local
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(atom))
        && host.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=LABEL_MAX).contains(&label.len())
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// ISO 13616: country, two check digits, at most 30 more; the whole is 1 modulo 97 (ISO 7064).
fn is_iban(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if !(15..=34).contains(&text.len()) || !text.bytes().all(plain) {
        return false;
    }
    let (Some(head), Some(rest)) = (text.get(..4), text.get(4..)) else {
        return false;
    };
    let country = head.bytes().take(2).all(|byte| byte.is_ascii_uppercase());
    let digits = head.bytes().skip(2).all(|byte| byte.is_ascii_digit());
    let remainder = rest.chars().chain(head.chars()).fold(0, |sum, character| {
        let value = character.to_digit(36).unwrap_or_default();
        let shift = if value > 9 { 100 } else { 10 };
        (sum * shift + value) % 97
    });
    country && digits && remainder == 1
}

/// Absolute or not; it leads nowhere but down.
fn is_path(text: &str) -> bool {
    let part = |part: &str| part != ".." && part.len() <= PART_MAX;
    (1..=PATH_MAX).contains(&text.len())
        && !text.chars().any(char::is_control)
        && !text.starts_with('~')
        && text.split(['/', '\\']).all(part)
}

fn is_id(text: &str) -> bool {
    (1..=ID_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Letters of any script; nothing that cannot be seen, and no sign that separates several.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || " .'’-_@+#&()/:".contains(c);
    (1..=NAME_MAX).contains(&text.chars().count()) && text.chars().all(plain) && text.trim() == text
}

/// RFC 3339: a date, a date with a time, or a time; seconds and the zone may be missing.
fn is_date(text: &str) -> bool {
    match text.split_once(['T', 't']) {
        Some((day, time)) => is_day(day) && is_time(time),
        None => is_day(text) || is_time(text),
    }
}

fn is_day(text: &str) -> bool {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next(), parts.next(), parts.next());
    let (Some(year), Some(month), Some(day), None) = (
        year.and_then(|text| number(text, 4)),
        month.and_then(|text| number(text, 2)),
        day.and_then(|text| number(text, 2)),
        parts.next(),
    ) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

fn is_time(text: &str) -> bool {
    let zone = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (Some(clock), Some(zone)) = (text.get(..zone), text.get(zone..)) else {
        return false;
    };
    let offset = matches!(zone, "" | "Z" | "z") || is_clock(zone.get(1..), &[23, 59]);
    let seconds = |clock| is_clock(Some(clock), &[23, 59, 60]);
    let whole = match clock.split_once('.') {
        Some((clock, fraction)) => {
            let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
            seconds(clock) && digits && (1..=9).contains(&fraction.len())
        }
        None => seconds(clock) || is_clock(Some(clock), &[23, 59]),
    };
    whole && offset
}

/// Numbers of two digits between colons, each at most this.
fn is_clock(text: Option<&str>, most: &[u32]) -> bool {
    let parts: Vec<&str> = text.unwrap_or_default().split(':').collect();
    let fits = |(part, most): (&&str, &u32)| number(part, 2).is_some_and(|n| n <= *most);
    parts.len() == most.len() && parts.iter().zip(most).all(fits)
}

fn number(text: &str, digits: usize) -> Option<u32> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// A number of something that can be read in one way: a JSON number, or a text of plain digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    whole: u64,
    /// There is something behind the point.
    more: bool,
}

impl Amount {
    /// Reads one; nothing where it is negative, no number, or so great that digits are lost.
    pub(super) fn read(value: &Value) -> Option<Self> {
        if let Some(whole) = value.as_u64() {
            return Some(Self { whole, more: false });
        }
        if let Some(number) = value.as_f64() {
            // Whole numbers are exact up to 2^53, which has 16 digits.
            let fits = (0.0..1e15).contains(&number);
            let whole = format!("{:.0}", number.trunc()).parse().ok()?;
            let more = number.fract() > 0.0;
            return fits.then_some(Self { whole, more });
        }
        let text = value.as_str()?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str, most| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let (before, behind) = DIGITS_MAX;
        if !digits(whole, before) || !digits(fraction, behind) {
            return None;
        }
        Some(Self {
            whole: whole.parse().ok()?,
            more: fraction.bytes().any(|digit| digit != b'0'),
        })
    }

    /// Whether it is more than `limit`.
    pub(super) fn above(self, limit: i64) -> bool {
        match u64::try_from(limit) {
            Ok(limit) => self.whole > limit || self.whole == limit && self.more,
            Err(_) => true,
        }
    }
}

#[cfg(test)]
mod tests;
