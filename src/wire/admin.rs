//! The operator's protocol: one JSON object a line over the plane's admin socket, one answer a
//! question. Who may ask is decided by the socket's owner and mode, the peer's uid, and where all
//! roles share one uid also by the operator's token.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::id::Id;
use crate::error::{Error, Kind};
use crate::wire::messages::Proof;

/// Version of the protocol.
pub const VERSION: u8 = 1;
/// Longest question or answer line, in bytes.
pub const LINE_MAX: usize = 8 << 20;

/// One question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// [`VERSION`].
    pub v: u8,
    /// The operator's token, where all roles share one uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// What is asked.
    pub ask: Ask,
}

/// The operator's token. Its text never shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What an operator can ask of a keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb", deny_unknown_fields)]
pub enum Ask {
    /// State of the plane.
    Status,
    /// Enrol an agent; answered once its socket listens.
    AgentAdd {
        /// Its name: `[a-z0-9][a-z0-9-]{0,31}`.
        name: String,
        /// How it proves who it is.
        proof: Proof,
        /// Wire names or globs of tools it sees; empty means all that policy may allow.
        #[serde(default)]
        tools: Vec<String>,
    },
    /// All enrolled agents.
    AgentList,
    /// Remove an agent: its connections end now.
    AgentRevoke {
        /// Its name.
        name: String,
    },
    /// Put a policy in force.
    PolicyApply {
        /// Cedar text.
        text: String,
        /// Name of the file it came from, for messages.
        file: String,
    },
    /// Validate a policy and change nothing.
    PolicyCheck {
        /// Cedar text.
        text: String,
        /// Name of the file it came from, for messages.
        file: String,
    },
    /// The policy in force, and the schema it is checked against.
    PolicyShow,
    /// What would be decided, or why something was: of a logged call, or of a made-up one.
    PolicyExplain {
        /// What is explained.
        about: Explained,
    },
    /// Show or set the mode.
    Mode {
        /// The mode wanted; nothing only shows it.
        set: Option<Mode>,
    },
    /// Take back a call.
    Undo {
        /// Sequence number of the call's intent.
        seq: u64,
        /// Do it; otherwise only show what would happen.
        really: bool,
    },
    /// Entries of the log, from the index, oldest first.
    Query {
        /// Which.
        filter: Filter,
    },
    /// Drop the index and build it again from the log.
    RebuildIndex,
    /// Make a new log key; the old one signs the change.
    RotateLogKey,
}

/// What `policy explain` is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by", deny_unknown_fields)]
pub enum Explained {
    /// An entry of the log.
    Seq {
        /// Its sequence number.
        seq: u64,
    },
    /// The request id an agent was told.
    Request {
        /// The id.
        id: Id,
    },
    /// A call nobody has made.
    Call {
        /// Agent's name.
        agent: String,
        /// Tool: `file.read` or `file__read`.
        tool: String,
        /// Its arguments.
        arguments: Value,
    },
}

/// Whether effects happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Effects are shown, not made.
    Rehearse,
    /// Effects are made.
    Live,
}

impl Mode {
    /// The word used everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rehearse => "rehearse",
            Self::Live => "live",
        }
    }
}

/// Which entries of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this tool (`file.read`), or of tools beginning so with a trailing `*`.
    pub tool: Option<String>,
    /// Of this kind (`call.intent`), or of kinds beginning so with a trailing `*`.
    pub kind: Option<String>,
    /// With this request id.
    pub request: Option<String>,
    /// Not before this RFC 3339 time.
    pub since: Option<String>,
    /// Before this RFC 3339 time.
    pub until: Option<String>,
    /// Only entries with a greater sequence number.
    pub after: Option<u64>,
    /// At most so many (at most 1000; default 100): the newest ones, unless `after` is given.
    pub limit: Option<u32>,
}

/// The answer to one question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// Done.
    Ok {
        /// What was asked for; its shape depends on the verb.
        value: Value,
    },
    /// Not done; nothing has changed.
    Error {
        /// Exit-code kind: `other`, `usage`, `degraded`, `denied`, `pending`, `tampered`, `sealed`.
        kind: String,
        /// What, where, why.
        message: String,
        /// How to mend it.
        hint: Option<String>,
    },
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::Other, "other"),
    (Kind::Usage, "usage"),
    (Kind::Degraded, "degraded"),
    (Kind::Denied, "denied"),
    (Kind::Pending, "pending"),
    (Kind::Tampered, "tampered"),
    (Kind::Sealed, "sealed"),
];

impl From<Result<Value, Error>> for Answer {
    fn from(result: Result<Value, Error>) -> Self {
        match result {
            Ok(value) => Self::Ok { value },
            Err(error) => {
                let kind = KINDS.iter().find(|(kind, _)| *kind == error.kind());
                Self::Error {
                    kind: kind.map_or("other", |(_, name)| name).into(),
                    message: error.message(),
                    hint: error.hint_text().map(Into::into),
                }
            }
        }
    }
}

impl From<Answer> for Result<Value, Error> {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Ok { value } => Ok(value),
            Answer::Error {
                kind,
                message,
                hint,
            } => {
                let kind = KINDS.iter().find(|(_, name)| *name == kind);
                let error = Error::of(kind.map_or(Kind::Other, |(kind, _)| *kind), message);
                Err(match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
        }
    }
}
