//! Which request headers an agent may set.

/// Most headers an agent may set.
pub const COUNT_MAX: usize = 32;
/// Most bytes of all names and values together.
pub const BYTES_MAX: usize = 8 << 10;

/// Belong to the connection, which is egress' own (RFC 9110, section 7.6.1, and RFC 9112).
const CONNECTION: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
];
/// Carry credentials, which come from the vault alone.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "cookie2", "x-amz-security-token"];
/// Make a server act on another method, path, host or client than the rule was matched with.
const OVERRIDES: [&str; 14] = [
    "client-ip",
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-override-url",
    "x-real-ip",
    "x-rewrite-url",
];
/// Go along when a redirect leads to another server.
const TRAVELS: [&str; 2] = ["accept", "accept-language"];
/// Describe a body and go where it goes.
const OF_BODY: [&str; 4] = [
    "content-encoding",
    "content-language",
    "content-location",
    "content-type",
];

/// Why an agent may not set the header `name`; `None` where it may. Upper and lower case are one.
pub fn refused(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let name = name.as_str();
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    // Many servers read `_` as `-` (CGI), which would carry a refused name past this list.
    if name.is_empty() || !name.bytes().all(token) || name.contains('_') {
        Some("it is no header name")
    } else if CONNECTION.contains(&name) {
        Some("it belongs to the connection")
    } else if CREDENTIALS.contains(&name) || name.starts_with("proxy-") {
        Some("credentials come from the vault, never from an agent")
    } else if OVERRIDES.contains(&name) || name.starts_with("x-forwarded-") {
        Some("it changes what a server acts on")
    } else {
        None
    }
}

/// Why `value` cannot be the value of a header; `None` where it can (RFC 9110, section 5.5, ASCII).
pub fn refused_value(value: &str) -> Option<&'static str> {
    let plain = value
        .bytes()
        .all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\t');
    let trimmed = value.trim_matches([' ', '\t']).len() == value.len();
    (!plain || !trimmed).then_some("its value holds characters no header has")
}

/// Whether the header `name` goes along when a redirect leads to another server.
pub fn travels(name: &str) -> bool {
    TRAVELS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether the header `name` describes the body and is left out where the body is.
pub fn of_body(name: &str) -> bool {
    OF_BODY.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_smuggles_is_refused_in_any_case() {
        let bad = [
            "Host",
            "CONNECTION",
            "Transfer-Encoding",
            "content-length",
            "Proxy-Authorization",
            "proxy-connection",
            "TE",
            "Upgrade",
            "Authorization",
            "Cookie",
            "X-HTTP-Method-Override",
            "X-Forwarded-For",
            "X-Original-URL",
            "User-Agent",
            "Expect",
            "a b",
            "a:b",
            "a\r\nb",
            "",
            "transfer_encoding",
            "x\0",
            "Accept-Encoding",
            "ä",
        ];
        for name in bad {
            assert!(refused(name).is_some(), "{name:?}");
        }
        for name in [
            "Accept",
            "Content-Type",
            "If-None-Match",
            "Range",
            "X-Request-Id",
        ] {
            assert_eq!(refused(name), None, "{name}");
        }
    }

    #[test]
    fn a_value_is_one_line() {
        for bad in ["a\r\nX: y", "a\n", "\0", "a\u{7f}", "ü", " a", "a\t"] {
            assert!(refused_value(bad).is_some(), "{bad:?}");
        }
        for good in ["", "a", "text/plain; charset=utf-8", "a \t b"] {
            assert_eq!(refused_value(good), None, "{good:?}");
        }
    }
}
