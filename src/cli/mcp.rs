//! `keepgate mcp`: what an MCP client starts as its server. It passes bytes between its standard
//! input and output and the agent's socket, and understands none of them.
//!
//! The option `--agent` only selects the socket; who may use it, the kernel and the front decide by
//! uid.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::Paths;
use crate::error::{Context, Error, Kind, Result};
use crate::wire::text::escaped;

/// Bytes copied at one time.
const CHUNK: usize = 64 << 10;

/// Passes bytes between standard input and output and the socket of `agent` in `plane` until
/// either side ends.
///
/// # Errors
/// Fails where the socket is not there or refuses this user, and where the daemon goes away first.
pub fn run(paths: &Paths, plane: &str, agent: &str) -> Result<()> {
    let socket = connect(&paths.agent_socket(plane, agent), plane, agent)?;
    let what = || "copy standard input and output".into();
    let input = File::from(io::stdin().as_fd().try_clone_to_owned().context(what)?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned().context(what)?);
    relay(socket, input, output)
}

fn connect(path: &Path, plane: &str, agent: &str) -> Result<UnixStream> {
    UnixStream::connect(path).map_err(|error| {
        let (plane, agent) = (escaped(plane), escaped(agent));
        let why = error.kind();
        let failed = |kind| {
            Error::of(
                kind,
                format!("connect to agent `{agent}` in plane `{plane}`"),
            )
            .because(error)
        };
        if why == io::ErrorKind::NotFound && path.parent().is_some_and(Path::is_dir) {
            failed(Kind::Usage).hint(format!(
                "no such agent is enrolled, or its plane is still starting; \
                 `keepgate agent add {agent} --plane {plane}` enrols it"
            ))
        } else if why == io::ErrorKind::PermissionDenied {
            failed(Kind::Denied).hint(
                "run it as the user this agent was enrolled for; \
                 `keepgate agent list` shows the uid",
            )
        } else {
            failed(Kind::Other).hint(
                "the daemon does not run, or not for this plane; start it with `keepgate serve`",
            )
        }
    })
}

/// Two threads, one for each direction: no direction can hold up the other.
fn relay(
    socket: UnixStream,
    mut input: impl Read + Send + 'static,
    mut output: impl Write,
) -> Result<()> {
    let what = || "talk to the daemon".to_owned();
    let input_ended = Arc::new(AtomicBool::new(false));
    let (to, mut from) = (socket.try_clone().context(what)?, socket);
    let ended = Arc::clone(&input_ended);
    std::thread::spawn(move || {
        // If the daemon goes away, the other direction says so.
        if copy(&mut input, &mut &to).is_ok() {
            ended.store(true, Ordering::SeqCst);
            // Answers to what was sent still come.
            drop(to.shutdown(Shutdown::Write));
        }
    });
    let copied = copy(&mut from, &mut output);
    match copied {
        // The client is gone; there is nobody to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        _ if input_ended.load(Ordering::SeqCst) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error).context(what),
        Ok(()) | Err(_) => Err(Error::new("the daemon closed the connection")
            .hint("`keepgate status` says why; start the client again once it serves")),
    }
}

/// Copies until the end, whatever comes as soon as it comes.
///
/// Not `io::copy`: that uses splice(2), which keeps a pipe locked while it waits for a socket, and a
/// client that reads its end of that pipe is stuck in the kernel until the daemon says something.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(chunk.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn bytes_pass_both_ways_until_the_input_ends() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let daemon = std::thread::spawn(move || {
            let mut asked = Vec::new();
            (&theirs).read_to_end(&mut asked).unwrap();
            (&theirs).write_all(&asked).unwrap();
        });
        let long: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut output = Vec::new();
        relay(ours, io::Cursor::new(long.clone()), &mut output).unwrap();
        daemon.join().unwrap();
        assert!(output == long);
    }

    #[test]
    fn a_daemon_that_goes_away_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_open, never) = UnixStream::pair().unwrap();
        (&theirs).write_all(b"last words\n").unwrap();
        drop(theirs);
        let mut output = Vec::new();
        let error = relay(ours, never, &mut output).unwrap_err();
        assert_eq!(error.message(), "the daemon closed the connection");
        assert_eq!(output, b"last words\n");
    }

    #[test]
    fn a_client_that_goes_away_is_none() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_open, never) = UnixStream::pair().unwrap();
        let (output, gone) = UnixStream::pair().unwrap();
        drop(gone);
        (&theirs).write_all(b"x\n").unwrap();
        relay(ours, never, output).unwrap();
    }

    #[test]
    fn a_client_can_look_at_its_empty_pipe() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (input, _open) = UnixStream::pair().unwrap();
        let (pipe, output) = nix::unistd::pipe().unwrap();
        let shim = std::thread::spawn(move || relay(ours, input, File::from(output)));
        (&theirs).write_all(b"x").unwrap();
        let mut byte = [0];
        File::from(pipe.try_clone().unwrap())
            .read_exact(&mut byte)
            .unwrap();
        // The shim waits for the daemon now; with splice(2) a read that never waits would.
        let nonblocking = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(&pipe, nonblocking).unwrap();
        let (say, hear) = std::sync::mpsc::channel();
        let client = std::thread::spawn(move || {
            for _ in 0..1000 {
                let empty = nix::unistd::read(&pipe, &mut [0]);
                assert_eq!(empty, Err(nix::errno::Errno::EAGAIN));
            }
            say.send(()).unwrap();
            pipe
        });
        hear.recv_timeout(std::time::Duration::from_secs(20))
            .unwrap();
        let _pipe = client.join().unwrap();
        drop(theirs);
        assert!(shim.join().unwrap().is_err());
    }

    #[test]
    fn a_missing_socket_is_explained() {
        let directory = tempfile::tempdir().unwrap();
        let hint = |path: &Path| {
            let error = connect(path, "p", "a\u{1b}").unwrap_err();
            assert!(
                error
                    .message()
                    .starts_with("connect to agent `a\\u{1b}` in plane `p`: ")
            );
            error.hint_text().unwrap().to_owned()
        };
        assert!(hint(&directory.path().join("none/a.sock")).contains("keepgate serve"));
        assert!(hint(&directory.path().join("a.sock")).contains("keepgate agent add"));
        let stale = directory.path().join("stale.sock");
        drop(UnixListener::bind(&stale).unwrap());
        assert!(hint(&stale).contains("keepgate serve"));
    }
}
