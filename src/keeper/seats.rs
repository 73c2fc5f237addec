//! How many calls are carried at once. Whoever finds no seat waits, and the link it reads from
//! fills up behind it: the front feels that, the keeper's memory does not.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Context, Result};

/// Calls carried at once.
const SEATS: usize = 128;
/// Stack of a thread that carries a call: policy evaluation recurses.
const STACK: usize = 1 << 20;

/// The seats taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats {
    taken: Arc<(Mutex<usize>, Condvar)>,
}

impl Seats {
    /// Runs `work` on a thread of its own once a seat is free.
    pub(super) fn seat(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let (count, changed) = &*self.taken;
        let free = changed.wait_while(lock(count), |taken| *taken >= SEATS);
        *free.unwrap_or_else(PoisonError::into_inner) += 1;
        let seats = self.clone();
        let thread = std::thread::Builder::new()
            .name("call".into())
            .stack_size(STACK);
        let started = thread.spawn(move || {
            work();
            seats.leave();
        });
        if started.is_err() {
            self.leave();
        }
        started
            .map(drop)
            .context(|| "start a thread for a call".into())
    }

    /// Seats taken now.
    pub(super) fn taken(&self) -> usize {
        *lock(&self.taken.0)
    }

    /// Waits until nobody sits, at most for `wait`; whether nobody does.
    pub(super) fn empty(&self, wait: Duration) -> bool {
        let (count, changed) = &*self.taken;
        let waited = changed.wait_timeout_while(lock(count), wait, |taken| *taken > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }

    fn leave(&self) {
        let (count, changed) = &*self.taken;
        *lock(count) -= 1;
        changed.notify_all();
    }
}

fn lock(count: &Mutex<usize>) -> MutexGuard<'_, usize> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}
