use proptest::prelude::*;

use super::*;
use crate::wire::messages::HttpRule;

fn get(url: &str) -> Result<Target, TargetFault> {
    Target::parse("GET", url)
}

fn rule(host: &str, path: &str) -> HttpRule {
    HttpRule {
        scheme: "https".into(),
        host: host.into(),
        port: 443,
        methods: vec!["GET".into()],
        path: path.into(),
        private: Vec::new(),
        pin_sha256: None,
    }
}

#[test]
fn a_plain_url_is_read_as_it_stands() {
    let table = [
        ("https://example.net", "https://example.net/"),
        ("https://example.net/", "https://example.net/"),
        ("HTTPS://EXAMPLE.net/A", "https://example.net/A"),
        (
            "https://example.net:443/a?b=c&d=%20",
            "https://example.net/a?b=c&d=%20",
        ),
        ("https://example.net?x", "https://example.net/?x"),
        (
            "https://example.net:8443/a#part",
            "https://example.net:8443/a",
        ),
        ("http://example.net:443/", "http://example.net:443/"),
        ("http://127.0.0.1:80/a", "http://127.0.0.1/a"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http://[2606:4700::1111]/", "http://[2606:4700::1111]/"),
        (
            "https://xn--bcher-kva.example/",
            "https://xn--bcher-kva.example/",
        ),
        ("https://a_b.example/%41%20", "https://a_b.example/%41%20"),
        (
            "https://example.net/a//b;v=1/@x:y",
            "https://example.net/a//b;v=1/@x:y",
        ),
        (
            "https://example.net/a?u=http://b/../%2e%2f",
            "https://example.net/a?u=http://b/../%2e%2f",
        ),
    ];
    for (text, url) in table {
        let target = get(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(target.url(), url);
        assert_eq!(get(target.url()).unwrap(), target, "{text}");
    }
}

/// Names that different parsers take for different hosts, and everything else with two readings.
#[test]
fn what_two_readers_could_understand_differently_is_refused() {
    let table = [
        // User info, and what looks like it.
        "https://user@example.net/",
        "https://user:pw@example.net/",
        "https://@example.net/",
        "https://good.example@evil.example/",
        "https://good.example:443@evil.example/",
        "https://evil.example\\@good.example/",
        "https://good.example#@evil.example:x/\0",
        // NUL, control characters, blanks.
        "https://good.example\0.evil.example/",
        "https://good.example\t.evil.example/",
        "https://good.example/\r\nHost:evil",
        " https://good.example/",
        "https://good.example/ ",
        "https://good.example/a b",
        "https://good.exa\u{ad}mple/",
        "https://good.example/\u{7f}",
        // Dots and labels.
        "https://example.net./",
        "https://example..net/",
        "https://.example.net/",
        "https://./",
        "https://-a.example/",
        "https://a-.example/",
        "https:///",
        "https://",
        "https://:443/",
        "https://a,b/",
        "https://a b/",
        "https://a%2eexample/",
        "https://%65xample.net/",
        // Names in other alphabets have to come as punycode.
        "https://b\u{fc}cher.example/",
        "https://ex\u{430}mple.net/",
        "https://example\u{3002}net/",
        "https://xn--/",
        "https://xn--a-\u{e4}/",
        "https://\u{ff11}27.0.0.1/",
        // IPv4 in odd forms.
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://017700000001/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://127.0.0.0x1/",
        "http://256.0.0.1/",
        "http://1.2.3.4.5/",
        "http://0/",
        "http://1/",
        "http://foo.0x1/",
        // IPv6 in odd forms.
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::1",
        "http://::1/",
        "http://[::1]x/",
        "http://[]/",
        "http://[::127.0.0.1]/",
        // Ports.
        "https://example.net:/",
        "https://example.net:0/",
        "https://example.net:0443/",
        "https://example.net:65536/",
        "https://example.net:+443/",
        "https://example.net:443x/",
        "https://example.net:443:80/",
        "http://[::1]:/",
        // Paths.
        "https://example.net/a/../b",
        "https://example.net/a/./b",
        "https://example.net/..",
        "https://example.net/a/%2e%2e/b",
        "https://example.net/a/%2E./b",
        "https://example.net/a%2fb",
        "https://example.net/a%5cb",
        "https://example.net/a\\b",
        "https://example.net/%252e%252e/",
        "https://example.net/a%00",
        "https://example.net/a/..;/b",
        "https://example.net/a/..%3b/b",
        "https://example.net/a/.;x/b",
        "https://example.net/%zz",
        "https://example.net/%",
        "https://example.net/%4",
        "https://example.net/<a>",
        "https://example.net/\"",
        "https://example.net/a%2",
        "https://example.net/`",
        "https://example.net/{}",
        "https://example.net/?a'b",
        "https://example.net/?<>",
        "https://example.net/a\u{e4}",
        // Schemes.
        "ftp://example.net/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "example.net",
        "",
        "//example.net/",
        "https:example.net",
        "https:/example.net",
        "https:\\\\example.net\\",
        "ws://example.net/",
        "https ://example.net/",
        "gopher://x/",
        "data://x/",
        "httpss://x/",
        "h\nttps://example.net/",
        "blob:https://example.net/",
    ];
    for text in table {
        assert!(get(text).is_err(), "{text:?} was read as {:?}", get(text));
    }
    assert!(get(&format!("https://example.net/{}", "a".repeat(URL_MAX))).is_err());
    assert!(get(&format!("https://{}/", "a".repeat(64))).is_err());
    assert!(get(&format!("https://{}a/", "a.".repeat(127))).is_err());
}

#[test]
fn a_mapped_address_is_the_ipv4_address() {
    let target = get("http://[::ffff:7f00:1]/").unwrap();
    assert_eq!(
        (target.host(), target.url()),
        ("127.0.0.1", "http://127.0.0.1/")
    );
    assert_eq!(target.address(), Some("127.0.0.1".parse().unwrap()));
}

#[test]
fn methods_are_upper_case_words() {
    for bad in [
        "get",
        "",
        "GET ",
        "G ET",
        "GET\r\n",
        "CONNECT",
        "TRACE",
        "ABCDEFGHIJKLMNOPQ",
        "GÉT",
    ] {
        assert!(
            Target::parse(bad, "https://example.net/").is_err(),
            "{bad:?}"
        );
    }
    for good in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        assert!(
            Target::parse(good, "https://example.net/").is_ok(),
            "{good}"
        );
    }
}

#[test]
fn a_rule_holds_whole_segments_only() {
    let table = [
        ("/", "/", true),
        ("/", "/a", true),
        ("/v1", "/v1", true),
        ("/v1", "/v1/", true),
        ("/v1", "/v1/a", true),
        ("/v1", "/v12", false),
        ("/v1", "/", false),
        ("/v1/", "/v1/a", true),
        ("/v1/", "/v1", false),
        ("/v1", "/V1", false),
        ("/v1", "/%76%31", false),
        ("", "/", false),
        ("v1", "/v1", false),
    ];
    for (prefix, path, expected) in table {
        let target = get(&format!("https://example.net{path}")).unwrap();
        assert_eq!(
            target.matches(&rule("example.net", prefix)),
            expected,
            "{prefix} {path}"
        );
    }
}

#[test]
fn a_rule_differs_in_one_part_and_matches_no_more() {
    let target = get("https://example.net/a").unwrap();
    assert!(target.matches(&rule("example.net", "/")));
    let base = || rule("example.net", "/");
    let others = [
        HttpRule {
            scheme: "http".into(),
            ..base()
        },
        HttpRule {
            host: "sub.example.net".into(),
            ..base()
        },
        HttpRule {
            host: "xample.net".into(),
            ..base()
        },
        HttpRule {
            host: "*".into(),
            ..base()
        },
        HttpRule {
            host: String::new(),
            ..base()
        },
        HttpRule {
            port: 8443,
            ..base()
        },
        HttpRule {
            methods: vec!["POST".into(), "get".into(), "*".into()],
            ..base()
        },
        HttpRule {
            methods: Vec::new(),
            ..base()
        },
    ];
    for other in others {
        assert!(!target.matches(&other), "{other:?}");
    }
    let six = HttpRule {
        scheme: "http".into(),
        host: "::1".into(),
        port: 80,
        ..base()
    };
    assert!(get("http://[::1]/").unwrap().matches(&six));
}

#[test]
fn a_rule_that_never_matches_is_no_rule() {
    let good = || rule("example.net", "/v1");
    assert_eq!(check(&good()), Ok(()));
    assert_eq!(
        check(&HttpRule {
            host: "::1".into(),
            ..good()
        }),
        Ok(())
    );
    assert_eq!(
        check(&HttpRule {
            host: "10.0.0.1".into(),
            ..good()
        }),
        Ok(())
    );
    assert_eq!(
        check(&HttpRule {
            pin_sha256: Some("ab".repeat(32)),
            ..good()
        }),
        Ok(())
    );
    let bad = [
        HttpRule {
            scheme: "HTTPS".into(),
            ..good()
        },
        HttpRule {
            host: "Example.net".into(),
            ..good()
        },
        HttpRule {
            host: "example.net.".into(),
            ..good()
        },
        HttpRule {
            host: "*.example.net".into(),
            ..good()
        },
        HttpRule {
            host: "a/b@c".into(),
            ..good()
        },
        HttpRule {
            host: "0x7f.1".into(),
            ..good()
        },
        HttpRule {
            host: "::ffff:1.2.3.4".into(),
            ..good()
        },
        HttpRule {
            host: "0:0:0:0:0:0:0:1".into(),
            ..good()
        },
        HttpRule { port: 0, ..good() },
        HttpRule {
            methods: vec!["get".into()],
            ..good()
        },
        HttpRule {
            methods: Vec::new(),
            ..good()
        },
        HttpRule {
            path: "v1".into(),
            ..good()
        },
        HttpRule {
            path: "/a/../b".into(),
            ..good()
        },
        HttpRule {
            path: "/a?b".into(),
            ..good()
        },
        HttpRule {
            path: "/a#b".into(),
            ..good()
        },
        HttpRule {
            private: vec!["10.0.0.1/8".into()],
            ..good()
        },
        HttpRule {
            pin_sha256: Some("AB".repeat(32)),
            ..good()
        },
        HttpRule {
            pin_sha256: Some("ab".into()),
            ..good()
        },
        HttpRule {
            scheme: "http".into(),
            pin_sha256: Some("ab".repeat(32)),
            ..good()
        },
    ];
    for rule in bad {
        assert!(check(&rule).is_err(), "{rule:?}");
    }
}

#[test]
fn a_redirect_changes_the_method_as_the_standard_says() {
    let at = |method| Target::parse(method, "https://example.net/a/b?c").unwrap();
    let table = [
        ("GET", 301, "GET", true),
        ("GET", 302, "GET", true),
        ("GET", 303, "GET", false),
        ("GET", 307, "GET", true),
        ("GET", 308, "GET", true),
        ("HEAD", 303, "HEAD", false),
        ("HEAD", 302, "HEAD", true),
        ("POST", 301, "GET", false),
        ("POST", 302, "GET", false),
        ("POST", 303, "GET", false),
        ("POST", 307, "POST", true),
        ("POST", 308, "POST", true),
        ("PUT", 301, "PUT", true),
        ("DELETE", 303, "GET", false),
        ("DELETE", 308, "DELETE", true),
    ];
    for (method, status, then, body) in table {
        let next = at(method).redirect(status, "x").unwrap().unwrap();
        assert_eq!(
            (next.target.method(), next.body),
            (then, body),
            "{method} {status}"
        );
        assert_eq!(next.target.url(), "https://example.net/a/x");
        assert!(next.same_origin);
    }
    for status in [200, 201, 300, 304, 305, 306, 309, 400] {
        assert!(at("GET").redirect(status, "x").is_none(), "{status}");
    }
}

#[test]
fn a_location_is_resolved_once_and_strictly() {
    let at = get("https://example.net/a/b?c").unwrap();
    let table = [
        ("/x", "https://example.net/x"),
        ("x", "https://example.net/a/x"),
        ("../x", "https://example.net/x"),
        ("?y", "https://example.net/a/b?y"),
        ("#z", "https://example.net/a/b?c"),
        ("//other.example/x", "https://other.example/x"),
        ("https://other.example:8443/", "https://other.example:8443/"),
        ("", "https://example.net/a/b?c"),
    ];
    for (location, url) in table {
        let next = at.redirect(302, location).unwrap().unwrap();
        assert_eq!(next.target.url(), url, "{location}");
        assert_eq!(next.same_origin, url.starts_with("https://example.net/"));
    }
    let bad = [
        "http://example.net/",
        "http://other.example/",
        "//user@other.example/",
        "file:///etc/passwd",
        "javascript:x",
        "https://0x7f.1/",
        "//2130706433/",
        "\\\\other.example\\",
        "/a\r\nb",
        "/\0",
        "https://other.example./",
        "data:text/html,x",
        "/%2e%2e%2fx",
        "//",
        "https:/other.example",
        "HTTP://other.example/",
    ];
    for location in bad {
        assert!(at.redirect(302, location).unwrap().is_err(), "{location:?}");
    }
    let post = Target::parse("POST", "https://example.net/").unwrap();
    assert!(
        post.redirect(307, "https://other.example/")
            .unwrap()
            .is_err()
    );
    assert!(
        post.redirect(303, "https://other.example/")
            .unwrap()
            .is_ok()
    );
}

#[test]
fn a_label_holds_no_query() {
    let target = get("https://example.net:8443/a?token=secret").unwrap();
    assert_eq!(target.label(), "GET https://example.net:8443/a");
}

proptest! {
    #[test]
    fn any_text_is_refused_or_read_in_one_way(text in "\\PC{0,40}") {
        fuzz_target(text.as_bytes());
    }

    #[test]
    fn anything_like_a_url_is_refused_or_read_in_one_way(
        text in "(https?|HTTP)://[a-z0-9.:@\\[\\]%_x-]{0,24}[/a-z.%2eEfF5c;?#\\\\]{0,24}"
    ) {
        fuzz_target(text.as_bytes());
    }
}
