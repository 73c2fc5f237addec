//! Native tools: the code that runs inside a jail.
//!
//! A tool is this same binary, executed from a sealed memory file under the name
//! [`PROGRAM`]. It has its order on standard input, answers on standard output, and beyond that
//! holds only the descriptors it was handed: first the stream to egress, where its manifest has
//! one, then its files. It has no path, no network, no clock to set, no key.
#![forbid(unsafe_code)]

pub mod file;
pub mod http;
pub mod order;
mod ready;

use std::io::{Read, Write};
use std::process::ExitCode;

use crate::jail::foreign::init;
use crate::jail::{FIRST, WAITS, probe};
use crate::sys::{process, users};
use order::{Fault, Reply};

/// `argv[0]` of a jailed tool.
pub const PROGRAM: &str = "keepgate-tool";

/// Exit status of a tool that could not even answer.
const BROKEN: u8 = 70;

/// Runs the tool `name`; the whole life of a jailed process.
pub fn run(name: &str) -> ExitCode {
    // A program that is no memory file can be dumped at first.
    if process::undumpable().is_err() {
        return ExitCode::from(BROKEN);
    }
    match name {
        "noop" => return ExitCode::SUCCESS,
        "self-test" => return probe::run(),
        WAITS => return ready::run(),
        FIRST => {
            // For ever: no signal has a handler here.
            nix::unistd::pause();
            return ExitCode::from(BROKEN);
        }
        "init" => return init::run(),
        "wait" => return users::wait().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        _ => {}
    }
    let mut input = Vec::new();
    if std::io::stdin().lock().read_to_end(&mut input).is_err() {
        return ExitCode::from(BROKEN);
    }
    let reply = match name {
        "file.read" => file::read(&input),
        "file.list" => file::list(&input),
        "file.write" => file::write(&input),
        "http.request" => http::run(&input),
        _ => Err(Fault::new("unknown_tool", "this binary has no such tool")),
    };
    let reply = match reply {
        Ok(value) => Reply::Done { value },
        Err(fault) => Reply::Fault { fault },
    };
    let Ok(bytes) = serde_json::to_vec(&reply) else {
        return ExitCode::from(BROKEN);
    };
    let mut output = std::io::stdout().lock();
    if output
        .write_all(&bytes)
        .and_then(|()| output.flush())
        .is_err()
    {
        return ExitCode::from(BROKEN);
    }
    ExitCode::SUCCESS
}
