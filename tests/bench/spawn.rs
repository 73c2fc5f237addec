//! A native jail against `posix_spawn` and bare fork + exec of the same binary.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::report::{Report, median};

/// Pairs measured.
const ROUNDS: usize = 200;

/// Medians in seconds.
pub struct Spawned {
    /// A native jail.
    pub jail: f64,
}
