//! The jailer: starts jails and touches files beneath the operator's roots, on the keeper's orders
//! and nobody else's.
//!
//! It has no path to any file: its root directory is empty, and it holds each operator's root as a
//! private mount by descriptor. Before the first order it runs the self-test; where that finds
//! anything, every order is refused.
#![forbid(unsafe_code)]

mod files;
mod place;
mod scratch;
mod serve;
mod trouble;

pub use files::NEW_FILE_MODE;
pub use place::split;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::jail::confine::{self, Confine};
use crate::jail::world::World;
use crate::jail::{Jail, self_test};
use crate::sys::jail::sealed_program;
use crate::wire::frame;
use crate::wire::messages::{Report, Role};
use files::Files;

/// What a jailer is told at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailerSetup {
    /// Its own confinement; paths in it are ignored, `roots` is what counts.
    pub confine: Confine,
    /// Whose jailer.
    pub plane: String,
    /// Uid and gid of tools. Must be there where Keepgate runs as root, and only there.
    pub jail_uid: Option<u32>,
    /// `separate uids` or `one user`.
    pub separation: String,
    /// The operator's roots, absolute.
    pub roots: Vec<PathBuf>,
    /// Degradations the operator accepts, by name.
    pub accept: Vec<String>,
}

/// Serves until told to stop or the supervisor is gone. A jailer whose self-test failed reports
/// itself unfit and goes on to refuse every order, so that the keeper can say why.
///
/// # Errors
/// Fails where the jail cannot be made at all, and on a broken control link.
pub fn run(control: OwnedFd, setup: JailerSetup) -> Result<()> {
    let root = nix::unistd::geteuid().is_root();
    if root != setup.jail_uid.is_some() {
        let what = "tools need a uid of their own where Keepgate runs as root, and only there";
        return Err(Error::new(what));
    }
    let program = sealed_program().context(|| "make the tools' program".into())?;
    let world = World::enter(&setup.roots)?;
    let jail = Jail::new(program, setup.jail_uid, &setup.accept)?;
    confine::with_roots(Role::Jailer, &setup.confine, &world.roots())?;
    let verdict = self_test(&jail, &setup.separation)?;
    if verdict.fit {
        let took_us = verdict.report.took_us;
        tracing::info!(plane = setup.plane, took_us, "self-test passed");
        frame::send(control.as_fd(), &Report::Ready, &[], &[])?;
    } else {
        tracing::error!(plane = setup.plane, why = verdict.why, "self-test failed");
        let report = Report::Unfit {
            why: verdict.why.clone(),
        };
        frame::send(control.as_fd(), &report, &[], &[])?;
    }
    serve::Server::new(control, jail, Files::new(world, root), verdict).run()
}
