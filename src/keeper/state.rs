//! What a keeper knows, folded from its log and from nothing else: opening the log gives the same
//! state every time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::lately::Lately;
use super::limits::used::Used;
use crate::audit::{Entry, Fold};
use crate::call::id::Id;
use crate::error::{Context, Result};
use crate::mode::Standing;
use crate::time::Timestamp;
use crate::wire::admin::Mode;
use crate::wire::messages::Proof;

/// Calls without an outcome that are remembered by name; more are only counted.
const UNKNOWN_MAX: usize = 100;

/// State of one plane.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// Enrolled agents by name.
    pub(super) agents: BTreeMap<String, Agent>,
    /// The mode.
    pub(super) mode: Standing,
    /// The policy in force.
    pub(super) policy: Option<Policy>,
    /// This install is a demonstration, for ever.
    pub(super) demo: bool,
    /// Digest of the configuration last recorded.
    pub(super) config: Option<String>,
    /// Connectors that were approved, by name.
    #[serde(default)]
    pub(super) connectors: BTreeMap<String, Connector>,
    /// What each agent has used of what is limited.
    #[serde(default)]
    pub(super) used: BTreeMap<String, Used>,
    /// Under which pin each pinned agent was last seen.
    #[serde(default)]
    pub(super) pinned: BTreeMap<String, String>,
    /// Agents that are not what was pinned: under which pin, and how.
    #[serde(default)]
    pub(super) changed: BTreeMap<String, (String, Quarantine)>,
    /// Whose calls have no outcome yet.
    #[serde(default)]
    pub(super) flying: BTreeMap<Id, String>,
    /// Changing calls whose answers may not have been delivered.
    #[serde(default)]
    pub(super) lately: Lately,
    /// Intents of this start that have no outcome yet: call and sequence number.
    pub(super) open: BTreeMap<Id, u64>,
    /// Calls that an earlier keeper left without an outcome.
    pub(super) unknown: BTreeMap<Id, u64>,
    /// How many such calls there were in all.
    pub(super) unknown_total: u64,
}

/// An enrolled agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Agent {
    /// How it proves who it is.
    #[serde(flatten)]
    pub(super) proof: Proof,
    /// Wire names or globs of the tools it sees; empty means all.
    pub(super) tools: Vec<String>,
    /// When it was enrolled.
    pub(super) since: Timestamp,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Policy {
    /// SHA-256 of its text, lower-case hex.
    pub(super) digest: String,
    /// The file it came from.
    pub(super) file: String,
    /// When it was put in force.
    pub(super) since: Timestamp,
}

/// A connector that was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Connector {
    /// Digest of what was approved.
    pub(super) pin: String,
    /// When, as the approval says.
    pub(super) approved: String,
    /// Why it is out of use.
    pub(super) quarantine: Option<Quarantine>,
    /// Why it cannot be used until that is mended.
    #[serde(default)]
    pub(super) unusable: Option<Unusable>,
}

/// What keeps a connector from being used, though nothing about it has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unusable {
    /// One sentence.
    pub(super) why: String,
    /// What mends it.
    pub(super) hint: String,
    /// Since when.
    pub(super) since: Timestamp,
    /// The entry that tells it.
    pub(super) seq: u64,
}

/// Why a connector is out of use until it is approved anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quarantine {
    /// One sentence.
    pub(super) why: String,
    /// Since when.
    pub(super) since: Timestamp,
    /// The entry that tells what changed.
    pub(super) seq: u64,
}

