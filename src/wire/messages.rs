//! What the roles say to each other. One enum a direction; anything long (arguments, results)
//! travels as the frame's blob, descriptors beside it. Field order and names are internal: both
//! ends are the same binary.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::Destination;
use crate::call::id::Id;
use crate::error::Error;
use crate::time::Timestamp;

/// Longest argument object of a call, in bytes.
pub const ARGUMENTS_MAX: usize = 1 << 20;
/// Longest result of a call, in bytes.
pub const RESULT_MAX: usize = 4 << 20;

/// Longest raw JSON of the other members of a call's `params` that are passed on, in bytes.
pub const EXTRA_MAX: usize = 32 << 10;
/// Longest names and texts of headers that are passed on with a call, in bytes.
pub const MIRRORED_MAX: usize = 8 << 10;
/// Longest blob from the front: what is beside a call's arguments, and they.
pub const ASKED_MAX: usize = ARGUMENTS_MAX + EXTRA_MAX;

/// Permission bits of a file that a tool makes anew.
pub const NEW_FILE_MODE: u32 = 0o640;

/// Agents of one plane at most.
pub const AGENTS_MAX: usize = 500;

/// The names of roles a supervisor starts in each plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Keys, policy, log, decisions.
    Keeper,
    /// Starts jails and opens files beneath the operator's roots.
    Jailer,
    /// Speaks MCP with agents.
    Front,
    /// Speaks with the network, as open tickets allow.
    Egress,
}

impl Role {
    /// All roles, in the order they are started.
    pub const ALL: [Self; 4] = [Self::Jailer, Self::Egress, Self::Keeper, Self::Front];

    /// The role's name in process lists, logs and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keeper => "keeper",
            Self::Jailer => "jailer",
            Self::Front => "front",
            Self::Egress => "egress",
        }
    }
}

/// Supervisor to any role, on its control descriptor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// First message: everything the role may know. Blob: the role's set-up as JSON.
    Setup,
    /// One end of a socket pair to a peer role comes with it, at start and after each restart of
    /// either side. The old link, if any, is dead.
    Link {
        /// Who holds the other end.
        peer: Role,
    },
    /// To front: a listening unix socket comes with it; every connection on it is `agent`.
    Listen {
        /// The enrolled agent.
        agent: String,
        /// The only uid that may connect (`SO_PEERCRED`).
        uid: u32,
    },
    /// To front: whoever proves this over HTTP is `agent`.
    Admit {
        /// The enrolled agent.
        agent: String,
        /// How it proves who it is; never a uid.
        proof: Proof,
    },
    /// To front: a listening TCP socket comes with it. Blob: a [`Door`] as JSON.
    Door,
    /// To front: close the listener and the connections of `agent`, and forget its proof.
    Unlisten {
        /// The revoked agent.
        agent: String,
    },
    /// To keeper: the agents that can connect now.
    Listening {
        /// Their names.
        agents: Vec<String>,
    },
    /// To keeper: what an agent of this host is. Blob: a [`Looked`] as JSON.
    Looked {
        /// Which.
        agent: String,
    },
    /// Stop in order: no new calls, finish or end those in flight.
    Stop,
}

/// Any role to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Set-up and confinement are complete; the role serves.
    Ready,
    /// The role refuses to serve: it exits after this, or stays and refuses every order.
    Unfit {
        /// Why, for `status` and the operator.
        why: String,
        /// What mends it, where that is known.
        hint: Option<String>,
    },
    /// From jailer, before it is ready: it serves, but for these foreign manifests. A jailer that is
    /// started again looks at them anew.
    Partly {
        /// Their names; the first of them, where they are very many.
        manifests: Vec<String>,
    },
    /// From front: from now on whoever proves it is this agent ([`Control::Admit`] was obeyed).
    Admitted {
        /// Its name.
        agent: String,
    },
    /// From keeper: agents enrolled at this moment. The supervisor makes the missing listeners and
    /// removes the others.
    Agents {
        /// Name and proof of each.
        agents: Vec<(String, Proof)>,
    },
    /// From keeper: look at what this agent is made of; [`Control::Looked`] answers where its
    /// configuration says what that is.
    Look {
        /// Its name.
        agent: String,
    },
}

/// Longest [`Looked`] as JSON, in bytes.
pub const LOOKED_MAX: usize = 64 << 10;

