//! What the operator writes down: where things are ([`Paths`]) and what the planes are
//! ([`Config`], the file `keepgate.toml`).
//!
//! The file is read strictly: an unknown word, a name with another form, a root that makes no
//! sense are errors with the line they are on. Reading touches nothing but the text;
//! [`Config::check`] then compares it with the host.
#![forbid(unsafe_code)]

mod agents;
mod check;
mod connectors;
mod listen;
mod name;
mod paths;
mod raw;
mod resolv;
mod starter;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

pub use agents::Agent;
pub use connectors::Use;
pub use listen::{Listen, Tls};
pub use name::{NAME_MAX, is_name};
pub use paths::{Paths, SOCKET_PATH_MAX, socket_fits};
pub use starter::{Starter, StarterRoot};

use crate::audit::quota::{Limits, RunLimits};
use crate::error::{Context, Error, Kind, Result};
use crate::wire::messages::HttpRule;
use crate::wire::text::escaped;

/// Longest configuration file, in bytes.
pub const CONFIG_MAX: u64 = 1 << 20;
/// Most planes of one appliance.
pub const PLANES_MAX: usize = 32;
/// uids set aside for each plane, from [`Appliance::uid_base`] on.
pub const UIDS_PER_PLANE: u32 = 8;
/// uids set aside for the jails of each plane, from [`Appliance::jail_uid_base`] on: one for each
/// that can run at a time.
pub const JAIL_UIDS_PER_PLANE: u32 = 128;
/// The plane that is meant where none is named.
pub const DEFAULT_PLANE: &str = "production";

/// Everything the operator has configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What all planes share.
    pub appliance: Appliance,
    /// The planes by name; at least one.
    pub planes: BTreeMap<String, Plane>,
}

/// The table `[appliance]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appliance {
    /// Name of this install: with a plane's name it is the origin of that plane's log.
    pub name: String,
    /// The uid that may give orders, besides root. Only where the supervisor is root.
    pub operator_uid: u32,
    /// First of the uids that roles run as; [`UIDS_PER_PLANE`] for each plane.
    pub uid_base: u32,
    /// First of the uids that jails run as; [`JAIL_UIDS_PER_PLANE`] for each plane.
    pub jail_uid_base: u32,
    /// Degradations the operator accepts, by name.
    pub accept: Vec<String>,
    /// DNS servers as `IP:port`; nothing means those of the host. See [`Config::resolvers`].
    pub resolvers: Option<Vec<String>>,
    /// Files with certificates (PEM) of the operator's own authorities.
    pub ca: Vec<PathBuf>,
    /// This install is a demonstration, and says so for ever.
    pub demo: bool,
}

/// One table `[planes.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    /// Nobody watches this plane's agents: what needs a person is refused at once.
    pub unattended: bool,
    /// System calls that its tools are refused are told, for `keepgate jail explain`; calls take a
    /// little longer, and the jailer is confined by less.
    pub observe: bool,
    /// Directories that file tools see, by name.
    pub roots: BTreeMap<String, Root>,
    /// Ways out for `http.request`.
    pub http: Vec<HttpRule>,
    /// Connectors that its agents use, by name.
    pub connectors: BTreeMap<String, Use>,
    /// What single agents may use, by their names.
    pub agents: BTreeMap<String, Agent>,
    /// TCP sockets on which agents speak MCP over HTTP, by name.
    pub listen: BTreeMap<String, Listen>,
    /// How much agents may do.
    pub quota: Quota,
}

/// One table `[planes.NAME.roots.ROOT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Absolute path of the directory.
    pub path: PathBuf,
    /// Tools may write beneath it.
    pub writable: bool,
    /// uid that files are opened as; nothing means the directory's owner.
    pub uid: Option<u32>,
    /// gid that files are opened as; nothing means the directory's group.
    pub gid: Option<u32>,
}

/// The table `[planes.NAME.quota]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Calls a minute of each agent.
    pub agent_calls_per_minute: u64,
    /// Calls a minute of all agents of the plane together.
    pub plane_calls_per_minute: u64,
    /// Bytes a day that each agent may cause in the log.
    pub agent_log_bytes_per_day: u64,
    /// Bytes a day that all agents together may cause in the log.
    pub plane_log_bytes_per_day: u64,
    /// What one run of each agent may use.
    pub run: RunLimits,
}

impl Default for Appliance {
    fn default() -> Self {
        Self {
            name: "keepgate".into(),
            operator_uid: 0,
            uid_base: 64_100,
            // A range that systemd's documentation of uids says nobody uses.
            jail_uid_base: 1_879_048_192,
            accept: Vec::new(),
            resolvers: None,
            ca: Vec::new(),
            demo: false,
        }
    }
}

