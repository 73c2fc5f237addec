//! Taking back what a connector's tool did, by a call of the tool that its manifest names: admitted
//! like any other, with an intent before it and an outcome after it, to the server of the agent
//! whose call is taken back. The person who asks for it stands in for the policy.
//!
//! Once only: what was taken back, is being, or may have been, is not taken back again. Nobody can
//! see whether it still has to be.

use std::sync::{Arc, PoisonError};

use serde_json::{Map, Value, json};

use super::not_undone;
use crate::audit::Entry;
use crate::audit::evidence::{Given, Ledger, Outcome, Released, Status};
use crate::call::id::Id;
use crate::call::{Call, Caller};
use crate::error::{Error, Kind, Result};
use crate::keeper::Keeper;
use crate::keeper::counter::{Said, structured};
use crate::keeper::plan::Foreign;
use crate::keeper::questions::Question;
use crate::time::Clock;
use crate::undo::{Counter, Recipe};
use crate::wire::text::{Escaped, hex};

/// How to go on where Keepgate cannot.
const BY_HAND: &str = "look at it, and take it back by hand";
/// Characters of a server's words that are shown.
const WORDS_SHOWN: usize = 400;

impl Keeper {
    /// Shows what would be called, and calls it where that is meant.
    pub(super) fn undo_by_tool(
        &self,
        entry: &Entry,
        counter: &Counter,
        really: bool,
    ) -> Result<Value> {
        let seq = entry.seq;
        // Held until the intent is durable: nobody else takes the same entry back meanwhile.
        let one = self.undoing.lock().unwrap_or_else(PoisonError::into_inner);
        self.same_pin(seq, counter)?;
        self.not_before(seq)?;
        let (call, remark) = self.undoing_call(entry, counter)?;
        let mut value = json!({
            "seq": seq,
            "connector": counter.connector,
            "tool": call.tool().name(),
            "arguments": call.arguments(),
            "remark": remark,
            "done": false,
        });
        if !really {
            return Ok(value);
        }
        // An undo that is taken back was the operator's, to the server of another.
        let agent = entry.body.get("of").map_or("agent", |_| "of");
        let agent = text(entry, agent);
        let question = Question::of_nobody(agent.clone(), counter.era);
        let foreign = self.asked_of(seq, &call)?;
        let again = self.countered(&call, counter.era).ok();
        let again = again.map(|countered| Recipe::Tool(countered.recipe().clone()));
        let ledger = Ledger::new(&self.log, &self.masker);
        let ticket = ledger.intent_counter(&call, seq, &agent, again.as_ref())?;
        drop(one);
        let intent = ticket.seq();
        let mut outcome = self.ask_foreign(&ticket, &call, &Arc::new(question), &foreign);
        let undone = says_done(&outcome);
        outcome.facts.insert("undone".into(), undone.into());
        if let Some(again) = &again {
            outcome = self.complete(&call, again, outcome);
        }
        let released = ticket.close(ledger, outcome)?;
        if !self.state().agents.contains_key(&agent) {
            // Its server was started for this only.
            self.upstreams.forget(&agent);
        }
        if !undone {
            return Err(failed(seq, intent, &released));
        }
        if let Some(object) = value.as_object_mut() {
            object.insert("done".into(), true.into());
            object.insert("undo_seq".into(), intent.into());
            object.insert("request".into(), json!(call.id()));
            object.insert("again".into(), again.is_some().into());
        }
        Ok(value)
    }

    /// The connector is what it was when the call was made, and can be asked.
    fn same_pin(&self, seq: u64, counter: &Counter) -> Result<()> {
        let name = Escaped::cut(&counter.connector, 64);
        let connector = self.connectors.get(&counter.connector);
        let connector = connector.filter(|connector| connector.pin.is_some());
        let Some(connector) = connector else {
            let why = format!("connector `{name}` is not one of this plane any more");
            return Err(not_undone(seq, Kind::Denied, why).hint(BY_HAND));
        };
        if connector.digest != counter.pin {
            let why =
                format!("connector `{name}` was approved anew since, and may mean another thing");
            return Err(not_undone(seq, Kind::Denied, why).hint(BY_HAND));
        }
        if let Some(why) = self.out_of_use(&counter.connector) {
            let why = format!(
                "connector `{name}` is out of use: {}",
                Escaped::cut(&why, 400)
            );
            return Err(not_undone(seq, Kind::Denied, why)
                .hint("`keepgate status` says why; or take it back by hand"));
        }
        Ok(())
    }

    /// Nobody has taken it back, or may have.
    fn not_before(&self, seq: u64) -> Result<()> {
        let reader = self.log.reader()?;
        let mut index = self.index();
        index.catch_up(&reader)?;
        let intents = index.undoing(seq, &reader)?;
        for intent in intents.iter().filter(|one| one.kind == "call.intent") {
            let entries = index.call(&text(intent, "call"), &reader)?;
            let outcome = entries.iter().find(|one| one.kind == "call.outcome");
            let undone = |one: &Entry| one.body.get("undone") == Some(&Value::Bool(true));
            let why = match outcome {
                Some(one) if undone(one) => {
                    format!(
                        "it was undone already: entries {} and {}",
                        intent.seq, one.seq
                    )
                }
                // The server was asked and said no, or was not asked.
                Some(one) if text(one, "status") != Status::Unknown.name() => continue,
                Some(_) | None => format!(
                    "it is being undone, or nobody can say whether it was: entry {}",
                    intent.seq
                ),
            };
            return Err(not_undone(seq, Kind::Denied, why).hint(BY_HAND));
        }
        Ok(())
    }

