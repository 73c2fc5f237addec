//! What agents may use: calls of a connector and of single tools in a minute and a day, and calls,
//! writes and bytes of results in a run. Counted before arguments are looked at; who has none left
//! reaches neither policy nor a server.
//!
//! Minutes are counted from the keeper's start. Days and runs are counted from what the log tells
//! ([`used`]), so that nobody gets new ones by a restart. Every limit is of each agent's own use.

pub(super) mod used;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::runs::IDLE_US;
use crate::audit::quota::{Bucket, MINUTE, RunLimits};
use crate::call::id::Id;
use crate::call::tool::Tool;
use crate::catalog::connector::Rates;
use crate::time::Timestamp;
use used::{Used, rest_of_day};

/// Which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Which {
    /// Calls to a connector in a minute.
    ConnectorCallsPerMinute,
    /// Calls to a tool in a minute.
    ToolCallsPerMinute,
    /// Calls to a tool in a day.
    ToolCallsPerDay,
    /// Calls in a run.
    RunCalls,
    /// Calls in a run that may change something.
    RunWrites,
    /// Bytes of results in a run.
    RunResultBytes,
}

impl Which {
    /// The word in entries and answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ConnectorCallsPerMinute => "connector_calls_per_minute",
            Self::ToolCallsPerMinute => "tool_calls_per_minute",
            Self::ToolCallsPerDay => "tool_calls_per_day",
            Self::RunCalls => "run_calls",
            Self::RunWrites => "run_writes",
            Self::RunResultBytes => "run_result_bytes",
        }
    }
}

/// A limit that is reached. Nothing was taken from any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Over {
    /// Which.
    pub(super) which: Which,
    /// The connector's or tool's name; empty for a run.
    pub(super) of: String,
    /// How much it is.
    pub(super) limit: u64,
    /// When a call may pass again: of a run, when that has ended for want of calls.
    pub(super) retry_after: Duration,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, limit, .. } = self;
        match self.which {
            Which::ConnectorCallsPerMinute => {
                write!(
                    f,
                    "connector `{of}` takes {limit} calls a minute of each agent"
                )
            }
            Which::ToolCallsPerMinute => {
                write!(f, "tool `{of}` takes {limit} calls a minute of each agent")
            }
            Which::ToolCallsPerDay => {
                write!(f, "tool `{of}` takes {limit} calls a day of each agent")
            }
            Which::RunCalls => write!(f, "the {limit} calls of this run are used up"),
            Which::RunWrites => write!(
                f,
                "the {limit} calls of this run that may change something are used up"
            ),
            Which::RunResultBytes => {
                write!(f, "the {limit} bytes of results of this run are used up")
            }
        }
    }
}

/// How often an agent met a limit since that was last written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Met {
    /// Which limit.
    pub(super) which: Which,
    /// Of what; empty for a run.
    pub(super) of: String,
    /// How much it is.
    pub(super) limit: u64,
    /// Calls that it refused.
    pub(super) refused: u64,
}

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Since the host's start: what is set by nobody.
    pub(super) boot: Timestamp,
    /// Of the wall.
    pub(super) wall: Timestamp,
}

/// What limits there are.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Runs of every agent.
    pub(super) run: RunLimits,
    /// Runs of single agents.
    pub(super) agents: BTreeMap<String, RunLimits>,
    /// Calls a minute, by connector.
    pub(super) connectors: BTreeMap<String, u64>,
    /// By the tool's name.
    pub(super) tools: BTreeMap<String, Rates>,
}

/// Limits, and what is used of them.
#[derive(Debug)]
pub(super) struct Limits {
    rules: Rules,
    agents: Mutex<BTreeMap<String, Counted>>,
}

/// What one agent has used.
#[derive(Debug, Default)]
struct Counted {
    used: Used,
    minutes: HashMap<(Which, String), Bucket>,
    met: BTreeMap<(Which, String), Tally>,
}

/// What was refused and is not written down yet.
#[derive(Debug)]
struct Tally {
    limit: u64,
    refused: u64,
    told: Option<Timestamp>,
}

impl Limits {
    /// With what the log tells was used.
    pub(super) fn new(rules: Rules, used: BTreeMap<String, Used>) -> Self {
        let counted = used.into_iter().map(|(agent, used)| {
            let counted = Counted {
                used,
                ..Counted::default()
            };
            (agent, counted)
        });
        Self {
            rules,
            agents: Mutex::new(counted.collect()),
        }
    }

    /// Counts a call of an enrolled agent to `tool` in `run`.
    ///
    /// # Errors
    /// The limit that is free last.
    pub(super) fn take(&self, agent: &str, tool: &Tool, run: Id, now: Now) -> Result<(), Over> {
        let limits = self.run(agent);
        let mut agents = self.lock();
        let counted = entry(&mut agents, agent);
        let mut overs = counted.of_run(limits, run, now);
        let name = tool.name();
        let rates = self.rules.tools.get(name).copied().unwrap_or_default();
        let connector = tool.upstream().map(|upstream| upstream.connector.as_str());
        let each = connector.and_then(|of| self.rules.connectors.get(of).map(|most| (of, *most)));
        let minutes = [
            each.map(|(of, most)| (Which::ConnectorCallsPerMinute, of, most)),
            rates
                .calls_per_minute
                .map(|most| (Which::ToolCallsPerMinute, name, most)),
        ];
        for (which, of, limit) in minutes.iter().flatten().copied() {
            if let Some(retry_after) = counted.bucket(which, of, limit, now).wait(1) {
                overs.push(Over {
                    which,
                    of: of.into(),
                    limit,
                    retry_after,
                });
            }
        }
        if let Some(limit) = rates.calls_per_day
            && counted.used.today(name, now.wall) >= limit
        {
            let rest = u64::try_from(rest_of_day(now.wall)).unwrap_or_default();
            overs.push(Over {
                which: Which::ToolCallsPerDay,
                of: name.into(),
                limit,
                retry_after: Duration::from_micros(rest),
            });
        }
        if let Some(over) = overs.into_iter().max_by_key(|over| over.retry_after) {
            return Err(counted.met(over));
        }
        for (which, of, limit) in minutes.into_iter().flatten() {
            counted.bucket(which, of, limit, now).take(1);
        }
        counted.used.called(run, name, now.wall);
        Ok(())
    }

