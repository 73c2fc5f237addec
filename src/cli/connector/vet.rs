//! `keepgate connector vet`: looks at all that a connector is, and writes down what it saw.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::files::{self, shown};
use super::now::{Now, installed, now};
use super::server;
use crate::catalog::Catalog;
use crate::catalog::connector::digest::Listing;
use crate::catalog::connector::listing::Listed;
use crate::catalog::connector::report::{Era, Finding, Report, Severity, VERSION};
use crate::catalog::connector::scan::{Material, scan};
use crate::catalog::connector::skill::{self, Looked};
use crate::catalog::connector::tree::Measured;
use crate::catalog::connector::{Connector, Launch, Lock};
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::cli::layout::count;
use crate::cli::print::{Screen, Style};
use crate::error::{Context, Error, Result};
use crate::sys::file::replace_durably;
use crate::time::{Clock, SystemClock};

/// Times a server is started: what it lists has to be the same.
const TIMES: usize = 2;

/// What was listed.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) era: Era,
    pub(super) server: String,
    pub(super) instructions: Option<String>,
    pub(super) tools: Listing,
    pub(super) prompts: Listing,
    pub(super) resources: Listing,
    pub(super) again: Option<Listing>,
    pub(super) skill: Option<Looked>,
    pub(super) degraded: Vec<String>,
}

pub(super) fn run(app: &App, name: &str) -> Result<Exit> {
    let Now {
        connector,
        manifest_sha256,
        measured,
    } = now(app, name)?;
    let seen = see(&connector, TIMES)?;
    if seen.skill.is_some() {
        // Its texts were read after they were measured: what was looked at is what is pinned.
        for one in &measured {
            if Measured::read(&one.path)?.sha256() != one.sha256() {
                let what = format!("`{}` changed while it was vetted", shown(&one.path));
                return Err(Error::new(what).hint("vet it again when nobody works on it"));
            }
        }
    }
    let (others, record) = (others(app, name)?, installed(app, name)?);
    let material = Material {
        connector: &connector,
        tools: &seen.tools,
        prompts: &seen.prompts,
        resources: &seen.resources,
        instructions: seen.instructions.as_deref(),
        again: seen.again.as_ref(),
        others: &others,
        measured: &measured,
        installed: record.as_ref(),
        skill: seen.skill.as_ref(),
        degraded: &seen.degraded,
    };
    let findings = scan(&material);
    let report = Report {
        version: VERSION,
        connector: name.into(),
        at: SystemClock.now(),
        keepgate: env!("CARGO_PKG_VERSION").into(),
        manifest_sha256,
        files: measured.iter().map(Measured::tree).collect(),
        server: seen.server,
        era: seen.era,
        tool_digests: seen.tools.digests.clone(),
        set_sha256: seen.tools.sha256(),
        tools: seen.tools.raw,
        prompts_sha256: seen.prompts.sha256(),
        prompts: seen.prompts.raw,
        resources_sha256: seen.resources.sha256(),
        resources: seen.resources.raw,
        findings,
    };
    files::state(app, name)?;
    let entries = serde_json::to_vec(&measured).context(|| "write the list of files".into())?;
    let path = files::entries(app, name);
    replace_durably(&path, &entries, 0o644).context(|| format!("write `{}`", shown(&path)))?;
    let sha256 = report.write(&files::report(app, name))?;
    show(app, &report, &sha256)?;
    Ok(
        match report.findings.first().map(|finding| finding.severity) {
            Some(Severity::High) => Exit::Denied,
            Some(Severity::Medium) => Exit::Degraded,
            Some(Severity::Low) | None => Exit::Ok,
        },
    )
}

/// Asks a connector what it has, `times` times.
pub(super) fn see(connector: &Connector, times: usize) -> Result<Seen> {
    let nothing = |era: Era, server: String| Seen {
        era,
        server,
        instructions: None,
        tools: Listing::default(),
        prompts: Listing::default(),
        resources: Listing::default(),
        again: None,
        skill: None,
        degraded: Vec::new(),
    };
    match &connector.launch {
        Launch::Stdio { .. } => {
            let (mut all, degraded) = server::list(connector, times)?;
            let again = match all.len() {
                0 | 1 => None,
                _ => all.pop().map(|listed| Listing::tools(listed.tools)),
            };
            let Some(first) = all.into_iter().next() else {
                return Ok(nothing(Era::None, String::new()));
            };
            let Listed {
                era,
                server,
                instructions,
                tools,
                prompts,
                resources,
            } = first;
            Ok(Seen {
                instructions,
                tools: Listing::tools(tools)?,
                prompts: Listing::prompts(prompts)?,
                resources: Listing::resources(resources)?,
                again: again.transpose()?,
                degraded,
                ..nothing(era, server)
            })
        }
        Launch::Skill {
            folder,
            scripts,
            jail,
        } => {
            let mut looked = Looked::at(&connector.name, folder, scripts, jail)?;
            let listed = std::mem::take(&mut looked.resources.listed);
            Ok(Seen {
                tools: Listing::tools(skill::tools(folder, scripts)?)?,
                prompts: Listing::prompts(vec![looked.skill.prompt()?])?,
                resources: Listing::resources(listed)?,
                skill: Some(looked),
                ..nothing(Era::None, "a skill".into())
            })
        }
        Launch::Remote { .. } => super::remote::see(connector),
    }
}

