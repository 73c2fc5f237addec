//! Doors that speak TLS: the certificate is the agent.

use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedKey, KeyPair};
use ring::digest::{SHA256, digest};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme, StreamOwned, sign};

use super::web::Web;
use super::{HELLO, Rig, chatty};
use crate::wire::messages::{Certificate, Control, DoorTls, Proof};
use crate::wire::text::hex;

struct World {
    rig: Rig,
    address: std::net::SocketAddr,
    own: CertifiedKey<KeyPair>,
}

impl World {
    fn new() -> Self {
        let rig = Rig::new(chatty());
        let own = rcgen::generate_simple_self_signed(["gate.example.net".into()]).unwrap();
        let address = rig.open_door(
            &["gate.example.net"],
            Some(DoorTls {
                chain: own.cert.pem(),
                key: own.signing_key.serialize_pem(),
            }),
        );
        Self { rig, address, own }
    }

    fn admit(&self, agent: &str, shown: &CertifiedKey<KeyPair>, from: i64, until: i64) {
        let sha256 = hex(digest(&SHA256, shown.cert.der()).as_ref());
        let proof = Proof::Certificate(Certificate {
            sha256,
            from,
            until,
        });
        self.rig.admit(agent, proof);
    }

    /// A client that shows `shown`, signing with `key`.
    fn client(
        &self,
        shown: Option<(&CertifiedKey<KeyPair>, &KeyPair)>,
    ) -> Web<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some((shown, key)) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
                // Unlike rustls' own way, without a look at whether the two go together.
                let own = sign::CertifiedKey::new(vec![shown.cert.der().clone()], key);
                builder.with_client_cert_resolver(Arc::new(Shows(Arc::new(own))))
            }
        };
        let name = ServerName::try_from("gate.example.net").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(self.address).unwrap();
        let patience = std::time::Duration::from_secs(20);
        stream.set_read_timeout(Some(patience)).unwrap();
        Web::over(
            StreamOwned::new(connection, stream),
            "gate.example.net:7443",
        )
    }
}

#[derive(Debug)]
struct Shows(Arc<sign::CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn made() -> CertifiedKey<KeyPair> {
    let signing_key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(["agent".into()])
        .unwrap()
        .self_signed(&signing_key)
        .unwrap();
    CertifiedKey { cert, signing_key }
}

#[test]
fn an_enrolled_certificate_is_its_agent_until_it_is_revoked() {
    let world = World::new();
    let shown = made();
    world.admit("r", &shown, 0, i64::MAX);
    let mut web = world.client(Some((&shown, &shown.signing_key)));
    web.send("POST", &[], HELLO);
    world.rig.greet();
    let hello = web.response();
    assert_eq!(hello.status, 200);
    let id = format!(
        "Mcp-Session-Id: {}",
        hello.header("mcp-session-id").unwrap()
    );
    world
        .rig
        .tell(&Control::Unlisten { agent: "r".into() }, None);
    assert_eq!(web.post(&[&id], HELLO).status, 401);
    world.rig.stop();
}

#[test]
fn nobody_else_is() {
    let world = World::new();
    let (known, stranger) = (made(), made());
    world.admit("r", &known, 0, i64::MAX);
    let (old, early) = (made(), made());
    world.admit("old", &old, 0, 1_700_000_000);
    world.admit("early", &early, i64::MAX - 1, i64::MAX);
    world.rig.admit_token("t", "token");
    for shown in [&stranger, &old, &early] {
        // A token is no proof here.
        let mut web = world
            .client(Some((shown, &shown.signing_key)))
            .with("token");
        assert_eq!(web.post(&[], HELLO).status, 401);
        assert_eq!(world.rig.noted_of("-"), "HTTP from nobody that is enrolled");
    }
    // Without a certificate, or without its key, there is no TLS.
    let try_without = |shown| {
        let mut web = world.client(shown);
        web.try_send(&[], HELLO).is_err() || web.try_response().is_err()
    };
    assert!(try_without(None));
    assert!(try_without(Some((&known, &stranger.signing_key))));
    world.rig.stop();
}

#[test]
fn names_count_here_too() {
    let world = World::new();
    let shown = made();
    world.admit("r", &shown, 0, i64::MAX);
    let mut web = world.client(Some((&shown, &shown.signing_key)));
    for (more, noted) in [
        (vec!["Host: evil.example.com"], "HTTP for another host"),
        (vec!["Host: localhost"], "HTTP for another host"),
        (
            vec!["Origin: https://evil.example.com"],
            "HTTP from another site",
        ),
    ] {
        assert_eq!(web.post(&more, HELLO).status, 403);
        assert_eq!(world.rig.noted_of("-"), noted);
    }
    // A browser would add the certificate by itself: no page of another origin is allowed anything.
    let own = format!("Origin: http://gate.example.net:{}", world.address.port());
    let asks = "Access-Control-Request-Method: POST";
    for method in ["OPTIONS", "GET"] {
        web.send(method, &[&own, asks], "");
        let told = web.response();
        assert_eq!(told.status, 405, "{method}");
        assert_eq!(told.header("access-control-allow-origin"), None);
    }
    world.rig.stop();
}