/// What an agent of this host is, compared with what was pinned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Looked {
    /// What was pinned; nothing where nothing was.
    pub pinned: Option<PinnedRuntime>,
    /// Why it is not that; nothing where it is.
    pub why: Option<String>,
    /// What mends it.
    pub hint: Option<String>,
    /// What changed, as far as it is told.
    pub changes: Vec<Value>,
}

/// What was pinned of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedRuntime {
    /// Names this pin.
    pub digest: String,
    /// Who pinned it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The models it asks, by name.
    pub models: Vec<String>,
}

impl Looked {
    /// It is what was pinned.
    pub fn same(pinned: PinnedRuntime) -> Self {
        Self {
            pinned: Some(pinned),
            why: None,
            hint: None,
            changes: Vec::new(),
        }
    }

    /// It is not, or that cannot be known.
    pub fn unlike(pinned: Option<PinnedRuntime>, error: Error, changes: Vec<Value>) -> Self {
        Self {
            pinned,
            why: Some(error.message()),
            hint: error.hint_text().map(str::to_owned),
            changes,
        }
    }
}

/// How an agent proves who it is. One agent has one proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// It runs as this uid (`SO_PEERCRED` of its own unix socket).
    Uid(u32),
    /// It shows a token over HTTP, on this host.
    Token(Token),
    /// It shows a certificate over TLS, and signs with its key.
    Certificate(Certificate),
}

impl Proof {
    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Uid(_) => "uid",
            Self::Token(_) => "token",
            Self::Certificate(_) => "certificate",
        }
    }
}

/// What is known of an agent's token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// SHA-256 of its text, lower-case hex.
    pub sha256: String,
}

/// What is known of an agent's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// SHA-256 of its DER, lower-case hex.
    pub sha256: String,
    /// Not valid before this time, in seconds since 1970.
    pub from: i64,
    /// Not valid after this time, in seconds since 1970.
    pub until: i64,
}

/// Most [`Door`]s of a plane.
pub const DOORS_MAX: usize = 8;
/// Longest [`Door`] as JSON, in bytes: a chain of certificates, names and a key.
pub const DOOR_MAX: usize = 256 << 10;

/// A TCP socket on which agents speak MCP over HTTP, and under which names it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Door {
    /// Its name in the configuration.
    pub name: String,
    /// What `Host` may say, in lower case; a name without a port stands for every port.
    pub hosts: Vec<String>,
    /// What `Origin` may say, in lower case.
    pub origins: Vec<String>,
    /// Certificates are asked for in place of tokens, and these are its own.
    pub tls: Option<DoorTls>,
}

/// A door's own certificate and key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorTls {
    /// Its chain of certificates, PEM.
    pub chain: String,
    /// Its private key, PEM.
    pub key: String,
}

impl std::fmt::Debug for DoorTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DoorTls(..)")
    }
}

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
        /// Bytes of the blob before the arguments, at most [`EXTRA_MAX`].
        extra: usize,
        /// The headers `Mcp-Param-…` that came with it, where it came over HTTP in the stateless
        /// era: name in lower case and decoded text, none where that is none. At most
        /// [`MIRRORED_MAX`] bytes in all.
        mirrored: Option<Vec<(String, Option<String>)>>,
        /// It wants to hear of progress.
        progress: bool,
    },
    /// Any other question that is not the front's own to answer. Blob: its raw `params` (`{}` where
    /// absent), at most [`ARGUMENTS_MAX`].
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
    /// [`ARGUMENTS_MAX`].
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

/// How a file beneath a root is handed to a jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenAs {
    /// A regular file, read-only.
    Read,
    /// A directory, read-only.
    Directory,
    /// A regular file read-only if it exists (else an empty one), and an unnamed new file
    /// (`O_TMPFILE`) in the same directory, write-only: two descriptors, in this order.
    Replace,
}

/// A file the keeper wants a jail to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOrder {
    /// Absolute path of the operator's root.
    pub root: String,
    /// Path beneath it: relative, no `..`, no empty part, no NUL, at most 4096 bytes.
    pub path: String,
    /// Descriptors wanted.
    pub open: OpenAs,
    /// Filesystem uid for the opens, where the jailer may change it.
    pub uid: Option<u32>,
    /// Filesystem gid for the opens, where the jailer may change it.
    pub gid: Option<u32>,
}

/// Limits of one jail. All are hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall-clock time in milliseconds.
    pub wall_ms: u64,
    /// CPU time in seconds (`RLIMIT_CPU`).
    pub cpu_s: u64,
    /// Address space of each process (`RLIMIT_AS`), and memory of all of them (`memory.max`), in
    /// bytes.
    pub memory: u64,
    /// Largest file written, in bytes (`RLIMIT_FSIZE`).
    pub file: u64,
}

