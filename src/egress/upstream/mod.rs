//! Egress as the MCP client of every upstream server, jailed or remote.
//!
//! ```text
//! keeper ── Upstream, Put ──▶ [mod] ──▶ client ──▶ stdio ──▶ a jail's standard input
//!                                         │  ▲      remote ─▶ a server's HTTP endpoint
//! keeper ◀─ Opened, Got, Notice ──────────┘  └── frames ◀── its standard output, its responses
//! ```
//!
//! Each upstream is a task of its own with bounds of its own: whatever a server does, the others'
//! questions are answered. What it sends is checked in [`frames`] before it means anything; what
//! follows from it is decided in [`client`], which does no I/O.

mod client;
pub mod frames;
mod heard;
mod hello;
mod kept;
mod large;
mod listing;
mod meta;
mod post;
mod reading;
mod remote;
mod sse;
mod stdio;
mod teller;
#[cfg(test)]
mod tests;
mod trail;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};

use super::Net;
use crate::call::id::Id;
use crate::wire::frame::AsyncLink;
use crate::wire::messages::{EgressToKeeper, Era, Got, Passing, Remote, Unasked, UpstreamLimits};
pub(super) use client::Put;
use client::{Order, Settings};
use large::Large;
use post::Endpoint;
use stdio::Pipes;
use teller::Teller;

/// Upstreams open at the same time: as many as a plane may have lasting jails, and remote ones.
const UPSTREAMS_MAX: usize = 128;
/// Orders that wait for one upstream.
const ORDERS_MAX: usize = 256;

/// All upstreams of a plane.
#[derive(Debug)]
pub(super) struct Upstreams {
    /// Dropping the sender ends the upstream.
    open: HashMap<Id, mpsc::Sender<Order>>,
    /// Which upstream a question was put to.
    asked: HashMap<Id, Id>,
    running: JoinSet<Id>,
    /// For long messages of all of them.
    seats: Arc<Semaphore>,
}

impl Default for Upstreams {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            asked: HashMap::new(),
            running: JoinSet::new(),
            seats: large::seats(),
        }
    }
}

/// A new upstream, as the keeper ordered it.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) upstream: Id,
    pub(super) remote: Option<Remote>,
    pub(super) era: Option<Era>,
    pub(super) limits: UpstreamLimits,
    pub(super) allow: Passing,
}

impl Upstreams {
    /// Begins to be the client of a server; what comes of it is told over `link`.
    pub(super) async fn open(
        &mut self,
        new: Ordered,
        fds: Vec<OwnedFd>,
        net: &Arc<Net>,
        link: &Arc<AsyncLink>,
    ) {
        let Ordered {
            upstream,
            remote,
            era,
            limits,
            allow,
        } = new;
        if self.open.contains_key(&upstream) {
            tracing::error!(%upstream, "an upstream came twice");
            return;
        }
        let teller = Teller::new(Arc::clone(link));
        let refuse = |why: &str| gone(upstream, why);
        if self.open.len() >= UPSTREAMS_MAX {
            let why = format!("{UPSTREAMS_MAX} upstreams are open already");
            return teller.tell(&refuse(&why), &[]).await;
        }
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let seats = Arc::clone(&self.seats);
        let settings = Settings {
            upstream,
            era,
            limits,
            allow,
            streams: remote.is_some(),
        };
        match remote {
            Some(remote) => match Endpoint::new(remote) {
                Ok(endpoint) => {
                    let net = Arc::clone(net);
                    self.running.spawn(async move {
                        remote::run(settings, endpoint.seated(seats), net, inbox, &teller).await;
                        upstream
                    });
                }
                Err(why) => return teller.tell(&refuse(&why), &[]).await,
            },
            None => match Pipes::new(fds) {
                Ok(pipes) => {
                    self.running.spawn(async move {
                        stdio::run(settings, pipes, inbox, &teller, Large::new(&seats)).await;
                        upstream
                    });
                }
                Err(error) => return teller.tell(&refuse(&error.message()), &[]).await,
            },
        }
        self.open.insert(upstream, orders);
    }

    /// Puts a question to an upstream.
    pub(super) async fn put(&mut self, upstream: Id, put: Put, link: &Arc<AsyncLink>) {
        let ticket = put.ticket;
        // Whoever was answered needs no way back any more.
        if self.asked.len() >= 2 * UPSTREAMS_MAX * ORDERS_MAX {
            self.asked.clear();
        }
        let why = match self.open.get(&upstream) {
            None => Unasked::NotOpen,
            Some(orders) => match orders.try_send(Order::Put(put)) {
                Ok(()) => {
                    self.asked.insert(ticket, upstream);
                    return;
                }
                Err(mpsc::error::TrySendError::Full(_)) => Unasked::Busy,
                Err(mpsc::error::TrySendError::Closed(_)) => Unasked::NotOpen,
            },
        };
        let say = EgressToKeeper::Got {
            ticket,
            got: Got::Refused(why),
            hops: Vec::new(),
        };
        Teller::new(Arc::clone(link)).tell(&say, &[]).await;
    }

    /// Gives a question up; whether it was one.
    pub(super) fn revoke(&mut self, ticket: Id) -> bool {
        let Some(upstream) = self.asked.remove(&ticket) else {
            return false;
        };
        self.order(upstream, Order::Revoke(ticket));
        true
    }

    /// Passes an agent's answer on.
    pub(super) fn reply(&mut self, upstream: Id, ask: u64, ok: bool, json: Vec<u8>) {
        self.order(upstream, Order::Reply { ask, ok, json });
    }

    /// Ends an upstream.
    pub(super) fn close(&mut self, upstream: Id) {
        self.open.remove(&upstream);
    }

    /// The keeper is gone: so are all.
    pub(super) fn part(&mut self) {
        self.open.clear();
        self.asked.clear();
        self.running.abort_all();
        self.running = JoinSet::new();
    }

    /// Waits for the end of one; nothing where there is none.
    pub(super) async fn next(&mut self) -> Option<Result<Id, JoinError>> {
        self.running.join_next().await
    }

    /// One has ended.
    pub(super) fn ended(&mut self, ended: Result<Id, JoinError>) {
        match ended {
            Ok(upstream) => {
                self.open.remove(&upstream);
                self.asked.retain(|_, of| *of != upstream);
            }
            Err(error) => tracing::error!(%error, "an upstream ended in disorder"),
        }
    }

    fn order(&mut self, upstream: Id, order: Order) {
        if let Some(orders) = self.open.get(&upstream)
            && let Err(mpsc::error::TrySendError::Full(_)) = orders.try_send(order)
        {
            // It takes no orders, which its task always does unless the keeper hears nothing.
            tracing::error!(%upstream, "an upstream takes no orders; it is ended");
            self.open.remove(&upstream);
        }
    }
}

/// An upstream that never was.
fn gone(upstream: Id, why: &str) -> EgressToKeeper {
    EgressToKeeper::Gone {
        upstream,
        why: why.into(),
        words: String::new(),
        ended: false,
        mute: false,
    }
}

/// For a fuzz target: a stream of events as a server sends it; whether there was one.
///
/// # Panics
/// Where it matters how the bytes come apart.
pub fn fuzz_events(bytes: &[u8]) -> bool {
    let whole = sse::Events::default().take(bytes).unwrap_or_default();
    let mut events = sse::Events::default();
    let mut parts = Vec::new();
    for piece in bytes.chunks(3) {
        parts.extend(events.take(piece).unwrap_or_default());
    }
    assert!(whole == parts, "pieces change what is read");
    !whole.is_empty()
}
