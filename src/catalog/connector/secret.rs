//! Secret slots: the named places in a connector where a key is needed. A manifest says where a key
//! goes, never what it is.

use serde::{Deserialize, Serialize};

/// One place where a key is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// Where it goes.
    pub place: Placing,
    /// The connector does not start without it.
    pub required: bool,
    /// What it is, for people.
    pub about: Option<String>,
}

/// Where a key goes. All but [`Placing::Env`] are of requests that egress itself sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Placing {
    /// Into a header.
    Header {
        /// Its name, lower case.
        name: String,
        /// What comes before the key, such as `Bearer `.
        prefix: String,
    },
    /// Into a parameter of the URL's query.
    Query {
        /// Its name.
        name: String,
    },
    /// Into the JSON body, by JSON pointer (RFC 6901).
    Body {
        /// The pointer.
        pointer: String,
    },
    /// As the password of HTTP's basic authentication.
    Basic {
        /// The user's name.
        user: String,
    },
    /// A variable of the jail's environment holds a placeholder, which egress replaces by the key in
    /// what goes to the allowed hosts: the server never sees it.
    Env {
        /// The variable.
        name: String,
    },
}

impl Placing {
    /// The key of the manifest that says so.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Header { .. } => "header",
            Self::Query { .. } => "query",
            Self::Body { .. } => "body",
            Self::Basic { .. } => "basic",
            Self::Env { .. } => "env",
        }
    }

    /// What is named there: a header, a parameter, a pointer, a user, a variable.
    pub fn at(&self) -> &str {
        match self {
            Self::Header { name, .. } | Self::Query { name } | Self::Env { name } => name,
            Self::Body { pointer } => pointer,
            Self::Basic { user } => user,
        }
    }
}