/// What a file was when the keeper looked: the precondition of a write and of its undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum FileState {
    /// Nothing has that name; its directory exists.
    Absent,
    /// A regular file with this content.
    Present {
        /// Bytes.
        len: u64,
        /// SHA-256 of the content, lower-case hex.
        sha256: String,
        /// Permission bits.
        mode: u32,
    },
}

/// Why the jailer did not do what an order asked; never holds file content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JailFault {
    /// The path does not exist.
    NotFound,
    /// It exists, but is not a file or directory of the wanted kind.
    WrongKind,
    /// The root's uid may not open it.
    NotPermitted,
    /// The path leaves the root, or goes through a symbolic link.
    Outside,
    /// The file is not what it was when the keeper looked.
    Changed,
    /// Larger than the keeper's limit.
    TooLarge,
    /// A change was neither made nor taken back: content stays where the detail says, and a person
    /// has to look.
    Stuck,
    /// Anything else; the detail says what.
    Failed,
}

/// Keeper to jailer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperToJailer {
    /// Start a native tool. Descriptors: standard input, standard output, standard error, and with
    /// `stream` one connected stream. The jail has them as 0, 1, 2, then the stream, then `files`.
    Spawn {
        /// The single-use permission this serves.
        ticket: Id,
        /// Internal tool name, for example `file.read`.
        tool: String,
        /// Hard limits.
        limits: Limits,
        /// Files to open beneath roots.
        files: Vec<FileOrder>,
        /// A stream to egress is among the descriptors.
        stream: bool,
    },
    /// Run a program under a manifest of the set-up. Descriptors: standard input, output and error;
    /// for the native classes then the program, a sealed memory file. A jail whose manifest has a
    /// way out is answered with [`JailerToKeeper::Listening`] before its end.
    Run {
        /// The single-use permission this serves.
        ticket: Id,
        /// It lasts: the manifest's limits on wall-clock time and output do not count, and it ends
        /// when it is killed or the keeper's link ends. Foreign jails only.
        #[serde(default)]
        lasting: bool,
        /// Name of the manifest.
        manifest: String,
        /// Absolute path of the program inside of a foreign jail; empty in the native classes.
        program: String,
        /// Arguments, `argv[0]` first.
        argv: Vec<String>,
    },
    /// Look at a file before deciding to change it; the content goes back as a descriptor.
    Inspect {
        /// Given back in the answer.
        ticket: Id,
        /// Which file; `open` is ignored.
        file: FileOrder,
        /// Larger files are refused.
        max: u64,
    },
    /// Read a file that is pinned, if it and all that is pinned with it is what it was; answered with
    /// [`JailerToKeeper::Inspected`] or [`JailerToKeeper::Altered`].
    ReadPinned {
        /// The single-use permission this serves.
        ticket: Id,
        /// Name of the manifest whose jails see it.
        manifest: String,
        /// Absolute path, as they see it.
        path: String,
        /// Larger files are refused.
        max: u64,
    },
    /// Give the unnamed file of `ticket` its name, if the target still is `expected`.
    Publish {
        /// The ticket whose jail wrote the unnamed file.
        ticket: Id,
        /// What the target must still be.
        expected: FileState,
        /// SHA-256 the new content must have, lower-case hex.
        sha256: String,
    },
    /// Put back what was there: blob is the old content, absent where the file did not exist.
    Restore {
        /// The ticket of the undo.
        ticket: Id,
        /// Which file.
        file: FileOrder,
        /// What the target must still be: what the call to be undone had written.
        expected: FileState,
        /// What it becomes.
        becomes: FileState,
    },
    /// Forget the unnamed file of `ticket`.
    Discard {
        /// Whose file.
        ticket: Id,
    },
    /// Kill the jail of `ticket`.
    Kill {
        /// Whose jail.
        ticket: Id,
    },
    /// The server in the lasting jail of `ticket` has answered a question: it works, and does not spin.
    /// Told at most once a second; a jail that is not there is none that needs it.
    Answered {
        /// Whose jail.
        ticket: Id,
    },
}

/// The part of a jail that refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The list of system calls.
    Seccomp,
    /// The way out: the proxy, or egress.
    Egress,
    /// A limit (memory, processes, time, output).
    Limit,
}

/// Something a jail tried and was refused, in words for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// Who refused.
    pub layer: Layer,
    /// What was tried, arguments decoded, outside text escaped: at most 256 bytes.
    pub attempt: String,
    /// The line of a manifest that would allow it; nothing where none can.
    pub allow: Option<String>,
    /// How often.
    pub count: u32,
}

