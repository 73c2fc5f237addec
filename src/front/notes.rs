//! What the keeper is told of malformed input: enough for the log, too little to fill it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::keeper::Keeper;

/// Longest text of a note, in bytes.
const WHY_MAX: usize = 224;

/// Notes about one source, at most one in a given time.
#[derive(Debug)]
pub(super) struct Notes {
    keeper: Rc<Keeper>,
    agent: String,
    every: Duration,
    last: Cell<Option<Instant>>,
    held_back: Cell<u64>,
}

impl Notes {
    /// Notes about `agent`, at most one each `every`.
    pub(super) fn new(keeper: &Rc<Keeper>, agent: &str, every: Duration) -> Self {
        Self {
            keeper: Rc::clone(keeper),
            agent: agent.into(),
            every,
            last: Cell::new(None),
            held_back: Cell::new(0),
        }
    }

    /// Notes `what`, which holds nothing of the input; the next one after a pause says how many
    /// were held back.
    pub(super) fn note(&self, what: &str) {
        let now = Instant::now();
        if self
            .last
            .get()
            .is_some_and(|last| now.duration_since(last) < self.every)
        {
            self.held_back.set(self.held_back.get().saturating_add(1));
            return;
        }
        self.last.set(Some(now));
        let mut why = what.to_owned();
        why.truncate(why.floor_char_boundary(WHY_MAX));
        match self.held_back.take() {
            0 => {}
            count => why.push_str(&format!(" (and {count} more before)")),
        }
        self.keeper.note(&self.agent, why);
    }
}
