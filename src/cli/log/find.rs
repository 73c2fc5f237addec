//! One entry, wherever entries are read.

use std::path::PathBuf;

use serde_json::Value;

use super::source::Source;
use crate::cli::app::App;
use crate::error::{Error, Kind, Result};
use crate::wire::admin::Filter;

/// The entry `seq`.
pub(in crate::cli) fn seq(app: &App, dir: Option<PathBuf>, seq: u64) -> Result<Value> {
    let filter = Filter {
        after: seq.checked_sub(1),
        limit: Some(1),
        ..Filter::default()
    };
    let (entries, _) = Source::open(app, dir)?.query(&filter)?;
    let of_seq = |entry: &Value| entry.get("seq").and_then(Value::as_u64) == Some(seq);
    entries.into_iter().find(of_seq).ok_or_else(|| none(seq))
}

/// The outcome of the call with that request id, where there is one.
pub(in crate::cli) fn outcome(
    app: &App,
    dir: Option<PathBuf>,
    call: &str,
) -> Result<Option<Value>> {
    let filter = Filter {
        kind: Some("call.outcome".into()),
        request: Some(call.into()),
        limit: Some(1),
        ..Filter::default()
    };
    let (entries, _) = Source::open(app, dir)?.query(&filter)?;
    Ok(entries.into_iter().next())
}

/// There is no such entry.
pub(super) fn none(seq: u64) -> Error {
    Error::of(Kind::Usage, format!("the log has no entry {seq}"))
        .hint("`keepgate log tail` shows the newest ones")
}
