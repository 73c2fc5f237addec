//! What the keeper writes to a jailed tool's standard input and reads from its standard output.
//! The reply is outside bytes to the keeper: bounded, parsed strictly, and never trusted with more
//! than the words in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Standard input of a tool.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The arguments as admitted: schema checked, canonical.
    pub arguments: Map<String, Value>,
    /// Whether effects are wanted (`live`) or shown only (`rehearse`).
    pub mode: Mode,
    /// For `file.write`: nothing had that name when the keeper looked.
    #[serde(default)]
    pub absent: bool,
}

/// Whether effects are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// For real.
    Live,
    /// Shown, not done.
    Rehearse,
}

/// Standard output of a tool.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "reply", deny_unknown_fields)]
pub enum Reply {
    /// The result, as the tool's output schema has it.
    Done {
        /// A JSON object.
        value: Value,
    },
    /// It could not be done.
    Fault {
        /// Why.
        fault: Fault,
    },
}

/// Why a tool could not do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// A fixed word per kind of failure.
    pub class: String,
    /// One sentence for the agent.
    pub say: String,
}

impl Fault {
    /// A failure of a fixed kind.
    pub fn new(class: &str, say: impl Into<String>) -> Self {
        Self {
            class: class.into(),
            say: say.into(),
        }
    }
}
