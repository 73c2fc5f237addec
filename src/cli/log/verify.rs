//! `keepgate log verify`: offline, on the files alone.

use std::path::PathBuf;

use serde_json::Value;

use super::source::hinted;
use crate::audit::verify::{Options, Report, verify};
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::cli::layout::{bytes, count, grouped, time};
use crate::cli::print::{Screen, Style};
use crate::cli::progress;
use crate::error::{Context, Result};
use crate::wire::text::escaped;

/// Unanswered intents that are named.
const NAMED: usize = 5;

pub(super) fn run(app: &App, dir: Option<PathBuf>, key: Option<String>) -> Result<Exit> {
    let named = dir.is_some();
    let dir = match dir {
        Some(dir) => dir,
        None => app.paths.log(&app.plane()?),
    };
    let bar = progress::bytes(&app.screen);
    let mut told = |done: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let report = verify(
        &dir,
        Options {
            vkey: key,
            progress: &mut told,
        },
    );
    bar.finish_and_clear();
    let report = report.map_err(|error| hinted(error, named))?;
    let value: Value = serde_json::to_value(&report).context(|| "write the report".into())?;
    app.screen.answer(&value, |_| shown(&app.screen, &report))?;
    Ok(match report.checkpoint {
        Some(_) => Exit::Ok,
        None => Exit::Degraded,
    })
}

/// The verdict in one line.
pub(in crate::cli) fn sentence(report: &Report) -> String {
    let entries = count(report.entries, "entry", "entries");
    if report.checkpoint.is_none() {
        return format!("{entries} that fits, and no checkpoint that covers it");
    }
    let segments = count(report.segments, "segment", "segments");
    format!("{entries} in {segments}, every byte of them as written")
}

fn shown(screen: &Screen, report: &Report) -> String {
    let verdict = match report.checkpoint {
        Some(_) => screen.paint(Style::Good, "ok:"),
        None => screen.paint(Style::Warn, "nothing signed:"),
    };
    let mut shown = format!("{verdict} {}\n", sentence(report));
    let mut row = |label: &str, what: String| {
        shown += &format!("  {label:<11} {what}\n");
    };
    row("log", escaped(&report.origin));
    row("root", report.root.clone());
    if let (Some(first), Some(last)) = (&report.first, &report.last) {
        row(
            "time",
            format!("{} to {}", time(&first.time), time(&last.time)),
        );
    }
    row("signed", signed(report));
    if report.checkpoint.is_none() {
        row(
            "",
            "if you know of more entries, this is not all of it".into(),
        );
    }
    row("key", escaped(&report.vkey));
    if !report.key_expected {
        row("", "compare it with your own copy: --key VKEY".into());
    }
    if !report.key_changes.is_empty() {
        let at: Vec<String> = report
            .key_changes
            .iter()
            .map(|seq| format!("entry {seq}"))
            .collect();
        row("key changes", at.join(", "));
    }
    if report.pruned > 0 {
        row("pruned", count(report.pruned, "payload", "payloads"));
    }
    if report.torn_bytes > 0 {
        row(
            "torn tail",
            format!(
                "{} no checkpoint covers: a write that a crash cut off, or a change",
                bytes(report.torn_bytes)
            ),
        );
    }
    if report.unanswered_count > 0 {
        let named: Vec<String> = report
            .unanswered
            .iter()
            .take(NAMED)
            .map(|open| format!("entry {}", open.seq))
            .collect();
        let what = count(report.unanswered_count, "call", "calls");
        row("no outcome", format!("{what}: {}", named.join(", ")));
    }
    shown
}

fn signed(report: &Report) -> String {
    let Some(checkpoint) = &report.checkpoint else {
        return "nothing: the log was just begun when its machine stopped, or the rest was taken \
                away"
            .into();
    };
    let unsigned = match report.unsigned {
        0 => "all of it".into(),
        n => format!("all but the newest {}", grouped(n)),
    };
    format!("{unsigned}, by key {}", escaped(&checkpoint.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::verify::{CheckpointReport, Mark, Unanswered};

    #[test]
    fn the_verdict_comes_first() {
        let mark = |seq| {
            Some(Mark {
                seq,
                time: "2026-11-24T09:12:47.123456Z".into(),
            })
        };
        let report = Report {
            origin: "gate/production".into(),
            entries: 8_812,
            segments: 1,
            first: mark(0),
            last: mark(8_811),
            root: "ff".into(),
            vkey: "gate/production+01020304+Ag==".into(),
            key_expected: false,
            checkpoint: Some(CheckpointReport {
                size: 8_800,
                key: "01020304".into(),
                good: true,
            }),
            unsigned: 12,
            unanswered_count: 1,
            unanswered: vec![Unanswered {
                seq: 8_811,
                call: "x".into(),
            }],
            pruned: 0,
            torn_bytes: 9,
            key_changes: vec![7],
        };
        let screen = Screen::new(false, true);
        let begun = Report {
            entries: 1,
            checkpoint: None,
            unsigned: 1,
            ..report.clone()
        };
        assert!(
            shown(&screen, &begun).starts_with(
                "nothing signed: 1 entry that fits, and no checkpoint that covers it\n"
            )
        );
        let shown = shown(&screen, &report);
        assert!(
            shown.starts_with("ok: 8,812 entries in 1 segment, every byte of them as written\n"),
            "{shown}"
        );
        for line in [
            "signed      all but the newest 12, by key 01020304",
            "key changes entry 7",
            "torn tail   9 B no checkpoint covers: a write that a crash cut off, or a change",
            "no outcome  1 call: entry 8811",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
    }
}
