//! One enrolled agent: its listening socket, where it has one, and its conversations with what they
//! share, however they come.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, spawn_local};

use super::connection;
use super::house::House;
use super::http::sessions::Sessions;
use super::keeper::News;
use super::message::BUSY;
use super::notes::Notes;
use super::outlet::Outlet;
use super::quota::Quota;
use super::reply;
use super::subscription::Subscription;
use super::talk::Talk;
use crate::error::{Context, Result};
use crate::wire::messages::{Proof, What};

/// Pause after a connection could not be accepted, most likely for want of descriptors.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An agent, known by what it proves.
#[derive(Debug)]
pub(super) struct Agent {
    /// Its enrolled name.
    pub(super) name: String,
    /// How it proves who it is.
    pub(super) proof: Proof,
    /// What all agents share.
    pub(super) house: Rc<House>,
    /// Calls and lists in flight.
    pub(super) calls: Rc<Quota>,
    /// Bytes waiting to be read by it.
    pub(super) unread: Rc<Quota>,
    /// Streams of news, of either era.
    pub(super) streams: Rc<Quota>,
    /// Bytes of HTTP requests that are being read.
    pub(super) bodies: Rc<Quota>,
    /// What is noted of it beside its connections.
    pub(super) notes: Notes,
    /// Its sessions over HTTP.
    pub(super) sessions: Sessions,
    seats: Rc<Quota>,
    outlets: RefCell<Vec<Weak<Outlet>>>,
    talks: RefCell<Vec<Weak<Talk>>>,
    subscriptions: RefCell<Vec<Weak<Subscription>>>,
    listener: RefCell<Option<AbortHandle>>,
}

impl Agent {
    /// An agent nobody listens for yet.
    pub(super) fn new(house: &Rc<House>, name: &str, proof: Proof) -> Rc<Self> {
        let limits = &house.limits;
        Rc::new(Self {
            name: name.into(),
            proof,
            house: Rc::clone(house),
            calls: Quota::new(limits.agent_calls),
            unread: Quota::new(limits.agent_unread),
            streams: Quota::new(limits.streams),
            bodies: Quota::new(limits.agent_bodies),
            notes: Notes::new(&house.keeper, name, limits.note_every),
            sessions: Sessions::default(),
            seats: Quota::new(limits.connections),
            outlets: RefCell::default(),
            talks: RefCell::default(),
            subscriptions: RefCell::default(),
            listener: RefCell::default(),
        })
    }

    /// Accepts connections on `socket` from now on, in place of an earlier one.
    ///
    /// # Errors
    /// Fails where it is no listening unix socket.
    pub(super) fn listen(self: &Rc<Self>, socket: OwnedFd, uid: u32) -> Result<()> {
        let what = || format!("listen for agent `{}`", self.name);
        let listener = StdListener::from(socket);
        listener.set_nonblocking(true).context(what)?;
        let listener = UnixListener::from_std(listener).context(what)?;
        let task = spawn_local(Rc::clone(self).accept(listener, uid)).abort_handle();
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

    /// Stops listening and ends every connection, session and answer.
    pub(super) fn close(&self) {
        self.stop_listening();
        each(&self.outlets, Outlet::close);
        self.sessions.clear();
    }

    /// Ends `outlet` with the agent.
    pub(super) fn hold(&self, outlet: &Rc<Outlet>) {
        keep(&self.outlets, outlet);
    }

    /// Brings news to `talk`, once it has a session.
    pub(super) fn join(&self, talk: &Rc<Talk>) {
        keep(&self.talks, talk);
    }

    /// Brings news to `subscription`.
    pub(super) fn subscribe(&self, subscription: &Rc<Subscription>) {
        keep(&self.subscriptions, subscription);
    }

    /// Brings news to whoever wants them.
    pub(super) fn news(&self, news: &News) {
        match news {
            News::Changed(what) => {
                let method = match what {
                    What::Tools => "notifications/tools/list_changed",
                    What::Resources => "notifications/resources/list_changed",
                    What::Prompts => "notifications/prompts/list_changed",
                };
                each(&self.talks, |talk| {
                    talk.tell(|| reply::notification(method))
                });
                each(&self.subscriptions, |one| one.changed(*what, method));
            }
            News::Updated(uri) => {
                let method = "notifications/resources/updated";
                let params = json!({"uri": uri}).to_string().into_bytes();
                each(&self.talks, |talk| {
                    if talk.is_subscribed(uri) {
                        talk.tell(|| reply::notification_of(method, &params));
                    }
                });
                each(&self.subscriptions, |one| one.updated(uri, method, &params));
            }
            News::Notice(method, params) => {
                each(&self.talks, |talk| {
                    talk.tell(|| reply::notification_of(method, params));
                });
            }
        }
    }

    async fn accept(self: Rc<Self>, listener: UnixListener, uid: u32) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.greet(stream, uid),
                Err(error) => {
                    tracing::warn!(agent = self.name, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn greet(self: &Rc<Self>, stream: UnixStream, uid: u32) {
        // Who connects is known from the kernel and from nothing else (unix(7), SO_PEERCRED).
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == uid => {}
            Ok(peer) => return self.notes.note(&format!("peer uid {}", peer.uid())),
            Err(error) => return tracing::warn!(agent = self.name, %error, "a peer without a uid"),
        }
        let Some(seat) = self.seats.take(1) else {
            self.notes.note("too many connections");
            let line = reply::error(None, BUSY, "too many connections of this agent", &[]);
            return ignore_full(stream.try_write(&line));
        };
        self.house.keeper.came(&self.name);
        connection::serve(self, stream, seat);
    }
}

/// Keeps `one` as long as somebody else does.
fn keep<T>(all: &RefCell<Vec<Weak<T>>>, one: &Rc<T>) {
    let mut all = all.borrow_mut();
    all.retain(|one| one.strong_count() > 0);
    all.push(Rc::downgrade(one));
}

fn each<T>(all: &RefCell<Vec<Weak<T>>>, with: impl Fn(&T)) {
    let all: Vec<_> = all.borrow().iter().filter_map(Weak::upgrade).collect();
    all.iter().for_each(|one| with(one));
}

/// A courtesy that is not worth waiting for.
fn ignore_full(sent: io::Result<usize>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "a refused connection was not told why");
    }
}
