//! The tool `self-test`: runs inside a jail, tries what is forbidden there, and tells what got
//! through. Standard input says which part: nothing for all that can fail in a native jail, `int80`
//! or `x32` for calls that must kill, [`Facts`] for a foreign jail.

mod foreign;

use std::io::{Read, Write};
use std::process::ExitCode;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::sys::probe;
use crate::time::{Clock, SystemClock};
use crate::wire::manifest::Manifest;

/// Bytes a tool must be able to use.
const MEMORY: usize = 32 << 20;
/// Bytes from one that is used to the next.
const STRIDE: usize = 256 << 10;

/// What the probe in a foreign jail has to know to tell what is wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What the jail was made from.
    pub manifest: Manifest,
    /// Uid and gid of the jail; nothing where there is only one user.
    pub uid: Option<u32>,
    /// Landlock confines signals (ABI 6).
    pub scoped: bool,
}

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
        (Ok(_), "") => return tell(&findings()),
        (Ok(_), facts) => {
            return match serde_json::from_str(facts) {
                Ok(facts) => tell(&foreign::findings(&facts)),
                Err(_) => ExitCode::FAILURE,
            };
        }
        (Err(_), _) => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

fn findings() -> Findings {
    // First: attempts that get through change what is looked at here.
    let state = probe::state();
    let mut findings = Findings {
        broken: controls(MEMORY),
        ..Findings::default()
    };
    findings.note(state);
    findings.note(probe::attempts_native());
    findings
}

impl Findings {
    /// Adds actions: their names, and whether they got through.
    fn note(&mut self, actions: impl IntoIterator<Item = (&'static str, bool)>) {
        for (name, through) in actions {
            self.attempted += 1;
            if through {
                self.succeeded.push(name.to_owned());
            }
        }
    }

    /// Adds an allowed action, and whether it works.
    fn control(&mut self, name: &str, works: bool) {
        if !works {
            self.broken.push(name.to_owned());
        }
    }
}

/// Allowed actions that fail, of those that every jail allows.
fn controls(bytes: usize) -> Vec<String> {
    let mut broken = Vec::new();
    if SystemRandom::new().fill(&mut [0; 16]).is_err() {
        broken.push("ctl_getrandom".to_owned());
    }
    if SystemClock.since_boot_micros() <= 0 {
        broken.push("ctl_clock".to_owned());
    }
    let has_room = Vec::<u8>::new().try_reserve_exact(bytes).is_ok();
    if !has_room {
        broken.push("ctl_mem_32m".to_owned());
    }
    // A page here and there is enough, and all of them take 10 ms.
    let mut memory = vec![0_u8; if has_room { bytes } else { 0 }];
    memory.iter_mut().step_by(STRIDE).for_each(|byte| *byte = 1);
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
