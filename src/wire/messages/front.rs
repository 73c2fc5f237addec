//! Between front and keeper.

use serde::{Deserialize, Serialize};

/// The two ways in which MCP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Era {
    /// Revisions up to 2025-11-25: `initialize`, then a session.
    Session,
    /// Revision 2026-07-28: every request stands for itself.
    Stateless,
}

/// What of an agent's may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Its tools.
    Tools,
    /// Its resources.
    Resources,
    /// Its prompts.
    Prompts,
}

/// Front to keeper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrontToKeeper {
    /// A `tools/call`. Blob: the raw JSON object of the other members of `params` that mean
    /// something (`_meta` without its `progressToken`, `inputResponses`, `requestState`), where
    /// there are any; then the raw bytes of `arguments` (`{}` where absent).
    Open {
        /// Chosen by the front, given back in the answer.
        id: u64,
        /// Who proved to be it.
        agent: String,
        /// Tool name on the wire, for example `file__read`.
        tool: String,
        /// What the client says of itself (`clientInfo`), at most 256 bytes; a label, never an identity.
        client: String,
        /// How it speaks.
        era: Era,
        /// Bytes of the blob before the arguments, at most [`super::EXTRA_MAX`].
        extra: usize,
        /// The headers `Mcp-Param-…` that came with it, where it came over HTTP in the stateless
        /// era: name in lower case and decoded text, none where that is none. At most
        /// [`super::MIRRORED_MAX`] bytes in all.
        mirrored: Option<Vec<(String, Option<String>)>>,
        /// It wants to hear of progress.
        progress: bool,
    },
    /// Any other question that is not the front's own to answer. Blob: its raw `params` (`{}` where
    /// absent), at most [`super::ARGUMENTS_MAX`].
    Ask {
        /// Chosen by the front, given back in the answer.
        id: u64,
        /// Who proved to be it.
        agent: String,
        /// What the client says of itself; a label.
        client: String,
        /// How it speaks.
        era: Era,
        /// MCP's name of the method.
        method: String,
        /// It wants to hear of progress.
        progress: bool,
    },
    /// A `tools/list`.
    List {
        /// Chosen by the front, given back in the answer.
        id: u64,
        /// Whose list.
        agent: String,
        /// How it speaks.
        era: Era,
    },
    /// The agent does not want the answer to this question any more, or no more news of this
    /// subscription. What became of it is recorded all the same.
    Cancel {
        /// Of the question.
        id: u64,
        /// The agent said so; otherwise it is only gone.
        meant: bool,
    },
    /// The answer to this call of the stateless era was written out to the agent in whole.
    Delivered {
        /// Of the question.
        id: u64,
    },
    /// A client's answer to [`KeeperToFront::Ask`]. Blob: the raw result, or the raw error, at most
    /// [`super::ARGUMENTS_MAX`].
    Said {
        /// Who proved to be it.
        agent: String,
        /// From the question.
        ask: u64,
        /// It is a result.
        ok: bool,
    },
    /// A connection of this agent begins.
    Came {
        /// Who proved to be it.
        agent: String,
    },
    /// Bytes that are no call: worth an entry.
    Malformed {
        /// Who proved to be it; `-` where nobody did.
        agent: String,
        /// What was wrong, at most 256 bytes, made by the front and holding no payload.
        why: String,
    },
}

/// Keeper to front.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperToFront {
    /// Blob: the JSON array of `Tool` objects the agent may see.
    Listed {
        /// From the question.
        id: u64,
    },
    /// Blob: the complete result object as JSON.
    Answer {
        /// From the question.
        id: u64,
    },
    /// A JSON-RPC error. Blob: its `data` as JSON, or nothing.
    Fault {
        /// From the question.
        id: u64,
        /// JSON-RPC error code.
        code: i64,
        /// What the agent may know.
        message: String,
    },
    /// News on the way to an answer (`notifications/progress`, `notifications/message`), or of no
    /// question. Blob: its raw `params`.
    Notice {
        /// Whose.
        agent: String,
        /// Of which question.
        id: Option<u64>,
        /// MCP's name of the notification.
        method: String,
    },
    /// A server asks the client of a question (session era only). Blob: the raw `params`.
    Ask {
        /// The question on whose way this is.
        id: u64,
        /// Given back in [`FrontToKeeper::Said`].
        ask: u64,
        /// MCP's name of the method.
        method: String,
    },
    /// What an agent sees now, as digests (SHA-256, hexadecimal): one that differs from what the
    /// front was told before, by this keeper or an earlier one, is news for its clients.
    Lists {
        /// Whose lists.
        agent: String,
        /// Of its tools.
        tools: String,
        /// Of its prompts.
        prompts: String,
        /// Of its resources and their templates.
        resources: String,
    },
    /// A server says that a list of the agent's has changed.
    Changed {
        /// Whose list.
        agent: String,
        /// Of what.
        what: What,
    },
    /// A resource has changed that the agent subscribed to.
    Updated {
        /// Whose resource.
        agent: String,
        /// Its URI.
        uri: String,
    },
}
