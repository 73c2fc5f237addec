//! Asks a plane's keeper, over the operator's socket.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::error::{Context, Error, Kind, Result};
use crate::wire::admin::{Answer, Ask, LINE_MAX, Question, Token, VERSION};
use crate::wire::text::escaped;

/// How long most answers may take: calls in jails, a new agent's socket.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long building the index again may take.
const LONG: Duration = Duration::from_secs(3_600);
/// How long `status` waits, so that it always says something.
pub(super) const SHORT: Duration = Duration::from_secs(5);
/// Silence after which it is looked up whether the keeper starts at all.
const DOUBT: Duration = Duration::from_secs(3);
/// Who may ask a keeper.
pub(super) const OPERATORS: &str =
    "run it as the operator (`operator_uid` in the configuration) or as root";
/// Longest token file, in bytes.
const TOKEN_MAX: u64 = 4_096;

/// A connection to one plane's keeper.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    plane: String,
    token: Option<Token>,
    /// The supervisor's word on who runs, where that is asked for.
    status: Option<PathBuf>,
}

impl Client {
    /// Connects to the keeper of `plane`; nothing where none listens.
    ///
    /// # Errors
    /// Fails where this user may not, or something else is wrong.
    pub(super) fn reach(socket: &Path, plane: &str, token: Option<Token>) -> Result<Option<Self>> {
        let shown = || format!("connect to `{}`", escaped(&socket.to_string_lossy()));
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Some(Self {
                stream,
                plane: plane.into(),
                token,
                status: None,
            })),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(Error::of(Kind::Denied, shown())
                    .because(error)
                    .hint(OPERATORS))
            }
            Err(error) => Err(error).context(shown),
        }
    }

    /// As [`Client::reach`], but a keeper that does not listen is an error.
    pub(super) fn connect(socket: &Path, plane: &str, token: Option<Token>) -> Result<Self> {
        Self::reach(socket, plane, token)?.ok_or_else(|| {
            Error::new(format!("plane `{plane}` does not run here"))
                .hint("start it with `keepgate serve`; `keepgate status` shows what runs")
        })
    }

    /// Does not wait long for a keeper that does not start, as `status` (the supervisor's) says.
    #[must_use]
    pub(super) fn watching(self, status: PathBuf) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// Asks one question and waits for the answer.
    ///
    /// # Errors
    /// What the keeper says, or that it does not answer in time.
    pub(super) fn ask(&self, ask: Ask) -> Result<Value> {
        // An undo waits for a server as long as a manifest says that a call may take.
        let long = matches!(ask, Ask::RebuildIndex | Ask::Undo { really: true, .. });
        let patience = if long { LONG } else { PATIENCE };
        self.ask_within(ask, patience)
    }

    /// As [`Client::ask`], with a limit on each wait.
    pub(super) fn ask_within(&self, ask: Ask, patience: Duration) -> Result<Value> {
        let question = Question {
            v: VERSION,
            token: self.token.clone(),
            ask,
        };
        let mut line = serde_json::to_vec(&question).context(|| "write the question".into())?;
        line.push(b'\n');
        if line.len() > LINE_MAX {
            return Err(Error::of(
                Kind::Usage,
                "the question is too long for the keeper",
            ));
        }
        let exchange = || -> std::io::Result<Vec<u8>> {
            self.stream.set_read_timeout(Some(patience))?;
            self.stream.set_write_timeout(Some(patience))?;
            (&self.stream).write_all(&line)?;
            if let Some(why) = self.refusal(patience) {
                return Err(std::io::Error::other(why));
            }
            let most = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
            let mut answer = Vec::new();
            BufReader::new((&self.stream).take(most)).read_until(b'\n', &mut answer)?;
            Ok(answer)
        };
        let answer = exchange().map_err(|error| self.silent(error))?;
        if !answer.ends_with(b"\n") {
            return Err(self.silent(ErrorKind::UnexpectedEof.into()));
        }
        parse_answer(&answer)
    }

    /// Why no answer will come, where none comes at first and the keeper does not start.
    fn refusal(&self, patience: Duration) -> Option<String> {
        let status = self.status.as_deref()?;
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        let wait = PollTimeout::try_from(DOUBT.min(patience)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, wait) {
            Ok(0) => super::status::keeper_refuses(status, &self.plane),
            Ok(_) | Err(_) => None,
        }
    }

    fn silent(&self, error: std::io::Error) -> Error {
        let what = format!("plane `{}` does not answer", self.plane);
        if error.kind() == ErrorKind::Other {
            return Error::new(what)
                .because(error)
                .hint("mend that; the supervisor tries to start it again by itself");
        }
        let hint = "`keepgate status` says why; its keeper may be starting, or stopping";
        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
            return Error::new(format!("{what} in time")).hint(hint);
        }
        Error::new(what).because(error).hint(hint)
    }
}

