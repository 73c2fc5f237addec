//! The exit codes of every command: one table, shown by `keepgate --help` and in the manual.

use std::fmt::Write;
use std::process::ExitCode;

use crate::error::Kind;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Ok,
    /// It failed.
    Error,
    /// The command line, or a file the user wrote, is wrong.
    Usage,
    /// It works, but with less protection than asked for, or a part does not run.
    Degraded,
    /// Policy or identity forbids it.
    Denied,
    /// A person has to decide first.
    Pending,
    /// Shown, not done.
    Rehearsed,
    /// Too late: the decision is no longer valid.
    Expired,
    /// The log, or a copy of it, is not what was written.
    Tampered,
    /// Keys are sealed.
    Sealed,
    /// A replay came out differently.
    Diverged,
    /// `jail run` could not make the jail; as docker-run(1) and env(1).
    NoJail,
    /// `jail run` found the program and cannot run it.
    NotExecutable,
    /// `jail run` did not find the program.
    NotFound,
    /// `jail run` ends as its program did.
    Program(u8),
}

/// Every code, its name in `--json` errors, and what it means.
pub const TABLE: [(Exit, &str, &str); 14] = [
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
    (
        Exit::NoJail,
        "no-jail",
        "`jail run`: no jail, or its output is lost; otherwise it ends as its program",
    ),
    (
        Exit::NotExecutable,
        "not-executable",
        "`jail run`: the program was found and cannot be run",
    ),
    (
        Exit::NotFound,
        "not-found",
        "`jail run`: the program was not found",
    ),
];

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Degraded => 3,
            Self::Denied => 10,
            Self::Pending => 11,
            Self::Rehearsed => 12,
            Self::Expired => 13,
            Self::Tampered => 20,
            Self::Sealed => 21,
            Self::Diverged => 30,
            Self::NoJail => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Program(code) => code,
        }
    }

    /// Of a process that ended with this status, or of this signal: as shells tell it.
    pub fn of(code: Option<i32>, signal: Option<i32>) -> Self {
        let code = code.or(signal.map(|signal| signal.saturating_add(128)));
        Self::Program(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
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
        let _ = writeln!(text, "  {:>3}  {name:<14} {meaning}", exit.code());
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
        assert_eq!(
            codes,
            [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 30, 125, 126, 127]
        );
        assert_eq!(Exit::from(Kind::Tampered).name(), "tampered");
        assert!(help().contains(" 30  diverged       a replay came out differently\n"));
        assert_eq!(Exit::of(Some(7), None).code(), 7);
        assert_eq!(Exit::of(None, Some(9)).code(), 137);
        assert_eq!(Exit::of(None, None).code(), 1);
    }
}
