//! Calls that come again. A client of the stateless era that loses an answer makes the same call
//! anew, under a new id, and cannot say so; a payment must not be made twice for that.
//!
//! What is known of a call that may change something, by agent, tool pin and canonical arguments:
//! that it is being carried out, or its outcome until that was delivered, for [`WINDOW_US`]. The
//! same call meanwhile waits for that outcome, or gets it; it is not carried out. Once the outcome
//! was written out to the agent in whole, the same call is meant, and is a new one.
//!
//! What was carried out live is known to a keeper that starts anew, too, from its log ([`Lately`]): the
//! same call is then answered once with what is known of the first one, and not carried out. Results
//! themselves do not outlive a keeper.
//!
//! Not remembered: reads, refusals (nothing happened), and the session era (its clients do not make
//! calls again by themselves).

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};
use serde_json::{Map, Value};

use super::lately::Lately;
use super::questions::Question;
use crate::audit::evidence::Released;
use crate::call::Call;
use crate::call::id::Id;
use crate::call::tool::EffectClass;
use crate::time::Timestamp;
use crate::wire::messages::Era;
use crate::wire::text::{hex, unhex};

/// How long an outcome waits to be fetched, in microseconds since it was recorded.
pub(super) const WINDOW_US: i64 = 10 * 60 * 1_000_000;
/// Outcomes kept of one agent.
const KEPT_MAX: usize = 256;
/// Bytes of results kept of one agent: four of the longest.
const BYTES_MAX: usize = 16 << 20;
/// How long a call waits for the outcome of the one before; longer than any tool may run.
const WAIT: Duration = Duration::from_secs(10 * 60);
/// Separates this digest from every other one in Keepgate.
const TAG: &[u8] = b"keepgate/v1/again\0";

type Key = [u8; 32];

/// What is known of calls.
#[derive(Debug, Default)]
pub(super) struct Again {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    calls: HashMap<Key, Entry>,
    /// Questions of the front that wait for, or got, which outcome.
    questions: HashMap<u64, Key>,
}

#[derive(Debug)]
struct Entry {
    agent: String,
    call: Id,
    state: State,
}

#[derive(Debug)]
enum State {
    Running,
    Done(Kept, i64),
}

/// What a call came to, as far as a later one has to know.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// Its outcome, which is on disk.
    Outcome(Arc<Released>),
    /// Its outcome is on disk, and its result went with an earlier keeper.
    Gone,
    /// Nobody can say: there is no outcome.
    Unknown,
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    /// The call is carried out.
    New(Ours<'a>),
    /// It was carried out before, and this came of it.
    Again(Id, Kept),
    /// It is being carried out, and nobody can wait for that longer.
    Busy,
}

/// A call's turn. Dropped, nothing happened, and the next one like it has its turn.
#[derive(Debug)]
pub(super) struct Ours<'a> {
    again: &'a Again,
    /// Nothing, where the call need not be remembered.
    key: Option<Key>,
}

impl Again {
    /// What an earlier keeper left: at `now`, which is `since_boot` microseconds since boot.
    pub(super) fn recall(&self, lately: &Lately, now: Timestamp, since_boot: i64) {
        let mut known = self.lock();
        for (call, one) in lately.all(now) {
            let Some(key) = unhex(&one.key).and_then(|key| Key::try_from(key).ok()) else {
                continue;
            };
            let kept = match one.done {
                true => Kept::Gone,
                false => Kept::Unknown,
            };
            let ago = now.as_micros().saturating_sub(one.at.as_micros()).max(0);
            let state = State::Done(kept, since_boot.saturating_sub(ago));
            let agent = one.agent.clone();
            known.calls.insert(key, Entry { agent, call, state });
            known.make_room(&one.agent, key);
        }
    }

