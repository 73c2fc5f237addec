//! The keeper: the only role that decides. It holds policy and log, makes every work order, and has
//! no network.
//!
//! One thread reads each link, one thread carries each call; a call's whole life is
//! [`pipeline::run`].
#![forbid(unsafe_code)]

mod act;
mod admin;
mod admit;
mod again;
mod answer;
mod asks;
mod connectors;
mod count;
mod counter;
mod deliveries;
mod follow;
mod foreign;
mod hands;
mod key;
mod lately;
mod limits;
pub mod links;
mod lists;
mod look;
mod mirrored;
mod offers;
mod pipeline;
mod plan;
mod questions;
mod refuse;
mod rehearse;
mod runs;
mod runtimes;
mod seats;
mod serve;
mod servers;
mod setup;
mod skills;
mod start;
mod state;
pub mod upstreams;

pub use serve::run;
pub use setup::{Bounds, Connected, ONE_USER, Setup, Trouble};

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crate::audit::index::Index;
use crate::audit::quota::{Exceeded, OVERHEAD, Quota};
use crate::audit::{Log, Masker};
use crate::call::Call;
use crate::call::id::Id;
use crate::catalog::Catalog;
use crate::error::Result;
use crate::mode::Current;
use crate::policy::Engine;
use crate::time::{Clock, SystemClock, Timestamp};
use crate::undo::Store;
use refuse::Refusal;
use state::State;

/// Who is counted for agents that are not enrolled; no agent can have this name.
const NOBODY: &str = "-";

/// Everything a keeper has.
#[derive(Debug)]
struct Keeper {
    setup: Setup,
    log: Log,
    state: Arc<Mutex<State>>,
    masker: Masker,
    catalog: Catalog,
    connectors: connectors::Connectors,
    engine: RwLock<Engine>,
    hands: hands::Hands,
    upstreams: upstreams::Upstreams,
    /// Hears of servers what is about no question.
    servers: Arc<servers::Listener>,
    store: Store,
    runs: runs::Runs,
    /// What agents of this host are.
    runtimes: runtimes::Runtimes,
    quota: Mutex<Quota>,
    limits: limits::Limits,
    index: Mutex<Index>,
    seats: seats::Seats,
    /// What agents wait for.
    questions: questions::Questions,
    /// Calls that may come again.
    again: again::Again,
    /// Which of their answers were delivered.
    deliveries: deliveries::Deliveries,
    /// Held from looking whether a call was taken back to the intent that takes it back.
    undoing: Mutex<()>,
    clock: SystemClock,
    started: Timestamp,
    /// To the supervisor.
    control: OwnedFd,
    /// Agents whose sockets listen, as the supervisor says.
    listening: (Mutex<BTreeSet<String>>, Condvar),
    /// The supervisor has said who listens: whoever is enrolled gets in.
    open: AtomicBool,
    stopping: AtomicBool,
}

/// A call as the front passed it on.
#[derive(Debug)]
struct Asked {
    /// The request id told to the agent.
    call: Id,
    /// Who proved to be it.
    agent: String,
    /// Tool name on the wire.
    tool: String,
    /// What the client says of itself.
    client: String,
    /// Raw bytes of the arguments.
    arguments: Vec<u8>,
    /// Raw JSON of the other members of `params` that mean something; empty where there are none.
    extra: Vec<u8>,
    /// What HTTP's headers say of the arguments.
    mirrored: Option<Vec<mirrored::Header>>,
    /// It is no call of a tool, but of what a server has beside them.
    beside: bool,
    /// Who waits for the answer, and how they speak.
    question: Arc<questions::Question>,
    /// When it came.
    received: Timestamp,
}

/// Policy, mode and agents, held still.
#[derive(Debug)]
struct Rules<'a> {
    engine: RwLockReadGuard<'a, Engine>,
    state: &'a Mutex<State>,
}

impl Keeper {
    fn rules(&self) -> Rules<'_> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        Rules {
            engine,
            state: &self.state,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name under which an agent is counted: one for all that are not enrolled, so that
    /// invented names bring nobody anything.
    fn counted<'a>(&self, agent: &'a str) -> &'a str {
        if self.state().agents.contains_key(agent) {
            agent
        } else {
            NOBODY
        }
    }

    /// Counts what a call has had recorded beyond its arguments.
    fn charge(&self, agent: &str, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.limits.gave(agent, bytes);
        self.quota
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .charge(agent, bytes);
    }

    /// Counts what an agent is about to have recorded.
    fn count(&self, agent: &str, bytes: u64) -> std::result::Result<(), Exceeded> {
        // Time since boot: a wall clock that is set gives nobody anything.
        let now = Timestamp::from_micros(self.clock.since_boot_micros());
        self.quota
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(agent, bytes, now)
    }

    /// Runs `change` while no call is between its judgement and its intent.
    fn exclusively<T>(&self, change: impl FnOnce(&mut Engine) -> Result<T>) -> Result<T> {
        change(&mut self.engine.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rules<'_> {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The mode as evidence, if the call's agent is still enrolled.
    fn mode(&self, call: &Call) -> std::result::Result<Current, Refusal> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.agents.contains_key(call.agent()) {
            return Err(Refusal::no_agent());
        }
        Ok(state.mode.current())
    }
}
