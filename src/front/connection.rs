//! One connection over an agent's unix socket: lines in, lines out, a conversation between them. It
//! ends when the last task lets go: the reader at the end of what the agent sends, each call with
//! its answer.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout, timeout_at};

use super::agent::Agent;
use super::era::{self, Step, stateless};
use super::message::{self, INVALID_REQUEST, Refusal};
use super::notes::Notes;
use super::outlet::{Outlet, Queued};
use super::quota::Share;
use super::talk::Talk;
use crate::wire::line::{Line, Lines};
use crate::wire::messages::Era;

/// Bytes read from a socket at one time.
const CHUNK: usize = 64 << 10;

/// What the reader of a connection has.
#[derive(Debug)]
struct Connection {
    talk: Rc<Talk>,
    outlet: Rc<Outlet>,
    /// A good message has come: whoever it is speaks MCP.
    begun: Cell<bool>,
    strikes: Cell<u32>,
    notes: Notes,
}

/// Serves `stream` in a task of its own until either side ends it; `seat` is given back then.
pub(super) fn serve(agent: &Rc<Agent>, stream: UnixStream, seat: Share) {
    let (outlet, queue) = Outlet::new(agent);
    let talk = Talk::new(agent);
    talk.stand(&outlet);
    let connection = Connection {
        talk,
        outlet: Rc::clone(&outlet),
        begun: Cell::new(false),
        strikes: Cell::new(0),
        notes: Notes::new(
            &agent.house.keeper,
            &agent.name,
            agent.house.limits.note_every,
        ),
    };
    let (from, to) = stream.into_split();
    let reader = read(connection, from);
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
    outlet.belongs_to(task.abort_handle());
}

/// Takes what the agent sends until it ends, or until the connection is not worth reading on.
async fn read(connection: Connection, mut from: OwnedReadHalf) {
    let agent = Rc::clone(&connection.talk.agent);
    let limits = agent.house.limits;
    let mut lines = Lines::new(limits.line);
    let mut chunk = vec![0; CHUNK];
    let handshake = Instant::now() + limits.handshake;
    loop {
        connection.outlet.unread.at_most(limits.unread_pause).await;
        let read = from.read(&mut chunk);
        let read = match connection.begun.get() {
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
                tracing::debug!(agent = agent.name, %error, "cannot read on");
                return;
            }
        };
        while !rest.is_empty() {
            let (line, after) = lines.take(rest);
            rest = after;
            if let Some(line) = line {
                connection.take(&line);
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
    connection.talk.end_subscriptions();
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
        if let Some(delivery) = queued.last.and_then(|last| last.delivery) {
            delivery.confirm();
        }
    }
    drop(to.shutdown().await);
}

impl Connection {
    fn take(&self, line: &Line) {
        let talk = &self.talk;
        let line = match line {
            Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => return,
            Line::Whole(line) => line,
            Line::TooLong => {
                let what = format!(
                    "a line is longer than {} bytes",
                    talk.agent.house.limits.line
                );
                return self.refuse(&Refusal::new(INVALID_REQUEST, what));
            }
        };
        if message::is_batch(line) && talk.session.takes_batches() {
            return match message::batch(line) {
                Ok(all) => all
                    .iter()
                    .for_each(|one| match message::read(one.get().as_bytes()) {
                        Ok(message) => self.act(talk.session.take(message)),
                        Err(refusal) => self.refuse(&refusal),
                    }),
                Err(refusal) => self.refuse(&refusal),
            };
        }
        match message::read(line) {
            Ok(message) => self.act(match era::of(&message, None) {
                Era::Session => talk.session.take(message),
                Era::Stateless => stateless::take(message, None),
            }),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn act(&self, step: Step<'_>) {
        let talk = &self.talk;
        self.strikes.set(self.strikes.get().saturating_sub(1));
        match step {
            Step::Reply(line) => self.outlet.say(line),
            Step::Refuse(refusal) => self.refuse(&refusal),
            Step::Decline(refusal) => self.outlet.say(refusal.line()),
            Step::Note(what) => self.notes.note(what),
            Step::Cancel(key) => talk.cancel(&key),
            Step::Said { key, ok, raw } => talk.said(&key, ok, raw),
            Step::Ask(question) => {
                self.begun.set(true);
                if let Err(refusal) = talk.put(question, Rc::clone(&self.outlet)) {
                    self.refuse(&refusal);
                }
            }
            Step::Pass => {}
        }
    }

    fn refuse(&self, refusal: &Refusal) {
        if refusal.is_form() {
            self.strikes.set(self.strikes.get().saturating_add(1));
        }
        self.notes.note(refusal.what());
        self.outlet.say(refusal.line());
    }
}
