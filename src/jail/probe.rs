//! The tool `self-test`: runs inside a jail, tries what is forbidden there, and tells what got
//! through. Standard input says which part: nothing for all that can fail, `int80` or `x32` for
//! calls that must kill.

use std::io::{Read, Write};
use std::process::ExitCode;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::sys::probe;
use crate::time::{Clock, SystemClock};

/// Bytes a tool must be able to use.
const MEMORY: usize = 32 << 20;

/// What the self-test says on standard output.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// Number of forbidden actions tried.
    pub attempted: u32,
    /// Those that got through, by name.
    pub succeeded: Vec<String>,
    /// Allowed actions that failed, by name: a jail in which nothing works proves nothing.
    pub broken: Vec<String>,
}

/// The tool.
pub fn run() -> ExitCode {
    let mut part = String::new();
    let read = std::io::stdin().lock().read_to_string(&mut part);
    match (read, part.as_str()) {
        (Ok(_), "int80") => probe::abi_i386(),
        (Ok(_), "x32") => probe::abi_x32(),
        _ => return tell(&findings()),
    }
    ExitCode::SUCCESS
}

fn findings() -> Findings {
    // First: attempts that get through change what is looked at here.
    let state = probe::state();
    let broken = controls();
    let mut findings = Findings {
        broken,
        ..Findings::default()
    };
    for (name, through) in state.into_iter().chain(probe::attempts()) {
        findings.attempted += 1;
        if through {
            findings.succeeded.push(name.to_owned());
        }
    }
    findings
}

fn controls() -> Vec<String> {
    let mut broken = Vec::new();
    if SystemRandom::new().fill(&mut [0; 16]).is_err() {
        broken.push("ctl_getrandom".to_owned());
    }
    if SystemClock.since_boot_micros() <= 0 {
        broken.push("ctl_clock".to_owned());
    }
    let mut memory: Vec<u8> = Vec::new();
    if memory.try_reserve_exact(MEMORY).is_err() {
        broken.push("ctl_mem_32m".to_owned());
    }
    while memory.len() < memory.capacity().min(MEMORY) {
        memory.extend_from_slice(&[1; 4096]);
    }
    std::hint::black_box(&memory);
    broken
}

fn tell(findings: &Findings) -> ExitCode {
    let fine = findings.succeeded.is_empty() && findings.broken.is_empty();
    let Ok(text) = serde_json::to_vec(findings) else {
        return ExitCode::FAILURE;
    };
    let mut output = std::io::stdout().lock();
    match output.write_all(&text).and_then(|()| output.flush()) {
        Ok(()) if fine => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
