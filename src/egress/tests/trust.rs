//! TLS: whom egress trusts, and what it says where it does not.

use std::net::IpAddr;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use super::fakes::{Dns, Server, dns, serve_tls};
use super::world::{Call, World};
use crate::wire::text::hex;

const NAME: &str = "kg.test";

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn ca(name: &str) -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let pem = params.self_signed(&key).unwrap().pem();
    Ca {
        issuer: Issuer::new(params, key),
        pem,
    }
}

fn issued(
    ca: &Ca,
    change: impl FnOnce(&mut CertificateParams),
) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    change(&mut params);
    (
        params.signed_by(&key, &ca.issuer).unwrap().der().clone(),
        key,
    )
}

fn self_signed(is_ca: bool) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    (params.self_signed(&key).unwrap().der().clone(), key)
}

fn local() -> Dns {
    dns(|_, _| vec![IpAddr::from([127, 0, 0, 1])])
}

fn world(ca: &[&Ca]) -> World {
    World::start(
        vec![local().address],
        ca.iter().map(|ca| ca.pem.clone()).collect(),
    )
}

fn call(server: &Server) -> Call {
    Call::get(&format!("https://{NAME}:{}/", server.address.port()))
}

fn pinned(server: &Server, certificate: &CertificateDer<'_>) -> Call {
    let mut call = call(server);
    call.rules[0].pin_sha256 = Some(hex(digest(&SHA256, certificate).as_ref()));
    call
}

#[test]
fn a_server_of_the_own_authority_is_trusted() {
    let ca = ca("own");
    let (certificate, key) = issued(&ca, |_| {});
    let server = serve_tls(vec![certificate], &key);
    let (result, hops) = world(&[&ca]).call(&call(&server));
    assert_eq!(result.unwrap()["text"], "secure", "{hops:?}");
}

#[test]
fn another_server_is_not() {
    let (own, other, fake) = (ca("own"), ca("other"), ca("own"));
    let world = world(&[&own]);
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2001, 1, 1);
    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 1);
    let named = |params: &mut CertificateParams| {
        params.subject_alt_names = CertificateParams::new(vec!["else.test".into()])
            .unwrap()
            .subject_alt_names;
    };
    let table = [
        (issued(&other, |_| {}), "no known authority"),
        (issued(&fake, |_| {}), "not its issuer's"),
        (self_signed(false), "no known authority"),
        (self_signed(true), "CA certificate used by a server"),
        (issued(&own, expired), "expired"),
        (issued(&own, future), "not valid yet"),
        (issued(&own, named), "another name"),
    ];
    for ((certificate, key), expected) in table {
        let server = serve_tls(vec![certificate.clone()], &key);
        let (class, why) = world.fault(&call(&server));
        assert_eq!(class, "tls_failed", "{why}");
        assert!(why.contains(expected), "{expected}: {why}");
        let pin = format!(
            "pin_sha256 = \"{}\"",
            hex(digest(&SHA256, &certificate).as_ref())
        );
        assert!(why.contains(&pin), "{why}");
        assert!(server.requests.try_recv().is_err(), "something was sent");
    }
}

#[test]
fn a_pin_replaces_the_chain_and_nothing_else_fits_it() {
    let ca = ca("own");
    // Without any authority, and for the certificates that `openssl req -x509` makes.
    for (world, is_ca) in [
        (world(&[]), true),
        (world(&[]), false),
        (world(&[&ca]), true),
    ] {
        let (certificate, key) = self_signed(is_ca);
        let server = serve_tls(vec![certificate.clone()], &key);
        assert_eq!(
            world.call(&pinned(&server, &certificate)).0.unwrap()["text"],
            "secure"
        );
        let (class, why) = world.fault(&pinned(&server, &self_signed(true).0));
        assert_eq!(
            (class.as_str(), why.contains("not the pinned one")),
            ("tls_failed", true),
            "{why}"
        );
    }
    // A chain that would be trusted does not help against a pin.
    let (certificate, key) = issued(&ca, |_| {});
    let server = serve_tls(vec![certificate], &key);
    assert_eq!(
        world(&[&ca])
            .fault(&pinned(&server, &self_signed(false).0))
            .0,
        "tls_failed"
    );
}

/// Certificates are public: showing the pinned one without its key has to fail.
#[test]
fn a_pinned_certificate_without_its_key_is_not_trusted() {
    let (certificate, _) = self_signed(true);
    let thief =
        super::fakes::serve_tls_unchecked(certificate.clone(), &KeyPair::generate().unwrap());
    let (class, why) = world(&[]).fault(&pinned(&thief, &certificate));
    assert_eq!(class, "tls_failed", "{why}");
    assert!(thief.requests.try_recv().is_err(), "something was sent");
}

#[test]
fn nobody_is_trusted_without_authority_or_pin() {
    let (certificate, key) = self_signed(false);
    let server = serve_tls(vec![certificate], &key);
    let (class, why) = world(&[]).fault(&call(&server));
    assert_eq!(
        (class.as_str(), why.contains("no certification authority")),
        ("tls_failed", true)
    );
}

#[test]
fn no_tls_is_no_way_to_an_https_server() {
    let server = super::fakes::says(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(world(&[]).fault(&call(&server)).0, "tls_failed");
}
