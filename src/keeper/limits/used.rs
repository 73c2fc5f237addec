//! What an agent has used, as far as the log tells: of its run, and of the day. The same type counts
//! calls while the keeper runs and is folded from the log, so that a keeper that starts again goes on
//! where the one before it stopped.
//!
//! The log knows calls by their intents. Calls that were counted and then refused, or answered
//! without being made again, are not counted any more after a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::call::id::Id;
use crate::time::Timestamp;

/// A day, in microseconds.
const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

/// What one agent has used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::keeper) struct Used {
    /// Its newest run.
    pub(super) run: Option<Run>,
    /// Days since the epoch, UTC, of what `calls` counts.
    day: i64,
    /// Calls of that day, by the tool's name.
    calls: BTreeMap<String, u64>,
}

/// What one run has used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::keeper) struct Run {
    /// Which.
    pub(in crate::keeper) id: Id,
    /// When it was last called in.
    pub(in crate::keeper) last: Timestamp,
    /// Calls.
    pub(super) calls: u64,
    /// Calls that may change something.
    pub(super) writes: u64,
    /// Bytes of results.
    pub(super) result_bytes: u64,
}

impl Used {
    /// Its newest run.
    pub(in crate::keeper) fn newest(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Run `id` at `now`: it begins where it is another than the one before.
    pub(in crate::keeper) fn enter(&mut self, id: Id, now: Timestamp) -> &mut Run {
        if self.run.as_ref().is_some_and(|run| run.id != id) {
            self.run = None;
        }
        let run = self.run.get_or_insert(Run {
            id,
            last: now,
            calls: 0,
            writes: 0,
            result_bytes: 0,
        });
        run.last = now;
        run
    }

    /// What run `id` has used; another one may have begun since.
    pub(super) fn in_run(&mut self, id: Id) -> Option<&mut Run> {
        self.run.as_mut().filter(|run| run.id == id)
    }

    /// A call to `tool` in run `id` at `now`.
    pub(in crate::keeper) fn called(&mut self, id: Id, tool: &str, now: Timestamp) {
        let run = self.enter(id, now);
        run.calls = run.calls.saturating_add(1);
        self.turn(now);
        let calls = self.calls.entry(tool.into()).or_default();
        *calls = calls.saturating_add(1);
    }

    /// The call just counted in run `id` is none: it was refused for what else it would have used.
    pub(super) fn refused(&mut self, id: Id, tool: &str) {
        if let Some(run) = self.in_run(id) {
            run.calls = run.calls.saturating_sub(1);
        }
        if let Some(calls) = self.calls.get_mut(tool) {
            *calls = calls.saturating_sub(1);
        }
    }

    /// A call of run `id` may change something.
    pub(in crate::keeper) fn wrote(&mut self, id: Id) {
        if let Some(run) = self.in_run(id) {
            run.writes = run.writes.saturating_add(1);
        }
    }

    /// A call of the run gave a result.
    pub(in crate::keeper) fn gave(&mut self, bytes: u64) {
        if let Some(run) = &mut self.run {
            run.result_bytes = run.result_bytes.saturating_add(bytes);
        }
    }

    /// Calls to `tool` on the day of `now`.
    pub(super) fn today(&mut self, tool: &str, now: Timestamp) -> u64 {
        self.turn(now);
        self.calls.get(tool).copied().unwrap_or_default()
    }

    /// A new day begins, never an old one: a clock that is turned back gives nobody anything.
    fn turn(&mut self, now: Timestamp) {
        let today = now.as_micros().div_euclid(DAY_US);
        if today > self.day {
            self.day = today;
            self.calls.clear();
        }
    }
}

/// Microseconds until the day of `now` ends.
pub(super) fn rest_of_day(now: Timestamp) -> i64 {
    DAY_US - now.as_micros().rem_euclid(DAY_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_and_a_day_count_from_nothing() {
        let at = |days: i64| Timestamp::from_micros(days * DAY_US + 5);
        let (one, two) = (Id::random().unwrap(), Id::random().unwrap());
        let mut used = Used::default();
        used.called(one, "git.push", at(10));
        used.wrote(one);
        used.gave(7);
        used.called(one, "git.log", at(10));
        let run = used.newest().unwrap();
        assert_eq!((run.calls, run.writes, run.result_bytes), (2, 1, 7));
        used.called(two, "git.push", at(10));
        // What is told late of the run before is none of this one's.
        used.wrote(one);
        used.refused(one, "git.log");
        let run = used.newest().unwrap();
        assert_eq!((run.calls, run.writes, run.result_bytes), (1, 0, 0));
        assert_eq!(used.today("git.push", at(10)), 2);
        // Yesterday is over; it does not come again with its clock.
        assert_eq!(used.today("git.push", at(9)), 2);
        assert_eq!(used.today("git.push", at(11)), 0);
        assert_eq!(rest_of_day(at(3)), DAY_US - 5);
    }
}
