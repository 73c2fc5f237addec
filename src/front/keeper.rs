//! The front's end of the link to the keeper: questions with their answers, and what is to be
//! noted. The link may be absent and may come back; a question never waits for one that is gone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::{AbortHandle, spawn_local};

use super::lists::{Lists, Seen};
use crate::error::{Context, Error, Result};
use crate::wire::frame::{AsyncLink, Frame};
use crate::wire::messages::{FrontToKeeper, KeeperToFront, RESULT_MAX, What};

/// Longest blob from the keeper: a result and what the keeper writes around it.
const BLOB_MAX: usize = RESULT_MAX + (64 << 10);
/// Notes that may wait for the keeper; more are dropped, as a full queue has said enough.
const NOTES: usize = 64;

/// What comes back about a question.
#[derive(Debug)]
pub(super) enum Event {
    /// News for the client, on the way to the reply.
    Notice {
        /// MCP's name of it.
        method: String,
        /// Raw JSON.
        params: Vec<u8>,
    },
    /// A server asks the client.
    Ask {
        /// Given back with what the client says.
        ask: u64,
        /// MCP's name of the method.
        method: String,
        /// Raw JSON.
        params: Vec<u8>,
    },
    /// The last thing there is to say.
    Reply(Reply),
}

/// What comes of no question.
#[derive(Debug)]
pub(super) enum News {
    /// A list has changed.
    Changed(What),
    /// A resource has changed.
    Updated(String),
    /// For every session: MCP's name of it, and its raw `params`.
    Notice(String, Vec<u8>),
}

