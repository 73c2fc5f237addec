//! Whether a request to the proxy may leave, decided on its head and the manifest's list, before
//! any name is looked up. No I/O.

use hyper::StatusCode;

use super::head::{self, Body, Head, Odd};
use super::refused::Refused;
use crate::call::http::{Scheme, Target};
use crate::jail::denied::UNLISTED;
use crate::wire::manifest::Destination;

/// The only ways out of one jail.
#[derive(Debug)]
pub(super) struct List(Vec<Destination>);

/// A request that may leave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// Where to. Of a tunnel only host and port mean anything.
    pub(super) target: Target,
    /// How.
    pub(super) way: Way,
    /// Networks its address may be in although they are private.
    pub(super) private: Vec<String>,
}

/// The two things a proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `CONNECT`: a tunnel for TLS.
    Tunnel,
    /// A plain request, passed on.
    Request,
}

impl List {
    /// The list as the manifest has it. An entry in another form than a target's host matches
    /// nothing.
    pub(super) fn new(allow: Vec<Destination>) -> Self {
        Self(allow)
    }

    /// Judges a request.
    ///
    /// # Errors
    /// Says what is wrong with it, or which line of the manifest would allow it.
    pub(super) fn judge(&self, head: &Head) -> Result<Admitted, Refused> {
        let (target, way) = match head.method.as_str() {
            "CONNECT" => (tunnel(head)?, Way::Tunnel),
            _ => (request(head)?, Way::Request),
        };
        let listed = |one: &&Destination| one.host == target.host() && one.port == target.port();
        let mut entries = self.0.iter().filter(listed).peekable();
        if entries.peek().is_none() {
            let there = destination(&target);
            let say = format!("{UNLISTED}{there}; to allow it: net = [\"{there}\"]");
            return Err(Refused::new(StatusCode::FORBIDDEN, say));
        }
        let private = entries.flat_map(|one| one.private.clone()).collect();
        Ok(Admitted {
            target,
            way,
            private,
        })
    }
}

/// `host:port` as a manifest has it.
pub(super) fn destination(target: &Target) -> String {
    let there = Destination {
        host: target.host().into(),
        port: target.port(),
        private: Vec::new(),
    };
    there.to_string()
}

/// What the log calls a request that may leave: `CONNECT host:port`, or method and URL without the
/// query.
pub(super) fn label(admitted: &Admitted) -> String {
    match admitted.way {
        Way::Tunnel => format!("CONNECT {}", destination(&admitted.target)),
        Way::Request => admitted.target.label(),
    }
}

impl From<Odd> for Refused {
    fn from(odd: Odd) -> Self {
        bad(odd.0)
    }
}

/// Where a `CONNECT` leads.
fn tunnel(head: &Head) -> Result<Target, Refused> {
    if !matches!(head.body, Body::None | Body::Length(0)) {
        return Err(bad("`CONNECT` has no body"));
    }
    let authority = head.target.as_str();
    if authority.contains(['/', '?', '#']) {
        return Err(bad("`CONNECT` takes HOST:PORT"));
    }
    let target = parse("GET", &format!("https://{authority}/"))?;
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    if port != Some(target.port().to_string().as_str()) {
        return Err(bad("`CONNECT` takes HOST:PORT"));
    }
    // It goes nowhere: clients of HTTP/1.0 send none, and Node sends the proxy's own.
    if head.all("host").nth(1).is_some() {
        return Err(bad("the request has two `Host` fields"));
    }
    Ok(target)
}

/// Where a plain request leads.
fn request(head: &Head) -> Result<Target, Refused> {
    if head.target.starts_with('/') || head.target == "*" {
        return Err(bad(
            "this is a proxy: ask it with a whole URL, or with `CONNECT`",
        ));
    }
    let target = parse(&head.method, &head.target)?;
    if target.scheme() == Scheme::Https {
        return Err(bad("ask for `https` with `CONNECT`"));
    }
    if head.old {
        return Err(bad("plain requests have to be HTTP/1.1"));
    }
    if head.all("upgrade").next().is_some() {
        return Err(bad("`Upgrade` is not passed on"));
    }
    host(head, &target)?;
    Ok(target)
}

fn parse(method: &str, url: &str) -> Result<Target, Refused> {
    Target::parse(method, url).map_err(|why| bad(why.to_string()))
}

/// The `Host` field has to say the same as the target: a server acts on the one, the list is asked
/// about the other.
fn host(head: &Head, target: &Target) -> Result<(), Refused> {
    let mut hosts = head.all("host");
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(bad("the request has two `Host` fields"));
    }
    let same = |value: &[u8]| {
        value.eq_ignore_ascii_case(target.authority().as_bytes())
            || value.eq_ignore_ascii_case(destination(target).as_bytes())
    };
    match first {
        Some(value) if same(value) => Ok(()),
        Some(_) => Err(bad("the `Host` field and the request's target differ")),
        None => Err(bad("the request has no `Host` field")),
    }
}

