//! `keepgate connector list`: which there are, and the document of what is trusted.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;

use serde_json::{Value, json};

use super::files::{read_report, shown};
use super::now::{Stage, manifest};
use super::show::facts;
use crate::catalog::connector::manifest::is_name;
use crate::catalog::connector::report::Severity;
use crate::catalog::connector::{Lock, Pin};
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::cli::layout::{cell, table, text, time};
use crate::error::{Context, Result};
use crate::time::{Clock, SystemClock};
use crate::wire::text::escaped;

/// Names of all connectors that have a manifest or an approval.
pub(super) fn names(app: &App) -> Result<BTreeSet<String>> {
    let lock = Lock::read(&app.paths.connectors_lock())?;
    let mut names: BTreeSet<String> = lock.connectors.into_keys().collect();
    let dir = app.paths.connectors();
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(names),
        entries => entries.context(|| format!("list `{}`", shown(&dir)))?,
    };
    for entry in entries {
        let entry = entry.context(|| format!("list `{}`", shown(&dir)))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".toml").filter(|name| is_name(name)) {
            names.insert(name.into());
        }
    }
    Ok(names)
}

pub(super) fn run(app: &App, report: bool) -> Result<Exit> {
    let lock = Lock::read(&app.paths.connectors_lock())?;
    let mut rows = Vec::new();
    for name in names(app)? {
        rows.push(row(app, &name, lock.connectors.get(&name))?);
    }
    if report {
        return document(app, &lock, &rows);
    }
    let value = json!({"connectors": rows});
    app.screen.answer(&value, |_| match rows.is_empty() {
        true => "there are no connectors\n\nnext:\n  keepgate connector import --help".into(),
        false => shown_rows(&rows),
    })?;
    Ok(Exit::Ok)
}

fn row(app: &App, name: &str, pin: Option<&Pin>) -> Result<Value> {
    let stage = Stage::of(app, name, pin)?;
    let said = manifest(app, name)
        .ok()
        .map(|(written, _)| written.into_connector());
    let connector = said.as_ref().or(pin.map(|pin| &pin.connector));
    // A report that is damaged is as none: vetting makes it anew.
    let report = read_report(app, name).ok().flatten();
    let count = |severity| report.as_ref().map(|(report, _)| report.count(severity));
    Ok(json!({
        "name": name,
        "stage": stage.name(),
        "launch": connector.map(|connector| connector.launch.name()),
        "version": connector.and_then(|connector| connector.version.clone()),
        "tools": pin.map(|pin| pin.tools.len())
            .or_else(|| report.as_ref().map(|(report, _)| report.tools.len())),
        "high": count(Severity::High),
        "medium": count(Severity::Medium),
        "by": pin.map(|pin| pin.approved.by.clone()),
        "at": pin.map(|pin| pin.approved.at),
        "pin": pin.map(Pin::digest),
    }))
}

fn shown_rows(rows: &[Value]) -> String {
    let head = [
        "NAME",
        "VERSION",
        "STARTED",
        "TOOLS",
        "STAGE",
        "APPROVED BY",
        "AT",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let part = |name: &str| match row.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let at = match text(row, "at") {
            none if none.is_empty() => "-".into(),
            at => time(&at),
        };
        lines.push(vec![
            cell(&part("name")),
            cell(&part("version")),
            cell(&part("launch")),
            cell(&part("tools")),
            cell(&part("stage")),
            cell(&part("by")),
            at,
        ]);
    }
    table(&lines)
}

/// The deployment's document of trusted connectors.
fn document(app: &App, lock: &Lock, rows: &[Value]) -> Result<Exit> {
    let approved = Stage::Approved.name();
    let (trusted, not): (Vec<&Value>, Vec<&Value>) = rows
        .iter()
        .partition(|row| row.get("stage").and_then(Value::as_str) == Some(approved));
    let pin = |row: &Value| lock.connectors.get(&text(row, "name")).map(facts);
    let facts: Vec<Value> = trusted.into_iter().filter_map(pin).collect();
    let value = json!({
        "at": SystemClock.now(),
        "install": app.paths.dir().to_string_lossy(),
        "trusted": facts,
        "not_trusted": not,
    });
    app.screen.answer(&value, markdown)?;
    Ok(Exit::Ok)
}

fn markdown(value: &Value) -> String {
    let mut page = format!(
        "# Trusted connectors\n\nInstall `{}`, {}.\n\n",
        text(value, "install"),
        time(&text(value, "at"))
    );
    page += "What is listed here was vetted and approved by a person, and is on this host as it was \
             approved. What differs from that in one byte is not started; what runs is what was \
             approved, until it ends.\n";
    let list = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let trusted = list("trusted");
    if trusted.is_empty() {
        page += "\nNone.\n";
    }
    for one in &trusted {
        page += &super::show::markdown(one);
    }
    let not = list("not_trusted");
    if !not.is_empty() {
        page += "\n## Not trusted\n\n";
        for row in &not {
            let (name, stage) = (text(row, "name"), text(row, "stage"));
            page += &format!("- `{name}`: {}\n", escaped(&stage));
        }
    }
    page
}
