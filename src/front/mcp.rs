//! The session era of MCP (revisions 2024-11-05 to 2025-11-25) as a state machine without I/O: one
//! message in, one step out.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::message::{
    self, INVALID_PARAMS, INVALID_REQUEST, Key, Message, Refusal, RequestId, present, string,
};
use super::reply;
use crate::wire::messages::ARGUMENTS_MAX;

/// Revisions served, oldest first.
pub(super) const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", LATEST];
/// What a client is offered that asks for another revision.
const LATEST: &str = "2025-11-25";
/// Longest label a client gives itself, in bytes.
const CLIENT_MAX: usize = 256;
/// Longest name of a tool, in bytes; the names of real tools are shorter.
const TOOL_MAX: usize = 128;
/// What a model is told about this server.
const INSTRUCTIONS: &str = "Every call to these tools is checked against a policy and recorded \
    before it happens. A call that is refused, or that waits for a person, answers isError with a \
    request id. Do not retry or rephrase such a call: tell your user the request id, and the \
    operator can look it up.";

/// What to do about a message.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Send this line.
    Reply(Vec<u8>),
    /// Send the refusal, and note it.
    Refuse(Refusal),
    /// Note it; there is nobody to answer.
    Note(&'static str),
    /// Ask the keeper for the list of tools.
    List(RequestId),
    /// Ask the keeper to carry out a call.
    Call {
        /// Of the request.
        id: RequestId,
        /// Name on the wire.
        tool: String,
        /// Raw JSON of an object.
        arguments: &'a [u8],
    },
    /// The agent no longer wants the answer to this request.
    Cancel(Key),
    /// Nothing.
    Pass,
}

/// One connection's session.
#[derive(Debug)]
pub(super) struct Session {
    /// Keepgate's version, for `serverInfo`.
    server: String,
    client: Option<String>,
}

impl Session {
    /// A session that has not begun.
    pub(super) fn new(server: &str) -> Self {
        Self {
            server: server.into(),
            client: None,
        }
    }

    /// `initialize` was answered.
    pub(super) fn is_open(&self) -> bool {
        self.client.is_some()
    }

    /// What the client says of itself; a label, never an identity.
    pub(super) fn client(&self) -> &str {
        self.client.as_deref().unwrap_or_default()
    }

    /// What to do about `message`.
    pub(super) fn take<'a>(&mut self, message: Message<'a>) -> Step<'a> {
        match message {
            Message::Request { id, method, params } => self
                .request(&id, &method, params)
                .unwrap_or_else(|refusal| Step::Refuse(refusal.of(&id))),
            Message::Notification { method, params } => notification(&method, params),
            Message::Response => Step::Pass,
        }
    }

    fn request<'a>(
        &mut self,
        id: &RequestId,
        method: &str,
        params: Option<&'a RawValue>,
    ) -> Result<Step<'a>, Refusal> {
        match method {
            "ping" => Ok(Step::Reply(reply::result(id, &[b"{}"]))),
            "initialize" => self.initialize(id, params).map(Step::Reply),
            // Clients of the stateless era ask this first and fall back to `initialize` when it is
            // unknown, so it is nothing to note.
            "server/discover" => Ok(Step::Reply(Refusal::unknown(method).of(id).line())),
            "tools/list" | "tools/call" if !self.is_open() => Err(Refusal::new(
                INVALID_REQUEST,
                "the session has not begun; send `initialize`",
            )),
            "tools/list" => list(id, params),
            "tools/call" => call(id, params),
            _ => Err(Refusal::unknown(method)),
        }
    }

    fn initialize(
        &mut self,
        id: &RequestId,
        params: Option<&RawValue>,
    ) -> Result<Vec<u8>, Refusal> {
        if self.is_open() {
            return Err(Refusal::new(
                INVALID_REQUEST,
                "the session has begun already",
            ));
        }
        let wanted: Initialize<'_> = members(params)?;
        let version = wanted.protocol_version.and_then(string).ok_or_else(|| {
            Refusal::new(
                INVALID_PARAMS,
                "`protocolVersion` is missing or not a string",
            )
        })?;
        let version = VERSIONS
            .iter()
            .find(|known| **known == version)
            .unwrap_or(&LATEST);
        self.client = Some(label(wanted.client_info));
        let result = json!({
            "protocolVersion": version,
            "capabilities": {"tools": {"listChanged": true}},
            "serverInfo": {"name": "keepgate", "title": "Keepgate", "version": self.server},
            "instructions": INSTRUCTIONS,
        });
        Ok(reply::result(id, &[result.to_string().as_bytes()]))
    }
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
        "initialize" | "ping" | "tools/list" | "tools/call" => {
            Step::Note("a request without an id")
        }
        _ => Step::Note("unknown notification"),
    }
}

fn list<'a>(id: &RequestId, params: Option<&RawValue>) -> Result<Step<'a>, Refusal> {
    let page: Page<'_> = members(params)?;
    match page.cursor {
        // The list has one page, so no cursor was ever given out.
        Some(_) => Err(Refusal::new(INVALID_PARAMS, "unknown `cursor`")),
        None => Ok(Step::List(id.clone())),
    }
}

