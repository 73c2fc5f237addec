//! Agents on this host whose own programs are pinned. An agent that is not what was pinned makes no
//! call; what it was before does not lift that, only a new pin does. The supervisor looks, because the
//! keeper reads no files but its own; no call waits for that longer than [`WAIT`].

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Keeper;
use super::refuse::Refusal;
use super::state::Quarantine;
use crate::audit::Draft;
use crate::error::{Context, Result};
use crate::wire::messages::{KeeperToFront, Looked, PinnedRuntime, Report, What};

/// How long a look counts while nobody connects anew.
const FRESH: Duration = Duration::from_secs(30);
/// How soon an agent is looked at again, however often it connects.
const LEAST: Duration = Duration::from_secs(2);
/// How long a call waits to learn what its agent is.
const WAIT: Duration = Duration::from_secs(20);
/// What an agent is told.
const SAY: &str = "the operator has to look at this agent's own files; nothing was done";

/// What is known of agents' own programs.
#[derive(Debug, Default)]
pub(super) struct Runtimes {
    known: Mutex<BTreeMap<String, Known>>,
    told: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    looked: Option<(Instant, Looked)>,
    /// When the supervisor was last asked.
    asked: Option<Instant>,
    /// It has connected since it was looked at.
    came: bool,
}

impl Known {
    /// What was seen, where that still counts.
    fn fresh(&self, now: Instant) -> Option<&Looked> {
        let (at, looked) = self.looked.as_ref()?;
        let most = if self.came { LEAST } else { FRESH };
        (now.duration_since(*at) < most).then_some(looked)
    }
}

