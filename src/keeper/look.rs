//! What a write would change, seen before anything is decided to be final: the precondition of the
//! write and of taking it back.

use super::Keeper;
use super::act::words;
use super::plan::Plan;
use super::refuse::Refusal;
use crate::call::Call;
use crate::error::Result;
use crate::tools::file::WRITE_MAX;
use crate::undo::{Recipe, Undo};
use crate::wire::messages::{FileState, NEW_FILE_MODE};

/// What the keeper saw.
#[derive(Debug)]
pub(super) struct Sight {
    change: Option<(Recipe, Vec<u8>)>,
}

impl Sight {
    /// What would change, where anything would.
    pub(super) fn recipe(&self) -> Option<&Recipe> {
        self.change.as_ref().map(|(recipe, _)| recipe)
    }

    /// Nothing has the name that is to be written.
    pub(super) fn absent(&self) -> bool {
        self.recipe()
            .is_some_and(|recipe| recipe.before == FileState::Absent)
    }
}

impl Keeper {
    /// Looks at what the plan would change.
    pub(super) fn look(&self, call: &Call, plan: &Plan) -> Result<Sight, Refusal> {
        let Plan::Write { file, sha256, len } = plan else {
            return Ok(Sight { change: None });
        };
        let seen = self.hands.look(call.id(), file, WRITE_MAX)?;
        let (before, content) = seen.map_err(|(fault, detail)| {
            let (class, say) = words(fault);
            Refusal::failed(class, Some("path"), say, detail)
        })?;
        let mode = match &before {
            FileState::Absent => NEW_FILE_MODE,
            FileState::Present { mode, .. } => *mode,
        };
        let after = FileState::Present {
            len: *len,
            sha256: sha256.clone(),
            mode,
        };
        Ok(Sight {
            change: Some((
                Recipe {
                    file: file.clone(),
                    before,
                    after,
                },
                content,
            )),
        })
    }

    /// Keeps what a live call changes, so that it can be taken back.
    pub(super) fn undo(&self, sight: Sight) -> Result<Undo, Refusal> {
        match sight.change {
            None => Ok(Undo::Harmless),
            Some((recipe, content)) => Ok(Undo::Inverse(self.store.keep(recipe, &content)?)),
        }
    }
}