/// Tools of all other connectors, as far as they were approved or declared, and Keepgate's own.
fn others(app: &App, name: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut others: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for tool in Catalog::native()?.tools() {
        if let Some((connector, tool)) = tool.name().split_once('.') {
            others
                .entry(connector.into())
                .or_default()
                .push(tool.into());
        }
    }
    let lock = Lock::read(&app.paths.connectors_lock())?;
    for other in super::list::names(app)? {
        if other == name {
            continue;
        }
        let tools = match lock.connectors.get(&other) {
            Some(pin) => pin.tools.keys().cloned().collect(),
            // One whose manifest is wrong has no tools; its own vetting says so.
            None => match super::now::manifest(app, &other) {
                Ok((written, _)) => written.into_connector().tools.into_keys().collect(),
                Err(_) => Vec::new(),
            },
        };
        others.insert(other, tools);
    }
    Ok(others)
}

fn show(app: &App, report: &Report, sha256: &str) -> Result<()> {
    let value = json!({
        "connector": report.connector,
        "report": files::report(app, &report.connector).to_string_lossy(),
        "report_sha256": sha256,
        "server": report.server,
        "era": report.era,
        "tools": report.tool_digests,
        "set_sha256": report.set_sha256,
        "prompts": report.prompts.keys().collect::<Vec<_>>(),
        "resources": report.resources.keys().collect::<Vec<_>>(),
        "files": report.files,
        "findings": report.findings,
        "high": report.count(Severity::High),
        "medium": report.count(Severity::Medium),
        "low": report.count(Severity::Low),
    });
    app.screen
        .answer(&value, |_: &Value| text(&app.screen, report))
}

fn text(screen: &Screen, report: &Report) -> String {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let name = &report.connector;
    let mut text = format!(
        "{}  {}, {}\n",
        screen.paint(Style::Bold, format_args!("connector {name}")),
        report.server,
        match report.era {
            Era::None => "no server",
            Era::Session => "with sessions",
            Era::Stateless => "stateless",
        },
    );
    text += &format!(
        "  {}, {}, {}\n",
        count(number(report.tools.len()), "tool", "tools"),
        count(number(report.prompts.len()), "prompt", "prompts"),
        count(number(report.resources.len()), "resource", "resources"),
    );
    for tree in &report.files {
        let short: String = tree.sha256.chars().take(16).collect();
        text += &format!("  pinned  {short}  {}\n", shown(&tree.path));
    }
    for finding in &report.findings {
        text.push('\n');
        text += &one(screen, finding);
    }
    let [high, medium, low] =
        [Severity::High, Severity::Medium, Severity::Low].map(|severity| report.count(severity));
    text += &format!("\n{high} high, {medium} medium, {low} low\n");
    text += &match high {
        0 => format!("\nnext:\n  keepgate connector approve {name} --by YOU"),
        _ => format!(
            "\nnext:\n  mend what is high, or accept it by name: `keepgate connector approve {name} \
             --by YOU --accept FINDING`"
        ),
    };
    text
}

/// A finding on a few lines.
pub(super) fn one(screen: &Screen, finding: &Finding) -> String {
    let style = match finding.severity {
        Severity::High => Style::Bad,
        Severity::Medium => Style::Warn,
        Severity::Low => Style::Dim,
    };
    let mut text = format!(
        "{}  {}\n  {}: {}\n",
        screen.paint(style, format_args!("{:<6}", finding.severity.name())),
        finding.id,
        finding.place,
        finding.what,
    );
    if let Some(evidence) = &finding.evidence {
        text += &format!("  | {evidence}\n");
    }
    text += &format!("  {}\n", finding.hint);
    text
}
