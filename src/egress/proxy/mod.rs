//! The way out of a foreign jail: an HTTP proxy (RFC 9110, section 9.3.6, and RFC 9112, section
//! 3.2.2) that leads to what the jail's manifest lists and nowhere else.
//!
//! The keeper hands over a listening socket that lives in the jail's own network; what egress
//! accepts from it is a program in that jail, and its own connections begin in the host's network.
//! A program asks with `CONNECT` for a tunnel, which has to be TLS with the very host it asked for,
//! or with a whole `http` URL. The list is asked before a name is looked up, a name is looked up
//! once, and the address that was checked is the one that is dialled.
//!
//! A request is judged in [`judge`], carried out in [`connection`], and told by [`account`].

mod account;
mod connection;
mod head;
pub(in crate::egress) mod hello;
mod judge;
mod meter;
mod plain;
pub(in crate::egress) mod records;
mod refused;
mod tunnel;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::Net;
use crate::error::{Context, Error, Result};
use crate::wire::manifest::Destination;
use crate::wire::messages::Hop;
use account::Account;
use judge::List;
use meter::Budget;

/// Connections of one ticket at a time; further ones wait in the socket's queue.
const CONNECTIONS_MAX: usize = 64;
/// Connections of all tickets at a time: at least and at most.
const SEATS: (u64, u64) = (64, 4096);
/// Descriptors that proxies leave to leases, links and the resolver.
const SPARED: u64 = 400;
/// Pause where egress has no descriptor left.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest any ticket lasts: a day.
const WALL_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a program in the jail may take, and how long a connection may be silent.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For a request's head.
    head: Duration,
    /// For the ClientHello, once a tunnel is open.
    hello: Duration,
    /// Without a byte either way.
    idle: Duration,
    /// For the reader of a refusal to close.
    linger: Duration,
}

const PATIENCE: Patience = Patience {
    head: Duration::from_secs(10),
    hello: Duration::from_secs(10),
    idle: Duration::from_secs(300),
    linger: Duration::from_secs(1),
};

/// What the keeper allows, as it said it.
#[derive(Debug)]
pub(super) struct Proxy {
    /// The only ways out.
    pub(super) allow: Vec<Destination>,
    /// Wall-clock milliseconds for everything; nothing for a jail that lasts.
    pub(super) wall_ms: Option<u64>,
    /// Bytes of all connections with the jail, both ways together.
    pub(super) bytes: u64,
}

/// What the connections of one ticket share.
#[derive(Debug)]
struct Shared {
    net: Arc<Net>,
    list: List,
    budget: Arc<Budget>,
    account: Account,
    patience: Patience,
}

/// Seats for all connections: each has two descriptors, of which this process has so many.
pub(super) fn seats() -> Arc<Semaphore> {
    let (least, most) = SEATS;
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let seats = (descriptors.saturating_sub(SPARED) / 2).clamp(least, most);
    Arc::new(Semaphore::new(usize::try_from(seats).unwrap_or(0)))
}

/// The jail's socket as the keeper handed it.
///
/// # Errors
/// Fails on anything but a TCP socket that listens on a loopback address.
pub(super) fn listener(fd: OwnedFd) -> Result<TcpListener> {
    let what = || "use the socket of a jail's proxy".into();
    let listens = getsockopt(&fd, sockopt::AcceptConn).context(what)?;
    let kind = getsockopt(&fd, sockopt::SockType).context(what)?;
    if !listens || kind != SockType::Stream {
        return Err(Error::new("the jail's proxy socket is none that listens"));
    }
    let listener = std::net::TcpListener::from(fd);
    let address = listener.local_addr().context(what)?;
    if !address.ip().is_loopback() {
        return Err(Error::new(
            "the jail's proxy socket listens beyond its loopback",
        ));
    }
    listener.set_nonblocking(true).context(what)?;
    TcpListener::from_std(listener).context(what)
}

impl Proxy {
    /// Serves until the other end of `ends` is dropped, time or bytes are used up; then every
    /// connection is closed. Gives what it did.
    pub(super) async fn live(
        self,
        listener: TcpListener,
        net: Arc<Net>,
        ends: oneshot::Receiver<()>,
    ) -> Vec<Hop> {
        self.with(PATIENCE, listener, net, ends).await
    }

    async fn with(
        self,
        patience: Patience,
        listener: TcpListener,
        net: Arc<Net>,
        ends: oneshot::Receiver<()>,
    ) -> Vec<Hop> {
        let wall = self.wall_ms.map(Duration::from_millis);
        let until = wall.map(|wall| Instant::now() + wall.min(WALL_MAX));
        let shared = Arc::new(Shared {
            net,
            list: List::new(self.allow),
            budget: Budget::new(self.bytes),
            account: Account::default(),
            patience,
        });
        let mut running = JoinSet::new();
        let why = tokio::select! {
            biased;
            _ = ends => "the keeper ended the proxy",
            () = shared.budget.spent() => "the jail's bytes are used up",
            ended = within(until, accept(&listener, &shared, &mut running)) => match ended {
                Some(error) => {
                    tracing::error!(%error, "a jail's proxy socket is of no use");
                    "the proxy's socket is of no use"
                }
                None => "time is up",
            },
        };
        drop(listener);
        shared.account.over(why);
        running.shutdown().await;
        shared.account.finish()
    }
}

/// What `work` gives until then.
async fn within<T>(until: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => timeout_at(until, work).await.ok(),
        None => Some(work.await),
    }
}

/// Serves every connection that comes, [`CONNECTIONS_MAX`] at a time. Ends where the socket does.
async fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    running: &mut JoinSet<()>,
) -> io::Error {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        while running.try_join_next().is_some() {}
        // Neither semaphore is ever closed.
        let Ok(own) = Arc::clone(&seats).acquire_owned().await else {
            return io::ErrorKind::Other.into();
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if gone(&error) => continue,
            Err(error) if scarce(&error) => {
                sleep(PAUSE).await;
                continue;
            }
            Err(error) => return error,
        };
        let Ok(of_all) = Arc::clone(&shared.net.seats).acquire_owned().await else {
            return io::ErrorKind::Other.into();
        };
        let shared = Arc::clone(shared);
        running.spawn(async move {
            connection::serve(stream, &shared).await;
            drop((own, of_all));
        });
    }
}

/// The connection ended before it was accepted (accept(2)).
fn gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EPERM)
    )
}

/// Egress lacks something that may come back.
fn scarce(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// For a fuzz target: a request's head as a jail sends it; whether it may leave to `a.example`.
///
/// # Panics
/// Where a head is read in two ways, or leaves for anywhere else.
pub fn fuzz_head(bytes: &[u8]) -> bool {
    judge::fuzz(bytes)
}

/// For a fuzz target: a tunnel's beginning as a jail sends it; whether it asks for `a.example`.
///
/// # Panics
/// Where rustls understands another name than this parser, or where it matters how the bytes come
/// apart.
pub fn fuzz_tunnel(bytes: &[u8]) -> bool {
    records::fuzz(bytes)
}

#[cfg(test)]
mod tests;
