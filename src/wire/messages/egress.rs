//! Between keeper and egress.

use serde::{Deserialize, Serialize};

use super::Era;
use crate::call::id::Id;
use crate::wire::manifest::Destination;

/// One way out that a plane's operator allows to `http.request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRule {
    /// `https` or `http`.
    pub scheme: String,
    /// Host name in lower case without a trailing dot, or an IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Allowed methods in upper case.
    pub methods: Vec<String>,
    /// Allowed path prefix; `/` allows all.
    pub path: String,
    /// Networks (CIDR) the resolved address may be in although they are private.
    #[serde(default)]
    pub private: Vec<String>,
    /// SHA-256 of the server certificate (DER), lower-case hex; replaces chain validation.
    #[serde(default)]
    pub pin_sha256: Option<String>,
}

/// Keeper to egress.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperToEgress {
    /// One open ticket; the stream to its jail comes as a descriptor.
    Lease {
        /// Dies with this ticket.
        ticket: Id,
        /// The only ways out. Empty means none.
        rules: Vec<HttpRule>,
        /// The request the keeper authorised: the jail may ask for this and for redirects of it.
        method: String,
        /// Its URL, as normalised by the keeper.
        url: String,
        /// SHA-256 over its body, lower-case hex.
        body_sha256: String,
        /// Wall-clock milliseconds for everything.
        wall_ms: u64,
        /// Bytes of all response bodies together.
        bytes: u64,
        /// Redirects followed at most.
        redirects: u8,
    },
    /// One open ticket of a foreign jail; the listening socket of its proxy comes as a descriptor.
    Proxy {
        /// Dies with this ticket.
        ticket: Id,
        /// The only ways out. Empty means none.
        allow: Vec<Destination>,
        /// Wall-clock milliseconds for everything; nothing for a jail that lasts.
        wall_ms: Option<u64>,
        /// Bytes through the proxy, both ways together.
        bytes: u64,
    },
    /// End the lease or the proxy, or give up the question, now.
    Revoke {
        /// Whose.
        ticket: Id,
    },
    /// Be the client of an MCP server. Descriptors of one in a jail: the writing end of its standard
    /// input, then the reading ends of its standard output and error; of a remote one none. Answered
    /// with [`EgressToKeeper::Opened`] or [`EgressToKeeper::Gone`].
    Upstream {
        /// Names it from now on. A jailed server has the ticket of its jail.
        upstream: Id,
        /// Where it is, where it is not in a jail.
        remote: Option<Remote>,
        /// What it is spoken to in first: what it speaks, where that is known, or what its client
        /// speaks. It is asked else.
        era: Option<Era>,
        /// How much it may do.
        limits: UpstreamLimits,
        /// What it may ask the agent for.
        allow: Passing,
    },
    /// Ask an open upstream. Blob: the raw `params`. Answered with [`EgressToKeeper::Got`].
    Put {
        /// Whom.
        upstream: Id,
        /// Names the question; single use.
        ticket: Id,
        /// What.
        method: String,
        /// The agent wants to hear of progress.
        progress: bool,
        /// Milliseconds until the question is given up.
        wall_ms: u64,
        /// It changes nothing, so that it may be made again where a connection breaks before anything
        /// of an answer came.
        repeatable: bool,
        /// Headers `Mcp-Param-…` for a remote server of the stateless era: the part of the name behind
        /// that, and the argument as text. At most [`super::MIRRORED_MAX`] bytes in all.
        headers: Vec<(String, String)>,
    },
    /// An agent's answer to [`EgressToKeeper::Asks`]. Blob: the raw result, or the raw error.
    Reply {
        /// Who asked.
        upstream: Id,
        /// What.
        ask: u64,
        /// It is a result.
        ok: bool,
    },
    /// End it: its pipes or connections are closed.
    Close {
        /// Whom.
        upstream: Id,
    },
}

/// Where a remote MCP server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// The endpoint, `https` or `http`, without a query of its own.
    pub url: String,
    /// Networks (CIDR) its address may be in although they are private.
    #[serde(default)]
    pub private: Vec<String>,
    /// SHA-256 of the server certificate (DER), lower-case hex; replaces chain validation.
    #[serde(default)]
    pub pin_sha256: Option<String>,
    /// Headers of every request, from the connector's secret slots.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// How much one upstream may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamLimits {
    /// Milliseconds from its start until it has said what it offers.
    pub start_ms: u64,
    /// Questions at a time.
    pub in_flight: u32,
    /// Tools, resources, resource templates and prompts, each.
    pub items: u32,
    /// Notifications a second that are passed on; more are dropped, and far more end it.
    pub notices: u32,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            start_ms: 30_000,
            in_flight: 32,
            items: 1_000,
            notices: 100,
        }
    }
}

