//! The stateless era of MCP, revision 2026-07-28: every request says in `_meta` which revision it
//! is written in and what its client can do, and nothing is remembered between two of them.

use serde_json::json;
use serde_json::value::RawValue;

use super::params::{self, invalid};
use super::{Ask, CAPABILITIES_KEY, CLIENT_KEY, Form, Question, Step, VERSION_KEY};
use crate::front::message::{Message, Refusal, RequestId, string};
use crate::front::object::Object;
use crate::wire::messages::{Era, MIRRORED_MAX};
use crate::wire::text::Escaped;

/// The revision served.
pub(in crate::front) const VERSION: &str = "2026-07-28";
/// MCP: headers and body say different things.
pub(in crate::front) const HEADER_MISMATCH: i64 = -32020;
/// MCP: the client does not have what the answer needs. Only servers behind the keeper say so.
pub(in crate::front) const MISSING_CAPABILITY: i64 = -32021;
/// MCP: another revision.
pub(in crate::front) const UNSUPPORTED_VERSION: i64 = -32022;
/// Characters of a revision that an error gives back.
const REQUESTED_MAX: usize = 64;

/// Methods that are the keeper's to answer, besides those with a meaning here, and whether clients
/// may keep the answer.
const PASSED: [(&str, Form); 7] = [
    ("resources/list", Form::Kept),
    ("resources/templates/list", Form::Kept),
    ("resources/read", Form::Kept),
    ("prompts/list", Form::Kept),
    ("prompts/get", Form::Plain),
    ("completion/complete", Form::Plain),
    ("subscriptions/listen", Form::Listening),
];

/// What HTTP says of the body beside it. It decides nothing; where it says something else than the
/// body, somebody on the way may have been misled.
#[derive(Debug, Default)]
pub(in crate::front) struct Headers {
    /// `MCP-Protocol-Version`.
    pub(in crate::front) version: Option<String>,
    /// `Mcp-Method`.
    pub(in crate::front) method: Option<String>,
    /// `Mcp-Name`, decoded.
    pub(in crate::front) name: Option<String>,
    /// All `Mcp-Param-…`: name in lower case and decoded text, none where that is none.
    pub(in crate::front) params: Vec<(String, Option<String>)>,
}

/// What to do about `message`; `headers` came with it, where it came over HTTP.
pub(in crate::front) fn take<'a>(message: Message<'a>, headers: Option<&Headers>) -> Step<'a> {
    match message {
        Message::Request { id, method, params } => match request(&id, &method, params, headers) {
            Ok(step) => step,
            // How clients of both eras find out which one is spoken here.
            Err(refusal) if method == "server/discover" => Step::Decline(refusal.of(&id)),
            Err(refusal) => Step::Refuse(refusal.of(&id)),
        },
        // In this era neither means anything to a server.
        Message::Notification { .. } | Message::Response { .. } => Step::Pass,
    }
}

fn request<'a>(
    id: &RequestId,
    method: &str,
    params: Option<&'a RawValue>,
    headers: Option<&Headers>,
) -> Result<Step<'a>, Refusal> {
    let meta = Meta::of(params)?;
    if let Some(headers) = headers {
        headers.check(&meta.version, method, params)?;
    }
    if meta.version != VERSION {
        let requested: String = meta.version.chars().take(REQUESTED_MAX).collect();
        let data = json!({"supported": [VERSION], "requested": requested});
        return Err(Refusal::new(UNSUPPORTED_VERSION, "unsupported protocol version").with(&data));
    }
    let (ask, form) = match method {
        "server/discover" => (params::other("server/discover", params)?, Form::Discovered),
        "tools/list" => params::list(params)?,
        "tools/call" => {
            let (mut ask, form) = params::call(params)?;
            if let (Ask::Call { mirrored, .. }, Some(headers)) = (&mut ask, headers) {
                *mirrored = Some(headers.mirrored()?);
            }
            (ask, form)
        }
        _ => match PASSED.iter().find(|(known, _)| *known == method) {
            Some((known, form)) => (params::other(known, params)?, form.clone()),
            None => return Err(Refusal::unknown(method)),
        },
    };
    Ok(Step::Ask(Question {
        id: id.clone(),
        era: Era::Stateless,
        client: meta.client,
        ask,
        token: params::token(params)?,
        form,
    }))
}

