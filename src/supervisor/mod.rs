//! The supervisor: `keepgate serve`. It starts the roles of every plane, hands each the ends of the
//! links it is allowed, starts them again when they die, and holds nothing itself: no key, no log,
//! no agent's bytes.
#![forbid(unsafe_code)]

mod connectors;
mod listeners;
mod places;
mod plane;
pub mod role;
mod runtimes;
mod setup;
mod status;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::config::{Config, Paths};
use crate::error::{Context, Error, Result};
use crate::wire::messages::Role;
use plane::Plane;
use runtimes::{Asked, Runtimes};

/// How long roles have to stop in order before they are killed.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Descriptors that a process of Keepgate may need: a front one for each agent (500) and each of
/// its connections (16), and for each connection (512) of each door (8); the supervisor one for each agent of each plane, keeper, jailer and egress
/// a handful for each call at a time. Distributions set a soft limit of 1024 for the sake of
/// programs that use `select(2)`, as none of these do.
pub const DESCRIPTORS: u64 = 1 << 14;

/// Serves until SIGTERM or SIGINT. At a SIGHUP it looks at the connectors again: keeper and jailer of a
/// plane whose connectors are approved anew, or others now, are started again with them.
///
/// # Errors
/// Fails where another supervisor serves the same directory, the configuration or directories are
/// not usable, or a role cannot be started at all.
pub fn serve(config: &Config, paths: &Paths) -> Result<()> {
    let _lock = lock(paths)?;
    // Inherited by all roles. Jails get limits of their own.
    crate::sys::process::raise_descriptors(DESCRIPTORS)
        .context(|| "raise the limit of open descriptors".into())?;
    let observed = config.planes.values().any(|plane| plane.observe);
    crate::sys::process::harden_supervisor(observed).context(|| "harden the supervisor".into())?;
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        signals.add(signal);
    }
    signals.thread_block().context(|| "block signals".into())?;
    let signalfd = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context(|| "watch for signals".into())?;
    let boot = setup::Boot::new(config, paths)?;
    let runtimes = Runtimes::new(config, paths)?;
    let mut planes = Vec::new();
    for (index, name) in config.planes.keys().enumerate() {
        planes.push(Plane::new(config, paths, name, index, &boot)?);
    }
    status::write(paths, &planes);
    let mut stopping: Option<Instant> = None;
    loop {
        let now = Instant::now();
        if stopping.is_none() {
            for plane in &mut planes {
                plane.look_at_places(config, paths, now);
                plane.start_due(now);
            }
        } else if planes.iter().all(Plane::is_down) {
            status::remove(paths);
            // With them goes their hold on the cgroup.
            drop(planes);
            boot.release();
            return Ok(());
        }
        if stopping.is_some_and(|since| now.duration_since(since) > STOP_GRACE) {
            planes.iter_mut().for_each(Plane::kill);
        }
        let wait = wait_for(&planes, stopping, now);
        let ready = watch(&signalfd, &runtimes, &planes, wait)?;
        if ready.signal {
            while let Ok(Some(signal)) = signalfd.read_signal() {
                let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
                if number == Signal::SIGHUP as i32 {
                    if stopping.is_none() {
                        for plane in &mut planes {
                            plane.renew(config, paths);
                            plane.look_at_all(&runtimes, Asked::ByOperator);
                        }
                    }
                    continue;
                }
                if number != Signal::SIGCHLD as i32 && stopping.is_none() {
                    stopping = Some(Instant::now());
                    planes.iter_mut().for_each(Plane::stop);
                }
            }
        }
        for (plane, role) in ready.roles {
            if let Some(plane) = planes.get_mut(plane) {
                plane.attend(role, &runtimes);
            }
        }
        for ((name, agent), looked) in runtimes.hear() {
            if let Some(plane) = planes.iter().find(|plane| plane.name == name) {
                plane.tell_looked(agent, &looked);
            }
        }
        status::write(paths, &planes);
    }
}

/// What became readable.
struct Readiness {
    signal: bool,
    roles: Vec<(usize, Role)>,
}

fn watch(
    signalfd: &SignalFd,
    runtimes: &Runtimes,
    planes: &[Plane],
    wait: PollTimeout,
) -> Result<Readiness> {
    let mut names = Vec::new();
    let mut polled = vec![
        PollFd::new(signalfd.as_fd(), PollFlags::POLLIN),
        PollFd::new(runtimes.bell(), PollFlags::POLLIN),
    ];
    for (index, plane) in planes.iter().enumerate() {
        for (role, fd) in plane.descriptors() {
            names.push((index, role));
            polled.push(PollFd::new(fd, PollFlags::POLLIN));
        }
    }
    match poll(&mut polled, wait) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::new("wait for the roles").because(errno)),
    }
    let mut ready = polled.iter().map(|fd| fd.any().unwrap_or(false));
    let signal = ready.next().unwrap_or(false);
    // Whoever looked is heard after each round.
    ready.next();
    let mut roles: Vec<_> = names
        .into_iter()
        .zip(ready)
        .filter(|(_, r)| *r)
        .map(|(n, _)| n)
        .collect();
    roles.dedup();
    Ok(Readiness { signal, roles })
}

fn wait_for(planes: &[Plane], stopping: Option<Instant>, now: Instant) -> PollTimeout {
    let due = match stopping {
        Some(since) => Some(since + STOP_GRACE + Duration::from_millis(1)),
        None => planes.iter().filter_map(Plane::due).min(),
    };
    due.map_or(PollTimeout::NONE, |due| {
        let wait = due.saturating_duration_since(now) + Duration::from_millis(1);
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
    })
}

/// One supervisor a directory.
fn lock(paths: &Paths) -> Result<Flock<std::fs::File>> {
    listeners::make_directory(paths.run_dir(), 0o711)?;
    let path = paths.lock();
    let what = || format!("lock `{}`", path.display());
    // Nobody else may hold it: a lock is enough to keep Keepgate from starting.
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path);
    let file = file.context(what)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .context(what)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno != Errno::EAGAIN {
            return Error::new(what()).because(errno);
        }
        let dir = paths.dir().display();
        Error::new(format!("another `keepgate serve` serves `{dir}`"))
            .hint("stop it first; `keepgate status` shows its pid")
    })
}

/// Both ends of one link between two roles.
fn link() -> Result<(OwnedFd, OwnedFd)> {
    crate::wire::frame::pair()
}
