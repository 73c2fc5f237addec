//! Counting a call before anything is done for it, and telling who has none left.

use serde_json::{Map, Value, json};

use super::limits::{Now, Over, Rules};
use super::refuse::Refusal;
use super::{Asked, Keeper, OVERHEAD};
use crate::audit::Draft;
use crate::call::Call;
use crate::call::id::Id;
use crate::call::tool::Tool;
use crate::policy;
use crate::time::{Clock, Timestamp};

impl Keeper {
    /// Counts what the agent is about to have recorded, refused or not.
    pub(super) fn count_entry(&self, asked: &Asked) -> Result<(), Refusal> {
        let bytes = u64::try_from(asked.arguments.len()).unwrap_or(u64::MAX);
        let bytes = bytes.saturating_add(OVERHEAD);
        let Err(exceeded) = self.count(&asked.agent, bytes) else {
            return Ok(());
        };
        if exceeded.report {
            let mut body = Map::new();
            body.insert("agent".into(), asked.agent.as_str().into());
            body.insert("which".into(), json!(exceeded.which));
            self.log.append(Draft::new("quota.exceeded", body))?;
        }
        let (which, what) = (exceeded.which.name(), exceeded.which.to_string());
        let what = format!("{what} is used up");
        Err(Refusal::over_quota(which, &what, exceeded.retry_after))
    }

    /// Counts a call to `tool` in `run`.
    pub(super) fn count_call(&self, agent: &str, tool: &Tool, run: Id) -> Result<(), Refusal> {
        let taken = self.limits.take(agent, tool, run, self.moment());
        self.tell_met(agent)?;
        taken.map_err(over)
    }

    /// Counts that a call may change something, where it may.
    pub(super) fn count_write(&self, call: &Call) -> Result<(), Refusal> {
        if !policy::changes(call) {
            return Ok(());
        }
        let taken = self
            .limits
            .take_write(call.agent(), call.tool(), call.run());
        self.tell_met(call.agent())?;
        taken.map_err(over)
    }

    /// Writes down the limits an agent has met: each once a minute, however often that was.
    fn tell_met(&self, agent: &str) -> Result<(), Refusal> {
        for met in self.limits.met(agent, self.moment()) {
            let mut body = Map::new();
            body.insert("agent".into(), agent.into());
            body.insert("which".into(), json!(met.which));
            if !met.of.is_empty() {
                body.insert("of".into(), met.of.into());
            }
            body.insert("limit".into(), met.limit.into());
            body.insert("refused".into(), met.refused.into());
            self.log.append(Draft::new("quota.exceeded", body))?;
        }
        Ok(())
    }

    /// Use against limits, for `status`.
    pub(super) fn limits_status(&self) -> Value {
        let mut told = self.limits.status(self.moment());
        let agents: Vec<String> = self.state().agents.keys().cloned().collect();
        let now = self.moment().boot;
        let mut quota = self
            .quota
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for agent in agents {
            if let (Some((used, limit)), Some(all)) =
                (quota.entries(&agent, now), told.as_array_mut())
            {
                all.push(json!({
                    "agent": agent, "which": "agent_entries", "of": "", "used": used, "limit": limit,
                }));
            }
        }
        told
    }

    /// The limits that configuration and manifests set.
    pub(super) fn rules_of(
        setup: &super::Setup,
        connectors: &super::connectors::Connectors,
    ) -> Rules {
        let agents = setup.agents.iter();
        Rules {
            run: setup.run,
            agents: agents
                .map(|(name, bounds)| (name.clone(), bounds.run))
                .collect(),
            connectors: connectors
                .all()
                .map(|(name, connector)| (name.clone(), connector.calls_per_minute()))
                .collect(),
            tools: connectors
                .all()
                .flat_map(|(name, connector)| connector.rates(name))
                .collect(),
        }
    }

    fn moment(&self) -> Now {
        Now {
            boot: Timestamp::from_micros(self.clock.since_boot_micros()),
            wall: self.clock.now(),
        }
    }
}

fn over(over: Over) -> Refusal {
    Refusal::over_quota(over.which.name(), &over.to_string(), over.retry_after)
}
