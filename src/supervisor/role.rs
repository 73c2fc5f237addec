//! How a role's process begins: it has nothing but its control link on descriptor 3 (and standard
//! error), waits for its set-up, confines itself, and serves.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use crate::error::{Context, Error, Result};
use crate::jail::confine;
use crate::sys::inherited;
use crate::wire::frame::{self, Frame};
use crate::wire::messages::{Control, Report, Role};
use crate::{egress, front, jailer, keeper};

/// Prefix of a role's `argv[0]`; its name follows.
pub const PROGRAM: &str = "keepgate-";

/// Number of the control link.
const CONTROL: i32 = 3;
/// Longest set-up.
const SETUP_MAX: usize = 96 << 20;

/// The whole life of the role called `name`, or `None` where there is no such role.
pub fn run(name: &str) -> Option<ExitCode> {
    let role = Role::ALL.into_iter().find(|role| role.name() == name)?;
    Some(match start(role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(role = role.name(), %error, "role ends");
            ExitCode::FAILURE
        }
    })
}

fn start(role: Role) -> Result<()> {
    crate::sys::process::die_with_parent().context(|| "tie this role to its supervisor".into())?;
    let control = inherited::take(CONTROL).context(|| "take over the control link".into())?;
    let Some(first) = frame::recv::<Control>(control.as_fd(), SETUP_MAX)? else {
        return Ok(());
    };
    if !matches!(first.say, Control::Setup) {
        return Err(Error::new("the supervisor spoke before it sent the set-up"));
    }
    let reporter = control
        .try_clone()
        .context(|| "copy the control link".into())?;
    serve(role, control, first).inspect_err(|error| {
        // The supervisor shows this as the reason; if it is gone, so are we.
        drop(frame::send(
            reporter.as_fd(),
            &Report::Unfit {
                why: error.message(),
                hint: error.hint_text().map(str::to_owned),
            },
            &[],
            &[],
        ));
    })
}

fn serve(role: Role, control: OwnedFd, first: Frame<Control>) -> Result<()> {
    let blob = first.blob;
    match role {
        Role::Keeper => keeper::run(control, parse(&blob)?, first.fds),
        Role::Jailer => jailer::run(control, parse(&blob)?),
        Role::Front => {
            let setup: front::FrontSetup = parse(&blob)?;
            confine::role(role, &setup.confine)?;
            front::run(control, setup)
        }
        Role::Egress => {
            let setup: egress::EgressSetup = parse(&blob)?;
            confine::role(role, &setup.confine)?;
            egress::run(control, setup)
        }
    }
}

fn parse<T: DeserializeOwned>(blob: &[u8]) -> Result<T> {
    serde_json::from_slice(blob).context(|| "read the set-up".into())
}
