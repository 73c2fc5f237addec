//! Which servers there are, what state each is in, and who may use one now.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Offered;
use super::backoff::{SERVED_WELL, pause};
use super::plan::{Launch, Server};
use crate::call::id::Id;
use crate::time::{Clock, SystemClock, Timestamp};
use crate::wire::messages::Era;

/// Servers of one agent that run at a time.
const OF_AGENT_MAX: usize = 16;
/// Servers that run at a time: no more than there are lasting jails.
const RUNNING_MAX: usize = 80;
/// Servers that are remembered, running or not.
const KNOWN_MAX: usize = 256;
/// Longest pause after a failure that a call waits for.
const WORTH_WAITING: Duration = Duration::from_secs(5);

/// Between two words to the jailer that a server answers.
const TOLD_AGAIN: Duration = Duration::from_secs(1);

/// Whose server it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) agent: String,
    pub(super) digest: String,
    pub(super) secrets: String,
    /// What its agent's client speaks, and so the server where it can: a server that speaks both
    /// has a process for each, so that neither client is given what its era does not have.
    pub(super) era: Era,
}

impl Key {
    /// The key of an agent's own process of this server.
    pub(super) fn of(agent: &str, server: &Server, era: Era) -> Self {
        Self {
            agent: agent.into(),
            digest: server.digest.clone(),
            secrets: server.secrets.clone(),
            era,
        }
    }
}

/// What a server is doing.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Being started under this name.
    Starting(Id),
    /// It can be asked.
    Open(Id, Arc<Offered>),
    /// Being ended.
    Ending(Id),
    /// Not running, and left alone until then.
    Resting(Instant),
    /// Not running.
    Stopped,
    /// Not what was approved.
    Quarantined,
}

/// One server of one agent.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) server: Arc<Server>,
    pub(super) state: State,
    pub(super) since: Timestamp,
    /// Questions under way.
    pub(super) calls: usize,
    pub(super) used: Instant,
    pub(super) starts: u32,
    /// In a row.
    failures: u32,
    opened: Option<Instant>,
    /// When its jailer was told last that it answers.
    told: Option<Instant>,
    /// The keeper wants it over.
    pub(super) unwanted: bool,
    pub(super) error: Option<String>,
}

/// Why there is no server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Without {
    /// It cannot be had now.
    Unavailable(String),
    /// It is not what was approved.
    Quarantined(String),
    /// Others have to end first.
    Busy(&'static str),
}

/// What to do for whoever wants a server.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    /// It is theirs until this is dropped.
    Use(Using<'a>),
    /// Start it under this name.
    Start(Id),
}

/// All servers.
#[derive(Debug, Default)]
pub(super) struct Pool {
    all: Mutex<Known>,
    turned: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) entries: BTreeMap<Key, Entry>,
    /// What servers of a pin spoke the last time, by what their clients speak.
    eras: HashMap<(String, Era), Era>,
}

/// A question has the use of an open server.
#[derive(Debug)]
pub(super) struct Using<'a> {
    pool: &'a Pool,
    key: Key,
    pub(super) upstream: Id,
    pub(super) offered: Arc<Offered>,
}

impl Drop for Using<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.pool.known().entries.get_mut(&self.key) {
            entry.calls = entry.calls.saturating_sub(1);
            entry.used = Instant::now();
        }
        self.pool.turned.notify_all();
    }
}

