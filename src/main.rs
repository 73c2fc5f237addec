//! `keepgate`: one binary that is the supervisor, every role, every jailed tool and the operator's
//! command line. Which one is decided by the name it was started under, before any thread exists.

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use keepgate::{cli, diagnostics, supervisor, tools};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
    if name == tools::PROGRAM {
        let tool = arguments.next().unwrap_or_default();
        return tools::run(&String::from_utf8_lossy(tool.as_bytes()));
    }
    if let Some(role) = name.strip_prefix(supervisor::role::PROGRAM) {
        diagnostics::start(tracing::Level::INFO);
        if let Some(code) = supervisor::role::run(role) {
            return code;
        }
    }
    cli::main()
}
