//! Foreign jails: interpreters, MCP servers and scripts, which need files, threads and children.
//!
//! The jailer starts a jail's first process ([`init`]) in new namespaces; that one builds the jail
//! around itself out of what the jailer prepared ([`view`]) and starts the program. What the list of
//! system calls refuses is told to the jailer, which always answers with an error number.
#![forbid(unsafe_code)]

mod find;
pub mod init;
pub mod nest;
mod networks;
mod opened;
pub mod pipes;
mod refuse;
mod set_uid;
pub mod sockets;
mod spec;
mod tree;
pub mod users;
pub mod view;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{limits, lists};
use crate::error::{Context, Error, Result};
use crate::sys::filter::{Clone3, Filter};
use crate::sys::jail::{FirstProcess, Jailed};
use crate::sys::mounts::{self, Copy};
use crate::sys::users::Mapper;
use crate::sys::{packet, sealed};
use crate::wire::frame::{self, PACKET_MAX, sealed_memfd};
use crate::wire::manifest::{Class, Manifest};
use networks::Networks;
use spec::{Runs, Says, Shown, Spec};
use users::Users;
use view::{Copied, View, Views};

/// Where programs are looked for where a manifest sets no `PATH`.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
/// Working directory and home where nothing else is said.
pub const HOME: &str = "/tmp";
/// What a jail's first process may ask of the kernel while it waits.
const INIT: &str = include_str!("../seccomp/init.json");
/// Processes beside the program's own that count against the same limit: the jail's first.
const OWN_PROCESSES: u64 = 1;
/// The same where all run as one user: the jailer too.
const OWN_PROCESSES_ONE_USER: u64 = 2;

/// Everything foreign jails have in common.
#[derive(Debug)]
pub struct Foreign {
    program: OwnedFd,
    views: Views,
    users: Option<Users>,
    mapper: Mapper,
    networks: Networks,
    closed: Filters,
    local: Filters,
}

/// Both filters of a jail in one sealed memory file.
#[derive(Debug)]
struct Filters {
    file: OwnedFd,
    /// Bytes of the first of them, the program's.
    first: usize,
}

impl Filters {
    fn new(lists: &[&str]) -> Result<Self> {
        let what = || "prepare foreign jails".into();
        let program = Filter::observed(lists, Clone3::Missing).context(what)?;
        let own = Filter::compile(&[INIT], Clone3::Missing).context(what)?;
        let mut bytes = program.bytes();
        let first = bytes.len();
        bytes.extend(own.bytes());
        let file = sealed_memfd("filters", &bytes)?;
        Ok(Self { file, first })
    }
}

/// What is to run.
#[derive(Debug)]
pub enum Job<'a> {
    /// A program of the view, by its absolute path, and its arguments, its name first.
    Run {
        /// Path inside of the jail.
        program: &'a str,
        /// `argv`.
        argv: &'a [String],
        /// Its processor time is counted by whoever starts it.
        lasting: bool,
    },
    /// The self-test.
    Probe,
}

/// A foreign jail and the link to its first process.
#[derive(Debug)]
pub struct Running {
    /// The first process: its end is the end of all.
    pub jailed: Jailed,
    /// What it says, for [`hear`].
    pub link: OwnedFd,
}

/// What a jail's first process said.
#[derive(Debug)]
pub enum Heard {
    /// The program's refused system calls are told here.
    Listener(OwnedFd),
    /// The socket of the jail's proxy.
    Proxy(OwnedFd),
    /// The program runs.
    Running,
    /// There is no program: why, and what `execve(2)` said where it was that.
    Failed(String, Option<i32>),
    /// The program ended.
    Ended {
        /// Exit status, where it exited.
        code: Option<i32>,
        /// Signal, where one killed it.
        signal: Option<i32>,
        /// Microseconds of CPU.
        cpu_us: u64,
        /// Peak resident memory in KiB.
        rss_kib: u64,
    },
}

impl Foreign {
    /// Prepares what all foreign jails have in common. Programs run as one of `users`, or as this
    /// user. At most `ahead` of their networks are made ahead.
    ///
    /// # Errors
    /// Fails where the list of system calls cannot be compiled or memory is short.
    pub fn new(views: Views, users: Option<Users>, ahead: usize) -> Result<Self> {
        let what = || "prepare foreign jails".into();
        Ok(Self {
            program: sealed::own().context(what)?,
            views,
            users,
            mapper: Mapper::default(),
            networks: Networks::new(ahead).context(what)?,
            closed: Filters::new(&[lists::FOREIGN])?,
            local: Filters::new(&[lists::FOREIGN, lists::LOCAL])?,
        })
    }

    /// The prepared views.
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// One more network made ahead is wanted.
    pub fn wants_more(&self) -> bool {
        self.networks.wants_more()
    }

    /// Makes one network ahead.
    ///
    /// # Errors
    /// What the kernel says; no more are wanted then.
    pub fn prepare(&mut self) -> std::io::Result<()> {
        self.networks.prepare()
    }

