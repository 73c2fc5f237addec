//! From an agent's bytes to a [`Call`]: who asks, may they see the tool, are there too many, and
//! do the arguments fit the tool's schema.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::plan::Plan;
use super::refuse::Refusal;
use super::{Asked, Keeper, OVERHEAD};
use crate::audit::Draft;
use crate::call::tool::Tool;
use crate::call::{Call, Caller, admit};
use crate::error::Error;
use crate::policy::Ground;
use crate::time::Clock;
use crate::wire::admin::Mode;

impl Keeper {
    /// Checks everything that does not depend on policy.
    pub(super) fn admit(&self, asked: &Asked) -> Result<Call, Refusal> {
        if let Some(why) = self.log.blocked() {
            return Err(Error::new(format!("the log takes no entries: {why}")).into());
        }
        if let Some(fitness) = self.hands.links().fitness()
            && !fitness.fit
        {
            return Err(Error::new("the jail's self-test failed").into());
        }
        if !self.state().agents.contains_key(&asked.agent) {
            return Err(Refusal::no_agent());
        }
        self.quota(asked)?;
        let tool = self.tool(&asked.agent, &asked.tool)?;
        let (run, begins) = self.runs.of(&asked.agent, self.clock.since_boot_micros())?;
        if begins {
            let mut body = Map::new();
            body.insert("run".into(), json!(run));
            body.insert("agent".into(), asked.agent.as_str().into());
            body.insert("client".into(), asked.client.as_str().into());
            self.log.append(Draft::new("run.open", body))?;
        }
        let caller = Caller {
            agent: asked.agent.clone(),
            run,
            call: asked.call,
            received: asked.received,
        };
        admit(&asked.arguments, &tool, caller).map_err(Refusal::unfit)
    }

    /// The tools an agent sees, as MCP lists them.
    pub(super) fn listing(&self, agent: &str) -> Value {
        let tools = self.catalog.tools();
        tools
            .filter(|tool| self.sees(agent, tool))
            .map(|tool| tool.listing())
            .collect()
    }

    /// What rules and policy are asked with.
    pub(super) fn ground<'a>(&'a self, call: &'a Call, mode: Mode) -> Ground<'a> {
        self.ground_of(call.agent(), mode)
    }

    /// The same for a call nobody has made.
    pub(super) fn ground_of<'a>(&'a self, agent: &'a str, mode: Mode) -> Ground<'a> {
        Ground {
            plane: &self.setup.plane,
            agent,
            mode,
            separation_one_user: self.setup.one_user(),
            unattended: self.setup.unattended,
            roots: &self.setup.roots,
            http: &self.setup.http,
        }
    }

    /// How the call is carried out.
    pub(super) fn plan(&self, call: &Call, ground: &Ground<'_>) -> Result<Plan, Refusal> {
        Plan::of(call, ground).map_err(|unplanned| {
            let (argument, say) = (Some(unplanned.argument), unplanned.say.as_str());
            Refusal::failed("bad_argument", argument, say, String::new())
        })
    }

    fn tool(&self, agent: &str, name: &str) -> Result<Arc<Tool>, Refusal> {
        match self.catalog.tool(name) {
            // Agents use the wire name only, and a tool they do not see is a tool there is not.
            Some(tool) if tool.wire() == name && self.sees(agent, tool) => Ok(Arc::clone(tool)),
            _ => Err(Refusal::no_tool(name)),
        }
    }

    fn sees(&self, agent: &str, tool: &Tool) -> bool {
        self.state().agents.get(agent).is_some_and(|known| {
            known.tools.is_empty()
                || known
                    .tools
                    .iter()
                    .any(|glob| fits(glob, tool.wire()) || fits(glob, tool.name()))
        })
    }

    fn quota(&self, asked: &Asked) -> Result<(), Refusal> {
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
        let wait = exceeded.retry_after.as_secs() + 1;
        let say = format!("{} is used up; try again in {wait} s", exceeded.which);
        Err(Refusal::over_quota(say))
    }
}

/// `*` at the end stands for anything.
pub(super) fn fits(glob: &str, name: &str) -> bool {
    match glob.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == glob,
    }
}
