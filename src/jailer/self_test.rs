//! The behavioural self-test: a kernel call that answered "done" proves little, so real jails try
//! what is forbidden before the first program runs in one. Those of Keepgate's own tools are tried,
//! and a jail of every foreign manifest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::jails::Jails;
use super::running::{NeverRan, Running, Source};
use crate::error::{Context, Error, Result};
use crate::jail::cgroup::Leaf;
use crate::jail::limits::ToolLimits;
use crate::jail::probe::Findings;
use crate::wire::frame::sealed_memfd;
use crate::wire::messages::{JailEnd, SelfTest};
use crate::wire::text::Escaped;

/// Longest life of one jail of the self-test, in milliseconds.
const PATIENCE_MS: u64 = 10_000;
/// Longest report of one.
const REPORT_MAX: u64 = 64 << 10;
/// What a native jail of the self-test may use.
const LIMITS: ToolLimits = ToolLimits {
    cpu_s: 5,
    memory: 512 << 20,
    file: 1 << 20,
};
/// Calls of other ABIs, which must kill: standard input of the probe, and the action's name.
const DEADLY: [(&str, &str); 2] = [("int80", "abi_i386_int80"), ("x32", "abi_x32")];
/// Jails of the self-test at a time.
const AT_A_TIME: usize = 4;

/// What the self-test means for service.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Jails may be used.
    pub(super) fit: bool,
    /// Why not, in one line; empty where fit.
    pub(super) why: String,
    /// What was found.
    pub(super) report: SelfTest,
}

/// What one jail of the self-test tries.
#[derive(Debug)]
enum Trial {
    /// All that can fail in a native jail.
    Native,
    /// A call that must kill: standard input of the probe, and its name.
    Deadly(&'static str, &'static str),
    /// All that can fail in a jail of the foreign manifest of that name.
    Foreign(String),
}

/// A jail of the self-test at work.
#[derive(Debug)]
struct Trying {
    trial: Trial,
    running: Running,
    output: OwnedFd,
    /// The other end of the jail's way out.
    proxy: Option<OwnedFd>,
}

/// How one ended.
#[derive(Debug)]
struct Tried {
    trial: Trial,
    end: std::result::Result<JailEnd, NeverRan>,
    output: Vec<u8>,
}

/// Runs the self-test in jails like those of programs. Cgroups that do not do what they are for are
/// given up, with the reason.
///
/// # Errors
/// Fails where a native jail cannot be started or does not answer.
pub(super) fn self_test(jails: &mut Jails, separation: &str) -> Result<Verdict> {
    let begin = Instant::now();
    if let Err(why) = kill_by_cgroup(jails) {
        jails.cgroups().give_up(why);
    }
    let mut report = SelfTest {
        separation: separation.to_owned(),
        landlock_abi: jails.native().landlock_abi(),
        attempted: 0,
        succeeded: Vec::new(),
        degraded: jails.native().degraded().to_vec(),
        limiting: jails.cgroups().limiting(),
        took_us: 0,
    };
    let lack = jails.cgroups().degraded().map(Into::into);
    report.degraded.extend(lack);
    let mut broken = Vec::new();
    let mut left = trials(jails);
    // Those of one user count against one limit of processes.
    let at_a_time = AT_A_TIME.min(jails.users());
    while !left.is_empty() {
        let rest = left.split_off(left.len().min(at_a_time));
        for tried in wave(jails, left)? {
            tried.judge(&mut report, &mut broken)?;
        }
        left = rest;
    }
    report.took_us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    let why = why_unfit(&report, &broken);
    Ok(Verdict {
        fit: why.is_empty(),
        why,
        report,
    })
}

/// A jail that would wait for ever begins in its cgroup, is counted there, and ends with it; or why
/// not.
fn kill_by_cgroup(jails: &mut Jails) -> std::result::Result<(), String> {
    if jails.cgroups().fd().is_none() {
        return Ok(());
    }
    let failed = |why: String| format!("no jail can be started in a cgroup: {why}");
    // Held open until the end: no end of the input.
    let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC);
    let (input, _hold) = pipe.map_err(|errno| failed(errno.to_string()))?;
    let started = jails.probe(&[input.as_fd(); 3], LIMITS, PATIENCE_MS);
    let mut running = started.map_err(|trouble| failed(trouble.detail))?;
    let leaf = running.leaf.take();
    let ended = leaf.map(|mut leaf: Leaf| {
        leaf.kill();
        let mut polled: Vec<PollFd<'_>> = running
            .sources()
            .filter(|(source, _)| *source == Source::End)
            .map(|(_, fd)| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let killed = poll(&mut polled, patience()).is_ok_and(|ended| ended > 0);
        (leaf, killed)
    });
    running.kill("killed");
    let slot = running.slot;
    let end = running.end(jails.uid(slot), jails.cgroups());
    jails.free(slot);
    let Some((leaf, killed)) = ended else {
        return Ok(());
    };
    let counted = jails.cgroups().give_back(leaf).cpu_us;
    let signal = end
        .ok()
        .and_then(std::result::Result::ok)
        .and_then(|end| end.signal);
    if !killed || signal != Some(libc::SIGKILL) {
        return Err("cgroup.kill does not end a jail".to_owned());
    }
    if counted.is_none_or(|us| us == 0) {
        return Err("a jail is not counted in its cgroup".to_owned());
    }
    Ok(())
}

