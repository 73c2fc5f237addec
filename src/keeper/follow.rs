//! What follows the log, off the path of calls: the index, and the journal's line for each entry.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::Keeper;
use crate::audit::Entry;
use crate::audit::index::Index;
use crate::audit::reader::Entries;
use crate::error::Result;
use crate::wire::text::Escaped;

/// How long news may gather before it is looked at: one look for many entries, and none of it in the
/// way of the calls that made them.
const GATHER: Duration = Duration::from_millis(20);

/// Entries that are held and indexed together.
const AT_ONCE: usize = 1_000;

/// Follows for ever. An index that fails is rebuilt when it is asked next; calls do not depend on it.
pub(super) fn run(keeper: &Arc<Keeper>) {
    let follower = keeper.log.subscribe();
    let mut next = keeper.log.head().size.saturating_sub(1);
    // Kept: to find the place again, the whole segment before it would have to be read.
    let mut entries = None;
    while follower.recv().is_ok() {
        std::thread::sleep(GATHER);
        if let Err(error) = follow(keeper, &mut entries, &mut next) {
            entries = None;
            tracing::error!(%error, "cannot follow the log");
        }
    }
}

fn follow(keeper: &Keeper, kept: &mut Option<Entries>, next: &mut u64) -> Result<()> {
    let reader = keeper.log.reader()?;
    let entries = match kept {
        Some(entries) => entries,
        None => kept.insert(reader.entries(*next)?),
    };
    loop {
        let few: Vec<Entry> = entries.by_ref().take(AT_ONCE).collect::<Result<_>>()?;
        let Some(last) = few.last() else {
            return Ok(());
        };
        for entry in &few {
            tell(&keeper.setup.plane, entry);
        }
        *next = last.seq + 1;
        keeper.index().extend(&few, &reader)?;
    }
}

/// One structured line: `KEEPGATE_SEQ=`, `KEEPGATE_PLANE=` and so on in the journal.
fn tell(plane: &str, entry: &Entry) {
    let text = |name: &str| {
        entry
            .body
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let refused = entry.kind == "call.refused";
    let (agent, tool, call) = (text("agent"), text("tool"), text("call"));
    let (status, class) = (text("status"), text("class"));
    let what = Escaped::cut(if refused { class } else { status }, 64).to_string();
    let agent = Escaped::cut(agent, 64).to_string();
    let tool = Escaped::cut(tool, 64).to_string();
    let (seq, kind) = (entry.seq, entry.kind.as_str());
    // Not every entry has all of them: a field without a value is none.
    let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let (agent, tool, call, what) = (some(&agent), some(&tool), some(call), some(&what));
    let words: Vec<&str> = [Some(kind), agent, tool, what]
        .into_iter()
        .flatten()
        .collect();
    let line = words.join(" ");
    if refused || kind == "quota.exceeded" || kind == "front.malformed" {
        tracing::warn!(seq, plane, kind, agent, tool, call, what, "{line}");
    } else {
        tracing::info!(seq, plane, kind, agent, tool, call, what, "{line}");
    }
}

impl Keeper {
    /// The index, for one question at a time.
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
