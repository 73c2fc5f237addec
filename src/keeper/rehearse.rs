//! Rehearsals of connectors' tools: as their manifest declares, and where it declares nothing, what
//! would be sent where, without asking the server.
//!
//! Nobody but the server knows what it does. A declared dry run is trusted because a person approved
//! the manifest that declares it: another tool has to be declared to read only, and an argument that
//! has a tool rehearse is believed.

use serde_json::value::RawValue;
use serde_json::{Map, json};

use super::plan::Foreign;
use super::{Asked, Keeper};
use crate::audit::evidence::{Authorized, Given, Outcome, Status};
use crate::call::declared::DryRun;
use crate::call::tool::EffectClass;
use crate::call::{Call, admit};
use crate::mode::Dry;
use crate::policy::Decision;
use crate::wire::admin::Mode;
use crate::wire::jsonrpc::Members;
use crate::wire::text::hex;

/// Characters of arguments that are told to the agent.
const SHOWN_MAX: usize = 1_000;
/// What an agent is told before what a server says of its own dry run.
const NOTE: &str = "Rehearsed, not done. What follows is what the connector says of it.";
/// What is said of a call that would not be refused live.
const PERMITTED: &str = "permitted";
/// The member of `_meta` that says the same.
const META: &str = "keepgate/rehearsal";

/// What a server is asked in place of a call.
struct StandIn {
    call: Call,
    plan: Foreign,
    how: &'static str,
}

impl Keeper {
    /// Rehearses a call of a connector's tool; one that changes nothing runs for real.
    pub(super) fn rehearse_foreign(
        &self,
        ticket: &Authorized<Dry>,
        call: &Call,
        asked: &Asked,
        foreign: &Foreign,
    ) -> Outcome {
        if !foreign.effect() {
            return self.ask_foreign(ticket, call, &asked.question, foreign);
        }
        match self.stand_in(call, asked) {
            Ok(Some(StandIn {
                call: other,
                plan,
                how,
            })) => {
                let outcome = self.ask_foreign(ticket, &other, &asked.question, &plan);
                rehearsed(outcome, call, &other, how)
            }
            Ok(None) => self.shown(call, asked, foreign, None),
            Err(why) => self.shown(call, asked, foreign, Some(why)),
        }
    }

    /// What the server is asked, where a dry run is declared.
    ///
    /// # Errors
    /// Says why this call cannot be rehearsed so.
    fn stand_in(&self, call: &Call, asked: &Asked) -> Result<Option<StandIn>, String> {
        let (Some(declared), Some(upstream)) = (call.tool().declared(), call.tool().upstream())
        else {
            return Ok(None);
        };
        let (tool, arguments, how) = match &declared.dry_run {
            DryRun::None => return Ok(None),
            DryRun::Arguments(more) => {
                let mut arguments = call.arguments().clone();
                // Whatever the agent says of them.
                arguments.extend(more.clone());
                (call.tool(), arguments, "arguments")
            }
            DryRun::Tool(name) => {
                let name = format!("{}.{name}", upstream.connector);
                let tool = self.catalog.tool(&name);
                let tool = tool.filter(|tool| tool.classes() == [EffectClass::Read]);
                let tool =
                    tool.ok_or("its dry run is no tool that can be called and only reads")?;
                (tool, call.arguments().clone(), "tool")
            }
        };
        let raw = serde_json::to_vec(&arguments).map_err(|error| error.to_string())?;
        let other = admit(&raw, tool, call.caller()).map_err(|unfit| {
            let of = unfit.argument.unwrap_or_else(|| "arguments".into());
            format!(
                "its dry run does not take these arguments: `{of}`: {}",
                unfit.say
            )
        })?;
        let gone = || "its connector has no server".to_owned();
        let upstream = tool.upstream().ok_or_else(gone)?;
        let plan = self.plan_foreign(&other, &asked.extra, upstream);
        let plan = plan.map_err(|_| gone())?.rehearsing();
        Ok(Some(StandIn {
            call: other,
            plan,
            how,
        }))
    }