fn patience() -> PollTimeout {
    PollTimeout::try_from(Duration::from_millis(PATIENCE_MS)).unwrap_or(PollTimeout::MAX)
}

/// The longest first.
fn trials(jails: &Jails) -> Vec<Trial> {
    let deadly = DEADLY.map(|(part, name)| Trial::Deadly(part, name));
    let foreign = jails.foreign_names().into_iter().map(Trial::Foreign);
    foreign.chain([Trial::Native]).chain(deadly).collect()
}

fn what() -> String {
    "run the self-test".to_owned()
}

/// Runs these at the same time, each as a user of its own where there are several.
fn wave(jails: &mut Jails, trials: Vec<Trial>) -> Result<Vec<Tried>> {
    let mut trying = BTreeMap::new();
    for trial in trials {
        let one = start(jails, trial)?;
        trying.insert(one.running.slot, one);
    }
    let mut tried = Vec::new();
    while !trying.is_empty() {
        for (slot, source) in wait(&trying)? {
            match source {
                Source::End => {
                    if let Some(ended) = trying.remove(&slot) {
                        tried.push(ended.end(jails)?);
                    }
                }
                Source::Link => {
                    if let Some(one) = trying.get_mut(&slot)
                        && let Some(socket) = one.running.hear(jails.uid(slot))
                    {
                        one.proxy = Some(socket);
                    }
                }
                Source::Refused => {
                    if let Some(one) = trying.get_mut(&slot) {
                        one.running.refuse(jails.proc());
                    }
                }
            }
        }
        let now = Instant::now();
        for late in trying
            .values_mut()
            .filter(|one| one.running.is_overdue(now))
        {
            late.running.kill("wall");
        }
    }
    Ok(tried)
}

fn start(jails: &mut Jails, trial: Trial) -> Result<Trying> {
    let output = memfd_create("self-test", MFdFlags::MFD_CLOEXEC).context(what)?;
    let mut native = |part: &str| {
        let input = sealed_memfd("self-test", part.as_bytes())?;
        let fds = [input.as_fd(), output.as_fd(), output.as_fd()];
        Ok::<_, Error>(jails.probe(&fds, LIMITS, PATIENCE_MS))
    };
    let running = match &trial {
        Trial::Native => native("")?,
        Trial::Deadly(part, _) => native(part)?,
        Trial::Foreign(name) => jails.probe_foreign(name, output.as_fd(), PATIENCE_MS),
    };
    let running = running.map_err(|trouble| Error::new(what()).because(trouble.detail))?;
    Ok(Trying {
        trial,
        running,
        output,
        proxy: None,
    })
}

/// What became ready; nothing once a deadline is over.
fn wait(trying: &BTreeMap<u32, Trying>) -> Result<Vec<(u32, Source)>> {
    let mut names = Vec::new();
    let mut polled = Vec::new();
    for (slot, one) in trying {
        for (source, fd) in one.running.sources() {
            names.push((*slot, source));
            polled.push(PollFd::new(fd, PollFlags::POLLIN));
        }
    }
    match poll(&mut polled, patience()) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::new(what()).because(errno)),
    }
    let ready = names
        .into_iter()
        .zip(&polled)
        .filter(|(_, fd)| fd.any().unwrap_or(false));
    Ok(ready.map(|(name, _)| name).collect())
}

impl Trying {
    fn end(self, jails: &mut Jails) -> Result<Tried> {
        let slot = self.running.slot;
        let uid = jails.uid(slot);
        let end = self.running.end(uid, jails.cgroups()).context(what)?;
        jails.free(slot);
        let mut file = File::from(self.output);
        let mut output = Vec::new();
        file.rewind().context(what)?;
        file.take(REPORT_MAX)
            .read_to_end(&mut output)
            .context(what)?;
        Ok(Tried {
            trial: self.trial,
            end,
            output,
        })
    }
}

impl Tried {
    fn judge(self, report: &mut SelfTest, broken: &mut Vec<String>) -> Result<()> {
        let (of, end) = match (&self.trial, &self.end) {
            (Trial::Deadly(_, name), Ok(end)) => {
                report.attempted += 1;
                if end.signal != Some(libc::SIGSYS) {
                    report.succeeded.push((*name).to_owned());
                }
                return Ok(());
            }
            (Trial::Native, Ok(end)) => (String::new(), end),
            (Trial::Foreign(name), Ok(end)) => (format!("{name}/"), end),
            (Trial::Foreign(name), Err(never)) => {
                // One manifest that cannot be used makes none usable, and says so.
                broken.push(format!("{name} ({})", never.why));
                return Ok(());
            }
            (Trial::Native | Trial::Deadly(..), Err(never)) => {
                return Err(Error::new(what()).because(never.why.clone()));
            }
        };
        let findings: Findings = serde_json::from_slice(&self.output).map_err(|_| {
            let told = String::from_utf8_lossy(&self.output);
            let told = Escaped::cut(&told, 200);
            let (code, signal) = (end.code, end.signal);
            Error::new(format!(
                "the self-test gave no report: {of} status {code:?}, signal {signal:?}, output `{told}`"
            ))
        })?;
        report.attempted += findings.attempted;
        let named = |names: Vec<String>| names.into_iter().map(|name| format!("{of}{name}"));
        report.succeeded.extend(named(findings.succeeded));
        broken.extend(named(findings.broken));
        Ok(())
    }
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