impl Fold for State {
    fn apply(&mut self, entry: &Entry) {
        let text = |name: &str| {
            entry
                .body
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        match entry.kind.as_str() {
            "agent.add" => {
                let Some(proof) = proof(&entry.body) else {
                    return;
                };
                let tools = entry.body.get("tools").cloned().unwrap_or_default();
                let tools = serde_json::from_value(tools).unwrap_or_default();
                self.agents.insert(
                    text("agent").into(),
                    Agent {
                        proof,
                        tools,
                        since: entry.time,
                    },
                );
            }
            "agent.revoke" => {
                self.agents.remove(text("agent"));
                self.used.remove(text("agent"));
            }
            "policy.applied" => {
                let (digest, file) = (text("digest").into(), text("file").into());
                self.policy = Some(Policy {
                    digest,
                    file,
                    since: entry.time,
                });
            }
            "mode.set" => {
                let mode = if text("mode") == Mode::Live.name() {
                    Mode::Live
                } else {
                    Mode::Rehearse
                };
                self.mode = Standing::set(mode, entry.time);
            }
            "config" => {
                self.config = Some(text("digest").into());
                self.demo |= entry
                    .body
                    .get("demo")
                    .and_then(Value::as_bool)
                    .unwrap_or_default();
            }
            "connector.pinned" => {
                let connector = Connector {
                    pin: text("pin").into(),
                    approved: text("approved").into(),
                    quarantine: None,
                    unusable: None,
                };
                self.connectors.insert(text("connector").into(), connector);
            }
            "connector.unusable" => {
                if let Some(connector) = self.connectors.get_mut(text("connector")) {
                    connector.unusable = Some(Unusable {
                        why: text("why").into(),
                        hint: text("hint").into(),
                        since: entry.time,
                        seq: entry.seq,
                    });
                }
            }
            "connector.usable" => {
                if let Some(connector) = self.connectors.get_mut(text("connector")) {
                    connector.unusable = None;
                }
            }
            "connector.quarantined" => {
                if let Some(connector) = self.connectors.get_mut(text("connector")) {
                    connector.quarantine = Some(Quarantine {
                        why: text("why").into(),
                        since: entry.time,
                        seq: entry.seq,
                    });
                }
            }
            "connector.removed" => {
                self.connectors.remove(text("connector"));
            }
            "agent.pinned" => {
                self.pinned.insert(text("agent").into(), text("pin").into());
                self.changed.remove(text("agent"));
            }
            "agent.changed" => {
                let quarantine = Quarantine {
                    why: text("why").into(),
                    since: entry.time,
                    seq: entry.seq,
                };
                let held = (text("pin").into(), quarantine);
                self.changed.insert(text("agent").into(), held);
            }
            "run.open" => {
                if let Ok(run) = text("run").parse() {
                    let used = self.used.entry(text("agent").into()).or_default();
                    used.enter(run, entry.time);
                }
            }
            "keeper.start" => {
                self.flying.clear();
                self.unknown_total += u64::try_from(self.open.len()).unwrap_or(0);
                self.unknown.append(&mut self.open);
                while self.unknown.len() > UNKNOWN_MAX {
                    self.unknown.pop_first();
                }
            }
            "call.intent" => {
                if let Ok(call) = text("call").parse() {
                    self.open.insert(call, entry.seq);
                    self.lately.begun(call, text("agent"), entry);
                    // An operator's undo is in nobody's run.
                    if let Ok(run) = text("run").parse() {
                        let agent = text("agent").to_owned();
                        let used = self.used.entry(agent.clone()).or_default();
                        used.called(run, text("tool"), entry.time);
                        if entry.body.get("changes") == Some(&Value::Bool(true)) {
                            used.wrote(run);
                        }
                        self.flying.insert(call, agent);
                    }
                }
            }
            "call.outcome" => {
                if let Ok(call) = text("call").parse::<Id>() {
                    self.open.remove(&call);
                    self.lately.ended(call, entry);
                    let agent = self.flying.remove(&call);
                    let used = agent.and_then(|agent| self.used.get_mut(&agent));
                    if let (Some(used), Some(result)) = (used, entry.payload("result")) {
                        used.gave(result.len);
                    }
                }
            }
            "call.delivered" => self.lately.delivered(entry),
            _ => {}
        }
    }

    fn snapshot(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        let state = State::deserialize(state);
        *self = state.context(|| "read the state kept in the log".into())?;
        Ok(())
    }
}

/// The proof that an `agent.add` names: the member called like its kind.
fn proof(body: &Map<String, Value>) -> Option<Proof> {
    let kinds = ["uid", "token", "certificate"];
    let (kind, value) = kinds
        .into_iter()
        .find_map(|kind| Some((kind, body.get(kind)?)))?;
    serde_json::from_value(json!({kind: value})).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_versions_kept_of_agents_is_read() {
        let old = json!({"uid": 1001, "tools": ["file.*"], "since": "2026-11-23T09:12:47.123456Z"});
        let agent: Agent = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(agent.proof, Proof::Uid(1001));
        assert_eq!(serde_json::to_value(&agent).unwrap(), old);
    }

    #[test]
    fn each_proof_survives_the_log() {
        use crate::wire::messages::{Certificate, Token};
        let sha256 = "ab".repeat(32);
        for known in [
            Proof::Uid(7),
            Proof::Token(Token {
                sha256: sha256.clone(),
            }),
            Proof::Certificate(Certificate {
                sha256,
                from: 5,
                until: 9,
            }),
        ] {
            let Value::Object(body) = serde_json::to_value(&known).unwrap() else {
                panic!()
            };
            assert_eq!(proof(&body), Some(known));
        }
        assert_eq!(proof(&Map::new()), None);
    }
}