    /// Whether `call` is a new one; waits where the same one is being carried out. `extra` is raw
    /// JSON of what came beside the arguments, or empty; `now` gives microseconds since boot.
    pub(super) fn turn(
        &self,
        call: &Call,
        question: &Question,
        extra: &[u8],
        now: impl Fn() -> i64,
    ) -> Turn<'_> {
        let changes = |class: &EffectClass| !matches!(class, EffectClass::Read);
        if question.era == Era::Session || !call.tool().classes().iter().any(changes) {
            return Turn::New(Ours {
                again: self,
                key: None,
            });
        }
        let key = key(call.agent(), call.digest(), extra);
        self.turn_of(key, call.id(), question, now)
    }

    fn turn_of(&self, key: Key, call: Id, question: &Question, now: impl Fn() -> i64) -> Turn<'_> {
        let until = Instant::now() + WAIT;
        let mut known = self.lock();
        loop {
            known.expire(now());
            match known.calls.get(&key) {
                None => {
                    let entry = Entry {
                        agent: question.agent.clone(),
                        call,
                        state: State::Running,
                    };
                    known.calls.insert(key, entry);
                    known.questions.insert(question.id, key);
                    return Turn::New(Ours {
                        again: self,
                        key: Some(key),
                    });
                }
                Some(Entry {
                    call,
                    state: State::Done(kept, _),
                    ..
                }) => {
                    let turn = Turn::Again(*call, kept.clone());
                    known.questions.insert(question.id, key);
                    return turn;
                }
                Some(_) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || question.is_gone() {
                return Turn::Busy;
            }
            let waited = self.changed.wait_timeout(known, left);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The answer to a question was delivered: the same call is a new one from now on. Gives the call
    /// that the agent knows of now, if that is one.
    pub(super) fn delivered(&self, question: u64) -> Option<Id> {
        let mut known = self.lock();
        let key = known.questions.remove(&question)?;
        match known.calls.get(&key) {
            Some(Entry {
                state: State::Done(..),
                call,
                ..
            }) => {
                let call = *call;
                known.forget(key);
                Some(call)
            }
            _ => None,
        }
    }

    /// A call is taken back: the same one is a new one from now on.
    pub(super) fn taken_back(&self, call: Id) {
        let mut known = self.lock();
        let done = |entry: &Entry| entry.call == call && matches!(entry.state, State::Done(..));
        let key = known.calls.iter().find(|(_, entry)| done(entry));
        if let Some(key) = key.map(|(key, _)| *key) {
            known.forget(key);
        }
    }

    /// Somebody has stopped waiting, or the plane stops: everybody looks again.
    pub(super) fn stir(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    /// The front's numbers begin anew. What is not delivered stays so.
    pub(super) fn forget_questions(&self) {
        self.lock().questions.clear();
        self.changed.notify_all();
    }

    /// A panic elsewhere aborts the process, so a poisoned lock cannot be seen.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ours<'_> {
    /// What makes another call the same, lower-case hex; nothing, where none is.
    pub(super) fn key(&self) -> Option<String> {
        self.key.map(|key| hex(&key))
    }

    /// The call came to this at `now`.
    pub(super) fn came_to(mut self, kept: Kept, now: i64) {
        let Some(key) = self.key.take() else { return };
        let mut known = self.again.lock();
        if let Some(entry) = known.calls.get_mut(&key) {
            entry.state = State::Done(kept, now);
            let agent = entry.agent.clone();
            known.make_room(&agent, key);
        }
        drop(known);
        self.again.changed.notify_all();
    }
}

impl Drop for Ours<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.again.lock().forget(key);
            self.again.changed.notify_all();
        }
    }
}

impl Known {
    fn forget(&mut self, key: Key) {
        self.calls.remove(&key);
        self.questions.retain(|_, known| *known != key);
    }

    fn expire(&mut self, now: i64) {
        let old = |entry: &Entry| matches!(entry.state, State::Done(_, at) if now.saturating_sub(at) >= WINDOW_US);
        let gone: Vec<Key> = self
            .calls
            .iter()
            .filter(|(_, entry)| old(entry))
            .map(|(key, _)| *key)
            .collect();
        gone.into_iter().for_each(|key| self.forget(key));
    }

