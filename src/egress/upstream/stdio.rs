//! A server in a jail: lines over the pipes of its standard input, output and error.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Does, Order, Settings};
use super::frames::MESSAGE_MAX;
use super::large::{self, Large};
use super::teller::{Teller, refuse};
use crate::error::{Context, Error, Result};
use crate::wire::line::{Line, Lines};
use crate::wire::messages::WORDS_MAX;

/// Bytes read from a pipe at one time.
const PIECE: usize = 64 << 10;
/// Bytes that wait for a server to read them, above which nothing more is put to it.
const UNREAD: usize = 8 << 20;
/// The same, above which it is ended: what waits beyond [`UNREAD`] is answers and cancellations.
const UNREAD_MAX: usize = 12 << 20;
/// Pause between two readings of its standard error: some 3 MiB a second at most.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the last words are waited for once its output has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The pipes of a server.
#[derive(Debug)]
pub(super) struct Pipes {
    input: Sender,
    output: Receiver,
    error: Receiver,
}

impl Pipes {
    /// From the descriptors of the keeper's order.
    ///
    /// # Errors
    /// Fails where they are not the three pipes they have to be.
    pub(super) fn new(fds: Vec<OwnedFd>) -> Result<Self> {
        let [input, output, error] = <[OwnedFd; 3]>::try_from(fds)
            .map_err(|_| Error::new("the upstream came without its three pipes"))?;
        let what = || "use a pipe of an upstream".into();
        Ok(Self {
            input: Sender::from_owned_fd(input).context(what)?,
            output: Receiver::from_owned_fd(output).context(what)?,
            error: Receiver::from_owned_fd(error).context(what)?,
        })
    }
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Unread {
    lines: VecDeque<Vec<u8>>,
    /// Of the first.
    written: usize,
    bytes: usize,
}

impl Unread {
    fn push(&mut self, line: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
    }

    /// Writes what the pipe takes.
    fn write(&mut self, pipe: &Sender) -> io::Result<()> {
        while let Some(line) = self.lines.front() {
            let rest = line.get(self.written..).unwrap_or_default();
            let count = match pipe.try_write(rest) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.written += count;
            self.bytes = self.bytes.saturating_sub(count);
            if count == rest.len() {
                self.lines.pop_front();
                self.written = 0;
            }
        }
        Ok(())
    }
}

/// The end of what a server writes to its standard error.
#[derive(Debug)]
struct Words {
    pipe: Receiver,
    kept: VecDeque<u8>,
    /// When it is read again; nothing once it has ended.
    next: Option<Instant>,
}

impl Words {
    fn new(pipe: Receiver) -> Self {
        Self {
            pipe,
            kept: VecDeque::new(),
            next: Some(Instant::now()),
        }
    }

    /// Waits until there is something to read.
    async fn ready(&self) {
        match self.next {
            Some(next) => {
                sleep_until(next).await;
                // An end, too, is read.
                drop(self.pipe.readable().await);
            }
            None => std::future::pending().await,
        }
    }

