//! Requests and responses in the clear: what is sent, what comes back, and what is refused.

use std::io::Write;

use serde_json::json;

use super::fakes::{handle, read_request, says, serve, stalls};
use super::world::{Call, World, rule};
use crate::wire::messages::HttpRule;

#[test]
fn a_request_goes_out_as_asked_and_its_response_comes_back() {
    let world = World::plain();
    let server = says(
        b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nX-Other: c\r\n\
          X-RateLimit-Limit: 9\r\nContent-Length: 5\r\n\r\nhello",
    );
    let call = Call {
        headers: json!({"Accept": "text/plain", "X-Mine": "d"}),
        ..Call::post(&server.url("/a?b=c"), "body")
    };
    let (result, hops) = world.call(&call);
    let expected = json!({"status": 201, "url": server.url("/a?b=c"), "bytes": 5,
        "truncated": false, "text": "hello", "headers":
        {"content-type": "text/plain", "x-ratelimit-limit": "9", "content-length": "5"}});
    assert_eq!(result.unwrap(), expected);
    let request = server.requests.recv().unwrap();
    let host = server.address.to_string();
    assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{request}");
    let lines = [
        format!("host: {host}\r\n"),
        "user-agent: keepgate/".into(),
        "accept-encoding: identity\r\n".into(),
        "accept: text/plain\r\n".into(),
        "x-mine: d\r\n".into(),
        "content-length: 4\r\n".into(),
        "connection: close\r\n".into(),
    ];
    for line in lines {
        assert_eq!(request.matches(&line).count(), 1, "{line} {request}");
    }
    assert!(request.ends_with("\r\n\r\nbody"));
    let hop = &hops[0];
    assert_eq!(hop.target, format!("POST {}", server.url("/a")));
    assert_eq!(
        (hop.address.as_deref(), hop.status),
        (Some(host.as_str()), Some(201))
    );
    assert_eq!((hop.bytes, hop.fault.as_deref(), hops.len()), (5, None, 1));
}

