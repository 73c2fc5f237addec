//! What a server sends, checked before anything looks at what it means: one line of its standard
//! output, or one message of an HTTP response.
//!
//! A line is strict JSON in UTF-8, of limited length and depth, with no key twice; numbers may be of
//! any size, as they pass unread. It is one JSON-RPC 2.0 message. The first line that is not ends
//! the server: the specification gives it no other use of its standard output, and a message that
//! two readers take for two things is no message.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::json;
use crate::wire::jsonrpc::{Envelope, Message};
use crate::wire::messages::RESULT_MAX;
use crate::wire::text::Escaped;

/// Longest message of a server, in bytes: the longest result and what stands around it.
pub const MESSAGE_MAX: usize = RESULT_MAX + (64 << 10);
/// What one may hold. A value takes no memory here; the count bounds the time.
const LIMITS: json::Limits = json::Limits {
    bytes: MESSAGE_MAX,
    depth: 64,
    members: 10_000,
    values: 1_000_000,
};
/// Longest id of a server's request, in bytes as it is written.
const ID_MAX: usize = 256;
/// Longest method, in bytes.
const METHOD_MAX: usize = 256;
/// Characters of a bad line that an operator is shown.
const SHOWN: usize = 80;

/// One message of a server.
#[derive(Debug)]
pub enum Said<'a> {
    /// The answer to one of our questions.
    Answer {
        /// Our number.
        id: u64,
        /// A result object, or an error object with code and message.
        answer: Result<&'a RawValue, &'a RawValue>,
    },
    /// An error about none of our questions.
    Complaint,
    /// It asks something.
    Asks {
        /// A string or a whole number, as it came.
        id: &'a RawValue,
        /// What it asks.
        method: String,
        /// An object, as it came.
        params: Option<&'a RawValue>,
    },
    /// It tells something.
    Tells {
        /// What kind.
        method: String,
        /// An object, as it came.
        params: Option<&'a RawValue>,
    },
}

/// Reads one message. Takes any bytes.
///
/// # Errors
/// Says what is wrong with it and, escaped and cut, how it begins.
pub fn read(line: &[u8]) -> Result<Said<'_>, String> {
    json::check_form(line, &LIMITS).map_err(|bad| broken(&bad.to_string(), line))?;
    let broken = |what: &str| broken(what, line);
    let message = Envelope::read(line).and_then(Envelope::message);
    match message.map_err(broken)? {
        Message::Response { id, answer } => {
            let id = match (id.get(), answer) {
                ("null", Err(_)) => return Ok(Said::Complaint),
                (text, _) => text
                    .parse()
                    .map_err(|_| broken("an `id` that is not ours"))?,
            };
            match answer {
                Ok(result) if !result.get().starts_with('{') => {
                    Err(broken("`result` is not an object"))
                }
                Err(error) if Fault::of(error).is_none() => {
                    Err(broken("`error` is not an object with code and message"))
                }
                answer => Ok(Said::Answer { id, answer }),
            }
        }
        Message::Request { id, method, params } => {
            let text = id.get();
            let number = text.parse::<i64>().is_ok();
            if text.len() > ID_MAX || !(number || text.starts_with('"')) {
                return Err(broken("`id` is neither a string nor a whole number"));
            }
            let method = short(method).ok_or_else(|| broken("`method` is too long"))?;
            Ok(Said::Asks { id, method, params })
        }
        Message::Notification { method, params } => {
            let method = short(method).ok_or_else(|| broken("`method` is too long"))?;
            Ok(Said::Tells { method, params })
        }
    }
}

fn short(method: String) -> Option<String> {
    (method.len() <= METHOD_MAX).then_some(method)
}

fn broken(what: &str, line: &[u8]) -> String {
    let start = line.get(..line.len().min(SHOWN * 4)).unwrap_or_default();
    let start = String::from_utf8_lossy(start);
    format!(
        "it sent a line that is no message ({what}): `{}`",
        Escaped::cut(&start, SHOWN)
    )
}

/// A server's error, as far as it is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Fault<'a> {
    /// JSON-RPC error code.
    pub(super) code: i64,
    /// In the server's words.
    pub(super) message: String,
    /// More.
    #[serde(default, borrow)]
    pub(super) data: Option<&'a RawValue>,
}

