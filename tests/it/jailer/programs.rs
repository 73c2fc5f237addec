//! Real programs, unchanged, in foreign jails: interpreters with what they need, MCP servers with the
//! official SDKs, git, a static Go program, pipelines.
//!
//! `KEEPGATE_PYTHON` names a Python with the `mcp` package, `KEEPGATE_NODE_PACKAGES` a directory whose
//! `node_modules` have its twin for JavaScript; `scripts/test` makes both.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use keepgate::call::id::Id;
use keepgate::wire::manifest::Manifest;
use keepgate::wire::messages::{JailEnd, KeeperToJailer};
use serde_json::{Value, json};

use super::driver::{Jailer, OWNER, mode, start};
use super::foreign::manifest;

/// Programs of these tests.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs")
}

/// A jailer of one manifest, and what its program may change.
struct World {
    jailer: Jailer,
    writable: tempfile::TempDir,
}

/// A jail that also sees `shown`, may change one directory, and has `env`.
fn world(shown: &[PathBuf], env: &[(&str, &str)]) -> World {
    world_of(|manifest| {
        manifest.ro.extend(shown.iter().cloned());
        let env = env.iter().map(|&(name, value)| (name.into(), value.into()));
        manifest.env.extend(env);
    })
}

/// A jail that sees the programs, may change one directory, and is as `change` makes it.
fn world_of(change: impl FnOnce(&mut Manifest)) -> World {
    let writable = tempfile::tempdir_in("/var/tmp").unwrap();
    // Somebody else's than the jail's: what the jail makes there becomes this owner's.
    chown(writable.path(), Some(OWNER), Some(OWNER)).unwrap();
    mode(writable.path(), 0o755);
    let mut manifest: Manifest = manifest();
    manifest.ro.push(sources());
    manifest.rw.push(writable.path().into());
    change(&mut manifest);
    let jailer = start(|setup| {
        setup.roots = vec![];
        setup.manifests = vec![manifest];
    });
    World {
        jailer: jailer.unwrap(),
        writable,
    }
}

impl World {
    fn program(name: &str) -> String {
        sources().join(name).display().to_string()
    }

    /// Runs a program that says one line of JSON and nothing else; what it was refused is printed.
    fn tells(&self, argv: &[&str]) -> Value {
        let (end, said, errors) = self.jailer.jail("foreign", argv);
        let end = end.unwrap_or_else(|why| panic!("{argv:?}: {why:?}"));
        eprintln!("{argv:?} was refused {:?}", attempts(&end));
        assert_eq!(end.code, Some(0), "{argv:?} {end:?}\n{said}\n{errors}");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}\n{errors}"))
    }

    /// Starts an MCP server.
    fn serves(&self, argv: &[&str]) -> Server<'_> {
        let ticket = Id::random().unwrap();
        let (input, requests) = std::io::pipe().unwrap();
        let (answers, output) = std::io::pipe().unwrap();
        let (errors, error) = std::io::pipe().unwrap();
        let say = KeeperToJailer::Run {
            ticket,
            lasting: false,
            manifest: "foreign".into(),
            program: argv[0].into(),
            argv: argv.iter().map(|&text| text.into()).collect(),
        };
        let fds = [input.as_fd(), output.as_fd(), error.as_fd()];
        self.jailer.say(&say, &[], &fds);
        Server {
            jailer: &self.jailer,
            ticket,
            requests: Some(requests),
            answers: BufReader::new(answers),
            errors,
            id: 0,
        }
    }
}

fn attempts(end: &JailEnd) -> Vec<&str> {
    let told = end.denials.iter();
    told.map(|denial| denial.attempt.as_str()).collect()
}

/// An MCP server in a jail.
struct Server<'a> {
    jailer: &'a Jailer,
    ticket: Id,
    requests: Option<std::io::PipeWriter>,
    answers: BufReader<std::io::PipeReader>,
    errors: std::io::PipeReader,
    id: u64,
}

