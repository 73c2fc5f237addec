//! Strict JSON (RFC 8259) for bytes from outside: what two readers could understand differently is
//! refused, not repaired.
//!
//! Refused beyond the grammar: a key twice in one object (compared after unescaping), half a
//! surrogate pair, a byte order mark, a number whose magnitude is above 2^53-1 in whatever notation
//! (readers disagree on its value) or that is not zero but would become zero, and anything over
//! [`Limits`]. Whole numbers become integers however they were written (`1e3`, `-0`), so a value
//! read back from its canonical form (RFC 8785) is the same value.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Number, Value};

use crate::wire::text::Escaped;

/// Largest magnitude of a number: every integer up to here has one `f64` of its own.
pub const NUMBER_MAX: i64 = (1 << 53) - 1;
/// Longest number, in bytes of text.
const NUMBER_TEXT_MAX: usize = 128;
/// Characters of a key that an error shows.
const KEY_SHOWN: usize = 32;
/// Bytes of a path that an error shows, about.
const PATH_SHOWN: usize = 200;

/// How much a document may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole document.
    pub bytes: usize,
    /// Arrays and objects inside each other.
    pub depth: usize,
    /// Members of one object.
    pub members: usize,
    /// Values in the whole document: bounds the memory that [`parse`] takes (in the worst case
    /// some 700 bytes a value).
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            depth: 64,
            members: 10_000,
            values: 100_000,
        }
    }
}

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// What is wrong; holds nothing of the document.
    pub what: String,
    /// Where: bytes from the start.
    pub offset: usize,
    /// The array or object it is in, like a JSON pointer (RFC 6901), escaped and cut; empty at the
    /// top.
    pub path: String,
    /// The key it is about, escaped and cut.
    pub key: Option<String>,
}

impl Bad {
    fn new(what: impl Into<String>, offset: usize) -> Self {
        Self {
            what: what.into(),
            offset,
            path: String::new(),
            key: None,
        }
    }

    fn under(mut self, part: fmt::Arguments<'_>) -> Self {
        if self.path.len() < PATH_SHOWN {
            self.path.insert_str(0, &format!("/{part}"));
        } else if !self.path.starts_with('…') {
            self.path.insert(0, '…');
        }
        self
    }
}

impl fmt::Display for Bad {
    /// For example: duplicate key `a` at byte 17 in `/params`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(key) = &self.key {
            write!(f, " `{key}`")?;
        }
        write!(f, " at byte {}", self.offset)?;
        if !self.path.is_empty() {
            write!(f, " in `{}`", self.path)?;
        }
        Ok(())
    }
}

impl std::error::Error for Bad {}

/// Reads one document.
///
/// # Errors
/// Says what is wrong and where; see the module's text for what is refused.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, Bad> {
    document(bytes, limits, false)
}

/// As [`parse`] without building the value: for whoever passes the bytes on.
///
/// # Errors
/// As [`parse`].
pub fn check(bytes: &[u8], limits: &Limits) -> Result<(), Bad> {
    document(bytes, limits, false)
}

/// As [`check`] for bytes that go on as they are and decide nothing here: a number may be of any
/// size, as servers send times in nanoseconds. Whoever reads a value from it uses [`parse`].
///
/// # Errors
/// As [`parse`], but for the size of numbers.
pub fn check_form(bytes: &[u8], limits: &Limits) -> Result<(), Bad> {
    document(bytes, limits, true)
}

fn document<'a, B: Build<'a>>(
    bytes: &'a [u8],
    limits: &'a Limits,
    any_number: bool,
) -> Result<B, Bad> {
    if bytes.len() > limits.bytes {
        return Err(Bad::new(
            format!("longer than {} bytes", limits.bytes),
            limits.bytes,
        ));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| Bad::new("not UTF-8", error.valid_up_to()))?;
    if text.starts_with('\u{feff}') {
        return Err(Bad::new("a byte order mark", 0));
    }
    let mut scanner = Scanner {
        text,
        at: 0,
        values: 0,
        limits,
        any_number,
    };
    scanner.space();
    let value = scanner.value(0)?;
    scanner.space();
    match scanner.peek() {
        None => Ok(value),
        Some(_) => Err(scanner.bad("something follows the value")),
    }
}

