//! How much agents may write into the log: token buckets for entries per minute and bytes per
//! day, for each agent and for the plane as a whole.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::wire::messages::ARGUMENTS_MAX;

/// In microseconds.
pub(crate) const MINUTE: u64 = 60 * 1_000_000;
const DAY: u64 = 24 * 60 * MINUTE;

/// What the entries of a call take in the log besides arguments and result, in bytes, about.
pub const OVERHEAD: u64 = 2048;
/// What the largest call needs before it is let in, in bytes: a bucket that holds less would refuse
/// it for ever. Its result is owed.
pub const CALL_MAX: u64 = ARGUMENTS_MAX as u64 + OVERHEAD;

/// One pair of limits. A bucket holds as much as its whole period allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Entries a minute.
    pub entries_per_minute: u64,
    /// Bytes a day.
    pub bytes_per_day: u64,
}

/// What one run of an agent may use. Nothing means without a limit of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunLimits {
    /// Calls.
    pub calls: Option<u64>,
    /// Calls that may change something.
    pub writes: Option<u64>,
    /// Bytes of results.
    pub result_bytes: Option<u64>,
}

impl RunLimits {
    /// What is said here, and else there.
    #[must_use]
    pub fn or(self, usual: Self) -> Self {
        Self {
            calls: self.calls.or(usual.calls),
            writes: self.writes.or(usual.writes),
            result_bytes: self.result_bytes.or(usual.result_bytes),
        }
    }
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The agent's entries a minute.
    AgentEntries,
    /// The agent's bytes a day.
    AgentBytes,
    /// The plane's entries a minute.
    PlaneEntries,
    /// The plane's bytes a day.
    PlaneBytes,
}

impl Which {
    /// The word in entries and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::AgentEntries => "agent_entries",
            Self::AgentBytes => "agent_bytes",
            Self::PlaneEntries => "plane_entries",
            Self::PlaneBytes => "plane_bytes",
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AgentEntries => "the agent's log entries a minute",
            Self::AgentBytes => "the agent's log bytes a day",
            Self::PlaneEntries => "the plane's log entries a minute",
            Self::PlaneBytes => "the plane's log bytes a day",
        })
    }
}

/// A refused entry. Nothing was taken from any bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// The limit reached first.
    pub which: Which,
    /// When the same request may be granted; never, where it exceeds a whole bucket: then the
    /// time in which the bucket fills.
    pub retry_after: Duration,
    /// Whether to write an entry `quota.exceeded`: once a minute for each agent.
    pub report: bool,
}

/// Tokens in millionths, so that slow rates lose nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    size: u64,
    period: u64,
    /// Tokens times the period in microseconds.
    level: u128,
    /// What was used before it was there, in the same unit: paid first. A whole bucket at most.
    debt: u128,
    at: Timestamp,
}

impl Bucket {
    /// A full one: `size` tokens, all of which come back within `period` microseconds.
    pub(crate) fn new(size: u64, period: u64, now: Timestamp) -> Self {
        Self {
            size,
            period,
            level: u128::from(size) * u128::from(period),
            debt: 0,
            at: now,
        }
    }

    /// Takes what is there, and owes the rest.
    fn owe(&mut self, amount: u64) {
        let want = u128::from(amount) * u128::from(self.period);
        let short = want.saturating_sub(self.level);
        let full = u128::from(self.size) * u128::from(self.period);
        self.level = self.level.saturating_sub(want);
        self.debt = full.min(self.debt.saturating_add(short));
    }

    /// Adds what came back since it was looked at.
    pub(crate) fn refill(&mut self, now: Timestamp) {
        // A clock that was turned back gives nothing, and takes nothing.
        let passed = now.as_micros().saturating_sub(self.at.as_micros());
        let passed = u64::try_from(passed).unwrap_or(0);
        let full = u128::from(self.size) * u128::from(self.period);
        let gained = u128::from(passed) * u128::from(self.size);
        let paid = gained.min(self.debt);
        self.debt -= paid;
        self.level = full.min(self.level + gained - paid);
        self.at = now;
    }

