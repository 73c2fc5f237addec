//! A jailer and an egress, linked to a pool of servers.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keepgate::call::id::Id;
use keepgate::egress::EgressSetup;
use keepgate::jail::confine::Confine;
use keepgate::keeper::links::Links;
use keepgate::keeper::upstreams::compare::{compare, pin};
use keepgate::keeper::upstreams::plan::{Launch, Server};
use keepgate::keeper::upstreams::{Answer, Ended, Failure, Heard, Question, Told, Upstreams};
use keepgate::sys::filter::Filter;
use keepgate::sys::{process, spawn};
use keepgate::wire::frame;
use keepgate::wire::manifest::Manifest;
use keepgate::wire::messages::{Control, Era, Hop, Offer, Passing, Report, Role, UpstreamLimits};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::jailer::driver::{Jailer, program, start};
use crate::jailer::foreign::manifest;

/// The uid of egress.
const EGRESS_UID: u32 = 64_902;
/// Time for one question.
const WALL: Duration = Duration::from_secs(60);

/// Programs of these tests.
pub(super) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs")
}

/// An egress that serves. Dropped, it stops in order.
pub(super) struct Egress {
    child: spawn::RoleChild,
    control: OwnedFd,
    link: OwnedFd,
    /// Keeps the thread that started it: the end of that is the role's.
    _hold: Sender<()>,
}

impl Egress {
    fn new() -> Self {
        let (control, theirs) = frame::pair().unwrap();
        let (told, child) = channel();
        let (hold, released) = channel::<()>();
        std::thread::spawn(move || {
            process::no_new_privs().unwrap();
            Filter::supervisor().unwrap().install().unwrap();
            let child = spawn::role(program(), "egress", "test", theirs.as_fd()).unwrap();
            drop(theirs);
            told.send(child).unwrap();
            assert!(released.recv().is_err());
        });
        let setup = EgressSetup {
            confine: Confine {
                uid: Some(EGRESS_UID),
                ..Confine::default()
            },
            plane: "test".into(),
            resolvers: vec![],
            ca: vec![],
            roots: vec![],
        };
        let blob = serde_json::to_vec(&setup).unwrap();
        frame::send(control.as_fd(), &Control::Setup, &blob, &[]).unwrap();
        let said = frame::recv::<Report>(control.as_fd(), 0).unwrap().unwrap();
        assert!(matches!(said.say, Report::Ready), "{said:?}");
        let (link, theirs) = frame::pair().unwrap();
        let say = Control::Link { peer: Role::Keeper };
        frame::send(control.as_fd(), &say, &[], &[theirs.as_fd()]).unwrap();
        Self {
            child: child.recv().unwrap(),
            control,
            link,
            _hold: hold,
        }
    }

