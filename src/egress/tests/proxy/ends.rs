//! How a proxy ends: bytes, time, the keeper's word; and how many connections it has.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::super::fakes::{handle, says, stalls};
use super::*;
use crate::wire::frame;
use crate::wire::messages::{Control, Role};

fn get(server: &Server) -> String {
    let authority = format!("{NAME}:{}", server.address.port());
    format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n")
}

/// A connection that waits for a server which does not answer.
fn waiting(way: &Way, server: &Server) -> TcpStream {
    let mut stream = way.connection();
    stream.write_all(get(server).as_bytes()).unwrap();
    server.requests.recv().unwrap();
    stream
}

/// Reads to the end, however that comes.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    drop(stream.read_to_end(&mut all));
    all
}

#[test]
fn no_byte_goes_beyond_the_limit_and_then_everything_is_closed() {
    const LIMIT: u64 = 100_000;
    let (silent, closed) = stalls(b"");
    let big = handle(|stream, requests| {
        drop(requests.send(fakes::read_request(stream)));
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
        while stream.write_all(&[b'a'; 1000]).is_ok() {}
    });
    let ports = [silent.address.port(), big.address.port()];
    let way = Way::with(&ports.map(|port| there(NAME, port)), MINUTE, LIMIT);
    let other = waiting(&way, &silent);
    let stream = waiting(&way, &big);
    let got = u64::try_from(rest(stream).len()).unwrap();
    closed.recv().unwrap();
    assert_eq!(rest(other), b"");
    let sent = u64::try_from(get(&big).len() + get(&silent).len()).unwrap();
    assert_eq!(got + sent, LIMIT);
    assert!(TcpStream::connect(way.proxy).is_err(), "it still listens");
    let hops = way.world.closed(way.ticket);
    assert_eq!(hops.iter().map(|hop| hop.bytes).sum::<u64>(), LIMIT);
    for hop in &hops {
        assert!(
            hop.fault.as_deref().unwrap().contains("bytes are used up"),
            "{hops:?}"
        );
    }
}

#[test]
fn what_the_jail_sends_counts_as_well() {
    let (sender, got) = mpsc::channel();
    let server = handle(move |stream, _| {
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all));
        sender.send(all.len()).unwrap();
    });
    let way = Way::with(&[there(NAME, server.address.port())], MINUTE, 50_000);
    let mut stream = way.connection();
    let head = get(&server).replacen("GET", "POST", 1);
    let head = head.trim_end();
    write!(stream, "{head}\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    while stream.write_all(&[b'a'; 1000]).is_ok() {}
    assert!(got.recv().unwrap() < 50_000);
    assert!(way.world.closed(way.ticket)[0].fault.is_some());
}

#[test]
fn time_is_up_for_everything_at_once() {
    let (server, closed) = stalls(b"");
    let way = Way::with(&[there(NAME, server.address.port())], 300, PLENTY);
    let mut streams = vec![waiting(&way, &server), waiting(&way, &server)];
    streams.push(way.connection());
    for stream in streams {
        assert_eq!(rest(stream), b"");
    }
    closed.recv().unwrap();
    closed.recv().unwrap();
    let hops = way.world.closed(way.ticket);
    assert_eq!(hops.len(), 2);
    assert!(
        hops.iter()
            .all(|hop| hop.fault.as_deref() == Some("time is up")),
        "{hops:?}"
    );
}

#[test]
fn a_revoked_proxy_closes_its_tunnels_and_listens_no_more() {
    let (server, closed) = stalls(b"");
    let way = Way::to_server(&server);
    let stream = waiting(&way, &server);
    let hops = way.world.revoke(way.ticket);
    closed.recv().unwrap();
    assert_eq!(rest(stream), b"");
    assert!(TcpStream::connect(way.proxy).is_err());
    assert_eq!(hops[0].fault.as_deref(), Some("the keeper ended the proxy"));
}

