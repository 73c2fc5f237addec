//! What a call would change, seen before anything is decided to be final: the precondition of doing
//! it and of taking it back.

use super::act::words;
use super::plan::Plan;
use super::refuse::Refusal;
use super::{Asked, Keeper};
use crate::call::Call;
use crate::error::Result;
use crate::tools::file::WRITE_MAX;
use crate::undo::{Change, Countered, Recipe, Undo};
use crate::wire::messages::{FileState, NEW_FILE_MODE};

/// What the keeper saw.
#[derive(Debug)]
pub(super) enum Sight {
    /// Nothing would change.
    Nothing,
    /// A file, and what is in it now.
    File(Change, Vec<u8>),
    /// Something that a connector's server knows of: how that is taken back, or why it cannot be.
    Elsewhere(Result<Countered, String>),
}

impl Sight {
    /// How it would be taken back, where anything would change and that is known.
    pub(super) fn recipe(&self) -> Option<Recipe> {
        match self {
            Self::File(change, _) => Some(Recipe::File(change.clone())),
            Self::Elsewhere(Ok(countered)) => Some(Recipe::Tool(countered.recipe().clone())),
            Self::Nothing | Self::Elsewhere(Err(_)) => None,
        }
    }

    /// Nothing has the name that is to be written.
    pub(super) fn absent(&self) -> bool {
        matches!(self, Self::File(change, _) if change.before == FileState::Absent)
    }
}

impl Keeper {
    /// Looks at what the plan would change.
    pub(super) fn look(&self, call: &Call, asked: &Asked, plan: &Plan) -> Result<Sight, Refusal> {
        let (file, sha256, len) = match plan {
            Plan::Write { file, sha256, len } => (file, sha256, len),
            Plan::Foreign(foreign) if foreign.effect() => {
                return Ok(Sight::Elsewhere(self.countered(call, asked.question.era)));
            }
            Plan::Roots | Plan::Read(_) | Plan::Http { .. } | Plan::Foreign(_) => {
                return Ok(Sight::Nothing);
            }
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
        let change = Change {
            file: file.clone(),
            before,
            after,
        };
        Ok(Sight::File(change, content))
    }

    /// Keeps what a live call changes, so that it can be taken back.
    pub(super) fn undo(&self, sight: Sight) -> Result<Undo, Refusal> {
        match sight {
            Sight::Nothing => Ok(Undo::Harmless),
            Sight::File(change, content) => Ok(Undo::Inverse(self.store.keep(change, &content)?)),
            Sight::Elsewhere(Ok(countered)) => Ok(Undo::Counter(countered)),
            Sight::Elsewhere(Err(why)) => Err(Refusal::not_taken_back(why)),
        }
    }
}
