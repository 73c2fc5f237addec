//! How leases end, and what a jail or a keeper that misbehaves gets.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use super::fakes::{says, stalls};
use super::world::{Call, World, setup};
use crate::egress::run;
use crate::tools::http::stream::{Ask, Kind, Said, frame_of, receive, send};
use crate::wire::frame;
use crate::wire::messages::{Control, EgressToKeeper, KeeperToEgress, Role};

fn ask(call: &Call) -> Ask {
    Ask {
        method: call.method.clone(),
        url: call.url.clone(),
        headers: Vec::new(),
    }
}

#[test]
fn a_revoked_lease_closes_its_connection() {
    let world = World::plain();
    let (server, closed) = stalls(b"HTTP/1.1 200 OK\r\n\r\nabc");
    let call = Call::get(&server.url("/"));
    let (ticket, mut jail) = world.lease(&call);
    send(&mut jail, &ask(&call), b"").unwrap();
    assert!(matches!(receive(&mut jail), Ok(Said::Head(_))));
    assert!(matches!(receive(&mut jail), Ok(Said::Piece(_))));
    frame::send(
        world.keeper.as_fd(),
        &KeeperToEgress::Revoke { ticket },
        &[],
        &[],
    )
    .unwrap();
    closed.recv().unwrap();
    let hops = world.closed(ticket);
    assert_eq!((hops[0].status, hops[0].bytes), (Some(200), 3));
    assert_eq!(hops[0].fault.as_deref(), Some("the keeper ended the lease"));
    assert_eq!(jail.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_jail_that_dies_closes_its_connection() {
    let world = World::plain();
    let (server, closed) = stalls(b"");
    let call = Call::get(&server.url("/"));
    let (ticket, mut jail) = world.lease(&call);
    send(&mut jail, &ask(&call), b"").unwrap();
    server.requests.recv().unwrap();
    drop(jail);
    closed.recv().unwrap();
    let hops = world.closed(ticket);
    assert_eq!(hops[0].fault.as_deref(), Some("the jail closed its stream"));
}

#[test]
fn a_keeper_that_dies_takes_its_leases_along() {
    let mut world = World::plain();
    let (server, closed) = stalls(b"");
    let call = Call::get(&server.url("/"));
    let (_, mut jail) = world.lease(&call);
    send(&mut jail, &ask(&call), b"").unwrap();
    server.requests.recv().unwrap();
    let (keeper, theirs) = frame::pair().unwrap();
    world.keeper = keeper;
    closed.recv().unwrap();
    assert_eq!(jail.read(&mut [0]).unwrap(), 0);
    // A new keeper is served as before.
    let link = Control::Link { peer: Role::Keeper };
    frame::send(world.control.as_fd(), &link, &[], &[theirs.as_fd()]).unwrap();
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        world.call(&Call::get(&server.url("/"))).0.unwrap()["status"],
        200
    );
}

#[test]
fn a_new_link_ends_the_leases_of_the_old_one() {
    let world = World::plain();
    let (server, closed) = stalls(b"");
    let call = Call::get(&server.url("/"));
    let (_, mut jail) = world.lease(&call);
    send(&mut jail, &ask(&call), b"").unwrap();
    server.requests.recv().unwrap();
    let (_keeper, theirs) = frame::pair().unwrap();
    let link = Control::Link { peer: Role::Keeper };
    frame::send(world.control.as_fd(), &link, &[], &[theirs.as_fd()]).unwrap();
    closed.recv().unwrap();
}

#[test]
fn a_stop_ends_the_leases_and_says_what_they_did() {
    let world = World::plain();
    let (server, closed) = stalls(b"");
    let call = Call::get(&server.url("/"));
    let (ticket, mut jail) = world.lease(&call);
    send(&mut jail, &ask(&call), b"").unwrap();
    server.requests.recv().unwrap();
    frame::send(world.control.as_fd(), &Control::Stop, &[], &[]).unwrap();
    closed.recv().unwrap();
    assert_eq!(world.closed(ticket).len(), 1);
}

#[test]
fn a_lease_nobody_uses_ends_in_time() {
    let world = World::plain();
    let (ticket, _jail) = world.lease(&Call {
        wall_ms: 50,
        ..Call::get("http://127.0.0.1/")
    });
    assert_eq!(world.closed(ticket), []);
}

#[test]
fn a_jail_that_does_not_listen_is_left_in_time() {
    let world = World::plain();
    let server = super::fakes::serve(|_| {
        let mut reply = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        reply.resize(8 << 20, b'a');
        reply
    });
    let call = Call {
        wall_ms: 300,
        bytes: 8 << 20,
        ..Call::get(&server.url("/"))
    };
    let (ticket, mut jail) = world.lease(&call);
    send(&mut jail, &ask(&call), b"").unwrap();
    let hops = world.closed(ticket);
    assert_eq!(hops[0].fault.as_deref(), Some("time is up"));
}

#[test]
fn a_jail_that_talks_out_of_turn_loses_its_lease() {
    let world = World::plain();
    let (server, _closed) = stalls(b"");
    let call = Call::get(&server.url("/"));
    let first = frame_of(Kind::Ask, &ask(&call)).unwrap();
    let scripts = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        Kind::Body.frame(b"").unwrap(),
        Kind::Ask.frame(b"{}").unwrap(),
        b"Q\xff\xff\xff\xff".to_vec(),
        [first.clone(), first.clone()].concat(),
        [first.clone(), Kind::Body.frame(b"").unwrap(), first].concat(),
    ];
    for script in scripts {
        let (ticket, mut jail) = world.lease(&call);
        jail.write_all(&script).unwrap();
        // Otherwise a request cut short would still wait for its rest.
        jail.shutdown(std::net::Shutdown::Write).unwrap();
        let hops = world.closed(ticket);
        assert!(hops.iter().all(|hop| hop.fault.is_some()), "{hops:?}");
    }
}

