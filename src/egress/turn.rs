//! What a lease's jail may ask for next: the leased request first, after that only the redirect it
//! led to. No I/O.

use ring::digest::{SHA256, digest};

use super::lease::Lease;
use super::refusal::{Class, Refusal};
use crate::call::http::{Redirect, Target, check, header};
use crate::tools::http::stream::Ask;
use crate::wire::messages::HttpRule;
use crate::wire::text::{escaped, hex};

/// The state of a lease between two requests.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    lease: &'a Lease,
    /// Headers of the first request: later ones may have no others.
    headers: Vec<(String, String)>,
    next: Next,
    redirects: u8,
}

#[derive(Debug)]
enum Next {
    /// The request that was authorised.
    First,
    /// The redirect the last response led to.
    Follow(Box<Redirect>),
    /// Nothing more.
    Nothing,
}

/// A request that may be sent.
#[derive(Debug)]
pub(super) struct Allowed<'a> {
    pub(super) target: Target,
    pub(super) rule: &'a HttpRule,
}

/// What a response's status and location lead to.
#[derive(Debug)]
pub(super) enum Leads {
    /// Nowhere: it is the answer.
    Nowhere,
    /// To a request the jail may ask for now.
    On,
    /// To where the lease does not lead.
    Astray(Refusal),
}

impl<'a> Turn<'a> {
    /// Before the first request.
    pub(super) fn new(lease: &'a Lease) -> Self {
        Self {
            lease,
            headers: Vec::new(),
            next: Next::First,
            redirects: 0,
        }
    }

    /// Judges what the jail asks for. Each permission is used up by asking.
    pub(super) fn admit(&mut self, ask: &Ask, body: &[u8]) -> Result<Allowed<'a>, Refusal> {
        let odd = |why: &str| Refusal::new(Class::NotLeased, why);
        let target = Target::parse(&ask.method, &ask.url)
            .map_err(|why| Refusal::new(Class::BadRequest, why.to_string()))?;
        check_headers(&ask.headers)?;
        if matches!(target.method(), "GET" | "HEAD") && !body.is_empty() {
            // It means nothing (RFC 9110, section 9.3.1), and servers disagree where it ends.
            return Err(Refusal::new(
                Class::BadRequest,
                "`GET` and `HEAD` have no body",
            ));
        }
        let sent = hex(digest(&SHA256, body).as_ref());
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::First => {
                let lease = self.lease;
                if (target.method(), target.url()) != (lease.method.as_str(), lease.url.as_str()) {
                    return Err(odd(
                        "the jail asked for another request than the keeper allowed",
                    ));
                }
                if sent != lease.body_sha256 {
                    return Err(odd("the jail sent another body than the keeper allowed"));
                }
                self.headers.clone_from(&ask.headers);
            }
            Next::Follow(redirect) => {
                if target != redirect.target {
                    return Err(odd(
                        "the jail asked for another request than the redirect's",
                    ));
                }
                let same = if redirect.body {
                    sent == self.lease.body_sha256
                } else {
                    body.is_empty()
                };
                if !same {
                    return Err(odd("the jail sent another body than the redirect's"));
                }
                let known = |header: &(String, String)| {
                    self.headers.contains(header)
                        && (redirect.same_origin || header::travels(&header.0))
                };
                if !ask.headers.iter().all(known) {
                    return Err(odd(
                        "the jail sent headers that do not go with the redirect",
                    ));
                }
                // What was left out once does not come back.
                self.headers.clone_from(&ask.headers);
            }
            Next::Nothing => return Err(odd("the jail asked for more than one request")),
        }
        let rule = self.rule(&target)?;
        Ok(Allowed { target, rule })
    }

    /// Judges where a response leads; the jail may then ask for that.
    pub(super) fn redirect(&mut self, from: &Target, status: u16, location: Option<&str>) -> Leads {
        let Some(next) = location.and_then(|location| from.redirect(status, location)) else {
            return Leads::Nowhere;
        };
        let astray = |why: String| Leads::Astray(Refusal::new(Class::RedirectRefused, why));
        let next = match next {
            Ok(next) => next,
            Err(why) => return astray(why.to_string()),
        };
        if self.redirects >= self.lease.redirects {
            return astray(format!("more than {} redirects", self.lease.redirects));
        }
        if self.rule(&next.target).is_err() {
            return astray(format!(
                "no rule allows the redirect to `{}`",
                escaped(&next.target.label())
            ));
        }
        self.redirects = self.redirects.saturating_add(1);
        self.next = Next::Follow(Box::new(next));
        Leads::On
    }

    /// The first rule that lets the target out. A rule that is malformed lets nothing out.
    fn rule(&self, target: &Target) -> Result<&'a HttpRule, Refusal> {
        let rule = self.lease.rules.iter().find(|rule| target.matches(rule));
        let rule = rule.ok_or_else(|| {
            Refusal::new(
                Class::HostNotAllowed,
                format!("no rule allows `{}`", target.label()),
            )
        })?;
        check(rule).map_err(|why| Refusal::new(Class::HostNotAllowed, why.to_string()))?;
        Ok(rule)
    }
}