    /// The plan in words. The server is not asked.
    fn shown(&self, call: &Call, asked: &Asked, foreign: &Foreign, why: Option<String>) -> Outcome {
        let (connector, pin, to) = foreign.whom();
        let (asks, verb) = match foreign {
            Foreign::Server(_) => ("its server was not asked", "would get"),
            Foreign::Skill(_) => ("the script was not run", "would be run with"),
        };
        let tool = call.tool().upstream().map(|of| of.tool.as_str());
        let tool = tool.unwrap_or_default();
        let arguments = String::from_utf8_lossy(call.canonical());
        let mut told: String = arguments.chars().take(SHOWN_MAX).collect();
        if told.len() < arguments.len() {
            told.push('…');
        }
        let back = self.countered(call, asked.question.era);
        let live = self.live(call, back.is_ok());
        let rest = match &back {
            Ok(way) if live == PERMITTED => {
                format!("; it could be taken back by `{}`", way.recipe().tool)
            }
            Ok(_) | Err(_) => format!("; as things stand that would be refused: {live}"),
        };
        let say = format!(
            "the call was checked and {asks}; live, `{tool}` of connector `{connector}` {verb} \
             {told}{rest}"
        );
        let mut facts = Map::new();
        facts.insert("connector".into(), connector.into());
        facts.insert("pin".into(), pin.into());
        let plan = json!({
            "to": to, "tool": tool, "bytes": call.canonical().len(),
            "live": live, "undo": back.ok().map(|way| way.recipe().tool.clone()),
        });
        facts.insert("plan".into(), plan);
        if let Some(why) = why {
            facts.insert("detail".into(), why.into());
        }
        Outcome {
            status: Status::Skipped,
            value: json!({"class": "rehearsed_not_executed", "message": say}).into(),
            facts,
        }
    }

    /// What would become of a call that is made live now: the class of its refusal, or that it is
    /// permitted.
    fn live(&self, call: &Call, taken_back: bool) -> &'static str {
        let ground = self.ground(call, Mode::Live);
        match self.rules().engine().judge(call, &ground) {
            Decision::Permit(_) if taken_back => PERMITTED,
            Decision::Permit(_) | Decision::Ask(_) => "needs_person",
            Decision::Forbid(reason) => reason.class,
        }
    }
}

/// The outcome of a dry run, marked as one for the agent and the log.
fn rehearsed(mut outcome: Outcome, call: &Call, other: &Call, how: &str) -> Outcome {
    let of = json!({
        "by": how,
        "tool": other.tool().name(),
        "digest": hex(other.digest()),
    });
    outcome.facts.insert("rehearsal".into(), of);
    if let Given::Passed(raw) = &outcome.value {
        // Another tool's result may miss this tool's output schema, and clients hold all results
        // against that but those that are errors.
        let listing = Members::of(call.tool().listing().get()).unwrap_or_default();
        let foreign = how == "tool" && listing.get("outputSchema").is_some();
        outcome.value = Given::Passed(marked(raw, how, foreign));
    }
    if outcome.status == Status::Done {
        outcome.status = Status::Rehearsed;
    }
    outcome
}

/// A server's result that says of itself that nothing was done.
fn marked(raw: &[u8], how: &str, is_error: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(raw);
    let mut members = Members::of(&text).unwrap_or_default();
    let content = members.get("content").unwrap_or("[]").to_owned();
    if let Ok(blocks) = serde_json::from_str::<Vec<&RawValue>>(&content) {
        let note = json!({"type": "text", "text": NOTE}).to_string();
        let blocks = blocks.iter().map(|block| block.get());
        let blocks: Vec<&str> = std::iter::once(note.as_str()).chain(blocks).collect();
        members.set("content", format!("[{}]", blocks.join(",")));
    }
    let meta = members.get("_meta").unwrap_or("{}").to_owned();
    let mut meta = Members::of(&meta).unwrap_or_default();
    meta.set(META, json!({"by": how}).to_string());
    let meta = meta.json();
    members.set("_meta", meta);
    if is_error {
        members.set("isError", "true");
    }
    members.json().into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn value(raw: &str, is_error: bool) -> Value {
        serde_json::from_slice(&marked(raw.as_bytes(), "tool", is_error)).unwrap()
    }

    #[test]
    fn a_dry_runs_result_says_that_nothing_was_done() {
        let raw = r#"{"content":[{"type":"text","text":"would"}],"_meta":{"a":1},"x":1.0}"#;
        let told = value(raw, false);
        assert_eq!(told["content"][0]["text"], NOTE);
        assert_eq!(told["content"][1]["text"], "would");
        assert_eq!(told["_meta"], json!({"a": 1, META: {"by": "tool"}}));
        assert_eq!(told.get("isError"), None);
        assert!(
            String::from_utf8(marked(raw.as_bytes(), "tool", false))
                .unwrap()
                .contains("1.0")
        );
        let told = value("{}", true);
        assert_eq!(told["content"][0]["text"], NOTE);
        assert_eq!(told["isError"], true);
    }
}
