//! How long a program in a jail may take: with less patience than the real one.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::hello::tests::{message, names};
use super::*;
use crate::egress::dial::Dialer;
use crate::egress::tls::Tls;

const SHORT: Duration = Duration::from_millis(50);
const NEVER: Duration = Duration::from_secs(600);

struct Site {
    proxy: SocketAddr,
    server: TcpListener,
    end: oneshot::Sender<()>,
    hops: JoinHandle<Vec<Hop>>,
}

impl Site {
    async fn start(patience: Patience) -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let allow = Destination {
            host: "127.0.0.1".into(),
            port: server.local_addr().unwrap().port(),
            private: vec!["127.0.0.1".into()],
        };
        let one = Proxy {
            allow: vec![allow],
            wall_ms: None,
            bytes: u64::MAX,
        };
        let net = Net {
            dialer: Dialer::new(&[]).unwrap(),
            tls: Tls::new(&[], &[]).unwrap(),
            seats: seats(),
        };
        let (end, ends) = oneshot::channel();
        let hops = tokio::spawn(one.with(patience, listener, Arc::new(net), ends));
        Self {
            proxy,
            server,
            end,
            hops,
        }
    }

    async fn say(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.proxy).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// An open tunnel, and its end at the server.
    async fn tunnel(&self) -> (TcpStream, TcpStream) {
        let request = format!(
            "CONNECT {} HTTP/1.1\r\n\r\n",
            self.server.local_addr().unwrap()
        );
        let mut stream = self.say(request.as_bytes()).await;
        let mut answer = [0; 39];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        (stream, self.server.accept().await.unwrap().0)
    }

    async fn fault(self) -> String {
        // By the time this has its answer, egress has seen how the one before ended.
        assert!(
            rest(self.say(b"last\r\n\r\n").await)
                .await
                .contains(" 400 ")
        );
        drop(self.end);
        let hops = self.hops.await.unwrap();
        assert_eq!(hops.len(), 2, "{hops:?}");
        hops[0].fault.clone().unwrap()
    }
}

fn patience() -> Patience {
    Patience {
        head: NEVER,
        hello: NEVER,
        idle: NEVER,
        linger: NEVER,
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    drop(stream.read_to_end(&mut all).await);
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn half_a_head_is_refused_in_time() {
    let site = Site::start(Patience {
        head: SHORT,
        ..patience()
    })
    .await;
    let answer = rest(site.say(b"CONNECT a.exam").await).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(site.fault().await.contains("not complete"));
}

#[tokio::test]
async fn a_tunnel_without_hello_is_closed_in_time() {
    let site = Site::start(Patience {
        hello: SHORT,
        ..patience()
    })
    .await;
    let (mut stream, server) = site.tunnel().await;
    stream.write_all(&[22, 3, 1]).await.unwrap();
    assert_eq!(rest(server).await, "");
    assert_eq!(rest(stream).await, "");
    assert!(site.fault().await.contains("no ClientHello"));
}

#[tokio::test]
async fn a_silent_tunnel_is_closed_in_time() {
    let site = Site::start(Patience {
        idle: SHORT,
        ..patience()
    })
    .await;
    let (mut stream, mut server) = site.tunnel().await;
    let hello = message(&[(0, names(&[b"127.0.0.1"]))]);
    let length = u16::try_from(hello.len()).unwrap().to_be_bytes();
    let hello = [&[22, 3, 1], &length[..], &hello].concat();
    stream.write_all(&hello).await.unwrap();
    let mut got = vec![0; hello.len()];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(got, hello);
    assert_eq!(rest(server).await, "");
    assert_eq!(rest(stream).await, "");
    assert!(site.fault().await.contains("nothing came"));
}

#[tokio::test]
async fn a_reader_that_does_not_close_is_left_in_time() {
    let site = Site::start(Patience {
        linger: SHORT,
        ..patience()
    })
    .await;
    let mut stream = site.say(b"nonsense\r\n\r\n").await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // It is still open on this side; a byte sent into the closed socket comes back as a reset.
    loop {
        if stream.write_all(b"x").await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(site.fault().await.contains("first line"));
}
