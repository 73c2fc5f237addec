//! The whole way: an agent's HTTP request through front, keeper, policy, log, egress and a jail to a
//! server on standard input and output, against the same server driven over HTTP without a gateway.
//! Once with the log in memory, where a flush costs nothing, and once on the disk of the build. What
//! two commits take a single caller, each a hand-over to the thread that writes and back, is measured
//! in the same memory and told apart; so is what processes in between cost that only pass it on.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::client::Place;
use super::floor::Floor;
use crate::calls::cli;
use crate::disk::Alone;
use crate::report::{Report, median, quantile};

/// Calls of one turn of one caller, and turns.
const CALLS: usize = 200;
const TURNS: usize = 7;
const AGENT: u32 = 64_999;
/// Entries of a call that are waited for.
const COMMITS: f64 = 2.0;
/// What the whole way may take beside its commits, against the server alone.
const MOST: f64 = 2.5;
/// As the gate names the tool.
const TOOL: &str = "echo__echo";

/// An appliance with the echo server as its connector.
struct Gate {
    directory: tempfile::TempDir,
    serve: Child,
    http: Place,
    unix: Place,
}

fn server() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/gateway/echo.py")
}

impl Gate {
    fn start(directory: tempfile::TempDir) -> Self {
        let path = directory.path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711)).unwrap();
        let must = |arguments: &[&str]| must(path, arguments);
        must(&["init"]);
        let script = path.join("server/echo.py");
        std::fs::create_dir(path.join("server")).unwrap();
        std::fs::copy(server(), &script).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
        let script = script.to_str().unwrap();
        must(&[
            "connector",
            "import",
            "echo",
            "--",
            "/usr/bin/python3",
            "-I",
            script,
        ]);
        let manifest = path.join("connectors/echo.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let text = text
            .replace("\"destructive\"", "\"read\"")
            .replace("\"irreversible\"", "\"reversible\"")
            .replace("calls_per_minute = 600", "calls_per_minute = 100000");
        std::fs::write(&manifest, text).unwrap();
        must(&["connector", "vet", "echo"]);
        must(&["connector", "approve", "echo", "--by", "bench"]);
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = format!(
            "[appliance]\nname = \"bench\"\naccept = [\"no-cgroup-controllers\"]\n[planes.production]\n[planes.production.quota]\n\
             agent_calls_per_minute = 100000\nplane_calls_per_minute = 100000\n\
             [planes.production.listen.local]\naddress = \"127.0.0.1:{port}\"\n\
             [planes.production.connectors.echo]\nagents = [\"web\", \"near\"]\n\
             calls_per_minute = 100000\n"
        );
        std::fs::write(path.join("keepgate.toml"), config).unwrap();
        let log = std::fs::File::create(path.join("serve.log")).unwrap();
        let serve = Command::new(crate::binary())
            .arg("--dir")
            .arg(path)
            .arg("serve")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut gate = Self {
            directory,
            serve,
            http: Place::Unix(String::new()),
            unix: Place::Unix(String::new()),
        };
        gate.wait();
        let token = gate.must(&["agent", "add", "web", "--token"]);
        let token = token["token"].as_str().unwrap().to_owned();
        gate.http = Place::Http { port, token };
        gate.must(&["agent", "add", "near", "--uid", &AGENT.to_string()]);
        let socket = gate
            .directory
            .path()
            .join("run/production/agents/near.sock");
        gate.unix = Place::Unix(socket.to_str().unwrap().into());
        gate
    }

    fn must(&self, arguments: &[&str]) -> Value {
        must(self.directory.path(), arguments)
    }

    /// Until it serves.
    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let said = cli(self.directory.path(), &["--json", "status"]).stdout;
            let status: Value = serde_json::from_slice(&said).unwrap_or_default();
            if status["planes"]["production"]["serving"] == true {
                return;
            }
            assert!(Instant::now() < until, "the appliance does not serve");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

fn must(directory: &Path, arguments: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let done = cli(directory, &all);
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    serde_json::from_slice(&done.stdout).unwrap_or_default()
}

impl Drop for Gate {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.serve.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        drop(self.serve.wait());
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.directory.path().join("serve.log"));
            println!("{}", said.unwrap_or_default());
        }
    }
}

