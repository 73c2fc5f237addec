//! Whole `file.read` calls over an agent's unix socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::report::{Report, quantile};
use super::{disk, jail};

const AGENT: u32 = 64_999;
const OWNER: u32 = 64_998;

/// An idle appliance with two planes.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
    serve: Child,
}

impl Bench {
    /// Starts it and waits until both planes serve.
    pub(crate) fn start() -> Self {
        let directory = super::scratch();
        let path = directory.path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711)).unwrap();
        let root = path.join("root");
        std::fs::create_dir(&root).unwrap();
        chown(&root, Some(OWNER), Some(OWNER)).unwrap();
        std::fs::write(root.join("file"), "x".repeat(4096)).unwrap();
        std::fs::set_permissions(root.join("file"), std::fs::Permissions::from_mode(0o644))
            .unwrap();
        assert!(cli(path, &["init"]).status.success());
        let config = format!(
            "[appliance]\nname = \"bench\"\naccept = [\"no-cgroup-controllers\"]\n[planes.production]\n\
             [planes.production.quota]\nagent_calls_per_minute = 10000000\nplane_calls_per_minute = 10000000\n\
             [planes.production.roots.r]\npath = {root:?}\n[planes.public]\n"
        );
        std::fs::write(path.join("keepgate.toml"), config).unwrap();
        let log = std::fs::File::create(path.join("serve.log")).unwrap();
        let serve = Command::new(super::binary())
            .arg("--dir")
            .arg(path)
            .arg("serve")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let bench = Self { directory, serve };
        let until = Instant::now() + Duration::from_secs(60);
        while !bench.serving() {
            assert!(Instant::now() < until, "the appliance does not serve");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        bench
    }

    fn serving(&self) -> bool {
        let status = cli(self.directory.path(), &["--json", "status"]).stdout;
        let status: Value = serde_json::from_slice(&status).unwrap_or_default();
        ["production", "public"]
            .iter()
            .all(|plane| status["planes"][plane]["serving"] == true)
    }

    /// Pid of the supervisor.
    pub(crate) fn supervisor(&self) -> u32 {
        self.serve.id()
    }

    /// Plane, role and pid of all roles.
    pub(crate) fn roles(&self) -> Vec<(String, String, u32)> {
        let text = std::fs::read(self.directory.path().join("run/status.json")).unwrap();
        let status: Value = serde_json::from_slice(&text).unwrap();
        let mut all = Vec::new();
        for (plane, roles) in status["planes"].as_object().unwrap() {
            for (role, seat) in roles.as_object().unwrap() {
                let pid = u32::try_from(seat["pid"].as_u64().unwrap()).unwrap();
                all.push((plane.clone(), role.clone(), pid));
            }
        }
        all
    }

    /// Microseconds of each of `calls` calls, made by as many callers as `connections` × `depth`.
    fn calls(&self, connections: usize, depth: usize, calls: usize) -> Vec<f64> {
        let socket = self.directory.path().join("run/production/agents/a.sock");
        let done = Command::new(std::env::current_exe().unwrap())
            .arg("caller")
            .arg(socket)
            .args([
                connections.to_string(),
                depth.to_string(),
                calls.to_string(),
            ])
            .uid(AGENT)
            .gid(AGENT)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.serve.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        drop(self.serve.wait());
    }
}

/// Runs a command line of the appliance there.
pub(crate) fn cli(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(super::binary())
        .arg("--dir")
        .arg(directory)
        .args(arguments)
        .output()
        .unwrap()
}

/// Measures 1, 8 and 64 callers.
pub(crate) fn measure(report: &mut Report) {
    let jail = report.jail.unwrap_or_else(jail::floor);
    let fdatasync = report.fdatasync.unwrap_or_else(disk::fdatasync);
    let bench = Bench::start();
    let added = cli(
        bench.directory.path(),
        &["agent", "add", "a", "--uid", &AGENT.to_string()],
    );
    assert!(added.status.success(), "{added:?}");
    bench.calls(1, 1, 20);
    for (connections, depth, calls) in [(1, 1, 300), (8, 1, 150), (16, 4, 300)] {
        let start = Instant::now();
        let mut times = bench.calls(connections, depth, calls);
        let rate = times.len() as f64 / start.elapsed().as_secs_f64();
        let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        let callers = connections * depth;
        let what = format!("whole file.read, {callers} caller(s): p50 / p99 / calls per s");
        report.note(
            &what,
            format!("{:.2} / {:.2} ms / {rate:.0}", p50 / 1e3, p99 / 1e3),
        );
        if callers == 1 {
            let allowed = (2.0 * fdatasync + 3.0 * jail) * 1e6;
            report.at_most(
                "whole file.read / (2 fdatasync + 3 spawns), p50",
                p50 / allowed,
                1.0,
                " x",
            );
        }
    }
}

/// One process of callers: prints microseconds a call, a line each.
pub(crate) fn caller(socket: &str, connections: usize, depth: usize, calls: usize) {
    let threads: Vec<_> = (0..connections)
        .map(|_| {
            let stream = UnixStream::connect(socket).unwrap();
            std::thread::spawn(move || converse(&stream, depth, calls))
        })
        .collect();
    for thread in threads {
        for time in thread.join().unwrap() {
            println!("{time:.1}");
        }
    }
}

fn converse(stream: &UnixStream, depth: usize, calls: usize) -> Vec<f64> {
    let mut lines = BufReader::new(stream).lines();
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}});
    send(stream, &hello);
    lines.next().unwrap().unwrap();
    send(
        stream,
        &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    );
    let mut started = vec![Instant::now(); calls + 1];
    let mut times = Vec::new();
    let mut next = 1;
    while times.len() < calls {
        while next <= calls && next - times.len() <= depth {
            started[next] = Instant::now();
            send(
                stream,
                &json!({"jsonrpc": "2.0", "id": next, "method": "tools/call",
                "params": {"name": "file__read", "arguments": {"path": "r/file"}}}),
            );
            next += 1;
        }
        let line = lines.next().unwrap().unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
        times.push(started[id].elapsed().as_secs_f64() * 1e6);
    }
    times
}

fn send(mut stream: &UnixStream, message: &Value) {
    stream.write_all(format!("{message}\n").as_bytes()).unwrap();
}