/// The value, or the error, in a keeper's answer line; what a fuzzer calls.
///
/// # Errors
/// The keeper's, or that the bytes are no answer.
pub fn parse_answer(line: &[u8]) -> Result<Value> {
    let answer: Answer = serde_json::from_slice(line).map_err(|why| {
        Error::new(format!(
            "the keeper's answer is none: {}",
            escaped(&why.to_string())
        ))
        .hint("use the `keepgate` of the same version as the running one")
    })?;
    answer.into()
}

/// The operator's token from `asked`, or else from `known`, where that can be read.
pub(super) fn token(asked: Option<&PathBuf>, known: &Path) -> Result<Option<Token>> {
    let path = asked.map_or(known, PathBuf::as_path);
    let shown = || format!("read the token in `{}`", escaped(&path.to_string_lossy()));
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(path)?
            .take(TOKEN_MAX)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => Ok(Some(Token(text.trim().into()))),
        // Only an install of one user asks for a token, and says so where it is missing.
        Err(_) if asked.is_none() => Ok(None),
        Err(error) => Err(error).context(shown),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A keeper that says `answer` to whatever it is asked; gives what it was asked.
    fn keeper(answer: &'static [u8]) -> (tempfile::TempDir, std::thread::JoinHandle<Value>) {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            (&stream).write_all(answer).unwrap();
            serde_json::from_str(&line).unwrap()
        });
        (directory, thread)
    }

    fn asked(answer: &'static [u8]) -> (Result<Value>, Value) {
        let (directory, keeper) = keeper(answer);
        let token = Some(Token("secret".into()));
        let client = Client::connect(&directory.path().join("s"), "p", token).unwrap();
        let told = client.ask(Ask::Status);
        (told, keeper.join().unwrap())
    }

    #[test]
    fn questions_carry_the_token_and_answers_are_values_or_errors() {
        let (told, question) = asked(b"{\"answer\":\"ok\",\"value\":{\"a\":1}}\n");
        assert_eq!(told.unwrap()["a"], 1);
        assert_eq!(
            (&question["token"], &question["ask"]["verb"]),
            (&"secret".into(), &"status".into())
        );
        let (told, _) = asked(
            b"{\"answer\":\"error\",\"kind\":\"denied\",\"message\":\"no\",\"hint\":\"h\"}\n",
        );
        let error = told.unwrap_err();
        assert_eq!((error.kind(), error.hint_text()), (Kind::Denied, Some("h")));
    }

    #[test]
    fn a_keeper_that_dies_or_babbles_is_an_error() {
        for answer in [
            &b""[..],
            b"{\"answer\":",
            b"\x1b[2J\n",
            b"{\"answer\":\"ok\"}\n",
        ] {
            let (told, _) = asked(answer);
            let error = told.unwrap_err();
            assert!(
                error.hint_text().is_some() && !error.message().contains('\u{1b}'),
                "{error}"
            );
        }
    }

    #[test]
    fn a_silent_keeper_does_not_hold_up_status() {
        let directory = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let client = Client::connect(&directory.path().join("s"), "p", None).unwrap();
        let error = client
            .ask_within(Ask::Status, Duration::from_millis(20))
            .unwrap_err();
        assert!(error.message().ends_with("in time"), "{error}");
    }

    #[test]
    fn a_keeper_that_does_not_start_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let status = directory.path().join("status.json");
        let ask = |ready: bool| {
            let keeper = serde_json::json!({"ready": ready, "restarts": 3, "why": "no key"});
            let told = serde_json::json!({
                "pid": std::process::id(),
                "planes": {"p": {"keeper": keeper}},
            });
            std::fs::write(&status, told.to_string()).unwrap();
            let client = Client::connect(&directory.path().join("s"), "p", None).unwrap();
            let client = client.watching(status.clone());
            client.ask_within(Ask::Status, Duration::from_millis(20))
        };
        let error = ask(false).unwrap_err();
        assert_eq!(error.message(), "plane `p` does not answer: no key");
        assert!(ask(true).unwrap_err().message().ends_with("in time"));
    }

    #[test]
    fn nobody_listening_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        assert!(Client::reach(&socket, "p", None).unwrap().is_none());
        drop(UnixListener::bind(&socket).unwrap());
        assert!(Client::reach(&socket, "p", None).unwrap().is_none());
        let error = Client::connect(&socket, "p", None).unwrap_err();
        assert!(error.hint_text().unwrap().contains("keepgate serve"));
    }
}
