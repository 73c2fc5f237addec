//! The operator's side: one JSON question a line over the admin socket.

mod agents;
mod explain;
mod policy;
mod status;
mod undo;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde_json::{Map, Value, json};

use super::start::sha256;
use super::{Keeper, key};
use crate::audit::{Draft, Entry};
use crate::error::{Context, Error, Kind, Result};
use crate::policy::EVALUATION_STACK;
use crate::wire::admin::{Answer, Ask, LINE_MAX, Mode, Question, VERSION};
use crate::wire::json as strict;

/// Operators served at once.
const CONNECTIONS: usize = 16;
/// How long an operator's program may stay silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves operators for ever.
pub(super) fn serve(keeper: &Arc<Keeper>, listener: &UnixListener) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (keeper, done) = (Arc::clone(keeper), Arc::clone(&open));
        let builder = std::thread::Builder::new()
            .name("operator".into())
            .stack_size(EVALUATION_STACK);
        let started = builder.spawn(move || {
            if let Err(error) = converse(&keeper, &stream) {
                tracing::warn!(%error, "an operator's connection ends");
            }
            done.fetch_sub(1, Ordering::SeqCst);
        });
        if started.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn converse(keeper: &Keeper, stream: &UnixStream) -> Result<()> {
    let what = || "serve an operator".to_owned();
    stream.set_read_timeout(Some(PATIENCE)).context(what)?;
    stream.set_write_timeout(Some(PATIENCE)).context(what)?;
    let peer = getsockopt(stream, PeerCredentials).context(what)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let most = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        if (&mut reader)
            .take(most)
            .read_until(b'\n', &mut line)
            .context(what)?
            == 0
        {
            return Ok(());
        }
        let answer = Answer::from(keeper.operator(&line, peer.uid()));
        let mut line = serde_json::to_vec(&answer).context(what)?;
        line.push(b'\n');
        let mut writer = stream;
        writer.write_all(&line).context(what)?;
    }
}

impl Keeper {
    fn operator(&self, line: &[u8], peer: u32) -> Result<Value> {
        let bad = |why: String| Error::of(Kind::Usage, format!("the question is not one: {why}"));
        let limits = strict::Limits {
            bytes: LINE_MAX,
            ..strict::Limits::default()
        };
        let value = strict::parse(line, &limits).map_err(|why| bad(why.to_string()))?;
        let question: Question =
            serde_json::from_value(value).map_err(|why| bad(why.to_string()))?;
        if question.v != VERSION {
            return Err(Error::of(Kind::Usage, "the question is of another version")
                .hint("use the `keepgate` of the same version as the running one"));
        }
        self.authenticate(&question, peer)?;
        self.ask(question.ask)
    }

    fn authenticate(&self, question: &Question, peer: u32) -> Result<()> {
        if peer != self.setup.operator_uid && peer != 0 {
            let what = format!("uid {peer} is not the operator");
            return Err(Error::of(Kind::Denied, what).hint("run it as the operator or as root"));
        }
        let Some(wanted) = &self.setup.token_sha256 else {
            return Ok(());
        };
        // Digests are compared, so how long that takes says nothing about the token.
        let given = question.token.as_ref().map(|token| sha256(&token.0));
        if given.as_ref() == Some(wanted) || matches!(question.ask, Ask::Status) {
            return Ok(());
        }
        Err(
            Error::of(Kind::Denied, "the operator's token is missing or wrong")
                .hint("all roles share one user here: give the token with `--token-file`"),
        )
    }

    fn ask(&self, ask: Ask) -> Result<Value> {
        match ask {
            Ask::Status => Ok(self.status()),
            Ask::AgentAdd { name, proof, tools } => self.agent_add(&name, proof, tools),
            Ask::AgentList => Ok(self.agent_list()),
            Ask::AgentRevoke { name } => self.agent_revoke(&name),
            Ask::PolicyApply { text, file } => self.policy_apply(&text, &file),
            Ask::PolicyCheck { text, file } => self.policy_check(&text, &file),
            Ask::PolicyShow => Ok(self.policy_show()),
            Ask::PolicyExplain { about } => self.explain(about),
            Ask::Mode { set } => self.mode(set),
            Ask::Undo { seq, really } => self.undo_call(seq, really),
            Ask::Query { filter } => {
                let mut index = self.index();
                index.catch_up(&self.log.reader()?)?;
                let limit = filter.limit.unwrap_or(100).min(1000);
                let entries = index.entries(&filter, &self.log.reader()?)?;
                let more = u32::try_from(entries.len()).is_ok_and(|len| len >= limit);
                let entries = entries.iter().map(shown).collect::<Result<Vec<Value>>>()?;
                Ok(json!({"entries": entries, "more": more}))
            }
            Ask::RebuildIndex => {
                let mut index = self.index();
                index.rebuild(&self.log.reader()?)?;
                Ok(json!({"entries": self.log.head().size}))
            }
            Ask::RotateLogKey => self.rotate_log_key(),
        }
    }

    fn mode(&self, set: Option<Mode>) -> Result<Value> {
        if let Some(mode) = set {
            self.exclusively(|_| {
                if self.state().mode.mode() == mode {
                    return Ok(());
                }
                let mut body = Map::new();
                body.insert("mode".into(), mode.name().into());
                self.log.append(Draft::new("mode.set", body)).map(drop)
            })?;
        }
        let state = self.state();
        let (mode, since) = (state.mode.mode().name(), state.mode.since());
        Ok(json!({"mode": mode, "since": since, "demo": state.demo}))
    }

    fn rotate_log_key(&self) -> Result<Value> {
        let (sealer, successor) = key::successor(&self.setup.state)?;
        let written = self.log.rotate_key(Arc::new(sealer))?;
        key::succeed(&self.setup.state, &successor)?;
        Ok(json!({"seq": written.seq}))
    }
}

/// An entry as the log has it.
fn shown(entry: &Entry) -> Result<Value> {
    serde_json::from_slice(entry.bytes()).context(|| "read an entry".into())
}
