//! `CONNECT`: the list, names and addresses, and whom the TLS within is for.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use rustls::ClientConnection;

use super::super::fakes::{self, Server};
use super::super::world::World;
use super::*;
use crate::egress::proxy::hello::tests::{message, names};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: kg.test\r\n\r\n";

/// A handshake message in one record.
fn record(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&[22, 3, 1], &length[..], message].concat()
}

/// A ClientHello for `name`.
fn hello(name: &str) -> Vec<u8> {
    record(&message(&[(0, names(&[name.as_bytes()]))]))
}

/// A server that answers with `say` and then tells all it was sent.
fn recorder(say: &'static [u8]) -> (Server, mpsc::Receiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::channel();
    let server = fakes::handle(move |stream, _| {
        let mut all = vec![0; 5];
        if stream.read_exact(&mut all).is_ok() {
            stream.write_all(say).unwrap();
            drop(stream.read_to_end(&mut all));
        } else {
            all.clear();
        }
        drop(sender.send(all));
    });
    (server, receiver)
}

/// What the jail hears and what the server got where a tunnel begins with `bytes`.
fn begins(way: &Way, host: &str, port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut tunnel = way.tunnel(&format!("{host}:{port}"));
    tunnel.write_all(bytes).unwrap();
    tunnel.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    drop(tunnel.read_to_end(&mut heard));
    heard
}

