//! How many calls are carried at once, and how many of them one agent's. Whoever finds no seat is
//! told so at once: nobody waits behind somebody else's calls.
//!
//! Whoever reads a call off the front's link carries it out itself, and another thread reads on: a
//! call begins without having to wait for a thread to wake up.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::policy::EVALUATION_STACK;

/// Calls carried at once.
const SEATS: usize = 256;
/// Of these, one agent's at most: more than one connection may have open, because a seat is left a
/// moment after its call is answered.
const SHARE: usize = 96;

/// Threads that are kept while nobody needs them, and how long: starting one costs as much as a call.
const KEPT: usize = 16;
const KEPT_FOR: Duration = Duration::from_secs(10);

/// No seat is free.
#[derive(Debug)]
pub(super) struct Full;

/// The seats taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats {
    taken: Arc<(Mutex<Taken>, Condvar)>,
    threads: Arc<Threads>,
}

type Work = Box<dyn FnOnce() + Send>;

/// Threads without work, and work that is meant for them.
#[derive(Default)]
struct Threads {
    kept: Mutex<Kept>,
    work: Condvar,
}

#[derive(Default)]
struct Kept {
    idle: usize,
    /// Never more than there are idle threads.
    work: VecDeque<Work>,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("idle", &lock(&self.kept).idle)
            .finish()
    }
}

impl Threads {
    /// Runs `work` on a thread that has none, or on a new one.
    fn run(self: &Arc<Self>, work: Work) -> std::io::Result<()> {
        let mut kept = lock(&self.kept);
        if kept.idle > kept.work.len() {
            kept.work.push_back(work);
            drop(kept);
            self.work.notify_one();
            return Ok(());
        }
        drop(kept);
        let threads = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("call".into())
            .stack_size(EVALUATION_STACK);
        let started = thread.spawn(move || {
            let mut next = Some(work);
            while let Some(work) = next {
                work();
                next = threads.wait();
            }
        });
        started.map(drop)
    }

    /// More work; nothing where there is none for a while, or others wait for it already.
    fn wait(&self) -> Option<Work> {
        let mut kept = lock(&self.kept);
        if kept.idle >= KEPT {
            return None;
        }
        kept.idle += 1;
        let none = |kept: &mut Kept| kept.work.is_empty();
        let waited = self.work.wait_timeout_while(kept, KEPT_FOR, none);
        let (mut kept, _) = waited.unwrap_or_else(PoisonError::into_inner);
        kept.idle -= 1;
        kept.work.pop_front()
    }
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    agents: HashMap<String, usize>,
}

impl Seats {
    /// Runs `work` on a thread that may carry calls.
    ///
    /// # Errors
    /// There is no such thread, and no new one can be had.
    pub(super) fn begin(&self, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.threads.run(Box::new(work))
    }

    /// Has another thread do the `rest` of what this one was about, and runs `work` for `agent` here,
    /// if there is a seat.
    ///
    /// # Errors
    /// There is no seat: neither is done.
    pub(super) fn seat(
        &self,
        agent: &str,
        rest: impl FnOnce() + Send + 'static,
        work: impl FnOnce(),
    ) -> Result<(), Full> {
        if !self.take(agent) {
            return Err(Full);
        }
        if let Err(error) = self.begin(rest) {
            // As good as full: the rest has to be done.
            tracing::error!(%error, "cannot start a thread for calls");
            self.leave(agent);
            return Err(Full);
        }
        work();
        self.leave(agent);
        Ok(())
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_used_again_and_all_that_are_needed_run_at_once() {
        let seats = Seats::default();
        let (say, said) = std::sync::mpsc::channel();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            let (say, own) = (say.clone(), seats.clone());
            let work = move || {
                let rest = move || say.send(std::thread::current().id()).unwrap();
                assert!(own.seat("a", rest, || ()).is_ok());
            };
            seats.begin(work).unwrap();
            seen.insert(said.recv().unwrap());
            assert!(seats.empty(Duration::from_secs(60)));
        }
        assert!(seen.len() < 100, "no thread was used twice");
        let all = Arc::new(std::sync::Barrier::new(KEPT * 2 + 1));
        for _ in 0..KEPT * 2 {
            let (all, own) = (Arc::clone(&all), seats.clone());
            let waits = move || {
                all.wait();
            };
            let work = move || assert!(own.seat("a", || (), waits).is_ok());
            seats.begin(work).unwrap();
        }
        all.wait();
        assert!(seats.empty(Duration::from_secs(60)));
    }

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
