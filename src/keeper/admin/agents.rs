//! Enrolling agents and removing them.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::audit::Draft;
use crate::error::{Error, Kind, Result};
use crate::keeper::Keeper;
use crate::keeper::admit::fits;
use crate::wire::messages::{AGENTS_MAX, Proof};
use crate::wire::text::{Escaped, unhex};

/// How long a new agent's socket may take.
const SOCKET_WAIT: Duration = Duration::from_secs(5);

impl Keeper {
    pub(super) fn agent_add(&self, name: &str, proof: Proof, tools: Vec<String>) -> Result<Value> {
        named(name)?;
        match &proof {
            Proof::Uid(uid) => self.usable(*uid)?,
            Proof::Token(token) => digest(&token.sha256)?,
            Proof::Certificate(certificate) => digest(&certificate.sha256)?,
        }
        for glob in &tools {
            let known = |tool: &std::sync::Arc<crate::call::tool::Tool>| {
                fits(glob, tool.wire()) || fits(glob, tool.name())
            };
            if !self.catalog.tools().any(known) {
                let what = format!("no tool is called `{}`", Escaped::cut(glob, 64));
                return Err(Error::of(Kind::Usage, what)
                    .hint("`keepgate policy show --schema` lists the tools"));
            }
        }
        let known = self
            .state()
            .agents
            .get(name)
            .map(|known| known.proof.clone());
        let written = self.exclusively(|_| {
            let state = self.state();
            // A new token or certificate takes the place of the old one; a user is somebody else.
            let other = |known: &Proof| match known {
                Proof::Uid(_) => *known != proof,
                Proof::Token(_) | Proof::Certificate(_) => known.kind() != proof.kind(),
            };
            if let Some(known) = state.agents.get(name).filter(|known| other(&known.proof)) {
                let what = format!("agent `{name}` has another {}", known.proof.kind());
                return Err(Error::of(Kind::Usage, what)
                    .hint("revoke it first: `keepgate agent revoke NAME`"));
            }
            let same = |(other, known): (&String, &crate::keeper::state::Agent)| {
                other != name && known.proof == proof && !matches!(proof, Proof::Uid(_))
            };
            if state.agents.iter().any(same) {
                let what = format!("another agent has this {} already", proof.kind());
                return Err(Error::of(Kind::Usage, what).hint("give each agent one of its own"));
            }
            if state.agents.len() >= AGENTS_MAX && !state.agents.contains_key(name) {
                return Err(Error::new(format!(
                    "{AGENTS_MAX} agents are enrolled already"
                )));
            }
            drop(state);
            let mut body = Map::new();
            body.insert("agent".into(), name.into());
            if let Ok(Value::Object(mut members)) = serde_json::to_value(&proof) {
                body.append(&mut members);
            }
            body.insert("tools".into(), json!(tools));
            self.log.append(Draft::new("agent.add", body))
        })?;
        // Somebody of that name may be let in with an old token: that does not count.
        let (listening, _) = &self.listening;
        let mut listening = listening.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(&proof) {
            listening.remove(name);
        }
        drop(listening);
        self.report_agents()?;
        self.await_socket(name)?;
        self.tell_lists_of(name);
        let mut told = shown(name, &proof);
        told.insert("tools".into(), json!(tools));
        told.insert("seq".into(), written.seq.into());
        Ok(told.into())
    }

    pub(super) fn agent_list(&self) -> Value {
        let runtimes = self.runtimes_status();
        let state = self.state();
        let agents: Vec<Value> = state
            .agents
            .iter()
            .map(|(name, agent)| {
                let mut told = shown(name, &agent.proof);
                told.insert("tools".into(), json!(agent.tools));
                told.insert("since".into(), json!(agent.since));
                if let Some(runtime) = runtimes.get(name) {
                    told.insert("runtime".into(), runtime.clone());
                }
                told.into()
            })
            .collect();
        json!({"agents": agents})
    }

    pub(super) fn agent_revoke(&self, name: &str) -> Result<Value> {
        let written = self.exclusively(|_| {
            if !self.state().agents.contains_key(name) {
                let what = format!("no agent is called `{}`", Escaped::cut(name, 64));
                return Err(Error::of(Kind::Usage, what).hint("`keepgate agent list` names them"));
            }
            let mut body = Map::new();
            body.insert("agent".into(), name.into());
            self.log.append(Draft::new("agent.revoke", body))
        })?;
        self.runs.end(name);
        self.limits.forget(name);
        // Its servers are nobody's any more.
        self.upstreams.forget(name);
        self.report_agents()?;
        Ok(json!({"name": name, "seq": written.seq}))
    }

    /// Waits until the supervisor says that the agent can connect.
    fn await_socket(&self, name: &str) -> Result<()> {
        let (names, changed) = &self.listening;
        let names = names.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(names, SOCKET_WAIT, |names| !names.contains(name));
        if waited
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .contains(name)
        {
            return Ok(());
        }
        Err(Error::new(format!(
            "agent `{name}` is enrolled, but cannot connect yet"
        ))
        .hint("`keepgate status` shows what the supervisor is missing"))
    }

    /// An agent may not be root, the operator, or one of Keepgate's roles.
    fn usable(&self, uid: u32) -> Result<()> {
        let own = nix::unistd::getuid().as_raw();
        let hint = "give the agent a user of its own";
        if self.setup.one_user() {
            if uid == own {
                return Ok(());
            }
            let what = format!("uid {uid} cannot have a socket: Keepgate runs as user {own} only");
            return Err(Error::of(Kind::Denied, what).hint("run `keepgate serve` as root"));
        }
        let why = if uid == 0 {
            "root's"
        } else if uid == self.setup.operator_uid {
            "the operator's"
        } else if self.setup.role_uids.contains(&uid) {
            "one of Keepgate's own"
        } else {
            return Ok(());
        };
        Err(Error::of(Kind::Denied, format!("uid {uid} is {why}")).hint(hint))
    }
}

/// An agent's name and proof; nothing of a token.
fn shown(name: &str, proof: &Proof) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert("name".into(), name.into());
    told.insert("proof".into(), proof.kind().into());
    match proof {
        Proof::Uid(uid) => drop(told.insert("uid".into(), (*uid).into())),
        Proof::Token(_) => {}
        Proof::Certificate(certificate) => {
            told.insert("sha256".into(), certificate.sha256.as_str().into());
            told.insert("until".into(), certificate.until.into());
        }
    }
    told
}

fn digest(sha256: &str) -> Result<()> {
    match unhex(sha256) {
        Some(bytes) if bytes.len() == 32 && !sha256.bytes().any(|b| b.is_ascii_uppercase()) => {
            Ok(())
        }
        _ => Err(Error::of(
            Kind::Usage,
            "the proof is no SHA-256 in lower-case hexadecimal",
        )),
    }
}

fn named(name: &str) -> Result<()> {
    let bytes = name.as_bytes();
    let letter = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = bytes.first().is_some_and(letter)
        && bytes.len() <= 32
        && bytes.iter().all(|b| letter(b) || *b == b'-');
    if good && name != "operator" {
        return Ok(());
    }
    let what = format!("`{}` cannot be an agent's name", Escaped::cut(name, 64));
    Err(Error::of(Kind::Usage, what)
        .hint("1 to 32 of a-z, 0-9 and `-`, beginning with a letter or digit; not `operator`"))
}
