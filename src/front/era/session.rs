//! The session era of MCP, revisions 2024-11-05 to 2025-11-25.

use std::cell::{Cell, RefCell};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::params::{self, invalid, members};
use super::{Ask, Form, Question, Step};
use crate::front::message::{self, INVALID_REQUEST, Message, Refusal, RequestId, present, string};
use crate::front::reply;
use crate::wire::messages::Era;

/// Revisions served, oldest first.
pub(in crate::front) const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", LATEST];
/// What a client is offered that asks for another revision.
const LATEST: &str = "2025-11-25";
/// The revision in which a message may be an array of messages.
const WITH_BATCHES: &str = "2025-03-26";

/// Methods that are the keeper's to answer, besides those with a meaning here.
const PASSED: [&str; 8] = [
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "initialize",
];

/// One session: of a connection, or of an `Mcp-Session-Id`.
#[derive(Debug, Default)]
pub(in crate::front) struct Session {
    open: Cell<bool>,
    version: Cell<&'static str>,
    client: RefCell<String>,
}

impl Session {
    /// `initialize` came, and was not answered with an error.
    pub(in crate::front) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// `initialize` was answered with an error: it may come again.
    pub(in crate::front) fn reopen(&self) {
        self.open.set(false);
    }

    /// Messages may come in batches: in one revision only.
    pub(in crate::front) fn takes_batches(&self) -> bool {
        self.is_open() && self.version.get() == WITH_BATCHES
    }

    /// What to do about `message`.
    pub(in crate::front) fn take<'a>(&self, message: Message<'a>) -> Step<'a> {
        match message {
            Message::Request { id, method, params } => self
                .request(&id, &method, params)
                .unwrap_or_else(|refusal| Step::Refuse(refusal.of(&id))),
            Message::Notification { method, params } => notification(&method, params),
            Message::Response { key, ok, raw } => Step::Said {
                key,
                ok,
                raw: raw.get().as_bytes(),
            },
        }
    }

    fn request<'a>(
        &self,
        id: &RequestId,
        method: &str,
        params: Option<&'a RawValue>,
    ) -> Result<Step<'a>, Refusal> {
        let (ask, form) = match method {
            "ping" => return Ok(Step::Reply(reply::result(id, &[b"{}"]))),
            "initialize" => self.initialize(params)?,
            _ if !self.is_open() && is_known(method) => {
                return Err(Refusal::new(
                    INVALID_REQUEST,
                    "the session has not begun; send `initialize`",
                ));
            }
            "tools/list" => params::list(params)?,
            "tools/call" => params::call(params)?,
            "resources/subscribe" => {
                let uri = params::uri(params)?;
                let ask = params::other("resources/subscribe", params)?;
                (ask, Form::Subscribed { uri })
            }
            "resources/unsubscribe" => {
                let uri = params::uri(params)?;
                let ask = params::other("resources/unsubscribe", params)?;
                (ask, Form::Unsubscribed { uri })
            }
            _ => match PASSED.iter().find(|known| **known == method) {
                Some(known) => (params::other(known, params)?, Form::Plain),
                None => return Err(Refusal::unknown(method)),
            },
        };
        Ok(Step::Ask(Question {
            id: id.clone(),
            era: Era::Session,
            client: self.client.borrow().clone(),
            ask,
            token: params::token(params)?,
            form,
        }))
    }

    fn initialize<'a>(&self, params: Option<&'a RawValue>) -> Result<(Ask<'a>, Form), Refusal> {
        if self.is_open() {
            return Err(Refusal::new(
                INVALID_REQUEST,
                "the session has begun already",
            ));
        }
        let wanted: Initialize<'_> = members(params)?;
        let version = wanted
            .protocol_version
            .and_then(string)
            .ok_or_else(|| invalid("`protocolVersion` is missing or not a string"))?;
        let version = VERSIONS
            .iter()
            .find(|known| **known == version)
            .unwrap_or(&LATEST);
        let ask = params::other("initialize", params)?;
        self.version.set(version);
        self.client.replace(params::label(wanted.client_info));
        self.open.set(true);
        Ok((ask, Form::Hello { version }))
    }
}