/// The server alone, over HTTP.
struct Direct {
    child: Child,
    place: Place,
}

impl Direct {
    fn start() -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .arg("-I")
            .arg(server())
            .arg("--http")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let place = Place::Http {
            port: line.trim().parse().unwrap(),
            token: "none".into(),
        };
        Self { child, place }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A directory in memory, for this thread and what it starts only.
fn in_memory() -> tempfile::TempDir {
    let directory = crate::scratch();
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let kind = Some("tmpfs");
    mount(none, directory.path(), kind, MsFlags::empty(), none).unwrap();
    directory
}

/// Microseconds of each call, made by a process of the agent's.
fn echo(place: &Place, tool: &str, callers: usize) -> Vec<f64> {
    let done = Command::new(std::env::current_exe().unwrap())
        .arg("echo")
        .args(place.words())
        .arg(tool)
        .args([callers.to_string(), CALLS.to_string()])
        .uid(AGENT)
        .gid(AGENT)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// Measures it.
pub(crate) fn measure(report: &mut Report) {
    let direct = Direct::start();
    let floor = Floor::start(&server());
    let memory = Gate::start(in_memory());
    let log = Alone::open(&memory.directory.path().join("alone"));
    let disk = Gate::start(crate::scratch());
    for callers in [1, 8] {
        let (mut alone, mut http, mut unix) = (Vec::new(), Vec::new(), Vec::new());
        let mut passed = Vec::new();
        let (mut durable, mut commits, mut times) = (Vec::new(), Vec::new(), [0.0; 2]);
        // In turns, or a busy moment of the machine would be one side's alone.
        for _ in 0..TURNS {
            let begun = Instant::now();
            alone.extend(echo(&direct.place, "echo", callers));
            times[0] += begun.elapsed().as_secs_f64();
            if callers == 1 {
                passed.extend(echo(&floor.place, "echo", callers));
            }
            let begun = Instant::now();
            http.extend(echo(&memory.http, TOOL, callers));
            times[1] += begun.elapsed().as_secs_f64();
            unix.extend(echo(&memory.unix, TOOL, callers));
            durable.extend(echo(&disk.http, TOOL, callers));
            commits.extend((0..CALLS as u64).map(|number| log.append(number)));
        }
        let who = format!("gateway, {callers} caller(s)");
        let line = |what: &str, times: &mut Vec<f64>| {
            let (p50, p99) = (quantile(times, 0.5), quantile(times, 0.99));
            report.note(
                &format!("{who}: {what}: p50 / p99"),
                format!("{p50:.0} / {p99:.0} us"),
            );
        };
        line("the server alone over HTTP", &mut alone);
        line("HTTP in, log in memory", &mut http);
        line("unix socket in, log in memory", &mut unix);
        line("HTTP in, log on disk", &mut durable);
        let rate = (
            times[0] / times[1],
            (callers * CALLS * TURNS) as f64 / times[1],
        );
        report.note(
            &format!("{who}: calls per second, log in memory"),
            format!("{:.0}", rate.1),
        );
        let ratio = median(&mut http) / median(&mut alone);
        report.note(
            &format!("{who}: HTTP in / alone, p50"),
            format!("{ratio:.2}x"),
        );
        if callers == 1 {
            let commits = COMMITS * median(&mut commits);
            report.note(
                &format!("{who}: of it two commits in memory"),
                format!("{commits:.0} us"),
            );
            line("HTTP through processes that only pass it on", &mut passed);
            report.note(
                &format!("{who}: these / alone, p50"),
                format!("{:.2}x", median(&mut passed) / median(&mut alone)),
            );
            let beside = (median(&mut http) - commits) / median(&mut alone);
            report.at_most(
                &format!("{who}: HTTP in / alone, commits aside, p50"),
                beside,
                MOST,
                "x",
            );
        }
        let near = median(&mut unix) / median(&mut alone);
        report.note(
            &format!("{who}: unix socket in / alone, p50"),
            format!("{near:.2}x"),
        );
        let flushes = median(&mut durable) - median(&mut http);
        report.note(
            &format!("{who}: two durable commits on disk add"),
            format!("{flushes:.0} us"),
        );
    }
}
