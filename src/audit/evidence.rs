//! The order of a call as types: an [`Authorized`] exists only once its intent is durable, and a
//! [`Released`] only once its outcome is.
//!
//! Both are made here and nowhere else, cannot be cloned, and are used up by the next step.

use serde_json::{Map, Value, json};

use super::{Draft, Log, Masker};
use crate::call::Call;
use crate::call::id::Id;
use crate::error::{Context, Result};
use crate::mode::{Dry, Live};
use crate::policy::{self, Grant};
use crate::undo::{Change, Inverse, Recipe, Undo};
use crate::wire::text::hex;

/// The operator takes a call back: an effect of its own, whatever the mode.
#[derive(Debug)]
pub struct Undoing {
    inverse: Inverse,
}

/// The operator has a call taken back by another tool.
#[derive(Debug)]
pub struct Countering(());

/// Permission to carry out one call: its intent is on disk. The ticket is the random name under
/// which jailer and egress know it.
#[derive(Debug)]
pub struct Authorized<M> {
    ticket: Id,
    call: Id,
    seq: u64,
    tool: String,
    why: M,
}

/// How a call ended, before that is on disk.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// What the agent gets: the tool's result, or what it may know of the failure.
    pub value: Given,
    /// What only the log gets: limits, exit status, hops.
    pub facts: Map<String, Value>,
}

/// What an agent gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// What Keepgate itself says, or one of its own tools.
    Own(Value),
    /// MCP's complete result object as the server of a connector wrote it, byte for byte.
    Passed(Vec<u8>),
    /// JSON-RPC's error object as the server of a connector wrote it.
    Fault(Vec<u8>),
}

/// Whose words a released answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Keepgate's own.
    Own,
    /// A server's: MCP's complete result object.
    Passed,
    /// A server's: JSON-RPC's error object.
    Fault,
}

impl From<Value> for Given {
    fn from(value: Value) -> Self {
        Self::Own(value)
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As asked.
    Done,
    /// Shown, not done.
    Rehearsed,
    /// Checked, neither shown nor done: the tool has no rehearsal.
    Skipped,
    /// Not done, and nothing was changed.
    Failed,
    /// Nobody can say whether it was done.
    Unknown,
}

impl Status {
    /// The word in log entries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Rehearsed => "rehearsed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// An answer that may leave: its outcome is on disk, and these are the masked bytes it names.
#[derive(Debug)]
pub struct Released {
    call: Id,
    seq: u64,
    status: Status,
    result: Vec<u8>,
    whose: Whose,
}

impl Released {
    /// The call it answers.
    pub fn call(&self) -> Id {
        self.call
    }

    /// Sequence number of the outcome.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How the call ended.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whose words the result is.
    pub fn whose(&self) -> Whose {
        self.whose
    }

    /// The result as JSON.
    pub fn result(&self) -> &[u8] {
        &self.result
    }
}

/// Writes intents and outcomes.
#[derive(Debug, Clone, Copy)]
pub struct Ledger<'a> {
    log: &'a Log,
    masker: &'a Masker,
    degraded: &'a [String],
}

impl<'a> Ledger<'a> {
    /// Writes to `log`, with every payload masked by `masker`.
    pub fn new(log: &'a Log, masker: &'a Masker) -> Self {
        Self {
            log,
            masker,
            degraded: &[],
        }
    }

    /// Protection that jails lack while it writes, and that the operator accepted, by name: every
    /// intent says so.
    pub fn degraded(self, degraded: &'a [String]) -> Self {
        Self { degraded, ..self }
    }

    /// Writes the intent of a rehearsal; durable on return. `seen` is what it would change.
    ///
    /// # Errors
    /// Fails where the log takes no entries, or the grant is for another call.
    pub fn intent_dry(
        self,
        call: &Call,
        grant: Grant,
        dry: Dry,
        seen: Option<&Recipe>,
    ) -> Result<Authorized<Dry>> {
        self.intent(call, grant, "rehearse", seen, None, dry)
    }

    /// Writes the intent of a call with its effects; durable on return. `again` is what a call has
    /// in common with those that would be the same made again, where a client may do so unasked.
    ///
    /// # Errors
    /// As [`Self::intent_dry`].
    pub fn intent_live(
        self,
        call: &Call,
        grant: Grant,
        live: Live,
        undo: Undo,
        again: Option<String>,
    ) -> Result<Authorized<Live>> {
        let recipe = undo.recipe();
        self.intent(call, grant, "live", recipe.as_ref(), again, live)
    }

    /// Writes the intent of an operator's undo of entry `undoes`; durable on return.
    ///
    /// # Errors
    /// Fails where the log takes no entries.
    pub fn intent_undo(
        self,
        call: Id,
        undoes: u64,
        inverse: Inverse,
    ) -> Result<Authorized<Undoing>> {
        let mut body = undoing(call, UNDO, undoes);
        body.insert(
            "undo".into(),
            recipe(&Recipe::File(inverse.recipe().clone()))?,
        );
        let ticket = Id::random()?;
        body.insert("ticket".into(), json!(ticket));
        let seq = self.log.append(Draft::new("call.intent", body))?.seq;
        let why = Undoing { inverse };
        Ok(Authorized {
            ticket,
            call,
            seq,
            tool: UNDO.into(),
            why,
        })
    }