/// What the keeper says to a question.
#[derive(Debug)]
pub(super) enum Reply {
    /// JSON array of tools.
    Tools(Vec<u8>),
    /// JSON of a result object.
    Result(Vec<u8>),
    /// It is no call.
    Fault {
        /// JSON-RPC code.
        code: i64,
        /// What the agent may know.
        message: String,
        /// Raw JSON of its `data`; empty where it has none.
        data: Vec<u8>,
    },
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoReply {
    /// There is no link; the keeper has not seen the question.
    Absent,
    /// The link ended after the question was sent.
    Lost,
}

/// The link, while there is one, and who waits for what.
#[derive(Debug)]
pub(super) struct Keeper {
    link: RefCell<Option<Link>>,
    waiting: RefCell<HashMap<u64, mpsc::UnboundedSender<Event>>>,
    last_id: Cell<u64>,
    notes: mpsc::Sender<FrontToKeeper>,
    /// What the keeper has to hear before the next question.
    orders: RefCell<VecDeque<(FrontToKeeper, Vec<u8>)>>,
    ordered: Notify,
    /// Agents that have connected, which the keeper hears before that.
    came: RefCell<BTreeSet<String>>,
    /// One at a time sends, so that orders and questions arrive as they were given.
    sending: Mutex<()>,
    news: mpsc::UnboundedSender<(String, News)>,
    lists: Lists,
    broken: RefCell<Option<Error>>,
    alarm: Notify,
}

#[derive(Debug)]
struct Link {
    socket: Rc<AsyncLink>,
    reader: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Keeper {
    /// Without a link; call within a `LocalRuntime`. The receiver gets what comes of no question, and
    /// for which agent.
    pub(super) fn new() -> (Rc<Self>, mpsc::UnboundedReceiver<(String, News)>) {
        let (notes, waiting_notes) = mpsc::channel(NOTES);
        let (news, told) = mpsc::unbounded_channel();
        let keeper = Rc::new(Self {
            link: RefCell::default(),
            waiting: RefCell::default(),
            last_id: Cell::new(first_id()),
            notes,
            orders: RefCell::default(),
            ordered: Notify::new(),
            came: RefCell::default(),
            sending: Mutex::new(()),
            news,
            lists: Lists::default(),
            broken: RefCell::default(),
            alarm: Notify::new(),
        });
        spawn_local(Rc::clone(&keeper).pass_on(waiting_notes));
        spawn_local(Rc::clone(&keeper).order());
        (keeper, told)
    }

    /// Takes a new link; questions on the old one end as lost.
    ///
    /// # Errors
    /// Fails where the descriptor cannot be used.
    pub(super) fn join(self: &Rc<Self>, socket: OwnedFd) -> Result<()> {
        let probe = socket
            .try_clone()
            .context(|| "copy the keeper's link".into())?;
        let socket = Rc::new(AsyncLink::new(socket)?);
        self.leave();
        let reader = spawn_local(Rc::clone(self).read(Rc::clone(&socket), probe)).abort_handle();
        self.link.replace(Some(Link { socket, reader }));
        Ok(())
    }

    /// Asks the keeper; `question` makes the message from its id.
    pub(super) async fn ask(
        self: &Rc<Self>,
        question: impl FnOnce(u64) -> FrontToKeeper,
        blob: &[u8],
    ) -> Result<Asking, NoReply> {
        let socket = self.socket().ok_or(NoReply::Absent)?;
        let id = self.last_id.get().wrapping_add(1);
        self.last_id.set(id);
        let (sender, events) = mpsc::unbounded_channel();
        self.waiting.borrow_mut().insert(id, sender);
        let mut asking = Asking {
            id,
            events,
            keeper: Rc::clone(self),
        };
        let question = question(id);
        tokio::select! {
            // While the keeper's queue is full, the link may end or be replaced.
            _ = asking.events.recv() => return Err(NoReply::Absent),
            sent = self.send(&socket, &question, blob) => if let Err(error) = sent {
                tracing::warn!(%error, "cannot ask the keeper");
                return Err(NoReply::Absent);
            }
        }
        Ok(asking)
    }

    /// Tells the keeper something about a question it was asked; in vain while there is no link, as
    /// it has forgotten the question then.
    ///
    /// It arrives before every question that is asked later: an answer that was delivered, or given
    /// up, is known to be when the same call comes again.
    pub(super) fn tell(&self, order: FrontToKeeper, blob: Vec<u8>) {
        self.orders.borrow_mut().push_back((order, blob));
        self.ordered.notify_one();
    }

    /// A connection of `agent` begins; told like an order, and once however many begin.
    pub(super) fn came(&self, agent: &str) {
        if self.came.borrow_mut().insert(agent.into()) {
            self.ordered.notify_one();
        }
    }

    async fn send(&self, socket: &AsyncLink, say: &FrontToKeeper, blob: &[u8]) -> Result<()> {
        let _turn = self.sending.lock().await;
        self.catch_up(socket).await;
        socket.send(say, blob, &[]).await
    }

    /// Sends all orders.
    async fn catch_up(&self, socket: &AsyncLink) {
        loop {
            let came = self.came.borrow_mut().pop_first();
            let came = came.map(|agent| (FrontToKeeper::Came { agent }, Vec::new()));
            let next = came.or_else(|| self.orders.borrow_mut().pop_front());
            let Some((order, blob)) = next else { return };
            if let Err(error) = socket.send(&order, &blob, &[]).await {
                tracing::debug!(%error, "cannot tell the keeper");
            }
        }
    }

    /// Tells the keeper of bytes that were no call; in vain while there is no link.
    pub(super) fn note(&self, agent: &str, why: String) {
        tracing::info!(agent, why, "malformed input");
        // A full queue drops it; the log line above is left.
        drop(self.notes.try_send(FrontToKeeper::Malformed {
            agent: agent.into(),
            why,
        }));
    }

    /// Resolves when the keeper has sent what it never should: the link is of no use any more, and
    /// only a restart of this role brings another one.
    pub(super) async fn broken(&self) -> Error {
        loop {
            if let Some(error) = self.broken.take() {
                return error;
            }
            self.alarm.notified().await;
        }
    }

    fn socket(&self) -> Option<Rc<AsyncLink>> {
        self.link
            .borrow()
            .as_ref()
            .map(|link| Rc::clone(&link.socket))
    }

    fn leave(&self) {
        drop(self.link.take());
        // They were about questions that nobody knows any more.
        self.orders.borrow_mut().clear();
        self.came.borrow_mut().clear();
        // Whoever waits learns it by the end of their channel.
        self.waiting.borrow_mut().clear();
    }

    async fn pass_on(self: Rc<Self>, mut notes: mpsc::Receiver<FrontToKeeper>) {
        while let Some(note) = notes.recv().await {
            let Some(socket) = self.socket() else {
                continue;
            };
            if let Err(error) = socket.send(&note, &[], &[]).await {
                tracing::warn!(%error, "cannot tell the keeper of malformed input");
            }
        }
    }

    async fn order(self: Rc<Self>) {
        loop {
            self.ordered.notified().await;
            let Some(socket) = self.socket() else {
                self.orders.borrow_mut().clear();
                self.came.borrow_mut().clear();
                continue;
            };
            let _turn = self.sending.lock().await;
            self.catch_up(&socket).await;
        }
    }

    async fn read(self: Rc<Self>, socket: Rc<AsyncLink>, probe: OwnedFd) {
        loop {
            match socket.recv::<KeeperToFront>(BLOB_MAX).await {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => break,
                // A keeper that was killed may leave an error behind in place of the end.
                Err(error) if hung_up(&probe) => {
                    tracing::warn!(%error, "the keeper's link ended");
                    break;
                }
                Err(error) => {
                    self.broken.replace(Some(error));
                    self.alarm.notify_one();
                    break;
                }
            }
        }
        tracing::warn!("the keeper is gone");
        self.leave();
    }

    fn take(&self, frame: Frame<KeeperToFront>) {
        let blob = frame.blob;
        let (id, event) = match frame.say {
            KeeperToFront::Listed { id } => (id, Event::Reply(Reply::Tools(blob))),
            KeeperToFront::Answer { id } => (id, Event::Reply(Reply::Result(blob))),
            KeeperToFront::Fault { id, code, message } => {
                let fault = Reply::Fault {
                    code,
                    message,
                    data: blob,
                };
                (id, Event::Reply(fault))
            }
            KeeperToFront::Notice {
                id: Some(id),
                method,
                ..
            } => (
                id,
                Event::Notice {
                    method,
                    params: blob,
                },
            ),
            KeeperToFront::Ask { id, ask, method } => (
                id,
                Event::Ask {
                    ask,
                    method,
                    params: blob,
                },
            ),
            KeeperToFront::Notice {
                agent,
                id: None,
                method,
            } => return self.spread(agent, News::Notice(method, blob)),
            KeeperToFront::Changed { agent, what } => {
                return self.spread(agent, News::Changed(what));
            }
            KeeperToFront::Lists {
                agent,
                tools,
                prompts,
                resources,
            } => {
                let now = Seen {
                    tools,
                    prompts,
                    resources,
                };
                for what in self.lists.changed(&agent, now) {
                    self.spread(agent.clone(), News::Changed(what));
                }
                return;
            }
            KeeperToFront::Updated { agent, uri } => {
                return self.spread(agent, News::Updated(uri));
            }
        };
        let last = matches!(event, Event::Reply(_));
        let mut waiting = self.waiting.borrow_mut();
        match waiting.get(&id) {
            // Whoever asked may be gone.
            Some(asker) => drop(asker.send(event)),
            None => tracing::debug!(id, "the keeper answered what nobody waits for"),
        }
        if last {
            waiting.remove(&id);
        }
    }

    fn spread(&self, agent: String, news: News) {
        // The receiver lives as long as the role serves.
        drop(self.news.send((agent, news)));
    }
}

/// A question the keeper was asked.
#[derive(Debug)]
pub(super) struct Asking {
    /// Its number.
    pub(super) id: u64,
    events: mpsc::UnboundedReceiver<Event>,
    keeper: Rc<Keeper>,
}

impl Asking {
    /// What comes next.
    ///
    /// # Errors
    /// The keeper is gone.
    pub(super) async fn next(&mut self) -> Result<Event, NoReply> {
        self.events.recv().await.ok_or(NoReply::Lost)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.keeper.waiting.borrow_mut().remove(&self.id);
    }
}

/// Numbers of an earlier front must mean nothing to a keeper that still hears of them: each begins
/// somewhere else.
fn first_id() -> u64 {
    let mut bytes = [0; 8];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes) >> 1,
        Err(_) => 0,
    }
}

fn hung_up(probe: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(probe.as_fd(), PollFlags::empty())];
    let seen = poll(&mut fds, PollTimeout::ZERO);
    let [fd] = fds;
    seen.is_ok()
        && fd
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLHUP))
}
