//! MCP over HTTP/1.1: one endpoint, `/mcp`, on doors that the supervisor opened. A door is either on
//! this host's loopback and takes tokens, or speaks TLS and takes client certificates.
//!
//! What comes is checked in this order, and the first that fails is answered: the names in `Host`
//! and `Origin` (a web page that had its own name lead here has another one), who it is, path and
//! method, sizes, and then the message itself, which decides alone what is done. A browser that asks
//! whether a page may send something shows no proof: it is answered by the names and the path.
//!
//! ```text
//! socket ─▶ tls ─▶ wire ─▶ hyper ─▶ door ─▶ post ─▶ era, talk
//!                    ◀──── hyper ◀─ answer ◀─ outlet ◀─┘
//! ```

mod answer;
mod cors;
mod door;
mod gate;
mod post;
pub(super) mod sessions;
mod tls;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

use super::agent::ACCEPT_PAUSE;
use super::house::House;
use super::notes::Notes;
use super::quota::{Quota, Share};
use crate::error::{Context, Result};
use crate::wire::messages;
use door::{Caller, Door};
use wire::{Wire, Written};

pub use gate::fuzz_headers;

/// Longest head of a request, in bytes.
const HEAD_MAX: usize = 16 << 10;
/// Header fields of a request at most.
const HEADERS_MAX: usize = 64;

/// Serves a listening socket in a task of its own.
///
/// # Errors
/// Fails where it is no listening TCP socket, or the door's certificate or key is of no use.
pub(super) fn open(
    house: &Rc<House>,
    known: messages::Door,
    socket: OwnedFd,
) -> Result<AbortHandle> {
    let what = || format!("listen on door `{}`", known.name);
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true).context(what)?;
    let listener = TcpListener::from_std(listener).context(what)?;
    let tls = known
        .tls
        .as_ref()
        .map(tls::acceptor)
        .transpose()
        .context(what)?;
    let street = Rc::new(Street {
        seats: Quota::new(house.limits.door_connections),
        peers: RefCell::default(),
        strangers: RefCell::default(),
        door: Rc::new(Door::new(house, known)),
        tls,
    });
    Ok(spawn_local(accept(street, listener)).abort_handle())
}

/// What leads to a door, and how many are on it.
struct Street {
    door: Rc<Door>,
    tls: Option<tokio_rustls::TlsAcceptor>,
    seats: Rc<Quota>,
    /// Connections of each other host.
    peers: RefCell<HashMap<IpAddr, Rc<Quota>>>,
    /// Connections on which nobody has proved who it is, oldest first.
    strangers: RefCell<VecDeque<Stranger>>,
}

/// A connection that is nobody's yet.
struct Stranger {
    /// Somebody has proved by now to be an agent.
    proved: Rc<Cell<bool>>,
    task: AbortHandle,
}

impl Street {
    /// Room for a connection from `peer`.
    fn seat(&self, peer: IpAddr) -> Option<Vec<Share>> {
        let seat = self.seats.take(1)?;
        if peer.to_canonical().is_loopback() {
            return Some(vec![seat]);
        }
        let mut peers = self.peers.borrow_mut();
        // Whoever has no connection left needs no place here.
        peers.retain(|_, quota| Rc::strong_count(quota) > 1);
        let most = self.door.house.limits.peer_connections;
        let quota = peers.entry(peer).or_insert_with(|| Quota::new(most));
        Some(vec![seat, quota.take(1)?])
    }

    /// Begins to serve a connection; where too many are nobody's, the oldest of them ends for it.
    fn begin(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, seats: Vec<Share>) {
        let mut strangers = self.strangers.borrow_mut();
        strangers.retain(|known| !known.proved.get() && !known.task.is_finished());
        if strangers.len() >= self.door.house.limits.strangers
            && let Some(oldest) = strangers.pop_front()
        {
            oldest.task.abort();
        }
        let proved = Rc::new(Cell::new(false));
        let serve = serve(Rc::clone(self), stream, peer, seats, Rc::clone(&proved));
        let task = spawn_local(serve).abort_handle();
        strangers.push_back(Stranger { proved, task });
    }
}

async fn accept(street: Rc<Street>, listener: TcpListener) {
    let house = Rc::clone(&street.door.house);
    // Whoever it is has proved nothing: it is nobody's.
    let notes = Notes::new(&house.keeper, "-", house.limits.note_every);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match street.seat(peer.ip()) {
                Some(seats) => street.begin(stream, peer, seats),
                None => notes.note("too many connections over HTTP"),
            },
            Err(error) => {
                let door = street.door.name();
                tracing::warn!(door, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection; `seats` are given back at its end.
async fn serve(
    street: Rc<Street>,
    stream: TcpStream,
    peer: SocketAddr,
    seats: Vec<Share>,
    proved: Rc<Cell<bool>>,
) {
    let door = &street.door;
    let limits = &door.house.limits;
    // Answers are short, and each is written at once.
    drop(stream.set_nodelay(true));
    let ended = match &street.tls {
        None => speak(door, stream, Caller::Token, proved).await,
        Some(tls) => match timeout(limits.head, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let caller = Caller::Certificate(tls::fingerprint(&stream));
                speak(door, stream, caller, proved).await
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no TLS in time".into()),
        },
    };
    if let Err(error) = ended {
        tracing::debug!(door = door.name(), %peer, error, "a connection ended");
    }
    drop(seats);
}

async fn speak(
    door: &Rc<Door>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    caller: Caller,
    proved: Rc<Cell<bool>>,
) -> Result<(), String> {
    let limits = &door.house.limits;
    let written = Rc::new(Written::default());
    let wire = Wire::new(stream, limits.stall, &written);
    let caller = Rc::new((caller, proved));
    let service = service_fn(|request| {
        let (door, caller) = (Rc::clone(door), Rc::clone(&caller));
        let written = Rc::clone(&written);
        async move {
            Ok::<_, std::convert::Infallible>(
                door.answer(request, &caller.0, &caller.1, &written).await,
            )
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Some(limits.head))
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(wire), service);
    // A connection is its agent's where TLS says who that is: it ends with the agent. Others belong
    // to nobody, and what is answered on them ends instead.
    connection.await.map_err(|error| error.to_string())
}

/// Time to wait before one would try again, told to clients that are told to.
const RETRY_AFTER: Duration = Duration::from_secs(1);
