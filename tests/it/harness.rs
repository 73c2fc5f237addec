//! A whole appliance in a temporary directory, and a plain MCP client for it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// The uid of test agents.
pub(crate) const AGENT: u32 = 64_999;
/// The owner of test roots.
pub(crate) const OWNER: u32 = 64_998;

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("KEEPGATE_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_keepgate").into(), Into::into)
}

/// Waits for `condition`, at most a minute; says what was missing.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < until, "never came true: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A cgroup of a test, below this process' own; dropped, it ends with all that is in it.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A new one; nothing, and a word about it, where none can be made here.
    pub(crate) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some((top, _)) = keepgate::jail::cgroup::host() else {
            eprintln!("no cgroup2 is mounted: what needs cgroups is not tested here");
            return None;
        };
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("keepgate-test-{}-{number}", std::process::id());
        let path = top.join(own.unwrap()).join(name);
        match fs::create_dir(&path) {
            Ok(()) => Some(Self { path }),
            Err(error) => {
                let path = path.display();
                eprintln!("cannot make `{path}` ({error}): what needs cgroups is not tested here");
                None
            }
        }
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What a file of it holds.
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap()
    }

    /// Names of the cgroups in it, sorted.
    pub(crate) fn children(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap().map(Result::unwrap);
        let groups = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        let mut names: Vec<_> = groups
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fn remove(path: &Path) -> std::io::Result<()> {
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    remove(&entry.path())?;
                }
            }
            fs::remove_dir(path)
        }
        drop(fs::write(self.path.join("cgroup.kill"), "1"));
        eventually("an empty cgroup", || {
            let events = fs::read_to_string(self.path.join("cgroup.events"));
            events.map_or(true, |text| text.contains("populated 0"))
        });
        if let Err(error) = remove(&self.path)
            && !std::thread::panicking()
        {
            panic!("remove `{}`: {error}", self.path.display());
        }
    }
}

/// A served appliance with one plane `production`, a root `mail` and a writable root `out`.
pub(crate) struct Appliance {
    pub(crate) directory: tempfile::TempDir,
    serve: Option<Child>,
}

impl Appliance {
    /// Initialises and serves; `extra` goes below the plane's roots in the configuration.
    pub(crate) fn start(extra: &str) -> Self {
        let mut appliance = Self::init(extra);
        appliance.serve();
        appliance
    }