impl<'a> Fault<'a> {
    /// The error in `raw`, if it is one.
    pub(super) fn of(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// Code and words for an operator.
    pub(super) fn shown(&self) -> String {
        format!(
            "{} (code {})",
            Escaped::cut(&self.message, SHOWN),
            self.code
        )
    }
}

/// How often something may happen: so many a second, and a number more at once.
#[derive(Debug)]
pub(super) struct Rate {
    /// Billionths of one that may happen now.
    left: u128,
    most: u128,
    each_second: u32,
    since: Instant,
}

const ONE: u128 = 1_000_000_000;

impl Rate {
    /// `each_second`, and `most` at once.
    pub(super) fn new(each_second: u32, most: u32, now: Instant) -> Self {
        let most = u128::from(most) * ONE;
        Self {
            left: most,
            most,
            each_second,
            since: now,
        }
    }

    /// One more happens; whether it may.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        self.since = self.since.max(now);
        let more = passed.min(Duration::from_secs(3600)).as_nanos() * u128::from(self.each_second);
        self.left = self.left.saturating_add(more).min(self.most);
        match self.left.checked_sub(ONE) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(line: &[u8]) -> String {
        read(line).unwrap_err()
    }

    #[test]
    fn messages_are_told_apart_and_keep_their_bytes() {
        let line = br#"{"jsonrpc":"2.0","id":7,"result":{ "n" : 1727460000123456789 },"x":1}"#;
        let Said::Answer { id: 7, answer } = read(line).unwrap() else {
            panic!()
        };
        assert_eq!(answer.unwrap().get(), r#"{ "n" : 1727460000123456789 }"#);
        let line = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#;
        assert!(matches!(read(line).unwrap(), Said::Complaint));
        let line = br#"{"jsonrpc":"2.0","id":"a\u0062","method":"ping"}"#;
        let Said::Asks { id, .. } = read(line).unwrap() else {
            panic!()
        };
        assert_eq!(id.get(), r#""a\u0062""#);
        let line = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
        assert!(matches!(read(line).unwrap(), Said::Tells { .. }));
    }

    #[test]
    fn what_is_no_message_is_refused_in_words() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{deep}}}"#);
        let long = vec![b' '; MESSAGE_MAX + 1];
        let number = r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#;
        let method = format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, "m".repeat(257));
        for (line, what) in [
            (&b"Server running on stdio"[..], "no value starts like this"),
            (deep.as_bytes(), "nested deeper than 64 levels"),
            (&long, "longer than"),
            (b"{\"a\":\"\xff\"}", "not UTF-8"),
            (br#"{"id":1,"id":2}"#, "duplicate key `id`"),
            (
                br#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#,
                "a batch is no message",
            ),
            (
                br#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
                "`result` is not an object",
            ),
            (
                br#"{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":""}}"#,
                "`error` is not",
            ),
            (br#"{"jsonrpc":"2.0","id":"1","result":{}}"#, "not ours"),
            (br#"{"jsonrpc":"2.0","id":-1,"result":{}}"#, "not ours"),
            (
                br#"{"jsonrpc":"2.0","id":1}"#,
                "neither a request nor a response",
            ),
            (
                br#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
                "at the same time",
            ),
            (number.as_bytes(), "neither a string nor a whole number"),
            (method.as_bytes(), "too long"),
        ] {
            let told = why(line);
            assert!(told.contains(what), "{told}");
            assert!(told.len() < 1024, "{told}");
        }
        assert!(why(b"\x1b[2J\xff").contains("`\\u{1b}[2J\\u{fffd}`"));
    }

    #[test]
    fn a_rate_gives_so_many_and_no_more() {
        let now = Instant::now();
        let mut rate = Rate::new(10, 3, now);
        let taken = |rate: &mut Rate, at| (0..100).filter(|_| rate.take(at)).count();
        assert_eq!(taken(&mut rate, now), 3);
        assert_eq!(taken(&mut rate, now + Duration::from_millis(199)), 1);
        assert_eq!(taken(&mut rate, now + Duration::from_millis(200)), 1);
        assert_eq!(taken(&mut rate, now), 0, "time does not go back");
        assert_eq!(taken(&mut rate, now + Duration::from_secs(9)), 3);
    }
}
