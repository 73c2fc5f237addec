//! How a keeper begins: it opens its log (which checks it), recalls what it knew, and records what
//! is new. Anything that does not fit is a reason not to serve.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::connectors::Connectors;
use super::deliveries::Deliveries;
use super::servers::Listener;
use super::state::{Policy, State};
use super::upstreams::Upstreams;
use super::{Keeper, Setup, hands, key, limits, runs, runtimes, seats};
use crate::audit::index::Index;
use crate::audit::quota::{Limits, Quota};
use crate::audit::{Draft, Log, Masker, Options};
use crate::catalog::Catalog;
use crate::error::{Context, Error, Kind, Result};
use crate::policy::{Engine, default_policy};
use crate::time::{Clock, SystemClock};
use crate::undo::Store;
use crate::wire::text::hex;

/// What the first policy is called: it came with the product.
const STARTER: &str = "starter";

impl Keeper {
    /// Opens everything. The process is confined already.
    pub(super) fn open(mut setup: Setup, control: OwnedFd, hands: hands::Hands) -> Result<Self> {
        let state_dir = setup.state.clone();
        for name in ["keys", "log", "policy", "store"] {
            let path = state_dir.join(name);
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error).context(|| format!("make directory `{}`", path.display()));
                }
                _ => {}
            }
        }
        let sealer = key::in_force(&state_dir, &setup.origin)?;
        let clock = SystemClock;
        let state = Arc::new(Mutex::new(State::default()));
        let log = Log::open(
            &state_dir.join("log"),
            &setup.origin,
            sealer,
            Arc::new(clock),
            Arc::clone(&state),
            Options::default(),
        )?;
        let mut connectors = Connectors::new(std::mem::take(&mut setup.connectors));
        let catalog = Catalog::with(connectors.tools(&Catalog::native()?))?;
        let engine = policy(&log, &state, &state_dir, &catalog)?;
        let own = setup.agents.iter().filter_map(|(name, bounds)| {
            let limits = Limits {
                entries_per_minute: bounds.calls_per_minute?,
                ..setup.agent_quota
            };
            Some((name.clone(), limits))
        });
        let quota = Quota::new(setup.agent_quota, setup.plane_quota).with(own.collect());
        let quota = Mutex::new(quota);
        let runs = runs::Runs::default();
        let used = lock(&state).used.clone();
        let open = used.iter().filter_map(|(agent, used)| {
            let run = used.newest()?;
            let ago = clock.now().as_micros().saturating_sub(run.last.as_micros());
            Some((agent.clone(), run.id, ago))
        });
        runs.resume(open, clock.since_boot_micros());
        let pinned = setup.agents.iter().filter(|(_, bounds)| bounds.pinned);
        let runtimes = runtimes::Runtimes::new(pinned.map(|(name, _)| name.clone()));
        let limits = limits::Limits::new(Self::rules_of(&setup, &connectors), used);
        let index = Index::open(&state_dir.join("index.sqlite"))?;
        let links = Arc::clone(hands.links());
        let servers = Arc::new(Listener::default());
        let upstreams = Upstreams::new(links, Arc::<Listener>::clone(&servers));
        let keeper = Self {
            setup,
            log,
            state,
            masker: Masker::default(),
            catalog,
            connectors,
            engine: RwLock::new(engine),
            hands,
            upstreams,
            servers,
            store: Store::new(state_dir.join("store")),
            runs,
            runtimes,
            quota,
            limits,
            index: Mutex::new(index),
            seats: seats::Seats::default(),
            questions: Default::default(),
            again: Default::default(),
            deliveries: Deliveries::default(),
            undoing: Mutex::default(),
            clock,
            started: clock.now(),
            control,
            listening: (Mutex::default(), Condvar::new()),
            open: false.into(),
            stopping: false.into(),
        };
        let lately = keeper.state().lately.clone();
        let (now, since_boot) = (clock.now(), clock.since_boot_micros());
        keeper.again.recall(&lately, now, since_boot);
        keeper.record_start()?;
        keeper.record_connectors()?;
        Ok(keeper)
    }

    fn record_start(&self) -> Result<()> {
        let open: Vec<_> = self.state().open.keys().take(100).copied().collect();
        let mut body = Map::new();
        body.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        body.insert("separation".into(), self.setup.separation.as_str().into());
        body.insert("unanswered".into(), json!(open));
        self.log.append(Draft::new("keeper.start", body))?;
        let text = json!({
            "roots": self.setup.roots,
            "http": self.setup.http,
            "agent_quota": self.setup.agent_quota,
            "plane_quota": self.setup.plane_quota,
            "run": self.setup.run,
            "agents": self.setup.agents,
            "unattended": self.setup.unattended,
            "operator_uid": self.setup.operator_uid,
            "accept": self.setup.accept,
            "demo": self.setup.demo,
        })
        .to_string();
        let digest = sha256(&text);
        if self.state().config.as_ref() == Some(&digest) {
            return Ok(());
        }
        let mut body = Map::new();
        body.insert("digest".into(), digest.into());
        body.insert("demo".into(), self.setup.demo.into());
        let draft = Draft::new("config", body).payload("config", self.masker.mask(text.as_bytes()));
        self.log.append(draft).map(drop)
    }
}

/// The policy in force: the one the log names, or on the very first start the product's own.
fn policy(log: &Log, state: &Mutex<State>, directory: &Path, catalog: &Catalog) -> Result<Engine> {
    let known = lock(state).policy.clone();
    let Some(Policy { digest, file, .. }) = known else {
        let engine = Engine::load(default_policy(), STARTER, catalog)?;
        apply(log, directory, &engine, STARTER)?;
        return Ok(engine);
    };
    let path = path(directory, &digest);
    let text = std::fs::read_to_string(&path).context(|| format!("read `{}`", path.display()))?;
    if sha256(&text) != digest {
        let what = format!("the policy `{}` is not what the log says", path.display());
        return Err(Error::of(Kind::Tampered, what)
            .hint("restore the file from a backup, or look into who changed it"));
    }
    Engine::load(&text, &file, catalog).or_else(|error| {
        // Its tools may be gone with a connector. A keeper that did not start could not be given
        // another policy either.
        tracing::error!(file, %error, "the policy does not fit the tools; nothing is permitted");
        Engine::refusing(&error, &file, catalog)
    })
}

/// Stores the engine's text and records that it is in force.
pub(super) fn apply(log: &Log, directory: &Path, engine: &Engine, file: &str) -> Result<u64> {
    let digest = sha256(engine.text());
    let path = path(directory, &digest);
    crate::sys::file::replace_durably(&path, engine.text().as_bytes(), 0o600)
        .context(|| format!("write `{}`", path.display()))?;
    let mut body = Map::new();
    body.insert("digest".into(), digest.into());
    body.insert("file".into(), file.into());
    body.insert("bytes".into(), Value::from(engine.text().len()));
    Ok(log.append(Draft::new("policy.applied", body))?.seq)
}

/// A panic elsewhere aborts the process, so a poisoned lock cannot be seen.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// SHA-256 of a text as lower-case hex.
pub(super) fn sha256(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

fn path(directory: &Path, digest: &str) -> std::path::PathBuf {
    directory.join("policy").join(format!("{digest}.cedar"))
}
