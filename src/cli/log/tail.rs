//! `keepgate log tail`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::rows::row;
use super::source::Source;
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::cli::layout::number;
use crate::error::Result;
use crate::wire::admin::Filter;

/// How often a follower looks.
const LOOK: Duration = Duration::from_millis(300);
/// Entries of one look.
const BATCH: u32 = 1_000;

pub(super) fn run(app: &App, dir: Option<PathBuf>, lines: u32, follow: bool) -> Result<Exit> {
    let source = Source::open(app, dir)?;
    // One at least, to know where following begins.
    let newest = Filter {
        limit: Some(lines.max(1)),
        ..Filter::default()
    };
    let (entries, _) = source.query(&newest)?;
    let mut last = entries.last().map(|entry| number(entry, "seq"));
    if lines > 0 {
        print(app, &entries)?;
    }
    while follow && !app.screen.closed() {
        let filter = Filter {
            after: last,
            limit: Some(BATCH),
            ..Filter::default()
        };
        let (entries, more) = source.query(&filter)?;
        last = entries.last().map(|entry| number(entry, "seq")).or(last);
        print(app, &entries)?;
        if !more {
            std::thread::sleep(LOOK);
        }
    }
    Ok(Exit::Ok)
}

fn print(app: &App, entries: &[Value]) -> Result<()> {
    entries
        .iter()
        .try_for_each(|entry| match app.screen.json() {
            true => app.screen.value(entry),
            false => app.screen.line(row(&app.screen, entry)),
        })
}
