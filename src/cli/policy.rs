//! `keepgate policy`.

use std::io::Read;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::app::App;
use super::args::{ExplainArgs, PolicyCommand};
use super::exit::Exit;
use super::layout::{block, outline, text, time};
use super::print::{Screen, Style};
use crate::catalog::Catalog;
use crate::error::{Context, Error, Kind, Result};
use crate::policy::Engine;
use crate::wire::admin::{Ask, Explained};
use crate::wire::json as strict;
use crate::wire::text::escaped;

/// Longest policy file read, in bytes; the keeper has its own limit.
const FILE_MAX: u64 = 1 << 20;

pub(super) fn run(app: &App, command: PolicyCommand) -> Result<Exit> {
    match command {
        PolicyCommand::Apply { file } => apply(app, file),
        PolicyCommand::Check { file } => check(app, file),
        PolicyCommand::Explain(about) => explain(app, about),
        PolicyCommand::Show { schema } => show(app, schema),
    }
}

fn apply(app: &App, file: Option<PathBuf>) -> Result<Exit> {
    let plane = app.plane()?;
    let (text, file) = read(app, &plane, file)?;
    let value = app.keeper()?.ask(Ask::PolicyApply {
        text,
        file: file.clone(),
    })?;
    app.screen.answer(&value, |value| {
        let digest = short(value);
        match value.get("seq").and_then(Value::as_u64) {
            Some(seq) => format!("{file} is in force in plane {plane}: {digest}, entry {seq}"),
            None => format!("{file} was in force in plane {plane} already: {digest}"),
        }
    })?;
    Ok(Exit::Ok)
}

fn check(app: &App, file: Option<PathBuf>) -> Result<Exit> {
    let plane = app.plane()?;
    let (policy, file) = read(app, &plane, file)?;
    let value = match app.keeper_if_any(&plane)? {
        Some(keeper) => keeper.ask(Ask::PolicyCheck {
            text: policy,
            file: file.clone(),
        })?,
        None => {
            let engine = Engine::load(&policy, &file, &Catalog::native()?)?;
            json!({"digest": engine.digest(), "rules": engine.rules()})
        }
    };
    app.screen.answer(&value, |value| {
        format!(
            "{file} is good: {} rules, {}",
            text(value, "rules"),
            short(value)
        )
    })?;
    Ok(Exit::Ok)
}

/// The policy's text and the name it has in messages.
fn read(app: &App, plane: &str, file: Option<PathBuf>) -> Result<(String, String)> {
    let path = file.unwrap_or_else(|| app.paths.policy_file(plane));
    let name = escaped(&path.to_string_lossy());
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text))
        .context(|| format!("read `{name}`"))
        .map_err(|error| {
            error
                .kind_is(Kind::Usage)
                .hint("name the policy: `keepgate policy apply FILE`")
        })?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_MAX {
        return Err(Error::of(
            Kind::Usage,
            format!("`{name}` is longer than {FILE_MAX} bytes"),
        ));
    }
    Ok((text, name))
}

fn explain(app: &App, about: ExplainArgs) -> Result<Exit> {
    let about = match about {
        ExplainArgs { seq: Some(seq), .. } => Explained::Seq { seq },
        ExplainArgs {
            request: Some(id), ..
        } => Explained::Request { id },
        ExplainArgs {
            agent, tool, args, ..
        } => Explained::Call {
            agent: agent.unwrap_or_default(),
            tool: tool.unwrap_or_default(),
            arguments: arguments(&args)?,
        },
    };
    let value = app.keeper()?.ask(Ask::PolicyExplain { about })?;
    app.screen
        .answer(&value, |value| explained(&app.screen, value))?;
    Ok(Exit::Ok)
}

/// The decision first, then what it comes from, then the rest.
fn explained(screen: &Screen, value: &Value) -> String {
    const FIRST: [&str; 11] = [
        "agent", "tool", "plane", "mode", "seq", "request", "class", "argument", "rule", "at",
        "hint",
    ];
    let decision = text(value, "decision");
    let style = match decision.as_str() {
        "permit" => Style::Good,
        "ask" => Style::Warn,
        _ => Style::Bad,
    };
    let mut shown = format!("decision: {}\n", screen.paint(style, &decision));
    for name in FIRST {
        let what = text(value, name);
        if !what.is_empty() {
            shown += &format!("{name}: {what}\n");
        }
    }
    let mut rest = value.clone();
    if let Some(members) = rest.as_object_mut() {
        members.retain(|name, _| name != "decision" && !FIRST.contains(&name.as_str()));
    }
    shown + &outline(&rest, 0)
}

/// Read as strictly as an agent's: what is explained is what would happen.
fn arguments(text: &str) -> Result<Value> {
    strict::parse(text.as_bytes(), &strict::Limits::default()).map_err(|why| {
        Error::of(Kind::Usage, format!("`--args` is no JSON: {why}"))
            .hint("quote it for the shell: --args '{\"path\":\"mail/inbox\"}'")
    })
}

fn show(app: &App, schema: bool) -> Result<Exit> {
    let value = app.keeper()?.ask(Ask::PolicyShow)?;
    if app.screen.json() {
        app.screen.value(&value)?;
        return Ok(Exit::Ok);
    }
    let (file, applied) = (text(&value, "file"), time(&text(&value, "applied")));
    app.screen.note(format!(
        "{} from {file}, in force since {applied}",
        short(&value)
    ));
    let what = if schema { "schema" } else { "text" };
    let body = value.get(what).and_then(Value::as_str).unwrap_or_default();
    match app.screen.is_terminal() {
        true => app.screen.line(block(body, "").trim_end())?,
        false => app.screen.raw(body.as_bytes())?,
    }
    Ok(Exit::Ok)
}

/// The beginning of the policy's digest, enough to tell policies apart.
fn short(value: &Value) -> String {
    format!("policy {:.12}", text(value, "digest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decision_comes_first() {
        let value = json!({
            "argument": "path", "class": "not_permitted", "decision": "forbid", "tool": "file.read",
            "rules": [{"id": "no-secrets", "at": "a.cedar:3"}], "hint": null,
        });
        assert_eq!(
            explained(&Screen::new(false, true), &value),
            "decision: forbid\ntool: file.read\nclass: not_permitted\nargument: path\n\
             rules:\n  - id: no-secrets\n    at: a.cedar:3\n"
        );
    }

    #[test]
    fn made_up_arguments_are_read_as_strictly_as_real_ones() {
        assert!(arguments(r#"{"path":"a"}"#).is_ok());
        for bad in ["{", r#"{"a":1,"a":2}"#, ""] {
            let error = arguments(bad).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
        }
    }
}
