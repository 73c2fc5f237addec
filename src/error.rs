//! One error type for everything an operator may read: what was tried on what, why it failed, and
//! a hint how to mend it. Lower case, no full stop, user input in backticks, no Rust names.

use std::fmt;

/// Result with Keepgate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure this is; `cli::exit` maps it to the process' exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything without a code of its own.
    Other,
    /// The command line or a file the user wrote is wrong.
    Usage,
    /// It works, but with less protection than asked for.
    Degraded,
    /// Policy or identity forbids it.
    Denied,
    /// A person has to decide first.
    Pending,
    /// The log, or a copy of it, is not what was written.
    Tampered,
    /// Keys are sealed.
    Sealed,
}

/// A failure somebody can act on.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error that says what was tried, on what, and why it failed.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Other,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// The same with a kind of its own.
    pub fn of(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            ..Self::new(message)
        }
    }

    /// Adds how to mend it, as a sentence or a command.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Replaces the kind.
    #[must_use]
    pub fn kind_is(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Keeps the error below.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was tried and why it failed, without the hint: one line.
    pub fn message(&self) -> String {
        let mut text = self.message.clone();
        let mut below: Option<&(dyn std::error::Error + 'static)> =
            self.source.as_deref().map(|source| source as _);
        while let Some(source) = below {
            text.push_str(": ");
            text.push_str(&source.to_string());
            below = source.source();
        }
        text
    }

    /// What kind of answer the system gave, where the failure came from there.
    pub fn io_kind(&self) -> Option<std::io::ErrorKind> {
        let io = self.source.as_deref()?.downcast_ref::<std::io::Error>()?;
        Some(io.kind())
    }

    /// How to mend it.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for Error {}

/// Adds what was tried to a lower error.
pub trait Context<T> {
    /// `what` names the attempt and its object, for example "open `/etc/keepgate.toml`".
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::new(what()).because(source))
    }
}
