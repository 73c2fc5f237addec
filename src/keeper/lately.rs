//! Changing calls of clients that could make them again, folded from the log: which were begun, which
//! have an outcome, and which answers were delivered. A keeper that starts anew knows from this which
//! calls must not be made a second time without a word.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::again::WINDOW_US;
use crate::audit::Entry;
use crate::call::id::Id;
use crate::time::Timestamp;

/// Calls remembered; of more, the oldest are forgotten.
const MOST: usize = 4_096;

/// Calls whose answers may not have been delivered.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Lately {
    calls: BTreeMap<Id, One>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct One {
    /// Whose.
    pub(super) agent: String,
    /// What makes another call the same, lower-case hex.
    pub(super) key: String,
    /// Of its intent, or of its outcome.
    pub(super) at: Timestamp,
    /// It has an outcome.
    pub(super) done: bool,
}

impl Lately {
    /// An intent; one that names no `again` cannot be made again by a client that does not mean it.
    pub(super) fn begun(&mut self, call: Id, agent: &str, entry: &Entry) {
        let Some(key) = entry.body.get("again").and_then(Value::as_str) else {
            return;
        };
        let young = |one: &mut One| is_young(one.at, entry.time);
        self.calls.retain(|_, one| young(one));
        if self.calls.len() >= MOST {
            let oldest = self.calls.iter().min_by_key(|(_, one)| one.at);
            if let Some(call) = oldest.map(|(call, _)| *call) {
                self.calls.remove(&call);
            }
        }
        let one = One {
            agent: agent.into(),
            key: key.into(),
            at: entry.time,
            done: false,
        };
        self.calls.insert(call, one);
    }

    /// An outcome.
    pub(super) fn ended(&mut self, call: Id, entry: &Entry) {
        if let Some(one) = self.calls.get_mut(&call) {
            (one.at, one.done) = (entry.time, true);
        }
    }

    /// Answers that were delivered: the same calls are meant.
    pub(super) fn delivered(&mut self, entry: &Entry) {
        let calls = entry.body.get("calls").and_then(Value::as_array);
        let names = calls.into_iter().flatten().filter_map(Value::as_str);
        for call in names.filter_map(|name| name.parse().ok()) {
            self.calls.remove(&call);
        }
    }

    /// Its answer has not been delivered, as far as the log knows.
    pub(super) fn holds(&self, call: Id) -> bool {
        self.calls.contains_key(&call)
    }

    /// All that must not be made again at `now`.
    pub(super) fn all(&self, now: Timestamp) -> impl Iterator<Item = (Id, &One)> {
        let young = move |one: &One| is_young(one.at, now);
        let all = self.calls.iter().filter(move |(_, one)| young(one));
        all.map(|(call, one)| (*call, one))
    }
}

/// A clock that was turned back makes none old.
fn is_young(at: Timestamp, now: Timestamp) -> bool {
    now.as_micros().saturating_sub(at.as_micros()) < WINDOW_US
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::Fold;
    use crate::keeper::state::State;

    #[test]
    fn a_call_is_held_from_its_intent_until_its_answer_was_delivered() {
        let [one, two, plain] = [(); 3].map(|()| Id::random().unwrap());
        let entry = |seq: u64, kind: &str, minutes: i64, body: Value| {
            let at = Timestamp::from_micros(1_700_000_000_000_000 + minutes * 60_000_000);
            Entry::for_tests(seq, kind, at, body)
        };
        let intent = |call: Id| json!({"call": call, "agent": "a", "again": "ab"});
        let mut state = State::default();
        state.apply(&entry(1, "call.intent", 0, intent(one)));
        state.apply(&entry(2, "call.intent", 1, intent(two)));
        let without = json!({"call": plain, "agent": "a"});
        state.apply(&entry(3, "call.intent", 1, without));
        state.apply(&entry(4, "call.outcome", 2, json!({"call": two})));
        let now = Timestamp::from_micros(1_700_000_000_000_000 + 3 * 60_000_000);
        let known = |state: &State| {
            let all = state.lately.all(now);
            all.map(|(call, one)| (call, one.done))
                .collect::<BTreeMap<_, _>>()
        };
        assert_eq!(known(&state), BTreeMap::from([(one, false), (two, true)]));
        // It survives the snapshot.
        let mut again = State::default();
        again.restore(&state.snapshot()).unwrap();
        assert_eq!(known(&again), known(&state));
        state.apply(&entry(
            5,
            "call.delivered",
            3,
            json!({"calls": [two, plain, "?", 7]}),
        ));
        assert_eq!(known(&state), BTreeMap::from([(one, false)]));
        // The next intent forgets what is old.
        state.apply(&entry(6, "call.intent", 11, intent(two)));
        assert!(!state.lately.holds(one) && state.lately.holds(two));
    }

    #[test]
    fn there_is_an_end_to_what_is_held() {
        let mut lately = Lately::default();
        for number in 0..=MOST {
            let at = Timestamp::from_micros(i64::try_from(number).unwrap());
            let body = json!({"again": "ab"});
            let entry = Entry::for_tests(1, "call.intent", at, body);
            lately.begun(Id::random().unwrap(), "a", &entry);
        }
        assert_eq!(lately.calls.len(), MOST);
        assert!(lately.calls.values().all(|one| one.at.as_micros() > 0));
    }
}