    /// How long until `amount` can be taken; nothing when it can be now.
    pub(crate) fn wait(&self, amount: u64) -> Option<Duration> {
        let want = u128::from(amount.min(self.size)) * u128::from(self.period);
        let over = amount > self.size;
        let missing = want.saturating_sub(self.level);
        if missing == 0 && !over {
            return None;
        }
        if over || self.size == 0 {
            return Some(Duration::from_micros(self.period));
        }
        let micros = missing.div_ceil(u128::from(self.size));
        Some(Duration::from_micros(
            u64::try_from(micros).unwrap_or(u64::MAX),
        ))
    }

    /// Tokens it holds when it is full.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Tokens taken that have not come back, those in parts counted as whole.
    pub(crate) fn used(&self) -> u64 {
        let full = u128::from(self.size) * u128::from(self.period);
        let used = full
            .saturating_sub(self.level)
            .div_ceil(u128::from(self.period.max(1)));
        u64::try_from(used).unwrap_or(u64::MAX)
    }

    /// Takes `amount`; what is not there is not taken.
    pub(crate) fn take(&mut self, amount: u64) {
        self.level = self
            .level
            .saturating_sub(u128::from(amount) * u128::from(self.period));
    }
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    entries: Bucket,
    bytes: Bucket,
}

impl Pair {
    fn new(limits: Limits, now: Timestamp) -> Self {
        Self {
            entries: Bucket::new(limits.entries_per_minute, MINUTE, now),
            bytes: Bucket::new(limits.bytes_per_day, DAY, now),
        }
    }

    fn refill(&mut self, now: Timestamp) {
        self.entries.refill(now);
        self.bytes.refill(now);
    }

    fn take(&mut self, bytes: u64) {
        self.entries.take(1);
        self.bytes.take(bytes);
    }
}

#[derive(Debug)]
struct Agent {
    pair: Pair,
    reported: Option<Timestamp>,
}

/// The buckets of one plane. Agents come from the operator's list, so their number is bounded.
#[derive(Debug)]
pub struct Quota {
    agent: Limits,
    /// Of single agents.
    own: HashMap<String, Limits>,
    plane_limits: Limits,
    plane: Option<Pair>,
    agents: HashMap<String, Agent>,
}

impl Quota {
    /// Full buckets.
    pub fn new(agent: Limits, plane: Limits) -> Self {
        Self {
            agent,
            own: HashMap::new(),
            plane_limits: plane,
            plane: None,
            agents: HashMap::new(),
        }
    }

    /// With limits of their own for single agents.
    #[must_use]
    pub fn with(mut self, own: HashMap<String, Limits>) -> Self {
        self.own = own;
        self
    }

    /// Entries an agent has used of those it may write in a minute; nothing where it has none.
    pub fn entries(&mut self, agent: &str, now: Timestamp) -> Option<(u64, u64)> {
        let pair = &mut self.agents.get_mut(agent)?.pair;
        pair.refill(now);
        let used = pair.entries.used();
        (used > 0).then(|| (used, pair.entries.size()))
    }

    /// Takes one entry of `bytes` bytes for `agent`.
    ///
    /// # Errors
    /// Says which limit is reached and when to try again.
    pub fn take(&mut self, agent: &str, bytes: u64, now: Timestamp) -> Result<(), Exceeded> {
        let plane = self
            .plane
            .get_or_insert_with(|| Pair::new(self.plane_limits, now));
        if !self.agents.contains_key(agent) {
            let fresh = Agent {
                pair: Pair::new(*self.own.get(agent).unwrap_or(&self.agent), now),
                reported: None,
            };
            self.agents.insert(agent.into(), fresh);
        }
        let Some(agent) = self.agents.get_mut(agent) else {
            return Ok(());
        };
        plane.refill(now);
        agent.pair.refill(now);
        let waits = [
            (Which::AgentEntries, agent.pair.entries.wait(1)),
            (Which::AgentBytes, agent.pair.bytes.wait(bytes)),
            (Which::PlaneEntries, plane.entries.wait(1)),
            (Which::PlaneBytes, plane.bytes.wait(bytes)),
        ];
        let longest = waits
            .into_iter()
            .filter_map(|(which, wait)| wait.map(|wait| (which, wait)))
            .max_by_key(|(_, wait)| *wait);
        let Some((which, retry_after)) = longest else {
            plane.take(bytes);
            agent.pair.take(bytes);
            return Ok(());
        };
        let report = agent.reported.is_none_or(|last| {
            // Also after the clock was turned back by more than a minute.
            now.as_micros().abs_diff(last.as_micros()) >= MINUTE
        });
        if report {
            agent.reported = Some(now);
        }
        Err(Exceeded {
            which,
            retry_after,
            report,
        })
    }