/// What every request says of itself.
struct Meta {
    version: String,
    client: String,
}

impl Meta {
    fn of(params: Option<&RawValue>) -> Result<Self, Refusal> {
        let missing = |name: &str, what: &str| {
            invalid(format!(
                "`_meta` of the request has no `{name}` that is {what}"
            ))
        };
        let params = params.and_then(|params| Object::parse(params.get().as_bytes()));
        let meta = params
            .and_then(|params| params.get("_meta"))
            .and_then(|meta| Object::parse(meta.get().as_bytes()))
            .unwrap_or_default();
        let version = meta
            .get(VERSION_KEY)
            .and_then(string)
            .ok_or_else(|| missing(VERSION_KEY, "a string"))?;
        meta.get(CAPABILITIES_KEY)
            .filter(|value| value.get().starts_with('{'))
            .ok_or_else(|| missing(CAPABILITIES_KEY, "an object"))?;
        let client = params::label(meta.get(CLIENT_KEY));
        Ok(Self { version, client })
    }
}

impl Headers {
    /// What they say of the arguments; which of them have to be there, the tool's schema says.
    fn mirrored(&self) -> Result<Vec<(String, Option<String>)>, Refusal> {
        let length = |(name, said): &(String, Option<String>)| {
            name.len() + said.as_ref().map_or(0, String::len)
        };
        match self.params.iter().map(length).sum::<usize>() <= MIRRORED_MAX {
            true => Ok(self.params.clone()),
            false => Err(Refusal::new(
                HEADER_MISMATCH,
                format!("header mismatch: more than {MIRRORED_MAX} bytes of `Mcp-Param-…`"),
            )),
        }
    }

    fn check(&self, version: &str, method: &str, params: Option<&RawValue>) -> Result<(), Refusal> {
        same("MCP-Protocol-Version", self.version.as_deref(), version)?;
        same("Mcp-Method", self.method.as_deref(), method)?;
        let member = match method {
            "tools/call" | "prompts/get" => "name",
            "resources/read" => "uri",
            _ => return Ok(()),
        };
        let params = params.and_then(|params| Object::parse(params.get().as_bytes()));
        let named = params
            .and_then(|params| params.get(member))
            .and_then(string);
        match named {
            Some(named) => same("Mcp-Name", self.name.as_deref(), &named),
            // What is missing there is refused for that.
            None => Ok(()),
        }
    }
}

