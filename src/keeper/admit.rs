//! From an agent's bytes to a [`Call`]: who asks, may they see the tool, are there too many, and
//! do the arguments fit the tool's schema.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Map, json};

use super::again::{Kept, Ours, Turn};
use super::mirrored;
use super::plan::Plan;
use super::refuse::Refusal;
use super::{Asked, Keeper};
use crate::audit::Draft;
use crate::audit::evidence::described;
use crate::call::id::Id;
use crate::call::tool::Tool;
use crate::call::{Call, Caller, admit};
use crate::error::Error;
use crate::policy::Ground;
use crate::time::Clock;
use crate::wire::admin::Mode;

impl Keeper {
    /// Checks everything that does not depend on policy.
    pub(super) fn admit(&self, asked: &Asked) -> Result<Call, Refusal> {
        if !self.state().agents.contains_key(&asked.agent) {
            return Err(Refusal::no_agent());
        }
        // First of all: a refusal is an entry too, and while calls cannot be carried out they cost
        // what they always do.
        self.count_entry(asked)?;
        self.able()?;
        let runtime = self.runtime(&asked.agent)?;
        let tool = self.tool(asked)?;
        let (run, begins) = self.runs.of(&asked.agent, self.clock.since_boot_micros())?;
        if begins {
            let mut body = Map::new();
            body.insert("run".into(), json!(run));
            body.insert("agent".into(), asked.agent.as_str().into());
            body.insert("client".into(), asked.client.as_str().into());
            if let Some(pinned) = runtime {
                // What the operator pinned; what a client says of itself is a label.
                body.insert("pin".into(), pinned.digest.into());
                body.insert("models".into(), json!(pinned.models));
            }
            self.log.append(Draft::new("run.open", body))?;
        }
        self.count_call(&asked.agent, &tool, run)?;
        let caller = Caller {
            agent: asked.agent.clone(),
            run,
            call: asked.call,
            received: asked.received,
        };
        let call = admit(&asked.arguments, &tool, caller).map_err(Refusal::unfit)?;
        if let Some(headers) = &asked.mirrored {
            mirrored::check(tool.input_schema(), call.arguments(), headers)
                .map_err(|header| Refusal::header_mismatch(&header))?;
        }
        self.count_write(&call)?;
        Ok(call)
    }

    /// Whether any call can be carried out now.
    fn able(&self) -> Result<(), Error> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Error::new("the plane is stopping"));
        }
        if let Some(why) = self.log.blocked() {
            return Err(Error::new(format!("the log takes no entries: {why}")));
        }
        if let Some(fitness) = self.hands.links().fitness()
            && !fitness.fit
        {
            return Err(Error::new("the jail's self-test failed"));
        }
        Ok(())
    }

    /// Protection that jails lack now, by name.
    pub(super) fn lacks(&self) -> Vec<String> {
        let fitness = self.hands.links().fitness();
        fitness.map_or_else(Vec::new, |fitness| fitness.report.degraded.clone())
    }

    /// Whether the call is a new one; waits where the same one is being carried out.
    pub(super) fn turn(&self, call: &Call, asked: &Asked) -> Turn<'_> {
        self.again.turn(call, &asked.question, &asked.extra, || {
            self.clock.since_boot_micros()
        })
    }

    /// Keeps what a call came to for the case that it comes again.
    pub(super) fn came_to(&self, turn: Ours<'_>, kept: Kept) {
        turn.came_to(kept, self.clock.since_boot_micros());
    }

    /// Records that a call came again and was not carried out.
    pub(super) fn record_again(&self, call: &Call, first: Id) -> Result<(), Refusal> {
        let mut body = described(call);
        body.insert("repeats".into(), json!(first));
        self.log.append(Draft::new("call.repeated", body))?;
        Ok(())
    }

    /// The tools an agent sees, as MCP lists them: a JSON array.
    pub(super) fn listing(&self, agent: &str) -> String {
        let mut text = String::from("[");
        let tools = self.catalog.tools().filter(|tool| tool.is_shown());
        for tool in tools.filter(|tool| self.sees(agent, tool)) {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(tool.listing().get());
        }
        text.push(']');
        text
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
    pub(super) fn plan(
        &self,
        call: &Call,
        asked: &Asked,
        ground: &Ground<'_>,
    ) -> Result<Plan, Refusal> {
        if let Some(upstream) = call.tool().upstream() {
            let foreign = self.plan_foreign(call, &asked.extra, upstream)?;
            return Ok(Plan::Foreign(foreign));
        }
        Plan::of(call, ground).map_err(|unplanned| {
            let (argument, say) = (Some(unplanned.argument), unplanned.say.as_str());
            Refusal::failed("bad_argument", argument, say, String::new())
        })
    }

    fn tool(&self, asked: &Asked) -> Result<Arc<Tool>, Refusal> {
        let name = asked.tool.as_str();
        match self.catalog.tool(name) {
            // Agents use the wire name only, and a tool they do not see is a tool there is not.
            Some(tool)
                if tool.wire() == name
                    && tool.is_shown() != asked.beside
                    && self.sees(&asked.agent, tool) =>
            {
                Ok(Arc::clone(tool))
            }
            _ => Err(Refusal::no_tool(name)),
        }
    }

    fn sees(&self, agent: &str, tool: &Tool) -> bool {
        if let Some(of) = tool.upstream()
            && !(self.connected(&of.connector, agent) && self.shows(of, agent))
        {
            return false;
        }
        self.state().agents.get(agent).is_some_and(|known| {
            known.tools.is_empty()
                || known
                    .tools
                    .iter()
                    .any(|glob| fits(glob, tool.wire()) || fits(glob, tool.name()))
        })
    }
}