/// What a scan makes of the values it meets: a tree, or nothing.
trait Build<'a>: Sized {
    fn leaf(leaf: Leaf<'a>) -> Self;
    fn array(items: Vec<Self>) -> Self;
    fn object(members: BTreeMap<Cow<'a, str>, Self>) -> Self;
}

enum Leaf<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
}

impl Build<'_> for Value {
    fn leaf(leaf: Leaf<'_>) -> Self {
        match leaf {
            Leaf::Null => Self::Null,
            Leaf::Bool(value) => Self::Bool(value),
            Leaf::Number(value) => Self::Number(value),
            Leaf::Text(value) => Self::String(value.into_owned()),
        }
    }

    fn array(items: Vec<Self>) -> Self {
        Self::Array(items)
    }

    fn object(members: BTreeMap<Cow<'_, str>, Self>) -> Self {
        Self::Object(
            members
                .into_iter()
                .map(|(key, value)| (key.into_owned(), value))
                .collect(),
        )
    }
}

impl Build<'_> for () {
    fn leaf(_: Leaf<'_>) {}
    fn array(_: Vec<Self>) {}
    fn object(_: BTreeMap<Cow<'_, str>, Self>) {}
}

struct Scanner<'a> {
    text: &'a str,
    /// Always on a character boundary when a part of `text` is cut out.
    at: usize,
    values: usize,
    limits: &'a Limits,
    /// Numbers are looked at no further than their form.
    any_number: bool,
}

impl<'a> Scanner<'a> {
    fn bad(&self, what: impl Into<String>) -> Bad {
        Bad::new(what, self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The value that starts here, inside `depth` arrays and objects.
    fn value<B: Build<'a>>(&mut self, depth: usize) -> Result<B, Bad> {
        self.values += 1;
        if self.values > self.limits.values {
            return Err(self.bad(format!("more than {} values", self.limits.values)));
        }
        let leaf = match self.peek() {
            None => return Err(self.bad("the document ends where a value should be")),
            Some(b'{' | b'[') if depth >= self.limits.depth => {
                return Err(self.bad(format!("nested deeper than {} levels", self.limits.depth)));
            }
            Some(b'{') => return self.object(depth + 1),
            Some(b'[') => return self.array(depth + 1),
            Some(b'"') => Leaf::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Leaf::Number(self.number()?),
            Some(b't') => self.word("true", Leaf::Bool(true))?,
            Some(b'f') => self.word("false", Leaf::Bool(false))?,
            Some(b'n') => self.word("null", Leaf::Null)?,
            Some(_) => return Err(self.bad("no value starts like this")),
        };
        Ok(B::leaf(leaf))
    }

    fn word(&mut self, word: &str, leaf: Leaf<'a>) -> Result<Leaf<'a>, Bad> {
        match self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word))
        {
            true => {
                self.at += word.len();
                Ok(leaf)
            }
            false => Err(self.bad("no value starts like this")),
        }
    }

