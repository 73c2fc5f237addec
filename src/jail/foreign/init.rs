//! The first process of a foreign jail: it builds the jail around itself from the inside, starts the
//! program with nothing, and then only waits for it.
//!
//! It is Keepgate's own code, in new pid, mount, network, IPC and host name namespaces, with the
//! jailer's capabilities until the program is started. Then it has none, the jail's uid, and a list
//! of five system calls. What the program leaves behind dies with it: it is process 1.

use std::ffi::{CStr, CString};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::nest::is_private;
use super::spec::{COPIES, FILTERS, FILTERS_MAX, LINK, PROBE, Runs, SPEC, SPEC_MAX, Says, Spec};
use super::tree::{beneath, make_directory, make_file};
use crate::error::{Context, Error, Result};
use crate::jail::landlock::{self, Allowed};
use crate::sys::filter::Filter;
use crate::sys::init::{Executable, Failure, Program, Waited};
use crate::sys::process::FileUser;
use crate::sys::{inherited, init, mounts, process};
use crate::wire::frame;
use crate::wire::text::escaped;

/// Inodes of a jail's private files.
const INODES: u64 = 16_384;
/// Descriptors of the program: standard input, output and error.
const STDIO: [i32; 3] = [0, 1, 2];

/// Its whole life.
pub fn run() -> ExitCode {
    let Ok(link) = inherited::take(LINK) else {
        return ExitCode::FAILURE;
    };
    let answer = live(&link);
    let (say, code) = match answer {
        Ok(ended) => (ended, ExitCode::SUCCESS),
        Err(Broken { error, exec }) => {
            let why = error.message();
            (Says::Failed { why, exec }, ExitCode::FAILURE)
        }
    };
    // Nobody else is left to hear it: the jailer sees the end of this process all the same.
    drop(tell(&link, &say, &[]));
    code
}

/// Why there is no program.
struct Broken {
    error: Error,
    exec: Option<i32>,
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self { error, exec: None }
    }
}