/// What a server may ask of the agent it works for. Nothing unless an operator allows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passing {
    /// Text from the agent's model.
    pub sampling: bool,
    /// Input from the agent's user.
    pub elicitation: bool,
    /// The agent's directories.
    pub roots: bool,
}

/// One kind of what a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offer {
    /// `tools/list`.
    Tools,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
    /// `prompts/list`.
    Prompts,
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Got {
    /// The server's result.
    Result,
    /// The server's error.
    Error,
    /// Nothing: the question was never sent.
    Refused(Unasked),
    /// Nothing in time; the server may have done it.
    TimedOut,
    /// Nothing: the keeper gave it up; the server may have done it.
    Cancelled,
    /// Nothing: the server, or the way to it, is gone; it may have done it.
    Lost,
}

/// Why a question was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unasked {
    /// The upstream is not open.
    NotOpen,
    /// Too many are under way, or the server does not read.
    Busy,
    /// Egress does not carry that method, or the ticket is not a new one.
    NotCarried,
}

/// Most characters of [`EgressToKeeper::Gone::words`].
pub const WORDS_MAX: usize = 4096;

/// Egress to keeper: what the network saw, for the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EgressToKeeper {
    /// The lease ended; every connection it made, in order.
    Closed {
        /// Whose lease.
        ticket: Id,
        /// One line a hop.
        hops: Vec<Hop>,
    },
    /// An upstream can be asked. Blob: one JSON object, `{"hello": …, "tools": […],
    /// "resources": […], "templates": […], "prompts": […]}`, where `hello` is its raw answer to
    /// `server/discover` or `initialize` and each item is as the server sent it.
    Opened {
        /// Whom it is about.
        upstream: Id,
        /// What it speaks.
        era: Era,
        /// The protocol version.
        version: String,
    },
    /// The server said that this has changed, and was asked again. Blob: the JSON array.
    Changed {
        /// Whose.
        upstream: Id,
        /// What.
        what: Offer,
    },
    /// The answer to [`KeeperToEgress::Put`]. Blob: the raw result or error, where there is one.
    Got {
        /// Of which question.
        ticket: Id,
        /// What came of it.
        got: Got,
        /// Requests that were made for it, in order; none where the server has pipes.
        hops: Vec<Hop>,
    },
    /// Requests to a remote server that were made for no question: its beginning, its lists, its
    /// streams and its end. Told before [`EgressToKeeper::Gone`].
    Hops {
        /// To whom.
        upstream: Id,
        /// One line a request, in the order of their beginning.
        hops: Vec<Hop>,
    },
    /// A notification. Blob: its raw `params`. The progress token in it is egress' own.
    Notice {
        /// From whom.
        upstream: Id,
        /// The question it is about, where it is about one.
        ticket: Option<Id>,
        /// What it is.
        method: String,
    },
    /// A server of the session era asks the agent. Blob: the raw `params`.
    Asks {
        /// Who.
        upstream: Id,
        /// Given back in [`KeeperToEgress::Reply`].
        ask: u64,
        /// A question that is under way.
        ticket: Id,
        /// `sampling/createMessage`, `elicitation/create` or `roots/list`.
        method: String,
    },
    /// An upstream is over; every question it had was answered with [`EgressToKeeper::Got`] before.
    Gone {
        /// Whom it is about.
        upstream: Id,
        /// Why, for an operator; what of it is the server's is escaped. At most 512 characters.
        why: String,
        /// The end of what it wrote to its standard error, escaped; at most [`WORDS_MAX`]
        /// characters.
        words: String,
        /// It went of its own.
        ended: bool,
        /// It said nothing at all. Some servers end where they are asked for their era.
        mute: bool,
    },
}

/// One request that egress made or refused under a lease, or one connection of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Method and URL without user info, query and fragment; of a tunnel `CONNECT host:port`.
    pub target: String,
    /// The address dialled, where one was.
    pub address: Option<String>,
    /// HTTP status, where one came: the server's, or the proxy's own where it refused.
    pub status: Option<u16>,
    /// Why it was refused or failed, where it was.
    pub fault: Option<String>,
    /// Response body bytes; of a proxy's connection all bytes, both ways.
    pub bytes: u64,
}
