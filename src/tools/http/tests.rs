use std::io::Cursor;

use serde_json::json;

use super::stream::{End, Kind, frame_of};
use super::*;

/// An egress that has said everything beforehand; keeps what the tool says.
struct Script {
    says: Cursor<Vec<u8>>,
    heard: Vec<u8>,
}

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.says.read(buf)
    }
}

impl Write for Script {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.heard.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn play(arguments: Value, mode: &str, says: &[Vec<u8>]) -> (Result<Value, Fault>, Vec<u8>) {
    let input = json!({"arguments": arguments, "mode": mode}).to_string();
    let mut script = Script {
        says: Cursor::new(says.concat()),
        heard: Vec::new(),
    };
    let result = over(input.as_bytes(), &mut script);
    (result, script.heard)
}

fn head(status: u16, headers: &[(&str, &str)], follow: bool) -> Vec<u8> {
    let headers = headers
        .iter()
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    let head = Head {
        status,
        url: "https://example.net/".into(),
        headers,
        follow,
    };
    frame_of(Kind::Head, &head).unwrap()
}

fn end(truncated: bool) -> Vec<u8> {
    frame_of(Kind::End, &End { truncated }).unwrap()
}

fn piece(bytes: &[u8]) -> Vec<u8> {
    Kind::Piece.frame(bytes).unwrap()
}

fn get() -> Value {
    json!({"url": "https://example.net/"})
}

#[test]
fn a_response_becomes_a_result() {
    let says = [
        head(
            200,
            &[("content-type", "text/plain"), ("vary", "a"), ("vary", "b")],
            false,
        ),
        piece(b"hel"),
        piece(b"lo"),
        end(false),
    ];
    let (result, heard) = play(get(), "rehearse", &says);
    assert_eq!(
        result.unwrap(),
        json!({"status": 200, "url": "https://example.net/", "bytes": 5, "truncated": false,
            "headers": {"content-type": "text/plain", "vary": "a, b"}, "text": "hello"})
    );
    let ask = br#"{"method":"GET","url":"https://example.net/","headers":[]}"#;
    assert_eq!(
        heard,
        [
            Kind::Ask.frame(ask).unwrap(),
            Kind::Body.frame(b"").unwrap()
        ]
        .concat()
    );
}

#[test]
fn a_redirect_is_asked_for_without_what_may_not_travel() {
    let arguments = json!({"method": "POST", "url": "https://example.net/", "body": "secret",
        "headers": {"Content-Type": "text/plain", "X-Mine": "a", "Accept": "b"}});
    let away = head(303, &[("location", "https://other.example/x")], true);
    let says = [away, end(false), head(200, &[], false), end(false)];
    let (result, heard) = play(arguments, "live", &says);
    assert_eq!(result.unwrap()["status"], 200);
    let heard = String::from_utf8_lossy(&heard);
    let (first, second) = heard.split_once("secret").unwrap();
    assert!(first.contains("X-Mine"));
    assert!(second.contains(
        r#"{"method":"GET","url":"https://other.example/x","headers":[["Accept","b"]]}"#
    ));
}

#[test]
fn a_redirect_egress_would_not_let_out_is_a_result() {
    let says = [head(302, &[("location", "/x")], false), end(false)];
    let value = play(get(), "live", &says).0.unwrap();
    assert_eq!(
        (
            value["status"].as_u64(),
            value["headers"]["location"].as_str()
        ),
        (Some(302), Some("/x"))
    );
}

#[test]
fn what_egress_says_out_of_turn_ends_the_request() {
    let fault = Fault::new("host_not_allowed", "no");
    let refused = frame_of(Kind::Fault, &fault).unwrap();
    assert_eq!(play(get(), "live", &[refused]).0.unwrap_err(), fault);
    let scripts = [
        vec![],
        vec![piece(b"a")],
        vec![end(false)],
        vec![head(200, &[], false)],
        vec![head(200, &[], false), head(200, &[], false)],
        vec![head(200, &[], false), piece(b"a"), b"X\0\0\0\0".to_vec()],
    ];
    for says in scripts {
        assert_eq!(
            play(get(), "live", &says).0.unwrap_err().class,
            "no_way_out"
        );
    }
}

#[test]
fn a_body_without_end_is_cut() {
    let mut says = vec![head(200, &[], false)];
    says.extend((0..40).map(|_| piece(&[b'a'; stream::PIECE_MAX])));
    let value = play(get(), "live", &says).0.unwrap();
    assert_eq!(
        (value["bytes"].as_u64(), value["truncated"].as_bool()),
        (Some(2 << 20), Some(true))
    );
}

#[test]
fn what_is_no_request_is_a_fault() {
    let table = [
        (json!({}), "bad_argument"),
        (json!({"url": "https://a@b/"}), "bad_argument"),
        (
            json!({"url": "https://b/", "method": "get"}),
            "bad_argument",
        ),
        (
            json!({"url": "https://b/", "headers": {"a": 1}}),
            "bad_argument",
        ),
        (json!({"url": "https://b/", "method": "POST"}), "rehearsed"),
    ];
    for (arguments, class) in table {
        assert_eq!(
            play(arguments.clone(), "rehearse", &[])
                .0
                .unwrap_err()
                .class,
            class,
            "{arguments}"
        );
    }
    assert_eq!(
        over(b"{", &mut Cursor::new(Vec::new())).unwrap_err().class,
        "bad_order"
    );
}
