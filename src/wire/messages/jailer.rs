//! Between keeper and jailer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::id::Id;

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
