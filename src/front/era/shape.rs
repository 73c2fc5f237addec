//! Brings what the keeper says into the era of the client: what is missing is added, what is
//! unknown passes as it is.

use serde_json::json;

use super::{Form, SUBSCRIPTION_KEY, stateless};
use crate::front::message::{INVALID_PARAMS, RequestId};
use crate::front::object::{Object, completed};
use crate::wire::messages::Era;

/// MCP until 2025-11-25: there is no such resource.
const NO_RESOURCE: i64 = -32002;

/// The code of an error that a client of `era` gets. What there is no resource for is a parameter that
/// is invalid since 2026-07-28, and the number it had before means nothing any more.
pub(in crate::front) fn code(era: Era, code: i64) -> i64 {
    match (era, code) {
        (Era::Stateless, NO_RESOURCE) => INVALID_PARAMS,
        (_, code) => code,
    }
}

/// The result that a client of `era` gets.
pub(in crate::front) fn result(era: Era, form: &Form, raw: &[u8], server: &str) -> Vec<u8> {
    match (era, form) {
        (_, Form::Hello { version }) => hello(raw, version, server),
        (Era::Stateless, Form::Discovered) => {
            let versions = json!([stateless::VERSION]).to_string();
            let meta = json!({"io.modelcontextprotocol/serverInfo": info(server)}).to_string();
            let known = [
                ("supportedVersions", versions.as_bytes()),
                ("_meta", meta.as_bytes()),
            ];
            kept(&completed(raw, &known))
        }
        (Era::Stateless, Form::Kept) => kept(raw),
        (Era::Stateless, _) => completed(raw, &[("resultType", b"\"complete\"")]),
        (Era::Session, _) => raw.to_vec(),
    }
}

/// Nothing here is for other agents, and all of it may change at any time: the list of an agent is
/// its own.
fn kept(raw: &[u8]) -> Vec<u8> {
    completed(
        raw,
        &[
            ("resultType", b"\"complete\""),
            ("ttlMs", b"0"),
            ("cacheScope", b"\"private\""),
        ],
    )
}

fn hello(raw: &[u8], version: &str, server: &str) -> Vec<u8> {
    let version = json!(version).to_string();
    let server = info(server).to_string();
    let known = [
        ("protocolVersion", version.as_bytes()),
        ("serverInfo", server.as_bytes()),
    ];
    completed(raw, &known)
}

fn info(version: &str) -> serde_json::Value {
    json!({"name": "keepgate", "title": "Keepgate", "version": version})
}

/// `params` of a progress notification with the client's own token.
pub(in crate::front) fn progress(params: &[u8], token: &str) -> Option<Vec<u8>> {
    Some(Object::parse(params)?.with("progressToken", token.as_bytes()))
}

/// `params` of a notification on the subscription that `id` began.
pub(in crate::front) fn tagged(params: &[u8], id: &RequestId) -> Option<Vec<u8>> {
    let params = Object::parse(params)?;
    let meta = params.get("_meta").map_or("{}", |meta| meta.get());
    let meta = Object::parse(meta.as_bytes())?.with(SUBSCRIPTION_KEY, id.raw.as_bytes());
    Some(params.with("_meta", &meta))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::front::message::{self, Message};

    fn id() -> RequestId {
        let line = br#"{"jsonrpc":"2.0","id":"s\u0061","method":"x"}"#;
        match message::read(line).unwrap() {
            Message::Request { id, .. } => id,
            other @ (Message::Notification { .. } | Message::Response { .. }) => {
                panic!("{other:?}")
            }
        }
    }

    fn text(raw: Vec<u8>) -> String {
        String::from_utf8(raw).unwrap()
    }

    #[test]
    fn each_era_gets_its_own_results() {
        let raw = br#"{"tools":[ {"x-unknown":1.0} ],"later":2}"#;
        let kept = |era| text(result(era, &Form::Kept, raw, "1"));
        assert_eq!(kept(Era::Session).as_bytes(), raw);
        assert_eq!(
            kept(Era::Stateless),
            r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[ {"x-unknown":1.0} ],"later":2}"#
        );
        let asks = br#"{"resultType":"input_required","inputRequests":{}}"#;
        assert_eq!(
            result(Era::Stateless, &Form::Plain, asks, "1"),
            asks.to_vec()
        );
        let found = result(
            Era::Stateless,
            &Form::Discovered,
            br#"{"capabilities":{"tools":{}}}"#,
            "7",
        );
        let found: Value = serde_json::from_slice(&found).unwrap();
        assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(found["cacheScope"], "private");
        let server = &found["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(server["version"], "7");
        let hello = Form::Hello {
            version: "2025-06-18",
        };
        let hello = result(Era::Session, &hello, br#"{"capabilities":{}}"#, "7");
        let hello: Value = serde_json::from_slice(&hello).unwrap();
        assert_eq!(hello["protocolVersion"], "2025-06-18");
        assert_eq!(hello["serverInfo"]["name"], "keepgate");
    }

    #[test]
    fn a_resource_that_is_not_there_has_the_code_of_the_era() {
        assert_eq!(code(Era::Session, NO_RESOURCE), NO_RESOURCE);
        assert_eq!(code(Era::Stateless, NO_RESOURCE), INVALID_PARAMS);
        assert_eq!(code(Era::Stateless, -32001), -32001);
    }

    #[test]
    fn notifications_carry_the_clients_own_marks() {
        let progress = progress(br#"{"progressToken":"theirs","progress":0.50}"#, "7").unwrap();
        assert_eq!(text(progress), r#"{"progressToken":7,"progress":0.50}"#);
        assert!(super::progress(b"[]", "7").is_none());
        assert_eq!(
            text(tagged(br#"{"uri":"a:b","_meta":{"x":1}}"#, &id()).unwrap()),
            r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"s\u0061","x":1},"uri":"a:b"}"#
        );
        assert!(tagged(br#"{"_meta":7}"#, &id()).is_none());
    }
}
