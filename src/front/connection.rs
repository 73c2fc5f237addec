//! One connection of an agent: lines in, lines out, calls in flight between them.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, timeout, timeout_at};

use super::agent::Agent;
use super::keeper::{NoReply, Reply};
use super::line::{Line, Lines};
use super::mcp::{Session, Step};
use super::message::{self, BUSY, INTERNAL_ERROR, INVALID_REQUEST, Key, Refusal, RequestId};
use super::notes::Notes;
use super::quota::{Quota, Share};
use super::reply;
use crate::wire::messages::FrontToKeeper;

/// Bytes read from a socket at one time.
const CHUNK: usize = 64 << 10;

/// What the tasks of a connection share. It ends when the last of them lets go: the reader at the
/// end of what the agent sends, each call with its answer.
#[derive(Debug)]
pub(super) struct Connection {
    agent: Rc<Agent>,
    out: UnboundedSender<Queued>,
    unread: Rc<Quota>,
    calls: Rc<Quota>,
    /// Requests in flight; true once the agent has lost interest.
    in_flight: RefCell<BTreeMap<Key, bool>>,
    open: Cell<bool>,
    strikes: Cell<u32>,
    notes: Notes,
    whole: OnceCell<AbortHandle>,
}

/// A line that waits for the agent to read it.
#[derive(Debug)]
struct Queued {
    line: Vec<u8>,
    _room: (Share, Share),
}

/// Serves `stream` in a task of its own until either side ends it; `seat` is given back then.
pub(super) fn serve(agent: &Rc<Agent>, stream: UnixStream, seat: Share) -> Rc<Connection> {
    let limits = &agent.house.limits;
    let (out, queue) = unbounded_channel();
    let connection = Rc::new(Connection {
        out,
        unread: Quota::new(limits.unread),
        calls: Quota::new(limits.calls),
        in_flight: RefCell::default(),
        open: Cell::new(false),
        strikes: Cell::new(0),
        notes: Notes::new(&agent.house.keeper, &agent.name, limits.note_every),
        whole: OnceCell::new(),
        agent: Rc::clone(agent),
    });
    let (from, to) = stream.into_split();
    let reader = read(Rc::clone(&connection), from);
    let writer = write(Rc::clone(agent), queue, to);
    let task = spawn_local(async move {
        let reading = async {
            reader.await;
            // What is in flight or queued still goes out: the writer knows when it has.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reading => {}
            () = writer => {}
        }
        drop(seat);
    });
    // The task has not run yet, so nobody has looked for the handle.
    drop(connection.whole.set(task.abort_handle()));
    connection
}

/// Takes what the agent sends until it ends, or until the connection is not worth reading on.
async fn read(connection: Rc<Connection>, mut from: OwnedReadHalf) {
    let house = Rc::clone(&connection.agent.house);
    let limits = house.limits;
    let mut session = Session::new(&house.version);
    let mut lines = Lines::new(limits.line);
    let mut chunk = vec![0; CHUNK];
    let handshake = Instant::now() + limits.handshake;
    loop {
        connection.unread.at_most(limits.unread_pause).await;
        let read = from.read(&mut chunk);
        let read = match session.is_open() {
            true => read.await,
            false => timeout_at(handshake, read)
                .await
                .unwrap_or_else(|late| Err(late.into())),
        };
        let mut rest = match read {
            Ok(0) => break,
            Ok(count) => chunk.get(..count).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                connection.notes.note("no session was begun in time");
                return;
            }
            Err(error) => {
                tracing::debug!(agent = connection.agent.name, %error, "cannot read on");
                return;
            }
        };
        while !rest.is_empty() {
            let (line, after) = lines.take(rest);
            rest = after;
            if let Some(line) = line {
                connection.take(&mut session, &line);
            }
            if connection.strikes.get() >= limits.strikes {
                connection.refuse(&Refusal::new(
                    INVALID_REQUEST,
                    "too many malformed messages",
                ));
                return;
            }
        }
    }
    if lines.is_unfinished() {
        connection.notes.note("the last line does not end");
    }
}

/// Sends what is queued; once nobody can queue more, the agent sees the end.
async fn write(agent: Rc<Agent>, mut queue: UnboundedReceiver<Queued>, mut to: OwnedWriteHalf) {
    let stall = agent.house.limits.stall;
    while let Some(queued) = queue.recv().await {
        let mut rest = queued.line.as_slice();
        while !rest.is_empty() {
            match timeout(stall, to.write(rest)).await {
                Ok(Ok(count)) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
                // Dropping the queue tells the others that nothing can be said any more.
                Ok(_) | Err(_) => {
                    tracing::debug!(agent = agent.name, "the agent does not read on");
                    return;
                }
            }
        }
    }
    drop(to.shutdown().await);
}

impl Connection {
    /// Ends it at once; calls in flight go on without anybody to hear of them.
    pub(super) fn close(&self) {
        if let Some(whole) = self.whole.get() {
            whole.abort();
        }
    }

