//! What one jail is: its class, what it sees, where it may go, how much it may use. A manifest is
//! data an operator approved; nothing an agent or a tool says becomes part of one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How much of a system a jail has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Keepgate's own tools, and static programs that need no more than they do: an empty root, the
    /// strict list of system calls, the descriptors it was handed.
    Native,
    /// Any static program: as native, with threads and the rest of a common runtime.
    NativeGeneric,
    /// Interpreters, MCP servers, scripts: a read-only view of named paths, a private `/tmp`,
    /// `/proc` of its own, a network of its own with nothing but a loopback.
    Foreign,
}

impl Class {
    /// Its name on the command line, in manifests and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::NativeGeneric => "native-generic",
            Self::Foreign => "foreign",
        }
    }
}

/// One way out of a jail, by name: what its proxy lets through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// Host name in lower case without a trailing dot, or an IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Networks (CIDR) its address may be in although they are private.
    #[serde(default)]
    pub private: Vec<String>,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How much a jail may use. All limits are hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantities {
    /// Wall-clock milliseconds.
    pub wall_ms: u64,
    /// Seconds of CPU time of one process. Of a jail that lasts: a reserve of all its processes together,
    /// which comes back while its server answers (`jailer::reserve`).
    pub cpu_s: u64,
    /// Bytes of memory: of the jail where there is a memory controller, of each process otherwise.
    pub memory: u64,
    /// Processes and threads at a time.
    pub processes: u64,
    /// Descriptors of one process.
    pub descriptors: u64,
    /// Bytes of the largest file written.
    pub file: u64,
    /// Bytes of all private files together (`/tmp`, `/dev/shm`).
    pub tmp: u64,
    /// Bytes of standard output and error together, counted outside.
    pub output: u64,
    /// Bytes through the proxy, both ways together.
    pub net: u64,
}

/// What one jail is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name, for entries and errors.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// Absolute paths it sees, read-only; symbolic links among them are shown as links.
    pub ro: Vec<PathBuf>,
    /// Absolute paths of directories it sees and may change.
    pub rw: Vec<PathBuf>,
    /// Its environment, beyond `PATH`, `HOME`, `TMPDIR`, `LANG` and the proxy's variables.
    pub env: BTreeMap<String, String>,
    /// Its working directory; `/tmp` where nothing is said.
    pub dir: Option<PathBuf>,
    /// Where its proxy lets it go; empty means no proxy and no way out.
    pub net: Vec<Destination>,
    /// It may listen and connect on its own loopback beside the proxy, and on unix sockets; nothing
    /// that it is shown holds one when it starts.
    pub loopback: bool,
    /// It sees all of `/proc`, not its own processes only.
    pub whole_proc: bool,
    /// Denied system calls are observed and told. Always so in foreign jails.
    pub observe: bool,
    /// How much it may use.
    pub limits: Quantities,
}

impl Manifest {
    /// A manifest of `class` that allows no more than that class always has.
    pub fn of(class: Class) -> Self {
        let foreign = class == Class::Foreign;
        Self {
            name: class.name().into(),
            class,
            ro: Vec::new(),
            rw: Vec::new(),
            env: BTreeMap::new(),
            dir: None,
            net: Vec::new(),
            loopback: false,
            whole_proc: false,
            observe: foreign,
            limits: Quantities {
                wall_ms: 60_000,
                cpu_s: 60,
                memory: 512 << 20,
                processes: match class {
                    Class::Native => 0,
                    Class::NativeGeneric | Class::Foreign => 128,
                },
                descriptors: if foreign { 1024 } else { 64 },
                file: 64 << 20,
                tmp: 64 << 20,
                output: 16 << 20,
                net: 64 << 20,
            },
        }
    }
}