    fn array<B: Build<'a>>(&mut self, depth: usize) -> Result<B, Bad> {
        self.at += 1;
        self.space();
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(B::array(items));
        }
        loop {
            self.space();
            let index = items.len();
            items.push(
                self.value(depth)
                    .map_err(|bad| bad.under(format_args!("{index}")))?,
            );
            self.space();
            if self.eat(b']') {
                return Ok(B::array(items));
            }
            if !self.eat(b',') {
                return Err(self.bad("expected `,` or `]`"));
            }
        }
    }

    fn object<B: Build<'a>>(&mut self, depth: usize) -> Result<B, Bad> {
        self.at += 1;
        self.space();
        let mut members = BTreeMap::new();
        if self.eat(b'}') {
            return Ok(B::object(members));
        }
        loop {
            self.space();
            let (key, value) = self.member(&members, depth)?;
            members.insert(key, value);
            self.space();
            if self.eat(b'}') {
                return Ok(B::object(members));
            }
            if !self.eat(b',') {
                return Err(self.bad("expected `,` or `}`"));
            }
        }
    }

    fn member<B: Build<'a>>(
        &mut self,
        members: &BTreeMap<Cow<'a, str>, B>,
        depth: usize,
    ) -> Result<(Cow<'a, str>, B), Bad> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.bad("expected a key in double quotes"));
        }
        if members.len() >= self.limits.members {
            let what = format!("more than {} members in one object", self.limits.members);
            return Err(self.bad(what));
        }
        let key = self.string()?;
        if members.contains_key(&key) {
            let shown = Some(Escaped::cut(&key, KEY_SHOWN).to_string());
            return Err(Bad {
                key: shown,
                ..Bad::new("duplicate key", start)
            });
        }
        self.space();
        if !self.eat(b':') {
            return Err(self.bad("expected `:` after a key"));
        }
        self.space();
        let value = self
            .value(depth)
            .map_err(|bad| bad.under(format_args!("{}", Escaped::cut(&key, KEY_SHOWN))))?;
        Ok((key, value))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Bad> {
        let open = self.at;
        self.at += 1;
        let mut start = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            match self.peek() {
                None => return Err(Bad::new("a string that does not end", open)),
                Some(b'"') => break,
                Some(b'\\') => {
                    let text = unescaped.get_or_insert_default();
                    text.push_str(self.since(start));
                    text.push(self.escape()?);
                    start = self.at;
                }
                Some(0..0x20) => return Err(self.bad("a control character in a string")),
                Some(_) => self.at += 1,
            }
        }
        let last = self.since(start);
        self.at += 1;
        Ok(match unescaped {
            None => Cow::Borrowed(last),
            Some(text) => Cow::Owned(text + last),
        })
    }

    /// The character that the escape sequence here stands for.
    fn escape(&mut self) -> Result<char, Bad> {
        let start = self.at;
        self.at += 1;
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let lone = || Bad::new("half of a surrogate pair", start);
                let first = self.hex4(start)?;
                let code = match first {
                    0xd800..0xdc00 if self.eat(b'\\') && self.eat(b'u') => {
                        let second = self.hex4(start)?;
                        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
                        0x10000 + ((first - 0xd800) << 10) + low.ok_or_else(lone)?
                    }
                    code => code,
                };
                char::from_u32(code).ok_or_else(lone)?
            }
            Some(_) | None => return Err(Bad::new("an unknown escape sequence", start)),
        })
    }

    fn hex4(&mut self, start: usize) -> Result<u32, Bad> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| Bad::new("an unknown escape sequence", start))?;
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Number, Bad> {
        let start = self.at;
        self.eat(b'-');
        let zero = self.peek() == Some(b'0');
        if self.digits()? > 1 && zero {
            return Err(Bad::new("a number with a leading zero", start));
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        let mantissa = self.since(start);
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let text = self.since(start);
        if text.len() > NUMBER_TEXT_MAX {
            return Err(Bad::new(
                format!("a number of over {NUMBER_TEXT_MAX} digits"),
                start,
            ));
        }
        if self.any_number {
            return Ok(Number::from(0));
        }
        // `str::parse` rounds correctly (IEEE 754), which serde_json does only on request.
        let value: f64 = text.parse().map_err(|_| Bad::new("not a number", start))?;
        let vanished = value == 0.0 && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
        exact(value).filter(|_| !vanished).ok_or_else(|| {
            let what = format!("a number beyond {NUMBER_MAX}, or too close to zero");
            Bad::new(what, start)
        })
    }

    /// Passes one digit or more; says how many.
    fn digits(&mut self) -> Result<usize, Bad> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        match self.at - start {
            0 => Err(self.bad("expected a digit")),
            count => Ok(count),
        }
    }
}

