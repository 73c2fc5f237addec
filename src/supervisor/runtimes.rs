//! Looks at what agents on this host are made of, on a thread of its own: a large tree takes a while,
//! and the roles are watched meanwhile. The keeper asks, at each connection of an agent and now and
//! then; what was measured once is known by its stamps.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use serde_json::Value;

use crate::catalog::connector::tree::Measured;
use crate::catalog::runtime::{Lock, Runtime, kept, measure};
use crate::config::{Config, Paths};
use crate::error::{Context, Error, Result};
use crate::wire::messages::{Looked, PinnedRuntime};

/// How soon the same agent is looked at again; asked earlier, the last answer is given.
const LEAST: Duration = Duration::from_secs(1);
/// Bytes of what changed that are told, as JSON.
const TOLD_MAX: usize = 32 << 10;

/// Who is to be looked at: plane and agent.
type Whom = (String, String);

/// Who wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The operator: what is there now.
    ByOperator,
    /// A keeper, as often as agents make it.
    ByKeeper,
}

/// The thread that looks, and what it has seen.
#[derive(Debug)]
pub(super) struct Runtimes {
    all: BTreeMap<String, BTreeSet<String>>,
    asks: Sender<(Whom, Asked)>,
    told: Receiver<(Whom, Looked)>,
    bell: OwnedFd,
    /// Held here too: a bell whose ringing end is closed is readable for ever.
    _ring: Arc<OwnedFd>,
}

impl Runtimes {
    /// Starts the thread, where any agent's configuration names what it is made of.
    pub(super) fn new(config: &Config, paths: &Paths) -> Result<Self> {
        let (asks, inbox) = channel();
        let (tell, told) = channel();
        let what = || "make the bell of the thread that looks at agents".to_owned();
        let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let (bell, ring) = nix::unistd::pipe2(flags).context(what)?;
        let ring = Arc::new(ring);
        let rings = Arc::clone(&ring);
        let mut eye = Eye::new(config, paths);
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (plane, agent) in eye.seen.keys() {
            all.entry(plane.clone()).or_default().insert(agent.clone());
        }
        if !all.is_empty() {
            let work = move || {
                while let Ok((whom, asked)) = inbox.recv() {
                    let Some(looked) = eye.look(&whom, asked) else {
                        continue;
                    };
                    if tell.send((whom, looked)).is_err() {
                        break;
                    }
                    // A full pipe has rung already.
                    let _ = nix::unistd::write(&*rings, b"!");
                }
            };
            let thread = std::thread::Builder::new().name("runtimes".into());
            thread
                .spawn(work)
                .context(|| "start the thread that looks at agents".into())?;
        }
        Ok(Self {
            all,
            asks,
            told,
            bell,
            _ring: ring,
        })
    }

    /// Readable when there is something to hear.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Agents of a plane that are made of something that can be looked at.
    pub(super) fn of(&self, plane: &str) -> impl Iterator<Item = &String> {
        self.all.get(plane).into_iter().flatten()
    }

    /// Has an agent looked at; nothing comes of it where nothing is configured.
    pub(super) fn ask(&self, plane: &str, agent: &str, asked: Asked) {
        if self.of(plane).any(|known| known == agent) {
            // The thread lives as long as this.
            drop(self.asks.send(((plane.into(), agent.into()), asked)));
        }
    }

    /// What was seen since: plane, agent and result.
    pub(super) fn hear(&self) -> Vec<(Whom, Looked)> {
        let mut bytes = [0; 64];
        while nix::unistd::read(&self.bell, &mut bytes).is_ok_and(|count| count > 0) {}
        self.told.try_iter().collect()
    }
}

/// What the thread knows.
struct Eye {
    lock: PathBuf,
    own: u32,
    seen: BTreeMap<Whom, Seen>,
}

#[derive(Default)]
struct Seen {
    runtime: Runtime,
    entries: PathBuf,
    was: Vec<Measured>,
    last: Option<(Instant, Looked)>,
}

impl Eye {
    fn new(config: &Config, paths: &Paths) -> Self {
        let mut seen = BTreeMap::new();
        for (plane, configured) in &config.planes {
            for (agent, own) in &configured.agents {
                let Some(runtime) = &own.runtime else {
                    continue;
                };
                let entries = paths.agent_entries(plane, agent);
                let one = Seen {
                    runtime: runtime.clone(),
                    entries,
                    ..Seen::default()
                };
                seen.insert((plane.clone(), agent.clone()), one);
            }
        }
        Self {
            lock: paths.agents_lock(),
            own: nix::unistd::geteuid().as_raw(),
            seen,
        }
    }

    fn look(&mut self, whom: &Whom, asked: Asked) -> Option<Looked> {
        let seen = self.seen.get_mut(whom)?;
        if let Some((at, looked)) = &seen.last
            && at.elapsed() < LEAST
            && asked == Asked::ByKeeper
        {
            return Some(looked.clone());
        }
        let looked = seen
            .look(whom, &self.lock, self.own)
            .unwrap_or_else(|error| Looked::unlike(None, error, Vec::new()));
        seen.last = Some((Instant::now(), looked.clone()));
        Some(looked)
    }
}

impl Seen {
    fn look(&mut self, (plane, agent): &Whom, lock: &Path, own: u32) -> Result<Looked> {
        // Read each time: what is pinned anew holds at once.
        let lock = Lock::read(lock)?;
        let Some(pin) = lock.pin(plane, agent) else {
            let error = Error::new(format!("what agent `{agent}` is made of was not pinned"));
            let error = error.hint(format!("`keepgate agent pin {agent} --by NAME`"));
            return Ok(Looked::unlike(None, error, Vec::new()));
        };
        let pinned = PinnedRuntime {
            digest: pin.digest(),
            by: pin.by.clone(),
            at: pin.at,
            models: pin.models.clone(),
        };
        let now = match measure(&self.runtime, &self.was, own) {
            Ok(now) => now,
            Err(error) => return Ok(Looked::unlike(Some(pinned), error, Vec::new())),
        };
        let differences = pin.compare(&self.runtime, &now, &kept(&self.entries));
        self.was = now;
        let Some(first) = differences.first() else {
            return Ok(Looked::same(pinned));
        };
        let error = Error::new(format!("agent `{agent}` is not what was pinned: {first}"));
        let error = error.hint(format!(
            "`keepgate agent diff {agent}` shows it; restore it, or pin what is there now: \
             `keepgate agent pin {agent} --by NAME`"
        ));
        let mut left = TOLD_MAX;
        let told = differences.iter().map_while(|difference| {
            let value = serde_json::to_value(difference).ok()?;
            left = left.checked_sub(value.to_string().len())?;
            Some(value)
        });
        let told: Vec<Value> = told.collect();
        Ok(Looked::unlike(Some(pinned), error, told))
    }
}