#[test]
fn tls_goes_through_end_to_end() {
    let (server, pem) = secure();
    let way = Way::to_server(&server);
    let port = server.address.port();
    let mut tls = shake(way.tunnel(&format!("KG.Test:{port}")), NAME, &pem);
    tls.write_all(GET).unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("secure"), "{answer}");
    drop(tls);
    let hops = way.end();
    assert_eq!(hops.len(), 1, "{hops:?}");
    assert_eq!(hops[0].target, format!("CONNECT kg.test:{port}"));
    assert_eq!(hops[0].address, Some(server.address.to_string()));
    assert_eq!(hops[0].fault, None);
    assert!(hops[0].bytes > 1000, "{hops:?}");
    assert_eq!(way.dns.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn an_address_needs_no_name() {
    let (server, pem) = secure();
    let way = Way::to(&[there("127.0.0.1", server.address.port())]);
    // rustls sends no server name for an address.
    let mut tls = shake(way.tunnel(&server.address.to_string()), "127.0.0.1", &pem);
    tls.write_all(GET).unwrap();
    tls.read_to_string(&mut String::new()).unwrap();
    drop(tls);
    assert_eq!(way.end()[0].fault, None);
    assert_eq!(way.dns.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn an_empty_list_leads_nowhere() {
    let (server, _) = secure();
    let way = Way::to(&[]);
    let port = server.address.port();
    for authority in [format!("{NAME}:{port}"), server.address.to_string()] {
        assert_eq!(
            way.status(&format!("CONNECT {authority} HTTP/1.1\r\n\r\n")),
            403
        );
    }
    assert_eq!(way.dns.asked.load(Ordering::SeqCst), 0);
    let hops = way.end();
    assert!(
        hops.iter()
            .all(|hop| hop.address.is_none() && hop.fault.is_some()),
        "{hops:?}"
    );
    assert_eq!(hops.len(), 2);
}

/// Data in the labels of a name reach whoever answers for the name, were it ever asked for.
#[test]
fn a_name_that_is_not_listed_is_never_looked_up() {
    let (server, _) = secure();
    let way = Way::to_server(&server);
    let port = server.address.port();
    for name in [
        "c2VjcmV0.evil.test",
        "c2VjcmV0.kg.test",
        "xkg.test",
        "kg.test.evil.test",
        "kg.test.",
        "kg.test\0.evil.test",
        "kg.test%00.evil.test",
        "x@kg.test",
        "kg.test:443@evil.test",
    ] {
        let status = way.status(&format!("CONNECT {name}:{port} HTTP/1.1\r\n\r\n"));
        assert!(matches!(status, 400 | 403), "{name}: {status}");
        let status = way.status(&format!(
            "GET http://{name}:{port}/ HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n"
        ));
        assert!(matches!(status, 400 | 403), "{name}: {status}");
    }
    assert_eq!(*way.names.lock().unwrap(), [""; 0]);
}

#[test]
fn another_port_of_a_listed_host_is_not_listed() {
    let (server, _) = secure();
    let (other, got) = recorder(b"");
    let way = Way::to_server(&server);
    let port = other.address.port();
    let answer = way.ask(&format!("CONNECT {NAME}:{port} HTTP/1.1\r\n\r\n"));
    assert!(
        answer.contains(&format!("net = [\"{NAME}:{port}\"]")),
        "{answer}"
    );
    assert!(got.try_recv().is_err());
    let hops = way.end();
    assert_eq!(hops[0].status, Some(403));
    assert_eq!(hops[0].target, format!("CONNECT {NAME}:{port}"));
}

/// A second look-up would get the address of something else.
#[test]
fn a_name_is_looked_up_once_and_dialled_as_checked() {
    let dns = fakes::dns(|_, number| {
        vec![IpAddr::from(match number {
            0 => [127, 0, 0, 1],
            _ => [127, 0, 0, 2],
        })]
    });
    let world = World::start(vec![dns.address.clone()], Vec::new());
    let (server, got) = recorder(b"");
    let port = server.address.port();
    let mut listed = there(NAME, port);
    listed.private = vec!["127.0.0.1/32".into()];
    let (ticket, proxy) = world.proxy(&[listed], MINUTE, PLENTY);
    let ask = || {
        let mut stream = TcpStream::connect(proxy).unwrap();
        let request = format!("CONNECT {NAME}:{port} HTTP/1.1\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        (head(&mut stream), stream)
    };
    let (first, mut tunnel) = ask();
    assert!(first.contains(" 200 "), "{first}");
    tunnel.write_all(&hello(NAME)).unwrap();
    drop(tunnel);
    assert_eq!(got.recv().unwrap(), hello(NAME));
    assert_eq!(dns.asked.load(Ordering::SeqCst), 1);
    let (second, _) = ask();
    assert!(second.contains(" 403 "), "{second}");
    assert!(
        !second.contains("127.0.0.2"),
        "the jail learns an address: {second}"
    );
    assert_eq!(dns.asked.load(Ordering::SeqCst), 2);
    let hops = world.revoke(ticket);
    assert_eq!(hops[0].address, Some(server.address.to_string()));
    assert_eq!(hops[1].address, None);
    let fault = hops[1].fault.as_deref().unwrap();
    assert!(fault.starts_with("127.0.0.2 is loopback"), "{fault}");
}

#[test]
fn private_addresses_are_refused_by_name_and_by_number() {
    let answers = [
        "10.1.2.3",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "fd00:ec2::254",
        "224.0.0.1",
    ];
    let dns = fakes::dns(move |name, _| {
        let number: usize = name
            .trim_end_matches(".test.")
            .trim_start_matches('n')
            .parse()
            .unwrap();
        vec![answers[number].parse().unwrap()]
    });
    let world = World::start(vec![dns.address.clone()], Vec::new());
    let entry = |host: &str| Destination {
        private: Vec::new(),
        ..there(host, 443)
    };
    let mut allow: Vec<_> = (0..answers.len())
        .map(|n| entry(&format!("n{n}.test")))
        .collect();
    allow.extend(answers.iter().map(|address| entry(address)));
    let (ticket, proxy) = world.proxy(&allow, MINUTE, PLENTY);
    for one in &allow {
        let mut stream = TcpStream::connect(proxy).unwrap();
        stream
            .write_all(format!("CONNECT {one} HTTP/1.1\r\n\r\n").as_bytes())
            .unwrap();
        let answer = head(&mut stream);
        assert!(
            answer.contains(" 403 ") && answer.contains("is not public"),
            "{one}: {answer}"
        );
    }
    let hops = world.revoke(ticket);
    assert_eq!(hops.len(), allow.len());
    assert!(hops.iter().all(|hop| hop.address.is_none()), "{hops:?}");
}

#[test]
fn nobody_there_is_said_so() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let way = Way::to(&[there("127.0.0.1", closed.port())]);
    assert_eq!(
        way.status(&format!("CONNECT {closed} HTTP/1.1\r\n\r\n")),
        502
    );
    assert!(way.fault().contains("refused"));
}

/// Domain fronting: the list is asked about one host, and TLS then asks the same server for another.
#[test]
fn a_tunnel_is_tls_with_the_host_it_was_opened_to() {
    let other = record(&message(&[(0, names(&[b"evil.test"]))]));
    let encrypted = [(0, names(&[b"public.test"])), (0xfe0d, vec![0; 64])];
    let table: [(&str, Vec<u8>, &str); 14] = [
        ("another name", other, "names another host"),
        ("a name beneath", hello("x.kg.test"), "names another host"),
        ("a dot more", hello("kg.test."), "names another host"),
        (
            "an outer name",
            record(&message(&encrypted)),
            "server name is encrypted",
        ),
        ("no name", record(&message(&[])), "names no host"),
        (
            "a hidden name",
            record(&message(&[
                (0, names(&[NAME.as_bytes()])),
                (0xffce, vec![0; 64]),
            ])),
            "is encrypted",
        ),
        (
            "two names",
            record(&message(&[(0, names(&[NAME.as_bytes(), b"evil.test"]))])),
            "not one name",
        ),
        (
            "a name twice",
            record(&message(&[
                (0, names(&[NAME.as_bytes()])),
                (0, names(&[b"evil.test"])),
            ])),
            "twice",
        ),
        (
            "no TLS",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            "does not speak TLS",
        ),
        ("SSH", b"SSH-2.0-x\r\n".to_vec(), "does not speak TLS"),
        (
            "SSL 2",
            vec![0x80, 0x2e, 1, 3, 3, 0, 0x15],
            "does not speak TLS",
        ),
        ("data first", vec![23, 3, 3, 0, 1, 0], "does not speak TLS"),
        (
            "half a hello",
            hello(NAME)[..60].to_vec(),
            "before its ClientHello",
        ),
        (
            "a huge hello",
            vec![22, 3, 1, 0, 4, 1, 0, 0x40, 0],
            "longer than 16 KiB",
        ),
    ];
    for (what, bytes, expected) in table {
        let (server, got) = recorder(b"never");
        let way = Way::to_server(&server);
        let heard = begins(&way, NAME, server.address.port(), &bytes);
        // A fatal alert at most, and nothing of the server's.
        assert!(heard == [21, 3, 3, 0, 2, 2, 112], "{what}: {heard:?}");
        assert_eq!(got.recv().unwrap(), b"", "{what} reached the server");
        let fault = way.fault();
        assert!(fault.contains(expected), "{what}: {fault}");
    }
}

#[test]
fn a_hello_may_come_in_pieces() {
    let whole = message(&[(0, names(&[NAME.as_bytes()])), (21, vec![0; 3000])]);
    let pieces: Vec<u8> = whole.chunks(100).flat_map(record).collect();
    let (server, got) = recorder(b"");
    let way = Way::to_server(&server);
    let mut tunnel = way.tunnel(&format!("{NAME}:{}", server.address.port()));
    tunnel.set_nodelay(true).unwrap();
    for segment in pieces.chunks(7) {
        tunnel.write_all(segment).unwrap();
    }
    tunnel.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(got.recv().unwrap(), pieces);
    // And in one packet with the request that opens the tunnel.
    let mut stream = way.connection();
    let request = format!("CONNECT {NAME}:{} HTTP/1.1\r\n\r\n", server.address.port());
    stream
        .write_all(&[request.as_bytes(), &hello(NAME), b"\x17\x03\x03\0\x01x"].concat())
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(
        got.recv().unwrap(),
        [&hello(NAME)[..], b"\x17\x03\x03\0\x01x"].concat()
    );
}

/// A server that answers with HelloRetryRequest acts on the name of the second ClientHello.
#[test]
fn a_second_hello_is_held_to_the_same_name() {
    const RETRY: &[u8] = &{
        let mut answer = [0; 43];
        let head = [22, 3, 3, 0, 38, 2, 0, 0, 34, 3, 3];
        let random = crate::egress::proxy::records::RETRY;
        let mut at = 0;
        while at < head.len() {
            answer[at] = head[at];
            at += 1;
        }
        while at < 43 {
            answer[at] = random[at - 11];
            at += 1;
        }
        answer
    };
    for (second, passes) in [("evil.test", false), (NAME, true)] {
        let (server, got) = recorder(RETRY);
        let way = Way::to_server(&server);
        let mut tunnel = way.tunnel(&format!("{NAME}:{}", server.address.port()));
        tunnel.write_all(&hello(NAME)).unwrap();
        tunnel.read_exact(&mut [0; 43]).unwrap();
        let rest = [b"\x14\x03\x03\0\x01\x01", &hello(second)[..]].concat();
        tunnel.write_all(&rest).unwrap();
        drop(tunnel.shutdown(std::net::Shutdown::Write));
        let got = got.recv().unwrap();
        assert_eq!(got.len() > hello(NAME).len() + 6, passes, "{second}");
        drop(tunnel.read_to_end(&mut Vec::new()));
        let fault = way.end()[0].fault.clone();
        let expected = (!passes).then(|| "names another host".to_owned());
        assert_eq!(fault.is_some(), expected.is_some(), "{fault:?}");
        assert!(
            fault
                .unwrap_or_default()
                .contains(&expected.unwrap_or_default())
        );
    }
}

/// The same with real libraries: rustls offers a curve that the server does not take.
#[test]
fn a_real_retry_goes_through() {
    use rustls::crypto::ring::{default_provider, kx_group};
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let server = fakes::serve_tls_with(
        vec![certificate.der().clone()],
        &key,
        rustls::crypto::CryptoProvider {
            kx_groups: vec![kx_group::SECP256R1],
            ..default_provider()
        },
    );
    let way = Way::to_server(&server);
    let tunnel = way.tunnel(&format!("{NAME}:{}", server.address.port()));
    let config = client(
        &certificate.pem(),
        rustls::crypto::CryptoProvider {
            kx_groups: vec![kx_group::X25519, kx_group::SECP256R1],
            ..default_provider()
        },
    );
    let session = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap();
    let mut tls = StreamOwned::new(session, tunnel);
    tls.write_all(GET).unwrap();
    tls.read_to_string(&mut String::new()).unwrap();
    let kind = tls.conn.handshake_kind();
    assert_eq!(kind, Some(rustls::HandshakeKind::FullWithHelloRetryRequest));
    drop(tls);
    assert_eq!(way.end()[0].fault, None);
}