fn check_headers(headers: &[(String, String)]) -> Result<(), Refusal> {
    let bad = |why: String| Err(Refusal::new(Class::BadRequest, why));
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if headers.len() > header::COUNT_MAX || bytes > header::BYTES_MAX {
        let (count, bytes) = (header::COUNT_MAX, header::BYTES_MAX);
        return bad(format!(
            "more than {count} headers or {bytes} bytes of them"
        ));
    }
    for (at, (name, value)) in headers.iter().enumerate() {
        if let Some(why) = header::refused(name).or_else(|| header::refused_value(value)) {
            return bad(format!(
                "the header `{}` cannot be set: {why}",
                escaped(name)
            ));
        }
        if headers
            .iter()
            .take(at)
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
        {
            return bad(format!("the header `{}` is set twice", escaped(name)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: &str, methods: &[&str]) -> HttpRule {
        HttpRule {
            scheme: "https".into(),
            host: host.into(),
            port: 443,
            methods: methods.iter().map(|method| (*method).into()).collect(),
            path: "/".into(),
            private: Vec::new(),
            pin_sha256: None,
        }
    }

    fn lease(method: &str, body: &[u8], redirects: u8) -> Lease {
        Lease {
            rules: vec![
                rule("a.example", &["GET", "POST"]),
                rule("b.example", &["GET"]),
            ],
            method: method.into(),
            url: "https://a.example/".into(),
            body_sha256: hex(digest(&SHA256, body).as_ref()),
            wall_ms: 1000,
            bytes: 1000,
            redirects,
        }
    }

    fn ask(method: &str, url: &str, headers: &[(&str, &str)]) -> Ask {
        let headers = headers
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        Ask {
            method: method.into(),
            url: url.into(),
            headers,
        }
    }

    fn class(result: Result<Allowed<'_>, Refusal>) -> String {
        result.map_or_else(|refusal| refusal.fault(false).class, |_| "allowed".into())
    }

    #[test]
    fn only_the_leased_request_comes_first_and_only_once() {
        let lease = lease("POST", b"x", 1);
        let first = |method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]| {
            class(Turn::new(&lease).admit(&ask(method, url, headers), body))
        };
        assert_eq!(
            first("POST", "https://a.example/", &[("Accept", "b")], b"x"),
            "allowed"
        );
        assert_eq!(first("POST", "https://a.example/", &[], b"y"), "not_leased");
        assert_eq!(first("POST", "https://a.example/", &[], b""), "not_leased");
        assert_eq!(first("GET", "https://a.example/", &[], b"x"), "bad_request");
        assert_eq!(first("PUT", "https://a.example/", &[], b"x"), "not_leased");
        assert_eq!(
            first("POST", "https://a.example/?q", &[], b"x"),
            "not_leased"
        );
        assert_eq!(first("POST", "https://b.example/", &[], b"x"), "not_leased");
        assert_eq!(
            first("POST", "https://a.example/\0", &[], b"x"),
            "bad_request"
        );
        for bad in [
            "Host",
            "Cookie",
            "Authorization",
            "Transfer-Encoding",
            "a\r\nb",
        ] {
            assert_eq!(
                first("POST", "https://a.example/", &[(bad, "b")], b"x"),
                "bad_request",
                "{bad}"
            );
        }
        assert_eq!(
            first("POST", "https://a.example/", &[("A", "\r\n")], b"x"),
            "bad_request"
        );
        assert_eq!(
            first(
                "POST",
                "https://a.example/",
                &[("A", "b"), ("a", "c")],
                b"x"
            ),
            "bad_request"
        );
        let many: Vec<(String, String)> =
            (0..33).map(|n| (format!("a{n}"), String::new())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            first("POST", "https://a.example/", &many, b"x"),
            "bad_request"
        );

        let mut turn = Turn::new(&lease);
        let again = ask("POST", "https://a.example/", &[]);
        assert_eq!(class(turn.admit(&again, b"x")), "allowed");
        assert_eq!(class(turn.admit(&again, b"x")), "not_leased");
    }

    #[test]
    fn no_rule_no_way_out() {
        let mut lease = lease("GET", b"", 1);
        let get = ask("GET", "https://a.example/", &[]);
        lease.rules.clear();
        assert_eq!(
            class(Turn::new(&lease).admit(&get, b"")),
            "host_not_allowed"
        );
        let mut malformed = rule("a.example", &["GET"]);
        malformed.private = vec!["10.0.0.1/8".into()];
        lease.rules.push(malformed);
        assert_eq!(
            class(Turn::new(&lease).admit(&get, b"")),
            "host_not_allowed"
        );
    }

    #[test]
    fn a_redirect_may_be_asked_for_as_it_stands() {
        let lease = lease("POST", b"x", 2);
        let begin = || {
            let mut turn = Turn::new(&lease);
            let first = ask(
                "POST",
                "https://a.example/",
                &[("Accept", "b"), ("X-Mine", "c")],
            );
            let target = turn.admit(&first, b"x").unwrap().target;
            (turn, target)
        };
        let after = |status, location, then: Ask, body: &[u8]| {
            let (mut turn, target) = begin();
            match turn.redirect(&target, status, Some(location)) {
                Leads::On => class(turn.admit(&then, body)),
                Leads::Nowhere => "nowhere".into(),
                Leads::Astray(refusal) => refusal.fault(false).class,
            }
        };
        let b = "https://b.example/y";
        assert_eq!(
            after(
                307,
                "/y",
                ask("POST", "https://a.example/y", &[("X-Mine", "c")]),
                b"x"
            ),
            "allowed"
        );
        assert_eq!(
            after(307, "/y", ask("POST", "https://a.example/y", &[]), b""),
            "not_leased"
        );
        assert_eq!(
            after(307, "/y", ask("GET", "https://a.example/y", &[]), b""),
            "not_leased"
        );
        assert_eq!(after(307, b, ask("POST", b, &[]), b"x"), "redirect_refused");
        assert_eq!(
            after(303, b, ask("GET", b, &[("Accept", "b")]), b""),
            "allowed"
        );
        assert_eq!(after(303, b, ask("GET", b, &[]), b"x"), "bad_request");
        assert_eq!(
            after(303, b, ask("GET", b, &[("X-Mine", "c")]), b""),
            "not_leased"
        );
        assert_eq!(
            after(303, b, ask("GET", b, &[("Accept", "stolen")]), b""),
            "not_leased"
        );
        assert_eq!(
            after(303, b, ask("GET", "https://b.example/z", &[]), b""),
            "not_leased"
        );
        assert_eq!(
            after(303, "https://c.example/", ask("GET", b, &[]), b""),
            "redirect_refused"
        );
        assert_eq!(
            after(303, "http://a.example/", ask("GET", b, &[]), b""),
            "redirect_refused"
        );
        assert_eq!(after(200, b, ask("GET", b, &[]), b""), "nowhere");
    }

    #[test]
    fn redirects_are_counted() {
        let lease = lease("GET", b"", 1);
        let mut turn = Turn::new(&lease);
        let get = ask("GET", "https://a.example/", &[]);
        let target = turn.admit(&get, b"").unwrap().target;
        assert!(matches!(turn.redirect(&target, 302, Some("/")), Leads::On));
        let target = turn.admit(&get, b"").unwrap().target;
        assert!(matches!(
            turn.redirect(&target, 302, Some("/")),
            Leads::Astray(_)
        ));
        assert_eq!(class(turn.admit(&get, b"")), "not_leased");
    }
}
