//! How many calls are carried at once, and how many of them one agent's. Whoever finds no seat is
//! told so at once: nobody waits behind somebody else's calls.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::policy::EVALUATION_STACK;

/// Calls carried at once.
const SEATS: usize = 256;
/// Of these, one agent's at most: more than one connection may have open, because a seat is left a
/// moment after its call is answered.
const SHARE: usize = 96;

/// No seat is free.
#[derive(Debug)]
pub(super) struct Full;

/// The seats taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats {
    taken: Arc<(Mutex<Taken>, Condvar)>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    agents: HashMap<String, usize>,
}

impl Seats {
    /// Runs `work` for `agent` on a thread of its own, if there is a seat.
    pub(super) fn seat(&self, agent: &str, work: impl FnOnce() + Send + 'static) -> Option<Full> {
        if !self.take(agent) {
            return Some(Full);
        }
        let (seats, name) = (self.clone(), agent.to_owned());
        let thread = std::thread::Builder::new()
            .name("call".into())
            .stack_size(EVALUATION_STACK);
        let started = thread.spawn(move || {
            work();
            seats.leave(&name);
        });
        if let Err(error) = started {
            // As good as full: the link this was read from has to go on.
            tracing::error!(%error, "cannot start a thread for a call");
            self.leave(agent);
            return Some(Full);
        }
        None
    }

    /// Seats taken now.
    pub(super) fn taken(&self) -> usize {
        lock(&self.taken.0).all
    }

    /// Waits until nobody sits, at most for `wait`; whether nobody does.
    pub(super) fn empty(&self, wait: Duration) -> bool {
        let (taken, changed) = &*self.taken;
        let waited = changed.wait_timeout_while(lock(taken), wait, |taken| taken.all > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.all == 0
    }

    fn take(&self, agent: &str) -> bool {
        let mut taken = lock(&self.taken.0);
        let own = taken.agents.get(agent).copied().unwrap_or_default();
        if taken.all >= SEATS || own >= SHARE {
            return false;
        }
        taken.all += 1;
        taken.agents.insert(agent.into(), own + 1);
        true
    }

    fn leave(&self, agent: &str) {
        let (taken, changed) = &*self.taken;
        let mut taken = lock(taken);
        taken.all -= 1;
        match taken.agents.get_mut(agent) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.agents.remove(agent)),
        }
        changed.notify_all();
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_cannot_take_all_seats() {
        let seats = Seats::default();
        let taken = (0..SEATS).filter(|_| seats.take("greedy")).count();
        assert_eq!(taken, SHARE);
        assert!(seats.take("other"));
        seats.leave("greedy");
        assert!(seats.take("greedy") && !seats.take("greedy"));
        assert_eq!(seats.taken(), SHARE + 1);
    }
}
