//! The front: speaks MCP with agents and decides nothing. It holds no key and no file; it frames,
//! limits and passes on, so an agent that takes it over can only ask what agents may ask.
//!
//! An agent is whoever the kernel says connected to its socket, or whoever proves over HTTP to have
//! its token or the key of its certificate; what a client says of itself is a label. Everything an
//! agent sends goes through [`read`], and arguments reach the keeper with the bytes they came with.
//!
//! ```text
//! agent ── lines ──▶ line ─┐
//!                          ├─▶ message ─▶ era ─▶ talk ── Open, Ask, List ──▶ keeper
//! agent ── HTTP ───▶ http ─┘
//! agent ◀─ connection, http ◀─ outlet ◀─ talk ◀─ Answer, Fault, Notice, Ask ── keeper
//! ```
#![forbid(unsafe_code)]

mod agent;
mod connection;
mod era;
mod house;
mod http;
mod keeper;
mod limits;
mod lists;
mod message;
mod notes;
mod object;
mod outlet;
mod quota;
mod reply;
mod subscription;
mod talk;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

use crate::error::{Context, Result};
use crate::jail::confine::Confine;
use crate::time::pulse;
use crate::wire::frame::AsyncLink;
use crate::wire::messages::{Control, DOOR_MAX, Report};
use house::{House, Obeyed};
use limits::Limits;

pub use crate::wire::line::{Line, Lines};
pub use http::fuzz_headers;
pub use message::{LINE_MAX, Message, Refusal, RequestId, batch, read};

/// What the supervisor tells the front at start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontSetup {
    /// How the role is confined; done before [`run`].
    pub confine: Confine,
    /// The plane it serves.
    pub plane: String,
    /// Keepgate's version, told to clients.
    pub version: String,
}

/// The whole life of the role, from set-up and confinement to the supervisor's stop.
///
/// # Errors
/// Fails where the runtime cannot start, or where supervisor or keeper send what they never should;
/// the supervisor starts the role again then.
pub fn run(control: OwnedFd, setup: FrontSetup) -> Result<()> {
    run_within(control, setup, Limits::default())
}

fn run_within(control: OwnedFd, setup: FrontSetup, limits: Limits) -> Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
        .context(|| "start the front's runtime".into())?;
    tracing::debug!(plane = setup.plane, "front starts");
    // As a task: what wakes the runtime's first future goes through the kernel each time.
    let serves = async {
        spawn_local(pulse());
        spawn_local(serve(control, setup.version, limits)).await
    };
    runtime
        .block_on(serves)
        .context(|| "serve agents".into())
        .flatten()
}

async fn serve(control: OwnedFd, version: String, limits: Limits) -> Result<()> {
    let control = AsyncLink::new(control)?;
    let house = House::new(version, limits);
    control.send(&Report::Ready, &[], &[]).await?;
    loop {
        tokio::select! {
            frame = control.recv::<Control>(DOOR_MAX) => match frame? {
                // Without a supervisor there is nobody to serve for.
                None => return Ok(()),
                Some(frame) => match house.obey(frame)? {
                    Obeyed::Done => {}
                    Obeyed::Admitted(agent) => {
                        control.send(&Report::Admitted { agent }, &[], &[]).await?;
                    }
                    Obeyed::Stop => {
                        house.stop().await;
                        return Ok(());
                    }
                }
            },
            error = house.keeper.broken() => return Err(error),
        }
    }
}
