//! The loop of `jail run`: bytes both ways, the jailer's and egress' words, signals, limits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Gid, Uid, fchown, pipe2};

use super::Failure;
use super::hands::Hands;
use super::program::Found;
use super::pump::{End, Pump};
use super::users::Own;
use crate::error::{Context, Error, Result};
use crate::sys::stdio;
use crate::wire::messages::{Hop, JailEnd};

/// How long egress, or a killed jail, has to say its last word, and we to pass on the last bytes.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Bytes kept of each output where it is not passed on.
pub(super) const KEPT_MAX: usize = 1 << 20;

/// The limit that was met where more came out than may.
pub(super) const OUTPUT: &str = "output";

/// This command's own descriptors and signals, made ready before it gives up what that needs.
#[derive(Debug)]
pub(super) struct Ends {
    input: End,
    output: End,
    error: End,
    signals: SignalFd,
}

/// How it all ended.
#[derive(Debug)]
pub(super) struct Ran {
    /// The jail's end; `limit` says `output` where that was the reason.
    pub(super) end: JailEnd,
    /// Connections through its proxy.
    pub(super) hops: Vec<Hop>,
    /// The signal that ended this command, where one did.
    pub(super) signal: Option<i32>,
    /// Standard output and error: what was kept, and how many bytes there were.
    pub(super) kept: [(Vec<u8>, u64); 2],
    /// Why not all of standard input was read.
    pub(super) unread: Option<io::Error>,
    /// Why not all of standard output and error was passed on.
    pub(super) lost: [Option<io::Error>; 2],
}

impl Ends {
    /// `keep`: output is kept in place of being passed on. Signals that ask to end are from now on
    /// read by the loop.
    ///
    /// # Errors
    /// Fails where what has to be written has nowhere to go, before anything runs.
    pub(super) fn new(keep: bool) -> Result<Self> {
        let outputs = [(1, "output", true), (2, "error", !keep)];
        for (number, which, wanted) in outputs {
            if wanted && stdio::was_closed(number) {
                let hint = "give it a file or a pipe; `/dev/null` if nobody is to read it";
                return Err(Error::new(format!("standard {which} is closed")).hint(hint));
            }
        }
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        let out = |fd| match keep {
            true => Ok(End::Kept(Vec::new(), KEPT_MAX)),
            false => End::inherited(fd, false),
        };
        let mut signals = SigSet::empty();
        let ignored = ignored();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // What whoever started this has it ignore (`nohup`, `trap ''`) ends nothing.
            if ignored >> (signal as u32 - 1) & 1 == 0 {
                signals.add(signal);
            }
        }
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let ends = Self {
            input: End::inherited(input.as_fd(), true)?,
            output: out(output.as_fd())?,
            error: out(error.as_fd())?,
            signals: SignalFd::with_flags(&signals, flags)
                .context(|| "watch for signals".into())?,
        };
        signals.thread_block().context(|| "block signals".into())?;
        Ok(ends)
    }
}

/// Signals that this process ignores, as bits from the first one on (proc_pid_status(5), `SigIgn`);
/// none, where the kernel does not say.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default()
}

/// The three ways of bytes.
struct Ways {
    input: Pump,
    outputs: [Pump; 2],
    /// Bytes that may still come out.
    room: u64,
    /// More came out than that.
    flooded: bool,
}

impl Ways {
    /// Makes the pipes; gives the jail's ends of them.
    fn new(ends: (End, End, End), room: u64) -> Result<(Self, [OwnedFd; 3])> {
        let pipe = || pipe2(OFlag::O_CLOEXEC).context(|| "make a pipe".into());
        let ((their_in, our_in), (our_out, their_out), (our_err, their_err)) =
            (pipe()?, pipe()?, pipe()?);
        // Programs open their own output once more, as /dev/stderr: it has to be theirs.
        if let Some(own) = Own::new()? {
            let user = (Some(Uid::from_raw(own.jail)), Some(Gid::from_raw(own.jail)));
            for end in [&their_in, &their_out, &their_err] {
                fchown(end, user.0, user.1).context(|| "give a pipe away".into())?;
            }
        }
        let (input, output, error) = ends;
        let ways = Self {
            input: Pump::new(input, End::pipe(our_in)?),
            outputs: [
                Pump::new(End::pipe(our_out)?, output),
                Pump::new(End::pipe(our_err)?, error),
            ],
            room,
            flooded: false,
        };
        Ok((ways, [their_in, their_out, their_err]))
    }

    fn step(&mut self, way: usize) {
        let Some(pump) = self.outputs.get_mut(way) else {
            return self.input.step(u64::MAX);
        };
        let before = pump.moved;
        pump.step(self.room);
        let came = pump.moved.saturating_sub(before);
        self.flooded |= came > self.room;
        self.room = self.room.saturating_sub(came);
    }