    /// Starts a jail of `view`, in `cgroup` where one is given. Its program has `stdio` and nothing
    /// else.
    ///
    /// # Errors
    /// Names the step that failed; nothing runs then. Later failures are heard on the link.
    pub fn spawn(
        &mut self,
        name: &str,
        job: &Job<'_>,
        stdio: [BorrowedFd<'_>; 3],
        slot: u32,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Running> {
        let what = || "start a foreign jail".to_owned();
        let view = self
            .views
            .get(name)
            .ok_or_else(|| Error::new(format!("no foreign manifest is called `{name}`")))?;
        let uid = self.users.map(|users| users.uid(slot));
        let spec = self.spec(view, job, uid);
        let spec = serde_json::to_vec(&spec).context(what)?;
        let spec = sealed_memfd("jail", &spec)?;
        let (link, theirs) = frame::pair()?;
        let program = self.program.as_fd();
        let mut trees = Vec::new();
        for copied in &view.copied {
            trees.push(copy(
                &mut self.mapper,
                program,
                self.views.proc(),
                copied,
                uid,
            )?);
        }
        let mut fds: Vec<BorrowedFd<'_>> = stdio.into();
        // The program is for the self-test only.
        fds.extend([spec.as_fd(), theirs.as_fd()]);
        let filters = match view.manifest.loopback {
            true => &self.local,
            false => &self.closed,
        };
        fds.extend([self.program.as_fd(), filters.file.as_fd()]);
        fds.extend(trees.iter().map(AsFd::as_fd));
        let network = self.networks.take().context(what)?;
        let first = FirstProcess {
            program: self.program.as_fd(),
            network: network.as_fd(),
            fds: &fds,
            cgroup,
        };
        let jailed = first.spawn().context(what)?;
        Ok(Running { jailed, link })
    }

    fn spec(&self, view: &View, job: &Job<'_>, uid: Option<u32>) -> Spec {
        let manifest = &view.manifest;
        let (program, argv) = match job {
            Job::Run { program, argv, .. } => (Runs::Path((*program).into()), argv.to_vec()),
            Job::Probe => (
                Runs::Probe,
                vec!["keepgate-tool".into(), "self-test".into()],
            ),
        };
        let shown = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let shows = |copied: &Copied| Shown {
            path: shown(&copied.path),
            directory: copied.directory,
            writable: copied.writable,
            within: copied.within,
        };
        let own = match uid {
            Some(_) => OWN_PROCESSES,
            None => OWN_PROCESSES_ONE_USER,
        };
        Spec {
            place: view.place.clone(),
            copies: view.copied.iter().map(shows).collect(),
            executable: view.executable.iter().map(|path| shown(path)).collect(),
            tmp: manifest.limits.tmp,
            whole_proc: manifest.whole_proc,
            proxy: !manifest.net.is_empty(),
            loopback: manifest.loopback,
            uid,
            program,
            argv,
            env: environment(manifest),
            directory: manifest
                .dir
                .as_deref()
                .map_or_else(|| HOME.to_owned(), shown),
            limits: match job {
                Job::Run { lasting: true, .. } => {
                    limits::of_lasting(Class::Foreign, &manifest.limits, own).to_vec()
                }
                Job::Run { .. } | Job::Probe => {
                    limits::of(Class::Foreign, &manifest.limits, own).to_vec()
                }
            },
            filter: match manifest.loopback {
                true => self.local.first,
                false => self.closed.first,
            },
        }
    }
}

fn copy(
    mapper: &mut Mapper,
    program: BorrowedFd<'_>,
    proc: BorrowedFd<'_>,
    copied: &Copied,
    uid: Option<u32>,
) -> Result<OwnedFd> {
    let tree = copied.tree.as_fd();
    let path = copied.path.display();
    let what = || format!("give a jail its own copy of `{path}`");
    let Some(owner) = copied.owner else {
        return mounts::clone_open(tree, Copy::Shown).context(what);
    };
    let kind = if copied.writable {
        Copy::Writable
    } else {
        Copy::Kept
    };
    let to = uid.map(|uid| (owner.uid, owner.gid, uid));
    mapper
        .copy(program, proc, (tree, kind), to)
        .map_err(|error| {
            let hint = "its file system must support ID-mapped mounts (ext4, xfs, btrfs, tmpfs do)";
            Error::new(what()).because(error).hint(hint)
        })
}

fn environment(manifest: &Manifest) -> Vec<String> {
    let mut all: std::collections::BTreeMap<&str, &str> = [
        ("PATH", PATH),
        ("HOME", HOME),
        ("TMPDIR", HOME),
        ("LANG", "C.UTF-8"),
        ("USER", "jail"),
        ("LOGNAME", "jail"),
    ]
    .into();
    all.extend(
        manifest
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    all.into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// The next thing a jail's first process said; `None` once it has ended.
///
/// # Errors
/// Fails on anything but the words it has.
pub fn hear(link: BorrowedFd<'_>) -> Result<Option<Heard>> {
    let what = || "hear a jail's first process".to_owned();
    let Some(mut packet) = packet::receive(link, PACKET_MAX).context(what)? else {
        return Ok(None);
    };
    let strange = || Error::new("a jail's first process said what it cannot say");
    if packet.bytes == [0] {
        return packet
            .fds
            .pop()
            .map(|fd| Some(Heard::Listener(fd)))
            .ok_or_else(strange);
    }
    let mut frame = frame::parse::<Says>(packet, 0)?;
    Ok(Some(match frame.say {
        Says::Listening => Heard::Proxy(frame.fds.pop().ok_or_else(strange)?),
        Says::Running => Heard::Running,
        Says::Failed { why, exec } => Heard::Failed(why, exec),
        Says::Ended {
            code,
            signal,
            cpu_us,
            rss_kib,
        } => Heard::Ended {
            code,
            signal,
            cpu_us,
            rss_kib,
        },
    }))
}
