//! Standard input, output and error.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::{Ended, directory, jail, native, program, run};
use crate::harness::binary;

/// Ten MiB in which no two pieces are the same.
fn much() -> Vec<u8> {
    let words = (0_u32..).flat_map(u32::to_le_bytes);
    words.take(10 << 20).collect()
}

#[test]
fn ten_mebibytes_go_both_ways_at_once() {
    let tool = program().to_str().unwrap();
    for words in [
        &["--profile", "native", "--", tool, "cat"][..],
        &["--", "/bin/cat"],
    ] {
        let mut command = jail(&[&["-q"], words].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let writer = std::thread::spawn(move || input.write_all(&much()));
        let mut got = Vec::new();
        output.read_to_end(&mut got).unwrap();
        writer.join().unwrap().unwrap();
        assert!(got == much(), "{} bytes came back, or others", got.len());
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn sockets_and_files_are_fine_too() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let directory = directory();
    let path = directory.path().join("out");
    let mut command = jail(&["-q", "--", "/bin/cat"]);
    command
        .stdin(OwnedFd::from(theirs))
        .stdout(File::create(&path).unwrap());
    let mut child = command.spawn().unwrap();
    drop(command);
    let sent = much();
    ours.write_all(&sent).unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(fs::read(&path).unwrap() == sent);
}

#[test]
fn both_outputs_keep_apart_and_json_holds_them() {
    let script = "echo out; echo err >&2; exit 6";
    let ended = run(&["-q", "--", "/bin/sh", "-c", script]).code(6);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("out\n", "err\n"));
    let json = run(&["--json", "--", "/bin/sh", "-c", script])
        .code(6)
        .json();
    assert_eq!(
        (&json["stdout"], &json["stderr"]),
        (&"out\n".into(), &"err\n".into())
    );
    assert_eq!(
        (&json["exit"], &json["stdout_bytes"]),
        (&6.into(), &4.into())
    );
    for name in ["signal", "limit"] {
        assert!(json[name].is_null(), "{json}");
    }
    for name in ["wall_us", "cpu_us", "rss_kib"] {
        assert!(json[name].as_u64().unwrap() > 0, "{json}");
    }
    for name in ["denials", "hops", "degraded"] {
        assert!(json[name].is_array(), "{json}");
    }
    let long = run(&["--json", "--", "/bin/sh", "-c", "head -c 3000000 /dev/zero"])
        .code(0)
        .json();
    assert_eq!(long["stdout_bytes"], 3_000_000);
    assert_eq!(long["stdout"].as_str().unwrap().len(), 1 << 20);
}

#[test]
fn a_reader_that_goes_away_ends_the_program() {
    let tool = program().to_str().unwrap();
    // The strict class is for code that looks at what its writes answer: it is its jail's first
    // process, which no SIGPIPE ends.
    for (profile, code) in [("native", 9), ("native-generic", 128 + libc::SIGPIPE)] {
        let mut child = jail(&["-q", "--profile", profile, "--", tool, "flood"])
            .spawn()
            .unwrap();
        let mut some = [0; 16];
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut some).unwrap();
        drop(output);
        Ended::of(child.wait_with_output().unwrap()).code(code);
    }
}

#[test]
fn output_that_could_not_be_passed_on_is_no_success() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for script in ["echo lost", "echo lost >&2"] {
        let mut command = jail(&["-q", "--", "/bin/sh", "-c", script]);
        if script.ends_with("&2") {
            command.stderr(full());
            let ended = Ended::of(command.output().unwrap());
            // There is nowhere left to say why.
            ended.code(125);
        } else {
            command.stdout(full());
            let ended = Ended::of(command.output().unwrap());
            ended
                .code(125)
                .says("write the program's standard output: No space left on device");
        }
    }
    let mut command = jail(&["--json", "--", "/bin/echo", "kept"]);
    let ended = Ended::of(command.stdout(full()).output().unwrap());
    assert_eq!(ended.code, Some(125), "{ended:?}");
    assert!(ended.err.contains("No space left"), "{ended:?}");
}

#[test]
fn an_output_that_is_closed_is_no_success() {
    let closed = |words: &str| {
        let line = format!("exec \"$0\" jail run {words}");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &line]).arg(binary());
        Ended::of(command.stdin(Stdio::null()).output().unwrap())
    };
    for options in ["-q", "--json"] {
        let ended = closed(&format!("{options} -- echo lost >&-")).code(125);
        assert!(ended.err.contains("standard output is closed"), "{ended:?}");
    }
    closed("-q -- echo kept 2>&-").code(125);
    closed("-q -- echo lost >/dev/null").code(0);
    closed("-q -- cat <&-").code(0);
    // Nobody reads it, and it is all in the object.
    let json = closed("--json -- sh -c 'echo told >&2' 2>&-")
        .code(0)
        .json();
    assert_eq!(json["stderr"], "told\n");
}

#[test]
fn input_that_cannot_be_read_is_no_end() {
    let stdin = |file: File| {
        let mut command = jail(&["-q", "--", "/bin/cat"]);
        Ended::of(command.stdin(file).output().unwrap())
    };
    stdin(File::open("/tmp").unwrap())
        .code(125)
        .says("read standard input for the program: Is a directory");
    // As nohup(1) leaves it.
    let unreadable = File::options().write(true).open("/dev/null").unwrap();
    assert_eq!(stdin(unreadable).code(0).err, "");
}

#[test]
fn a_success_that_nobody_could_read_ends_as_by_sigpipe_and_quietly() {
    for (script, code) in [("echo x", 141), ("echo x; exit 6", 6), ("exit 0", 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = jail(&["-q", "--", "/bin/sh", "-c", script]);
        let ended = Ended::of(command.stdout(writer).output().unwrap()).code(code);
        assert_eq!(ended.err, "", "{script}");
    }
}

#[test]
fn a_jail_never_has_the_callers_own_descriptors() {
    let directory = directory();
    let path = directory.path().join("both-ways");
    fs::write(&path, "content").unwrap();
    let file = || File::options().read(true).write(true).open(&path).unwrap();
    let script = "cat; (echo changed >&0) 2>/dev/null && echo wrote; \
                  for n in 0 1 2; do readlink /proc/self/fd/$n; done";
    let mut command = jail(&["-q", "--", "/bin/sh", "-c", script]);
    let ended = Ended::of(command.stdin(file()).stderr(file()).output().unwrap());
    let mut lines = ended
        .out
        .strip_prefix("content")
        .unwrap_or_else(|| panic!("{ended:?}"))
        .lines();
    for _ in 0..3 {
        let line = lines.next().unwrap();
        assert!(line.starts_with("pipe:["), "{ended:?}");
    }
    assert_eq!(lines.next(), None, "{ended:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "content");
}

#[test]
fn an_empty_input_is_an_end() {
    let ended = native("native", &["cat"]).code(0);
    assert_eq!(ended.out, "");
}
