//! The keeper's links to its peer roles, and the way of every answer to the thread that waits.
//!
//! One thread reads each link. A peer that restarts gets a new link of a new generation; whoever
//! waits for the old one learns that it is lost.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::call::id::Id;
use crate::error::{Error, Result};
use crate::wire::frame;
use crate::wire::messages::{EgressToKeeper, JailerToKeeper, Role, SelfTest};

/// Longest blob of egress': what an upstream offers, or a result and what stands around it.
const SAID_MAX: usize = crate::egress::upstream::frames::MESSAGE_MAX;

/// What comes back about a ticket.
#[derive(Debug)]
pub(super) enum Event {
    /// From the jailer, with the descriptors that came along.
    Jailer(JailerToKeeper, Vec<OwnedFd>),
    /// From egress, with the bytes that came along.
    Egress(EgressToKeeper, Vec<u8>),
    /// The role that worked on it is gone.
    Lost(Role),
    /// The keeper itself has changed its mind.
    Wake,
}

/// All links of a keeper.
#[derive(Debug, Default)]
pub struct Links {
    peers: Mutex<HashMap<Role, Peer>>,
    waiting: Mutex<HashMap<Id, Sender<Event>>>,
    fitness: Mutex<Option<Arc<Fitness>>>,
}

#[derive(Debug)]
struct Peer {
    generation: u64,
    socket: Option<Arc<OwnedFd>>,
}

/// What the jailer said of itself.
#[derive(Debug, Clone)]
pub(super) struct Fitness {
    /// It may be used.
    pub(super) fit: bool,
    /// Why, or why not.
    pub(super) report: SelfTest,
}

impl Links {
    /// Takes a new link; the old one to that role, if any, is lost. Gives its generation.
    pub fn join(&self, role: Role, socket: Arc<OwnedFd>) -> u64 {
        let mut peers = lock(&self.peers);
        let generation = peers.get(&role).map_or(0, |peer| peer.generation + 1);
        peers.insert(
            role,
            Peer {
                generation,
                socket: Some(socket),
            },
        );
        drop(peers);
        if generation > 0 {
            self.tell_all(role);
        }
        generation
    }

    /// The link of that generation has ended.
    pub fn lost(&self, role: Role, generation: u64) {
        let mut peers = lock(&self.peers);
        match peers.get_mut(&role) {
            Some(peer) if peer.generation == generation => peer.socket = None,
            _ => return,
        }
        drop(peers);
        if role == Role::Jailer {
            *lock(&self.fitness) = None;
        }
        self.tell_all(role);
    }

    /// The roles that can be spoken to now.
    pub(super) fn up(&self) -> Vec<Role> {
        let peers = lock(&self.peers);
        Role::ALL
            .into_iter()
            .filter(|r| peers.get(r).is_some_and(|p| p.socket.is_some()))
            .collect()
    }

    /// Sends to a role.
    ///
    /// # Errors
    /// Fails where the role is not there; nothing was sent then.
    pub(super) fn send<T: Serialize>(
        &self,
        role: Role,
        say: &T,
        blob: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<()> {
        let socket = lock(&self.peers)
            .get(&role)
            .and_then(|peer| peer.socket.clone());
        let socket = socket.ok_or_else(|| {
            Error::new(format!("the {} is not running", role.name()))
                .hint("`keepgate status` says why; the supervisor starts it again")
        })?;
        frame::send(socket.as_fd(), say, blob, fds)
    }

    /// What the jailer said of itself, while it is there.
    pub(super) fn fitness(&self) -> Option<Arc<Fitness>> {
        lock(&self.fitness).clone()
    }

    /// Keeps what the jailer says of itself.
    pub(super) fn set_fitness(&self, fitness: Fitness) {
        *lock(&self.fitness) = Some(Arc::new(fitness));
    }

    /// Begins to listen for what concerns `ticket`.
    pub(super) fn listen(&self, ticket: Id) -> Inbox<'_> {
        let (sender, receiver) = channel();
        lock(&self.waiting).insert(ticket, sender);
        Inbox {
            links: self,
            ticket,
            receiver,
        }
    }

    /// Takes what the jailer says to whom it is for.
    fn hear_jailer(&self, say: JailerToKeeper, fds: Vec<OwnedFd>) {
        let ticket = match say {
            JailerToKeeper::SelfTest { fit, report } => {
                return self.set_fitness(Fitness { fit, report });
            }
            JailerToKeeper::Exited { ticket, .. }
            | JailerToKeeper::Listening { ticket }
            | JailerToKeeper::Inspected { ticket, .. }
            | JailerToKeeper::Published { ticket }
            | JailerToKeeper::Altered { ticket, .. }
            | JailerToKeeper::Fault { ticket, .. } => ticket,
        };
        self.tell(ticket, Event::Jailer(say, fds));
    }

