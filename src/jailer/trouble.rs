//! Why an order was not carried out: a class for the agent, a detail for the log.

use nix::errno::Errno;

use crate::wire::messages::JailFault;

/// Longest detail, in bytes.
const DETAIL_MAX: usize = 256;

/// An order that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The class.
    pub(super) fault: JailFault,
    /// What was tried and what the kernel said; no file content, no path.
    pub(super) detail: String,
}

impl Trouble {
    /// Of a class of its own.
    pub(super) fn new(fault: JailFault, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        let end = (0..=DETAIL_MAX)
            .rev()
            .find(|at| detail.is_char_boundary(*at))
            .unwrap_or(0);
        detail.truncate(end);
        Self { fault, detail }
    }

    /// Of the class that the answer of `call` means for a file beneath a root.
    pub(super) fn of(call: &str, errno: Errno) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "any other errno is just a failure"
        )]
        let fault = match errno {
            Errno::ENOENT => JailFault::NotFound,
            Errno::ENOTDIR | Errno::EISDIR | Errno::ENXIO | Errno::ENODEV => JailFault::WrongKind,
            Errno::EACCES | Errno::EPERM | Errno::EROFS => JailFault::NotPermitted,
            Errno::ELOOP | Errno::EXDEV => JailFault::Outside,
            Errno::EFBIG => JailFault::TooLarge,
            _ => JailFault::Failed,
        };
        Self::new(fault, format!("{call}: {}", errno.desc()))
    }

    /// A failure of no class.
    pub(super) fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::new(JailFault::Failed, format!("{what}: {error}"))
    }

    /// A program that never ran; `exec` is what `execve(2)` said, where it was that.
    pub(super) fn never_ran(why: String, exec: Option<i32>) -> Self {
        let errno = exec.map(Errno::from_raw);
        let fault = match errno {
            Some(Errno::ENOENT) => JailFault::NotFound,
            Some(Errno::ENOEXEC) => JailFault::WrongKind,
            Some(Errno::EACCES | Errno::EPERM) => JailFault::NotPermitted,
            _ => JailFault::Failed,
        };
        Self::new(fault, why)
    }

    /// The file is not what the keeper saw.
    pub(super) fn changed(what: &str) -> Self {
        Self::new(JailFault::Changed, what)
    }
}

/// Shortens `map_err(|errno| Trouble::of(call, errno))`.
pub(super) trait OrTrouble<T> {
    /// Names the call that failed.
    fn or_trouble(self, call: &str) -> Result<T, Trouble>;
}

impl<T> OrTrouble<T> for nix::Result<T> {
    fn or_trouble(self, call: &str) -> Result<T, Trouble> {
        self.map_err(|errno| Trouble::of(call, errno))
    }
}

impl<T> OrTrouble<T> for std::io::Result<T> {
    fn or_trouble(self, call: &str) -> Result<T, Trouble> {
        self.map_err(|error| match error.raw_os_error() {
            Some(number) => Trouble::of(call, Errno::from_raw(number)),
            None => Trouble::failed(call, error),
        })
    }
}