    fn drained(&self) -> bool {
        self.outputs.iter().all(Pump::done)
    }
}

/// Who is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Way(usize),
    Signal,
    Jailer,
    Egress,
}

/// Runs the program to its end.
pub(super) fn run(
    mut hands: Hands<'_>,
    found: Found,
    argv: &[String],
    ends: Ends,
    room: u64,
) -> Result<Ran, Failure> {
    let Ends {
        input,
        output,
        error,
        signals,
    } = ends;
    let (mut ways, theirs) = Ways::new((input, output, error), room)?;
    hands.run(found, argv, theirs)?;
    let mut signal = None;
    let mut flooded = false;
    let mut until: Option<Instant> = None;
    while !(hands.complete() && ways.drained()) {
        let Some(ready) = wait(&hands, &ways, &signals, until)? else {
            // Whoever did not speak by now never will, and what nobody reads is not waited for.
            break;
        };
        for who in ready {
            match who {
                Who::Way(way) => ways.step(way),
                Who::Jailer => hands.hear_jailer()?,
                Who::Egress => hands.hear_egress(),
                Who::Signal => {
                    let read = signals.read_signal().ok().flatten();
                    let number = read.and_then(|read| i32::try_from(read.ssi_signo).ok());
                    if signal.is_some() {
                        // Asked twice: not even the last words are waited for.
                        until = Some(Instant::now());
                    }
                    signal = signal.or(number);
                    hands.kill();
                }
            }
        }
        if ways.flooded && !flooded {
            flooded = true;
            hands.kill();
        }
        if hands.end.is_some() {
            ways.input.close();
        }
        // From here on only last words are missing. A reader of our output that is slow is waited
        // for, unless we were told to end.
        let silent = hands.end.is_some() && !hands.complete();
        if until.is_none() && (signal.is_some() || silent) {
            until = Some(Instant::now() + LAST_WORDS);
        } else if signal.is_none() && hands.complete() {
            until = None;
        }
    }
    let mut end = match (hands.end, signal) {
        (Some(end), _) => end,
        (None, Some(signal)) => lost(signal),
        (None, None) => return Err(Error::new("the jailer did not say how the jail ended").into()),
    };
    if flooded {
        end.limit = Some(OUTPUT.into());
    }
    let hops = hands.hops.unwrap_or_default();
    let lost = ways.outputs.each_mut().map(|pump| pump.lost.take());
    let kept = ways.outputs.map(|pump| {
        let moved = pump.moved;
        (pump.into_kept(), moved)
    });
    Ok(Ran {
        end,
        hops,
        signal,
        kept,
        unread: ways
            .input
            .lost
            .take()
            .filter(|error| error.kind() != io::ErrorKind::BrokenPipe),
        lost,
    })
}

/// Who is ready; nothing where nobody was until then.
fn wait(
    hands: &Hands<'_>,
    ways: &Ways,
    signals: &SignalFd,
    until: Option<Instant>,
) -> Result<Option<Vec<Who>>> {
    let mut who = vec![Who::Signal];
    let mut polled = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    if hands.end.is_none() {
        who.push(Who::Jailer);
        polled.push(PollFd::new(
            hands.jailer.role.link.as_fd(),
            PollFlags::POLLIN,
        ));
    }
    if let (Some(egress), None) = (&hands.egress, &hands.hops) {
        who.push(Who::Egress);
        polled.push(PollFd::new(egress.link.as_fd(), PollFlags::POLLIN));
    }
    for (way, pump) in ways.outputs.iter().chain([&ways.input]).enumerate() {
        let Some(fd) = pump.poll() else { continue };
        who.push(Who::Way(way));
        polled.push(fd);
    }
    let timeout = match until {
        None => PollTimeout::NONE,
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now());
            let left = left.saturating_add(Duration::from_millis(1));
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
    };
    match poll(&mut polled, timeout) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Some(Vec::new())),
        Err(errno) => return Err(Error::new("wait for the jail").because(errno)),
    }
    let ready = polled.iter().map(|fd| fd.any().unwrap_or(false));
    let ready = who.iter().zip(ready).filter(|(_, ready)| *ready);
    Ok(Some(ready.map(|(who, _)| *who).collect()))
}

/// The end of a jail whose jailer had no time to tell it.
fn lost(signal: i32) -> JailEnd {
    JailEnd {
        code: None,
        signal: Some(signal),
        limit: Some("killed".into()),
        denials: Vec::new(),
        wall_us: 0,
        cpu_us: 0,
        rss_kib: 0,
        peak_kib: None,
    }
}
