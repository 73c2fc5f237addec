//! What `status` says of servers.

use serde_json::{Value, json};

use super::Upstreams;
use super::plan::Launch;
use super::pool::State;

/// Characters of an error that are told.
const ERROR_SHOWN: usize = 400;

impl Upstreams {
    /// One object a server, ordered by agent: `agent`, `connector`, `pin`, `kind`, `state`, `since`,
    /// `starts`, `restarts`, `calls`, and `error`, the last one, where there was one.
    pub fn status(&self) -> Value {
        let known = self.pool.known();
        let all = known.entries.iter().map(|(key, entry)| {
            let error = entry.error.as_ref();
            let error = error.map(|text| text.chars().take(ERROR_SHOWN).collect::<String>());
            let kind = match entry.server.launch {
                Launch::Jailed { .. } => "jailed",
                Launch::Remote(_) => "remote",
            };
            json!({
                "agent": key.agent,
                "connector": entry.server.name,
                "pin": key.digest,
                "kind": kind,
                "state": word(&entry.state),
                "since": entry.since,
                "starts": entry.starts,
                "restarts": entry.starts.saturating_sub(1),
                "calls": entry.calls,
                "error": error,
            })
        });
        all.collect()
    }
}

fn word(state: &State) -> &'static str {
    match state {
        State::Starting(_) => "starting",
        State::Open(..) => "open",
        State::Ending(_) => "ending",
        State::Resting(_) => "resting",
        State::Stopped => "stopped",
        State::Quarantined => "quarantined",
    }
}
