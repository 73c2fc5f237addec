//! What it costs that a server is in a jail, and egress its client: an echo through both, against
//! the same server driven directly, in turns.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use keepgate::call::id::Id;
use keepgate::egress::EgressSetup;
use keepgate::jail::cgroup::{Delegation, Lack};
use keepgate::jail::confine::Confine;
use keepgate::jail::foreign::users::Users;
use keepgate::jail::{NO_CGROUPS, TOO_OLD};
use keepgate::jailer::JailerSetup;
use keepgate::keeper::links::Links;
use keepgate::keeper::upstreams::compare::pin;
use keepgate::keeper::upstreams::plan::{Launch, Server};
use keepgate::keeper::upstreams::{Answer, Nobody, Question, Upstreams};
use keepgate::sys::{process, spawn};
use keepgate::wire::frame;
use keepgate::wire::messages::{Control, Era, Passing, Report as Said, Role, UpstreamLimits};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::report::{Report, median};

/// Questions of one turn, and turns.
const QUESTIONS: usize = 200;
const TURNS: usize = 5;
const JAILER: u32 = 64_791;
const EGRESS: u32 = 64_792;
const USERS: Users = Users {
    first: 64_800,
    count: 16,
};
/// What a gateway that only passes bytes on takes, against a server driven over its pipes.
const MOST: f64 = 23.0;

/// An MCP server with one tool; it says again what it is told.
const SERVER: &str = include_str!("echo.py");
/// Its tool, as it lists it.
const TOOL: &str = r#"{"name":"echo","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}}"#;
const PARAMS: &str = r#"{"name":"echo","arguments":{"text":"hello"}}"#;

/// A role of the product, ready and linked.
struct Process {
    control: OwnedFd,
    link: OwnedFd,
    _hold: Sender<()>,
}

impl Process {
    fn start(role: &'static str, setup: &impl Serialize) -> Self {
        let (control, theirs) = frame::pair().unwrap();
        let (hold, released) = channel::<()>();
        std::thread::spawn(move || {
            process::no_new_privs().unwrap();
            let program = File::open(crate::binary()).unwrap();
            let child = spawn::role(OwnedFd::from(program), role, "bench", theirs.as_fd()).unwrap();
            drop(theirs);
            // The end of this thread is the role's.
            assert!(released.recv().is_err());
            drop(child);
        });
        let blob = serde_json::to_vec(setup).unwrap();
        frame::send(control.as_fd(), &Control::Setup, &blob, &[]).unwrap();
        let said = frame::recv::<Said>(control.as_fd(), 0).unwrap().unwrap();
        assert!(matches!(said.say, Said::Ready), "{said:?}");
        let (link, theirs) = frame::pair().unwrap();
        let say = Control::Link { peer: Role::Keeper };
        frame::send(control.as_fd(), &say, &[], &[theirs.as_fd()]).unwrap();
        Self {
            control,
            link,
            _hold: hold,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(frame::send(self.control.as_fd(), &Control::Stop, &[], &[]));
    }
}

/// The server without anything around it.
struct Direct {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    id: u64,
}

impl Direct {
    fn start() -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-I", "-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self {
            child,
            input,
            output: BufReader::new(output),
            id: 0,
        }
    }

    fn ask(&mut self) -> f64 {
        self.id += 1;
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"tools/call\",\"params\":{PARAMS}}}\n",
            self.id
        );
        let begun = Instant::now();
        self.input.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        let took = begun.elapsed().as_secs_f64();
        assert!(answer.contains("hello"), "{answer}");
        took
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn confine(uid: u32) -> Confine {
    Confine {
        uid: Some(uid),
        ..Confine::default()
    }
}

/// Measures it.
pub(crate) fn measure(report: &mut Report) {
    let manifest = crate::jail::foreign();
    let jailer = Process::start(
        "jailer",
        &JailerSetup {
            confine: confine(JAILER),
            plane: "bench".into(),
            jail_users: Some(USERS),
            pins: BTreeMap::new(),
            manifests: vec![manifest.clone()],
            observe: false,
            ahead: 0,
            separation: "separate uids".into(),
            roots: vec![],
            accept: vec![NO_CGROUPS.into(), TOO_OLD.into()],
            cgroup: Delegation {
                path: None,
                lack: Some(Lack::new("not measured", "")),
            },
        },
    );
    let egress = Process::start(
        "egress",
        &EgressSetup {
            confine: confine(EGRESS),
            plane: "bench".into(),
            resolvers: vec![],
            ca: vec![],
            roots: vec![],
        },
    );
    let links: Arc<Links> = Arc::default();
    for (role, process) in [(Role::Jailer, &jailer), (Role::Egress, &egress)] {
        let socket = Arc::new(process.link.try_clone().unwrap());
        links.join(role, Arc::clone(&socket));
        let links = Arc::clone(&links);
        std::thread::spawn(move || links.read(role, &socket));
    }
    let tool = RawValue::from_string(TOOL.into()).unwrap();
    let server = Arc::new(Server {
        name: "echo".into(),
        digest: "echo".into(),
        secrets: String::new(),
        launch: Launch::Jailed {
            manifest: Box::new(manifest),
            program: "/usr/bin/python3".into(),
            argv: ["python3", "-I", "-c", SERVER].map(str::to_owned).to_vec(),
        },
        limits: UpstreamLimits::default(),
        allow: Passing::default(),
        idle: Duration::from_secs(600),
        tools: BTreeMap::from_iter(pin(&tool)),
        beside: None,
    });
    let upstreams = Upstreams::new(links, Arc::new(Nobody));
    let ask = || {
        let question = Question {
            agent: "bench",
            era: Era::Stateless,
            ticket: Id::random().unwrap(),
            method: "tools/call",
            params: PARAMS.as_bytes(),
            wall: Duration::from_secs(60),
            progress: false,
            effect: true,
            headers: &[],
        };
        let begun = Instant::now();
        let answer = upstreams.ask(&server, question, &mut |_| {}).unwrap();
        let took = begun.elapsed().as_secs_f64();
        assert!(matches!(answer, Answer::Result(_)));
        took
    };
    let first = ask();
    let mut direct = Direct::start();
    direct.ask();
    let (mut through, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        through.extend((0..QUESTIONS).map(|_| ask()));
        bare.extend((0..QUESTIONS).map(|_| direct.ask()));
    }
    let (through, bare) = (median(&mut through), median(&mut bare));
    report.note(
        "gateway: a jailed server's start and first answer",
        ms(first),
    );
    report.note("gateway: an echo, the server driven directly", ms(bare));
    report.note(
        "gateway: an echo, in a jail and through egress",
        ms(through),
    );
    report.at_most(
        "gateway: the second against the first",
        through / bare,
        MOST,
        "x",
    );
}

fn ms(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1e3)
}
