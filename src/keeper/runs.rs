//! Implicit runs: calls of an agent that come without an open run belong to one that ends after 30
//! idle minutes (or with the keeper).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::call::id::Id;
use crate::error::Result;

/// Idle time that ends an implicit run, in microseconds.
const IDLE_US: i64 = 30 * 60 * 1_000_000;

/// The open run of each agent.
#[derive(Debug, Default)]
pub(super) struct Runs {
    open: Mutex<HashMap<String, (Id, i64)>>,
}

impl Runs {
    /// The agent's run at `now` (microseconds since boot), and whether it begins with this call.
    pub(super) fn of(&self, agent: &str, now: i64) -> Result<(Id, bool)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((run, last)) = open.get_mut(agent)
            && now.saturating_sub(*last) < IDLE_US
        {
            *last = now;
            return Ok((*run, false));
        }
        let run = Id::random()?;
        open.insert(agent.into(), (run, now));
        Ok((run, true))
    }

    /// Ends the agent's run.
    pub(super) fn end(&self, agent: &str) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_after_thirty_idle_minutes() {
        let runs = Runs::default();
        let (first, new) = runs.of("a", 0).unwrap();
        assert!(new);
        assert_eq!(runs.of("a", IDLE_US - 1).unwrap(), (first, false));
        assert!(runs.of("b", 0).unwrap().1);
        assert!(runs.of("a", 2 * IDLE_US).unwrap().1);
    }
}
