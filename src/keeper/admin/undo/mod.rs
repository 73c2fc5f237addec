//! `undo SEQ`: takes back what a live call has changed, as a call of its own: a file gets its old
//! content, what a connector's tool did is taken back by the tool that its manifest names.

mod file;
mod tool;

use serde_json::Value;

use crate::audit::Entry;
use crate::error::{Context, Error, Kind, Result};
use crate::keeper::Keeper;
use crate::undo::Recipe;

impl Keeper {
    /// Shows what taking entry `seq` back would do, and does it where that is meant.
    pub(super) fn undo_call(&self, seq: u64, really: bool) -> Result<Value> {
        let entry = self.entry(seq)?;
        let undone = match recipe_of(&entry)? {
            Recipe::File(change) => self.undo_file(seq, change, really),
            Recipe::Tool(counter) => self.undo_by_tool(&entry, &counter, really),
        }?;
        let call = entry.body.get("call").and_then(Value::as_str);
        if let Some(call) = call.and_then(|call| call.parse().ok()).filter(|_| really) {
            self.again.taken_back(call);
        }
        Ok(undone)
    }
}

/// The recipe of a live call that changed something.
fn recipe_of(entry: &Entry) -> Result<Recipe> {
    let seq = entry.seq;
    let nothing = |why: &str| {
        not_undone(seq, Kind::Usage, why)
            .hint("give the sequence number of a live `call.intent`; `keepgate log query --kind call.intent` lists them")
    };
    if entry.kind != "call.intent" {
        return Err(nothing(&format!("it is a `{}`", entry.kind)));
    }
    if entry.body.get("mode").and_then(Value::as_str) != Some("live") {
        return Err(nothing("the call was rehearsed, nothing was changed"));
    }
    let recipe = entry
        .body
        .get("undo")
        .ok_or_else(|| nothing("the call changed nothing, or nothing takes it back"))?;
    serde_json::from_value(recipe.clone()).context(|| format!("read how to undo entry {seq}"))
}

fn not_undone(seq: u64, kind: Kind, why: impl std::fmt::Display) -> Error {
    Error::of(kind, format!("entry {seq} cannot be undone: {why}"))
}
