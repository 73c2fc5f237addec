//! `keepgate connector show`: one connector, its tools and findings.

use serde_json::{Value, json};

use super::files::{read_report, shown};
use super::now::{Stage, manifest, pin};
use super::vet::one;
use crate::call::declared::{Declared, DryRun, HighValue};
use crate::catalog::connector::manifest::reversible;
use crate::catalog::connector::{Connector, Launch, Pin};
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::cli::layout::{cell, outline, table, text, time};
use crate::error::Result;
use crate::wire::text::escaped;

pub(super) fn run(app: &App, name: &str) -> Result<Exit> {
    let pin = pin(app, name)?;
    let stage = Stage::of(app, name, pin.as_ref())?;
    let (connector, manifest_sha256) = match (stage, &pin) {
        (Stage::Gone, Some(pin)) => (pin.connector.clone(), pin.manifest_sha256.clone()),
        _ => {
            let (written, sha256) = manifest(app, name)?;
            (written.into_connector(), sha256)
        }
    };
    let report = read_report(app, name)?;
    let findings = report.as_ref().map(|(report, _)| &report.findings);
    let mut value = about(&connector);
    if let Some(members) = value.as_object_mut() {
        members.insert("stage".into(), stage.name().into());
        members.insert("manifest_sha256".into(), manifest_sha256.into());
        members.insert("approved".into(), json!(pin.as_ref().map(approved)));
        members.insert("findings".into(), json!(findings));
    }
    app.screen.answer(&value, |value| {
        let mut page = format!("connector {name}: {}\n", stage.name());
        let mut rest = value.clone();
        if let Some(members) = rest.as_object_mut() {
            for gone in ["name", "stage", "findings", "tools"] {
                members.remove(gone);
            }
            members.retain(|_, value| !value.is_null());
        }
        page += &outline(&rest, 1);
        page += &tools(&connector);
        for finding in findings.into_iter().flatten() {
            page.push('\n');
            page += &one(&app.screen, finding);
        }
        page
    })?;
    Ok(Exit::Ok)
}

