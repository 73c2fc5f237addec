//! The `params` of a question as a server gets them. What the agent wrote stays as it is, but for
//! the members of `_meta` by which a client says who it is: those are egress' own.

use crate::wire::jsonrpc::Members;
use crate::wire::messages::{Era, Passing};

/// The stateless protocol version that egress speaks.
pub(super) const STATELESS: &str = "2026-07-28";
/// The session protocol versions that egress speaks, the newest first.
pub(super) const SESSION: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Members of `_meta` (2026-07-28, "Per-request protocol fields").
const PROGRESS: &str = "progressToken";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const INFO: &str = "io.modelcontextprotocol/clientInfo";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Marks the notifications of a `subscriptions/listen`.
pub(super) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// What egress calls itself.
pub(super) const OWN: &str = concat!(
    "{\"name\":\"keepgate\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"}"
);

/// `raw` (an object) as it goes out; `None` where it is no object. `progress`: the token by which
/// egress knows the question's progress.
pub(super) fn params(raw: &str, era: Era, allow: Passing, progress: Option<u64>) -> Option<String> {
    let mut members = Members::of(raw)?;
    let given = members.get("_meta").map(str::to_owned);
    let mut meta = given.as_deref().and_then(Members::of).unwrap_or_default();
    let declared = meta.get(CAPABILITIES).map(str::to_owned);
    for own in [PROGRESS, VERSION, INFO, CAPABILITIES] {
        meta.remove(own);
    }
    if let Some(token) = progress {
        meta.set(PROGRESS, token.to_string());
    }
    if era == Era::Stateless {
        meta.set(VERSION, format!("\"{STATELESS}\""));
        meta.set(INFO, OWN);
        meta.set(CAPABILITIES, capabilities(declared.as_deref(), allow));
    }
    match meta.is_empty() {
        true => members.remove("_meta"),
        false => members.set("_meta", meta.json()),
    }
    Some(members.json())
}

/// Of what an agent's client says it can do, what it may be asked for; nothing else is carried, so
/// nothing else is declared.
fn capabilities(declared: Option<&str>, allow: Passing) -> String {
    let mut members = declared.and_then(Members::of).unwrap_or_default();
    members.keep(|name| match name {
        "sampling" => allow.sampling,
        "elicitation" => allow.elicitation,
        "roots" => allow.roots,
        _ => false,
    });
    members.json()
}

/// What a client of the session era declares for its whole session.
pub(super) fn own_capabilities(allow: Passing) -> String {
    let all = r#"{"sampling":{},"elicitation":{},"roots":{}}"#;
    capabilities(Some(all), allow)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = r#"{"name":"x","arguments":{ "a" : 1 },"_meta":{"progressToken":"theirs","io.modelcontextprotocol/clientInfo":{"name":"liar"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{"tools":{}},"elicitation":{ },"extensions":{"x":{}}},"traceparent":"00-1"}}"#;

    #[test]
    fn who_asks_is_never_the_agent() {
        let allow = Passing {
            elicitation: true,
            ..Passing::default()
        };
        let out = params(RAW, Era::Stateless, allow, Some(7)).unwrap();
        assert_eq!(
            out,
            format!(
                r#"{{"name":"x","arguments":{{ "a" : 1 }},"_meta":{{"traceparent":"00-1","progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{OWN},"io.modelcontextprotocol/clientCapabilities":{{"elicitation":{{ }}}}}}}}"#
            )
        );
        let out = params(RAW, Era::Session, allow, None).unwrap();
        assert_eq!(
            out,
            r#"{"name":"x","arguments":{ "a" : 1 },"_meta":{"traceparent":"00-1"}}"#
        );
        assert_eq!(params("{}", Era::Session, allow, None).unwrap(), "{}");
        assert_eq!(params("[]", Era::Session, allow, None), None);
        let bare = params("{}", Era::Stateless, Passing::default(), None).unwrap();
        assert!(bare.contains(r#"clientCapabilities":{}"#), "{bare}");
    }
}