impl Server<'_> {
    fn send(&mut self, message: &Value) {
        let mut line = message.to_string();
        line.push('\n');
        self.requests
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.id += 1;
        let id = self.id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line).unwrap() == 0 {
                let mut errors = String::new();
                self.errors.read_to_string(&mut errors).unwrap();
                panic!("no answer to `{method}`: {errors}");
            }
            let answer: Value = serde_json::from_str(&line).unwrap();
            if answer["id"] == id {
                return answer;
            }
        }
    }

    /// One whole session: what `add` and `look` said.
    fn session(mut self, allowed: &Path, refused: &Path) -> JailEnd {
        let client = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        });
        let hello = self.ask("initialize", &client);
        assert_eq!(hello["result"]["serverInfo"]["name"], "small", "{hello}");
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        let tools = self.ask("tools/list", &json!({}));
        let tools = tools["result"]["tools"].as_array().unwrap().iter();
        let mut names: Vec<_> = tools.map(|tool| tool["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["add", "look"]);
        let mut call = |name: &str, arguments: Value| {
            let answer = self.ask("tools/call", &json!({"name": name, "arguments": arguments}));
            answer["result"].clone()
        };
        let sum = call("add", json!({"a": 20, "b": 22}));
        assert_eq!(sum["content"][0]["text"], "42", "{sum}");
        let seen = call("look", json!({"path": allowed}));
        assert_eq!(seen["content"][0]["text"], "shown", "{seen}");
        let unseen = call("look", json!({"path": refused}));
        assert_eq!(unseen["isError"], true, "{unseen}");
        assert!(!unseen.to_string().contains("secret word"), "{unseen}");
        drop(self.requests.take());
        let end = self.jailer.hear_end(self.ticket).unwrap();
        eprintln!("an MCP server was refused {:?}", attempts(&end));
        end
    }
}

/// A file that the server is shown, and one that it is not.
fn two_files(world: &World) -> (PathBuf, tempfile::NamedTempFile) {
    let shown = world.writable.path().join("shown");
    fs::write(&shown, "shown").unwrap();
    mode(&shown, 0o644);
    let hidden = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    fs::write(hidden.path(), "secret word").unwrap();
    mode(hidden.path(), 0o644);
    (shown, hidden)
}

fn told(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set; run scripts/test")))
}

#[test]
fn python_does_what_python_programs_do() {
    let world = world(&[], &[]);
    let script = World::program("python/runtime.py");
    assert_eq!(
        world.tells(&["/usr/bin/python3", "-I", &script]),
        json!({
            "files": [0, 0, 1],
            "database": 4950,
            "tls": "OpenSSL",
            "threads": 120,
            "children": [3, "CBA"],
            "pool": [2470, 2470],
            "loop": ["from a child", "PermissionError"],
            "refused": ["PermissionError", "PermissionError", "PermissionError", "OSError"],
        })
    );
}

#[test]
fn with_a_loopback_of_its_own_a_program_has_sockets_of_its_own() {
    let world = world_of(|manifest| manifest.loopback = true);
    let script = World::program("python/runtime.py");
    let said = world.tells(&["/usr/bin/python3", "-I", &script]);
    assert_eq!(said["loop"], json!(["from a child", "HELLO"]));
    // Nobody listens on port 9, and its own port is its own; nothing else is reached.
    let refused = json!(["ConnectionRefusedError", "OSError", "none", "OSError"]);
    assert_eq!(said["refused"], refused);
    let said = world.tells(&["/usr/bin/node", &World::program("node/runtime.mjs")]);
    assert_eq!(said["unix"], "hello");
}

#[test]
fn a_python_mcp_server_serves() {
    let python = told("KEEPGATE_PYTHON");
    let packages = python.ancestors().nth(2).unwrap().to_owned();
    let world = world(&[packages], &[]);
    let (shown, hidden) = two_files(&world);
    let script = World::program("python/server.py");
    let server = world.serves(&[python.to_str().unwrap(), "-I", &script]);
    let end = server.session(&shown, hidden.path());
    assert_eq!((end.code, end.signal), (Some(0), None), "{end:?}");
}

#[test]
fn node_does_what_node_programs_do() {
    let world = world(&[], &[]);
    let script = World::program("node/runtime.mjs");
    assert_eq!(
        world.tells(&["/usr/bin/node", &script]),
        json!({
            "worker": 990,
            "child": "from a child",
            "command": "cba",
            "watch": "new",
            "unix": "EACCES",
            "file": "text",
            "zip": true,
            "hash": "ba7816bf",
            "loopback": "EACCES",
            "world": "EACCES",
        })
    );
}

