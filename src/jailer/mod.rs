//! The jailer: starts jails and touches files beneath the operator's roots, on the keeper's orders
//! and nobody else's.
//!
//! It has no path to any file: its root directory is empty, and it holds each operator's root as a
//! private mount by descriptor. Before the first order it runs the self-test; where that finds
//! anything, every order is refused.
#![forbid(unsafe_code)]

mod ahead;
mod files;
mod held;
mod jails;
mod pins;
mod place;
mod reserve;
mod running;
mod scratch;
mod seats;
mod self_test;
mod serve;
mod trouble;
mod watch;

pub use files::NEW_FILE_MODE;
pub use place::split;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::catalog::connector::Tree;
use crate::error::{Context, Error, Result};
use crate::jail::Jail;
use crate::jail::cgroup::{Cgroups, Delegation};
use crate::jail::confine::{self, Confine, Holds, Starts};
use crate::jail::foreign::Foreign;
use crate::jail::foreign::users::Users;
use crate::jail::world::World;
use crate::sys::sealed;
use crate::wire::frame;
use crate::wire::manifest::Manifest;
use crate::wire::messages::Report;
use files::Files;
use jails::Jails;
use pins::Pins;
use self_test::self_test;

/// Manifests that cannot be used of which the supervisor is told.
const NAMED_MAX: usize = 256;

/// What a jailer is told at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailerSetup {
    /// Its own confinement; paths in it are ignored, `roots` is what counts.
    pub confine: Confine,
    /// Whose jailer.
    pub plane: String,
    /// Uids and gids of jails. Must be there where Keepgate runs as root, and only there.
    pub jail_users: Option<Users>,
    /// What programs that are not Keepgate's own may be run under.
    pub manifests: Vec<Manifest>,
    /// By the name of a manifest: what its programs execute, which has to be as it was pinned at each
    /// start of one, and as long as one runs.
    #[serde(default)]
    pub pins: BTreeMap<String, Vec<Tree>>,
    /// System calls that Keepgate's own tools are refused are told too.
    pub observe: bool,
    /// Jails made ahead for Keepgate's own tools, and networks for foreign jails, at most.
    pub ahead: usize,
    /// `separate uids` or `one user`.
    pub separation: String,
    /// The operator's roots, absolute.
    pub roots: Vec<PathBuf>,
    /// Degradations the operator accepts, by name.
    pub accept: Vec<String>,
    /// The cgroups it may use.
    pub cgroup: Delegation,
}

/// Serves until told to stop or the supervisor is gone. A jailer whose self-test failed reports
/// itself unfit and goes on to refuse every order, so that the keeper can say why.
///
/// # Errors
/// Fails where the jail cannot be made at all, and on a broken control link.
pub fn run(control: OwnedFd, setup: JailerSetup) -> Result<()> {
    let root = nix::unistd::geteuid().is_root();
    if root != setup.jail_users.is_some() {
        let what = "jails need uids of their own where Keepgate runs as root, and only there";
        return Err(Error::new(what));
    }
    let program = sealed::own().context(|| "make the tools' program".into())?;
    let own = nix::unistd::geteuid().as_raw();
    let users = setup.jail_users.unwrap_or(Users {
        first: own,
        count: 1,
    });
    let Delegation { path, lack } = setup.cgroup;
    let mut world = World::enter(&setup.roots, path.as_deref(), &setup.manifests, users)?;
    let jail = Jail::new(program, setup.jail_users, &setup.accept)?;
    let views = world.take_views();
    let foreign = match views {
        Some(views) => Some(Foreign::new(views, setup.jail_users, setup.ahead)?),
        None => None,
    };
    let mut cgroups = Cgroups::enter(world.take_cgroup().map(Into::into), lack);
    let sealed = sealed::is_sealed(jail.program());
    let starts = Starts::of(&setup.manifests, setup.observe, sealed);
    let holds = Holds {
        roots: world.roots(),
        cgroup: cgroups.fd(),
        program: jail.program(),
    };
    confine::jailer(&setup.confine, &holds, starts)?;
    cgroups.fill();
    let mut jails = Jails::new(
        jail,
        foreign,
        cgroups,
        setup.manifests,
        setup.jail_users,
        setup.observe,
        setup.ahead,
    );
    let verdict = self_test(&mut jails, &setup.separation, &setup.accept)?;
    if verdict.fit {
        let took_us = verdict.report.took_us;
        tracing::info!(plane = setup.plane, took_us, "self-test passed");
        let unusable = verdict.report.unusable.iter().take(NAMED_MAX);
        let manifests: Vec<String> = unusable.map(|one| one.manifest.clone()).collect();
        if !manifests.is_empty() {
            frame::send(control.as_fd(), &Report::Partly { manifests }, &[], &[])?;
        }
        frame::send(control.as_fd(), &Report::Ready, &[], &[])?;
    } else {
        tracing::error!(plane = setup.plane, why = verdict.why, "self-test failed");
        let report = Report::Unfit {
            why: verdict.why.clone(),
            hint: verdict.hint.clone(),
        };
        frame::send(control.as_fd(), &report, &[], &[])?;
    }
    // Threads only now: each keeps the confinement it was made in.
    let pins = Pins::new(&setup.pins, jails.views(), own)?;
    serve::Server::new(control, jails, pins, Files::new(world, root), verdict).run()
}
