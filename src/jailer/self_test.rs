//! The behavioural self-test: a kernel call that answered "done" proves little, so real jails try
//! what is forbidden before the first program runs in one. Those of Keepgate's own tools are tried,
//! and a jail of every foreign manifest.
//!
//! What gets through, in any of them, is the jailer's failure, and none is used. A foreign jail that
//! cannot be made, or in which what is allowed does not work, is its manifest's: programs under that
//! one are not started, and the others are.

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
use crate::wire::messages::{JailEnd, Limiting, SelfTest, UNUSABLE_MAX, Unusable};
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
/// Characters of a reason, and of a hint, why a manifest cannot be used.
const WHY_MAX: usize = 400;
/// Jails of the self-test at a time.
const AT_A_TIME: usize = 4;

/// What the self-test means for service.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Jails may be used.
    pub(super) fit: bool,
    /// Why not, in one line; empty where fit.
    pub(super) why: String,
    /// What mends it, where somebody can.
    pub(super) hint: Option<String>,
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

/// Allowed actions that failed.
#[derive(Debug, Default)]
struct Broken {
    /// In jails of Keepgate's own tools, by name.
    native: Vec<String>,
    /// In foreign jails: manifest and what, a manifest once.
    foreign: Vec<(String, String)>,
}

/// How one ended.
#[derive(Debug)]
struct Tried {
    trial: Trial,
    end: std::result::Result<JailEnd, NeverRan>,
    output: Vec<u8>,
}

