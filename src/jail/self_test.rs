//! The behavioural self-test: a kernel call that answered "done" proves little, so a real jail tries
//! what is forbidden before the first tool runs in one.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::cgroup::{self, Cgroups};
use super::limits::ToolLimits;
use super::probe::Findings;
use super::{Jail, Seat};
use crate::error::{Context, Error, Result};
use crate::sys::jail::Jailed;
use crate::sys::spawn::End;
use crate::wire::frame::sealed_memfd;
use crate::wire::messages::SelfTest;
use crate::wire::text::Escaped;

/// Longest life of one self-test.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest report of one.
const REPORT_MAX: u64 = 64 << 10;
/// What a jail of the self-test may use.
const LIMITS: ToolLimits = ToolLimits {
    cpu_s: 5,
    memory: 512 << 20,
    file: 1 << 20,
};
const GROUP: cgroup::Limits = cgroup::Limits {
    memory: LIMITS.memory,
    processes: 0,
    cpu_percent: 100,
};
/// Calls of other ABIs, which must kill: standard input of the probe, and the action's name.
const DEADLY: [(&str, &str); 2] = [("int80", "abi_i386_int80"), ("x32", "abi_x32")];

/// What the self-test means for service.
#[derive(Debug)]
pub struct Verdict {
    /// Jails may be used.
    pub fit: bool,
    /// Why not, in one line; empty where fit.
    pub why: String,
    /// What was found.
    pub report: SelfTest,
}

/// Runs the self-test in jails like those of tools. Cgroups that do not do what they are for are
/// given up, with the reason.
///
/// # Errors
/// Fails where a jail cannot be started or does not answer.
pub fn self_test(jail: &Jail, cgroups: &mut Cgroups, separation: &str) -> Result<Verdict> {
    let begin = Instant::now();
    if let Err(why) = kill(jail, cgroups) {
        cgroups.give_up(why);
    }
    let (end, text) = run(jail, cgroups, "")?;
    let findings: Findings = serde_json::from_slice(&text).map_err(|_| {
        let told = String::from_utf8_lossy(&text);
        let told = Escaped::cut(&told, 200);
        Error::new(format!(
            "the self-test gave no report: {end}, output `{told}`"
        ))
    })?;
    let mut succeeded = findings.succeeded;
    let mut attempted = findings.attempted;
    for (part, name) in DEADLY {
        attempted += 1;
        if run(jail, cgroups, part)?.0 != End::Killed(libc::SIGSYS) {
            succeeded.push(name.to_owned());
        }
    }
    let mut degraded = jail.degraded.clone();
    degraded.extend(cgroups.degraded().map(Into::into));
    let report = SelfTest {
        separation: separation.to_owned(),
        landlock_abi: jail.landlock_abi,
        attempted,
        succeeded,
        degraded,
        limiting: cgroups.limiting(),
        took_us: u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX),
    };
    let why = why_unfit(&report, &findings.broken);
    Ok(Verdict {
        fit: why.is_empty(),
        why,
        report,
    })
}

fn why_unfit(report: &SelfTest, broken: &[String]) -> String {
    let mut parts = Vec::new();
    for (what, names) in [
        ("the jail let through", report.succeeded.as_slice()),
        ("does not work in the jail", broken),
    ] {
        if !names.is_empty() {
            parts.push(format!("{what}: {}", names.join(", ")));
        }
    }
    parts.join("; ")
}

/// A jail that would wait for ever begins in its cgroup, is counted there, and ends with it; or why
/// not.
fn kill(jail: &Jail, cgroups: &mut Cgroups) -> std::result::Result<(), String> {
    let leaf = cgroups.take(GROUP).map_err(|error| error.to_string())?;
    let Some(mut leaf) = leaf else { return Ok(()) };
    let mut killed = || -> Result<End> {
        let what = || "try cgroup.kill".to_owned();
        // Held open until the end: no end of the input.
        let (input, _hold) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context(what)?;
        let fds = [input.as_fd(); 3];
        let jailed = jail.spawn("self-test", &fds, LIMITS, seat(Some(leaf.fd())))?;
        leaf.kill();
        let ended = wait(&jailed);
        jailed.kill();
        ended?;
        Ok(jailed.wait().context(what)?.0)
    };
    let killed = killed();
    let counted = cgroups.give_back(leaf).cpu_us;
    match killed {
        Err(error) => Err(format!(
            "no jail can be started in a cgroup: {}",
            error.message()
        )),
        Ok(end) if end != End::Killed(libc::SIGKILL) => {
            Err(format!("cgroup.kill does not end a jail: {end}"))
        }
        Ok(_) if counted.is_none_or(|us| us == 0) => {
            Err("a jail is not counted in its cgroup".to_owned())
        }
        Ok(_) => Ok(()),
    }
}

fn run(jail: &Jail, cgroups: &mut Cgroups, part: &str) -> Result<(End, Vec<u8>)> {
    let what = || "run the self-test".to_owned();
    let input = sealed_memfd("self-test", part.as_bytes())?;
    let output = memfd_create("self-test", MFdFlags::MFD_CLOEXEC).context(what)?;
    let fds = [input.as_fd(), output.as_fd(), output.as_fd()];
    let leaf = cgroups.take(GROUP).context(what)?;
    let cgroup = leaf.as_ref().map(cgroup::Leaf::fd);
    let end = jail
        .spawn("self-test", &fds, LIMITS, seat(cgroup))
        .and_then(|jailed| {
            if !wait(&jailed)? {
                jailed.kill();
            }
            jailed.wait().context(what)
        });
    if let Some(leaf) = leaf {
        cgroups.give_back(leaf);
    }
    Ok((end?.0, content(output).context(what)?))
}

fn seat(cgroup: Option<BorrowedFd<'_>>) -> Seat<'_> {
    Seat {
        cgroup,
        ..Seat::default()
    }
}

/// Whether a jail ends by itself in time.
fn wait(jailed: &Jailed) -> Result<bool> {
    let mut polled = [PollFd::new(jailed.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    let ready = poll(&mut polled, patience).context(|| "wait for the self-test".into())?;
    Ok(ready > 0)
}

fn content(output: OwnedFd) -> std::io::Result<Vec<u8>> {
    let mut file = File::from(output);
    file.rewind()?;
    let mut text = Vec::new();
    file.take(REPORT_MAX).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::Limiting;

    #[test]
    fn whatever_got_through_or_is_missing_makes_unfit() {
        let fine = SelfTest {
            separation: String::new(),
            landlock_abi: 7,
            attempted: 100,
            succeeded: Vec::new(),
            degraded: vec!["d".into()],
            limiting: Limiting::default(),
            took_us: 1,
        };
        assert_eq!(why_unfit(&fine, &[]), "");
        let bad = SelfTest {
            succeeded: vec!["net_udp".into()],
            ..fine
        };
        let why = why_unfit(&bad, &["ctl_clock".into()]);
        assert_eq!(
            why,
            "the jail let through: net_udp; does not work in the jail: ctl_clock"
        );
    }
}
