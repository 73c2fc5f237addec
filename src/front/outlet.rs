//! Where lines for an agent wait to be written: of a connection, or of one HTTP answer. What waits
//! is counted, and an agent that leaves too much unread is closed.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::agent::Agent;
use super::keeper::Keeper;
use super::quota::{Quota, Share};
use crate::wire::messages::FrontToKeeper;

/// A line that waits for the agent to read it.
#[derive(Debug)]
pub(super) struct Queued {
    /// With its newline.
    pub(super) line: Vec<u8>,
    /// It is the answer that was asked for.
    pub(super) last: Option<Last>,
    _room: (Share, Share),
}

/// What is known of an answer.
#[derive(Debug)]
pub(super) struct Last {
    /// JSON-RPC's code, where it is an error.
    pub(super) code: Option<i64>,
    /// Who has to learn that it was written.
    pub(super) delivery: Option<Delivery>,
}

/// The keeper has to learn that the answer to a call was written out.
#[derive(Debug)]
pub(super) struct Delivery {
    keeper: Rc<Keeper>,
    id: u64,
}

impl Delivery {
    /// Of the answer to question `id`.
    pub(super) fn new(keeper: &Rc<Keeper>, id: u64) -> Self {
        Self {
            keeper: Rc::clone(keeper),
            id,
        }
    }

    /// It was written out in whole.
    pub(super) fn confirm(self) {
        let Self { keeper, id } = self;
        keeper.tell(FrontToKeeper::Delivered { id }, Vec::new());
    }
}

/// One way to an agent.
#[derive(Debug)]
pub(super) struct Outlet {
    queue: RefCell<Option<UnboundedSender<Queued>>>,
    /// Bytes that wait here.
    pub(super) unread: Rc<Quota>,
    agent: Rc<Agent>,
    whole: OnceCell<AbortHandle>,
}

impl Outlet {
    /// A new way to `agent`, which ends when the agent is revoked; and what comes out of it.
    pub(super) fn new(agent: &Rc<Agent>) -> (Rc<Self>, UnboundedReceiver<Queued>) {
        let (sender, queue) = unbounded_channel();
        let outlet = Rc::new(Self {
            queue: RefCell::new(Some(sender)),
            unread: Quota::new(agent.house.limits.unread),
            agent: Rc::clone(agent),
            whole: OnceCell::new(),
        });
        agent.hold(&outlet);
        (outlet, queue)
    }

    /// What to end with it: the task that serves the connection.
    pub(super) fn belongs_to(&self, whole: AbortHandle) {
        // It is said once, before anything is written.
        drop(self.whole.set(whole));
    }

    /// Queues a line.
    pub(super) fn say(&self, line: Vec<u8>) {
        self.queue(line, None);
    }

    /// Queues the answer; `code` where it is an error.
    pub(super) fn answer(&self, line: Vec<u8>, code: Option<i64>, delivery: Option<Delivery>) {
        self.queue(line, Some(Last { code, delivery }));
    }

    /// Waits until nothing can be written any more.
    pub(super) async fn closed(&self) {
        let sender = self.queue.borrow().clone();
        if let Some(sender) = sender {
            sender.closed().await;
        }
    }

    /// Nothing can be written any more.
    pub(super) fn is_closed(&self) -> bool {
        self.queue
            .borrow()
            .as_ref()
            .is_none_or(UnboundedSender::is_closed)
    }

    /// Ends it at once, and the connection it belongs to; calls in flight go on without anybody to
    /// hear of them.
    pub(super) fn close(&self) {
        self.queue.take();
        if let Some(whole) = self.whole.get() {
            whole.abort();
        }
    }

    fn queue(&self, line: Vec<u8>, last: Option<Last>) {
        let room = self
            .unread
            .take(line.len())
            .zip(self.agent.unread.take(line.len()));
        let Some(room) = room else {
            self.agent.notes.note("the agent leaves too much unread");
            return self.close();
        };
        if let Some(queue) = &*self.queue.borrow() {
            // Whoever writes may have given up; then the agent is gone.
            drop(queue.send(Queued {
                line,
                last,
                _room: room,
            }));
        }
    }
}
