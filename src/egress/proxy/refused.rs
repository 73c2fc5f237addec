//! What the proxy says where it does not do what it was asked: one line for the program in the
//! jail, one for the log.

use hyper::StatusCode;

use crate::egress::refusal::{Class, Refusal};
use crate::wire::text::Escaped;

/// Longest line for the jail, in characters.
const SAY_MAX: usize = 600;

/// Why a request is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    status: StatusCode,
    say: String,
    detail: String,
}

impl Refused {
    /// The same words for the jail and the log.
    pub(super) fn new(status: StatusCode, say: impl Into<String>) -> Self {
        let say = say.into();
        Self {
            status,
            detail: say.clone(),
            say,
        }
    }

    /// What egress met beyond its own door, on the way to `destination` (`host:port`). The jail
    /// hears its kind; addresses and the operator's network are for the log alone.
    pub(super) fn beyond(refusal: &Refusal, destination: &str) -> Self {
        let say = refusal.fault(false).say;
        let (status, hint) = match refusal.class() {
            Class::AddressRefused => (
                StatusCode::FORBIDDEN,
                "; to allow it, list its network as `private` of that destination in `net`",
            ),
            Class::TimedOut => (StatusCode::GATEWAY_TIMEOUT, ""),
            Class::BadRequest => (StatusCode::BAD_REQUEST, ""),
            Class::NotLeased
            | Class::HostNotAllowed
            | Class::RedirectRefused
            | Class::NameNotResolved
            | Class::ConnectFailed
            | Class::TlsFailed
            | Class::BadResponse => (StatusCode::BAD_GATEWAY, ""),
        };
        Self {
            status,
            say: format!("{destination}: {say}{hint}"),
            detail: refusal.detail().into(),
        }
    }

    /// For the log.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body: one line.
    pub(super) fn body(&self) -> String {
        format!("{}\n", self.line())
    }

    /// A whole response, after which the connection is closed. The line stands in the reason phrase
    /// too: of a failed `CONNECT` most clients show nothing else. `bodiless`: the request was `HEAD`.
    pub(super) fn response(&self, bodiless: bool) -> Vec<u8> {
        let (line, body) = (self.line(), self.body());
        let mut text = format!(
            "HTTP/1.1 {} {line}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.status.as_str(),
            body.len()
        );
        if !bodiless {
            text.push_str(&body);
        }
        text.into_bytes()
    }

    /// Printable ASCII alone.
    fn line(&self) -> String {
        let line = format!("keepgate: {}", Escaped::cut(&self.say, SAY_MAX));
        line.replace('…', "...")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_makes_a_second_header() {
        let hostile = "a\r\nSet-Cookie: b\r\n\r\n\u{1b}[2J\u{e4}";
        let refused = Refused::new(StatusCode::BAD_REQUEST, hostile);
        let text = String::from_utf8(refused.response(false)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(head.lines().count(), 4, "{head}");
        assert!(text.is_ascii() && !text.contains('\u{1b}'));
        assert_eq!(body.lines().count(), 1, "{body}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        let text = String::from_utf8(refused.response(true)).unwrap();
        assert!(text.ends_with("\r\n\r\n"));
        let long = Refused::new(StatusCode::BAD_REQUEST, "a".repeat(5000));
        assert!(long.line().len() < 700);
    }

    #[test]
    fn the_jail_does_not_learn_an_address() {
        let inner = Refusal::new(Class::AddressRefused, "10.1.2.3 is private");
        let refused = Refused::beyond(&inner, "a.example:443");
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert!(!refused.body().contains("10.1.2.3"), "{}", refused.body());
        assert!(refused.body().contains("`private`"));
        assert_eq!(refused.detail(), "10.1.2.3 is private");
    }
}
