//! The egress role: the only process of a plane with a network. It connects to what an open lease
//! names, checks every hop by the operator's rules, and hands bytes to the jail that asked.
//!
//! The keeper makes leases; the jail at the other end of a lease's stream says when to use it, and
//! is trusted no more than the server it speaks with. A lease ends when the jail closes its stream,
//! on the keeper's word, at its wall-clock limit, or with the keeper's link; all its connections
//! end with it. A foreign jail has a [`proxy`] instead, which ends in the same ways. Egress holds no
//! key, no file and no name but those in its leases.
#![forbid(unsafe_code)]

mod answer;
mod dial;
mod exchange;
mod hops;
mod lease;
pub mod proxy;
mod refusal;
mod tls;
mod turn;
pub mod upstream;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinSet, spawn_local};

use crate::call::id::Id;
use crate::error::{Context, Error, Result};
use crate::jail::confine::Confine;
use crate::time::pulse;
use crate::wire::frame::{AsyncLink, Frame};
use crate::wire::messages::{Control, EgressToKeeper, Hop, KeeperToEgress, Report, Role};
use dial::Dialer;
use lease::Lease;
use proxy::Proxy;
use tls::Tls;
use upstream::{Ordered, Put, Upstreams};

/// Leases and proxies open at the same time.
const LEASES_MAX: usize = 128;
/// Longest blob of an order: the `params` of a question, or an agent's answer.
const BLOB_MAX: usize = 2 << 20;

/// What the supervisor tells egress once, before anything else.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressSetup {
    /// How the process is confined before it serves.
    pub confine: Confine,
    /// The plane it belongs to.
    pub plane: String,
    /// DNS servers as `IP:port`, in the order in which they are asked. Without one, only addresses
    /// can be reached.
    pub resolvers: Vec<String>,
    /// The operator's own certification authorities, PEM.
    pub ca: Vec<String>,
    /// The system's certification authorities, PEM; may be empty.
    pub roots: Vec<String>,
}

/// Everything the leases share.
#[derive(Debug)]
struct Net {
    dialer: Dialer,
    tls: Tls,
    /// One for each connection of a proxy.
    seats: Arc<Semaphore>,
}

/// Serves until the supervisor says stop or is gone. The caller has confined the process.
///
/// # Errors
/// Fails on a set-up that cannot work and where the control link breaks.
pub fn run(control: OwnedFd, setup: EgressSetup) -> Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .context(|| "start the runtime of egress".into())?;
    let serves = async move {
        let net = Net {
            dialer: Dialer::new(&setup.resolvers)?,
            tls: Tls::new(&setup.ca, &setup.roots)?,
            seats: proxy::seats(),
        };
        let control = AsyncLink::new(control)?;
        control.send(&Report::Ready, &[], &[]).await?;
        tracing::info!(plane = setup.plane, "egress serves");
        Desk::new(net).serve(&control).await
    };
    // As a task: what wakes the runtime's first future goes through the kernel each time.
    runtime
        .block_on(async {
            spawn_local(pulse());
            spawn_local(serves).await
        })
        .context(|| "serve the keeper".into())
        .flatten()
}

/// The leases and who gave them.
struct Desk {
    net: Arc<Net>,
    keeper: Option<Arc<AsyncLink>>,
    /// Dropping the sender ends the lease.
    open: HashMap<Id, oneshot::Sender<()>>,
    running: JoinSet<(Id, Vec<Hop>)>,
    upstreams: Upstreams,
}

impl Desk {
    fn new(net: Net) -> Self {
        Self {
            net: Arc::new(net),
            keeper: None,
            open: HashMap::new(),
            running: JoinSet::new(),
            upstreams: Upstreams::default(),
        }
    }

    async fn serve(mut self, control: &AsyncLink) -> Result<()> {
        loop {
            tokio::select! {
                said = control.recv::<Control>(0) => match said? {
                    None => return Ok(()),
                    Some(frame) => match frame.say {
                        Control::Link { peer: Role::Keeper } => self.link(frame.fds)?,
                        Control::Stop => return self.stop().await,
                        Control::Setup
                        | Control::Link { .. }
                        | Control::Listen { .. }
                        | Control::Admit { .. }
                        | Control::Door
                        | Control::Unlisten { .. }
                        | Control::Listening { .. }
                        | Control::Looked { .. } => {
                            tracing::warn!("the supervisor sent egress a message for another role");
                        }
                    },
                },
                order = order(self.keeper.as_deref()) => match order {
                    Ok(Some(frame)) => self.obey(frame).await,
                    Ok(None) => self.part(),
                    Err(error) => {
                        tracing::error!(%error, "the keeper's link is of no use");
                        self.part();
                    }
                },
                Some(ended) = self.running.join_next() => self.ended(ended).await,
                Some(ended) = self.upstreams.next() => self.upstreams.ended(ended),
            }
        }
    }

    fn link(&mut self, mut fds: Vec<OwnedFd>) -> Result<()> {
        let fd = fds.pop().filter(|_| fds.is_empty());
        let fd =
            fd.ok_or_else(|| Error::new("the supervisor sent a link without its descriptor"))?;
        self.part();
        self.keeper = Some(Arc::new(AsyncLink::new(fd)?));
        Ok(())
    }

    /// The keeper is gone, and every permission it gave with it.
    fn part(&mut self) {
        self.keeper = None;
        self.open.clear();
        self.running.abort_all();
        self.running = JoinSet::new();
        self.upstreams.part();
    }

