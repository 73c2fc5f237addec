//! What agents ask beside calls: what this server can do, what it has, and news of changes.
//!
//! [`Keeper::answer`] is the one place where such a question is decided. Keepgate's own tools have
//! neither resources nor prompts, so that most methods do not exist until a connector has them.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Keeper;
use super::questions::{Question, Said};
use crate::wire::messages::{Era, KeeperToFront};

/// JSON-RPC: no such method.
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: invalid parameters.
const INVALID_PARAMS: i64 = -32602;
/// What a model is told about this server.
const INSTRUCTIONS: &str = "Every call to these tools is checked against a policy and recorded \
    before it happens. A call that is refused, or that waits for a person, answers isError with a \
    request id. Do not retry or rephrase such a call: tell your user the request id, and the \
    operator can look it up.";

/// What is said to a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Raw JSON of the result object.
    Result(Vec<u8>),
    /// A JSON-RPC error.
    Fault {
        /// Its code.
        code: i64,
        /// What the agent may know.
        message: String,
        /// Raw JSON of its `data`; empty where it has none.
        data: Vec<u8>,
    },
}

impl Told {
    fn result(value: &Value) -> Self {
        Self::Result(value.to_string().into_bytes())
    }

    pub(super) fn fault(code: i64, message: impl Into<String>) -> Self {
        Self::Fault {
            code,
            message: message.into(),
            data: Vec::new(),
        }
    }
}

/// A question that outlives its answer.
pub(super) fn stays_open(method: &str) -> bool {
    method == "subscriptions/listen"
}

#[derive(Debug, Deserialize)]
struct Listen {
    notifications: Filter,
}

/// What the keeper itself has news of; other members pass.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    tools_list_changed: bool,
    #[serde(default)]
    prompts_list_changed: bool,
    #[serde(default)]
    resources_list_changed: bool,
    #[serde(default)]
    resource_subscriptions: Vec<String>,
}

impl Keeper {
    /// Decides a question; `params` is raw JSON of an object.
    ///
    /// A question about news (`subscriptions/listen`) is answered with what of it will be told, and
    /// stays open until it is cancelled; every other one is over with its answer.
    pub(super) fn answer(&self, question: &Arc<Question>, method: &str, params: &[u8]) -> Told {
        match (method, question.era) {
            ("initialize", Era::Session) | ("server/discover", Era::Stateless) => {
                Told::result(&json!({
                    "capabilities": self.capabilities(&question.agent),
                    "instructions": INSTRUCTIONS,
                }))
            }
            ("subscriptions/listen", Era::Stateless) => self.listen(question, params),
            ("resources/subscribe" | "resources/unsubscribe", Era::Session) => {
                self.subscribe(question, method, params)
            }
            ("logging/setLevel", Era::Session) => self.set_level(question, method, params),
            _ => self.list(&question.agent, method).unwrap_or_else(|| {
                Told::fault(METHOD_NOT_FOUND, "there is nothing here to answer that")
            }),
        }
    }

    /// The part of the wish that can be fulfilled.
    fn listen(&self, question: &Arc<Question>, params: &[u8]) -> Told {
        let Ok(Listen { notifications }) = serde_json::from_slice(params) else {
            return Told::fault(INVALID_PARAMS, "`notifications` is missing or not a filter");
        };
        let capabilities = self.capabilities(&question.agent);
        let mut honoured = Map::new();
        for (wish, name, of) in [
            (
                notifications.tools_list_changed,
                "toolsListChanged",
                "tools",
            ),
            (
                notifications.prompts_list_changed,
                "promptsListChanged",
                "prompts",
            ),
            (
                notifications.resources_list_changed,
                "resourcesListChanged",
                "resources",
            ),
        ] {
            if wish && capabilities.get(of).is_some() {
                honoured.insert(name.into(), true.into());
            }
        }
        let mut uris = notifications.resource_subscriptions;
        uris.retain(|uri| {
            let params = json!({"uri": uri}).to_string();
            let told = self.subscribe(question, "resources/subscribe", params.as_bytes());
            matches!(told, Told::Result(_))
        });
        if !uris.is_empty() {
            honoured.insert("resourceSubscriptions".into(), uris.into());
        }
        Told::result(&json!({"notifications": honoured}))
    }

    /// Tells the client of `question` something on the way to its answer; `params` is raw JSON.
    pub(super) fn notice(&self, question: &Question, method: &str, params: &[u8]) {
        if question.nobody
            || question.is_gone()
            || method == "notifications/progress" && !question.progress
        {
            return;
        }
        let say = KeeperToFront::Notice {
            agent: question.agent.clone(),
            id: Some(question.id),
            method: method.into(),
        };
        self.tell_front(&say, params);
    }