impl Default for Plane {
    /// No roots and no way out.
    fn default() -> Self {
        let quota = Quota::default();
        Self {
            unattended: true,
            observe: false,
            roots: BTreeMap::new(),
            http: Vec::new(),
            connectors: BTreeMap::new(),
            agents: BTreeMap::new(),
            listen: BTreeMap::new(),
            quota,
        }
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            agent_calls_per_minute: 600,
            plane_calls_per_minute: 3_000,
            agent_log_bytes_per_day: 1 << 30,
            plane_log_bytes_per_day: 4 << 30,
            run: RunLimits::default(),
        }
    }
}

impl Quota {
    /// Limits of each agent.
    pub fn agent(&self) -> Limits {
        Limits {
            entries_per_minute: self.agent_calls_per_minute,
            bytes_per_day: self.agent_log_bytes_per_day,
        }
    }

    /// Limits of the whole plane.
    pub fn plane(&self) -> Limits {
        Limits {
            entries_per_minute: self.plane_calls_per_minute,
            bytes_per_day: self.plane_log_bytes_per_day,
        }
    }
}

impl Default for Config {
    /// The planes `production` and `public`, with nothing in them.
    fn default() -> Self {
        let plane = |name: &str| (name.to_owned(), Plane::default());
        let planes = [plane(DEFAULT_PLANE), plane("public")].into();
        Self {
            appliance: Appliance::default(),
            planes,
        }
    }
}

impl Config {
    /// Reads and parses the file `path`.
    ///
    /// # Errors
    /// Fails where it cannot be read, and, as kind usage with line and hint, where it is wrong.
    pub fn load(path: &Path) -> Result<Self> {
        let shown = escaped(&path.to_string_lossy());
        Self::find(path)?.ok_or_else(|| {
            Error::of(
                Kind::Usage,
                format!("there is no configuration at `{shown}`"),
            )
            .hint("`keepgate init` makes one; `--dir` or KEEPGATE_DIR says where it is")
        })
    }

    /// As [`Config::load`], but nothing where there is no file, or this user may not read it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn find(path: &Path) -> Result<Option<Self>> {
        let shown = escaped(&path.to_string_lossy());
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::PermissionDenied
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error).context(|| format!("open `{shown}`")),
        };
        let mut bytes = Vec::new();
        file.take(CONFIG_MAX + 1)
            .read_to_end(&mut bytes)
            .context(|| format!("read `{shown}`"))?;
        Self::parse_bytes(&bytes, &shown).map(Some)
    }

    /// As [`Config::parse`], of bytes that may be anything; what a fuzzer calls.
    ///
    /// # Errors
    /// As [`Config::parse`], and where the bytes are longer than [`CONFIG_MAX`] or not UTF-8.
    pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |what: &str| Error::of(Kind::Usage, format!("`{file}` {what}"));
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > CONFIG_MAX {
            return Err(wrong(&format!("is longer than {CONFIG_MAX} bytes")));
        }
        let text = str::from_utf8(bytes)
            .map_err(|at| wrong(&format!("is not UTF-8 text (byte {})", at.valid_up_to())))?;
        Self::parse(text, file)
    }

    /// Parses `text`; `file` is its name in errors. Looks at the text only, never at the host.
    ///
    /// # Errors
    /// Kind usage with file, line, what is wrong and a hint.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        raw::parse(text, file)
    }

    /// Compares the configuration with the host before serving: roots exist, are directories, and
    /// are apart from Keepgate's own files and from each other.
    ///
    /// # Errors
    /// Kind usage, naming plane and root.
    pub fn check(&self, paths: &Paths) -> Result<()> {
        check::host(self, paths)
    }

    /// The DNS servers to ask, as `IP:port`: the configured ones, else those of the host's
    /// `/etc/resolv.conf`. Empty where there are none.
    pub fn resolvers(&self) -> Vec<String> {
        self.appliance
            .resolvers
            .clone()
            .unwrap_or_else(resolv::of_host)
    }

    /// The plane meant where none is named: `production`, or else the first one.
    pub fn default_plane(&self) -> &str {
        let first = self.planes.keys().next();
        match self.planes.contains_key(DEFAULT_PLANE) {
            true => DEFAULT_PLANE,
            false => first.map_or(DEFAULT_PLANE, String::as_str),
        }
    }

    /// The uids that jails run as, which nobody else may have. Only where the supervisor is root.
    pub fn jail_uids(&self) -> std::ops::Range<u32> {
        let planes = u32::try_from(self.planes.len()).unwrap_or(u32::MAX);
        let first = self.appliance.jail_uid_base;
        first..first.saturating_add(planes.saturating_mul(JAIL_UIDS_PER_PLANE))
    }

    /// The uids that Keepgate's own roles run as, which nobody else may have. Only where the
    /// supervisor is root.
    pub fn role_uids(&self) -> std::ops::Range<u32> {
        let planes = u32::try_from(self.planes.len()).unwrap_or(u32::MAX);
        let first = self.appliance.uid_base;
        first..first.saturating_add(planes.saturating_mul(UIDS_PER_PLANE))
    }
}