    /// Initialises only.
    pub(crate) fn init(extra: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "the integration tests must run as root"
        );
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let appliance = Self {
            directory,
            serve: None,
        };
        for root in ["mail", "out"] {
            let path = appliance.path(root);
            fs::create_dir(&path).unwrap();
            chown(&path, Some(OWNER), Some(OWNER)).unwrap();
        }
        appliance.put("mail/hello.txt", "hello from the mailbox\n");
        let done = appliance.cli(&["init"]);
        assert!(done.status.success(), "{done:?}");
        let (mail, out) = (appliance.path("mail"), appliance.path("out"));
        let config = format!(
            "[appliance]\nname = \"test\"\naccept = [\"no-cgroup-controllers\"]\n\n[planes.production]\n\n\
             [planes.production.roots.mail]\npath = {mail:?}\n\n\
             [planes.production.roots.out]\npath = {out:?}\nwritable = true\n\n{extra}"
        );
        fs::write(appliance.path("keepgate.toml"), config).unwrap();
        appliance
    }

    /// Starts the supervisor and waits until the plane serves.
    pub(crate) fn serve(&mut self) {
        self.serve_by(Command::new(binary()));
    }

    /// As [`Appliance::serve`], with the supervisor in `group` from its first instruction.
    pub(crate) fn serve_in(&mut self, group: &Cgroup) {
        let mut command = Command::new("bash");
        // Where an earlier one was killed, nobody may be above its leaf.
        let script = "[[ -d $0/supervisor ]] && in=$0/supervisor || in=$0; \
                      echo $$ > \"$in/cgroup.procs\" && exec \"$@\"";
        command.args(["-c", script]).arg(group.path()).arg(binary());
        self.serve_by(command);
    }

    /// The same with a command that runs the binary with the arguments it is given.
    pub(crate) fn serve_by(&mut self, command: Command) {
        self.begin_by(command);
        self.ready();
    }

    /// Starts the supervisor, which may not serve.
    pub(crate) fn begin(&mut self) {
        self.begin_by(Command::new(binary()));
    }

    fn begin_by(&mut self, mut command: Command) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("serve.log"))
            .unwrap();
        let child = command
            .arg("--dir")
            .arg(self.directory.path())
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.serve = Some(child);
    }

    /// Waits until the plane serves.
    pub(crate) fn ready(&self) {
        eventually("the plane serves", || self.serving());
    }

    /// The plane serves and all its roles are linked.
    pub(crate) fn serving(&self) -> bool {
        let status = self.json(&["status"]);
        let plane = &status["planes"]["production"];
        plane["serving"] == true && plane["links"].as_array().is_some_and(|up| up.len() == 3)
    }

    /// The pid of a role of `production`.
    pub(crate) fn role(&self, role: &str) -> i32 {
        let status: Value =
            serde_json::from_slice(&fs::read(self.path("run/status.json")).unwrap()).unwrap();
        let pid = status["planes"]["production"][role]["pid"].as_i64();
        i32::try_from(pid.unwrap_or_else(|| panic!("{role} does not run: {status}"))).unwrap()
    }

    /// The pid of the supervisor.
    pub(crate) fn supervisor(&self) -> i32 {
        i32::try_from(self.serve.as_ref().unwrap().id()).unwrap()
    }

    /// Stops in order and waits.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.serve.take() {
            kill(
                Pid::from_raw(i32::try_from(child.id()).unwrap()),
                Signal::SIGTERM,
            )
            .unwrap();
            child.wait().unwrap();
        }
    }

    /// Has the supervisor look at the connectors again.
    pub(crate) fn reload(&self) {
        let child = self.serve.as_ref().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGHUP).unwrap();
    }

    /// Kills the supervisor, and with it all roles, and waits for them to be gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.serve.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            eventually("the roles died with their supervisor", || {
                let lock = fs::File::options()
                    .append(true)
                    .open(self.path("state/production/log/lock"));
                lock.map_or(true, |file| {
                    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
                        .is_ok()
                })
            });
        }
    }

    /// A path below the appliance's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file owned by the roots' owner.
    pub(crate) fn put(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        chown(self.path(name), Some(OWNER), Some(OWNER)).unwrap();
    }

    /// Reads a file.
    pub(crate) fn get(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs a command line of this appliance.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_with(&[], arguments)
    }

    /// With these variables besides this process's own.
    pub(crate) fn cli_with(&self, env: &[(&str, &OsStr)], arguments: &[&str]) -> Output {
        Command::new(binary())
            .envs(env.iter().copied())
            .arg("--dir")
            .arg(self.directory.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Its standard output as JSON; null where it printed none.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        serde_json::from_slice(&self.cli(&all).stdout).unwrap_or_default()
    }

    /// Runs a command line that must succeed; gives its JSON.
    pub(crate) fn must(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let done = self.cli(&all);
        assert!(
            done.status.success(),
            "{arguments:?}: {done:?}\n{}",
            self.diagnostics()
        );
        serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"))
    }

    /// What the appliance wrote to standard error.
    pub(crate) fn diagnostics(&self) -> String {
        fs::read_to_string(self.path("serve.log")).unwrap_or_default()
    }

    /// Enrols an agent with the test uid.
    pub(crate) fn enrol(&self, name: &str) {
        self.must(&["agent", "add", name, "--uid", &AGENT.to_string()]);
    }

    /// Puts a policy in force.
    pub(crate) fn policy(&self, text: &str) {
        fs::write(self.path("test.cedar"), text).unwrap();
        self.must(&["policy", "apply", self.path("test.cedar").to_str().unwrap()]);
    }

    /// Entries of the log with that kind, from the files themselves.
    pub(crate) fn entries(&self, kind: &str) -> Vec<Value> {
        let found = self.must(&["log", "query", "--kind", kind, "--limit", "1000"]);
        found["entries"]
            .as_array()
            .unwrap_or_else(|| panic!("no entries: {found}"))
            .clone()
    }

    /// An MCP session of `agent`.
    pub(crate) fn session(&self, agent: &str) -> Session {
        let mut session = self.connect(agent);
        let hello = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "it", "version": "0"},
        });
        let answer = session.request("initialize", hello);
        assert_eq!(
            answer["result"]["protocolVersion"],
            "2025-11-25",
            "{answer}\n{}",
            self.diagnostics()
        );
        session.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        session
    }

    /// A connection that has not said anything yet.
    pub(crate) fn connect(&self, agent: &str) -> Session {
        let mut child = Command::new(binary())
            .arg("--dir")
            .arg(self.directory.path())
            .args(["mcp", "--agent", agent])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .uid(AGENT)
            .gid(AGENT)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Session {
            child,
            input,
            output: BufReader::new(output),
            id: 0,
        }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- diagnostics\n{}", self.diagnostics());
        }
        self.stop();
    }
}

/// An MCP client over the stdio shim.
pub(crate) struct Session {
    pub(crate) child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    id: u64,
}

impl Session {
    /// Sends one line as it is.
    pub(crate) fn raw(&mut self, line: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input
            .write_all(line)
            .and_then(|()| input.write_all(b"\n"))
            .unwrap();
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, message: &Value) {
        self.raw(message.to_string().as_bytes());
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: `{line}`"))
    }

    /// Asks and waits for the answer; notifications in between are dropped.
    pub(crate) fn request(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.ask(method, parameters);
        loop {
            let message = self.next();
            if message["id"] == id {
                return message;
            }
        }
    }

    /// As [`Self::request`], but nothing where the connection ends first.
    pub(crate) fn try_request(&mut self, method: &str, parameters: Value) -> Option<Value> {
        self.id += 1;
        let id = self.id;
        let ask = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters});
        let input = self.input.as_mut()?;
        input.write_all(format!("{ask}\n").as_bytes()).ok()?;
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let message: Value = serde_json::from_str(&line).ok()?;
            if message["id"] == id {
                return Some(message);
            }
        }
    }

    /// Asks without waiting; gives the id.
    pub(crate) fn ask(&mut self, method: &str, parameters: Value) -> u64 {
        self.id += 1;
        let id = self.id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters}));
        id
    }

    /// Calls a tool; gives the `CallToolResult`.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(answer.get("result").is_some(), "no result: {answer}");
        answer["result"].clone()
    }

    /// Calls a tool that must work; gives its structured content.
    pub(crate) fn works(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{result}");
        result["structuredContent"].clone()
    }

    /// Calls a tool that must be refused or fail; gives the class.
    pub(crate) fn fails(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        result["_meta"]["keepgate/class"]
            .as_str()
            .unwrap_or_else(|| panic!("{result}"))
            .into()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.input = None;
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Copies a directory of plain files.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
