//! `policy explain`: the same decision as for an agent's call, with everything the operator may
//! know about it.

use serde_json::{Map, Value, json};

use crate::audit::Entry;
use crate::call::id::Id;
use crate::call::{Caller, admit};
use crate::error::{Context, Error, Kind, Result};
use crate::keeper::Keeper;
use crate::time::Clock;
use crate::wire::admin::{Explained, Mode};
use crate::wire::text::Escaped;

impl Keeper {
    pub(super) fn explain(&self, about: Explained) -> Result<Value> {
        match about {
            Explained::Seq { seq } => self.explain_entry(&self.entry(seq)?),
            Explained::Request { id } => {
                let reader = self.log.reader()?;
                let mut index = self.index();
                index.catch_up(&reader)?;
                let entries = index.call(&id.to_string(), &reader)?;
                drop(index);
                let none = || Error::of(Kind::Usage, format!("no call has request id `{id}`"));
                self.explain_entry(entries.first().ok_or_else(none)?)
            }
            Explained::Call {
                agent,
                tool,
                arguments,
            } => {
                let raw = arguments.to_string();
                self.explain_call(&agent, &tool, raw.as_bytes(), None, Map::new())
            }
        }
    }

    /// One entry of the log.
    pub(super) fn entry(&self, seq: u64) -> Result<Entry> {
        let none = || {
            Error::of(Kind::Usage, format!("the log has no entry {seq}"))
                .hint("`keepgate log tail` shows the newest ones")
        };
        if seq >= self.log.head().size {
            return Err(none());
        }
        let reader = self.log.reader()?;
        let mut index = self.index();
        index.catch_up(&reader)?;
        index.seq(seq, &reader)?.ok_or_else(none)
    }

    fn explain_entry(&self, entry: &Entry) -> Result<Value> {
        let text = |name: &str| entry.body.get(name).and_then(Value::as_str);
        let of_call = matches!(entry.kind.as_str(), "call.intent" | "call.refused");
        if entry.kind == "call.outcome"
            && let Some(intent) = entry.body.get("intent").and_then(Value::as_u64)
        {
            return self.explain_entry(&self.entry(intent)?);
        }
        let (true, Some(agent), Some(tool)) = (of_call, text("agent"), text("tool")) else {
            let what = format!("entry {} is a `{}`, not a call", entry.seq, entry.kind);
            return Err(Error::of(Kind::Usage, what));
        };
        let raw = self.log.reader()?.payload(entry, "arguments")?;
        let raw = raw.ok_or_else(|| {
            Error::new(format!(
                "the arguments of entry {} are not in the log any more",
                entry.seq
            ))
        })?;
        let mut then = Map::new();
        for name in [
            "class", "argument", "say", "rule", "at", "hint", "rules", "why", "policy", "detail",
        ] {
            if let Some(value) = entry.body.get(name) {
                then.insert(name.into(), value.clone());
            }
        }
        let mode = match text("mode") {
            Some("live") => Some(Mode::Live),
            Some(_) => Some(Mode::Rehearse),
            None => None,
        };
        let mut value = self.explain_call(agent, tool, &raw, mode, then)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("seq".into(), entry.seq.into());
            object.insert(
                "request".into(),
                entry.body.get("call").cloned().unwrap_or_default(),
            );
        }
        Ok(value)
    }

    /// Explains with today's rules; `then` is what the log says was decided at the time.
    fn explain_call(
        &self,
        agent: &str,
        tool: &str,
        raw: &[u8],
        mode: Option<Mode>,
        then: Map<String, Value>,
    ) -> Result<Value> {
        let Some(tool) = self.catalog.tool(tool) else {
            let what = format!("no tool is called `{}`", Escaped::cut(tool, 64));
            return Err(Error::of(Kind::Usage, what));
        };
        let (run, call) = (Id::random()?, Id::random()?);
        let caller = Caller {
            agent: agent.into(),
            run,
            call,
            received: self.clock.now(),
        };
        let mut value = match admit(raw, tool, caller) {
            Err(unfit) => json!({
                "decision": "forbid",
                "class": unfit.class,
                "argument": unfit.argument,
                "hint": unfit.say,
            }),
            Ok(call) => {
                let rules = self.rules();
                let mode = mode.unwrap_or_else(|| self.state().mode.mode());
                let ground = self.ground(&call, mode);
                let explanation = rules.engine().explain(&call, &ground);
                serde_json::to_value(explanation).context(|| "write the explanation".into())?
            }
        };
        if let Some(object) = value.as_object_mut() {
            object.insert("agent".into(), agent.into());
            object.insert("tool".into(), tool.name().into());
            object.insert(
                "enrolled".into(),
                self.state().agents.contains_key(agent).into(),
            );
            if !then.is_empty() {
                object.insert("recorded".into(), then.into());
            }
        }
        Ok(value)
    }
}