impl Runtimes {
    /// With these agents, of whom nothing is known yet.
    pub(super) fn new(agents: impl Iterator<Item = String>) -> Self {
        let known = agents.map(|name| (name, Known::default())).collect();
        Self {
            known: Mutex::new(known),
            told: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `agent` is, asked of `ask` where that is not known freshly; nothing where it could not be
    /// learnt within `wait`, and nothing inside where the agent has no such files.
    fn look(&self, agent: &str, wait: Duration, ask: impl Fn()) -> Option<Option<Looked>> {
        let until = Instant::now() + wait;
        let mut known = self.lock();
        loop {
            let Some(one) = known.get_mut(agent) else {
                return Some(None);
            };
            let now = Instant::now();
            if let Some(looked) = one.fresh(now) {
                return Some(Some(looked.clone()));
            }
            // One question for all calls that wait, again where its answer was lost with a role.
            if one.asked.is_none_or(|at| now.duration_since(at) >= LEAST) {
                one.asked = Some(now);
                drop(known);
                ask();
                known = self.lock();
                continue;
            }
            let left = until.checked_duration_since(now)?;
            let waited = self.told.wait_timeout(known, left.min(LEAST));
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A connection of `agent` begins.
    pub(super) fn came(&self, agent: &str) {
        if let Some(known) = self.lock().get_mut(agent) {
            known.came = true;
        }
    }

    fn hear(&self, agent: &str, looked: Looked) {
        if let Some(known) = self.lock().get_mut(agent) {
            *known = Known {
                looked: Some((Instant::now(), looked)),
                ..Known::default()
            };
        }
        self.told.notify_all();
    }

    fn seen(&self) -> BTreeMap<String, Option<Looked>> {
        let seen = |(name, known): (&String, &Known)| {
            let looked = known.looked.as_ref().map(|(_, looked)| looked.clone());
            (name.clone(), looked)
        };
        self.lock().iter().map(seen).collect()
    }
}

impl Keeper {
    /// Whether `agent` is what was pinned; what its run is to be recorded with, where it is pinned.
    pub(super) fn runtime(&self, agent: &str) -> Result<Option<PinnedRuntime>, Refusal> {
        let ask = || {
            let agent = agent.to_owned();
            if let Err(error) = self.report(&Report::Look { agent }) {
                tracing::error!(%error, "the supervisor cannot be asked to look at an agent");
            }
        };
        let refuse = |why: &str| Refusal::failed("agent_changed", None, SAY, why.to_owned());
        match self.runtimes.look(agent, WAIT, ask) {
            None => Err(refuse("it could not be looked at in time")),
            Some(None) => Ok(None),
            Some(Some(looked)) => match (self.unlike(agent, &looked), looked.pinned) {
                (Some(why), _) => Err(refuse(&why)),
                (None, pinned) => Ok(pinned),
            },
        }
    }

    /// Why an agent may not call, as far as that is known.
    fn unlike(&self, agent: &str, looked: &Looked) -> Option<String> {
        let held = self.held(agent);
        let by_pin = held.filter(|held| {
            looked
                .pinned
                .as_ref()
                .is_none_or(|pin| pin.digest == held.0)
        });
        looked
            .why
            .clone()
            .or_else(|| by_pin.map(|(_, quarantine)| quarantine.why))
    }

    /// Under which pin an agent was found to be another one, and how.
    fn held(&self, agent: &str) -> Option<(String, Quarantine)> {
        self.state().changed.get(agent).cloned()
    }

    /// Takes what the supervisor saw of an agent.
    ///
    /// # Errors
    /// Fails where the log takes no entries; then no call is made either.
    pub(super) fn looked(&self, agent: &str, looked: Looked) -> Result<()> {
        let recorded = self.record_look(agent, &looked);
        let changed = looked.why.is_some();
        self.runtimes.hear(agent, looked);
        if changed {
            let (agent, what) = (agent.to_owned(), What::Tools);
            self.tell_front(&KeeperToFront::Changed { agent, what }, &[]);
        }
        recorded
    }

    /// Each pin once, and each change under it once.
    fn record_look(&self, agent: &str, looked: &Looked) -> Result<()> {
        let Some(pinned) = &looked.pinned else {
            return Ok(());
        };
        let known = self.state().pinned.get(agent).cloned();
        if known.as_ref() != Some(&pinned.digest) {
            let mut body = Map::new();
            body.insert("agent".into(), agent.into());
            body.insert("pin".into(), pinned.digest.as_str().into());
            body.insert("by".into(), pinned.by.as_str().into());
            body.insert("pinned".into(), pinned.at.to_string().into());
            body.insert("models".into(), json!(pinned.models));
            self.log.append(Draft::new("agent.pinned", body))?;
        }
        let (Some(why), None) = (&looked.why, self.held(agent)) else {
            return Ok(());
        };
        tracing::error!(agent, why, "an agent is not what was pinned");
        let mut body = Map::new();
        body.insert("agent".into(), agent.into());
        body.insert("pin".into(), pinned.digest.as_str().into());
        body.insert("why".into(), why.as_str().into());
        body.insert("changes".into(), looked.changes.len().into());
        let told = serde_json::to_vec(&looked.changes).context(|| "tell what changed".into())?;
        let draft = Draft::new("agent.changed", body);
        self.log
            .append(draft.payload("changes", self.masker.mask(&told)))
            .map(drop)
    }

    /// What is known of pinned agents, for `status` and `agent list`: by name.
    pub(super) fn runtimes_status(&self) -> Map<String, Value> {
        let one = |(agent, looked): (String, Option<Looked>)| {
            let Some(looked) = looked else {
                return (agent, json!({"state": "not looked at yet"}));
            };
            let held = self.held(&agent);
            let why = self.unlike(&agent, &looked);
            let state = match (&why, &looked.pinned) {
                (None, _) => "pinned",
                (Some(_), None) => "not pinned",
                (Some(_), Some(_)) => "changed",
            };
            let held = held.filter(|_| state == "changed").map(|(_, held)| held);
            let pinned = looked.pinned.as_ref();
            let value = json!({
                "state": state,
                "why": why,
                "hint": looked.hint.filter(|_| why.is_some()).or_else(|| why.as_ref().map(|_| {
                    format!("pin it again: `keepgate agent pin {agent} --by NAME`")
                })),
                "since": held.as_ref().map(|held| held.since),
                "seq": held.as_ref().map(|held| held.seq),
                "pin": pinned.map(|pinned| pinned.digest.as_str()),
                "by": pinned.map(|pinned| pinned.by.as_str()),
                "at": pinned.map(|pinned| pinned.at),
                "models": pinned.map(|pinned| &pinned.models),
            });
            (agent, value)
        };
        self.runtimes.seen().into_iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;
    use crate::time::Timestamp;

    fn pinned(digest: &str) -> PinnedRuntime {
        PinnedRuntime {
            digest: digest.into(),
            by: "alice".into(),
            at: Timestamp::from_micros(1),
            models: vec!["m".into()],
        }
    }

    fn keeper(state: &std::path::Path) -> Keeper {
        let mut keeper = crate::keeper::admit::tests::keeper(state, 100);
        keeper.runtimes = Runtimes::new(["a".to_owned()].into_iter());
        keeper
    }

    fn refused(keeper: &Keeper) -> bool {
        keeper.runtime("a").is_err()
    }

    #[test]
    fn who_has_changed_calls_nothing_until_it_is_pinned_again() {
        let place = tempfile::tempdir().unwrap();
        let keeper = keeper(place.path());
        let changed = |digest: &str| {
            let change = vec![json!({"name": "agent.py"})];
            Looked::unlike(Some(pinned(digest)), Error::new("agent.py"), change)
        };
        let size = || keeper.log.head().size;
        keeper.looked("a", Looked::same(pinned("one"))).unwrap();
        assert_eq!(keeper.runtime("a").unwrap(), Some(pinned("one")));
        assert_eq!(keeper.runtime("b").unwrap(), None);
        let before = size();
        for _ in 0..3 {
            keeper.looked("a", changed("one")).unwrap();
            assert!(refused(&keeper));
        }
        assert_eq!(size(), before + 1, "told once");
        // What it was before is not enough.
        keeper.looked("a", Looked::same(pinned("one"))).unwrap();
        assert!(refused(&keeper));
        assert_eq!(keeper.runtimes_status()["a"]["state"], "changed");
        keeper.looked("a", Looked::same(pinned("two"))).unwrap();
        assert!(!refused(&keeper));
        // And no longer pinned at all is not pinned.
        let gone = Looked::unlike(None, Error::new("not pinned"), Vec::new());
        keeper.looked("a", gone).unwrap();
        assert!(refused(&keeper));
        assert_eq!(keeper.runtimes_status()["a"]["state"], "not pinned");
    }

    #[test]
    fn whoever_is_not_looked_at_in_time_calls_nothing() {
        let runtimes = Runtimes::new(["a".to_owned()].into_iter());
        let asked = AtomicUsize::new(0);
        let ask = || {
            asked.fetch_add(1, Ordering::SeqCst);
        };
        assert!(runtimes.look("a", Duration::ZERO, ask).is_none());
        assert!(runtimes.look("a", Duration::ZERO, ask).is_none());
        assert_eq!(asked.load(Ordering::SeqCst), 1, "one question for all");
        runtimes.hear("a", Looked::same(pinned("one")));
        assert!(runtimes.look("a", Duration::ZERO, ask).is_some());
        // A connection a moment after a look is not worth another one.
        runtimes.came("a");
        assert!(runtimes.look("a", Duration::ZERO, ask).is_some());
        let late = Instant::now() + LEAST;
        let known = runtimes.lock();
        assert!(known["a"].fresh(late).is_none());
        drop(known);
        runtimes.hear("a", Looked::same(pinned("one")));
        let known = runtimes.lock();
        assert!(known["a"].fresh(late).is_some());
        assert!(known["a"].fresh(Instant::now() + FRESH).is_none());
    }

    #[test]
    fn an_answer_wakes_whoever_waits_for_it() {
        let runtimes = Runtimes::new(["a".to_owned()].into_iter());
        std::thread::scope(|scope| {
            let (tell, asked) = std::sync::mpsc::channel();
            let runtimes = &runtimes;
            let waits = scope.spawn(move || runtimes.look("a", WAIT, || tell.send(()).unwrap()));
            asked.recv().unwrap();
            runtimes.hear("a", Looked::same(pinned("one")));
            assert!(waits.join().unwrap().unwrap().is_some());
        });
    }
}