#[test]
fn every_proper_framing_is_understood() {
    let world = World::plain();
    let table: [(&[u8], &str); 8] = [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: u\r\n\r\n", "abc"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "a"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", ""),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 1\r\n\r\nabc", "a"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 1\r\n\r\na", "a"),
    ];
    for (bytes, text) in table {
        let (result, _) = world.call(&Call::get(&says(bytes).url("/")));
        assert_eq!(
            result.unwrap()["text"],
            text,
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    let call = Call {
        method: "HEAD".into(),
        ..Call::get(&server.url("/"))
    };
    assert_eq!(world.call(&call).0.unwrap()["bytes"], 0);
}

#[test]
fn a_compressed_body_is_passed_as_it_is_and_named() {
    let server =
        says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08");
    let value = World::plain().call(&Call::get(&server.url("/"))).0.unwrap();
    assert_eq!(
        (&value["base64"], &value["headers"]["content-encoding"]),
        (&json!("H4sI"), &json!("gzip"))
    );
}

#[test]
fn what_is_no_proper_response_is_a_fault() {
    let world = World::plain();
    let table: [&[u8]; 17] = [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00",
        b"<html>hello</html>",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ];
    for bytes in table {
        let (class, why) = world.fault(&Call::get(&says(bytes).url("/")));
        assert_eq!(
            class,
            "bad_response",
            "{} {why}",
            String::from_utf8_lossy(bytes)
        );
        assert!(!why.is_empty());
    }
    assert_eq!(
        world
            .fault(&Call::get(
                &says(b"HTTP/1.1 302 Found\r\nLocation: /\r\nLocation: /b\r\n\r\n").url("/")
            ))
            .0,
        "bad_response"
    );
}

#[test]
fn a_head_too_long_is_a_fault() {
    let world = World::plain();
    let long = || {
        let mut head = b"HTTP/1.1 200 OK\r\nETag: ".to_vec();
        head.resize(65 << 10, b'a');
        head.extend(b"\r\n\r\n");
        head
    };
    assert_eq!(
        world.fault(&Call::get(&serve(move |_| long()).url("/"))).0,
        "bad_response"
    );
    let many = |_: &str| {
        let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
        head.extend(b"A: b\r\n".repeat(129));
        head.extend(b"\r\n");
        head
    };
    assert_eq!(
        world.fault(&Call::get(&serve(many).url("/"))).0,
        "bad_response"
    );
}

#[test]
fn a_body_too_long_is_cut_and_the_server_is_left() {
    let world = World::plain();
    // Never ends by itself: only the client's leaving ends it.
    let server = handle(|stream, _| {
        read_request(stream);
        let mut piece = &b"HTTP/1.1 200 OK\r\n\r\n"[..];
        while stream.write_all(piece).is_ok() {
            piece = &[b'a'; 4096];
        }
    });
    let call = Call {
        bytes: 100_000,
        ..Call::get(&server.url("/"))
    };
    let (result, hops) = world.call(&call);
    let value = result.unwrap();
    assert_eq!(
        (&value["bytes"], &value["truncated"]),
        (&json!(100_000), &json!(true))
    );
    assert_eq!(hops[0].bytes, 100_000);
    let exact = says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    for (bytes, cut) in [(5, false), (4, true), (0, true)] {
        let value = world
            .call(&Call {
                bytes,
                ..Call::get(&exact.url("/"))
            })
            .0
            .unwrap();
        assert_eq!(
            (&value["bytes"], &value["truncated"]),
            (&json!(bytes), &json!(cut))
        );
    }
}

#[test]
fn a_slow_server_is_left_in_time() {
    let world = World::plain();
    let starts: [&[u8]; 4] = [
        b"",
        b"HTTP/1.1 200 OK\r\nA: b",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n",
    ];
    for start in starts {
        let (server, closed) = stalls(start);
        let call = Call {
            wall_ms: 300,
            ..Call::get(&server.url("/"))
        };
        let (class, why) = world.fault(&call);
        assert_eq!((class.as_str(), why.as_str()), ("timed_out", "time is up"));
        closed.recv().unwrap();
    }
}

#[test]
fn headers_that_smuggle_never_leave() {
    let world = World::plain();
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let bad = [
        ("Host", "evil"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "x"),
        ("Proxy-Authorization", "x"),
        ("Authorization", "x"),
        ("Cookie", "x"),
        ("TE", "x"),
        ("Upgrade", "x"),
        ("X-A\r\nHost", "x"),
        ("X-A", "x\r\nHost: evil"),
        ("X-A", "x\n"),
        ("X-A", "\u{e4}"),
        ("X A", "x"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-A", "\0"),
        ("", "x"),
    ];
    for (name, value) in bad {
        let call = Call {
            headers: json!({name: value}),
            ..Call::get(&server.url("/"))
        };
        assert_eq!(world.fault(&call).0, "bad_request", "{name:?}: {value:?}");
    }
    assert!(server.requests.try_recv().is_err(), "something was sent");
}

#[test]
fn what_no_rule_names_is_not_dialled() {
    let world = World::plain();
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let url = server.url("/public/a");
    let good = rule(&url);
    let denied = [
        vec![],
        vec![HttpRule {
            path: "/private".into(),
            ..good.clone()
        }],
        vec![HttpRule {
            path: "/pub".into(),
            ..good.clone()
        }],
        vec![HttpRule {
            methods: vec!["POST".into()],
            ..good.clone()
        }],
        vec![HttpRule {
            port: 1,
            ..good.clone()
        }],
        vec![HttpRule {
            host: "localhost".into(),
            ..good.clone()
        }],
        vec![HttpRule {
            scheme: "https".into(),
            ..good.clone()
        }],
    ];
    for rules in denied {
        assert_eq!(
            world
                .fault(&Call {
                    rules,
                    ..Call::get(&url)
                })
                .0,
            "host_not_allowed"
        );
    }
    let rules = vec![HttpRule {
        private: vec!["10.0.0.0/8".into()],
        ..good
    }];
    let (class, why) = world.fault(&Call {
        rules,
        ..Call::get(&url)
    });
    assert_eq!(class, "address_refused");
    assert!(why.starts_with("127.0.0.1 is loopback"), "{why}");
    assert!(server.requests.try_recv().is_err(), "something was sent");
}

#[test]
fn nobody_there_is_a_fault() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (class, why) = World::plain().fault(&Call::get(&format!("http://{free}/")));
    assert_eq!(class, "connect_failed");
    assert!(why.contains("refused"), "{why}");
}

/// Whoever sends something that acts has to know that it may have acted.
#[test]
fn a_lost_answer_does_not_mean_that_nothing_happened() {
    let world = World::plain();
    for (call, acted) in [
        (Call::post as fn(&str, &str) -> Call, true),
        (|url, _| Call::get(url), false),
    ] {
        let server = says(b"");
        let (result, _) = world.call(&call(&server.url("/"), ""));
        assert_eq!(
            result
                .unwrap_err()
                .say
                .contains("may have been carried out"),
            acted
        );
    }
}