fn tools(connector: &Connector) -> String {
    if connector.tools.is_empty() {
        return String::new();
    }
    let none = || "-".to_owned();
    let mut rows = vec![
        [
            "  TOOL",
            "CLASS",
            "REVERSIBILITY",
            "UNDO",
            "DRY RUN",
            "HIGH VALUE",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (name, declared) in &connector.tools {
        rows.push(vec![
            format!("  {}", cell(name)),
            declared.class.name().into(),
            reversible(declared.reversibility).into(),
            declared
                .undo
                .as_ref()
                .map_or_else(none, |undo| cell(&undo.tool)),
            match &declared.dry_run {
                DryRun::None => none(),
                DryRun::Tool(tool) => cell(tool),
                DryRun::Arguments(_) => "by arguments".into(),
            },
            declared
                .high_value
                .as_ref()
                .map_or_else(none, HighValue::shown),
        ]);
    }
    format!("\n{}", table(&rows))
}

fn about(connector: &Connector) -> Value {
    let (reads, writes, hosts, url) = match &connector.launch {
        Launch::Stdio { jail, .. } | Launch::Skill { jail, .. } => {
            let paths = |all: &[std::path::PathBuf]| -> Vec<String> {
                all.iter().map(|path| shown(path)).collect()
            };
            let hosts: Vec<String> = jail.net.iter().map(ToString::to_string).collect();
            (paths(&jail.ro), paths(&jail.rw), hosts, None)
        }
        Launch::Remote { url, .. } => (Vec::new(), Vec::new(), Vec::new(), Some(url.clone())),
    };
    let secrets: Vec<Value> = connector
        .secrets
        .iter()
        .map(|(name, slot)| {
            json!({"name": name, "goes": slot.place.name(), "at": slot.place.at(),
                   "required": slot.required})
        })
        .collect();
    json!({
        "name": connector.name,
        "title": connector.title,
        "version": connector.version,
        "publisher": connector.publisher,
        "package": connector.package,
        "launch": connector.launch.name(),
        "url": url,
        "reads": reads,
        "writes": writes,
        "hosts": hosts,
        "secrets": secrets,
        "allow": connector.allow,
    })
}

fn approved(pin: &Pin) -> Value {
    json!({
        "by": pin.approved.by,
        "at": pin.approved.at,
        "report_sha256": pin.approved.report_sha256,
        "accepted": pin.approved.accepted,
        "pin": pin.digest(),
    })
}

/// What the document of trusted connectors says of one.
pub(super) fn facts(pin: &Pin) -> Value {
    let mut value = about(&pin.connector);
    let tools: Vec<Value> = pin
        .tool_digests
        .iter()
        .map(|(name, digest)| {
            let Declared {
                class,
                reversibility,
                undo,
                dry_run,
                high_value,
                ..
            } = pin.connector.declared(name);
            json!({"name": name, "class": class, "reversibility": reversible(reversibility),
                   "undo": undo, "dry_run": dry_run, "high_value": high_value, "sha256": digest})
        })
        .collect();
    if let Some(members) = value.as_object_mut() {
        members.insert("approved".into(), approved(pin));
        members.insert("manifest_sha256".into(), pin.manifest_sha256.clone().into());
        members.insert("files".into(), json!(pin.files));
        members.insert("set_sha256".into(), pin.set_sha256.clone().into());
        members.insert("tools".into(), tools.into());
    }
    value
}

/// The same as a section in Markdown.
pub(super) fn markdown(facts: &Value) -> String {
    let part = |name: &str| text(facts, name);
    let list = |name: &str| {
        facts
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let approved = facts.get("approved").cloned().unwrap_or_default();
    let mut page = format!("\n## {}\n\n", part("name"));
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            page += &format!("- {name}: {value}\n");
        }
    };
    line("title", part("title"));
    line("version", part("version"));
    line("publisher", part("publisher"));
    if let Some(package) = facts.get("package").filter(|package| package.is_object()) {
        let sha256 = match text(package, "sha256") {
            none if none.is_empty() => String::new(),
            some => format!(", published SHA-256 `{some}`"),
        };
        line(
            "package",
            format!(
                "{} `{}` {}{sha256}",
                text(package, "registry"),
                text(package, "identifier"),
                text(package, "version")
            ),
        );
    }
    line("started", part("launch"));
    line("at", part("url"));
    line("approved by", text(&approved, "by"));
    line("approved at", time(&text(&approved, "at")));
    line("pin", format!("`{}`", text(&approved, "pin")));
    line("manifest", format!("`{}`", part("manifest_sha256")));
    line("report", format!("`{}`", text(&approved, "report_sha256")));
    let words = |items: &[Value]| -> String {
        let all = items.iter().filter_map(Value::as_str);
        all.map(|text| format!("`{}`", escaped(text)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let accepted = approved.get("accepted").and_then(Value::as_array).cloned();
    line("accepted findings", words(&accepted.unwrap_or_default()));
    line("sees", words(&list("reads")));
    line("may change", words(&list("writes")));
    line("may reach", words(&list("hosts")));
    let secrets: Vec<String> = list("secrets")
        .iter()
        .map(|slot| {
            format!(
                "`{}` ({} `{}`)",
                text(slot, "name"),
                text(slot, "goes"),
                text(slot, "at")
            )
        })
        .collect();
    line("secrets", secrets.join(", "));
    for tree in list("files") {
        line(
            "executes",
            format!("`{}`, `{}`", text(&tree, "path"), text(&tree, "sha256")),
        );
    }
    line("set of tools", format!("`{}`", part("set_sha256")));
    page += "\n| tool | class | reversibility | SHA-256 |\n|---|---|---|---|\n";
    for tool in list("tools") {
        let cell = |name: &str| text(&tool, name).replace('|', "\\|");
        page += &format!(
            "| `{}` | {} | {} | `{}` |\n",
            cell("name"),
            cell("class"),
            cell("reversibility"),
            cell("sha256")
        );
    }
    page
}