fn call<'a>(id: &RequestId, params: Option<&'a RawValue>) -> Result<Step<'a>, Refusal> {
    let invalid = |what: String| Refusal::new(INVALID_PARAMS, what);
    let call: Call<'a> = members(params)?;
    let tool = call
        .name
        .and_then(string)
        .ok_or_else(|| invalid("`name` is missing or not a string".into()))?;
    if tool.len() > TOOL_MAX {
        return Err(invalid(format!("`name` is longer than {TOOL_MAX} bytes")));
    }
    let arguments = call.arguments.map_or("{}", RawValue::get);
    if !arguments.starts_with('{') {
        return Err(invalid("`arguments` is not an object".into()));
    }
    if arguments.len() > ARGUMENTS_MAX {
        return Err(invalid(format!(
            "`arguments` is longer than {ARGUMENTS_MAX} bytes"
        )));
    }
    Ok(Step::Call {
        id: id.clone(),
        tool,
        arguments: arguments.as_bytes(),
    })
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
struct Page<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    cursor: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
struct Call<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    name: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    arguments: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cancelled<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    request_id: Option<&'a RawValue>,
}

fn members<'a, T: Deserialize<'a> + Default>(params: Option<&'a RawValue>) -> Result<T, Refusal> {
    match params {
        None => Ok(T::default()),
        Some(params) => serde_json::from_str(params.get())
            .map_err(|_| Refusal::new(INVALID_PARAMS, "`params` is not an object")),
    }
}

/// `clientInfo` as one short text; empty where it is anything else.
fn label(info: Option<&RawValue>) -> String {
    #[derive(Deserialize)]
    struct Info {
        #[serde(default)]
        name: String,
        #[serde(default)]
        version: String,
    }
    let info: Option<Info> = info.and_then(|info| serde_json::from_str(info.get()).ok());
    let Some(info) = info else {
        return String::new();
    };
    let mut label = if info.version.is_empty() {
        info.name
    } else {
        format!("{} {}", info.name, info.version)
    };
    label.truncate(label.floor_char_boundary(CLIENT_MAX));
    label
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn take(session: &mut Session, line: &str) -> String {
        match session.take(message::read(line.as_bytes()).unwrap()) {
            Step::Reply(line) => String::from_utf8(line).unwrap(),
            Step::Refuse(refusal) => String::from_utf8(refusal.line()).unwrap(),
            Step::Note(what) => what.into(),
            Step::Call {
                tool, arguments, ..
            } => {
                format!("call {tool} {}", std::str::from_utf8(arguments).unwrap())
            }
            Step::List(_) => "list".into(),
            Step::Cancel(key) => format!("cancel {key:?}"),
            Step::Pass => String::new(),
        }
    }

    fn opened() -> Session {
        let mut session = Session::new("1");
        take(
            &mut session,
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
            let mut session = Session::new("9.9");
            let line = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{asked}","clientInfo":{{"name":"c{}","version":"1"}}}}}}"#,
                "é".repeat(200),
            );
            let reply: Value = serde_json::from_str(&take(&mut session, &line)).unwrap();
            assert_eq!(reply["result"]["protocolVersion"], agreed);
            assert_eq!(reply["result"]["serverInfo"]["version"], "9.9");
            assert_eq!(
                reply["result"]["capabilities"]["tools"]["listChanged"],
                true
            );
            assert_eq!(session.client().len(), 255);
        }
    }

    #[test]
    fn a_call_passes_its_arguments_untouched() {
        let mut session = opened();
        let line = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a__b","arguments":{ "x":1.0 , "\u0061":2},"_meta":{"progressToken":1},"task":{}}}"#;
        assert_eq!(
            take(&mut session, line),
            r#"call a__b { "x":1.0 , "\u0061":2}"#
        );
        let line = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a__b"}}"#;
        assert_eq!(take(&mut session, line), "call a__b {}");
        let line = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{}}}"#;
        assert_eq!(take(&mut session, line), "list");
        assert_eq!(
            take(
                &mut session,
                r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#
            ),
            "list"
        );
    }

    #[test]
    fn requests_that_do_not_fit_are_refused_precisely() {
        let mut session = opened();
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
                "logging/setLevel",
                r#"{"level":"debug"}"#,
                -32601,
                "unknown method `logging/setLevel`",
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
            assert_eq!(take(&mut session, &line), told);
        }
    }

    #[test]
    fn nothing_but_ping_comes_before_initialize() {
        let mut session = Session::new("1");
        let ask = |session: &mut Session, method: &str| {
            take(
                session,
                &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#),
            )
        };
        assert!(ask(&mut session, "tools/list").contains("send `initialize`"));
        assert!(ask(&mut session, "tools/call").contains("send `initialize`"));
        assert!(ask(&mut session, "initialize").contains("`protocolVersion` is missing"));
        assert_eq!(
            ask(&mut session, "ping"),
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n"
        );
        assert!(!session.is_open());
    }

    #[test]
    fn notifications_are_never_answered() {
        let mut session = opened();
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
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, ""),
        ] {
            assert_eq!(take(&mut session, line), step);
        }
    }
}
