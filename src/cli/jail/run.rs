//! `keepgate jail run`.

use std::io::{self, ErrorKind, IsTerminal};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::drive::{self, Ends, OUTPUT, Ran};
use super::hands::Hands;
use super::program::Found;
use super::users::Own;
use super::{Failure, asked, private, program, told};
use crate::cli::app::App;
use crate::cli::args::JailRunArgs;
use crate::cli::exit::Exit;
use crate::error::{Context, Error, Result};
use crate::jail::cgroup::{Delegation, Subtree};
use crate::sys::exec::DESCRIPTORS;
use crate::sys::process::{self, harden_supervisor};
use crate::wire::manifest::{Manifest, Quantities};
use crate::wire::messages::SelfTest;
use crate::wire::text::escaped;

pub(in crate::cli) fn run(app: &App, options: &JailRunArgs) -> Exit {
    carry_out(app, options)
        .unwrap_or_else(|Failure { exit, error }| app.screen.error_as(&error, exit))
}

fn carry_out(app: &App, options: &JailRunArgs) -> Result<Exit, Failure> {
    let argv = words(options)?;
    let manifest = asked::manifest(app, options)?;
    let name = argv.first().map(String::as_str).unwrap_or_default();
    enough()?;
    let found = program::find(&manifest, name)?;
    let users = Own::new()?;
    let ends = Ends::new(app.screen.json())?;
    // Only where this process was started in a cgroup of its own (`systemd-run --scope
    // --property=Delegate=yes`).
    let cgroups = Subtree::claim_own();
    let cgroup = match &cgroups {
        Ok(cgroups) => cgroups.plane(private::NAME, users.map(|users| users.jailer)),
        Err(lack) => Delegation {
            path: None,
            lack: Some(lack.clone()),
        },
    };
    let ran = in_jail(
        app,
        options,
        &argv,
        Order {
            manifest,
            found,
            ends,
            users,
            cgroup,
        },
    );
    // Every role of ours has ended.
    if let Ok(cgroups) = cgroups {
        cgroups.release();
    }
    ran
}

/// Lower limits of whoever starts this are a jail's too; but for what it takes to make one.
fn enough() -> Result<()> {
    let what = || "raise the limits of this process".into();
    process::raise_descriptors(DESCRIPTORS).context(what)?;
    let (most, _) = process::descriptors().context(what)?;
    let less = |what, has, option| {
        let what = format!("this process may {what}, and to make jails takes {has}");
        let hint = format!("raise the hard limit (`ulimit {option}`) where this is started");
        Err(Error::new(what).hint(hint))
    };
    if most < DESCRIPTORS {
        return less(format!("open {most} descriptors"), DESCRIPTORS, "-Hn");
    }
    // A jailer keeps a sealed copy of this program.
    let longest = process::raise_file_length().context(what)?;
    let own = std::fs::metadata("/proc/self/exe").map_or(0, |meta| meta.len());
    if longest < own {
        return less(format!("write files of {longest} bytes"), own, "-Hf");
    }
    Ok(())
}

/// What there is to run.
struct Order {
    manifest: Manifest,
    found: Found,
    ends: Ends,
    users: Option<Own>,
    cgroup: Delegation,
}

fn in_jail(
    app: &App,
    options: &JailRunArgs,
    argv: &[String],
    order: Order,
) -> Result<Exit, Failure> {
    let Order {
        manifest,
        found,
        ends,
        users,
        cgroup,
    } = order;
    harden_supervisor(manifest.observe).context(|| "harden this process".into())?;
    let mut jailer = private::jailer(&manifest, users, cgroup, options.strict)?;
    let egress = match manifest.net.is_empty() {
        true => None,
        false => Some(private::egress(users, options.strict, Vec::new())?),
    };
    let degraded = &jailer.test.degraded;
    if !options.quiet && !degraded.is_empty() {
        app.screen.note(format!(
            "note: less protection than a jail should have: {}; `keepgate doctor` says more, \
             `--strict` refuses",
            degraded.join(", ")
        ));
    }
    let test = jailer.test.clone();
    let hands = Hands::new(&mut jailer, egress, &manifest)?;
    let ran = drive::run(hands, found, argv, ends, manifest.limits.output)?;
    report(app, options, &ran, &test, &manifest)?;
    if let Some(unread) = &ran.unread {
        let what = format!("read standard input for the program: {unread}");
        let hint = "it was told that its input ended there; give it a file, or `</dev/null`";
        return Err(Error::new(what).hint(hint).into());
    }
    let [output, error] = &ran.lost;
    for (lost, which) in [(output, "output"), (error, "error")] {
        if let Some(lost) = lost {
            passed_on(lost, which)?;
        }
    }
    Ok(ended(&ran))
}

