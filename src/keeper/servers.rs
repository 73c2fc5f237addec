//! The servers of connectors: made from what was approved, asked for an agent, and quarantined where
//! they are not what was approved.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Keeper;
use super::mirrored;
use super::questions::{Question, Said};
use super::upstreams::compare::listing;
use super::upstreams::plan::{Beside, Launch, Server};
use super::upstreams::{self, Answer, Ended, Failure, Heard, Told};
use crate::audit::Draft;
use crate::call::id::Id;
use crate::call::tool::{EffectClass, Method};
use crate::catalog::connector::digest::Listing;
use crate::catalog::connector::{self, Pin, Resources};
use crate::wire::messages::{Hop, KeeperToFront, Offer, Remote, UpstreamLimits, What};
use crate::wire::text::escaped;

/// How long an agent's client has to answer what a server asks it.
const CLIENT_WAIT: Duration = Duration::from_secs(300);
/// Longest words of a server that an entry holds, in characters.
const WORDS_SHOWN: usize = 1_000;

/// The server of a connector; nothing where it has none to be run.
pub(super) fn of(name: &str, pin: &Pin, digest: &str) -> Option<Server> {
    let connector = &pin.connector;
    let launch = match &connector.launch {
        connector::Launch::Stdio {
            program,
            argv,
            jail,
            ..
        } => Launch::Jailed {
            manifest: Box::new(jail.clone()),
            program: program.to_str()?.into(),
            argv: argv.clone(),
        },
        connector::Launch::Remote {
            url,
            private,
            pin_sha256,
            ..
        } => Launch::Remote(Remote {
            url: url.clone(),
            private: private.clone(),
            pin_sha256: pin_sha256.clone(),
            headers: Vec::new(),
        }),
        connector::Launch::Skill { .. } => return None,
    };
    let limits = &connector.limits;
    Some(Server {
        name: name.into(),
        digest: digest.into(),
        secrets: String::new(),
        launch,
        limits: UpstreamLimits {
            start_ms: limits.start_ms,
            in_flight: limits.calls_at_a_time,
            notices: limits.notices_per_minute.div_ceil(60).max(1),
            ..UpstreamLimits::default()
        },
        allow: connector.allow,
        idle: Duration::from_millis(limits.idle_ms),
        tools: pin.tool_digests.clone(),
        beside: Some(Beside {
            prompts_sha256: pin.prompts_sha256.clone(),
            resources_sha256: match connector.resources {
                Resources::Pinned => pin.resources_sha256.clone(),
                Resources::Data => templates(pin),
            },
            data: connector.resources == Resources::Data,
        }),
    })
}

/// [`crate::catalog::connector::digest::set`] over the approved templates of resources.
fn templates(pin: &Pin) -> String {
    let templates = pin.listed_resources().into_values().collect();
    // They were read when they were approved.
    Listing::resources(templates).map_or_else(|_| String::new(), |listing| listing.sha256())
}

/// Passes on to the keeper what servers do outside of questions.
#[derive(Debug, Default)]
pub(super) struct Listener(OnceLock<Weak<Keeper>>);

impl Listener {
    /// From now on it is told to `keeper`.
    pub(super) fn belongs_to(&self, keeper: &Arc<Keeper>) {
        drop(self.0.set(Arc::downgrade(keeper)));
    }

    fn keeper(&self) -> Option<Arc<Keeper>> {
        self.0.get()?.upgrade()
    }
}

impl Told for Listener {
    fn differs(&self, agent: &str, server: &Server, what: Offer, listed: &str) {
        let Some(keeper) = self.keeper() else { return };
        let (why, changes) = keeper.difference(&server.name, what, listed);
        self.altered(agent, server, &why, &changes);
    }

    fn altered(&self, _: &str, server: &Server, why: &str, changes: &[Value]) {
        let Some(keeper) = self.keeper() else { return };
        if let Err(error) = keeper.quarantine(&server.name, why, changes) {
            tracing::error!(connector = server.name, %error, "a quarantine is not recorded");
        }
    }

    fn changed(&self, agent: &str, server: &Server, what: Offer) {
        let Some(keeper) = self.keeper() else { return };
        let data = server.beside.as_ref().is_some_and(|beside| beside.data);
        if data && what == Offer::Resources {
            // No agent sees that list.
            return;
        }
        let what = match what {
            Offer::Tools => What::Tools,
            Offer::Prompts => What::Prompts,
            Offer::Resources | Offer::Templates => What::Resources,
        };
        let agent = agent.to_owned();
        keeper.tell_front(&KeeperToFront::Changed { agent, what }, &[]);
    }

    fn notice(&self, agent: &str, _: &Server, method: &str, params: &[u8]) {
        let Some(keeper) = self.keeper() else { return };
        let agent = agent.to_owned();
        match method {
            "notifications/resources/updated" => {
                let Ok(Updated { uri }) = serde_json::from_slice(params) else {
                    return;
                };
                keeper.tell_front(&KeeperToFront::Updated { agent, uri }, &[]);
            }
            "notifications/message" => {
                let method = method.to_owned();
                let id = None;
                keeper.tell_front(&KeeperToFront::Notice { agent, id, method }, params);
            }
            _ => {}
        }
    }