fn same(header: &str, said: Option<&str>, body: &str) -> Result<(), Refusal> {
    match said {
        Some(said) if said == body => Ok(()),
        Some(said) => {
            let shown = Escaped::cut(said, REQUESTED_MAX);
            let what = format!("header mismatch: `{header}` is not what the body says");
            Err(Refusal::new(HEADER_MISMATCH, what).saying(format!(
                "header mismatch: `{header}` says `{shown}`, the body does not"
            )))
        }
        None => {
            let what = format!("header mismatch: `{header}` is missing");
            Err(Refusal::new(HEADER_MISMATCH, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::front::message;

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"2"}}"#;

    fn line(method: &str, params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}}}}}"#)
    }

    fn headers(method: &str, name: Option<&str>) -> Headers {
        Headers {
            version: Some(VERSION.into()),
            method: Some(method.into()),
            name: name.map(Into::into),
            params: Vec::new(),
        }
    }

    fn refused(line: &str, headers: Option<&Headers>) -> Value {
        let step = take(message::read(line.as_bytes()).unwrap(), headers);
        let (Step::Refuse(refusal) | Step::Decline(refusal)) = step else {
            panic!("{step:?}")
        };
        serde_json::from_slice(&refusal.line()).unwrap()
    }

    fn asks(line: &str, headers: Option<&Headers>) -> bool {
        matches!(
            take(message::read(line.as_bytes()).unwrap(), headers),
            Step::Ask(Question { era: Era::Stateless, client, .. }) if client == "c 2"
        )
    }

    #[test]
    fn every_method_of_the_era_is_asked_and_none_of_the_other() {
        for method in ["server/discover", "tools/list"]
            .into_iter()
            .chain(PASSED.iter().map(|(method, _)| *method))
        {
            assert!(asks(&line(method, META), None), "{method}");
        }
        let call = format!(r#"{META},"name":"a__b","arguments":{{}}"#);
        assert!(asks(&line("tools/call", &call), None));
        for method in [
            "initialize",
            "ping",
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
            "unknown/method",
        ] {
            let told = refused(&line(method, META), None);
            assert_eq!(told["error"]["code"], -32601, "{method}");
            assert_eq!(told["id"], 7);
        }
    }

    #[test]
    fn each_list_has_one_page() {
        for (method, _) in PASSED
            .iter()
            .filter(|(method, _)| method.ends_with("/list"))
        {
            let told = refused(&line(method, &format!(r#"{META},"cursor":"2""#)), None);
            assert_eq!(told["error"]["code"], -32602, "{method}");
            assert_eq!(told["error"]["message"], "unknown `cursor`");
        }
    }

    #[test]
    fn a_request_says_its_revision_and_what_its_client_can() {
        let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
        let can = r#""io.modelcontextprotocol/clientCapabilities":{}"#;
        for meta in [
            String::new(),
            r#""_meta":7"#.into(),
            format!(r#""_meta":{{{version}}}"#),
            format!(r#""_meta":{{{can}}}"#),
            format!(r#""_meta":{{{version},"io.modelcontextprotocol/clientCapabilities":7}}"#),
            format!(r#""_meta":{{"io.modelcontextprotocol/protocolVersion":7,{can}}}"#),
        ] {
            let told = refused(&line("tools/list", &meta), None);
            assert_eq!(told["error"]["code"], -32602, "{meta}");
            assert!(
                told["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("`_meta`")
            );
        }
        let bare = format!(r#""_meta":{{{version},{can}}}"#);
        let message = line("tools/list", &bare);
        let step = take(message::read(message.as_bytes()).unwrap(), None);
        assert!(matches!(step, Step::Ask(Question { client, .. }) if client.is_empty()));
    }

    #[test]
    fn another_revision_is_named_back() {
        let other = META.replace("2026-07-28", "v999.0.0");
        let told = refused(&line("server/discover", &other), None);
        assert_eq!(told["error"]["code"], -32022);
        assert_eq!(
            told["error"]["data"],
            json!({"supported": ["2026-07-28"], "requested": "v999.0.0"})
        );
        // Over HTTP too, where both say it; where they differ, that comes first.
        let told_twice = Headers {
            version: Some("v999.0.0".into()),
            ..headers("server/discover", None)
        };
        let told = refused(&line("server/discover", &other), Some(&told_twice));
        assert_eq!(told["error"]["code"], -32022);
        let told = refused(
            &line("server/discover", &other),
            Some(&headers("server/discover", None)),
        );
        assert_eq!(told["error"]["code"], -32020);
    }

    #[test]
    fn headers_say_what_the_body_says() {
        let call = line("tools/call", &format!(r#"{META},"name":"a__b""#));
        assert!(asks(&call, Some(&headers("tools/call", Some("a__b")))));
        let read = line("resources/read", &format!(r#"{META},"uri":"a:b""#));
        assert!(asks(&read, Some(&headers("resources/read", Some("a:b")))));
        assert!(asks(
            &line("tools/list", META),
            Some(&headers("tools/list", None))
        ));
        for (line, headers, what) in [
            (&call, headers("tools/call", None), "`Mcp-Name` is missing"),
            (
                &call,
                headers("tools/call", Some("a__c")),
                "`Mcp-Name` says `a__c`",
            ),
            (
                &call,
                headers("TOOLS/CALL", Some("a__b")),
                "`Mcp-Method` says `TOOLS/CALL`",
            ),
            (
                &call,
                Headers::default(),
                "`MCP-Protocol-Version` is missing",
            ),
            (
                &read,
                headers("resources/read", Some("x")),
                "`Mcp-Name` says `x`",
            ),
        ] {
            let told = refused(line, Some(&headers));
            assert_eq!(told["error"]["code"], -32020);
            let message = told["error"]["message"].as_str().unwrap();
            assert!(message.contains(what), "{message}");
        }
    }

    #[test]
    fn what_needs_no_answer_means_nothing() {
        for line in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        ] {
            let step = take(message::read(line.as_bytes()).unwrap(), None);
            assert!(matches!(step, Step::Pass));
        }
    }
}