/// What did not get out is a failure of this command, however the program ended; but for a reader
/// that has gone, which is nothing unusual.
fn passed_on(lost: &io::Error, which: &str) -> Result<()> {
    if gone(lost) {
        return Ok(());
    }
    let what = format!("write the program's standard {which}: {lost}");
    Err(Error::new(what)
        .hint("make room, or write elsewhere; what else the program did is done, look before you run it again"))
}

/// Nobody reads it any more (pipe(7), socket(7)).
fn gone(lost: &io::Error) -> bool {
    matches!(
        lost.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

/// As the program ended. One that says it succeeded while its output had no reader ends as if it had
/// written into that pipe itself: by the signal that tells so; and one whose output was cut, as if
/// that had reached it in time.
fn ended(ran: &Ran) -> Exit {
    let unread = ran.lost.iter().flatten().any(gone);
    let cut = ran.end.limit.as_deref() == Some(OUTPUT);
    let well = ran.end.code == Some(0);
    match ran.signal {
        Some(signal) => Exit::of(None, Some(signal)),
        None if cut && well => Exit::of(None, Some(Signal::SIGKILL as i32)),
        None if unread && well => Exit::of(None, Some(Signal::SIGPIPE as i32)),
        None => Exit::of(ran.end.code, ran.end.signal),
    }
}

/// The program and its arguments as text, which is what an order to a jailer holds.
fn words(options: &JailRunArgs) -> Result<Vec<String>> {
    let text = |word: &std::ffi::OsString| {
        word.to_str().map(str::to_owned).ok_or_else(|| {
            let shown = escaped(&word.to_string_lossy());
            Error::new(format!("the argument `{shown}` is not UTF-8"))
                .hint("hand it over in a file or in standard input")
        })
    };
    options.program.iter().map(text).collect()
}

fn report(
    app: &App,
    options: &JailRunArgs,
    ran: &Ran,
    test: &SelfTest,
    manifest: &Manifest,
) -> Result<()> {
    let had = manifest.limits;
    if app.screen.json() {
        return app.screen.value(&value(ran, test, had));
    }
    // A program that did what it was for has no need of what it was refused.
    let well = ended(ran) == Exit::Program(0);
    if options.quiet && well {
        return Ok(());
    }
    let all = told::of_end(&ran.end, had, &ran.hops);
    for told in &all {
        app.screen.note(format!("denied: {}", told.say));
    }
    // What was not shown is not there, which nobody is told of (a kernel has no cheap way to). A
    // person who watches may see it from what was; a script that ends with 1 has its own reasons.
    let failed = ran.signal.is_none() && ran.end.code.is_some_and(|code| code != 0);
    if failed && !options.quiet && all.is_empty() && io::stderr().is_terminal() {
        app.screen.note(told::had(manifest));
    }
    Ok(())
}

fn value(ran: &Ran, test: &SelfTest, had: Quantities) -> Value {
    let [(output, output_bytes), (error, error_bytes)] = &ran.kept;
    json!({
        "exit": ran.end.code,
        "signal": ran.end.signal,
        "limit": ran.end.limit,
        "wall_us": ran.end.wall_us,
        "cpu_us": ran.end.cpu_us,
        "rss_kib": ran.end.rss_kib,
        "stdout": String::from_utf8_lossy(output),
        "stdout_bytes": output_bytes,
        "stderr": String::from_utf8_lossy(error),
        "stderr_bytes": error_bytes,
        "denials": told::of_end(&ran.end, had, &ran.hops),
        "hops": ran.hops,
        "degraded": test.degraded,
    })
}