    fn requested(&self, agent: &str, server: &Server, hops: &[Hop]) {
        let Some(keeper) = self.keeper() else { return };
        let mut body = Map::new();
        body.insert("connector".into(), server.name.as_str().into());
        body.insert("pin".into(), server.digest.as_str().into());
        body.insert("agent".into(), agent.into());
        body.insert("hops".into(), json!(hops));
        if let Err(error) = keeper.log.append(Draft::new("connector.requests", body)) {
            tracing::error!(%error, "requests to a server could not be recorded");
        }
    }

    fn ended(&self, agent: &str, server: &Server, ended: &Ended) {
        let Some(keeper) = self.keeper() else { return };
        let mut body = Map::new();
        body.insert("connector".into(), server.name.as_str().into());
        body.insert("pin".into(), server.digest.as_str().into());
        body.insert("agent".into(), agent.into());
        body.insert("upstream".into(), json!(ended.upstream));
        body.insert("why".into(), ended.why.as_str().into());
        body.insert("failed".into(), ended.failed.into());
        if !ended.words.is_empty() {
            let words: String = ended.words.chars().take(WORDS_SHOWN).collect();
            body.insert("words".into(), words.into());
        }
        body.insert("jail".into(), json!(ended.jail));
        if !ended.hops.is_empty() {
            body.insert("hops".into(), json!(ended.hops));
        }
        if let Err(error) = keeper.log.append(Draft::new("connector.ended", body)) {
            tracing::error!(%error, "the end of a server could not be recorded");
        }
    }
}

#[derive(Deserialize)]
struct Updated {
    uri: String,
}

impl Keeper {
    /// Asks the server of a connector for an agent; what it tells meanwhile goes to whoever waits
    /// for `question`.
    pub(super) fn ask_server(
        &self,
        server: &Arc<Server>,
        question: &Arc<Question>,
        ticket: Id,
        method: &str,
        params: &[u8],
        wall: Duration,
    ) -> Result<Answer, Failure> {
        let (effect, headers) = self.mirrors(server, method, params);
        let upstreams = self.upstreams.clone();
        question.when_stopped(effect, move || upstreams.cancel(ticket));
        let asked = upstreams::Question {
            agent: &question.agent,
            era: question.era,
            ticket,
            method,
            params,
            wall,
            progress: question.progress,
            effect,
            headers: &headers,
        };
        self.upstreams.ask(server, asked, &mut |heard| match heard {
            Heard::Notice { method, params } => self.notice(question, &method, &params),
            Heard::Requested(hops) => question.requested(hops),
            Heard::Asks {
                upstream,
                ask,
                method,
                params,
            } => {
                let said = self.ask_client(question, &method, &params, CLIENT_WAIT.min(wall));
                let Said { ok, raw } = said.unwrap_or_else(nobody);
                self.upstreams.reply(upstream, ask, ok, &raw);
            }
        })
    }

    /// Whether a question may change something, and what headers say of its arguments where its server
    /// is one elsewhere. What is not known may change something.
    fn mirrors(
        &self,
        server: &Server,
        method: &str,
        params: &[u8],
    ) -> (bool, Vec<(String, String)>) {
        #[derive(Deserialize)]
        struct Call {
            name: String,
            #[serde(default)]
            arguments: Map<String, Value>,
        }
        if method != Method::Call.name() {
            return (false, Vec::new());
        }
        let Ok(Call { name, arguments }) = serde_json::from_slice(params) else {
            return (true, Vec::new());
        };
        let Some(tool) = self.catalog.tool(&format!("{}.{name}", server.name)) else {
            return (true, Vec::new());
        };
        let reads = |class: &EffectClass| matches!(class, EffectClass::Read | EffectClass::Egress);
        let effect = !tool.classes().iter().all(reads);
        let headers = match server.launch {
            Launch::Remote(_) => mirrored::of(tool.input_schema(), &arguments),
            Launch::Jailed { .. } => Ok(Vec::new()),
        };
        // A call whose arguments have no headers was refused before.
        (effect, headers.unwrap_or_default())
    }

    /// What is listed and not as it was approved, in a sentence and field by field.
    fn difference(&self, name: &str, what: Offer, listed: &str) -> (String, Vec<Value>) {
        let pin = self.connectors.get(name).and_then(|one| one.pin.as_ref());
        match (pin, listing(what, listed)) {
            (Some(pin), Ok(listing)) => {
                let differences = match what {
                    Offer::Tools => pin.compare_tools(&listing),
                    Offer::Prompts => pin.compare_prompts(&listing),
                    Offer::Resources | Offer::Templates => pin.compare_resources(&listing),
                };
                let first = differences.first().map(ToString::to_string);
                let first = first.unwrap_or_else(|| "its tools have no one reading".into());
                let changes = differences
                    .iter()
                    .filter_map(|one| serde_json::to_value(one).ok());
                (
                    format!("its server is not what was approved: {first}"),
                    changes.collect(),
                )
            }
            (_, Err(why)) => {
                let why = escaped(&why).to_string();
                (
                    format!("its server lists what cannot be read: {why}"),
                    vec![why.into()],
                )
            }
            (None, Ok(_)) => ("it is not approved".into(), Vec::new()),
        }
    }
}

/// Stands for the client that cannot be asked: JSON-RPC's "method not found".
fn nobody() -> Said {
    let raw = br#"{"code":-32601,"message":"the client cannot be asked"}"#.to_vec();
    Said { ok: false, raw }
}
