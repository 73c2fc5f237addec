//! A `CONNECT` tunnel: TLS with the host it was opened to, and bytes after that.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Shared;
use super::connection::{Peer, close};
use super::hello::Odd;
use super::records::{Answer, Client, Server};
use crate::call::http::Target;

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// A fatal alert `unrecognized_name` (RFC 6066, section 3): most TLS clients show its name.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
/// Bytes of one read; nothing more is held of either direction.
const CHUNK: usize = 16 << 10;

/// Passes bytes both ways until both sides have closed. Of `read` what lies behind `end` belongs to
/// the tunnel already. The error says why it ended early.
pub(super) async fn pass(
    mut peer: Peer,
    read: &[u8],
    end: usize,
    mut server: TcpStream,
    target: &Target,
    shared: &Shared,
) -> Result<(), String> {
    let early = read.get(end..).unwrap_or_default();
    let mut client = Client::new(target.host(), target.address().is_some());
    peer.write_all(ESTABLISHED)
        .await
        .map_err(|error| lost(&error))?;
    let first = timeout(shared.patience.hello, hello(&mut peer, early, &mut client));
    let held = match first.await {
        Ok(Ok(held)) => held,
        Ok(Err(Broken::Gone)) => return Err("the client left before its ClientHello".into()),
        Ok(Err(Broken::Io(error))) => return Err(lost(&error)),
        Ok(Err(Broken::Odd(odd))) => {
            let said = timeout(shared.patience.linger, async {
                peer.write_all(UNRECOGNIZED_NAME).await?;
                close(&mut peer).await
            });
            drop(said.await);
            return Err(odd.0.into());
        }
        Err(_) => return Err("no ClientHello came in time".into()),
    };
    let answer = AtomicU8::new(Answer::Unknown as u8);
    let (mut from_peer, mut to_peer) = tokio::io::split(peer);
    let (mut from_server, mut to_server) = server.split();
    let up = up(&mut from_peer, &mut to_server, held, &mut client, &answer);
    let down = down(&mut from_server, &mut to_peer, &answer);
    match tokio::try_join!(up, down) {
        Ok(_) | Err(Broken::Gone) => Ok(()),
        Err(Broken::Io(error)) => Err(lost(&error)),
        Err(Broken::Odd(odd)) => Err(odd.0.into()),
    }
}

/// Why a tunnel ends before both sides have closed.
enum Broken {
    /// The program in the jail has left, as programs do: with bytes unread.
    Gone,
    /// An error of either socket.
    Io(io::Error),
    /// It is not what a tunnel is for.
    Odd(Odd),
}

/// An error of the jail's socket.
fn of_peer(error: io::Error) -> Broken {
    let left = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    match left.contains(&error.kind()) {
        true => Broken::Gone,
        false => Broken::Io(error),
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Odd> for Broken {
    fn from(odd: Odd) -> Self {
        Self::Odd(odd)
    }
}

/// Reads until the first ClientHello is complete and right; gives what was read.
async fn hello(peer: &mut Peer, early: &[u8], client: &mut Client) -> Result<Vec<u8>, Broken> {
    let mut held = early.to_vec();
    client.feed(early, Answer::Unknown)?;
    let mut chunk = vec![0; CHUNK];
    while !client.named() {
        let bytes = filled(peer, &mut chunk).await.map_err(of_peer)?;
        if bytes.is_empty() {
            return Err(Odd("the client closed before its ClientHello was complete").into());
        }
        held.extend_from_slice(bytes);
        client.feed(bytes, Answer::Unknown)?;
    }
    Ok(held)
}

/// From the jail to the server. What may still be a second ClientHello is held until it is judged.
async fn up(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut held: Vec<u8>,
    client: &mut Client,
    answer: &AtomicU8,
) -> Result<(), Broken> {
    let mut chunk = vec![0; CHUNK];
    loop {
        if client.clear() && !held.is_empty() {
            to.write_all(&held).await?;
            held.clear();
        }
        let bytes = filled(from, &mut chunk).await.map_err(of_peer)?;
        if bytes.is_empty() {
            to.shutdown().await?;
            return Ok(());
        }
        let known = match answer.load(Ordering::Relaxed) {
            known if known == Answer::Retry as u8 => Answer::Retry,
            known if known == Answer::Final as u8 => Answer::Final,
            _ => Answer::Unknown,
        };
        client.feed(bytes, known)?;
        held.extend_from_slice(bytes);
    }
}

/// From the server to the jail. What the server answers is known before the jail has it.
async fn down(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    answer: &AtomicU8,
) -> Result<(), Broken> {
    let mut chunk = vec![0; CHUNK];
    let mut server = Server::default();
    loop {
        let bytes = filled(from, &mut chunk).await?;
        if bytes.is_empty() {
            to.shutdown().await.map_err(of_peer)?;
            return Ok(());
        }
        if answer.load(Ordering::Relaxed) == Answer::Unknown as u8 {
            answer.store(server.feed(bytes)? as u8, Ordering::Relaxed);
        }
        to.write_all(bytes).await.map_err(of_peer)?;
    }
}

async fn filled<'a>(
    from: &mut (impl AsyncRead + Unpin),
    chunk: &'a mut [u8],
) -> io::Result<&'a [u8]> {
    let count = from.read(chunk).await?;
    Ok(chunk.get(..count).unwrap_or_default())
}

fn lost(error: &io::Error) -> String {
    format!("the connection broke: {error}")
}
