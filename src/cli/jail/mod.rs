//! `keepgate jail`: a file for each command.
//!
//! `jail run` is supervisor and keeper in one to a jailer, and where the manifest has a way out to an
//! egress, that belong to it alone: the code that decides what a jail is, is the service's.

mod asked;
mod check;
mod drive;
mod explain;
mod hands;
pub(in crate::cli) mod private;
mod program;
mod pump;
mod run;
mod told;
mod users;

pub(super) use asked::host;
pub(super) use check::run as check;
pub(super) use explain::run as explain;
pub(super) use hands::Hands;
pub(super) use private::Jailer;
pub(super) use program::find;
pub(super) use run::run;
pub(super) use users::Own;

use crate::cli::exit::Exit;
use crate::error::Error;

/// Why a program was not run, and the exit code that says so.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    /// What to tell.
    pub(super) error: Error,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            exit: Exit::NoJail,
            error,
        }
    }
}

impl Failure {
    fn not_found(error: Error) -> Self {
        Self {
            exit: Exit::NotFound,
            error,
        }
    }

    fn not_executable(error: Error) -> Self {
        Self {
            exit: Exit::NotExecutable,
            error,
        }
    }
}
