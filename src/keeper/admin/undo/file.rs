//! Putting back what a live call has written, as a call of its own. It is refused where the file was
//! changed since.

use serde_json::{Map, Value, json};

use crate::audit::evidence::{Ledger, Outcome, Status};
use crate::call::id::Id;
use crate::error::{Error, Kind, Result};
use crate::keeper::Keeper;
use crate::keeper::act;
use crate::tools::file::{WRITE_MAX, diff};
use crate::undo::Change;
use crate::wire::messages::{FileState, JailFault};

impl Keeper {
    pub(super) fn undo_file(&self, seq: u64, change: Change, really: bool) -> Result<Value> {
        let call = Id::random()?;
        let (now, content) = self
            .hands
            .look(call, &change.file, WRITE_MAX)?
            .map_err(|(fault, detail)| refused(seq, fault, &detail))?;
        if !same(&now, &change.after) {
            return Err(changed(seq));
        }
        let old = self.store.content(&change.before)?;
        let path = format!("{}/{}", change.file.root, change.file.path);
        let mut value = json!({
            "seq": seq,
            "file": path,
            "diff": diff(&content, &old),
            "removes": change.before == FileState::Absent,
            "done": false,
        });
        if really {
            let back = Change {
                file: change.file,
                before: now,
                after: change.before,
            };
            let undo_seq = self.put_back(call, seq, back, &content, &old)?;
            if let Some(object) = value.as_object_mut() {
                object.insert("done".into(), true.into());
                object.insert("undo_seq".into(), undo_seq.into());
                object.insert("request".into(), json!(call));
                object.insert("again".into(), true.into());
            }
        }
        Ok(value)
    }

    fn put_back(
        &self,
        call: Id,
        seq: u64,
        back: Change,
        content: &[u8],
        old: &[u8],
    ) -> Result<u64> {
        let ledger = Ledger::new(&self.log, &self.masker);
        let kept = self.store.keep(back, content)?;
        let ticket = ledger.intent_undo(call, seq, kept)?;
        let intent = ticket.seq();
        let mut facts = Map::new();
        let (status, error) = match self.hands.restore(&ticket, old) {
            Ok(Ok(())) => (Status::Done, None),
            Ok(Err((JailFault::Changed, _))) => (Status::Failed, Some(changed(seq))),
            Ok(Err((fault, detail))) => {
                let error = refused(seq, fault, &detail);
                facts.insert("detail".into(), detail.into());
                (act::status(fault), Some(error))
            }
            Err(error) => {
                facts.insert("detail".into(), error.message().into());
                (Status::Unknown, Some(error))
            }
        };
        let value = json!({"undoes": seq, "status": status.name()});
        ticket.close(
            ledger,
            Outcome {
                status,
                value: value.into(),
                facts,
            },
        )?;
        error.map_or(Ok(intent), Err)
    }
}

/// Permission bits of a new file are the system's business; content is not.
fn same(now: &FileState, then: &FileState) -> bool {
    match (now, then) {
        (FileState::Present { sha256: now, .. }, FileState::Present { sha256: then, .. }) => {
            now == then
        }
        (FileState::Absent, FileState::Absent) => true,
        (FileState::Absent, FileState::Present { .. })
        | (FileState::Present { .. }, FileState::Absent) => false,
    }
}

fn changed(seq: u64) -> Error {
    Error::of(
        Kind::Denied,
        format!("entry {seq} cannot be undone: the file was changed since"),
    )
    .hint("look at the file; undo the later change first, or mend it by hand")
}

fn refused(seq: u64, fault: JailFault, detail: &str) -> Error {
    let (class, say) = act::words(fault);
    Error::new(format!(
        "entry {seq} cannot be undone: {class}: {say} ({detail})"
    ))
}
