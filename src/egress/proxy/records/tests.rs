//! Records: pieces, order, second hellos; and rustls as a second reader of what real clients send.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::super::hello::tests::{message, names};
use super::*;

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3], &length[..], content].concat()
}

fn hello(name: &str) -> Vec<u8> {
    record(HANDSHAKE, &message(&[(0, names(&[name.as_bytes()]))]))
}

fn server(kind: u8, random: [u8; 32]) -> Vec<u8> {
    record(HANDSHAKE, &[&[kind, 0, 0, 34, 3, 3], &random[..]].concat())
}

#[test]
fn a_tunnel_is_clear_once_its_host_is_named() {
    let mut client = Client::new("a.example", false);
    let bytes = hello("A.EXAMPLE");
    let (first, last) = bytes.split_at(bytes.len() - 1);
    client.feed(first, Answer::Unknown).unwrap();
    assert!(!client.named() && !client.clear());
    client.feed(last, Answer::Unknown).unwrap();
    assert!(client.named() && client.clear());
    // Early data may follow at once, a handshake message may not.
    client
        .feed(&record(APPLICATION_DATA, b"x"), Answer::Unknown)
        .unwrap();
    client.feed(&[HANDSHAKE], Answer::Unknown).unwrap();
    assert!(!client.clear());
    client.feed(&[3, 3, 0], Answer::Unknown).unwrap();
    assert!(client.feed(&[1], Answer::Unknown).is_err());
}

#[test]
fn after_a_final_answer_nothing_is_looked_at() {
    let mut client = Client::new("a.example", false);
    client.feed(&hello("a.example"), Answer::Unknown).unwrap();
    client.feed(&hello("b.example"), Answer::Final).unwrap();
    client.feed(b"anything", Answer::Final).unwrap();
    assert!(client.clear());
}

#[test]
fn after_a_retry_the_next_handshake_message_is_a_hello_for_the_same_host() {
    let after = |bytes: &[u8]| {
        let mut client = Client::new("a.example", false);
        client.feed(&hello("a.example"), Answer::Unknown).unwrap();
        client.feed(bytes, Answer::Retry).map(|()| client.clear())
    };
    assert_eq!(after(&hello("a.example")), Ok(true));
    assert_eq!(after(&record(CHANGE_CIPHER_SPEC, &[1])), Ok(true));
    assert!(after(&hello("b.example")).is_err());
    let changed = [record(CHANGE_CIPHER_SPEC, &[1]), hello("b.example")].concat();
    assert!(after(&changed).is_err());
    let early = [record(APPLICATION_DATA, &[1]), hello("b.example")].concat();
    assert!(after(&early).is_err());
    assert!(after(&record(HANDSHAKE, &[16, 0, 0, 1, 0])).is_err());
    let pieces: Vec<u8> = message(&[(0, names(&[b"b.example"]))])
        .chunks(1)
        .take(PIECES_MAX + 1)
        .flat_map(|byte| record(HANDSHAKE, byte))
        .collect();
    assert!(after(&pieces).is_err());
}

#[test]
fn what_is_no_record_is_refused_at_its_first_byte() {
    let bad: [&[u8]; 9] = [
        b"G",
        &[0x80],
        &[22, 2],
        &[22, 3, 1, 0, 0],
        &[22, 3, 1, 0x48, 1],
        &[20, 3, 3, 0, 1, 1],
        &[21, 3, 3, 0, 2, 1, 0],
        &[22, 3, 1, 0, 1, 2],
        &[24, 3, 3, 0, 1, 1],
    ];
    for bytes in bad {
        let mut client = Client::new("a.example", false);
        assert!(client.feed(bytes, Answer::Unknown).is_err(), "{bytes:?}");
    }
    let followed = [message(&[(0, names(&[b"a.example"]))]), vec![1]].concat();
    let mut client = Client::new("a.example", false);
    assert!(
        client
            .feed(&record(HANDSHAKE, &followed), Answer::Unknown)
            .is_err()
    );
    let many: Vec<u8> = message(&[(0, names(&[b"a.example"])), (21, vec![0; 100])])
        .chunks(1)
        .flat_map(|byte| record(HANDSHAKE, byte))
        .collect();
    let mut client = Client::new("a.example", false);
    assert!(client.feed(&many, Answer::Unknown).is_err());
}