/// Runs the self-test in jails like those of programs. Cgroups that do not do what they are for are
/// given up, with the reason; without them nothing is fit, unless that is in `accept`.
///
/// # Errors
/// Fails where a native jail cannot be started or does not answer.
pub(super) fn self_test(jails: &mut Jails, separation: &str, accept: &[String]) -> Result<Verdict> {
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
        unusable: Vec::new(),
        took_us: 0,
    };
    let lack = jails.cgroups().degraded();
    report.degraded.extend(lack.map(Into::into));
    let refused = lack.filter(|name| !accept.iter().any(|known| known == name));
    let mut broken = Broken::default();
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
    for (manifest, why) in broken.foreign {
        jails.exclude(manifest, why);
    }
    report.unusable = told(jails.unusable());
    report.took_us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut why = why_unfit(&report, &broken.native);
    let mut hint = None;
    if let (Some(name), true) = (refused, why.is_empty()) {
        let Limiting {
            why: lacks, mend, ..
        } = &report.limiting;
        let lacks = lacks.as_deref().unwrap_or("a controller is missing");
        let mend = mend.as_deref().unwrap_or("mend that");
        why = format!("jails have no cgroups of their own: {lacks}");
        hint = Some(format!(
            "{mend}; or say that you know: `accept = [\"{name}\"]` in `[appliance]`"
        ));
    }
    Ok(Verdict {
        fit: why.is_empty(),
        why,
        hint,
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
    let (mut trying, mut tried) = (BTreeMap::new(), Vec::new());
    for trial in trials {
        match start(jails, trial)? {
            Ok(one) => drop(trying.insert(one.running.slot, one)),
            Err(never) => tried.push(never),
        }
    }
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

/// A jail of the self-test; or that of a foreign manifest could not be started.
fn start(jails: &mut Jails, trial: Trial) -> Result<std::result::Result<Trying, Tried>> {
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
    let running = match (running, &trial) {
        (Ok(running), _) => running,
        (Err(trouble), Trial::Foreign(_)) => {
            let why = trouble.detail;
            return Ok(Err(Tried {
                trial,
                end: Err(NeverRan { why, exec: None }),
                output: Vec::new(),
            }));
        }
        (Err(trouble), Trial::Native | Trial::Deadly(..)) => {
            return Err(Error::new(what()).because(trouble.detail));
        }
    };
    Ok(Ok(Trying {
        trial,
        running,
        output,
        proxy: None,
    }))
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
    fn judge(self, report: &mut SelfTest, broken: &mut Broken) -> Result<()> {
        let end = match (&self.trial, &self.end) {
            (Trial::Deadly(_, name), Ok(end)) => {
                report.attempted += 1;
                if end.signal != Some(libc::SIGSYS) {
                    report.succeeded.push((*name).to_owned());
                }
                return Ok(());
            }
            (Trial::Native | Trial::Foreign(_), Ok(end)) => end,
            (Trial::Foreign(name), Err(never)) => {
                broken.foreign.push((name.clone(), never.why.clone()));
                return Ok(());
            }
            (Trial::Native | Trial::Deadly(..), Err(never)) => {
                return Err(Error::new(what()).because(never.why.clone()));
            }
        };
        let findings: Option<Findings> = serde_json::from_slice(&self.output).ok();
        match (self.trial, findings) {
            (Trial::Foreign(name), None) => {
                broken.foreign.push((name, mute(end, &self.output)));
            }
            (Trial::Native | Trial::Deadly(..), None) => {
                return Err(Error::new(mute(end, &self.output)));
            }
            (Trial::Foreign(name), Some(findings)) => {
                report.attempted += findings.attempted;
                let through = findings.succeeded.iter();
                report
                    .succeeded
                    .extend(through.map(|action| format!("{name}/{action}")));
                if !findings.broken.is_empty() {
                    let what = findings.broken.join(", ");
                    let why = format!("does not work in its jail: {what}");
                    broken.foreign.push((name, why));
                }
            }
            (Trial::Native | Trial::Deadly(..), Some(findings)) => {
                report.attempted += findings.attempted;
                report.succeeded.extend(findings.succeeded);
                broken.native.extend(findings.broken);
            }
        }
        Ok(())
    }
}

fn mute(end: &JailEnd, output: &[u8]) -> String {
    let told = String::from_utf8_lossy(output);
    let told = Escaped::cut(&told, 200);
    let (code, signal) = (end.code, end.signal);
    format!("the self-test gave no report: status {code:?}, signal {signal:?}, output `{told}`")
}

/// As much of it as one frame takes; every name.
fn told(unusable: &[Unusable]) -> Vec<Unusable> {
    let mut left = UNUSABLE_MAX;
    let tell = |one: &Unusable| {
        let cut = |text: &str| Escaped::again(text, WHY_MAX).to_string();
        let Unusable {
            manifest,
            why,
            hint,
        } = one;
        let told = Unusable {
            manifest: manifest.clone(),
            why: cut(why),
            hint: hint.as_deref().map(cut),
        };
        let length = serde_json::to_vec(&told).map_or(usize::MAX, |told| told.len());
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => {
                let why = "the jailer's diagnostics say why".to_owned();
                return Unusable {
                    why,
                    hint: None,
                    ..told
                };
            }
        }
        told
    };
    unusable.iter().map(tell).collect()
}

/// Why nothing may be used: what got through, anywhere, and what of Keepgate's own does not work.
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

    /// A jail that lets something through is no manifest's matter: perhaps all of them do.
    #[test]
    fn what_got_through_in_a_foreign_jail_makes_unfit_and_what_fails_there_does_not() {
        let mut report = SelfTest {
            separation: String::new(),
            landlock_abi: 7,
            attempted: 0,
            succeeded: Vec::new(),
            degraded: Vec::new(),
            limiting: Limiting::default(),
            unusable: Vec::new(),
            took_us: 1,
        };
        let mut broken = Broken::default();
        let end = JailEnd {
            code: Some(1),
            signal: None,
            limit: None,
            denials: Vec::new(),
            wall_us: 0,
            cpu_us: 0,
            rss_kib: 0,
            peak_kib: None,
        };
        let tried = |name: &str, output: &str| Tried {
            trial: Trial::Foreign(name.into()),
            end: Ok(end.clone()),
            output: output.into(),
        };
        for (name, output) in [
            ("good", r#"{"attempted":3,"succeeded":[],"broken":[]}"#),
            (
                "lame",
                r#"{"attempted":3,"succeeded":[],"broken":["ctl_x"]}"#,
            ),
            ("mute", ""),
        ] {
            tried(name, output).judge(&mut report, &mut broken).unwrap();
        }
        assert_eq!(why_unfit(&report, &broken.native), "");
        let named = broken.foreign.iter().map(|(name, _)| name.as_str());
        assert_eq!(named.collect::<Vec<_>>(), ["lame", "mute"]);
        assert_eq!(report.attempted, 6);
        let leaky = r#"{"attempted":3,"succeeded":["net_udp"],"broken":["ctl_x"]}"#;
        let leaky = tried("leaky", leaky);
        leaky.judge(&mut report, &mut broken).unwrap();
        let why = why_unfit(&report, &broken.native);
        assert_eq!(why, "the jail let through: leaky/net_udp");
    }

    #[test]
    fn however_many_cannot_be_used_each_is_named_and_one_frame_holds_them() {
        let one = |number: usize| Unusable {
            manifest: format!("m{number}"),
            why: "x\u{1b}".repeat(1_000),
            hint: Some("y".repeat(1_000)),
        };
        let all: Vec<Unusable> = (0..200).map(one).collect();
        let told = told(&all);
        assert_eq!(told.len(), 200);
        assert!(told[0].why.contains("x\\u{1b}") && told[0].hint.is_some());
        assert!(serde_json::to_vec(&told).unwrap().len() < crate::wire::frame::PACKET_MAX);
    }

    #[test]
    fn whatever_got_through_or_is_missing_makes_unfit() {
        let fine = SelfTest {
            separation: String::new(),
            landlock_abi: 7,
            attempted: 100,
            succeeded: Vec::new(),
            degraded: vec!["d".into()],
            limiting: Limiting::default(),
            unusable: Vec::new(),
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
