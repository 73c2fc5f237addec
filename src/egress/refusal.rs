//! Why egress did not answer a request: one sentence for the agent, one for the log.

use crate::tools::order::Fault;

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    class: Class,
    detail: String,
}

/// The kinds of refusal, as the agent is told them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The jail asked for something else than the lease is for.
    NotLeased,
    /// The request cannot be sent as it is.
    BadRequest,
    /// No rule lets it out.
    HostNotAllowed,
    /// The server redirected to where no rule leads, or too often.
    RedirectRefused,
    /// The name has no address.
    NameNotResolved,
    /// The name's addresses may not be dialled.
    AddressRefused,
    /// Nobody answers there.
    ConnectFailed,
    /// The server is not who it should be, or speaks no TLS.
    TlsFailed,
    /// The response is no HTTP, or ended early.
    BadResponse,
    /// Time is up.
    TimedOut,
}

impl Refusal {
    /// A refusal; `detail` is for the log alone.
    pub(super) fn new(class: Class, detail: impl Into<String>) -> Self {
        Self {
            class,
            detail: detail.into(),
        }
    }

    /// Its kind.
    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// For the log.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// For the agent. What egress learned of the operator's network and rules is not in it; what is
    /// wrong with the agent's own request is. `acts`: the request may change something.
    pub(super) fn fault(&self, acts: bool) -> Fault {
        let (class, say) = self.class.words();
        match self.class {
            Class::BadResponse | Class::TimedOut if acts => Fault::new(
                class,
                format!("{say}; the request may have been carried out"),
            ),
            Class::BadRequest | Class::RedirectRefused => Fault::new(class, &*self.detail),
            Class::NotLeased
            | Class::HostNotAllowed
            | Class::NameNotResolved
            | Class::AddressRefused
            | Class::ConnectFailed
            | Class::TlsFailed
            | Class::BadResponse
            | Class::TimedOut => Fault::new(class, say),
        }
    }
}

impl Class {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NotLeased => ("not_leased", "this is not the request that was allowed"),
            Self::BadRequest => ("bad_request", "the request cannot be sent"),
            Self::HostNotAllowed => ("host_not_allowed", "no rule allows a request there"),
            Self::RedirectRefused => ("redirect_refused", "the server redirects elsewhere"),
            Self::NameNotResolved => ("name_not_resolved", "the host's name has no address"),
            Self::AddressRefused => ("address_refused", "the host's address is not public"),
            Self::ConnectFailed => ("connect_failed", "nobody answers at the host's address"),
            Self::TlsFailed => ("tls_failed", "no trusted connection to the host came about"),
            Self::BadResponse => ("bad_response", "the server's response is not proper HTTP"),
            Self::TimedOut => ("timed_out", "there was no complete response in time"),
        }
    }
}
