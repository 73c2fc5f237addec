//! The planes' logs.

use std::fs;
use std::path::Path;

use nix::unistd::geteuid;

use super::Check;
use crate::audit::Reader;
use crate::audit::verify::{Options, verify};
use crate::cli::app::App;
use crate::cli::layout;
use crate::cli::log::verified;
use crate::config::Config;
use crate::error::Kind;

/// Logs up to this many bytes are verified whole; of longer ones only the last segment is read.
const WHOLE_MAX: u64 = 64 << 20;

pub(super) fn all(app: &App, config: &Config) -> Vec<Check> {
    config
        .planes
        .keys()
        .map(|plane| log(plane, &app.paths.log(plane)))
        .collect()
}

fn log(plane: &str, dir: &Path) -> Check {
    let why = "a log that was changed proves nothing, and its plane does not start";
    let check = |found: String| Check::new(format!("log.{plane}"), why, found);
    let size = match size(dir) {
        Ok(0) => return check("none yet".into()),
        Ok(size) => size,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return check("none yet".into());
        }
        Err(error) if !geteuid().is_root() => {
            return check(error.to_string()).warn("run `keepgate doctor` as root to look at it");
        }
        Err(error) => return check(error.to_string()).fail(format!("ls -l {}", dir.display())),
    };
    let mend = format!("keepgate log verify {}", dir.display());
    let found = match size <= WHOLE_MAX {
        true => {
            let mut silent = |_, _| {};
            verify(
                dir,
                Options {
                    vkey: None,
                    progress: &mut silent,
                },
            )
            .map(|report| {
                let signed = report.checkpoint.is_some();
                check(verified(&report)).warn_unless(signed, mend.as_str())
            })
        }
        false => Reader::open(dir)
            .and_then(|reader| reader.last_seq())
            .map(|last| {
                let last = last.map_or("no entry".into(), |seq| format!("up to entry {seq}"));
                check(format!(
                    "the last segment is good, {last}, {} in all",
                    layout::bytes(size)
                ))
            }),
    };
    match found {
        Ok(check) => check,
        Err(error) if error.kind() == Kind::Tampered => check(error.message()).fail(mend),
        Err(error) => check(error.message()).warn(mend),
    }
}

/// Bytes of all segments.
fn size(dir: &Path) -> std::io::Result<u64> {
    let mut size = 0_u64;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "seg")
        {
            size = size.saturating_add(entry.metadata()?.len());
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn no_log_is_well_and_a_broken_one_fails() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(log("p", &directory.path().join("log")).verdict, Verdict::Ok);
        assert_eq!(log("p", directory.path()).found, "none yet");
        let segment = directory.path().join("00000000000000000000.seg");
        // As a machine leaves it that stops in the very first moment.
        fs::write(&segment, b"Exxxx").unwrap();
        assert_eq!(log("p", directory.path()).verdict, Verdict::Warn);
        fs::write(directory.path().join("checkpoint"), b"x").unwrap();
        assert_eq!(log("p", directory.path()).verdict, Verdict::Fail);
    }
}
