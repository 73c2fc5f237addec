//! The life of one lease: it answers its jail until that has enough, or the lease ends.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Net;
use super::answer::Session;
use super::hops::Hops;
use crate::tools::http::stream::{Ask, Garbled, HEADER, Kind, json};
use crate::wire::messages::{Hop, HttpRule};

/// What the network leaves of the wall-clock time, so that the jail can still say why it failed.
const MARGIN: Duration = Duration::from_millis(500);

/// What the keeper allows, as it said it.
#[derive(Debug)]
pub(super) struct Lease {
    /// The only ways out.
    pub(super) rules: Vec<HttpRule>,
    /// Method of the first request.
    pub(super) method: String,
    /// Its URL, normalised.
    pub(super) url: String,
    /// SHA-256 of its body, lower-case hex.
    pub(super) body_sha256: String,
    /// Wall-clock milliseconds for everything.
    pub(super) wall_ms: u64,
    /// Bytes of all response bodies together.
    pub(super) bytes: u64,
    /// Redirects followed at most.
    pub(super) redirects: u8,
}

impl Lease {
    /// Lives until the jail closes `stream`, the other end of `ends` is dropped, or time is up;
    /// then every connection is closed. Gives what it did.
    pub(super) async fn live(
        self,
        stream: UnixStream,
        net: &Net,
        ends: oneshot::Receiver<()>,
    ) -> Vec<Hop> {
        let wall = Duration::from_millis(self.wall_ms);
        let now = Instant::now();
        let network = now + wall.saturating_sub(MARGIN.min(wall / 10));
        let mut hops = Hops::default();
        let (mut reader, writer) = stream.into_split();
        let mut session = Session::new(&self, net, writer, network);
        let why = tokio::select! {
            biased;
            _ = ends => "the keeper ended the lease",
            served = timeout_at(now + wall, serve(&mut session, &mut reader, &mut hops)) => {
                match served {
                    Ok(()) => "the jail closed its stream",
                    Err(_) => "time is up",
                }
            }
        };
        hops.finish(why)
    }
}

/// Answers one ask after the other.
async fn serve(session: &mut Session<'_>, reader: &mut OwnedReadHalf, hops: &mut Hops) {
    loop {
        let (ask, body) = match asked(reader).await {
            Ok(asked) => asked,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return hops.refuse("", &error.to_string());
            }
            Err(_) => return,
        };
        // While it waits for its answer the jail has nothing to say: a byte is out of turn, and the
        // end of its stream ends the request.
        let on = tokio::select! {
            biased;
            on = session.answer(&ask, body, hops) => on,
            _ = reader.read_u8() => false,
        };
        if !on {
            return;
        }
    }
}

async fn asked(reader: &mut OwnedReadHalf) -> std::io::Result<(Ask, Vec<u8>)> {
    let ask = frame(reader, Kind::Ask).await?;
    let body = frame(reader, Kind::Body).await?;
    Ok((json(&ask)?, body))
}

async fn frame(reader: &mut OwnedReadHalf, expected: Kind) -> std::io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    reader.read_exact(&mut header).await?;
    let (kind, length) = Kind::header(header)?;
    if kind != expected {
        return Err(Garbled.into());
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await?;
    Ok(payload)
}