    /// Takes what egress says to whom it is for: the question it is about, else the upstream.
    fn hear_egress(&self, say: EgressToKeeper, blob: Vec<u8>) {
        let of = match say {
            EgressToKeeper::Closed { ticket, .. }
            | EgressToKeeper::Got { ticket, .. }
            | EgressToKeeper::Asks { ticket, .. }
            | EgressToKeeper::Notice {
                ticket: Some(ticket),
                ..
            } => ticket,
            EgressToKeeper::Opened { upstream, .. }
            | EgressToKeeper::Changed { upstream, .. }
            | EgressToKeeper::Notice { upstream, .. }
            | EgressToKeeper::Hops { upstream, .. }
            | EgressToKeeper::Gone { upstream, .. } => upstream,
        };
        self.tell(of, Event::Egress(say, blob));
    }

    /// Passes an event to whoever listens for `ticket`; an event nobody waits for is dropped.
    pub(super) fn tell(&self, ticket: Id, event: Event) {
        // Not under the lock: who is woken wants it next.
        let sender = lock(&self.waiting).get(&ticket).cloned();
        if let Some(sender) = sender {
            // The listener may have just left: then nobody needs it.
            drop(sender.send(event));
        }
    }

    /// Has whoever listens for `ticket` look again.
    pub(super) fn wake(&self, ticket: Id) {
        self.tell(ticket, Event::Wake);
    }

    /// Reads a link to its end: what the jailer or egress says goes to whom it is for.
    ///
    /// # Errors
    /// Fails on what is no frame, and on a role that is no other's hands.
    pub fn read(&self, role: Role, socket: &OwnedFd) -> Result<()> {
        self.read_telling(role, socket, &mut |_| {})
    }

    /// As [`Self::read`]; what the jailer says of itself is told to `tested` too.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn read_telling(
        &self,
        role: Role,
        socket: &OwnedFd,
        tested: &mut dyn FnMut(&SelfTest),
    ) -> Result<()> {
        match role {
            Role::Jailer => {
                while let Some(frame) = frame::recv::<JailerToKeeper>(socket.as_fd(), 0)? {
                    if let JailerToKeeper::SelfTest { report, .. } = &frame.say {
                        tested(report);
                    }
                    self.hear_jailer(frame.say, frame.fds);
                }
            }
            Role::Egress => {
                while let Some(frame) = frame::recv::<EgressToKeeper>(socket.as_fd(), SAID_MAX)? {
                    self.hear_egress(frame.say, frame.blob);
                }
            }
            Role::Keeper | Role::Front => {
                let what = format!("the {} does nothing for the keeper", role.name());
                return Err(Error::new(what));
            }
        }
        Ok(())
    }

    fn tell_all(&self, role: Role) {
        for sender in lock(&self.waiting).values() {
            drop(sender.send(Event::Lost(role)));
        }
    }
}

/// Where the events of one ticket arrive, until it is dropped.
#[derive(Debug)]
pub(super) struct Inbox<'a> {
    links: &'a Links,
    ticket: Id,
    receiver: Receiver<Event>,
}

impl Inbox<'_> {
    /// The next event; nothing after `wait`.
    pub(super) fn next(&self, wait: Duration) -> Option<Event> {
        self.receiver.recv_timeout(wait).ok()
    }
}

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        lock(&self.links.waiting).remove(&self.ticket);
    }
}

/// A panic elsewhere aborts the process, so a poisoned lock cannot be seen.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_a_lost_role_learns_it_once() {
        let links = Links::default();
        let (old, _far) = frame::pair().unwrap();
        let generation = links.join(Role::Jailer, Arc::new(old));
        let ticket = Id::random().unwrap();
        let inbox = links.listen(ticket);
        let (new, _far) = frame::pair().unwrap();
        links.join(Role::Jailer, Arc::new(new));
        links.lost(Role::Jailer, generation);
        assert!(matches!(
            inbox.next(Duration::ZERO),
            Some(Event::Lost(Role::Jailer))
        ));
        assert!(inbox.next(Duration::ZERO).is_none());
        assert_eq!(links.up(), [Role::Jailer]);
        drop(inbox);
        assert!(lock(&links.waiting).is_empty());
    }
}
