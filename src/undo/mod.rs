//! How a call is taken back. What a live call would destroy is kept before its intent is written:
//! [`Inverse`] is the evidence, and only [`Store::keep`] makes one. What a connector's tool does is
//! taken back by another of its tools: [`Countered`] is the evidence that this one fits, as far as
//! that can be known before, and only [`Countered::of`] makes one.
#![forbid(unsafe_code)]

mod counter;
mod store;

pub use counter::{Counter, Countered, Way};
pub use store::{Inverse, Store};

use serde::{Deserialize, Serialize};

use crate::wire::messages::{FileOrder, FileState};

/// What a log entry says about taking its call back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Recipe {
    /// A file gets its old content.
    File(Change),
    /// Another tool of the same connector is called.
    Tool(Counter),
}

/// A change of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
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
    /// Another tool takes it back.
    Counter(Countered),
}

impl Undo {
    /// The recipe, where there is something to take back.
    pub fn recipe(&self) -> Option<Recipe> {
        match self {
            Self::Harmless => None,
            Self::Inverse(inverse) => Some(Recipe::File(inverse.recipe().clone())),
            Self::Counter(countered) => Some(Recipe::Tool(countered.recipe().clone())),
        }
    }
}
