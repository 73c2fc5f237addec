//! Which answers of changing calls were delivered, written to the log behind the calls: nobody waits
//! for that. What is not written when a keeper dies was not delivered as far as the next one knows.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, json};

use super::Keeper;
use crate::audit::Draft;
use crate::call::id::Id;

/// Calls of one entry.
const AT_ONCE: usize = 100;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<Id>,
    writes: bool,
    ends: bool,
}

impl Deliveries {
    /// The answer to `call` was written out to its agent in whole.
    pub(super) fn tell(&self, call: Id) {
        self.lock().calls.push_back(call);
        self.changed.notify_all();
    }

    /// Nothing more comes; waits until all is written, at most for `wait`.
    pub(super) fn end(&self, wait: Duration) {
        let mut waiting = self.lock();
        waiting.ends = true;
        self.changed.notify_all();
        let busy = |waiting: &mut Waiting| waiting.writes || !waiting.calls.is_empty();
        drop(self.changed.wait_timeout_while(waiting, wait, busy));
    }

    /// The next calls, once there are some; none, where nothing more comes.
    fn next(&self) -> Vec<Id> {
        let mut waiting = self.lock();
        waiting.writes = false;
        self.changed.notify_all();
        let idle = |waiting: &mut Waiting| waiting.calls.is_empty() && !waiting.ends;
        let waited = self.changed.wait_while(waiting, idle);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        let few = waiting.calls.len().min(AT_ONCE);
        waiting.writes = few > 0;
        waiting.calls.drain(..few).collect()
    }

    /// A panic elsewhere aborts the process, so a poisoned lock cannot be seen.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what was delivered, as long as the keeper lives.
pub(super) fn run(keeper: &Keeper) {
    loop {
        let mut calls = keeper.deliveries.next();
        if calls.is_empty() {
            return;
        }
        // Rehearsals may come again: nothing happens twice.
        let state = keeper.state();
        calls.retain(|call| state.lately.holds(*call));
        drop(state);
        if calls.is_empty() {
            continue;
        }
        let mut body = Map::new();
        body.insert("calls".into(), json!(calls));
        if let Err(error) = keeper.log.append(Draft::new("call.delivered", body)) {
            tracing::error!(%error, "what was delivered could not be recorded");
        }
    }
}
