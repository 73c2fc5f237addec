//! Whether effects happen. A new install rehearses; going live is an operator's logged command.
//!
//! [`Live`] can only come from [`Standing::current`], so nothing that wants one can run while a
//! plane rehearses.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::wire::admin::Mode;

/// The mode of a plane, and since when: part of the state folded from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    mode: Mode,
    since: Option<Timestamp>,
}

impl Default for Standing {
    /// Rehearsing, since ever.
    fn default() -> Self {
        Self {
            mode: Mode::Rehearse,
            since: None,
        }
    }
}

impl Standing {
    /// The mode set by a log entry made at `since`.
    pub fn set(mode: Mode, since: Timestamp) -> Self {
        Self {
            mode,
            since: Some(since),
        }
    }

    /// The mode by name.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// When it was set; nothing on an install that never left rehearsal.
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// The mode as evidence.
    pub fn current(&self) -> Current {
        match self.mode {
            Mode::Rehearse => Current::Dry(Dry(())),
            Mode::Live => Current::Live(Live(())),
        }
    }
}

/// The mode as evidence.
#[derive(Debug)]
pub enum Current {
    /// Effects are shown, not made.
    Dry(Dry),
    /// Effects are made.
    Live(Live),
}

impl Current {
    /// The mode by name.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Dry(_) => Mode::Rehearse,
            Self::Live(_) => Mode::Live,
        }
    }
}

/// Evidence that the plane rehearses.
#[derive(Debug)]
pub struct Dry(());

/// Evidence that the plane is live.
#[derive(Debug)]
pub struct Live(());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_install_rehearses() {
        assert!(matches!(Standing::default().current(), Current::Dry(_)));
        let live = Standing::set(Mode::Live, Timestamp::from_micros(1));
        assert!(matches!(live.current(), Current::Live(_)));
    }
}
