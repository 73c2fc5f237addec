//! `keepgate connector show`: one connector, its tools and findings.

use serde_json::{Value, json};

use super::files::{read_report, shown};
use super::now::{Stage, manifest, pin};
use super::vet::one;
use crate::call::declared::{Declared, DryRun, HighValue};
use crate::catalog::connector::manifest::reversible;
use crate::catalog::connector::skill::{Narrowing, Script, Skill};
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
    let narrowing = narrowing(&connector);
    if let Some(members) = value.as_object_mut() {
        members.insert("stage".into(), stage.name().into());
        members.insert("manifest_sha256".into(), manifest_sha256.into());
        members.insert("approved".into(), json!(pin.as_ref().map(approved)));
        members.insert("findings".into(), json!(findings));
        if let Some(narrowing) = &narrowing {
            members.insert("allowed_tools".into(), json!(narrowing));
        }
    }
    app.screen.answer(&value, |value| {
        let mut page = format!("connector {name}: {}\n", stage.name());
        let mut rest = value.clone();
        if let Some(members) = rest.as_object_mut() {
            for gone in ["name", "stage", "findings", "tools", "allowed_tools"] {
                members.remove(gone);
            }
            members.retain(|_, value| !value.is_null());
        }
        page += &outline(&rest, 1);
        page += &tools(&connector);
        if let Some(narrowing) = &narrowing {
            page += &allowed(narrowing);
        }
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

/// What a skill's `allowed-tools` comes to; nothing where it is no skill, or not there any more.
fn narrowing(connector: &Connector) -> Option<Narrowing> {
    let Launch::Skill {
        folder, scripts, ..
    } = &connector.launch
    else {
        return None;
    };
    // What is wrong with a folder is for `vet` to say.
    let skill = Skill::load(folder).ok()?;
    let mut all = skill.every_script(folder).unwrap_or_default();
    // What import left out is in no manifest.
    let written = |path: &std::path::Path| scripts.values().any(|one| one.script == path);
    all.retain(|_, script| !skill.allows(script) && !written(&script.script));
    all.extend(scripts.clone());
    Some(skill.narrowing(&all))
}

/// The same for people.
fn allowed(narrowing: &Narrowing) -> String {
    let list = |names: &[String]| -> String {
        let all = names.iter().map(|name| format!("`{}`", escaped(name)));
        all.collect::<Vec<_>>().join(", ")
    };
    let Some(says) = &narrowing.says else {
        return "\nallowed-tools: not said, so every script is offered\n".into();
    };
    let mut text = format!(
        "\nallowed-tools: {}\n  it only takes away: a skill gives nobody tools\n",
        list(says)
    );
    for (what, names) in [
        ("offered", &narrowing.offered),
        ("left out", &narrowing.left_out),
        (
            "names no script of it, and gives nothing",
            &narrowing.without_effect,
        ),
    ] {
        if !names.is_empty() {
            text += &format!("  {what}: {}\n", list(names));
        }
    }
    text
}

fn about(connector: &Connector) -> Value {
    let toolkits = match &connector.launch {
        Launch::Remote { toolkits, .. } => toolkits.as_slice(),
        Launch::Stdio { .. } | Launch::Skill { .. } => &[],
    };
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
        "scripts": scripts(connector),
        "url": url,
        "toolkits": toolkits,
        "reads": reads,
        "writes": writes,
        "hosts": hosts,
        "secrets": secrets,
        "allow": connector.allow,
        "resources": connector.resources,
    })
}

/// The scripts of a skill, and what runs each; nothing where it is none.
fn scripts(connector: &Connector) -> Option<Vec<Value>> {
    let Launch::Skill { scripts, .. } = &connector.launch else {
        return None;
    };
    let one = |(name, script): (&String, &Script)| {
        let path = shown(&script.script);
        json!({"name": name, "script": path, "runs_by": script.with})
    };
    Some(scripts.iter().map(one).collect())
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
    line("toolkits", words(&list("toolkits")));
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
    for script in list("scripts") {
        let by = script.get("runs_by").and_then(Value::as_array).cloned();
        let by = match words(&by.unwrap_or_default()) {
            none if none.is_empty() => String::new(),
            some => format!(", run by {some}"),
        };
        line("script", format!("`{}`{by}", text(&script, "script")));
    }
    line("set of tools", format!("`{}`", part("set_sha256")));
    page += "\n| tool | class | reversibility | taken back by | rehearsed by | high value | SHA-256 |\n\
             |---|---|---|---|---|---|---|\n";
    for tool in list("tools") {
        let cell = |text: String| text.replace('|', "\\|");
        let part = |name: &str| cell(text(&tool, name));
        let of = |name: &str| tool.get(name).cloned().unwrap_or_default();
        page += &format!(
            "| `{}` | {} | {} | {} | {} | {} | `{}` |\n",
            part("name"),
            part("class"),
            part("reversibility"),
            cell(by(&of("undo"))),
            cell(by(&of("dry_run"))),
            cell(worth(&of("high_value"))),
            part("sha256")
        );
    }
    page
}

/// The tool that another one is taken back or rehearsed by, where there is one.
fn by(how: &Value) -> String {
    match (
        how.get("tool").and_then(Value::as_str),
        how.get("arguments"),
    ) {
        (Some(tool), _) => format!("`{}`", escaped(tool)),
        (None, Some(_)) => "itself".into(),
        (None, None) => String::new(),
    }
}

/// Which calls a person has to decide.
fn worth(rule: &Value) -> String {
    let of = |name: &str| {
        let rule = rule.get(name)?;
        let parameter = format!("`{}`", text(rule, "parameter"));
        Some((parameter, rule))
    };
    match (of("above"), of("not_one_of")) {
        (Some((parameter, rule)), _) => {
            let above = rule.get("above").cloned().unwrap_or_default();
            format!("{parameter} above {above}")
        }
        (None, Some((parameter, _))) => format!("unusual {parameter}"),
        (None, None) => rule.as_str().map(escaped).unwrap_or_default(),
    }
}
