//! How a call is taken back. What a live call would destroy is kept before its intent is written:
//! [`Inverse`] is the evidence, and only [`Store::keep`] makes one.
#![forbid(unsafe_code)]

mod store;

pub use store::{Inverse, Store};

use serde::{Deserialize, Serialize};

use crate::wire::messages::{FileOrder, FileState};

/// What a log entry says about taking its call back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The file changed.
    pub file: FileOrder,
    /// What it was.
    pub before: FileState,
    /// What the call makes of it.
    pub after: FileState,
}

/// Why a live call may go ahead as far as taking it back is concerned.
///
/// An irreversible call has no variant yet: it needs a person, and is refused before this.
#[derive(Debug)]
pub enum Undo {
    /// It changes nothing.
    Harmless,
    /// What it changes is kept.
    Inverse(Inverse),
}

impl Undo {
    /// The recipe, where there is something to take back.
    pub fn recipe(&self) -> Option<&Recipe> {
        match self {
            Self::Harmless => None,
            Self::Inverse(inverse) => Some(inverse.recipe()),
        }
    }
}