#[test]
fn a_keeper_that_dies_takes_its_proxies_along() {
    let (server, closed) = stalls(b"");
    let mut way = Way::to_server(&server);
    let stream = waiting(&way, &server);
    let (keeper, theirs) = frame::pair().unwrap();
    way.world.keeper = keeper;
    closed.recv().unwrap();
    assert_eq!(rest(stream), b"");
    // A new keeper is served as before.
    let link = Control::Link { peer: Role::Keeper };
    frame::send(way.world.control.as_fd(), &link, &[], &[theirs.as_fd()]).unwrap();
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let (ticket, proxy) = way
        .world
        .proxy(&[there(NAME, server.address.port())], MINUTE, PLENTY);
    (way.ticket, way.proxy) = (ticket, proxy);
    assert_eq!(way.status(&get(&server)), 200);
}

#[test]
fn a_stop_ends_the_proxy_and_says_what_it_did() {
    let (server, closed) = stalls(b"");
    let way = Way::to_server(&server);
    let _stream = waiting(&way, &server);
    frame::send(way.world.control.as_fd(), &Control::Stop, &[], &[]).unwrap();
    closed.recv().unwrap();
    assert_eq!(way.world.closed(way.ticket).len(), 1);
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    const LIMIT: usize = 64;
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let server = handle(move |stream, requests| {
        let request = fakes::read_request(stream);
        // Before it is told: who hears of it counts.
        count.fetch_add(1, Ordering::SeqCst);
        drop(requests.send(request));
        gone.lock().unwrap().recv().unwrap_or_default();
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    });
    let way = Way::to_server(&server);
    let mut first: Vec<TcpStream> = (0..LIMIT).map(|_| waiting(&way, &server)).collect();
    let mut late = way.connection();
    late.write_all(get(&server).as_bytes()).unwrap();
    // Another proxy of the same egress is not held up, and by the time it has its answer this one
    // would have been served as well.
    let other = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let (ticket, proxy) = way
        .world
        .proxy(&[there(NAME, other.address.port())], MINUTE, PLENTY);
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.write_all(get(&other).as_bytes()).unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
    way.world.revoke(ticket);
    assert_eq!(open.load(Ordering::SeqCst), LIMIT);
    assert!(server.requests.try_recv().is_err());
    drop(first.pop());
    server.requests.recv().unwrap();
    drop(go);
    assert!(head(&mut late).starts_with("HTTP/1.1 200 "));
    for mut stream in first {
        assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn many_connections_are_told_in_one_packet() {
    let server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let way = Way::to_server(&server);
    for _ in 0..70 {
        assert_eq!(way.status(&get(&server)), 200);
    }
    for _ in 0..10 {
        assert_eq!(way.status("CONNECT evil.test:443 HTTP/1.1\r\n\r\n"), 403);
    }
    let hops = way.world.revoke(way.ticket);
    let [told @ .., served, refused] = hops.as_slice() else {
        panic!("{hops:?}");
    };
    assert_eq!(told.len(), 64);
    let port = server.address.port();
    assert_eq!(served.target, format!("{NAME}:{port} (6 more connections)"));
    assert_eq!(served.fault, None);
    assert_eq!(refused.target, "refused (10 more connections)");
    assert!(refused.fault.is_some() && refused.bytes > 0);
}

#[test]
fn only_a_listening_socket_on_loopback_makes_a_proxy() {
    let world = World::plain();
    let wide = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (unix, _) = std::os::unix::net::UnixStream::pair().unwrap();
    let path = tempfile::tempdir().unwrap();
    let unix_listener = std::os::unix::net::UnixListener::bind(path.path().join("s")).unwrap();
    let file = tempfile::tempfile().unwrap();
    let wrong: [&[_]; 8] = [
        &[wide.as_fd()],
        &[connected.as_fd()],
        &[datagrams.as_fd()],
        &[unix.as_fd()],
        &[unix_listener.as_fd()],
        &[file.as_fd()],
        &[],
        &[listener.as_fd(), listener.as_fd()],
    ];
    for fds in wrong {
        let ticket = world.proxy_on(fds, &[], MINUTE, PLENTY);
        let hops = world.closed(ticket);
        assert_eq!(hops.len(), 1, "{hops:?}");
        assert!(hops[0].fault.is_some());
    }
    let ticket = world.proxy_on(&[listener.as_fd()], &[], MINUTE, PLENTY);
    assert_eq!(world.revoke(ticket), []);
}