/// Most different denials kept of one jail.
pub const DENIALS_MAX: usize = 64;

/// How a jail ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailEnd {
    /// Exit status, where it exited.
    pub code: Option<i32>,
    /// Signal, where one killed it.
    pub signal: Option<i32>,
    /// The limit that ended it: `wall`, `cpu`, `memory`, `processes`, `output`, `file`, `killed`.
    pub limit: Option<String>,
    /// What it was refused, where that was observed; the first [`DENIALS_MAX`] kinds.
    #[serde(default)]
    pub denials: Vec<Denial>,
    /// Wall-clock microseconds from spawn to end.
    pub wall_us: u64,
    /// CPU microseconds, user and system.
    pub cpu_us: u64,
    /// Peak resident memory in KiB, of the process that had most.
    pub rss_kib: u64,
    /// Peak memory of the whole jail in KiB (`memory.peak`), where its cgroup counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_kib: Option<u64>,
}

/// Jailer to keeper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JailerToKeeper {
    /// First message on every link: what the self-test found. Orders are refused where `fit` is false.
    SelfTest {
        /// Every forbidden action failed and every layer is enforced, or its lack was accepted.
        fit: bool,
        /// Layers and how they are enforced, and the degradations by name.
        report: SelfTest,
    },
    /// The tool ran and ended.
    Exited {
        /// Whose jail.
        ticket: Id,
        /// How.
        end: JailEnd,
    },
    /// The jail's proxy socket, a listening one in the jail's own network, comes as a descriptor.
    Listening {
        /// Whose jail.
        ticket: Id,
    },
    /// The file's state; with `Present` a read-only descriptor to a sealed copy comes with it.
    Inspected {
        /// From the question.
        ticket: Id,
        /// What is there.
        state: FileState,
    },
    /// The new content has its name and both are on disk.
    Published {
        /// Whose file.
        ticket: Id,
    },
    /// What is pinned is not what it was: a program was not started or is killed, or a file was not read.
    Altered {
        /// Of the order.
        ticket: Id,
        /// What it is, in one line.
        why: String,
        /// What changed, as `catalog::connector::compare` tells it; the first of them.
        changes: Vec<Value>,
        /// It ran: its end is still to be told.
        #[serde(default)]
        ran: bool,
    },
    /// An order was not carried out; nothing was changed.
    Fault {
        /// Of the order.
        ticket: Id,
        /// The class of failure.
        fault: JailFault,
        /// For the log: system call and errno, at most 256 bytes.
        detail: String,
    },
}

/// What the jailer's self-test found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// `separate uids` or `one user`.
    pub separation: String,
    /// Landlock ABI of the kernel.
    pub landlock_abi: i32,
    /// Number of forbidden actions attempted.
    pub attempted: u32,
    /// Those that succeeded, by name: must be empty.
    pub succeeded: Vec<String>,
    /// Named degradations, for example `landlock-abi-below-6`, `no-cgroup-controllers`.
    pub degraded: Vec<String>,
    /// How jails are limited and ended.
    #[serde(default)]
    pub limiting: Limiting,
    /// Foreign manifests that cannot be used; nothing is wrong with the others. At most
    /// [`UNUSABLE_MAX`] bytes as JSON.
    #[serde(default)]
    pub unusable: Vec<Unusable>,
    /// Microseconds the self-test took.
    pub took_us: u64,
}

/// Most bytes that are told of manifests that cannot be used: they share one frame with the rest.
pub const UNUSABLE_MAX: usize = 40 << 10;

/// A foreign manifest that cannot be used: what it shows is not there, or its jail does not work.
/// Programs under it are not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unusable {
    /// Its name.
    pub manifest: String,
    /// Why, in one line.
    pub why: String,
    /// What mends it, where that is known.
    pub hint: Option<String>,
}

/// How jails are limited as groups of processes, and ended. Each process has rlimits beside that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limiting {
    /// Cgroup controllers that limit a whole jail: `memory`, `pids`, `cpu`.
    pub controllers: Vec<String>,
    /// All processes of a jail are killed at once (`cgroup.kill`).
    pub kill: bool,
    /// Why that is not all; nothing where it is.
    pub why: Option<String>,
    /// What the operator can do about it.
    pub mend: Option<String>,
}

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
        /// that, and the argument as text. At most [`MIRRORED_MAX`] bytes in all.
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