    fn read(&mut self, piece: &mut [u8]) {
        match self.pipe.try_read(piece) {
            Ok(count) if count > 0 => {
                let part = piece.get(..count).unwrap_or_default();
                let part = part
                    .get(count.saturating_sub(WORDS_MAX)..)
                    .unwrap_or_default();
                self.kept.extend(part);
                let over = self.kept.len().saturating_sub(WORDS_MAX);
                self.kept.drain(..over);
                self.next = Some(Instant::now() + PAUSE);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => self.next = None,
        }
    }

    /// What comes in the time in which a process dies.
    async fn last(&mut self, piece: &mut [u8]) {
        let until = Instant::now() + LAST_WORDS;
        while self.next.is_some() {
            self.next = Some(Instant::now());
            tokio::select! {
                () = self.ready() => self.read(piece),
                () = sleep_until(until) => return,
            }
        }
    }
}

/// Is its client until it ends, breaks the rules, or the keeper closes it.
pub(super) async fn run(
    settings: Settings,
    pipes: Pipes,
    mut orders: mpsc::Receiver<Order>,
    teller: &Teller,
    mut large: Large,
) {
    let Pipes {
        input,
        output,
        error,
    } = pipes;
    let mut client = Client::new(settings, Instant::now().into());
    let mut words = Words::new(error);
    let ends = Ends {
        input: &input,
        output: &output,
        words: &mut words,
    };
    let why = serve(&mut client, ends, &mut orders, teller, &mut large).await;
    refuse(&mut orders, teller).await;
    // It may go now: its standard input ends.
    drop((input, output));
    words.last(&mut vec![0; PIECE]).await;
    let (front, back) = words.kept.as_slices();
    client.end(&why.0, why.1, &[front, back].concat());
    while let Some(does) = client.next() {
        if let Does::Tell(say, blob) = does {
            teller.tell(&say, &blob).await;
        }
    }
}

/// The pipes at work.
struct Ends<'a> {
    input: &'a Sender,
    output: &'a Receiver,
    words: &'a mut Words,
}

/// Gives the reason for its end, and whether it went of its own.
async fn serve(
    client: &mut Client,
    ends: Ends<'_>,
    orders: &mut mpsc::Receiver<Order>,
    teller: &Teller,
    large: &mut Large,
) -> (String, bool) {
    let Ends {
        input,
        output,
        words,
    } = ends;
    let not = |why: &str| (why.to_owned(), false);
    let mut lines = Lines::new(MESSAGE_MAX);
    let mut unread = Unread::default();
    let mut piece = vec![0; PIECE];
    loop {
        while let Some(does) = client.next() {
            match does {
                Does::Send(message) => unread.push(message.line),
                Does::Forget(_) => {}
                Does::Tell(say, blob) => teller.tell(&say, &blob).await,
            }
        }
        if unread.write(input).is_err() {
            // It has closed its input or ended; what it still said comes first.
            unread = Unread::default();
            if client.full {
                return not("it does not read its standard input any more");
            }
        }
        client.full = unread.bytes > UNREAD;
        if unread.bytes > UNREAD_MAX {
            return not("it does not read its standard input");
        }
        let wake = client.wake();
        let wants = large.wants(lines.held());
        let finish = large.until();
        let heard = tokio::select! {
            order = orders.recv() => match order {
                Some(order) => {
                    client.obey(order, Instant::now().into());
                    Ok(())
                }
                None => return not("the keeper has closed it"),
            },
            () = large.sit(), if wants => Ok(()),
            () = at(finish.map(Into::into)) => Err(large::slow()),
            ready = output.readable(), if !wants => match ready.and_then(|()| output.try_read(&mut piece)) {
                Ok(0) => return ended(&lines),
                Ok(count) => hear(client, &mut lines, piece.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                Err(error) => {
                    return not(&format!("its standard output cannot be read: {error}"));
                }
            },
            _ = input.writable(), if !unread.lines.is_empty() => Ok(()),
            () = words.ready() => {
                words.read(&mut piece);
                Ok(())
            }
            () = at(wake) => client.tick(Instant::now().into()),
        };
        if let Err(why) = heard {
            return (why, false);
        }
    }
}

fn hear(client: &mut Client, lines: &mut Lines, mut chunk: &[u8]) -> Result<(), String> {
    let now = Instant::now().into();
    while !chunk.is_empty() {
        let (line, rest) = lines.take(chunk);
        chunk = rest;
        match line {
            Some(Line::Whole(line)) => client.hear(&line, None, now)?,
            Some(Line::TooLong) => {
                return Err(format!("it sent a line of more than {MESSAGE_MAX} bytes"));
            }
            None => {}
        }
    }
    Ok(())
}

fn ended(lines: &Lines) -> (String, bool) {
    let why = match lines.is_unfinished() {
        true => "it ended in the middle of a line",
        false => "it has ended its standard output",
    };
    (why.into(), true)
}

async fn at(wake: Option<std::time::Instant>) {
    match wake {
        Some(wake) => sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

/// A server that writes without ever ending its line: how it ends.
#[cfg(test)]
pub(super) fn flood() -> Result<(), String> {
    use super::client::Settings;
    use crate::call::id::Id;
    let settings = Settings {
        upstream: Id::random().map_err(|error| error.to_string())?,
        era: None,
        limits: crate::wire::messages::UpstreamLimits::default(),
        allow: crate::wire::messages::Passing::default(),
        streams: false,
    };
    let mut client = Client::new(settings, Instant::now().into());
    let mut lines = Lines::new(MESSAGE_MAX);
    let piece = vec![b'x'; PIECE];
    (0..1600).try_for_each(|_| hear(&mut client, &mut lines, &piece))
}