/// `*` at the end stands for anything.
pub(super) fn fits(glob: &str, name: &str) -> bool {
    match glob.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == glob,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::audit::quota::Limits;
    use crate::keeper::hands::Hands;
    use crate::keeper::links::Fitness;
    use crate::keeper::questions::Question;
    use crate::keeper::serve::carry;
    use crate::keeper::state::Agent;
    use crate::keeper::{ONE_USER, Setup};
    use crate::wire::frame;
    use crate::wire::messages::{Era, Limiting, Proof, SelfTest};

    /// A keeper that nobody is linked to, whose agent `a` may call `calls` times a minute.
    pub(in crate::keeper) fn keeper(state: &std::path::Path, calls: u64) -> Keeper {
        let limits = Limits {
            entries_per_minute: calls,
            bytes_per_day: 1 << 30,
        };
        let setup = Setup {
            confine: Default::default(),
            plane: "p".into(),
            origin: "test/p".into(),
            state: state.into(),
            separation: ONE_USER.into(),
            operator_uid: 0,
            role_uids: Vec::new(),
            token_sha256: None,
            demo: false,
            unattended: true,
            roots: Default::default(),
            http: Vec::new(),
            connectors: Vec::new(),
            agents: Default::default(),
            run: Default::default(),
            agent_quota: limits,
            plane_quota: limits,
            accept: Vec::new(),
        };
        let (control, _) = frame::pair().unwrap();
        let keeper = Keeper::open(setup, control, Hands::new().unwrap()).unwrap();
        let agent = Agent {
            proof: Proof::Uid(1),
            tools: Vec::new(),
            since: keeper.clock.now(),
        };
        keeper.state().agents.insert("a".into(), agent);
        keeper
    }

    fn class(keeper: &Keeper) -> &'static str {
        let asked = Asked {
            call: Id::random().unwrap(),
            agent: "a".into(),
            tool: "file__list".into(),
            client: String::new(),
            arguments: br#"{"path":"."}"#.to_vec(),
            extra: Vec::new(),
            mirrored: None,
            beside: false,
            question: Arc::new(Question::new(1, "a".into(), Era::Session, false)),
            received: keeper.clock.now(),
        };
        match carry(keeper, &asked) {
            Ok(_) => "done",
            Err(refusal) => refusal.class,
        }
    }

    #[test]
    fn calls_that_cannot_be_carried_out_are_counted_all_the_same() {
        let makes: [fn(&Keeper); 2] = [
            |keeper| {
                let report = SelfTest {
                    separation: ONE_USER.into(),
                    landlock_abi: 0,
                    attempted: 1,
                    succeeded: vec!["socket".into()],
                    degraded: Vec::new(),
                    limiting: Limiting::default(),
                    unusable: Vec::new(),
                    took_us: 0,
                };
                let fitness = Fitness { fit: false, report };
                keeper.hands.links().set_fitness(fitness);
            },
            |keeper| keeper.stopping.store(true, Ordering::SeqCst),
        ];
        for unable in makes {
            let place = tempfile::tempdir().unwrap();
            let keeper = keeper(place.path(), 3);
            unable(&keeper);
            let before = keeper.log.head().size;
            let classes: Vec<_> = (0..20).map(|_| class(&keeper)).collect();
            assert_eq!(classes[..3], ["unavailable"; 3]);
            assert_eq!(classes[3..], ["over_quota"; 17]);
            // Three refusals, and once that there were more.
            assert_eq!(keeper.log.head().size - before, 4);
        }
    }
}
