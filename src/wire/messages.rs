//! What the roles say to each other. One enum a direction; anything long (arguments, results)
//! travels as the frame's blob, descriptors beside it. Field order and names are internal: both
//! ends are the same binary.

mod control;
mod egress;
mod front;
mod jailer;

use serde::{Deserialize, Serialize};

pub use control::{
    Certificate, Control, DOOR_MAX, DOORS_MAX, Door, DoorTls, LOOKED_MAX, Looked, PinnedRuntime,
    Proof, Report, Token,
};
pub use egress::{
    EgressToKeeper, Got, Hop, HttpRule, KeeperToEgress, Offer, Passing, Remote, Unasked,
    UpstreamLimits, WORDS_MAX,
};
pub use front::{Era, FrontToKeeper, KeeperToFront, What};
pub use jailer::{
    DENIALS_MAX, Denial, FileOrder, FileState, JailEnd, JailFault, JailerToKeeper, KeeperToJailer,
    Layer, Limiting, Limits, OpenAs, SelfTest, UNUSABLE_MAX, Unusable,
};

/// Longest argument object of a call, in bytes.
pub const ARGUMENTS_MAX: usize = 1 << 20;
/// Longest result of a call, in bytes.
pub const RESULT_MAX: usize = 4 << 20;

/// Longest raw JSON of the other members of a call's `params` that are passed on, in bytes.
pub const EXTRA_MAX: usize = 32 << 10;
/// Longest names and texts of headers that are passed on with a call, in bytes.
pub const MIRRORED_MAX: usize = 8 << 10;
/// Longest blob from the front: what is beside a call's arguments, and they.
pub const ASKED_MAX: usize = ARGUMENTS_MAX + EXTRA_MAX;

/// Permission bits of a file that a tool makes anew.
pub const NEW_FILE_MODE: u32 = 0o640;

/// Agents of one plane at most.
pub const AGENTS_MAX: usize = 500;

/// The names of roles a supervisor starts in each plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Keys, policy, log, decisions.
    Keeper,
    /// Starts jails and opens files beneath the operator's roots.
    Jailer,
    /// Speaks MCP with agents.
    Front,
    /// Speaks with the network, as open tickets allow.
    Egress,
}

impl Role {
    /// All roles, in the order they are started.
    pub const ALL: [Self; 4] = [Self::Jailer, Self::Egress, Self::Keeper, Self::Front];

    /// The role's name in process lists, logs and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keeper => "keeper",
            Self::Jailer => "jailer",
            Self::Front => "front",
            Self::Egress => "egress",
        }
    }
}