    /// Ends the leases and says what they did.
    async fn stop(mut self) -> Result<()> {
        self.open.clear();
        while let Some(ended) = self.running.join_next().await {
            self.ended(ended).await;
        }
        Ok(())
    }

    async fn obey(&mut self, frame: Frame<KeeperToEgress>) {
        let Frame { say, blob, mut fds } = frame;
        let Some(link) = self.keeper.clone() else {
            return;
        };
        match say {
            KeeperToEgress::Revoke { ticket } => {
                if !self.upstreams.revoke(ticket) {
                    self.open.remove(&ticket);
                }
            }
            KeeperToEgress::Upstream {
                upstream,
                remote,
                era,
                limits,
                allow,
            } => {
                let new = Ordered {
                    upstream,
                    remote,
                    era,
                    limits,
                    allow,
                };
                self.upstreams.open(new, fds, &self.net, &link).await;
            }
            KeeperToEgress::Put {
                upstream,
                ticket,
                method,
                progress,
                wall_ms,
                repeatable,
                headers,
            } => {
                let put = Put {
                    ticket,
                    method,
                    progress,
                    wall_ms,
                    repeatable,
                    headers,
                    params: blob,
                };
                self.upstreams.put(upstream, put, &link).await;
            }
            KeeperToEgress::Reply { upstream, ask, ok } => {
                self.upstreams.reply(upstream, ask, ok, blob);
            }
            KeeperToEgress::Close { upstream } => self.upstreams.close(upstream),
            KeeperToEgress::Lease { ticket, .. } | KeeperToEgress::Proxy { ticket, .. }
                if self.open.contains_key(&ticket) =>
            {
                tracing::error!(%ticket, "a lease came twice");
            }
            KeeperToEgress::Lease { ticket, .. } | KeeperToEgress::Proxy { ticket, .. }
                if self.open.len() >= LEASES_MAX =>
            {
                let refused = hops::refused("", &format!("{LEASES_MAX} leases are open already"));
                self.close(ticket, vec![refused]).await;
            }
            KeeperToEgress::Proxy {
                ticket,
                allow,
                wall_ms,
                bytes,
            } => {
                let proxy = Proxy {
                    allow,
                    wall_ms,
                    bytes,
                };
                match fds.pop().filter(|_| fds.is_empty()).map(proxy::listener) {
                    Some(Ok(listener)) => self.begin_proxy(ticket, proxy, listener),
                    Some(Err(error)) => {
                        let refused = hops::refused("", &error.to_string());
                        self.close(ticket, vec![refused]).await;
                    }
                    None => {
                        let refused = hops::refused("", "the proxy came without its socket");
                        self.close(ticket, vec![refused]).await;
                    }
                }
            }
            KeeperToEgress::Lease {
                ticket,
                rules,
                method,
                url,
                body_sha256,
                wall_ms,
                bytes,
                redirects,
            } => {
                let lease = Lease {
                    rules,
                    method,
                    url,
                    body_sha256,
                    wall_ms,
                    bytes,
                    redirects,
                };
                match fds.pop().filter(|_| fds.is_empty()).map(stream) {
                    Some(Ok(stream)) => self.begin(ticket, lease, stream),
                    Some(Err(_)) | None => {
                        let label = format!("{} {}", lease.method, lease.url);
                        let refused = hops::refused(&label, "the lease came without its stream");
                        self.close(ticket, vec![refused]).await;
                    }
                }
            }
        }
    }

    fn begin(&mut self, ticket: Id, lease: Lease, stream: tokio::net::UnixStream) {
        let (end, ends) = oneshot::channel();
        self.open.insert(ticket, end);
        let net = Arc::clone(&self.net);
        self.running
            .spawn(async move { (ticket, lease.live(stream, &net, ends).await) });
    }

    fn begin_proxy(&mut self, ticket: Id, proxy: Proxy, listener: tokio::net::TcpListener) {
        let (end, ends) = oneshot::channel();
        self.open.insert(ticket, end);
        let net = Arc::clone(&self.net);
        self.running
            .spawn(async move { (ticket, proxy.live(listener, net, ends).await) });
    }

    async fn ended(&mut self, ended: Result<(Id, Vec<Hop>), tokio::task::JoinError>) {
        match ended {
            Ok((ticket, hops)) => {
                self.open.remove(&ticket);
                self.close(ticket, hops).await;
            }
            Err(error) => tracing::error!(%error, "a lease ended in disorder"),
        }
    }

    async fn close(&mut self, ticket: Id, hops: Vec<Hop>) {
        let Some(keeper) = &self.keeper else { return };
        let say = EgressToKeeper::Closed { ticket, hops };
        if let Err(error) = keeper.send(&say, &[], &[]).await {
            tracing::error!(%error, %ticket, "the keeper does not hear how a lease ended");
            self.part();
        }
    }
}

/// The keeper's next order; never where there is no keeper.
async fn order(keeper: Option<&AsyncLink>) -> Result<Option<Frame<KeeperToEgress>>> {
    match keeper {
        Some(keeper) => keeper.recv(BLOB_MAX).await,
        None => std::future::pending().await,
    }
}

fn stream(fd: OwnedFd) -> std::io::Result<tokio::net::UnixStream> {
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

#[cfg(test)]
mod tests;
