//! Web pages as clients: what a browser is told, and what it may show to a page.

use super::web::{Response, Web};
use super::{HELLO, Rig, TOKEN, chatty};

const ALLOWED: &str = "access-control-allow-origin";
const ASKS: &str = "Access-Control-Request-Method: POST";

fn origin(rig: &Rig) -> String {
    format!("http://localhost:{}", rig.address().port())
}

/// What a browser is told that asks for a page of `origin`, before it shows any proof.
fn asks(rig: &Rig, origin: &str, more: &[&str]) -> Response {
    let origin = format!("Origin: {origin}");
    let headers = [&[origin.as_str()], more].concat();
    let mut web = Web::connect(rig.address());
    web.send("OPTIONS", &headers, "");
    web.response()
}

#[test]
fn a_browser_that_asks_first_is_told_for_listed_origins_only() {
    let rig = Rig::new(chatty());
    rig.door();
    let own = origin(&rig);
    let wish = "Access-Control-Request-Headers: authorization,Mcp-Param-Region, x-other";
    let told = asks(&rig, &own, &[ASKS, wish]);
    assert_eq!((told.status, told.body.len()), (204, 0));
    assert_eq!(told.header(ALLOWED), Some(own.as_str()));
    assert_eq!(
        told.header("access-control-allow-methods"),
        Some("POST, GET, DELETE")
    );
    let sent = told.header("access-control-allow-headers").unwrap();
    let sent: Vec<&str> = sent.split(", ").collect();
    for name in [
        "authorization",
        "content-type",
        "mcp-session-id",
        "mcp-param-region",
    ] {
        assert!(sent.contains(&name), "{name}: {sent:?}");
    }
    assert!(!sent.contains(&"x-other"), "{sent:?}");
    assert!(told.header("vary").unwrap().starts_with("Origin"));
    // Nothing that a browser would add by itself is ever wanted.
    assert_eq!(told.header("access-control-allow-credentials"), None);

    for other in ["http://evil.example.com", "null", "https://localhost"] {
        let told = asks(&rig, other, &[ASKS, wish]);
        assert_eq!((told.status, told.header(ALLOWED)), (403, None), "{other}");
        assert_eq!(rig.noted_of("-"), "HTTP from another site");
    }
    let told = asks(&rig, &own, &["Host: evil.example.com", ASKS]);
    assert_eq!((told.status, told.header(ALLOWED)), (403, None));
    assert_eq!(rig.noted_of("-"), "HTTP for another host");
    // A question that no browser asks before it sends something is a request like any other.
    assert_eq!(asks(&rig, &own, &[]).status, 401);
    assert_eq!(rig.noted_of("-"), "HTTP from nobody that is enrolled");
    let mut web = Web::connect(rig.address());
    web.send("OPTIONS", &[ASKS], "");
    assert_eq!(web.response().status, 401);
    assert_eq!(rig.noted_of("-"), "HTTP from nobody that is enrolled");
    rig.stop();
}

#[test]
fn a_page_of_a_listed_origin_reads_its_answers() {
    let rig = Rig::new(chatty());
    let address = rig.door();
    let own = origin(&rig);
    let page = format!("Origin: {own}");
    let mut web = Web::connect(address).with(TOKEN);
    web.send("POST", &[&page], HELLO);
    rig.greet();
    let hello = web.response();
    assert_eq!(
        (hello.status, hello.header(ALLOWED)),
        (200, Some(own.as_str()))
    );
    let shown = hello.header("access-control-expose-headers").unwrap();
    assert!(shown.contains("Mcp-Session-Id"), "{shown}");
    let id = hello.header("mcp-session-id").unwrap().to_owned();
    let id = format!("Mcp-Session-Id: {id}");
    web.send("GET", &[&page, &id], "");
    let stream = web.response();
    assert_eq!(
        (stream.status, stream.header(ALLOWED)),
        (200, Some(own.as_str()))
    );
    // It reads why it is turned away, too.
    let told = Web::connect(address).post(&[&page], HELLO);
    assert_eq!(
        (told.status, told.header(ALLOWED)),
        (401, Some(own.as_str()))
    );
    assert_eq!(rig.noted_of("-"), "HTTP from nobody that is enrolled");
    // Whoever is no page is told nothing about pages.
    let mut web = Web::connect(address).with(TOKEN);
    web.send("DELETE", &[&id], "");
    let ended = web.response();
    assert_eq!((ended.status, ended.header(ALLOWED)), (204, None));
    rig.stop();
}