    /// Peak resident memory, in bytes.
    pub(super) fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.pid)).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        let kib = line.split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    /// Kills it.
    pub(super) fn kill(&self) {
        spawn::signal(self.child.pidfd.as_fd(), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        drop(frame::send(self.control.as_fd(), &Control::Stop, &[], &[]));
        let mut polled = [PollFd::new(self.child.pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::NONE).unwrap();
    }
}

/// What is heard outside of questions.
#[derive(Debug, Default)]
pub(super) struct Ears {
    pub(super) differs: Mutex<Vec<String>>,
    pub(super) ended: Mutex<Vec<Ended>>,
    pub(super) changed: Mutex<Vec<Offer>>,
}

impl Told for Ears {
    fn differs(&self, agent: &str, server: &Server, what: Offer, listed: &str) {
        assert_eq!(what, Offer::Tools);
        let difference = compare(listed, &server.tools);
        self.differs
            .lock()
            .unwrap()
            .push(format!("{agent}: {difference}"));
    }
    fn altered(&self, agent: &str, _: &Server, why: &str, _: &[Value]) {
        let mut differs = self.differs.lock().unwrap();
        differs.push(format!("{agent}: {why}"));
    }
    fn changed(&self, _: &str, _: &Server, what: Offer) {
        self.changed.lock().unwrap().push(what);
    }
    fn notice(&self, _: &str, _: &Server, _: &str, _: &[u8]) {}
    fn requested(&self, _: &str, _: &Server, _: &[Hop]) {}
    fn ended(&self, _: &str, _: &Server, ended: &Ended) {
        self.ended.lock().unwrap().push(Ended {
            why: ended.why.clone(),
            words: ended.words.clone(),
            jail: ended.jail.clone(),
            hops: ended.hops.clone(),
            ..*ended
        });
    }
}

/// Everything. The roles end with it.
pub(super) struct World {
    pub(super) upstreams: Upstreams,
    pub(super) ears: Arc<Ears>,
    pub(super) egress: Egress,
    jailer: Jailer,
}

impl World {
    /// With a jailer of these manifests.
    pub(super) fn new(manifests: Vec<Manifest>) -> Self {
        let jailer = start(|setup| {
            setup.roots = vec![];
            setup.manifests = manifests;
        });
        let (jailer, egress) = (jailer.unwrap(), Egress::new());
        let links: Arc<Links> = Arc::default();
        for (role, link) in [(Role::Jailer, &jailer.link), (Role::Egress, &egress.link)] {
            let socket = Arc::new(link.try_clone().unwrap());
            let generation = links.join(role, Arc::clone(&socket));
            let links = Arc::clone(&links);
            std::thread::spawn(move || {
                drop(links.read(role, &socket));
                links.lost(role, generation);
            });
        }
        let ears = Arc::new(Ears::default());
        Self {
            upstreams: Upstreams::new(links, ears.clone()),
            ears,
            egress,
            jailer,
        }
    }

    /// With a jail in which the programs of these tests run.
    pub(super) fn plain() -> Self {
        Self::new(vec![shown(|_| {})])
    }

    /// Asks for a tool's answer.
    pub(super) fn call(
        &self,
        agent: &str,
        server: &Arc<Server>,
        tool: &str,
        arguments: &Value,
    ) -> Result<Value, Failure> {
        self.ask(agent, server, tool, arguments, &mut |_| {})
    }

    /// The same, with what is heard before.
    pub(super) fn ask(
        &self,
        agent: &str,
        server: &Arc<Server>,
        tool: &str,
        arguments: &Value,
        heard: &mut dyn FnMut(Heard),
    ) -> Result<Value, Failure> {
        self.ask_in(Era::Stateless, agent, server, (tool, arguments), heard)
    }

    /// The same for a client of that era.
    pub(super) fn ask_in(
        &self,
        era: Era,
        agent: &str,
        server: &Arc<Server>,
        (tool, arguments): (&str, &Value),
        heard: &mut dyn FnMut(Heard),
    ) -> Result<Value, Failure> {
        let params = serde_json::json!({"name": tool, "arguments": arguments}).to_string();
        let question = Question {
            agent,
            era,
            ticket: Id::random().unwrap(),
            method: "tools/call",
            params: params.as_bytes(),
            wall: WALL,
            progress: true,
            effect: true,
            headers: &[],
        };
        match self.upstreams.ask(server, question, heard)? {
            Answer::Result(json) => Ok(serde_json::from_slice(&json).unwrap()),
            Answer::Error(json) => panic!("{}", String::from_utf8_lossy(&json)),
        }
    }

    /// The text of its answer, as JSON where it is that.
    pub(super) fn text(
        &self,
        agent: &str,
        server: &Arc<Server>,
        tool: &str,
        arguments: &Value,
    ) -> Value {
        let answer = self.call(agent, server, tool, arguments);
        let answer = answer.unwrap_or_else(|why| panic!("{tool}: {why:?} {:?}", self.ears.ended));
        let text = answer["content"][0]["text"].as_str().unwrap();
        serde_json::from_str(text).unwrap_or_else(|_| text.into())
    }

    /// What `status` says of an agent's only server.
    pub(super) fn status(&self, agent: &str) -> Value {
        let all = self.upstreams.status();
        let mut own = all
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["agent"] == agent);
        own.next().cloned().unwrap_or_default()
    }

    /// The pid of the jailer.
    pub(super) fn jailer(&self) -> u32 {
        self.jailer.pid
    }
}

/// A manifest with the programs of these tests.
pub(super) fn shown(change: impl FnOnce(&mut Manifest)) -> Manifest {
    let mut manifest = manifest();
    manifest.ro.push(sources());
    change(&mut manifest);
    manifest
}

/// `upstream.py` in that mode, as it was approved in its mode `good`.
pub(super) fn server(mode: &str, change: impl FnOnce(&mut Server)) -> Arc<Server> {
    let names = [
        "count",
        "echo",
        "wait",
        "progress",
        "ask",
        "fetch",
        "misbehave",
        "change",
        "seen",
    ];
    let tools = names.map(|name| {
        let tool = serde_json::json!({"name": name, "inputSchema": {"type": "object"}});
        pin(&RawValue::from_string(tool.to_string()).unwrap()).unwrap()
    });
    let script = sources().join("python/upstream.py").display().to_string();
    let argv = ["/usr/bin/python3", "-I", &script, mode];
    server_of(&argv, tools.into(), shown(|_| {}), change)
}

/// Any server.
pub(super) fn server_of(
    argv: &[&str],
    tools: BTreeMap<String, String>,
    manifest: Manifest,
    change: impl FnOnce(&mut Server),
) -> Arc<Server> {
    let mut server = Server {
        name: "small".into(),
        digest: argv.join(" "),
        secrets: String::new(),
        launch: Launch::Jailed {
            manifest: Box::new(manifest),
            program: argv[0].into(),
            argv: argv.iter().map(|&text| text.into()).collect(),
        },
        limits: UpstreamLimits::default(),
        allow: Passing::default(),
        idle: Duration::from_secs(600),
        tools,
        beside: None,
    };
    change(&mut server);
    Arc::new(server)
}
