//! The front on a thread, with real unix sockets, a supervisor's end and a keeper's end.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::TimeVal;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tempfile::TempDir;

use super::limits::Limits;
use super::{FrontSetup, run_within};
use crate::error::Result;
use crate::jail::confine::Confine;
use crate::wire::frame;
use crate::wire::messages::{
    Control, Door, DoorTls, FrontToKeeper, KeeperToFront, Proof, Report, Role, Token, What,
};
use crate::wire::text::hex;

mod batches;
mod calls;
mod door;
mod endings;
mod http;
mod limits;
mod links;
mod news;
mod pages;
mod refusals;
mod stateless;
mod tls;
mod web;

/// How a client begins a session.
const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","clientInfo":{"name":"c","version":"1"}}}"#;
/// What a client of the stateless era says with each request.
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}}"#;

/// The token of agent `w`.
const TOKEN: &str = "keepgate_test";

/// No test waits longer for what should come.
const PATIENCE: i64 = 20;

struct Rig {
    control: OwnedFd,
    keeper: OwnedFd,
    address: Cell<Option<SocketAddr>>,
    directory: TempDir,
    front: JoinHandle<Result<()>>,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        let (control, theirs) = frame::pair().unwrap();
        patient(&control);
        let setup = FrontSetup {
            confine: Confine::default(),
            plane: "p".into(),
            version: "7.7".into(),
        };
        let front = std::thread::spawn(move || run_within(theirs, setup, limits));
        let ready = frame::recv::<Report>(control.as_fd(), 0).unwrap().unwrap();
        assert!(matches!(ready.say, Report::Ready));
        let directory = tempfile::tempdir().unwrap();
        let (keeper, _) = frame::pair().unwrap();
        let mut rig = Self {
            control,
            keeper,
            address: Cell::new(None),
            directory,
            front,
        };
        rig.link();
        rig.listen("a", nix::unistd::getuid().as_raw());
        rig
    }

    fn tell(&self, control: &Control, fd: Option<&OwnedFd>) {
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        frame::send(self.control.as_fd(), control, &[], &fds).unwrap();
    }

    fn link(&mut self) {
        let (ours, theirs) = frame::pair().unwrap();
        patient(&ours);
        self.tell(&Control::Link { peer: Role::Keeper }, Some(&theirs));
        self.keeper = ours;
    }

    fn listen(&self, agent: &str, uid: u32) {
        let listener = UnixListener::bind(self.directory.path().join(agent)).unwrap();
        self.tell(
            &Control::Listen {
                agent: agent.into(),
                uid,
            },
            Some(&listener.into()),
        );
    }

    fn connect(&self) -> Agent {
        Agent::new(UnixStream::connect(self.directory.path().join("a")).unwrap())
    }

    fn session(&self) -> Agent {
        let mut agent = self.connect();
        agent.say(HELLO);
        self.greet();
        assert_eq!(agent.hear()["result"]["serverInfo"]["version"], "7.7");
        agent.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        agent
    }

    /// Answers the next question, which is how a session begins.
    fn greet(&self) {
        let (id, method, _) = self.questioned();
        assert_eq!(method, "initialize");
        self.reply(
            &KeeperToFront::Answer { id },
            br#"{"capabilities":{"tools":{"listChanged":true}}}"#,
        );
    }

    /// The next question that is no call: its number, method and params.
    fn questioned(&self) -> (u64, String, String) {
        match self.asked() {
            (FrontToKeeper::Ask { id, method, .. }, params) => {
                (id, method, String::from_utf8(params).unwrap())
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    fn changed(&self, what: What) {
        self.changed_of("a", what);
    }

    fn changed_of(&self, agent: &str, what: What) {
        let agent = agent.into();
        self.reply(&KeeperToFront::Changed { agent, what }, &[]);
    }

    /// A door on the loopback, and an agent `w` with [`TOKEN`].
    fn door(&self) -> SocketAddr {
        let address = self.open_door(&["localhost", "127.0.0.1", "[::1]"], None);
        self.address.set(Some(address));
        self.admit_token("w", TOKEN);
        address
    }

    /// Where that door is.
    fn address(&self) -> SocketAddr {
        self.address.get().unwrap()
    }

    fn open_door(&self, hosts: &[&str], tls: Option<DoorTls>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let origin = |host: &&str| format!("http://{host}:{}", address.port());
        let door = Door {
            name: "d".into(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            origins: hosts.iter().map(origin).collect(),
            tls,
        };
        let door = serde_json::to_vec(&door).unwrap();
        let control = self.control.as_fd();
        frame::send(control, &Control::Door, &door, &[listener.as_fd()]).unwrap();
        address
    }

    fn admit_token(&self, agent: &str, token: &str) {
        let sha256 = hex(digest(&SHA256, token.as_bytes()).as_ref());
        self.admit(agent, Proof::Token(Token { sha256 }));
    }

    /// Lets an agent in, and hears that it is.
    fn admit(&self, name: &str, proof: Proof) {
        let agent = name.into();
        self.tell(&Control::Admit { agent, proof }, None);
        let told = frame::recv::<Report>(self.control.as_fd(), 0);
        let told = told.unwrap().unwrap().say;
        assert!(matches!(told, Report::Admitted { agent } if agent == name));
    }

    /// The keeper hears something before `web` does.
    fn hears_before(&self, web: &web::Web<std::net::TcpStream>) -> bool {
        first_of(&self.keeper, web)
    }

    fn heard(&self) -> (FrontToKeeper, Vec<u8>) {
        let frame = frame::recv(self.keeper.as_fd(), 2 << 20).unwrap().unwrap();
        (frame.say, frame.blob)
    }

    /// What is heard next that is not the mere beginning of a connection.
    fn asked(&self) -> (FrontToKeeper, Vec<u8>) {
        loop {
            let heard = self.heard();
            if !matches!(heard.0, FrontToKeeper::Came { .. }) {
                return heard;
            }
        }
    }

    fn opened(&self) -> (u64, String) {
        match self.asked() {
            (
                FrontToKeeper::Open {
                    id, agent, client, ..
                },
                blob,
            ) => {
                assert_eq!((agent.as_str(), client.as_str()), ("a", "c 1"));
                (id, String::from_utf8(blob).unwrap())
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    /// The question that is given up next, and whether the agent said so.
    fn cancelled(&self) -> (u64, bool) {
        match self.asked() {
            (FrontToKeeper::Cancel { id, meant }, _) => (id, meant),
            (other, _) => panic!("{other:?}"),
        }
    }

    fn noted(&self) -> String {
        self.noted_of("a")
    }

    fn noted_of(&self, name: &str) -> String {
        match self.asked() {
            (FrontToKeeper::Malformed { agent, why }, _) => {
                assert_eq!(agent, name);
                why
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    fn reply(&self, say: &KeeperToFront, blob: &[u8]) {
        frame::send(self.keeper.as_fd(), say, blob, &[]).unwrap();
    }

    fn stop(self) {
        self.stop_and(|| {});
    }

    /// Stops, and does something before that is over.
    fn stop_and(self, meanwhile: impl FnOnce()) {
        self.tell(&Control::Stop, None);
        meanwhile();
        self.front.join().unwrap().unwrap();
    }
}

fn patient(socket: &OwnedFd) {
    setsockopt(socket, ReceiveTimeout, &TimeVal::new(PATIENCE, 0)).unwrap();
}

/// Waits until one of both can be read; true where it is `one`.
fn first_of(one: impl AsFd, other: impl AsFd) -> bool {
    let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = [watch(one.as_fd()), watch(other.as_fd())];
    assert!(poll(&mut fds, 20_000_u16).unwrap() > 0, "nothing came");
    fds[0].any().unwrap()
}

struct Agent {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Agent {
    fn new(stream: UnixStream) -> Self {
        let patience = Duration::from_secs(PATIENCE.unsigned_abs());
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.set_write_timeout(Some(patience)).unwrap();
        Self {
            lines: BufReader::new(stream.try_clone().unwrap()),
            stream,
        }
    }

    fn say(&mut self, line: &str) {
        self.stream
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    fn call(&mut self, id: u32, arguments: &str) {
        self.say(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t__t","arguments":{arguments}}}}}"#
        ));
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the front closed: `{line}`");
        serde_json::from_str(&line).unwrap()
    }

    fn fault(&mut self) -> (Value, i64, String) {
        let mut answer = self.hear();
        let message = answer["error"]["message"].as_str().unwrap().to_owned();
        (
            answer["id"].take(),
            answer["error"]["code"].as_i64().unwrap(),
            message,
        )
    }

    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.lines.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// The other side closes although nothing is read.
    fn waits_for_hangup(&mut self) -> bool {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        poll(&mut fds, 20_000_u16).unwrap() > 0
    }
}

/// Every line is noted, so that tests see each of them.
fn chatty() -> Limits {
    Limits {
        note_every: Duration::ZERO,
        ..Limits::default()
    }
}