#[test]
fn an_address_is_named_or_not() {
    let judged = |hello: &[u8]| Client::new("10.0.0.1", true).feed(hello, Answer::Unknown);
    assert!(judged(&record(HANDSHAKE, &message(&[]))).is_ok());
    assert!(judged(&hello("10.0.0.1")).is_ok());
    assert!(judged(&hello("a.example")).is_err());
    assert!(judged(&hello("10.0.0.2")).is_err());
}

#[test]
fn a_retry_is_known_by_its_random() {
    let answer = |bytes: &[u8]| Server::default().feed(bytes);
    assert_eq!(answer(&server(SERVER_HELLO, RETRY)), Ok(Answer::Retry));
    assert_eq!(answer(&server(SERVER_HELLO, [7; 32])), Ok(Answer::Final));
    assert_eq!(answer(&server(11, RETRY)), Ok(Answer::Final));
    assert_eq!(answer(&record(ALERT, &[2, 40])), Ok(Answer::Final));
    assert_eq!(answer(b"SSH-2.0"), Ok(Answer::Final));
    let whole = server(SERVER_HELLO, RETRY);
    assert_eq!(answer(&whole[..ANSWER - 1]), Ok(Answer::Unknown));
    assert!(answer(&record(HANDSHAKE, &[SERVER_HELLO, 0])).is_err());
    let mut pieces = Server::default();
    let last = whole
        .iter()
        .map(|byte| pieces.feed(&[*byte]))
        .last()
        .unwrap();
    assert_eq!(last, Ok(Answer::Retry));
}

#[test]
fn rustls_reads_the_same_name() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "a.example".try_into().unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).unwrap();
    assert_eq!(by_rustls(&bytes).as_deref(), Some("a.example"));
    assert!(fuzz(&bytes));
    // The twin: had the two nothing to disagree about, the comparison would say nothing.
    let other = String::from_utf8_lossy(&bytes).contains("a.example");
    assert!(other);
    let at = bytes
        .windows(9)
        .position(|name| name == b"a.example")
        .unwrap();
    bytes[at] = b'b';
    assert_eq!(by_rustls(&bytes).as_deref(), Some("b.example"));
    assert!(!fuzz(&bytes));
}

/// What OpenSSL 3.0, curl, Python 3.11, Node 20 and Go sent, kept as seeds of the fuzz target.
#[test]
fn the_hellos_of_real_clients_are_understood() {
    let seeds = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fuzz/corpus/proxy-tunnel"
    );
    let mut clients = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let seed = seed.unwrap();
        if seed.file_name().to_string_lossy().starts_with("client-") {
            let bytes = std::fs::read(seed.path()).unwrap();
            assert!(fuzz(&bytes), "{seed:?}");
            assert_eq!(by_rustls(&bytes).as_deref(), Some("a.example"), "{seed:?}");
            clients += 1;
        }
    }
    assert_eq!(clients, 6);
}

/// Bytes with some of them overwritten, put in or taken out.
fn bent(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..3);
    prop::collection::vec(change, 0..6).prop_map(move |changes| {
        let mut bytes = bytes.clone();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop((bytes.len() > 1).then(|| bytes.remove(at))),
            }
        }
        bytes
    })
}

/// A ClientHello in pieces, as a real one has its extensions.
fn spread() -> Vec<u8> {
    let extensions = [
        (0, names(&[b"a.example"])),
        (10, b"\0\x02\0\x1d".to_vec()),
        (13, b"\0\x02\x04\x03".to_vec()),
        (43, b"\x02\x03\x04".to_vec()),
        (51, [&b"\0\x24\0\x1d\0\x20"[..], &[9; 32]].concat()),
    ];
    message(&extensions)
        .chunks(40)
        .flat_map(|piece| record(HANDSHAKE, piece))
        .collect()
}

#[test]
fn what_is_bent_by_the_property_is_taken_when_straight() {
    assert!(fuzz(&spread()));
    assert_eq!(by_rustls(&spread()).as_deref(), Some("a.example"));
}

proptest! {
    #[test]
    fn a_bent_hello_is_refused_or_read_as_rustls_reads_it(
        bytes in bent(spread()),
        more in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        fuzz(&[bytes, more].concat());
    }

    #[test]
    fn a_bent_answer_is_the_same_in_pieces(bytes in bent(server(SERVER_HELLO, RETRY))) {
        fuzz(&bytes);
    }
}