fn tell(link: &OwnedFd, say: &Says, fds: &[BorrowedFd<'_>]) -> Result<()> {
    frame::send(link.as_fd(), say, &[], fds)
}

fn live(link: &OwnedFd) -> std::result::Result<Says, Broken> {
    init::die_with_jailer(link.as_fd()).context(|| "tie a jail to its jailer".into())?;
    let spec = spec()?;
    let filters = filters(&spec)?;
    build(&spec)?;
    let port = proxy(link, &spec)?;
    let started = start(link, &spec, &filters.program, port)?;
    confine(&spec, &filters.own)?;
    tell(link, &Says::Running, &[])?;
    let Waited {
        code,
        signal,
        cpu_us,
        rss_kib,
    } = started
        .wait()
        .context(|| "wait for the jail's program".into())?;
    Ok(Says::Ended {
        code,
        signal,
        cpu_us,
        rss_kib,
    })
}

fn spec() -> Result<Spec> {
    let what = || "read the specification of a jail".to_owned();
    let sealed = inherited::take(SPEC).context(what)?;
    let bytes = frame::read_sealed(sealed, SPEC_MAX)?;
    serde_json::from_slice(&bytes).context(what)
}

/// What may be asked of the kernel, compiled once by the jailer.
struct Filters {
    /// By the program.
    program: Filter,
    /// By this process while it waits.
    own: Filter,
}

fn filters(spec: &Spec) -> Result<Filters> {
    let what = || "read the filters of a jail".to_owned();
    let sealed = inherited::take(FILTERS).context(what)?;
    let bytes = frame::read_sealed(sealed, FILTERS_MAX)?;
    let short = || Error::new(what());
    let (program, own) = bytes.split_at_checked(spec.filter).ok_or_else(short)?;
    Ok(Filters {
        program: Filter::from_bytes(program),
        own: Filter::from_bytes(own),
    })
}

/// Makes the jail's mounts and goes in.
fn build(spec: &Spec) -> Result<()> {
    let what = |step: &'static str| move || format!("make a jail's file system: {step}");
    nix::unistd::chdir(&*format!("/{}", spec.place)).context(what("enter the view"))?;
    process::umask(0);
    let here = open(
        ".",
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .context(what("open the view"))?;
    // One memory for both, so that one limit holds for both; `proc` is only where it is made.
    mounts::memory("proc", spec.tmp, INODES, 0o755).context(what("private files"))?;
    for (from, place) in [("proc/tmp", "tmp"), ("proc/shm", "dev/shm")] {
        fs::create_dir(from).context(what("private files"))?;
        fs::set_permissions(from, fs::Permissions::from_mode(0o1777))
            .context(what("private files"))?;
        mounts::show_also(from, place).context(what("private files"))?;
    }
    for (number, copy) in (COPIES..).zip(&spec.copies) {
        let tree = inherited::take(number).context(what("copies"))?;
        let path = Path::new(&copy.path);
        let place = match (is_private(path) && !copy.within, copy.directory) {
            (true, true) => make_directory(here.as_fd(), path),
            (true, false) => make_file(here.as_fd(), path),
            (false, _) => beneath_as(spec.uid, here.as_fd(), path),
        };
        let place = place.context(|| {
            let path = escaped(&copy.path);
            format!("make a jail's file system: find the place of `{path}`")
        })?;
        mounts::attach(tree.as_fd(), place.as_fd()).context(what("copies"))?;
    }
    mounts::detach("proc").context(what("private files"))?;
    mounts::proc("proc", spec.whole_proc).context(what("/proc"))?;
    mounts::enter_root().context(what("root"))
}

/// The place of a copy, as the program's user: directories on the way may be closed to others.
fn beneath_as(uid: Option<u32>, here: BorrowedFd<'_>, path: &Path) -> std::io::Result<OwnedFd> {
    let _user = uid
        .map(|uid| FileUser::become_for_now(uid, uid))
        .transpose()?;
    beneath(here, path, OFlag::empty())
}

/// Makes the socket at which the jail's way out is, and gives it away.
fn proxy(link: &OwnedFd, spec: &Spec) -> Result<Option<u16>> {
    if !spec.proxy {
        return Ok(None);
    }
    let what = || "make the socket of a jail's proxy".to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(what)?;
    let port = listener.local_addr().context(what)?.port();
    tell(link, &Says::Listening, &[listener.as_fd()])?;
    Ok(Some(port))
}

fn start(
    link: &OwnedFd,
    spec: &Spec,
    filter: &Filter,
    port: Option<u16>,
) -> std::result::Result<init::Started, Broken> {
    let what = || "start a jail's program".to_owned();
    let probe = match &spec.program {
        Runs::Path(_) => None,
        Runs::Probe => Some(inherited::take(PROBE).context(what)?),
    };
    let writable = spec.copies.iter().filter(|copy| copy.writable);
    process::umask(0o022);
    // What it is allowed is named by its path, which others may not be able to walk.
    let user = spec
        .uid
        .map(|uid| FileUser::become_for_now(uid, uid))
        .transpose()
        .context(what)?;
    let ruleset = landlock::foreign(&Allowed {
        executable: spec.executable.iter().map(Path::new).collect(),
        program: probe.as_ref().map(AsFd::as_fd),
        writable: writable.map(|copy| Path::new(&copy.path)).collect(),
        port,
        loopback: spec.loopback,
    })?;
    drop(user);
    let text = |text: &str| CString::new(text).context(what);
    let texts = |texts: &[String]| {
        texts
            .iter()
            .map(|one| text(one))
            .collect::<Result<Vec<_>>>()
    };
    let mut env = texts(&spec.env)?;
    if let Some(port) = port {
        for name in [
            "http_proxy",
            "https_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
        ] {
            env.push(text(&format!("{name}=http://127.0.0.1:{port}"))?);
        }
        env.push(text("NODE_USE_ENV_PROXY=1")?);
    }
    let path = match &spec.program {
        Runs::Path(path) => text(path)?,
        Runs::Probe => CString::default(),
    };
    let file = match &probe {
        Some(probe) => Executable::Open(probe.as_fd()),
        None => Executable::Path(&path),
    };
    let (argv, directory) = (texts(&spec.argv)?, text(&spec.directory)?);
    let program = Program {
        file,
        directory: &directory,
        argv: &argv.iter().map(CString::as_c_str).collect::<Vec<&CStr>>(),
        env: &env.iter().map(CString::as_c_str).collect::<Vec<&CStr>>(),
        uid: spec.uid,
        limits: &spec.limits,
        ruleset: ruleset.as_ref().map(AsFd::as_fd),
        filter,
        listener: link.as_fd(),
    };
    init::start(&program).map_err(|Failure { error, exec }| {
        let error = Error::new(what()).because(error);
        Broken { error, exec }
    })
}

/// Gives everything up that waiting does not need.
fn confine(spec: &Spec, filter: &Filter) -> Result<()> {
    let what = || "confine a jail's first process".to_owned();
    process::bound_capabilities(&[]).context(what)?;
    if let Some(uid) = spec.uid {
        process::become_user(uid, uid).context(what)?;
    }
    process::keep_capabilities(&[]).context(what)?;
    process::no_new_privs().context(what)?;
    process::harden().context(what)?;
    init::die_again().context(what)?;
    for number in STDIO {
        // The program's ends only: whoever reads its output sees when it has closed it.
        init::close(number);
    }
    filter.install().context(what)
}