    /// Writes the intent of an operator's undo of entry `undoes`, made by the agent `of`, by the
    /// call of another tool; durable on return. `again` is how that call is taken back in turn.
    ///
    /// # Errors
    /// Fails where the log takes no entries.
    pub fn intent_counter(
        self,
        call: &Call,
        undoes: u64,
        of: &str,
        again: Option<&Recipe>,
    ) -> Result<Authorized<Countering>> {
        let tool = call.tool().name();
        let mut body = undoing(call.id(), tool, undoes);
        body.insert("of".into(), of.into());
        body.insert("digest".into(), hex(call.digest()).into());
        if let Some(again) = again {
            body.insert("undo".into(), recipe(again)?);
        }
        let ticket = Id::random()?;
        body.insert("ticket".into(), json!(ticket));
        let draft = Draft::new("call.intent", body)
            .payload("arguments", self.masker.mask(call.canonical()));
        let seq = self.log.append(draft)?.seq;
        Ok(Authorized {
            ticket,
            call: call.id(),
            seq,
            tool: tool.into(),
            why: Countering(()),
        })
    }

    fn intent<M>(
        self,
        call: &Call,
        grant: Grant,
        mode: &str,
        change: Option<&Recipe>,
        again: Option<String>,
        why: M,
    ) -> Result<Authorized<M>> {
        grant.covers(call)?;
        let ticket = Id::random()?;
        let mut body = described(call);
        body.insert("mode".into(), mode.into());
        body.insert("ticket".into(), json!(ticket));
        body.insert("policy".into(), grant.policy().into());
        body.insert("rules".into(), json!(grant.rules()));
        if policy::changes(call) {
            body.insert("changes".into(), true.into());
        }
        if let Some(change) = change {
            body.insert("undo".into(), recipe(change)?);
        }
        if let Some(again) = again {
            body.insert("again".into(), again.into());
        }
        if !self.degraded.is_empty() {
            body.insert("degraded".into(), json!(self.degraded));
        }
        let draft = Draft::new("call.intent", body)
            .payload("arguments", self.masker.mask(call.canonical()));
        let seq = self.log.append(draft)?.seq;
        Ok(Authorized {
            ticket,
            call: call.id(),
            seq,
            tool: call.tool().name().into(),
            why,
        })
    }
}

/// Tool name of an operator's undo of a file.
pub const UNDO: &str = "keepgate.undo";

/// What every entry about a call says of it.
pub fn described(call: &Call) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("call".into(), json!(call.id()));
    body.insert("agent".into(), call.agent().into());
    body.insert("run".into(), json!(call.run()));
    body.insert("tool".into(), call.tool().name().into());
    body.insert("digest".into(), hex(call.digest()).into());
    body
}

/// What the intent of every undo says.
fn undoing(call: Id, tool: &str, undoes: u64) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("call".into(), json!(call));
    body.insert("agent".into(), "operator".into());
    body.insert("tool".into(), tool.into());
    body.insert("mode".into(), "live".into());
    body.insert("undoes".into(), undoes.into());
    body
}

fn recipe(recipe: &Recipe) -> Result<Value> {
    serde_json::to_value(recipe).context(|| "write down how to take the call back".into())
}

impl<M> Authorized<M> {
    /// The name jailer and egress know it by.
    pub fn ticket(&self) -> Id {
        self.ticket
    }

    /// Sequence number of the intent.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Writes the outcome; durable on return. Uses up the permission.
    ///
    /// # Errors
    /// Fails where the log takes no entries: then nothing may be answered but that the outcome is
    /// unknown.
    pub fn close(self, ledger: Ledger<'_>, outcome: Outcome) -> Result<Released> {
        let (result, whose) = match outcome.value {
            Given::Own(value) => (serde_json::to_vec(&value), Whose::Own),
            Given::Passed(bytes) => (Ok(bytes), Whose::Passed),
            Given::Fault(bytes) => (Ok(bytes), Whose::Fault),
        };
        let result = result.context(|| "write the result".into())?;
        let result = ledger.masker.mask(&result);
        let shown = result.bytes().to_vec();
        let mut body = outcome.facts;
        body.insert("call".into(), json!(self.call));
        body.insert("intent".into(), self.seq.into());
        body.insert("tool".into(), self.tool.into());
        body.insert("status".into(), outcome.status.name().into());
        let draft = Draft::new("call.outcome", body).payload("result", result);
        let seq = ledger.log.append(draft)?.seq;
        Ok(Released {
            call: self.call,
            seq,
            status: outcome.status,
            result: shown,
            whose,
        })
    }
}

impl Authorized<Undoing> {
    /// What to put back.
    pub fn recipe(&self) -> &Change {
        self.why.inverse.recipe()
    }
}