    /// The call that takes it back, made anew from what the log holds; it has to come to what it came
    /// to then. And what a person should know before it is made.
    fn undoing_call(
        &self,
        entry: &Entry,
        counter: &Counter,
    ) -> Result<(Call, Option<&'static str>)> {
        let seq = entry.seq;
        let reader = self.log.reader()?;
        let mut index = self.index();
        index.catch_up(&reader)?;
        let entries = index.call(&text(entry, "call"), &reader)?;
        drop(index);
        let outcome = entries.iter().find(|one| one.kind == "call.outcome");
        let refused = |why: &str| not_undone(seq, Kind::Denied, why).hint(BY_HAND);
        let wanted = match outcome {
            Some(outcome) => match outcome.body.get("undo") {
                Some(undo) => match undo.get("digest").and_then(Value::as_str) {
                    Some(digest) => digest.to_owned(),
                    None => {
                        let lacks = undo.get("lacks").and_then(Value::as_str);
                        return Err(refused(lacks.unwrap_or("its outcome does not say how")));
                    }
                },
                None => {
                    let what = "the call changed nothing: its outcome is";
                    let status = text(outcome, "status");
                    return Err(not_undone(seq, Kind::Usage, format!("{what} `{status}`")));
                }
            },
            None if self.is_open(entry) => {
                return Err(
                    not_undone(seq, Kind::Denied, "the call is still being carried out")
                        .hint("wait for its outcome"),
                );
            }
            None => counter.digest.clone().ok_or_else(|| {
                refused("it has no outcome, and what to give the tool only that can say")
            })?,
        };
        let given = reader.payload(entry, "arguments")?;
        let result = match outcome {
            Some(outcome) => reader.payload(outcome, "result")?,
            None => None,
        };
        let given = given.and_then(|raw| serde_json::from_slice::<Map<String, Value>>(&raw).ok());
        let given = given.ok_or_else(|| refused("its arguments are not in the log any more"))?;
        let result = result.as_deref().and_then(structured);
        let tool = self.catalog.tool(&text(entry, "tool"));
        let way = tool.and_then(|tool| self.way(tool));
        let way = way.filter(|way| way.declared.tool == counter.tool);
        let way =
            way.ok_or_else(|| refused("the tool that takes it back is not there any more"))?;
        let caller = Caller {
            agent: "operator".into(),
            run: Id::random()?,
            call: Id::random()?,
            received: self.clock.now(),
        };
        let call = way
            .call(&given, result.as_ref(), caller)
            .map_err(|why| refused(&why))?;
        if hex(call.digest()) != wanted {
            return Err(refused(
                "the log does not hold any more what its undo is made of: it was masked or changed",
            ));
        }
        let is_error = |one: &Entry| one.body.get("is_error") == Some(&Value::Bool(true));
        let remark = match outcome {
            None => Some("the call has no outcome: it may not have happened"),
            Some(one) if text(one, "status") == Status::Unknown.name() => {
                Some("nobody can say whether the call happened")
            }
            Some(one) if is_error(one) => Some("the call's own tool said that it failed"),
            Some(_) => None,
        };
        Ok((call, remark))
    }

    /// The call was begun by this keeper, and has no outcome yet.
    fn is_open(&self, entry: &Entry) -> bool {
        let call = text(entry, "call").parse::<Id>();
        call.is_ok_and(|call| self.state().open.contains_key(&call))
    }

    fn asked_of(&self, seq: u64, call: &Call) -> Result<Foreign> {
        let upstream = call.tool().upstream();
        let foreign = upstream.and_then(|upstream| self.plan_foreign(call, &[], upstream).ok());
        foreign.ok_or_else(|| not_undone(seq, Kind::Other, "its connector cannot be asked that"))
    }
}

/// The server says that it has done what it was asked.
fn says_done(outcome: &Outcome) -> bool {
    let Given::Passed(raw) = &outcome.value else {
        return false;
    };
    let said = Said::of(raw);
    outcome.status == Status::Done && !said.is_error && !said.asks
}

/// What an undo came to that is not done.
fn failed(seq: u64, intent: u64, released: &Released) -> Error {
    let words = String::from_utf8_lossy(released.result());
    let words = Escaped::cut(&words, WORDS_SHOWN);
    match released.status() {
        Status::Unknown => {
            let why = format!("nobody can say whether it was; entry {intent}: {words}");
            not_undone(seq, Kind::Other, why).hint(BY_HAND)
        }
        Status::Done | Status::Failed | Status::Rehearsed | Status::Skipped => {
            let why = format!("its tool did not do it; entry {intent}: {words}");
            not_undone(seq, Kind::Other, why).hint("try again, or take it back by hand")
        }
    }
}

fn text(entry: &Entry, name: &str) -> String {
    let value = entry.body.get(name).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}