    /// Asks the client of `question` on behalf of a server, and waits at most `wait` for what it
    /// says. Nothing where it cannot be asked: in the stateless era servers ask in their results.
    pub(super) fn ask_client(
        &self,
        question: &Question,
        method: &str,
        params: &[u8],
        wait: Duration,
    ) -> Option<Said> {
        if question.nobody || question.era == Era::Stateless || question.is_gone() {
            return None;
        }
        let (ask, said) = self.questions.ask(&question.agent);
        let say = KeeperToFront::Ask {
            id: question.id,
            ask,
            method: method.into(),
        };
        self.tell_front(&say, params);
        said.recv_timeout(wait).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(era: Era, method: &str, params: &str) -> Value {
        let place = tempfile::tempdir().unwrap();
        let keeper = crate::keeper::admit::tests::keeper(place.path(), 9);
        let question = Arc::new(Question::new(1, "a".into(), era, false));
        match keeper.answer(&question, method, params.as_bytes()) {
            Told::Result(raw) => serde_json::from_slice(&raw).unwrap(),
            Told::Fault { code, .. } => code.into(),
        }
    }

    #[test]
    fn each_era_has_its_own_way_to_begin() {
        let hello = told(Era::Session, "initialize", "{}");
        assert_eq!(
            hello["capabilities"],
            json!({"tools": {"listChanged": true}})
        );
        assert_eq!(told(Era::Stateless, "server/discover", "{}"), hello);
        for (era, method) in [
            (Era::Stateless, "initialize"),
            (Era::Session, "server/discover"),
            (Era::Session, "subscriptions/listen"),
            (Era::Session, "resources/list"),
            (Era::Stateless, "prompts/get"),
        ] {
            assert_eq!(told(era, method, "{}"), -32601, "{method}");
        }
    }

    #[test]
    fn news_are_promised_only_of_what_there_is() {
        let wish = |filter: &str| {
            let params = format!(r#"{{"notifications":{filter}}}"#);
            told(Era::Stateless, "subscriptions/listen", &params)
        };
        let all = r#"{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["a:b"]}"#;
        assert_eq!(
            wish(all),
            json!({"notifications": {"toolsListChanged": true}})
        );
        assert_eq!(wish("{}"), json!({"notifications": {}}));
        assert_eq!(wish("7"), -32602);
        assert_eq!(told(Era::Stateless, "subscriptions/listen", "{}"), -32602);
    }

    #[test]
    fn the_front_hears_news_and_questions_of_whoever_waits() {
        use std::os::fd::AsFd;
        use std::sync::Arc;

        use crate::wire::frame;
        use crate::wire::messages::Role;

        let place = tempfile::tempdir().unwrap();
        let keeper = crate::keeper::admit::tests::keeper(place.path(), 9);
        let (ours, front) = frame::pair().unwrap();
        keeper.hands.links().join(Role::Front, Arc::new(ours));
        let hears = || {
            let frame = frame::recv(front.as_fd(), 99).unwrap().unwrap();
            let say: KeeperToFront = frame.say;
            (say, frame.blob)
        };
        let begin = |id, era, progress| {
            let question = Question::new(id, "a".into(), era, progress);
            keeper.questions.begin(question)
        };
        let quiet = begin(1, Era::Session, false);
        keeper.notice(&quiet, "notifications/progress", b"{}");
        keeper.notice(&quiet, "notifications/message", b"{\"data\":1}");
        let (say, params) = hears();
        assert!(
            matches!(say, KeeperToFront::Notice { id: Some(1), method, .. } if method.ends_with("message"))
        );
        assert_eq!(params, b"{\"data\":1}");
        let eager = begin(2, Era::Session, true);
        keeper.notice(&eager, "notifications/progress", b"{}");
        assert!(matches!(
            hears().0,
            KeeperToFront::Notice { id: Some(2), .. }
        ));
        let wait = Duration::from_secs(20);
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| keeper.ask_client(&eager, "roots/list", b"{}", wait));
            let (KeeperToFront::Ask { id: 2, ask, .. }, _) = hears() else {
                panic!()
            };
            let ok = true;
            let raw = b"{}".to_vec();
            keeper.questions.said("a", ask, Said { ok, raw });
            assert!(asks.join().unwrap().unwrap().ok);
        });
        // Nobody is asked who cannot answer, or has gone.
        let modern = begin(3, Era::Stateless, true);
        keeper.questions.cancel(2, false);
        for question in [&modern, &eager] {
            assert_eq!(keeper.ask_client(question, "roots/list", b"{}", wait), None);
        }
        keeper.notice(&eager, "notifications/progress", b"{}");
        keeper.notice(&modern, "notifications/progress", b"{}");
        assert!(matches!(
            hears().0,
            KeeperToFront::Notice { id: Some(3), .. }
        ));
    }
}
