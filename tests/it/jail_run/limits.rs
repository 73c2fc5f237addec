//! Limits, signals, and that nothing is left behind.

use std::io::{BufRead, BufReader};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{directory, jail, manifest, native, program, run, with_argument};
use crate::harness::eventually;

#[test]
fn a_program_that_runs_too_long_is_ended_and_told() {
    let tool = program().to_str().unwrap();
    let ended = run(&["--profile", "native", "--wall", "1", "--", tool, "spin"]).code(137);
    assert!(ended.err.contains("`limits.wall_s = 2`"), "{ended:?}");
    let words = ["--json", "--wall", "1", "--", "/bin/sh", "-c", "sleep 600"];
    let json = run(&words).code(137).json();
    assert_eq!(
        (&json["limit"], &json["exit"]),
        (&"wall".into(), &serde_json::Value::Null)
    );
    assert!(json["wall_us"].as_u64().unwrap() >= 1_000_000, "{json}");
    assert_eq!(json["denials"][0]["allow"], "limits.wall_s = 2");
    native("native", &["exit", "0"]).code(0);
}

#[test]
fn a_flood_of_output_is_cut_at_the_limit() {
    let directory = directory();
    let text = "class = \"native\"\n[limits]\noutput_mib = 1\n";
    let file = manifest(directory.path(), text);
    let tool = program().to_str().unwrap();
    let ended = run(&["--profile", &file, "--", tool, "flood"]).code(137);
    assert_eq!(ended.out.len(), 1 << 20);
    assert!(
        ended.err.contains("`limits.output_mib = 2`"),
        "{}",
        ended.err
    );
}

#[test]
fn memory_and_processes_have_limits() {
    let grow = "import sys\ntry: bytearray(400 << 20)\nexcept MemoryError: sys.exit(3)";
    run(&["-q", "--memory", "200", "--", "python3", "-c", grow]).code(3);
    run(&["-q", "--memory", "1000", "--", "python3", "-c", grow]).code(0);
    let fork = "import os, sys\ntry:\n  for _ in range(20):\n    if os.fork() == 0: os.execvp('sleep', ['sleep', '600'])\nexcept OSError: sys.exit(3)";
    run(&["-q", "--processes", "8", "--", "python3", "-c", fork]).code(3);
    run(&["-q", "--processes", "64", "--", "python3", "-c", fork]).code(0);
}

/// Starts a jail that says `ready` and then waits, with a word of its own among its arguments.
fn waiting(word: &str) -> std::process::Child {
    let script = "echo ready; exec sleep \"$0\"";
    let mut child = jail(&["-q", "--", "/bin/sh", "-c", script, word])
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    child
}

#[test]
fn a_signal_to_the_command_ends_the_jail() {
    for (signal, code, word) in [
        (Signal::SIGINT, 130, "60001.25"),
        (Signal::SIGTERM, 143, "60002.25"),
        (Signal::SIGHUP, 129, "60003.25"),
    ] {
        let mut child = waiting(word);
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        // The command is gone, and has waited for its jailer: nothing is left now.
        assert_eq!(with_argument(word), 0, "{signal}");
    }
}

#[test]
fn a_command_that_is_killed_takes_its_jail_with_it() {
    let word = "60004.25";
    let mut child = waiting(word);
    // The jail's program, and this command that names it.
    assert!(with_argument(word) >= 2);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the jail died with its command", || {
        with_argument(word) == 0
    });
}

#[test]
fn what_a_program_leaves_behind_dies_with_it() {
    let word = "60005.25";
    let script = "setsid sleep \"$0\" >/dev/null 2>&1 </dev/null & exit 4";
    run(&["-q", "--", "/bin/sh", "-c", script, word]).code(4);
    assert_eq!(with_argument(word), 0);
}