#[test]
fn a_jail_gets_only_what_its_lease_is_for() {
    let world = World::plain();
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let call = Call::post(&server.url("/a"), "body");
    let asks = [
        (
            ask(&Call::post(&server.url("/b"), "")),
            &b"body"[..],
            "not_leased",
        ),
        (ask(&Call::get(&server.url("/a"))), b"", "not_leased"),
        (ask(&Call::get(&server.url("/a"))), b"body", "bad_request"),
        (ask(&call), b"other", "not_leased"),
        (ask(&call), b"", "not_leased"),
        (
            Ask {
                url: "http://a@b/".into(),
                ..ask(&call)
            },
            b"body",
            "bad_request",
        ),
        (
            Ask {
                headers: vec![("Cookie".into(), "a".into())],
                ..ask(&call)
            },
            b"body",
            "bad_request",
        ),
    ];
    for (ask, body, class) in asks {
        let (ticket, mut jail) = world.lease(&call);
        send(&mut jail, &ask, body).unwrap();
        let Said::Fault(fault) = receive(&mut jail).unwrap() else {
            panic!("{ask:?} was answered")
        };
        assert_eq!(fault.class, class, "{ask:?}");
        let hops = world.closed(ticket);
        assert!(
            hops[0].fault.is_some() && hops[0].address.is_none(),
            "{hops:?}"
        );
    }
    assert!(server.requests.try_recv().is_err(), "something was sent");
}

#[test]
fn leases_are_limited_and_each_has_its_own_stream() {
    let world = World::plain();
    let call = Call::get("http://127.0.0.1/");
    let leases: Vec<_> = (0..128).map(|_| world.lease(&call)).collect();
    let (ticket, mut jail) = world.lease(&call);
    let hops = world.closed(ticket);
    assert!(
        hops[0].fault.as_deref().unwrap().contains("128 leases"),
        "{hops:?}"
    );
    assert_eq!(jail.read(&mut [0]).unwrap(), 0);
    // One ends, one more may come.
    let (first, stream) = leases.into_iter().next().unwrap();
    drop(stream);
    let mut ended = Vec::new();
    while !ended.contains(&first) {
        let frame = frame::recv::<EgressToKeeper>(world.keeper.as_fd(), 0)
            .unwrap()
            .unwrap();
        let EgressToKeeper::Closed { ticket, .. } = frame.say else {
            panic!()
        };
        ended.push(ticket);
    }
    let (ticket, stream) = world.lease(&call);
    drop(stream);
    while !ended.contains(&ticket) {
        let frame = frame::recv::<EgressToKeeper>(world.keeper.as_fd(), 0)
            .unwrap()
            .unwrap();
        let EgressToKeeper::Closed { ticket, hops } = frame.say else {
            panic!()
        };
        assert_eq!(hops, []);
        ended.push(ticket);
    }
}

#[test]
fn a_lease_without_stream_is_closed_at_once() {
    let world = World::plain();
    let ticket = crate::call::id::Id::random().unwrap();
    let say = KeeperToEgress::Lease {
        ticket,
        rules: Vec::new(),
        method: "GET".into(),
        url: "http://a/?secret".into(),
        body_sha256: String::new(),
        wall_ms: 1,
        bytes: 1,
        redirects: 0,
    };
    frame::send(world.keeper.as_fd(), &say, &[], &[]).unwrap();
    assert_eq!(world.closed(ticket)[0].target, "GET http://a/");
}

#[test]
fn a_set_up_that_cannot_work_is_an_error() {
    let failed = |resolvers: &[&str], ca: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).into()).collect();
        let (_control, theirs) = frame::pair().unwrap();
        run(theirs, setup(texts(resolvers), texts(ca))).unwrap_err()
    };
    let error = failed(&["dns.example:53"], &[]);
    assert!(
        error.message().contains("`dns.example:53` is no resolver"),
        "{error}"
    );
    assert!(error.hint_text().is_some());
    assert!(
        failed(&["127.0.0.1"], &[])
            .message()
            .contains("no resolver")
    );
    assert!(
        failed(&[], &["hello"])
            .message()
            .contains("holds no PEM certificate")
    );
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(failed(&[], &[broken]).message().contains("authority 1"));
}