    /// Counts that the call just taken, to `tool` in `run`, may change something.
    ///
    /// # Errors
    /// Where the run has no such call left. It is none of the run's or the day's calls then; a minute's
    /// it is, or it could be tried without end.
    pub(super) fn take_write(&self, agent: &str, tool: &Tool, run: Id) -> Result<(), Over> {
        let limit = self.run(agent).writes;
        let mut agents = self.lock();
        let counted = entry(&mut agents, agent);
        let writes = counted.used.in_run(run).map_or(0, |run| run.writes);
        if let Some(limit) = limit.filter(|limit| writes >= *limit) {
            counted.used.refused(run, tool.name());
            return Err(counted.met(run_over(Which::RunWrites, limit)));
        }
        counted.used.wrote(run);
        Ok(())
    }

    /// Counts what an agent was given.
    pub(super) fn gave(&self, agent: &str, bytes: u64) {
        if let Some(counted) = self.lock().get_mut(agent) {
            counted.used.gave(bytes);
        }
    }

    /// What an agent met and is to be written down now: each limit once a minute, with how many calls
    /// it has refused since the last time.
    pub(super) fn met(&self, agent: &str, now: Now) -> Vec<Met> {
        let mut agents = self.lock();
        let Some(counted) = agents.get_mut(agent) else {
            return Vec::new();
        };
        let mut told = Vec::new();
        for ((which, of), tally) in &mut counted.met {
            let due = tally
                .told
                .is_none_or(|last| now.boot.as_micros().abs_diff(last.as_micros()) >= MINUTE);
            if tally.refused > 0 && due {
                told.push(Met {
                    which: *which,
                    of: of.clone(),
                    limit: tally.limit,
                    refused: std::mem::take(&mut tally.refused),
                });
                tally.told = Some(now.boot);
            }
        }
        told
    }

    /// Forgets a revoked agent.
    pub(super) fn forget(&self, agent: &str) {
        self.lock().remove(agent);
    }

    /// Use against limits: `[{agent, which, of, used, limit}]`. Nothing of what has no limit.
    pub(super) fn status(&self, now: Now) -> Value {
        let mut all = Vec::new();
        for (agent, counted) in self.lock().iter_mut() {
            let mut tell = |which: Which, of: &str, used: u64, limit: Option<u64>| {
                if let Some(limit) = limit {
                    all.push(json!({
                        "agent": agent, "which": which, "of": of, "used": used, "limit": limit,
                    }));
                }
            };
            let limits = self.run(agent);
            if let Some(run) = counted.used.newest() {
                tell(Which::RunCalls, "", run.calls, limits.calls);
                tell(Which::RunWrites, "", run.writes, limits.writes);
                tell(
                    Which::RunResultBytes,
                    "",
                    run.result_bytes,
                    limits.result_bytes,
                );
            }
            for (tool, rates) in &self.rules.tools {
                let today = counted.used.today(tool, now.wall);
                if today > 0 {
                    tell(Which::ToolCallsPerDay, tool, today, rates.calls_per_day);
                }
            }
            for ((which, of), bucket) in &mut counted.minutes {
                bucket.refill(now.boot);
                if bucket.used() > 0 {
                    tell(*which, of, bucket.used(), Some(bucket.size()));
                }
            }
        }
        all.into()
    }

    fn run(&self, agent: &str) -> RunLimits {
        let own = self.rules.agents.get(agent).copied().unwrap_or_default();
        own.or(self.rules.run)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Counted>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// The limits of its run that are reached.
    fn of_run(&mut self, limits: RunLimits, run: Id, now: Now) -> Vec<Over> {
        let run = self.used.enter(run, now.wall);
        let all = [
            (Which::RunCalls, run.calls, limits.calls),
            (Which::RunResultBytes, run.result_bytes, limits.result_bytes),
        ];
        let over = |(which, used, limit): (Which, u64, Option<u64>)| {
            let limit = limit.filter(|limit| used >= *limit)?;
            Some(run_over(which, limit))
        };
        all.into_iter().filter_map(over).collect()
    }

    fn bucket(&mut self, which: Which, of: &str, limit: u64, now: Now) -> &mut Bucket {
        let bucket = self.minutes.entry((which, of.to_owned()));
        let bucket = bucket.or_insert_with(|| Bucket::new(limit, MINUTE, now.boot));
        bucket.refill(now.boot);
        bucket
    }

    /// Notes a limit that was met.
    fn met(&mut self, over: Over) -> Over {
        let tally = self
            .met
            .entry((over.which, over.of.clone()))
            .or_insert(Tally {
                limit: over.limit,
                refused: 0,
                told: None,
            });
        tally.refused = tally.refused.saturating_add(1);
        over
    }
}

fn entry<'a>(agents: &'a mut BTreeMap<String, Counted>, agent: &str) -> &'a mut Counted {
    agents.entry(agent.to_owned()).or_default()
}

/// A run ends when nobody has called in it for as long.
fn run_over(which: Which, limit: u64) -> Over {
    Over {
        which,
        of: String::new(),
        limit,
        retry_after: Duration::from_micros(u64::try_from(IDLE_US).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
