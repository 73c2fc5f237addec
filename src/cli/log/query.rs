//! `keepgate log query`.

use serde_json::{Value, json};

use super::rows::row;
use super::source::Source;
use crate::cli::app::App;
use crate::cli::args::QueryArgs;
use crate::cli::exit::Exit;
use crate::error::Result;
use crate::wire::admin::Filter;

pub(super) fn run(app: &App, query: QueryArgs) -> Result<Exit> {
    let source = Source::open(app, query.from.log)?;
    let filter = Filter {
        agent: query.agent,
        tool: query.tool,
        kind: query.kind,
        request: query.request.map(|id| id.to_string()),
        since: query.since,
        until: query.until,
        after: query.after,
        limit: Some(query.limit),
    };
    let (entries, more) = source.query(&filter)?;
    let value = json!({"entries": entries, "more": more});
    if app.screen.json() {
        app.screen.value(&value)?;
        return Ok(Exit::Ok);
    }
    for entry in &entries {
        app.screen.line(row(&app.screen, entry))?;
    }
    match (
        entries
            .last()
            .and_then(|entry| entry.get("seq"))
            .and_then(Value::as_u64),
        more,
    ) {
        (None, _) => app.screen.note("no entry is like this"),
        (Some(last), true) if filter.after.is_some() => {
            app.screen
                .note(format!("there may be more: --after {last}"));
        }
        (Some(_), true) => app
            .screen
            .note("these are the newest; --limit and --until reach further"),
        (Some(_), false) => {}
    }
    Ok(Exit::Ok)
}
