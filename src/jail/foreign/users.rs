//! The users that jails run as.

use serde::{Deserialize, Serialize};

/// Uid and gid of the users that jails run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// The first.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl Users {
    /// Uid and gid of user number `slot`.
    pub fn uid(self, slot: u32) -> u32 {
        self.first
            .saturating_add(slot.min(self.count.saturating_sub(1)))
    }
}