    /// Takes `bytes` more for what an entry let in caused. What the buckets do not hold is owed, at
    /// most a whole bucket, and nothing is let in before it is paid.
    pub fn charge(&mut self, agent: &str, bytes: u64) {
        if let Some(plane) = &mut self.plane {
            plane.bytes.owe(bytes);
        }
        if let Some(agent) = self.agents.get_mut(agent) {
            agent.pair.bytes.owe(bytes);
        }
    }

    /// Forgets a revoked agent.
    pub fn forget(&mut self, agent: &str) {
        self.agents.remove(agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * SECOND)
    }

    #[test]
    fn buckets_empty_refill_and_report_once_a_minute() {
        let agent = Limits {
            entries_per_minute: 6,
            bytes_per_day: 1000,
        };
        let mut quota = Quota::new(
            agent,
            Limits {
                entries_per_minute: 8,
                bytes_per_day: 2000,
            },
        );
        for _ in 0..6 {
            quota.take("a", 10, at(0)).unwrap();
        }
        let refused = quota.take("a", 10, at(0)).unwrap_err();
        assert_eq!(refused.which, Which::AgentEntries);
        assert_eq!(refused.retry_after, Duration::from_secs(10));
        assert!(refused.report);
        assert!(!quota.take("a", 10, at(9)).unwrap_err().report);
        quota.take("a", 10, at(10)).unwrap();
        assert!(quota.take("a", 10, at(10)).is_err());
        assert!(
            quota
                .take("a", 1001, at(120))
                .is_err_and(|e| e.which == Which::AgentBytes && e.report)
        );
    }

    #[test]
    fn the_plane_has_its_own_limit_and_a_clock_turned_back_gives_nothing() {
        let agent = Limits {
            entries_per_minute: 6,
            bytes_per_day: 1000,
        };
        let mut quota = Quota::new(
            agent,
            Limits {
                entries_per_minute: 8,
                bytes_per_day: 2000,
            },
        );
        for name in ["a", "b", "a", "b", "a", "b", "a", "b"] {
            quota.take(name, 1, at(1000)).unwrap();
        }
        assert_eq!(
            quota.take("c", 1, at(1000)).unwrap_err().which,
            Which::PlaneEntries
        );
        assert!(quota.take("c", 1, at(0)).is_err());
        assert!(quota.take("c", 1, at(8)).is_ok());
        let none = Limits {
            entries_per_minute: 0,
            bytes_per_day: 0,
        };
        assert!(Quota::new(none, none).take("a", 0, at(0)).is_err());
    }

    #[test]
    fn an_agent_can_have_limits_of_its_own() {
        let limits = |entries_per_minute| Limits {
            entries_per_minute,
            bytes_per_day: 1000,
        };
        let own = [("b".to_owned(), limits(1))].into();
        let mut quota = Quota::new(limits(3), limits(100)).with(own);
        quota.take("b", 1, at(0)).unwrap();
        assert!(quota.take("b", 1, at(0)).is_err());
        quota.take("a", 1, at(0)).unwrap();
        quota.take("a", 1, at(0)).unwrap();
        assert_eq!(quota.entries("a", at(0)), Some((2, 3)));
        assert_eq!(quota.entries("a", at(60)), None);
    }

    #[test]
    fn what_was_used_before_it_was_there_is_paid_first() {
        let limits = Limits {
            entries_per_minute: 1000,
            bytes_per_day: 1000,
        };
        let mut quota = Quota::new(limits, limits);
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        quota.take("a", 1, at(0)).unwrap();
        quota.charge("a", 1500);
        // 501 bytes are owed: half a day pays 500 of them.
        assert!(quota.take("a", 1, at(12 * 3600)).is_err());
        quota.take("a", 1, at(13 * 3600)).unwrap();
        quota.charge("a", 1 << 40);
        quota.take("a", 1, at(3 * 24 * 3600)).unwrap();
    }
}
