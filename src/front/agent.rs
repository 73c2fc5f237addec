//! One enrolled agent: its listening socket, and its connections with what they share.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, spawn_local};

use super::connection::{self, Connection};
use super::house::House;
use super::message::BUSY;
use super::notes::Notes;
use super::quota::Quota;
use super::reply;
use crate::error::{Context, Result};

/// Pause after a connection could not be accepted, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An agent, known by the socket it connects to.
#[derive(Debug)]
pub(super) struct Agent {
    /// Its enrolled name.
    pub(super) name: String,
    /// The only uid that may connect.
    pub(super) uid: u32,
    /// What all agents share.
    pub(super) house: Rc<House>,
    /// Calls and lists in flight.
    pub(super) calls: Rc<Quota>,
    /// Bytes waiting to be read by it.
    pub(super) unread: Rc<Quota>,
    seats: Rc<Quota>,
    connections: RefCell<Vec<Weak<Connection>>>,
    listener: RefCell<Option<AbortHandle>>,
    notes: Notes,
}

impl Agent {
    /// An agent nobody listens for yet.
    pub(super) fn new(house: &Rc<House>, name: &str, uid: u32) -> Rc<Self> {
        let limits = &house.limits;
        Rc::new(Self {
            name: name.into(),
            uid,
            house: Rc::clone(house),
            calls: Quota::new(limits.agent_calls),
            unread: Quota::new(limits.agent_unread),
            seats: Quota::new(limits.connections),
            connections: RefCell::default(),
            listener: RefCell::default(),
            notes: Notes::new(&house.keeper, name, limits.note_every),
        })
    }

    /// Accepts connections on `socket` from now on, in place of an earlier one.
    ///
    /// # Errors
    /// Fails where it is no listening unix socket.
    pub(super) fn listen(self: &Rc<Self>, socket: OwnedFd) -> Result<()> {
        let what = || format!("listen for agent `{}`", self.name);
        let listener = StdListener::from(socket);
        listener.set_nonblocking(true).context(what)?;
        let listener = UnixListener::from_std(listener).context(what)?;
        let task = spawn_local(Rc::clone(self).accept(listener)).abort_handle();
        if let Some(earlier) = self.listener.replace(Some(task)) {
            earlier.abort();
        }
        Ok(())
    }

    /// Accepts no more connections.
    pub(super) fn stop_listening(&self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
    }

    /// Stops listening and ends every connection.
    pub(super) fn close(&self) {
        self.stop_listening();
        self.each(Connection::close);
    }

    /// Tells every connection that the list of tools has changed.
    pub(super) fn list_changed(&self) {
        self.each(Connection::list_changed);
    }

    fn each(&self, with: impl Fn(&Connection)) {
        let connections: Vec<_> = self
            .connections
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        connections.iter().for_each(|connection| with(connection));
    }

    async fn accept(self: Rc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.greet(stream),
                Err(error) => {
                    tracing::warn!(agent = self.name, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn greet(self: &Rc<Self>, stream: UnixStream) {
        // Who connects is known from the kernel and from nothing else (unix(7), SO_PEERCRED).
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == self.uid => {}
            Ok(peer) => return self.notes.note(&format!("peer uid {}", peer.uid())),
            Err(error) => return tracing::warn!(agent = self.name, %error, "a peer without a uid"),
        }
        let Some(seat) = self.seats.take(1) else {
            self.notes.note("too many connections");
            let line = reply::error(None, BUSY, "too many connections of this agent");
            return ignore_full(stream.try_write(&line));
        };
        let connection = connection::serve(self, stream, seat);
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(Rc::downgrade(&connection));
    }
}

/// A courtesy that is not worth waiting for.
fn ignore_full(sent: io::Result<usize>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "a refused connection was not told why");
    }
}
