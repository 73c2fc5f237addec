//! Servers that do exactly what a test says, in threads that end with the test's process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use hickory_resolver::proto::op::{Message, MessageType};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A server and the requests it has read, as text.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) requests: mpsc::Receiver<String>,
}

impl Server {
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Answers every request with what `reply` makes of it, and closes.
pub(super) fn serve(reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Server {
    handle(move |stream, requests| {
        let request = read_request(stream);
        let bytes = reply(&request);
        drop(requests.send(request));
        drop(stream.write_all(&bytes));
    })
}

/// Answers always the same.
pub(super) fn says(bytes: &'static [u8]) -> Server {
    serve(move |_| bytes.to_vec())
}

/// Reads a request, says `start`, and then waits until the other end has closed; says when.
pub(super) fn stalls(start: &'static [u8]) -> (Server, mpsc::Receiver<()>) {
    let (closed, closes) = mpsc::channel();
    let server = handle(move |stream, requests| {
        drop(requests.send(read_request(stream)));
        drop(stream.write_all(start));
        drop(stream.read_to_end(&mut Vec::new()));
        closed.send(()).unwrap_or_default();
    });
    (server, closes)
}

/// Every connection in a thread of its own.
pub(super) fn handle(
    each: impl Fn(&mut TcpStream, &mpsc::Sender<String>) + Send + Sync + 'static,
) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::channel();
    let each = Arc::new(each);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (each, sender) = (Arc::clone(&each), sender.clone());
            std::thread::spawn(move || each(&mut stream.unwrap(), &sender));
        }
    });
    Server { address, requests }
}

/// As [`serve`], over TLS with this certificate.
pub(super) fn serve_tls(chain: Vec<CertificateDer<'static>>, key: &rcgen::KeyPair) -> Server {
    serve_tls_with(chain, key, rustls::crypto::ring::default_provider())
}

/// As [`serve_tls`], with other cryptography.
pub(super) fn serve_tls_with(
    chain: Vec<CertificateDer<'static>>,
    key: &rcgen::KeyPair,
    provider: CryptoProvider,
) -> Server {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls(config)
}

fn tls(config: ServerConfig) -> Server {
    let config = Arc::new(config);
    handle(move |stream, requests| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        let mut first = [0; 1];
        if stream.read_exact(&mut first).is_err() {
            return;
        }
        let request = read_request(&mut first.chain(&mut stream));
        drop(requests.send(request));
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecure"));
        stream.conn.send_close_notify();
        drop(stream.flush());
    })
}

pub(super) fn read_request(stream: &mut impl Read) -> String {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return text;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        text.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

/// A resolver and how often it was asked for an IPv4 address.
pub(super) struct Dns {
    pub(super) address: String,
    pub(super) asked: Arc<AtomicUsize>,
}

/// Answers question number `n` (from 0) for an address of a name with what `answer` says.
pub(super) fn dns(answer: impl Fn(&str, usize) -> Vec<IpAddr> + Send + 'static) -> Dns {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut packet = [0; 1500];
        while let Ok((len, peer)) = socket.recv_from(&mut packet) {
            let mut message = Message::from_vec(&packet[..len]).unwrap();
            let query = message.queries[0].clone();
            let name = query.name().to_ascii();
            let number = if query.query_type() == RecordType::A {
                count.fetch_add(1, Ordering::SeqCst)
            } else {
                count.load(Ordering::SeqCst)
            };
            for address in answer(&name, number) {
                let data = RData::from(address);
                if data.record_type() == query.query_type() {
                    let record = Record::from_rdata(query.name().clone(), 3600, data);
                    message.answers.push(record);
                }
            }
            message.metadata.message_type = MessageType::Response;
            message.metadata.recursion_available = true;
            socket.send_to(&message.to_vec().unwrap(), peer).unwrap();
        }
    });
    Dns { address, asked }
}

/// As [`serve_tls`] with a certificate whose key the server does not have.
pub(super) fn serve_tls_unchecked(chain: CertificateDer<'static>, key: &rcgen::KeyPair) -> Server {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let stolen = Arc::new(rustls::sign::CertifiedKey::new(vec![chain], key));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
    tls(config)
}
