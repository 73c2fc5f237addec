//! A server in a jail of this command's own, without network and without keys, for as long as it
//! takes to ask what it has.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Gid, Uid, fchown, pipe2};

use super::session::{Session, Transport};
use crate::catalog::connector::listing::{Listed, MESSAGE_MAX};
use crate::catalog::connector::{Connector, Launch, Placing};
use crate::cli::jail::{Failure, Hands, Jailer, Own, find, private};
use crate::error::{Context, Error, Result};
use crate::jail::cgroup::{Delegation, Subtree};
use crate::sys::process::harden_supervisor;
use crate::wire::manifest::Manifest;
use crate::wire::text::Escaped;

/// Most bytes a server may send while it is vetted.
const TOTAL_MAX: usize = 64 << 20;
/// Bytes kept of its last words on standard error.
const WORDS_MAX: usize = 4 << 10;
/// Bytes read at a time.
const PIECE: usize = 64 << 10;
/// How long a jail has to say that it has ended.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Beyond the time for listing: what starting and ending take.
const SPARE_MS: u64 = 30_000;
/// Stands for every key.
const PLACEHOLDER: &str = "keepgate-placeholder";

/// Lists what a connector's server has, `times` times, each in a jail of its own; how it was jailed
/// comes back as the names of missing protections.
///
/// # Errors
/// Fails where it cannot be started, breaks the rules, or ends.
pub(super) fn list(connector: &Connector, times: usize) -> Result<(Vec<Listed>, Vec<String>)> {
    let Launch::Stdio { program, argv, .. } = &connector.launch else {
        return Err(Error::new("the connector has no server to be started"));
    };
    let manifest = vetting(connector)?;
    let name = program.to_string_lossy();
    let users = Own::new()?;
    let cgroups = Subtree::claim_own();
    let cgroup = match &cgroups {
        Ok(cgroups) => cgroups.plane(private::NAME, users.map(|users| users.jailer)),
        Err(lack) => Delegation {
            path: None,
            lack: Some(lack.clone()),
        },
    };
    harden_supervisor(manifest.observe).context(|| "harden this process".into())?;
    let patience = Duration::from_millis(connector.limits.start_ms);
    let mut jailer = private::jailer(&manifest, users, cgroup, false)?;
    let degraded = jailer.test.degraded.clone();
    let mut all = Vec::new();
    let mut failed = None;
    for _ in 0..times {
        let server = Server::start(&mut jailer, &manifest, users, &name, argv);
        match server.and_then(|server| listed(server, patience)) {
            Ok(listed) => all.push(listed),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    drop(jailer);
    if let Ok(cgroups) = cgroups {
        cgroups.release();
    }
    match failed {
        Some(error) => Err(error),
        None => Ok((all, degraded)),
    }
}

fn listed(mut server: Server<'_>, patience: Duration) -> Result<Listed> {
    match Session::list(&mut server, patience) {
        Ok((listed, _)) => {
            server.end()?;
            Ok(listed)
        }
        Err(error) => {
            let words = server.last_words();
            // The first failure is the one to be told.
            drop(server.end());
            Err(match words {
                Some(words) => Error::new(format!("{}; it said: {words}", error.message()))
                    .hint(error.hint_text().unwrap_or(HINT).to_owned()),
                None => error,
            })
        }
    }
}

const HINT: &str = "run it by hand in the same jail: `keepgate jail run`, with what `[jail]` says";

/// The connector's jail, less than it will have: no way out, nothing it may change, no key.
fn vetting(connector: &Connector) -> Result<Manifest> {
    let jail = connector.launch.jail();
    let mut manifest = jail
        .cloned()
        .ok_or_else(|| Error::new("the connector has no jail"))?;
    manifest.net.clear();
    manifest.ro.append(&mut manifest.rw);
    manifest.limits.wall_ms = connector.limits.start_ms.saturating_add(SPARE_MS);
    for slot in connector.secrets.values() {
        if let Placing::Env { name } = &slot.place {
            manifest.env.insert(name.clone(), PLACEHOLDER.into());
        }
    }
    Ok(manifest)
}

struct Server<'a> {
    hands: Hands<'a>,
    input: File,
    output: Option<File>,
    error: Option<File>,
    buffer: Vec<u8>,
    /// How far `buffer` was searched for the end of a line.
    searched: usize,
    total: usize,
    words: Vec<u8>,
}

impl<'a> Server<'a> {
    fn start(
        jailer: &'a mut Jailer,
        manifest: &'a Manifest,
        users: Option<Own>,
        program: &str,
        argv: &[String],
    ) -> Result<Self> {
        let found = find(manifest, program).map_err(|Failure { error, .. }| error)?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).context(|| "make a pipe".into());
        let ((their_in, our_in), (our_out, their_out), (our_err, their_err)) =
            (pipe()?, pipe()?, pipe()?);
        if let Some(own) = users {
            let user = (Some(Uid::from_raw(own.jail)), Some(Gid::from_raw(own.jail)));
            for end in [&their_in, &their_out, &their_err] {
                fchown(end, user.0, user.1).context(|| "give a pipe away".into())?;
            }
        }
        let hands = Hands::new(jailer, None, manifest)?;
        hands.run(found, argv, [their_in, their_out, their_err])?;
        Ok(Self {
            hands,
            input: without_waiting(our_in)?,
            output: Some(without_waiting(our_out)?),
            error: Some(without_waiting(our_err)?),
            buffer: Vec::new(),
            searched: 0,
            total: 0,
            words: Vec::new(),
        })
    }

    /// A whole line that is there already.
    fn line(&mut self) -> Option<Vec<u8>> {
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        match fresh.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let end = self.searched + at;
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.truncate(end);
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    fn read(&mut self) -> Result<()> {
        let Some(output) = &mut self.output else {
            return Ok(());
        };
        let mut piece = vec![0; PIECE];
        match output.read(&mut piece) {
            Ok(0) => self.output = None,
            Ok(count) => {
                self.total = self.total.saturating_add(count);
                self.buffer
                    .extend_from_slice(piece.get(..count).unwrap_or_default());
            }
            Err(error) if later(&error) => {}
            Err(error) => return Err(Error::new("read from the server").because(error)),
        }
        if self.total > TOTAL_MAX {
            return Err(Error::new(format!(
                "the server sends more than {TOTAL_MAX} bytes"
            )));
        }
        Ok(())
    }

    fn read_words(&mut self) {
        let Some(error) = &mut self.error else { return };
        let mut piece = [0; WORDS_MAX];
        match error.read(&mut piece) {
            Ok(0) => self.error = None,
            Ok(count) => {
                self.words
                    .extend_from_slice(piece.get(..count).unwrap_or_default());
                let spare = self.words.len().saturating_sub(WORDS_MAX);
                self.words.drain(..spare);
            }
            Err(error) if later(&error) => {}
            Err(_) => self.error = None,
        }
    }

    /// Waits for anything; false where nothing came until then.
    fn wait(&mut self, until: Instant) -> Result<bool> {
        let mut polled = Vec::new();
        let ended = self.hands.end.is_some();
        if !ended {
            polled.push((
                0,
                PollFd::new(self.hands.jailer.role.link.as_fd(), PollFlags::POLLIN),
            ));
        }
        for (who, fd) in [(1, &self.output), (2, &self.error)] {
            if let Some(fd) = fd {
                polled.push((who, PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
            }
        }
        let (who, mut fds): (Vec<u8>, Vec<PollFd<'_>>) = polled.into_iter().unzip();
        let left = until.saturating_duration_since(Instant::now());
        let left = left.saturating_add(Duration::from_millis(1));
        match poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new("wait for the server").because(errno)),
        }
        let ready = fds.iter().map(|fd| fd.any().unwrap_or(false));
        let ready: Vec<u8> = who
            .into_iter()
            .zip(ready)
            .filter_map(|(who, ready)| ready.then_some(who))
            .collect();
        for who in ready {
            match who {
                0 => self.hands.hear_jailer().map_err(|failure| failure.error)?,
                1 => self.read()?,
                _ => self.read_words(),
            }
        }
        Ok(true)
    }

    fn last_words(&mut self) -> Option<String> {
        self.read_words();
        let words = String::from_utf8_lossy(&self.words);
        let lines: Vec<&str> = words
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let last = lines.get(lines.len().saturating_sub(2)..)?.join(" | ");
        (!last.is_empty()).then(|| Escaped::cut(&last, 300).to_string())
    }

    /// Ends the jail, and waits until it has ended.
    fn end(&mut self) -> Result<()> {
        if self.hands.end.is_none() {
            self.hands.kill();
        }
        let until = Instant::now() + LAST_WORDS;
        while self.hands.end.is_none() {
            self.output = None;
            self.error = None;
            if !self.wait(until)? {
                return Err(Error::new("the jailer did not say how the server ended"));
            }
        }
        Ok(())
    }
}

impl Transport for &mut Server<'_> {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let line = [message, b"\n"].concat();
        // Questions are small: a server that reads has room for them.
        match self.input.write(&line) {
            Ok(count) if count == line.len() => Ok(()),
            Ok(_) => Err(Error::new("the server does not read what it is asked")),
            Err(error) if later(&error) => {
                Err(Error::new("the server does not read what it is asked"))
            }
            // It has ended; what it said last is read next.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Error::new("write to the server").because(error)),
        }
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.buffer.len() > MESSAGE_MAX {
                return Err(Error::new(format!(
                    "the server sends a message of more than {MESSAGE_MAX} bytes"
                )));
            }
            if self.output.is_none() {
                // The jailer will say why.
                while self.hands.end.is_none() && self.wait(Instant::now() + LAST_WORDS)? {}
                return Err(ended(self.hands.end.as_ref()));
            }
            if Instant::now() >= until || !self.wait(until)? {
                return Ok(None);
            }
        }
    }
}

fn ended(end: Option<&crate::wire::messages::JailEnd>) -> Error {
    let how = match end {
        Some(end) => match (end.code, end.signal, &end.limit) {
            (_, _, Some(limit)) => format!(": its limit `{limit}` was reached"),
            (Some(code), ..) => format!(" with status {code}"),
            (None, Some(signal), None) => format!(" by signal {signal}"),
            (None, None, None) => String::new(),
        },
        None => String::new(),
    };
    Error::new(format!("the server ended{how} before it had answered")).hint(HINT)
}

fn without_waiting(fd: OwnedFd) -> Result<File> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context(|| "set up a pipe".into())?;
    Ok(fd.into())
}

fn later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
