//! Implicit runs: calls of an agent that come without an open run belong to one that ends after 30
//! idle minutes. A keeper that starts again goes on with the runs that have not.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::call::id::Id;
use crate::error::Result;

/// Idle time that ends an implicit run, in microseconds.
pub(super) const IDLE_US: i64 = 30 * 60 * 1_000_000;

/// The open run of each agent.
#[derive(Debug, Default)]
pub(super) struct Runs {
    open: Mutex<HashMap<String, (Id, i64)>>,
}

impl Runs {
    /// The runs that were open when the log was last written to: each with its agent, and how many
    /// microseconds ago it was called in, at `now`.
    pub(super) fn resume(&self, runs: impl Iterator<Item = (String, Id, i64)>, now: i64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was turned back makes none older, and none younger than it is.
        let young = runs.filter(|(_, _, ago)| (0..IDLE_US).contains(ago));
        open.extend(young.map(|(agent, run, ago)| (agent, (run, now.saturating_sub(ago)))));
    }

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

    #[test]
    fn a_keeper_goes_on_with_runs_that_are_not_over() {
        let runs = Runs::default();
        let ids = [
            Id::random().unwrap(),
            Id::random().unwrap(),
            Id::random().unwrap(),
        ];
        let known = [("a", 5), ("b", IDLE_US), ("c", -1)].into_iter().zip(ids);
        let known = known.map(|((agent, ago), id)| (agent.to_owned(), id, ago));
        runs.resume(known, 7);
        assert_eq!(runs.of("a", 8).unwrap(), (ids[0], false));
        assert!(runs.of("b", 8).unwrap().1 && runs.of("c", 8).unwrap().1);
        assert!(runs.of("a", 7 - 5 + 2 * IDLE_US).unwrap().1);
    }
}
