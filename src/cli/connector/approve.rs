//! `keepgate connector approve`: a person's yes to exactly what was vetted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::files::{directory, read_report};
use super::now::{Now, now};
use crate::catalog::connector::digest::sha256;
use crate::catalog::connector::report::{Report, Severity};
use crate::catalog::connector::tree::Measured;
use crate::catalog::connector::{Approval, Lock, Pin};
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::error::{Error, Kind, Result};
use crate::time::{Clock, SystemClock};
use crate::wire::text::{Escaped, escaped};

/// Longest name of who approves, in characters.
const BY_MAX: usize = 100;

pub(super) fn run(app: &App, name: &str, by: &str, accept: &[String]) -> Result<Exit> {
    if by.trim().is_empty() || by.chars().count() > BY_MAX || by.chars().any(char::is_control) {
        return Err(Error::of(Kind::Usage, "it is not said who approves")
            .hint("`--by NAME`: one line, at most 100 characters"));
    }
    let vet = format!("`keepgate connector vet {name}`");
    let now = now(app, name)?;
    let (report, bytes) = read_report(app, name)?.ok_or_else(|| {
        Error::of(Kind::Denied, format!("connector `{name}` was not vetted")).hint(vet.clone())
    })?;
    same(&report, &now, name, &vet)?;
    let accepted = accepted(&report, accept)?;
    let pin = Pin {
        connector: now.connector,
        manifest_sha256: report.manifest_sha256,
        files: report.files,
        tools: report.tools,
        tool_digests: report.tool_digests,
        set_sha256: report.set_sha256,
        prompts: report.prompts,
        prompts_sha256: report.prompts_sha256,
        resources: report.resources,
        resources_sha256: report.resources_sha256,
        approved: Approval {
            by: by.into(),
            at: SystemClock.now(),
            report_sha256: sha256(&bytes),
            accepted,
        },
    };
    let value = json!({
        "connector": name,
        "by": by,
        "at": pin.approved.at,
        "report_sha256": pin.approved.report_sha256,
        "pin": pin.digest(),
        "tools": pin.tools.len(),
        "accepted": pin.approved.accepted,
    });
    let path = app.paths.connectors_lock();
    if let Some(above) = path.parent()
        && above.symlink_metadata().is_err()
    {
        directory(above, 0o711)?;
    }
    let mut lock = Lock::read(&path)?;
    lock.connectors.insert(name.into(), pin);
    lock.write(&path)?;
    app.screen.answer(&value, |value| {
        let pin = value.get("pin").and_then(Value::as_str).unwrap_or_default();
        let short: String = pin.chars().take(16).collect();
        format!(
            "connector {name} is approved by {}: pin {short}\nplanes take it over at `systemctl reload keepgate`, \
             or a SIGHUP to `keepgate serve`: their keeper and jailer start again, agents stay connected",
            escaped(by)
        )
    })?;
    Ok(Exit::Ok)
}

/// What is there is what was vetted.
fn same(report: &Report, now: &Now, name: &str, vet: &str) -> Result<()> {
    let changed = |what: String| {
        Err(
            Error::of(Kind::Denied, format!("{what} since it was vetted"))
                .hint(format!("look at it again: {vet}")),
        )
    };
    if report.connector != name {
        return changed(format!("connector `{name}` has changed its name"));
    }
    if report.manifest_sha256 != now.manifest_sha256 {
        return changed(format!("the manifest of `{name}` has changed"));
    }
    let trees: Vec<_> = now.measured.iter().map(Measured::tree).collect();
    if let Some(tree) = trees.iter().find(|tree| !report.files.contains(tree)) {
        let path = escaped(&tree.path.to_string_lossy());
        return changed(format!("`{path}` has changed"));
    }
    match trees.len() == report.files.len() {
        true => Ok(()),
        false => changed(format!("what is pinned of `{name}` has changed")),
    }
}

/// Every high finding is accepted by name, and nothing else is.
fn accepted(report: &Report, accept: &[String]) -> Result<Vec<String>> {
    let findings: BTreeMap<&str, Severity> = report
        .findings
        .iter()
        .map(|finding| (finding.id.as_str(), finding.severity))
        .collect();
    if let Some(stray) = accept.iter().find(|id| !findings.contains_key(id.as_str())) {
        let shown = Escaped::cut(stray, 100);
        return Err(Error::of(
            Kind::Usage,
            format!("there is no finding `{shown}` in the report"),
        )
        .hint("`keepgate connector show NAME` lists the findings"));
    }
    let open: Vec<&str> = report
        .high()
        .map(|finding| finding.id.as_str())
        .filter(|id| !accept.iter().any(|accepted| accepted == id))
        .collect();
    if !open.is_empty() {
        let (number, more) = (open.len(), open.len().saturating_sub(5));
        let mut list = open.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        if more > 0 {
            list += &format!(" and {more} more");
        }
        let what = format!("{number} high findings are open: {list}");
        return Err(Error::of(Kind::Denied, what)
            .hint("mend them and vet again, or accept each by name: `--accept FINDING`"));
    }
    let mut accepted = accept.to_vec();
    accepted.sort();
    accepted.dedup();
    Ok(accepted)
}