/// `value` as the one number that stands for it; `None` beyond [`NUMBER_MAX`].
fn exact(value: f64) -> Option<Number> {
    #[expect(clippy::cast_precision_loss, reason = "2^53-1 is exact in f64")]
    let max = NUMBER_MAX as f64;
    if !(-max..=max).contains(&value) {
        return None;
    }
    if value.fract() != 0.0 {
        return Number::from_f64(value);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number within 2^53-1 fits exactly"
    )]
    let whole = value as i64;
    Some(Number::from(whole))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Value, String> {
        let limits = Limits::default();
        let checked = check(text.as_bytes(), &limits);
        let parsed = parse(text.as_bytes(), &limits);
        assert_eq!(
            checked.err(),
            parsed.as_ref().err().cloned(),
            "check and parse agree"
        );
        parsed.map_err(|bad| bad.to_string())
    }

    #[test]
    fn what_is_clear_is_read() {
        for (text, value) in [
            (
                r#" {"a":[1,-2.5,true,false,null,"x"],"b":{}} "#,
                json!({"a":[1,-2.5,true,false,null,"x"],"b":{}}),
            ),
            (
                r#""\ud83d\ude00\u0000\"\\\/\b\f\n\r\té""#,
                json!("😀\0\"\\/\u{8}\u{c}\n\r\té"),
            ),
            ("[]", json!([])),
            (
                "[1.0, 1e3, -0, 0.0e9, 9007199254740991, -9007199254740991.0, 5e-324]",
                json!([
                    1,
                    1000,
                    0,
                    0,
                    9_007_199_254_740_991_i64,
                    -9_007_199_254_740_991_i64,
                    5e-324
                ]),
            ),
        ] {
            assert_eq!(read(text).unwrap(), value);
        }
    }

    #[test]
    fn what_is_unclear_is_refused_with_its_place() {
        for (text, why) in [
            (r#"{"b":1,"a":2,   "a":3}"#, "duplicate key `a` at byte 16"),
            (
                r#"{"p":{"a":2,"\u0061":3}}"#,
                "duplicate key `a` at byte 12 in `/p`",
            ),
            (
                "{\"\\u001b[2J\":1,\"\\u001b[2J\":1}",
                "duplicate key `\\u{1b}[2J` at byte 15",
            ),
            (
                r#"[0,{"k":["\udc00"]}]"#,
                "half of a surrogate pair at byte 10 in `/1/k/0`",
            ),
            (r#""\ud800x""#, "half of a surrogate pair at byte 1"),
            (r#""\ud800\ud800""#, "half of a surrogate pair at byte 1"),
            (r#""\ud800\n""#, "half of a surrogate pair at byte 1"),
            (r#""\u+123""#, "an unknown escape sequence at byte 1"),
            (r#""\x""#, "an unknown escape sequence at byte 1"),
            ("\"a\nb\"", "a control character in a string at byte 2"),
            ("\"abc", "a string that does not end at byte 0"),
            ("\"abc\\", "an unknown escape sequence at byte 4"),
            ("\u{feff}1", "a byte order mark at byte 0"),
            ("", "the document ends where a value should be at byte 0"),
            ("1 2", "something follows the value at byte 2"),
            ("[1,]", "no value starts like this at byte 3 in `/1`"),
            ("[1 2]", "expected `,` or `]` at byte 3"),
            (r#"{"a":1,}"#, "expected a key in double quotes at byte 7"),
            (r#"{"a" 1}"#, "expected `:` after a key at byte 5"),
            (r#"{"a":1"#, "expected `,` or `}` at byte 6"),
            ("NaN", "no value starts like this at byte 0"),
            ("nul", "no value starts like this at byte 0"),
            ("-Infinity", "expected a digit at byte 1"),
            ("1.", "expected a digit at byte 2"),
            ("1e+", "expected a digit at byte 3"),
            ("-01", "a number with a leading zero at byte 0"),
            (
                "[9007199254740992]",
                "a number beyond 9007199254740991, or too close to zero at byte 1 in `/0`",
            ),
            (
                "-1e400",
                "a number beyond 9007199254740991, or too close to zero at byte 0",
            ),
            (
                "0.1e-400",
                "a number beyond 9007199254740991, or too close to zero at byte 0",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), why, "{text}");
        }
        let bad = parse(b"[\"\xff\"]", &Limits::default()).unwrap_err();
        assert_eq!(bad.to_string(), "not UTF-8 at byte 2");
    }

    #[test]
    fn what_only_passes_may_hold_any_number() {
        let limits = Limits::default();
        for text in ["[1727460000123456789]", "1e400", "-0.0e-999"] {
            assert_eq!(check_form(text.as_bytes(), &limits), Ok(()), "{text}");
        }
        assert!(check(b"[1727460000123456789]", &limits).is_err());
        for text in ["01", "+1", "1e", "[1,]", r#"{"a":1,"a":1}"#] {
            assert!(check_form(text.as_bytes(), &limits).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_hold() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(64)).is_ok());
        let why = read(&nested(65)).unwrap_err();
        assert!(
            why.starts_with("nested deeper than 64 levels at byte 64 in `"),
            "{why}"
        );
        assert!(read(&"[".repeat(1 << 20)).is_err());

        let object = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(read(&object(10_000)).is_ok());
        assert!(
            read(&object(10_001))
                .unwrap_err()
                .starts_with("more than 10000 members")
        );
        assert!(read(&format!("[{}0]", "0,".repeat(99_998))).is_ok());
        assert!(read(&format!("[{}0]", "0,".repeat(99_999))).is_err());
        assert!(read(&format!("\"{}\"", "x".repeat(1 << 20))).is_err());
        assert!(read(&"1".repeat(129)).is_err());
        let deep = format!(
            "{}1,1{}",
            "{\"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\":".repeat(60),
            "}".repeat(60)
        );
        assert!(read(&deep).unwrap_err().len() < 400, "{:?}", read(&deep));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-NUMBER_MAX..=NUMBER_MAX).prop_map(Value::from),
            (-1e6..1e6).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::hash_map(".{0,4}", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn canonical(value: &Value) -> String {
        serde_json_canonicalizer::to_string(value).unwrap()
    }

    /// Without numbers: serde_json rounds some of them otherwise.
    fn shape(value: Value) -> Value {
        match value {
            Value::Number(_) => Value::Null,
            Value::Array(items) => items.into_iter().map(shape).collect(),
            Value::Object(members) => members.into_iter().map(|(k, v)| (k, shape(v))).collect(),
            leaf @ (Value::Null | Value::Bool(_) | Value::String(_)) => leaf,
        }
    }

    proptest! {
        #[test]
        fn a_written_value_is_read_back(value in value(), pretty: bool) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let back = read(&text).unwrap();
            prop_assert_eq!(canonical(&back), canonical(&value));
            prop_assert_eq!(read(&canonical(&back)).unwrap(), back);
        }

        #[test]
        fn nothing_is_read_that_serde_json_refuses(
            value in value(), at: prop::sample::Index, with in r#"[\[\]{}",:0-9eE+.\\u ntdc-]{0,3}"#,
        ) {
            let mut text = value.to_string();
            let place = text.floor_char_boundary(at.index(text.len()));
            text.insert_str(place, &with);
            if let Ok(ours) = read(&text) {
                let theirs: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(shape(ours), shape(theirs), "{}", text);
            }
        }

        #[test]
        fn no_bytes_upset_it(bytes: Vec<u8>) {
            let limits = Limits::default();
            prop_assert_eq!(check(&bytes, &limits).is_ok(), parse(&bytes, &limits).is_ok());
        }
    }
}