    /// Tells the agent that its list of tools has changed, if it has begun a session.
    pub(super) fn list_changed(&self) {
        if self.open.get() {
            self.say(reply::notification("notifications/tools/list_changed"));
        }
    }

    fn take(self: &Rc<Self>, session: &mut Session, line: &Line) {
        let line = match line {
            Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => return,
            Line::Whole(line) => line,
            Line::TooLong => {
                let what = format!(
                    "a line is longer than {} bytes",
                    self.agent.house.limits.line
                );
                return self.refuse(&Refusal::new(INVALID_REQUEST, what));
            }
        };
        let step = match message::read(line) {
            Ok(message) => session.take(message),
            Err(refusal) => return self.refuse(&refusal),
        };
        self.open.set(session.is_open());
        self.strikes.set(self.strikes.get().saturating_sub(1));
        match step {
            Step::Reply(line) => self.say(line),
            Step::Refuse(refusal) => self.refuse(&refusal),
            Step::Note(what) => self.notes.note(what),
            Step::Cancel(key) => {
                if let Some(cancelled) = self.in_flight.borrow_mut().get_mut(&key) {
                    *cancelled = true;
                }
            }
            Step::List(id) => {
                let agent = self.agent.name.clone();
                self.ask(id, Vec::new(), |id| FrontToKeeper::List { id, agent });
            }
            Step::Call {
                id,
                tool,
                arguments,
            } => {
                let (agent, client) = (self.agent.name.clone(), session.client().to_owned());
                let open = |id| FrontToKeeper::Open {
                    id,
                    agent,
                    tool,
                    client,
                };
                self.ask(id, arguments.to_vec(), open);
            }
            Step::Pass => {}
        }
    }

    /// Puts a question to the keeper in a task of its own.
    fn ask(
        self: &Rc<Self>,
        id: RequestId,
        blob: Vec<u8>,
        question: impl FnOnce(u64) -> FrontToKeeper + 'static,
    ) {
        let shares = match self.admit(&id) {
            Ok(shares) => shares,
            Err(refusal) => return self.refuse(&refusal.of(&id)),
        };
        let connection = Rc::clone(self);
        spawn_local(async move {
            let reply = connection.agent.house.keeper.ask(question, &blob).await;
            drop(blob);
            // A cancelled call holds its place until the keeper is done with it.
            let cancelled = connection.in_flight.borrow_mut().remove(id.key());
            if cancelled == Some(false) {
                connection.say(answer(&id, reply));
            }
            drop(shares);
        });
    }

    /// Room for one more question; its id is in flight from here on.
    fn admit(&self, id: &RequestId) -> Result<[Share; 3], Refusal> {
        let house = &self.agent.house;
        if house.stopping.get() {
            return Err(Refusal::new(INTERNAL_ERROR, "keepgate is stopping"));
        }
        if self.in_flight.borrow().contains_key(id.key()) {
            return Err(Refusal::new(
                INVALID_REQUEST,
                "a request with this `id` is in flight",
            ));
        }
        let busy = || Refusal::new(BUSY, "too many requests in flight; wait for an answer");
        let shares = [
            self.calls.take(1).ok_or_else(busy)?,
            self.agent.calls.take(1).ok_or_else(busy)?,
            house.calls.take(1).ok_or_else(busy)?,
        ];
        self.in_flight.borrow_mut().insert(id.key().clone(), false);
        Ok(shares)
    }

    fn refuse(&self, refusal: &Refusal) {
        if refusal.is_form() {
            self.strikes.set(self.strikes.get().saturating_add(1));
        }
        self.notes.note(refusal.what());
        self.say(refusal.line());
    }

    /// Queues a line. An agent that leaves too much unread is closed.
    fn say(&self, line: Vec<u8>) {
        let room = self
            .unread
            .take(line.len())
            .zip(self.agent.unread.take(line.len()));
        match room {
            // The writer may have given up; then the agent is gone.
            Some(room) => drop(self.out.send(Queued { line, _room: room })),
            None => {
                self.notes.note("the agent leaves too much unread");
                self.close();
            }
        }
    }
}

/// The line that answers `id` with what the keeper said.
fn answer(id: &RequestId, reply: Result<Reply, NoReply>) -> Vec<u8> {
    let error = |message| reply::error(Some(id), INTERNAL_ERROR, message);
    match reply {
        Ok(Reply::Tools(tools)) => reply::result(id, &[b"{\"tools\":", &tools, b"}"]),
        Ok(Reply::Result(result)) => reply::result(id, &[&result]),
        Ok(Reply::Fault { code, message }) => reply::error(Some(id), code, &message),
        Err(NoReply::Absent) => error("the keeper is not available; nothing was done"),
        Err(NoReply::Lost) => {
            error("the keeper is not available any more; whether the call took effect is unknown")
        }
    }
}
