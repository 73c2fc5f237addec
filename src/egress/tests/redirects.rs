//! Redirects: followed as the standard says, re-checked, counted.

use super::fakes::{says, serve};
use super::world::{Call, World, rule};

const DONE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

fn to(status: u16, location: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 3\r\n\r\nxyz")
        .into()
}

#[test]
fn a_redirect_within_the_rules_is_followed() {
    let world = World::plain();
    let other = says(DONE);
    let there = other.url("/there?q");
    let server = serve(move |request| match request {
        r if r.starts_with("GET /a ") => to(302, "/b"),
        r if r.starts_with("GET /b ") => to(307, &there),
        _ => DONE.to_vec(),
    });
    let mut call = Call::get(&server.url("/a"));
    call.rules.push(rule(&other.url("/")));
    call.headers = serde_json::json!({"X-Mine": "secret", "Accept": "a"});
    let (result, hops) = world.call(&call);
    let value = result.unwrap();
    assert_eq!(
        (&value["url"], &value["text"]),
        (&other.url("/there?q").into(), &"done".into())
    );
    assert_eq!(
        hops.iter().map(|hop| hop.status).collect::<Vec<_>>(),
        [Some(302), Some(307), Some(200)]
    );
    assert_eq!(hops[2].target, format!("GET {}", other.url("/there")));
    let request = other.requests.recv().unwrap();
    assert!(
        request.contains("accept: a\r\n") && !request.contains("secret"),
        "{request}"
    );
}

#[test]
fn a_redirect_beyond_the_rules_is_refused_and_not_dialled() {
    let world = World::plain();
    let other = says(DONE);
    let locations = [
        other.url("/"),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://localhost/".into(),
        "https://127.0.0.1/".into(),
        "file:///etc/passwd".into(),
        format!("http://x@{}/", other.address),
        format!("http://2130706433:{}/", other.address.port()),
        "//%00/".into(),
    ];
    for location in locations {
        let reply = to(302, &location);
        let server = serve(move |_| reply.clone());
        let (class, why) = world.fault(&Call::get(&server.url("/")));
        assert_eq!(class, "redirect_refused", "{location} {why}");
    }
    assert!(other.requests.try_recv().is_err(), "something was sent");
}

#[test]
fn a_redirect_within_the_rules_to_a_private_address_is_refused() {
    let server = serve(|_| to(302, "http://10.1.2.3/"));
    let mut call = Call::get(&server.url("/"));
    call.rules.push(rule("http://10.1.2.3/"));
    let (class, why) = World::plain().fault(&call);
    assert_eq!(class, "address_refused");
    assert!(why.starts_with("10.1.2.3 is private"), "{why}");
}

#[test]
fn a_loop_ends() {
    let world = World::plain();
    let server = serve(|_| to(301, "/"));
    for redirects in [0, 1, 5] {
        let call = Call {
            redirects,
            ..Call::get(&server.url("/"))
        };
        let (result, hops) = world.call(&call);
        assert_eq!(result.unwrap_err().class, "redirect_refused");
        assert_eq!(hops.len(), usize::from(redirects) + 1);
        assert_eq!(
            server.requests.try_iter().count(),
            usize::from(redirects) + 1
        );
    }
}

#[test]
fn a_body_goes_where_the_standard_and_the_lease_say() {
    let world = World::plain();
    let table = [
        (301, "GET", ""),
        (302, "GET", ""),
        (303, "GET", ""),
        (307, "POST", "data"),
        (308, "POST", "data"),
    ];
    for (status, method, body) in table {
        let server = serve(move |request| match request.contains(" /a ") {
            true => to(status, "/b"),
            false => DONE.to_vec(),
        });
        let value = world
            .call(&Call::post(&server.url("/a"), "data"))
            .0
            .unwrap();
        assert_eq!(value["text"], "done");
        assert!(server.requests.recv().unwrap().ends_with("\r\n\r\ndata"));
        let second = server.requests.recv().unwrap();
        assert!(
            second.starts_with(&format!("{method} /b ")),
            "{status} {second}"
        );
        assert!(
            second.ends_with(&format!("\r\n\r\n{body}")),
            "{status} {second}"
        );
    }
}

#[test]
fn what_may_have_changed_something_gets_its_answer() {
    let other = says(DONE);
    let there = other.url("/");
    let server = serve(move |_| to(307, &there));
    let mut call = Call::post(&server.url("/"), "data");
    call.rules.push(rule(&other.url("/")));
    let value = World::plain().call(&call).0.unwrap();
    assert_eq!(
        (&value["status"], &value["text"]),
        (&307.into(), &"xyz".into())
    );
    assert!(
        other.requests.try_recv().is_err(),
        "the body went to another server"
    );
}

#[test]
fn bytes_are_counted_over_all_hops() {
    let server = serve(|request| match request.contains(" /a ") {
        true => to(302, "/b"),
        false => DONE.to_vec(),
    });
    let call = Call {
        bytes: 3,
        ..Call::get(&server.url("/a"))
    };
    let (result, hops) = World::plain().call(&call);
    let value = result.unwrap();
    assert_eq!(
        (&value["text"], &value["truncated"]),
        (&"don".into(), &true.into())
    );
    assert_eq!(hops.iter().map(|hop| hop.bytes).collect::<Vec<_>>(), [0, 3]);
}