fn is_known(method: &str) -> bool {
    matches!(
        method,
        "tools/list" | "tools/call" | "resources/subscribe" | "resources/unsubscribe"
    ) || PASSED.contains(&method)
}

fn notification<'a>(method: &str, params: Option<&RawValue>) -> Step<'a> {
    match method {
        "notifications/cancelled" => {
            let cancelled: Result<Cancelled<'_>, Refusal> = members(params);
            match cancelled
                .ok()
                .and_then(|cancelled| message::key(cancelled.request_id?))
            {
                Some(key) => Step::Cancel(key),
                None => Step::Note("a cancellation without the id of a request"),
            }
        }
        "notifications/initialized"
        | "notifications/progress"
        | "notifications/roots/list_changed" => Step::Pass,
        "ping" => Step::Note("a request without an id"),
        _ if is_known(method) => Step::Note("a request without an id"),
        _ => Step::Note("unknown notification"),
    }
}

/// Params of `initialize` that mean something here; others pass.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialize<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    protocol_version: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    client_info: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cancelled<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    request_id: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::ARGUMENTS_MAX;

    fn take(session: &Session, line: &str) -> String {
        match session.take(message::read(line.as_bytes()).unwrap()) {
            Step::Reply(line) => String::from_utf8(line).unwrap(),
            Step::Refuse(refusal) | Step::Decline(refusal) => {
                String::from_utf8(refusal.line()).unwrap()
            }
            Step::Note(what) => what.into(),
            Step::Ask(Question {
                ask, token, form, ..
            }) => match ask {
                Ask::List => "list".into(),
                Ask::Call {
                    tool,
                    arguments,
                    extra,
                    ..
                } => {
                    let arguments = std::str::from_utf8(arguments).unwrap();
                    let extra = String::from_utf8(extra).unwrap();
                    format!("call {tool} {arguments} {extra} {token:?}")
                }
                Ask::Other { method, params } => {
                    format!("{method} {} {form:?}", std::str::from_utf8(params).unwrap())
                }
            },
            Step::Said { key, ok, raw } => {
                format!("said {key:?} {ok} {}", std::str::from_utf8(raw).unwrap())
            }
            Step::Cancel(key) => format!("cancel {key:?}"),
            Step::Pass => String::new(),
        }
    }

    fn opened() -> Session {
        let session = Session::default();
        take(
            &session,
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#,
        );
        session
    }

    #[test]
    fn every_revision_is_agreed_on_and_another_gets_the_latest() {
        for (asked, agreed) in VERSIONS
            .map(|v| (v, v))
            .into_iter()
            .chain([("2031-01-01", LATEST)])
        {
            let session = Session::default();
            let params = format!(
                r#"{{"protocolVersion":"{asked}","clientInfo":{{"name":"c{}","version":"1"}}}}"#,
                "é".repeat(200),
            );
            let line =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}"#);
            let version = format!("initialize {params} Hello {{ version: {agreed:?} }}");
            assert_eq!(take(&session, &line), version);
            assert!(session.is_open());
            assert_eq!(session.client.borrow().len(), 255);
            session.reopen();
            assert_eq!(take(&session, &line), version);
        }
    }

    #[test]
    fn a_call_passes_its_arguments_untouched() {
        let session = opened();
        let line = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a__b","arguments":{ "x":1.0 , "\u0061":2},"_meta":{"progressToken":1,"k": 2},"task":{}}}"#;
        assert_eq!(
            take(&session, line),
            r#"call a__b { "x":1.0 , "\u0061":2} {"_meta":{"k":2}} Some("1")"#
        );
        let line = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a__b"}}"#;
        assert_eq!(take(&session, line), "call a__b {}  None");
        let line = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{}}}"#;
        assert_eq!(take(&session, line), "list");
        assert_eq!(
            take(
                &session,
                r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#
            ),
            "list"
        );
    }

    #[test]
    fn what_else_a_server_may_have_is_asked_of_the_keeper() {
        let session = opened();
        let ask = |method: &str, params: &str| {
            let line =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            take(&session, &line)
        };
        for method in PASSED.iter().filter(|method| **method != "initialize") {
            assert_eq!(
                ask(method, r#"{"a": 1}"#),
                format!("{method} {{\"a\": 1}} Plain")
            );
        }
        assert_eq!(
            ask("resources/subscribe", r#"{"uri":"a:b"}"#),
            r#"resources/subscribe {"uri":"a:b"} Subscribed { uri: "a:b" }"#
        );
        assert_eq!(
            ask("resources/unsubscribe", r#"{"uri":"a:b"}"#),
            r#"resources/unsubscribe {"uri":"a:b"} Unsubscribed { uri: "a:b" }"#
        );
        assert!(ask("resources/subscribe", "{}").contains("`uri` is missing"));
        // Each list has one page.
        for method in ["resources/list", "resources/templates/list", "prompts/list"] {
            let told = ask(method, r#"{"cursor":"2"}"#);
            assert!(
                told.contains("-32602") && told.contains("unknown `cursor`"),
                "{told}"
            );
        }
    }

    #[test]
    fn requests_that_do_not_fit_are_refused_precisely() {
        let session = opened();
        let long = "x".repeat(ARGUMENTS_MAX);
        for (method, params, code, why) in [
            (
                "initialize",
                r#"{"protocolVersion":"2025-06-18"}"#,
                -32600,
                "the session has begun already",
            ),
            (
                "tools/list",
                r#"{"cursor":"x"}"#,
                -32602,
                "unknown `cursor`",
            ),
            (
                "tools/call",
                "{}",
                -32602,
                "`name` is missing or not a string",
            ),
            (
                "tools/call",
                r#"{"name":1}"#,
                -32602,
                "`name` is missing or not a string",
            ),
            (
                "tools/call",
                &format!(r#"{{"name":"{}"}}"#, "x".repeat(129)),
                -32602,
                "`name` is longer than 128 bytes",
            ),
            (
                "tools/call",
                r#"{"name":"x","arguments":null}"#,
                -32602,
                "`arguments` is not an object",
            ),
            (
                "tools/call",
                r#"{"name":"x","arguments":[]}"#,
                -32602,
                "`arguments` is not an object",
            ),
            (
                "tools/call",
                &format!(r#"{{"name":"x","arguments":{{"a":"{long}"}}}}"#),
                -32602,
                "`arguments` is longer than 1048576 bytes",
            ),
            (
                "tools/call",
                r#"{"name":"x","_meta":{"progressToken":[]}}"#,
                -32602,
                "`progressToken` is neither a short string nor a whole number",
            ),
            ("a\\u001b", "{}", -32601, "unknown method `a\\\\u{1b}`"),
            (
                "server/discover",
                "{}",
                -32601,
                "unknown method `server/discover`",
            ),
        ] {
            let line =
                format!(r#"{{"jsonrpc":"2.0","id":"q","method":"{method}","params":{params}}}"#);
            let told = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"error\":{{\"code\":{code},\"message\":\"{why}\"}}}}\n"
            );
            assert_eq!(take(&session, &line), told);
        }
    }

    #[test]
    fn nothing_but_ping_comes_before_initialize() {
        let session = Session::default();
        let ask = |session: &Session, method: &str| {
            take(
                session,
                &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#),
            )
        };
        assert!(ask(&session, "tools/list").contains("send `initialize`"));
        assert!(ask(&session, "tools/call").contains("send `initialize`"));
        assert!(ask(&session, "initialize").contains("`protocolVersion` is missing"));
        assert_eq!(
            ask(&session, "ping"),
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n"
        );
        assert!(!session.is_open());
    }

    #[test]
    fn notifications_are_never_answered() {
        let session = opened();
        for (line, step) in [
            (
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                "",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"\u0061"}}"#,
                "cancel Text(\"a\")",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#,
                "cancel Number(7)",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
                "a cancellation without the id of a request",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#,
                "a request without an id",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
                "unknown notification",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{ }}"#,
                "said Number(1) true { }",
            ),
            (
                r#"{"jsonrpc":"2.0","id":"x","error":{"code":1}}"#,
                r#"said Text("x") false {"code":1}"#,
            ),
        ] {
            assert_eq!(take(&session, line), step);
        }
    }
}