#[test]
fn a_node_mcp_server_serves() {
    let packages = told("KEEPGATE_NODE_PACKAGES");
    let text = packages.to_str().unwrap().to_owned();
    let world = world(&[packages], &[("PACKAGES", &text)]);
    let (shown, hidden) = two_files(&world);
    let script = World::program("node/server.mjs");
    let server = world.serves(&["/usr/bin/node", &script]);
    let end = server.session(&shown, hidden.path());
    assert_eq!((end.code, end.signal), (Some(0), None), "{end:?}");
}

#[test]
fn a_static_go_program_runs() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    mode(place.path(), 0o755);
    let program = place.path().join("program");
    // Kept, because the standard library takes long to compile.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    let done = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(sources().join("go"))
        .envs([
            ("CGO_ENABLED", "0"),
            ("GOPROXY", "off"),
            ("GOFLAGS", "-mod=mod"),
        ])
        .envs([
            ("GOTOOLCHAIN", "local"),
            ("GO111MODULE", "on"),
            ("GOTELEMETRY", "off"),
        ])
        .env("GOCACHE", kept.join("cache"))
        .env("GOPATH", kept.join("path"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let program_text = program.to_str().unwrap();
    let world = world(&[place.path().into()], &[]);
    assert_eq!(
        world.tells(&[program_text]),
        json!({
            "routines": 19900,
            "command": "cba",
            "unix": "EACCES",
            "signal": true,
            "file": true,
            "threads": true,
            "listen": "EACCES",
            "dial": "EACCES",
            "udp": "EPROTONOSUPPORT",
        })
    );
}

#[test]
fn git_works_on_a_directory_it_may_change() {
    let world = world(&[], &[]);
    let directory = world.writable.path();
    let script = format!(
        "set -e; cd {0}; export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
         GIT_COMMITTER_EMAIL=a@b; git init -q -b main one; cd one; echo text >file; ln -s file link; \
         git add .; git commit -q -m first; git tag -a -m one v1; git checkout -q -b more; \
         echo more >>file; git commit -q -a -m second; git merge-base main more >/dev/null; \
         git gc -q; git fsck --strict 2>/dev/null; cd ..; git clone -q one two; git -C two log --format=%s; \
         git -C two status --porcelain; git -C one worktree add -q ../three main; cat three/file",
        directory.display()
    );
    let (end, said, errors) = world.jailer.jail("foreign", &["/bin/sh", "-c", &script]);
    let end = end.unwrap();
    eprintln!("git was refused {:?}", attempts(&end));
    assert_eq!(end.code, Some(0), "{said}\n{errors}");
    assert_eq!(said, "second\nfirst\ntext\n", "{errors}");
    // Outside, all of it is the directory owner's.
    let owner = Command::new("find")
        .arg(directory)
        .args(["!", "-uid", &OWNER.to_string()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(owner.stdout).unwrap(), "");
    assert_eq!(
        fs::read_to_string(directory.join("two/file")).unwrap(),
        "text\nmore\n"
    );
}

#[test]
fn pipelines_and_their_tools_work() {
    let world = world(&[], &[]);
    let script = "set -e; cd /tmp; mkdir -p a/b; seq 1 1000 | awk '{s += $1} END {print s}' >a/b/sum; \
         cp -a a c; tar cf - c | gzip | gunzip | tar tf - | sort | tr '\\n' ' '; cat c/b/sum; \
         find a -type f -exec sha256sum {} + | wc -l; mkfifo p; (echo through >p &) ; cat p; \
         x=$(printf '%s' abc | sed 's/b/-/'); echo \"$x\"; touch -d @0 a; stat -c %Y a; \
         sleep 0.01 & wait; kill -0 $$ && ls -l /proc/self/fd/0 >/dev/null; df /tmp >/dev/null; \
         chmod 600 a/b/sum; ln a/b/sum a/b/hard; mv a/b/hard hard; rm -r a c; cat hard; nice -n 5 id -un";
    let (end, said, errors) = world.jailer.jail("foreign", &["/bin/sh", "-c", script]);
    let end = end.unwrap();
    eprintln!("a shell was refused {:?}", attempts(&end));
    assert_eq!(end.code, Some(0), "{said}\n{errors}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "c/ c/b/ c/b/sum 500500",
            "1",
            "through",
            "a-c",
            "0",
            "500500",
            "jail"
        ],
        "{errors}"
    );
}
