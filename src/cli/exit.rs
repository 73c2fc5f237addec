//! The exit codes of every command: one table, shown by `keepgate --help` and in the manual.

use std::fmt::Write;
use std::process::ExitCode;

use crate::error::Kind;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// It failed.
    Error = 1,
    /// The command line, or a file the user wrote, is wrong.
    Usage = 2,
    /// It works, but with less protection than asked for, or a part does not run.
    Degraded = 3,
    /// Policy or identity forbids it.
    Denied = 10,
    /// A person has to decide first.
    Pending = 11,
    /// Shown, not done.
    Rehearsed = 12,
    /// Too late: the decision is no longer valid.
    Expired = 13,
    /// The log, or a copy of it, is not what was written.
    Tampered = 20,
    /// Keys are sealed.
    Sealed = 21,
    /// A replay came out differently.
    Diverged = 30,
}

/// Every code, its name in `--json` errors, and what it means.
pub const TABLE: [(Exit, &str, &str); 11] = [
    (Exit::Ok, "ok", "done"),
    (Exit::Error, "error", "it failed"),
    (
        Exit::Usage,
        "usage",
        "the command line or a file you wrote is wrong",
    ),
    (
        Exit::Degraded,
        "degraded",
        "less protection than asked for, or a part does not run",
    ),
    (Exit::Denied, "denied", "policy or identity forbids it"),
    (Exit::Pending, "pending", "a person has to decide first"),
    (Exit::Rehearsed, "rehearsed", "shown, not done"),
    (
        Exit::Expired,
        "expired",
        "too late: the decision is no longer valid",
    ),
    (
        Exit::Tampered,
        "tampered",
        "the log is not what was written",
    ),
    (Exit::Sealed, "sealed", "keys are sealed"),
    (Exit::Diverged, "diverged", "a replay came out differently"),
];

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The word in the table.
    pub fn name(self) -> &'static str {
        TABLE
            .iter()
            .find(|(exit, ..)| *exit == self)
            .map_or("error", |(_, name, _)| name)
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Other => Self::Error,
            Kind::Usage => Self::Usage,
            Kind::Degraded => Self::Degraded,
            Kind::Denied => Self::Denied,
            Kind::Pending => Self::Pending,
            Kind::Tampered => Self::Tampered,
            Kind::Sealed => Self::Sealed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table as text, for help and manual.
pub fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (exit, name, meaning) in TABLE {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:>2}  {name:<10} {meaning}", exit.code());
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_table_once_and_in_order() {
        let codes: Vec<u8> = TABLE.iter().map(|(exit, ..)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 30]);
        assert_eq!(Exit::from(Kind::Tampered).name(), "tampered");
        assert!(help().ends_with("30  diverged   a replay came out differently"));
    }
}
