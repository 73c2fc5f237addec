//! The two eras of MCP as state machines without I/O: one message in, one step out.
//!
//! A client of the session era ([`session`]) begins with `initialize`; one of the stateless era
//! ([`stateless`]) says with every request which revision it speaks. Both may come over the same
//! connection: what a request carries decides ([`of`]).

pub(super) mod params;
pub(super) mod session;
pub(super) mod shape;
pub(super) mod stateless;

use super::message::{Key, Message, Refusal, RequestId};
use super::object::Object;
use crate::wire::messages::Era;

/// The member of `_meta` that names the revision a request is written in.
pub(super) const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
/// The member of `_meta` that says what the client can do.
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
/// The member of `_meta` that says what the client is.
const CLIENT_KEY: &str = "io.modelcontextprotocol/clientInfo";
/// The member of `_meta` that names a subscription.
const SUBSCRIPTION_KEY: &str = "io.modelcontextprotocol/subscriptionId";

/// What to do about a message.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Send this line.
    Reply(Vec<u8>),
    /// Send the refusal, and note it.
    Refuse(Refusal),
    /// Send the refusal; clients ask this to find out.
    Decline(Refusal),
    /// Note it; there is nobody to answer.
    Note(&'static str),
    /// Ask the keeper.
    Ask(Question<'a>),
    /// The agent no longer wants the answer to this request.
    Cancel(Key),
    /// The client answers what it was asked.
    Said {
        /// What was asked.
        key: Key,
        /// It is a result.
        ok: bool,
        /// Raw JSON of it, or of the error.
        raw: &'a [u8],
    },
    /// Nothing.
    Pass,
}

/// A request that only the keeper can answer.
#[derive(Debug)]
pub(super) struct Question<'a> {
    /// Of the request.
    pub(super) id: RequestId,
    /// How the client speaks.
    pub(super) era: Era,
    /// What the client says of itself.
    pub(super) client: String,
    /// What is asked.
    pub(super) ask: Ask<'a>,
    /// What the client wants progress to be marked with, raw.
    pub(super) token: Option<String>,
    /// How the answer is brought to the client.
    pub(super) form: Form,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Ask<'a> {
    /// The list of tools.
    List,
    /// A call.
    Call {
        /// Name on the wire.
        tool: String,
        /// Raw JSON of an object.
        arguments: &'a [u8],
        /// Raw JSON of the other members that mean something; empty where there are none.
        extra: Vec<u8>,
        /// What HTTP's headers say of the arguments, where they have to.
        mirrored: Option<Vec<(String, Option<String>)>>,
    },
    /// Anything else.
    Other {
        /// MCP's name of it.
        method: &'static str,
        /// Raw JSON of an object.
        params: &'a [u8],
    },
}

/// What an answer becomes on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// A result.
    Plain,
    /// A result that clients may keep a while.
    Kept,
    /// Of `initialize`.
    Hello {
        /// The revision that was agreed on.
        version: &'static str,
    },
    /// Of `server/discover`.
    Discovered,
    /// Of `resources/subscribe` in the session era.
    Subscribed {
        /// The resource.
        uri: String,
    },
    /// Of `resources/unsubscribe` in the session era.
    Unsubscribed {
        /// The resource.
        uri: String,
    },
    /// Of `subscriptions/listen`: news until the client or this side ends it.
    Listening,
}

/// The era a message is written in. `header` is what the transport says of the revision, where it
/// says something.
pub(super) fn of(message: &Message<'_>, header: Option<&str>) -> Era {
    let Message::Request { params, method, .. } = message else {
        return Era::Session;
    };
    let params = params.and_then(|params| Object::parse(params.get().as_bytes()));
    let meta = params
        .as_ref()
        .and_then(|params| params.get("_meta"))
        .and_then(|meta| Object::parse(meta.get().as_bytes()));
    let modern = meta.is_some_and(|meta| {
        meta.get(VERSION_KEY).is_some() || meta.get(CAPABILITIES_KEY).is_some()
    });
    let named = header.is_some_and(|header| !session::VERSIONS.contains(&header));
    match modern || named || method == "server/discover" {
        true => Era::Stateless,
        false => Era::Session,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::message;

    #[test]
    fn what_a_request_carries_decides() {
        let of = |line: &str, header| of(&message::read(line.as_bytes()).unwrap(), header);
        let plain = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let modern = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"x"}}}"#;
        let old =
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken":"x"}}}"#;
        let discover = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
        let told = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(of(plain, None), Era::Session);
        assert_eq!(of(old, Some("2025-06-18")), Era::Session);
        assert_eq!(of(told, Some("2026-07-28")), Era::Session);
        assert_eq!(of(modern, None), Era::Stateless);
        assert_eq!(of(modern, Some("2025-06-18")), Era::Stateless);
        assert_eq!(of(discover, None), Era::Stateless);
        assert_eq!(of(plain, Some("2026-07-28")), Era::Stateless);
        assert_eq!(of(plain, Some("1")), Era::Stateless);
    }
}