fn bad(say: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, say)
}

/// For a fuzz target: nothing but what is listed may leave, and what is said of it is one line.
pub(super) fn fuzz(bytes: &[u8]) -> bool {
    let Some(head) = head::fuzz(bytes) else {
        return false;
    };
    let listed = |port| Destination {
        host: "a.example".into(),
        port,
        private: Vec::new(),
    };
    let list = List::new(vec![listed(80), listed(443)]);
    match list.judge(&head) {
        Ok(admitted) => {
            let there = destination(&admitted.target);
            assert!(["a.example:80", "a.example:443"].contains(&there.as_str()));
            let asked = head.target.to_ascii_lowercase();
            assert!(asked.contains("a.example"), "it was not asked for: {asked}");
            true
        }
        Err(refused) => {
            let said = String::from_utf8(refused.response(true)).unwrap_or_default();
            assert!(said.is_ascii() && said.lines().count() == 5, "{said}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(entries: &[(&str, u16)]) -> List {
        let entry = |(host, port): &(&str, u16)| Destination {
            host: (*host).into(),
            port: *port,
            private: Vec::new(),
        };
        List::new(entries.iter().map(entry).collect())
    }

    /// Status and words for a request; 0 where it may leave.
    fn judged(list: &List, head: &str) -> (u16, String) {
        let head = Head::parse(format!("{head}\r\n\r\n").as_bytes());
        let judged = head
            .map_err(Refused::from)
            .and_then(|head| list.judge(&head));
        judged.map_or_else(
            |refused| (refused.status().as_u16(), refused.body()),
            |admitted| (0, label(&admitted)),
        )
    }

    fn connect(list: &List, authority: &str) -> (u16, String) {
        judged(list, &format!("CONNECT {authority} HTTP/1.1"))
    }

    #[test]
    fn a_listed_destination_is_reached_in_every_plain_spelling() {
        let list = list(&[
            ("a.example", 443),
            ("xn--bcher-kva.example", 443),
            ("10.0.0.1", 5432),
            ("2001:db8::1", 443),
            ("a.example", 8080),
        ]);
        let same = [
            ("a.example:443", "CONNECT a.example:443"),
            ("A.Example:443", "CONNECT a.example:443"),
            ("a.example:8080", "CONNECT a.example:8080"),
            (
                "xn--bcher-kva.example:443",
                "CONNECT xn--bcher-kva.example:443",
            ),
            ("10.0.0.1:5432", "CONNECT 10.0.0.1:5432"),
            ("[::ffff:a00:1]:5432", "CONNECT 10.0.0.1:5432"),
            ("[2001:db8::1]:443", "CONNECT [2001:db8::1]:443"),
            ("[2001:DB8::1]:443", "CONNECT [2001:db8::1]:443"),
        ];
        for (authority, expected) in same {
            assert_eq!(
                connect(&list, authority),
                (0, expected.into()),
                "{authority}"
            );
        }
    }

    /// Every spelling here has been some proxy's hole.
    #[test]
    fn a_name_with_two_readings_is_refused() {
        let list = list(&[("a.example", 443), ("127.0.0.1", 443)]);
        let bad = [
            "a.example.:443",
            "a.example\0.evil.example:443",
            "a.example%00.evil.example:443",
            "a%2eexample:443",
            "a.example@evil.example:443",
            "evil.example@a.example:443",
            "a.example:443@evil.example:443",
            "a.example:443:443",
            "a.example:0443",
            "a.example:+443",
            "a.example: 443",
            "a.example:",
            "a.example",
            ":443",
            "443",
            "",
            "a.example:443/",
            "a.example:443/x",
            "a.example:443?x",
            "a.example:443#x",
            "a.example#:443",
            "a.example\\:443",
            "https://a.example:443",
            "a.ex\u{e4}mple:443",
            "b\u{fc}cher.example:443",
            "a.example\u{3002}:443",
            "0x7f.1:443",
            "2130706433:443",
            "0177.0.0.1:443",
            "127.1:443",
            "127.0.0.1.:443",
            "[::ffff:127.0.0.1]:443",
            "[::ffff:7f00:1%25lo]:443",
            "[fe80::1%lo]:443",
            "[0:0:0:0:0:0:0:1]:443",
            "::1:443",
            "[::1]",
            "[a.example]:443",
            "-a.example:443",
            "*.example:443",
            "*:443",
        ];
        for authority in bad {
            assert_eq!(connect(&list, authority).0, 400, "{authority:?}");
        }
        let long = format!("{}.example:443", "a".repeat(64));
        assert_eq!(connect(&list, &long).0, 400);
        let long = format!("{}example:443", "a.".repeat(124));
        assert_eq!(connect(&list, &long).0, 400);
    }

    #[test]
    fn what_is_not_listed_is_refused_with_the_line_that_would_allow_it() {
        let full = list(&[("a.example", 443), ("A.EXAMPLE", 80), ("*", 443), ("", 443)]);
        for authority in [
            "b.example:443",
            "sub.a.example:443",
            "xa.example:443",
            "a.example:444",
            "a.example:80",
            "example:443",
            "127.0.0.1:443",
            "[::1]:443",
            "localhost:443",
        ] {
            for list in [&full, &list(&[])] {
                let (status, say) = connect(list, authority);
                assert_eq!(status, 403, "{authority}");
                assert!(say.contains(&format!("net = [\"{authority}\"]")), "{say}");
                assert_eq!(say.lines().count(), 1);
            }
        }
        let plain = "GET http://b.example/secret?q HTTP/1.1\r\nHost: b.example";
        let (status, say) = judged(&full, plain);
        assert_eq!(status, 403);
        assert!(
            say.contains("net = [\"b.example:80\"]") && !say.contains("secret"),
            "{say}"
        );
    }

    #[test]
    fn host_and_target_are_one() {
        let list = list(&[("a.example", 80), ("a.example", 8080), ("a.example", 443)]);
        let get = |url: &str, fields: &str| judged(&list, &format!("GET {url} HTTP/1.1{fields}")).0;
        let url = "http://a.example/x?y";
        for good in ["a.example", "A.EXAMPLE", "a.example:80"] {
            assert_eq!(get(url, &format!("\r\nHost: {good}")), 0, "{good}");
        }
        let eight = "http://a.example:8080/";
        assert_eq!(get(eight, "\r\nHost: a.example:8080"), 0);
        assert_eq!(get(eight, "\r\nHost: a.example"), 400);
        for bad in [
            "",
            "\r\nHost:",
            "\r\nHost: b.example",
            "\r\nHost: a.example:8080",
            "\r\nHost: a.example.",
            "\r\nHost: a.example\r\nHost: a.example",
            "\r\nHost: a.example\r\nHOST: b.example",
            "\r\nHost: a.example,b.example",
            "\r\nHost: x@a.example",
        ] {
            assert_eq!(get(url, bad), 400, "{bad:?}");
        }
        let connect =
            |fields: &str| judged(&list, &format!("CONNECT a.example:443 HTTP/1.1{fields}")).0;
        for good in ["", "\r\nHost: a.example:443", "\r\nHost: 127.0.0.1:3128"] {
            assert_eq!(connect(good), 0, "{good:?}");
        }
        for bad in [
            "\r\nHost: a.example\r\nHost: a.example",
            "\r\nContent-Length: 1",
            "\r\nTransfer-Encoding: chunked",
        ] {
            assert_eq!(connect(bad), 400, "{bad:?}");
        }
    }

    #[test]
    fn a_proxy_does_two_things_and_no_third() {
        let list = list(&[("a.example", 80), ("a.example", 443)]);
        let host = "HTTP/1.1\r\nHost: a.example";
        for bad in [
            format!("GET / {host}"),
            format!("OPTIONS * {host}"),
            format!("GET https://a.example/ {host}"),
            format!("GET ftp://a.example/ {host}"),
            format!("GET a.example/ {host}"),
            format!("TRACE http://a.example/ {host}"),
            format!("get http://a.example/ {host}"),
            format!("GET http://x@a.example/ {host}"),
            format!("GET http://a.example/../x {host}"),
            format!("GET http://a.example/ {host}\r\nUpgrade: h2c"),
            format!("GET http://a.example/ {host}\r\nConnection: upgrade\r\nUpgrade: websocket"),
            "GET http://a.example/ HTTP/1.0\r\nHost: a.example".into(),
        ] {
            assert_eq!(judged(&list, &bad).0, 400, "{bad}");
        }
        let put = format!("PUT http://a.example/?token=x {host}\r\nContent-Length: 3");
        assert_eq!(judged(&list, &put), (0, "PUT http://a.example/".into()));
    }

    #[test]
    fn private_networks_are_those_of_the_entry() {
        let entry = |port, network: &str| Destination {
            host: "a.example".into(),
            port,
            private: vec![network.into()],
        };
        let list = List::new(vec![entry(443, "10.0.0.0/8"), entry(80, "127.0.0.0/8")]);
        let head = Head::parse(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(list.judge(&head).unwrap().private, ["10.0.0.0/8"]);
    }

    proptest! {
        #[test]
        fn anything_like_a_request_leaves_for_what_is_listed_or_not_at_all(
            method in "CONNECT|GET|POST",
            target in "(http://)?(a\\.example|b\\.example|[ab.@\\[\\]%0-9]{0,12}):?(80|443|)/?[a-z?#@:./]{0,9}",
            fields in "(\r\n(Host|host|Content-Length|Transfer-Encoding|X): ?(a\\.example|5|chunked|\r|\n|)){0,4}",
        ) {
            let head = format!("{method} {target} HTTP/1.1{fields}\r\n\r\n");
            fuzz(head.as_bytes());
        }
    }
}
