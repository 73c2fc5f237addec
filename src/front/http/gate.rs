//! What HTTP itself says of a request: the names it was sent to, the site it comes from, who sent
//! it, and what it claims of its body. Nothing here looks at the body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};
use ring::digest::{SHA256, digest};

use crate::front::era::stateless::Headers;
use crate::wire::text::hex;

/// Longest token, in bytes: far longer than any that Keepgate makes.
const TOKEN_MAX: usize = 256;
/// The header of a session's id.
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// Headers that repeat an argument begin with this.
pub(super) const PARAM: &str = "mcp-param-";
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The only value of a header, as text; nothing where it is missing, comes twice or is no text.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    match all.next() {
        None => first.to_str().ok(),
        Some(_) => None,
    }
}

/// The request was sent to one of `hosts`, whatever the port. `authority` is the one of an absolute
/// request target, which has to be one of them too.
pub(super) fn is_for(headers: &HeaderMap, authority: Option<&str>, hosts: &[String]) -> bool {
    let known = |written: &str| host(written).is_some_and(|host| hosts.contains(&host));
    only(headers, &HOST).is_some_and(known) && authority.is_none_or(known)
}

/// `name:port` or `[address]:port` without its port, in lower case.
fn host(written: &str) -> Option<String> {
    let (name, port) = match written.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            (
                format!("[{address}]"),
                rest.strip_prefix(':').or(rest.is_empty().then_some("")),
            )
        }
        None => match written.split_once(':') {
            Some((name, port)) => (name.to_owned(), Some(port)),
            None => (written.to_owned(), Some("")),
        },
    };
    let port = port?;
    (port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.to_ascii_lowercase())
}

/// The request comes from no web page, or from one of `origins`.
pub(super) fn is_from(headers: &HeaderMap, origins: &[String]) -> bool {
    if !headers.contains_key(ORIGIN) {
        return true;
    }
    only(headers, &ORIGIN).is_some_and(|origin| {
        let origin = origin.to_ascii_lowercase();
        origins.contains(&origin)
    })
}

/// SHA-256 of the bearer token that came (RFC 6750), lower-case hex.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = only(headers, &AUTHORIZATION)?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && (1..=TOKEN_MAX).contains(&token.len()))
        .then(|| hex(digest(&SHA256, token.as_bytes()).as_ref()))
}

/// The body says it is JSON. A web page cannot send that without being allowed to first.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    only(headers, &CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    })
}

/// What the client can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reads {
    /// A JSON message.
    pub(super) json: bool,
    /// A stream of events.
    pub(super) events: bool,
}

/// What the client says it can read; all, where it says nothing.
pub(super) fn reads(headers: &HeaderMap) -> Reads {
    let mut reads = Reads {
        json: !headers.contains_key(ACCEPT),
        events: !headers.contains_key(ACCEPT),
    };
    let all = headers.get_all(ACCEPT).iter();
    for kind in all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is = |known: &[&str]| known.iter().any(|known| kind.eq_ignore_ascii_case(known));
        reads.json |= is(&["*/*", "application/*", "application/json"]);
        reads.events |= is(&["*/*", "text/*", "text/event-stream"]);
    }
    reads
}

/// What the headers say of the body.
pub(super) fn claims(headers: &HeaderMap) -> Headers {
    let text = |name| only(headers, name).map(str::to_owned);
    Headers {
        version: text(&VERSION),
        method: text(&METHOD),
        name: only(headers, &NAME).and_then(decoded),
        params: headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with(PARAM))
            .map(|(name, value)| {
                let said = value.to_str().ok().and_then(decoded);
                (name.as_str().to_owned(), said)
            })
            .collect(),
    }
}

/// A value that may be written as `=?base64?…?=`; nothing, where that holds no text.
fn decoded(value: &str) -> Option<String> {
    let coded = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    match coded {
        None => Some(value.to_owned()),
        Some(coded) => String::from_utf8(STANDARD.decode(coded).ok()?).ok(),
    }
}

