//! The only place that writes to the terminal. Standard output is data, standard error the rest.
//!
//! What was not written by Keepgate goes through [`crate::wire::text::Escaped`] before it comes
//! here, except bytes that the user asked for as they are ([`Screen::raw`]).

use std::cell::Cell;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::exit::Exit;
use crate::error::{Context, Error, Result};

/// How a piece of text looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Titles.
    Bold,
    /// Less important.
    Dim,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
}

impl Style {
    /// Select Graphic Rendition (ECMA-48).
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
        }
    }
}

/// Where a command's words go.
#[derive(Debug)]
pub struct Screen {
    json: bool,
    colour: bool,
    closed: Cell<bool>,
}

impl Screen {
    /// `json`: one JSON object in place of text. `plain`: no colours even on a terminal.
    pub fn new(json: bool, plain: bool) -> Self {
        let colour = !json && !plain && std::io::stdout().is_terminal();
        Self {
            json,
            colour,
            closed: Cell::new(false),
        }
    }

    /// The user wants JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// There are colours.
    pub fn coloured(&self) -> bool {
        self.colour
    }

    /// Standard output is a terminal.
    pub fn is_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// The reader of standard output has gone: a command without an end should end.
    pub fn closed(&self) -> bool {
        self.closed.get() || reader_gone(std::io::stdout().as_fd())
    }

    /// `text` in a style, where there are colours.
    pub fn paint(&self, style: Style, text: impl Display) -> String {
        match self.colour {
            true => format!("\x1b[{}m{text}\x1b[0m", style.code()),
            false => text.to_string(),
        }
    }

    /// Writes text to standard output, and a line end.
    ///
    /// # Errors
    /// Fails where it takes no more, but not where its reader has gone.
    pub fn line(&self, text: impl Display) -> Result<()> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Writes a value as one line of JSON.
    ///
    /// # Errors
    /// As [`Screen::line`].
    pub fn value(&self, value: &Value) -> Result<()> {
        self.line(value)
    }

    /// The answer of a command: the value as JSON, or else the text, whichever the user wants.
    ///
    /// # Errors
    /// As [`Screen::line`].
    pub fn answer(&self, value: &Value, text: impl FnOnce(&Value) -> String) -> Result<()> {
        match self.json {
            true => self.value(value),
            false => self.line(text(value).trim_end()),
        }
    }

    /// Writes bytes as they are to standard output.
    ///
    /// # Errors
    /// As [`Screen::line`].
    pub fn raw(&self, bytes: &[u8]) -> Result<()> {
        if self.closed.get() {
            return Ok(());
        }
        let mut output = std::io::stdout().lock();
        match output.write_all(bytes).and_then(|()| output.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed.set(true);
                Ok(())
            }
            written => written.context(|| "write to standard output".into()),
        }
    }

    /// A remark beside the data: on standard error, and not with `--json`.
    pub fn note(&self, text: impl Display) {
        if !self.json {
            complain(&format!("{text}\n"));
        }
    }

    /// Asks a person, on standard error and standard input, which must be terminals. Anything but
    /// `y` or `yes` means no.
    pub fn confirm(&self, question: &str) -> bool {
        complain(&format!("{question} [y/N] "));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    /// There is a person who can be asked.
    pub fn has_person(&self) -> bool {
        !self.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Shows why a command failed; gives its exit code.
    pub fn error(&self, error: &Error) -> Exit {
        self.error_as(error, Exit::from(error.kind()))
    }

    /// As [`Screen::error`], with an exit code of its own.
    pub fn error_as(&self, error: &Error, exit: Exit) -> Exit {
        complain(&shown(error, exit, self.json, self.colour));
        exit
    }
}

/// The error as JSON or text.
fn shown(error: &Error, exit: Exit, json: bool, colour: bool) -> String {
    if json {
        let value = json!({"error": {
            "kind": exit.name(),
            "exit": exit.code(),
            "message": error.message(),
            "hint": error.hint_text(),
        }});
        return format!("{value}\n");
    }
    let (red, end) = if colour {
        ("\x1b[31;1m", "\x1b[0m")
    } else {
        ("", "")
    };
    let mut text = format!("{red}error:{end} {}\n", error.message());
    if let Some(hint) = error.hint_text() {
        text += &format!("\nhint: {hint}\n");
    }
    text
}

/// The other end of a pipe or socket is closed (poll(2): `POLLERR`); never so of files.
fn reader_gone(fd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled
            .iter()
            .filter_map(PollFd::revents)
            .any(|found| found.intersects(gone))
}

/// Nobody can be told that standard error is closed.
fn complain(text: &str) {
    let mut stderr = std::io::stderr().lock();
    drop(stderr.write_all(text.as_bytes()));
    drop(stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn an_error_is_text_or_one_object() {
        let error = Error::of(Kind::Denied, "open `x`").hint("ask");
        let exit = Exit::from(error.kind());
        assert_eq!(
            shown(&error, exit, false, false),
            "error: open `x`\n\nhint: ask\n"
        );
        let value: Value = serde_json::from_str(&shown(&error, exit, true, false)).unwrap();
        let expected = json!({"kind": "denied", "exit": 10, "message": "open `x`", "hint": "ask"});
        assert_eq!(value["error"], expected);
    }

    #[test]
    fn a_reader_that_goes_away_is_noticed_without_writing() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(!reader_gone(writer.as_fd()));
        drop(reader);
        assert!(reader_gone(writer.as_fd()));
        let file = tempfile::tempfile().unwrap();
        assert!(!reader_gone(file.as_fd()));
    }

    #[test]
    fn without_a_terminal_nothing_is_coloured() {
        let screen = Screen {
            json: false,
            colour: false,
            closed: Cell::new(false),
        };
        assert_eq!(screen.paint(Style::Bad, "x"), "x");
        let screen = Screen {
            colour: true,
            ..screen
        };
        assert_eq!(screen.paint(Style::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
