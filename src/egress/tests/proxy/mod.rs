//! The proxy of foreign jails, against real servers on loopback.

mod clients;
mod ends;
mod requests;
mod tunnels;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::fakes::{self, Dns, Server};
use super::world::World;
use crate::call::id::Id;
use crate::wire::manifest::Destination;
use crate::wire::messages::Hop;

/// The name of every server here.
const NAME: &str = "kg.test";
const MINUTE: u64 = 60_000;
const PLENTY: u64 = 16 << 20;

/// `host:port` as a manifest lists it, with leave to be on loopback.
fn there(host: &str, port: u16) -> Destination {
    Destination {
        host: host.into(),
        port,
        private: vec!["127.0.0.0/8".into()],
    }
}

/// Egress with one proxy, and a resolver that knows one address for all names.
struct Way {
    world: World,
    ticket: Id,
    proxy: SocketAddr,
    dns: Dns,
    /// Names that were asked for.
    names: Arc<Mutex<Vec<String>>>,
}

impl Way {
    fn to(allow: &[Destination]) -> Self {
        Self::with(allow, MINUTE, PLENTY)
    }

    fn with(allow: &[Destination], wall_ms: u64, bytes: u64) -> Self {
        let names = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&names);
        let dns = fakes::dns(move |name, _| {
            seen.lock().unwrap().push(name.to_owned());
            vec![IpAddr::from([127, 0, 0, 1])]
        });
        let world = World::start(vec![dns.address.clone()], Vec::new());
        let (ticket, proxy) = world.proxy(allow, wall_ms, bytes);
        Self {
            world,
            ticket,
            proxy,
            dns,
            names,
        }
    }

    /// A way to one server by its name.
    fn to_server(server: &Server) -> Self {
        Self::to(&[there(NAME, server.address.port())])
    }

    fn connection(&self) -> TcpStream {
        TcpStream::connect(self.proxy).unwrap()
    }

    /// Sends `request` and reads all there is.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connection();
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        String::from_utf8(all).unwrap()
    }

    /// The status of the answer.
    fn status(&self, request: &str) -> u16 {
        let answer = self.ask(request);
        answer
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .parse()
            .unwrap_or_else(|_| panic!("{answer}"))
    }

    /// An open tunnel.
    fn tunnel(&self, authority: &str) -> TcpStream {
        let mut stream = self.connection();
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let answer = head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        stream
    }

    /// Ends the proxy, once it has seen how earlier connections ended; what it did.
    fn end(&self) -> Vec<Hop> {
        // Egress sees what happened on its sockets in that order.
        assert_eq!(self.status("last\r\n\r\n"), 400);
        let mut hops = self.world.revoke(self.ticket);
        assert_eq!(hops.pop().unwrap().target, "last");
        hops
    }

    /// Ends the proxy, which did one thing only: why that failed.
    fn fault(&self) -> String {
        let hops = self.end();
        assert_eq!(hops.len(), 1, "{hops:?}");
        hops[0].fault.clone().unwrap()
    }
}

/// Reads a response's head, byte by byte.
fn head(stream: &mut impl Read) -> String {
    let mut head = String::new();
    let mut reader = BufReader::with_capacity(1, stream);
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    head
}

/// A TLS server called [`NAME`], and its certificate as PEM.
fn secure() -> (Server, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![NAME.to_owned(), "127.0.0.1".into()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let server = fakes::serve_tls(vec![certificate.der().clone()], &key);
    (server, certificate.pem())
}

/// TLS over an open tunnel with whoever has that certificate.
fn shake(tunnel: TcpStream, name: &str, pem: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let config = Arc::new(client(pem, rustls::crypto::ring::default_provider()));
    let name = name.to_owned().try_into().unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), tunnel)
}

fn client(pem: &str, provider: rustls::crypto::CryptoProvider) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