    /// Forgets an agent's oldest outcomes until the rest fits; never that of `newest`.
    fn make_room(&mut self, agent: &str, newest: Key) {
        let mut own: Vec<(i64, usize, Key)> = self
            .calls
            .iter()
            .filter(|(_, entry)| entry.agent == agent)
            .filter_map(|(key, entry)| match &entry.state {
                State::Done(kept, at) => Some((*at, kept.len(), *key)),
                State::Running => None,
            })
            .collect();
        own.sort_unstable_by_key(|(at, ..)| *at);
        let mut bytes: usize = own.iter().map(|(_, len, _)| len).sum();
        let mut count = own.len();
        for (_, len, key) in own {
            if count <= KEPT_MAX && bytes <= BYTES_MAX {
                break;
            }
            if key != newest {
                self.forget(key);
                count -= 1;
                bytes -= len;
            }
        }
    }
}

impl Kept {
    fn len(&self) -> usize {
        match self {
            Self::Outcome(released) => released.result().len(),
            Self::Gone | Self::Unknown => 0,
        }
    }
}

/// The same key means the same call. One that goes on with what a server asked for in its first
/// answer (`inputResponses`, `requestState`) is another one; what `_meta` says makes no difference.
fn key(agent: &str, digest: &[u8; 32], extra: &[u8]) -> Key {
    let mut extra: Map<String, Value> = serde_json::from_slice(extra).unwrap_or_default();
    extra.remove("_meta");
    let extra = Value::Object(extra).to_string();
    let mut context = Context::new(&SHA256);
    context.update(TAG);
    context.update(digest);
    context.update(&extra.len().to_le_bytes());
    context.update(extra.as_bytes());
    context.update(agent.as_bytes());
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: Key = [1; 32];

    fn question(id: u64) -> Question {
        Question::new(id, "a".into(), Era::Stateless, false)
    }

    fn call() -> Id {
        Id::random().unwrap()
    }

    fn new(again: &Again, key: Key, id: u64, now: i64) -> Ours<'_> {
        match again.turn_of(key, call(), &question(id), || now) {
            Turn::New(ours) => ours,
            other @ (Turn::Again(..) | Turn::Busy) => panic!("{other:?}"),
        }
    }

    fn is_again(again: &Again, id: u64, now: i64) -> bool {
        match again.turn_of(KEY, call(), &question(id), || now) {
            Turn::New(_) => false,
            Turn::Again(_, Kept::Unknown) => true,
            other @ (Turn::Again(..) | Turn::Busy) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_outcome_is_given_again_until_it_was_delivered() {
        let again = Again::default();
        new(&again, KEY, 1, 0).came_to(Kept::Unknown, 5);
        assert!(is_again(&again, 2, 6));
        again.delivered(7);
        assert!(is_again(&again, 3, 7));
        // The second asker got it: the agent knows.
        again.delivered(2);
        assert!(!is_again(&again, 4, 8));
    }

    #[test]
    fn what_an_earlier_keeper_left_comes_to_what_its_log_knows() {
        let minute = 60_000_000;
        let at = |ago: i64| Timestamp::from_micros(20 * minute - ago).to_string();
        let one = |number: u8, ago: i64, done: bool| {
            let key = hex(&[number; 32]);
            let one = json!({"agent": "a", "key": key, "at": at(ago), "done": done});
            (call().to_string(), one)
        };
        let all = [
            one(1, 9 * minute, true),
            one(2, minute, false),
            one(3, 10 * minute, true),
            one(4, -minute, true),
        ];
        let lately = Value::Object(all.into_iter().collect());
        let lately: Lately = serde_json::from_value(lately).unwrap();
        let again = Again::default();
        again.recall(&lately, Timestamp::from_micros(20 * minute), 100 * minute);
        let turn = |number: u8, id: u64, now: i64| {
            let turn = again.turn_of([number; 32], call(), &question(id), || now);
            match turn {
                Turn::Again(_, Kept::Gone) => "gone",
                Turn::Again(_, Kept::Unknown) => "unknown",
                Turn::New(_) => "new",
                other @ (Turn::Again(..) | Turn::Busy) => panic!("{other:?}"),
            }
        };
        let now = 100 * minute;
        assert_eq!(turn(1, 1, now), "gone");
        assert_eq!(turn(2, 2, now), "unknown");
        assert_eq!(turn(3, 3, now), "new");
        // A clock that was turned back makes nothing old.
        assert_eq!(turn(4, 4, now), "gone");
        // What was nine minutes old is new after another one.
        assert_eq!(turn(1, 5, now + minute), "new");
        assert_eq!(turn(2, 6, now + minute), "unknown");
        // The agent was told: the same call is meant.
        assert!(again.delivered(6).is_some());
        assert_eq!(turn(2, 7, now + minute), "new");
    }

    #[test]
    fn what_was_taken_back_is_done_anew() {
        let again = Again::default();
        let turn = again.turn_of(KEY, call(), &question(1), || 0);
        let Turn::New(ours) = turn else {
            panic!("{turn:?}")
        };
        let id = again.lock().calls[&KEY].call;
        // Not while it runs: nobody can say yet what was.
        again.taken_back(id);
        ours.came_to(Kept::Unknown, 1);
        again.taken_back(call());
        assert!(is_again(&again, 2, 2));
        again.taken_back(id);
        assert!(!is_again(&again, 3, 3));
    }

    #[test]
    fn what_is_delivered_while_it_runs_is_not_its_outcome() {
        let again = Again::default();
        let ours = new(&again, KEY, 1, 0);
        again.delivered(1);
        ours.came_to(Kept::Unknown, 1);
        assert!(is_again(&again, 2, 2));
    }

    #[test]
    fn the_window_ends() {
        let again = Again::default();
        new(&again, KEY, 1, 0).came_to(Kept::Unknown, 5);
        assert!(is_again(&again, 2, 4 + WINDOW_US));
        assert!(!is_again(&again, 3, 5 + WINDOW_US));
    }

    #[test]
    fn what_was_refused_has_not_happened() {
        let again = Again::default();
        drop(new(&again, KEY, 1, 0));
        assert!(!is_again(&again, 2, 1));
        // And a restart of the front delivers nothing.
        new(&again, KEY, 3, 2).came_to(Kept::Unknown, 2);
        again.forget_questions();
        again.delivered(3);
        assert!(is_again(&again, 4, 3));
    }

    #[test]
    fn the_same_call_waits_for_the_one_before_unless_nobody_waits_for_it() {
        let again = Again::default();
        let ours = new(&again, KEY, 1, 0);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| is_again(&again, 2, 1));
            let gone = crate::keeper::questions::Questions::default();
            let asker = gone.begin(question(3));
            gone.cancel(3, false);
            let turn = again.turn_of(KEY, call(), &asker, || 1);
            assert!(matches!(turn, Turn::Busy));
            ours.came_to(Kept::Unknown, 1);
            assert!(waits.join().unwrap());
        });
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let again = Again::default();
        for number in 0..=KEPT_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            let at = i64::try_from(number).unwrap();
            new(&again, key, 0, at).came_to(Kept::Unknown, at);
        }
        let known = again.lock();
        assert_eq!(known.calls.len(), KEPT_MAX);
        assert!(!known.calls.contains_key(&[0; 32]));
    }

    #[test]
    fn agents_and_calls_are_told_apart() {
        let one = key("a", &[0; 32], b"");
        assert_ne!(one, key("b", &[0; 32], b""));
        assert_ne!(one, key("a", &[1; 32], b""));
        // A retry carries the same; what a server asked for in between makes it another call.
        assert_eq!(one, key("a", &[0; 32], br#"{"_meta":{"x":1}}"#));
        let goes_on = key("a", &[0; 32], br#"{"requestState":"s","_meta":{"x":2}}"#);
        assert_ne!(one, goes_on);
        assert_eq!(
            goes_on,
            key("a", &[0; 32], br#"{"_meta":{},"requestState":"s"}"#)
        );
    }
}
