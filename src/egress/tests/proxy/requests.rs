//! Plain requests: what is passed on, what is taken off, and what has two readings.

use std::io::{Read, Write};
use std::net::Shutdown;

use super::super::fakes::{handle, read_request, says};
use super::*;

fn get(server: &Server, fields: &str) -> String {
    let authority = format!("{NAME}:{}", server.address.port());
    format!("GET http://{authority}/a?b=c HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")
}

fn post(server: &Server, fields_and_body: &str) -> String {
    let authority = format!("{NAME}:{}", server.address.port());
    format!("POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{fields_and_body}")
}

#[test]
fn a_request_is_passed_on_without_what_belongs_to_one_connection() {
    let server = says(
        b"HTTP/1.1 203 Fine\r\nContent-Length: 2\r\nX-Kept: yes\r\nConnection: x-gone\r\n\
          X-Gone: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\r\nok",
    );
    let way = Way::to_server(&server);
    let answer = way.ask(&get(
        &server,
        "Accept: text/plain\r\nAuthorization: Bearer own\r\nProxy-Authorization: Basic eA==\r\n\
         Proxy-Connection: keep-alive\r\nConnection: X-Hop, host\r\nX-Hop: 1\r\nTE: trailers\r\n\
         Keep-Alive: 5\r\n",
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 203 "), "{head}");
    assert!(
        head.contains("\r\nx-kept: yes") && head.contains("\r\ncontent-length: 2"),
        "{head}"
    );
    assert!(head.contains("\r\nconnection: close"), "{head}");
    for gone in ["x-gone", "keep-alive", "proxy-"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    assert_eq!(body, "ok");
    let got = server.requests.recv().unwrap().to_ascii_lowercase();
    assert!(got.starts_with("get /a?b=c http/1.1\r\n"), "{got}");
    let host = format!("\r\nhost: {NAME}:{}\r\n", server.address.port());
    assert_eq!(got.matches(&host).count(), 1, "{got}");
    assert!(
        got.contains("\r\naccept: text/plain") && got.contains("bearer own"),
        "{got}"
    );
    assert!(got.contains("\r\nconnection: close"), "{got}");
    for gone in ["proxy-", "x-hop", "te:", "keep-alive"] {
        assert!(!got.contains(gone), "{gone}: {got}");
    }
    let hops = way.end();
    assert_eq!(hops.len(), 1);
    let port = server.address.port();
    assert_eq!(hops[0].target, format!("GET http://{NAME}:{port}/a"));
    assert_eq!(
        (hops[0].status, hops[0].fault.as_deref()),
        (Some(203), None)
    );
    assert_eq!(hops[0].address, Some(server.address.to_string()));
    assert!(hops[0].bytes > 300, "{hops:?}");
}

#[test]
fn bodies_go_both_ways_in_either_framing() {
    let server = handle(|stream, requests| {
        let mut all = Vec::new();
        let mut byte = [0];
        while !all.ends_with(b"hello world") && !all.ends_with(b"0\r\n\r\n") {
            if stream.read(&mut byte).unwrap() == 0 {
                break;
            }
            all.push(byte[0]);
        }
        requests.send(String::from_utf8(all).unwrap()).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        stream.write_all(answer).unwrap();
    });
    let way = Way::to_server(&server);
    let plain = way.ask(&post(&server, "Content-Length: 11\r\n\r\nhello world"));
    assert!(plain.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{plain}");
    let got = server.requests.recv().unwrap();
    assert!(
        got.contains("content-length: 11\r\n") && got.ends_with("hello world"),
        "{got}"
    );
    way.ask(&post(
        &server,
        "Transfer-Encoding: chunked\r\n\r\n6;x=y\r\nhello \r\n5\r\nworld\r\n0\r\nX-Trailer: z\r\n\r\n",
    ));
    let got = server.requests.recv().unwrap();
    assert!(got.contains("hello ") && got.contains("world"), "{got}");
    assert!(!got.contains("x=y") && !got.contains("X-Trailer"), "{got}");
}

#[test]
fn a_client_that_waits_for_leave_to_send_gets_it() {
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let way = Way::to_server(&server);
    let mut stream = way.connection();
    let request = post(&server, "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 100 "));
    stream.write_all(b"ok").unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
    let got = server.requests.recv().unwrap();
    assert!(
        got.ends_with("ok") && !got.to_ascii_lowercase().contains("expect"),
        "{got}"
    );
}

/// What one server takes for the end of a request and the next for its middle.
#[test]
fn a_request_that_is_read_in_two_ways_is_refused_and_not_dialled() {
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let way = Way::to_server(&server);
    let hidden = "GET http://evil.test/ HTTP/1.1\r\n\r\n";
    let fields = [
        format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Content-Length: 0\r\nContent-Length: 34\r\n\r\n{hidden}"),
        format!("Content-Length: 34\r\nContent-Length: 34\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n{hidden}"),
        format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n{hidden}"),
        "X: a\r\n b\r\n\r\n".into(),
        "X: a\n\r\n\r\n".into(),
        "X: a\rb\r\n\r\n".into(),
        "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n".into(),
        "Host: evil.test\r\n\r\n".into(),
        "Host\t: evil.test\r\n\r\n".into(),
    ];
    for fields in &fields {
        assert_eq!(way.status(&post(&server, fields)), 400, "{fields:?}");
    }
    let authority = format!("{NAME}:{}", server.address.port());
    for request in [
        format!("GET http://{authority}/ HTTP/1.1\r\n\r\n"),
        format!("GET http://{authority}/ HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
        format!("GET http://{authority}/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
        format!("GET http://{authority}/ HTTP/1.1\nHost: {authority}\n\n\r\n\r\n"),
        format!("GET https://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
    ] {
        assert_eq!(way.status(&request), 400, "{request:?}");
    }
    let hops = way.end();
    assert_eq!(hops.len(), fields.len() + 6);
    assert!(
        hops.iter()
            .all(|hop| hop.address.is_none() && hop.fault.is_some()),
        "{hops:?}"
    );
    assert!(server.requests.try_recv().is_err());
}

#[test]
fn chunks_that_are_none_end_the_request() {
    for body in [
        "x\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "ffffffffffffffff1\r\nabc",
        "3\nabc\n0\n\n",
    ] {
        let server = handle(|stream, requests| {
            let mut all = Vec::new();
            drop(stream.read_to_end(&mut all));
            requests.send(String::from_utf8(all).unwrap()).unwrap();
        });
        let way = Way::to_server(&server);
        let mut stream = way.connection();
        let request = post(
            &server,
            &format!("Transfer-Encoding: chunked\r\n\r\n{body}"),
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8(answer).unwrap();
        drop(stream);
        let got = server.requests.recv().unwrap();
        assert!(!got.ends_with("0\r\n\r\n"), "{body:?}: {got}");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        let fault = way.fault();
        assert!(fault.contains("body"), "{body:?}: {fault}");
    }
}

/// A connection is for one request: what follows it is never read as another.
#[test]
fn what_follows_a_request_is_not_another() {
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let way = Way::to_server(&server);
    let answer = way.ask(&get(&server, "").repeat(3));
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.ends_with("ok"));
    server.requests.recv().unwrap();
    assert!(server.requests.try_recv().is_err());
    assert_eq!(way.end().len(), 1);
}

#[test]
fn a_response_that_is_read_in_two_ways_is_not_passed_on() {
    let table: [&[u8]; 6] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"",
    ];
    for reply in table {
        let server = says(reply);
        let way = Way::to_server(&server);
        assert_eq!(way.status(&get(&server, "")), 502, "{reply:?}");
        let hops = way.end();
        assert_eq!(hops[0].status, Some(502));
        assert!(hops[0].fault.is_some());
    }
}

#[test]
fn heads_have_no_body_and_empty_answers_end() {
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-It: is\r\n\r\n");
    let way = Way::to_server(&server);
    let request = get(&server, "").replacen("GET", "HEAD", 1);
    let answer = way.ask(&request).to_ascii_lowercase();
    assert!(
        answer.contains("content-length: 1000") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    let unlisted = "HEAD http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    assert!(way.ask(unlisted).ends_with("\r\n\r\n"));
    let server = says(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(Way::to_server(&server).status(&get(&server, "")), 204);
    let server = says(b"HTTP/1.0 200 OK\r\n\r\nuntil the end");
    let answer = Way::to_server(&server).ask(&get(&server, ""));
    assert!(answer.contains("until the end"), "{answer}");
}

#[test]
fn a_server_that_breaks_off_is_not_taken_for_complete() {
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    let way = Way::to_server(&server);
    let mut stream = way.connection();
    stream.write_all(get(&server, "").as_bytes()).unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(answer.ends_with(b"abc"));
    assert!(way.end()[0].fault.is_some());
}

#[test]
fn a_client_that_hangs_up_ends_its_request() {
    let (closed, closes) = std::sync::mpsc::channel();
    let server = handle(move |stream, requests| {
        requests.send(read_request(stream)).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
        closed.send(()).unwrap();
    });
    let way = Way::to_server(&server);
    let mut stream = way.connection();
    stream.write_all(get(&server, "").as_bytes()).unwrap();
    server.requests.recv().unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    closes.recv().unwrap();
    assert!(way.fault() != "the keeper ended the proxy");
}

#[test]
fn a_head_is_bounded() {
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let way = Way::to_server(&server);
    let most = format!("X: {}\r\n", "a".repeat(30 << 10));
    assert_eq!(way.status(&get(&server, &most)), 200);
    let fields = "X: y\r\n".repeat(97);
    assert_eq!(way.status(&get(&server, &fields)), 200);
    let long = format!("X: {}", "a".repeat(33 << 10));
    assert_eq!(way.status(&get(&server, &long)), 431);
    assert_eq!(way.status(&get(&server, &"X: y\r\n".repeat(100))), 400);
    let mut stream = way.connection();
    stream.write_all(b"GET http://kg").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 400 "));
    // Who says nothing is no hop.
    drop(way.connection());
    assert_eq!(way.end().len(), 5);
}