/// Reads everything the front makes of HTTP's headers: for fuzzing. `bytes` are lines `name:
/// value`; whether the request would be let to the door of `gate.example.net`.
pub fn fuzz_headers(bytes: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts
            .next()
            .and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts.next().map(<[u8]>::trim_ascii);
        let value = value.and_then(|value| hyper::header::HeaderValue::from_bytes(value).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let hosts = ["gate.example.net".to_owned()];
    let origins = ["https://tools.example.net".to_owned()];
    let claims = claims(&headers);
    if let Some(name) = &claims.name {
        // What is coded has one reading, and is not read twice.
        assert!(only(&headers, &NAME).is_some_and(|raw| raw == name || raw.starts_with("=?")));
    }
    let token = token(&headers);
    assert!(token.as_ref().is_none_or(|token| token.len() == 64));
    let reads = reads(&headers);
    let through = is_for(&headers, None, &hosts) && is_from(&headers, &origins);
    through && is_json(&headers) && token.is_some() && (reads.json || reads.events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_the_doors_own_names_are_let_in() {
        let hosts = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let sent = |host: &str| is_for(&headers(&[("host", host)]), None, &hosts);
        for good in [
            "localhost",
            "LocalHost:7411",
            "127.0.0.1:1",
            "[::1]:7411",
            "[::1]",
        ] {
            assert!(sent(good), "{good}");
        }
        for bad in [
            "",
            "evil.example.com",
            "evil.example.com:7411",
            "localhost.evil.example.com",
            "localhost:x",
            "localhost:7411:7411",
            "x@localhost",
            "[::1]x",
            "[::1",
            "127.0.0.2",
            "localhost.",
        ] {
            assert!(!sent(bad), "{bad}");
        }
        let twice = headers(&[("host", "localhost"), ("host", "localhost")]);
        assert!(!is_for(&twice, None, &hosts) && !is_for(&HeaderMap::new(), None, &hosts));
        let one = headers(&[("host", "localhost")]);
        assert!(!is_for(&one, Some("evil.example.com"), &hosts));
        assert!(is_for(&one, Some("127.0.0.1:7411"), &hosts));
    }

    #[test]
    fn web_pages_of_other_sites_are_not() {
        let origins = ["http://localhost:7411".to_owned()];
        let from = |origin: &str| is_from(&headers(&[("origin", origin)]), &origins);
        assert!(is_from(&HeaderMap::new(), &origins));
        assert!(from("http://localhost:7411") && from("HTTP://LOCALHOST:7411"));
        for bad in [
            "null",
            "",
            "http://localhost",
            "https://localhost:7411",
            "http://localhost:74111",
            "http://evil.example.com",
        ] {
            assert!(!from(bad), "{bad}");
        }
        let twice = headers(&[
            ("origin", "http://localhost:7411"),
            ("origin", "http://localhost:7411"),
        ]);
        assert!(!is_from(&twice, &origins));
    }

    #[test]
    fn tokens_come_in_one_way() {
        let known = hex(digest(&SHA256, b"abc").as_ref());
        let of = |value: &str| token(&headers(&[("authorization", value)]));
        assert_eq!(of("Bearer abc"), Some(known.clone()));
        assert_eq!(of("bearer  abc "), Some(known));
        let long = format!("Bearer {}", "x".repeat(TOKEN_MAX + 1));
        for bad in ["abc", "Basic abc", "Bearer", "Bearer ", &long] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn bodies_and_answers_have_their_kinds() {
        let json = |kind: &str| is_json(&headers(&[("content-type", kind)]));
        assert!(json("application/json") && json("Application/JSON; charset=utf-8"));
        assert!(!json("text/plain") && !json("application/jsonx"));
        let reads = |accept: &str| {
            let Reads { json, events } = reads(&headers(&[("accept", accept)]));
            (json, events)
        };
        assert_eq!(reads("application/json, text/event-stream"), (true, true));
        assert_eq!(reads("text/event-stream;q=1"), (false, true));
        assert_eq!(reads("*/*"), (true, true));
        assert_eq!(reads("text/html"), (false, false));
        assert_eq!(
            super::reads(&HeaderMap::new()),
            Reads {
                json: true,
                events: true
            }
        );
    }

    #[test]
    fn names_that_are_no_header_are_decoded() {
        let name = |value: &str| claims(&headers(&[("mcp-name", value)])).name;
        assert_eq!(name("a__b").unwrap(), "a__b");
        assert_eq!(
            name("=?base64?SGVsbG8sIOS4lueVjA==?=").unwrap(),
            "Hello, 世界"
        );
        assert_eq!(name("=?base64?IHBhZGRlZCA=?=").unwrap(), " padded ");
        assert_eq!(
            name("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=").unwrap(),
            "=?base64?literal?="
        );
        assert_eq!(name("SGVsbG8=").unwrap(), "SGVsbG8=");
        for bad in [
            "=?base64?SGVsbG8?=",
            "=?base64?SGVs!G8=?=",
            "=?base64?/w==?=",
        ] {
            assert_eq!(name(bad), None, "{bad}");
        }
        let repeated = headers(&[
            ("mcp-param-region", "=?base64?IHBhZGRlZCA=?="),
            ("mcp-param-count", "=?base64?!?="),
        ]);
        let mut params = claims(&repeated).params;
        params.sort();
        assert_eq!(
            params,
            [
                ("mcp-param-count".to_owned(), None),
                ("mcp-param-region".to_owned(), Some(" padded ".to_owned()))
            ]
        );
        let twice = headers(&[("mcp-method", "a"), ("mcp-method", "b")]);
        assert_eq!(claims(&twice).method, None);
    }
}
