//! One connection from a jail: one request, judged and carried out, or refused in one line.

use std::io;
use std::sync::Arc;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::account::Entry;
use super::head::{HEAD_MAX, Head, end};
use super::judge::{Admitted, Way, destination, label};
use super::meter::{Meter, Metered};
use super::refused::Refused;
use super::{Shared, plain, tunnel};
use crate::egress::refusal::Refusal;

/// Bytes read and dropped after a refusal, so that its reader gets it.
const LINGER_MAX: u64 = 64 << 10;
/// What is counted together where there are too many connections that ask for what is not allowed.
const REFUSED: &str = "refused";

/// A program in the jail, as this side of a connection knows it.
pub(super) type Peer = Metered<TcpStream>;

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, shared: &Shared) {
    // Only costs latency where it fails.
    drop(stream.set_nodelay(true));
    let meter = Meter::new(&shared.budget);
    let mut peer = Metered::new(stream, Arc::clone(&meter));
    let (read, end) = match asked(&mut peer, shared).await {
        Ok(Some(asked)) => asked,
        // It connected and said nothing: there is nothing to tell.
        Ok(None) => return,
        Err(refused) => {
            let entry = shared.account.begin("", REFUSED, &meter);
            return refuse(&mut peer, refused, false, entry, shared).await;
        }
    };
    let (head, _) = read.split_at_checked(end).unwrap_or((&read, &[]));
    let parsed = Head::parse(head).map_err(Refused::from);
    let bodiless = parsed.as_ref().is_ok_and(|head| head.method == "HEAD");
    let admitted = match parsed.and_then(|head| shared.list.judge(&head)) {
        Ok(admitted) => admitted,
        Err(refused) => {
            let entry = shared.account.begin(&first_line(head), REFUSED, &meter);
            return refuse(&mut peer, refused, bodiless, entry, shared).await;
        }
    };
    let there = destination(&admitted.target);
    let mut entry = shared.account.begin(&label(&admitted), &there, &meter);
    let server = match dial(shared, &admitted, &mut entry).await {
        Ok(server) => server,
        Err(refusal) => {
            let refused = Refused::beyond(&refusal, &there);
            return refuse(&mut peer, refused, bodiless, entry, shared).await;
        }
    };
    let passed = async {
        match admitted.way {
            Way::Tunnel => tunnel::pass(peer, &read, end, server, &admitted.target, shared).await,
            Way::Request => {
                plain::pass(peer, read, server, &admitted.target, shared, &mut entry).await
            }
        }
    };
    let why = tokio::select! {
        passed = passed => passed.err(),
        () = meter.idle(shared.patience.idle) => Some("nothing came from either side for too long".into()),
    };
    entry.end(why.as_deref());
}

/// Reads until a head is complete: what was read, and where the head ends. `None` where the jail
/// closed without a word.
async fn asked(peer: &mut Peer, shared: &Shared) -> Result<Option<(Vec<u8>, usize)>, Refused> {
    let bad = |say: &str| Refused::new(StatusCode::BAD_REQUEST, say);
    let read = async {
        let mut read = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let count = match peer.read(&mut chunk).await {
                Ok(count) => count,
                Err(error) => return Err(bad(&error.to_string())),
            };
            if count == 0 && read.is_empty() {
                return Ok(None);
            }
            if count == 0 {
                return Err(bad("the request ends within its head"));
            }
            // The end may lie across two reads.
            let from = read.len().saturating_sub(3);
            read.extend_from_slice(chunk.get(..count).unwrap_or_default());
            let found = end(read.get(from..).unwrap_or_default());
            if let Some(end) = found.and_then(|end| end.checked_add(from)) {
                return Ok(Some((read, end)));
            }
            if read.len() >= HEAD_MAX {
                return Err(Refused::new(
                    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "the request's head is longer than 32 KiB",
                ));
            }
        }
    };
    let late = || {
        Refused::new(
            StatusCode::REQUEST_TIMEOUT,
            "the request's head is not complete",
        )
    };
    timeout(shared.patience.head, read)
        .await
        .unwrap_or_else(|_| Err(late()))
}

async fn dial(
    shared: &Shared,
    admitted: &Admitted,
    entry: &mut Entry,
) -> Result<TcpStream, Refusal> {
    let dialer = &shared.net.dialer;
    let (server, address) = dialer.dial(&admitted.target, &admitted.private).await?;
    entry.dialled(address.to_string());
    Ok(server)
}

async fn refuse(
    peer: &mut Peer,
    refused: Refused,
    bodiless: bool,
    mut entry: Entry,
    shared: &Shared,
) {
    entry.status(refused.status().as_u16());
    // A jail that does not listen any more has its answer.
    let said = timeout(shared.patience.linger, async {
        peer.write_all(&refused.response(bodiless)).await?;
        close(peer).await
    });
    drop(said.await);
    entry.end(Some(refused.detail()));
}

/// Ends a connection so that its reader gets all that was written: a socket that is closed with
/// bytes unread is reset, and what was on its way is lost (RFC 9112, section 9.6).
pub(super) async fn close(peer: &mut Peer) -> io::Result<()> {
    peer.shutdown().await?;
    let mut rest = peer.take(LINGER_MAX);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

/// For the log: what the jail asked for, as far as it is there.
fn first_line(head: &[u8]) -> String {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let line = line.split(['?', '#']).next().unwrap_or_default();
    line.strip_suffix(" HTTP/1.1").unwrap_or(line).into()
}
