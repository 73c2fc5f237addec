//! The front's end of the link to the keeper: questions with their answers, and what is to be
//! noted. The link may be absent and may come back; a question never waits for one that is gone.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, spawn_local};

use crate::error::{Context, Error, Result};
use crate::wire::frame::{AsyncLink, Frame};
use crate::wire::messages::{FrontToKeeper, KeeperToFront, RESULT_MAX};

/// Longest blob from the keeper: a result and what the keeper writes around it.
const BLOB_MAX: usize = RESULT_MAX + (64 << 10);
/// Notes that may wait for the keeper; more are dropped, as a full queue has said enough.
const NOTES: usize = 64;

/// What the keeper says to a question.
#[derive(Debug)]
pub(super) enum Reply {
    /// JSON array of tools.
    Tools(Vec<u8>),
    /// JSON of a `CallToolResult`.
    Result(Vec<u8>),
    /// It is no call.
    Fault {
        /// JSON-RPC code.
        code: i64,
        /// What the agent may know.
        message: String,
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
    waiting: RefCell<HashMap<u64, oneshot::Sender<Reply>>>,
    last_id: Cell<u64>,
    notes: mpsc::Sender<FrontToKeeper>,
    changes: mpsc::UnboundedSender<String>,
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
    /// Without a link; call within a `LocalSet`. The receiver gets the names of agents whose tool
    /// list has changed.
    pub(super) fn new() -> (Rc<Self>, mpsc::UnboundedReceiver<String>) {
        let (notes, waiting_notes) = mpsc::channel(NOTES);
        let (changes, changed) = mpsc::unbounded_channel();
        let keeper = Rc::new(Self {
            link: RefCell::default(),
            waiting: RefCell::default(),
            last_id: Cell::default(),
            notes,
            changes,
            broken: RefCell::default(),
            alarm: Notify::new(),
        });
        spawn_local(Rc::clone(&keeper).pass_on(waiting_notes));
        (keeper, changed)
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
        &self,
        question: impl FnOnce(u64) -> FrontToKeeper,
        blob: &[u8],
    ) -> Result<Reply, NoReply> {
        let socket = self.socket().ok_or(NoReply::Absent)?;
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let (sender, mut answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(id, sender);
        let question = question(id);
        tokio::select! {
            // While the keeper's queue is full, the link may end or be replaced.
            _ = &mut answer => return Err(NoReply::Absent),
            sent = socket.send(&question, blob, &[]) => if let Err(error) = sent {
                self.waiting.borrow_mut().remove(&id);
                tracing::warn!(%error, "cannot ask the keeper");
                return Err(NoReply::Absent);
            }
        }
        answer.await.map_err(|_| NoReply::Lost)
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
        let (id, reply) = match frame.say {
            KeeperToFront::Listed { id } => (id, Reply::Tools(frame.blob)),
            KeeperToFront::Answer { id } => (id, Reply::Result(frame.blob)),
            KeeperToFront::Fault { id, code, message } => (id, Reply::Fault { code, message }),
            KeeperToFront::ListChanged { agent } => {
                // The receiver lives as long as the role serves.
                drop(self.changes.send(agent));
                return;
            }
        };
        match self.waiting.borrow_mut().remove(&id) {
            // Whoever asked may be gone.
            Some(waiting) => drop(waiting.send(reply)),
            None => tracing::warn!(id, "the keeper answered what nobody asked"),
        }
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
