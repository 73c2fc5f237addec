//! Processes that measure, one kind of place each: what prepares for jails cannot be taken back, and
//! what is measured in turns needs both sides at the same time.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// First argument of this program as a worker.
pub(crate) const WORKER: &str = "worker";

/// One of them, from outside.
pub(super) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts one; as the user `uid`, where that is given.
    pub(super) fn start(kind: &str, argument: &str, uid: Option<u32>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([WORKER, kind, argument]);
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    /// What it found doing `what` this many times.
    pub(super) fn ask(&mut self, what: &str, times: usize) -> Vec<f64> {
        writeln!(self.input.as_ref().unwrap(), "{what} {times}").unwrap();
        let line = self.output.next().unwrap().unwrap();
        line.split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.input = None;
        let ended = self.child.wait().unwrap();
        assert!(ended.success() || std::thread::panicking(), "{ended}");
    }
}

/// The life of one: answers what is asked until nobody asks any more.
pub(super) fn serve(mut answer: impl FnMut(&str, usize) -> Vec<f64>) {
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (what, times) = line.rsplit_once(' ').unwrap();
        let found = answer(what, times.parse().unwrap());
        let found: Vec<String> = found.iter().map(f64::to_string).collect();
        println!("{}", found.join(" "));
    }
}

/// Has `jobs` (number of a worker, what it does) done in turns, `each` times a turn; what each job
/// found.
pub(super) fn in_turns(
    workers: &mut [Worker],
    jobs: &[(usize, &str)],
    turns: usize,
    each: usize,
) -> Vec<Vec<f64>> {
    let mut found = vec![Vec::new(); jobs.len()];
    for _ in 0..turns {
        for ((worker, what), found) in jobs.iter().zip(&mut found) {
            found.extend(workers[*worker].ask(what, each));
        }
    }
    found
}

/// Memory a worker holds, all of it touched.
#[derive(Default)]
pub(super) struct Held(Vec<u8>);

impl Held {
    /// Holds this many MiB from now on, and nothing else.
    pub(super) fn only(&mut self, mib: usize) -> Vec<f64> {
        self.0 = Vec::new();
        self.0 = vec![1; mib << 20];
        Vec::new()
    }
}