impl Pool {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The use of an agent's server or, where that may be, the order to start it; waits for either
    /// until then.
    pub(super) fn turn(
        &self,
        key: &Key,
        server: &Arc<Server>,
        until: Instant,
        may_start: bool,
    ) -> Result<Turn<'_>, Without> {
        let mut known = self.known();
        loop {
            let now = Instant::now();
            let entry = known.entries.get_mut(key);
            let wait = match entry {
                None => return known.begin(key, server).map(Turn::Start),
                Some(entry) => match &entry.state {
                    State::Open(..) if server.takes_turns() && entry.calls > 0 => until,
                    State::Open(upstream, offered) => {
                        let (upstream, offered) = (*upstream, Arc::clone(offered));
                        entry.calls += 1;
                        entry.used = now;
                        return Ok(Turn::Use(Using {
                            pool: self,
                            key: key.clone(),
                            upstream,
                            offered,
                        }));
                    }
                    State::Starting(_) | State::Ending(_) => until,
                    State::Resting(end) if *end > now => {
                        if *end > until || *end > now + WORTH_WAITING {
                            return Err(Without::Unavailable(entry.why()));
                        }
                        *end
                    }
                    State::Resting(_) if !may_start => {
                        return Err(Without::Unavailable(entry.why()));
                    }
                    State::Resting(_) | State::Stopped => {
                        return known.begin(key, server).map(Turn::Start);
                    }
                    State::Quarantined => return Err(Without::Quarantined(entry.why())),
                },
            };
            if now >= until {
                return Err(Without::Unavailable("it was not ready in time".into()));
            }
            let left = wait.min(until).saturating_duration_since(now);
            let waited = self.turned.wait_timeout(known, left);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// It was opened.
    pub(super) fn opened(&self, key: &Key, upstream: Id, offered: Offered) {
        let mut known = self.known();
        known
            .eras
            .insert((key.digest.clone(), key.era), offered.era);
        known.change(key, |entry| {
            entry.state = State::Open(upstream, Arc::new(offered));
            entry.opened = Some(Instant::now());
            entry.used = Instant::now();
        });
        self.turned.notify_all();
    }

    /// It has answered; whether its jailer should be told, which is not more than once a second.
    pub(super) fn answered(&self, using: &Using<'_>) -> bool {
        let mut known = self.known();
        let Some(entry) = known.entries.get_mut(&using.key) else {
            return false;
        };
        let jailed = matches!(entry.server.launch, Launch::Jailed { .. });
        let now = Instant::now();
        let lately = entry.told.is_some_and(|told| now < told + TOLD_AGAIN);
        if !jailed || lately {
            return false;
        }
        entry.told = Some(now);
        true
    }

    /// It is not there any more, though that is not yet known here: whoever wants one waits for its
    /// end.
    pub(super) fn left(&self, key: &Key, upstream: Id) {
        let mut known = self.known();
        known.change(key, |entry| {
            if matches!(entry.state, State::Open(id, _) if id == upstream) {
                entry.state = State::Ending(upstream);
            }
        });
    }

    /// Nobody may use it any more.
    pub(super) fn ending(&self, key: &Key, upstream: Id) {
        let mut known = self.known();
        known.change(key, |entry| entry.state = State::Ending(upstream));
        self.turned.notify_all();
    }

    /// It has ended: in order, or for this reason.
    pub(super) fn ended(&self, key: &Key, failed: Option<String>) {
        let mut known = self.known();
        known.change(key, |entry| {
            let opened = entry.opened.take();
            let well = opened.is_some_and(|since| since.elapsed() >= SERVED_WELL);
            if failed.is_none() || well {
                entry.failures = 0;
            }
            entry.unwanted = false;
            match failed {
                None => entry.state = State::Stopped,
                Some(why) => {
                    entry.failures = entry.failures.saturating_add(1);
                    entry.state = State::Resting(Instant::now() + pause(entry.failures));
                    entry.error = Some(why);
                }
            }
        });
        self.turned.notify_all();
    }

    /// It is not what was approved, and neither is any other of its pin.
    pub(super) fn quarantine(&self, digest: &str, why: &str) -> Vec<Id> {
        let mut known = self.known();
        let mut running = Vec::new();
        let now = SystemClock.now();
        for (_, entry) in known
            .entries
            .iter_mut()
            .filter(|(key, _)| key.digest == digest)
        {
            running.extend(entry.running());
            entry.state = State::Quarantined;
            entry.since = now;
            entry.error = Some(why.into());
        }
        self.turned.notify_all();
        running
    }

    /// What a server is spoken to in first: what one of this pin spoke before, or else its client's
    /// era; nothing is like the stateless era, and says that it has not been heard of.
    pub(super) fn era(&self, key: &Key) -> Option<Era> {
        let before = self
            .known()
            .eras
            .get(&(key.digest.clone(), key.era))
            .copied();
        before.or((key.era == Era::Session).then_some(Era::Session))
    }

    /// A server that speaks its client's era for the first time has other tools there than were
    /// approved: its pin's servers are spoken to in the other one from now on, where that can still
    /// be. False where it cannot: it is the one in which everything was approved.
    pub(super) fn shun(&self, key: &Key) -> bool {
        let mut known = self.known();
        let first =
            key.era == Era::Session && !known.eras.contains_key(&(key.digest.clone(), key.era));
        if first {
            known
                .eras
                .insert((key.digest.clone(), key.era), Era::Stateless);
        }
        first
    }

    /// A server of this pin ended before it was open: perhaps it cannot bear to be asked for its
    /// era, or is no longer of the one it was.
    pub(super) fn doubt(&self, key: &Key) {
        let mut known = self.known();
        let of = (key.digest.clone(), key.era);
        if known.eras.remove(&of).is_none() {
            let other = match key.era {
                Era::Session => Era::Stateless,
                Era::Stateless => Era::Session,
            };
            known.eras.insert(of, other);
        }
    }

    /// How long this server has not been asked; nothing while it is, and zero where it has to end.
    pub(super) fn idle(&self, key: &Key) -> Option<Duration> {
        let known = self.known();
        let entry = known.entries.get(key)?;
        match (entry.unwanted, entry.calls) {
            (true, _) => Some(Duration::MAX),
            (false, 0) => Some(entry.used.elapsed()),
            (false, _) => None,
        }
    }

    /// Takes an idle server for over, so that nobody begins to use it; whether it was idle.
    pub(super) fn retire(&self, key: &Key, upstream: Id, idle: Duration) -> bool {
        let mut known = self.known();
        let Some(entry) = known.entries.get_mut(key) else {
            return true;
        };
        let over = entry.unwanted || (entry.calls == 0 && entry.used.elapsed() >= idle);
        if over {
            entry.turn_to(State::Ending(upstream));
        }
        over
    }

    /// Marks servers as unwanted; gives the names of those that run.
    pub(super) fn end_those(&self, which: impl Fn(&Key) -> bool) -> Vec<Id> {
        let mut known = self.known();
        let mut running = Vec::new();
        for (_, entry) in known.entries.iter_mut().filter(|(key, _)| which(key)) {
            entry.unwanted = true;
            running.extend(entry.running());
        }
        known
            .entries
            .retain(|key, entry| entry.stays() || !which(key));
        self.turned.notify_all();
        running
    }
}

impl Known {
    /// A place for a server that is to be started; gives its name.
    fn begin(&mut self, key: &Key, server: &Arc<Server>) -> Result<Id, Without> {
        let running = |entry: &&Entry| entry.running().is_some();
        let all = self.entries.values().filter(running).count();
        let own = self
            .entries
            .iter()
            .filter(|(other, entry)| other.agent == key.agent && running(entry));
        if own.count() >= OF_AGENT_MAX {
            return Err(Without::Busy("this agent has too many servers that run"));
        }
        if all >= RUNNING_MAX {
            return Err(Without::Busy("too many servers run"));
        }
        self.forget_some();
        let upstream = Id::random().map_err(|error| Without::Unavailable(error.message()))?;
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
            server: Arc::clone(server),
            state: State::Stopped,
            since: SystemClock.now(),
            calls: 0,
            used: Instant::now(),
            starts: 0,
            failures: 0,
            opened: None,
            told: None,
            unwanted: false,
            error: None,
        });
        entry.server = Arc::clone(server);
        entry.starts = entry.starts.saturating_add(1);
        entry.turn_to(State::Starting(upstream));
        Ok(upstream)
    }

    /// Of those that do not run, the ones not used for longest make room.
    fn forget_some(&mut self) {
        while self.entries.len() >= KNOWN_MAX {
            let still = self
                .entries
                .iter()
                .filter(|(_, entry)| matches!(entry.state, State::Stopped | State::Resting(_)));
            let oldest = still.min_by_key(|(_, entry)| entry.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            self.entries.remove(&key);
        }
    }

    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Entry)) {
        // What was quarantined meanwhile stays that.
        if let Some(entry) = self.entries.get_mut(key)
            && !matches!(entry.state, State::Quarantined)
        {
            change(entry);
            entry.since = SystemClock.now();
        }
    }
}

impl Entry {
    fn turn_to(&mut self, state: State) {
        self.state = state;
        self.since = SystemClock.now();
    }

    /// Its name, while it has a process or a connection.
    pub(super) fn running(&self) -> Option<Id> {
        match self.state {
            State::Starting(id) | State::Open(id, _) | State::Ending(id) => Some(id),
            State::Resting(_) | State::Stopped | State::Quarantined => None,
        }
    }

    /// It runs, or is remembered so that whoever waits for it does not start it again.
    fn stays(&self) -> bool {
        self.running().is_some() || matches!(self.state, State::Quarantined)
    }

    fn why(&self) -> String {
        self.error.clone().unwrap_or_default()
    }
}
