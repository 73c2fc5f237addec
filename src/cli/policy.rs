//! `keepgate policy`.

use std::io::Read;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::app::App;
use super::args::{ExplainArgs, PolicyCommand};
use super::exit::Exit;
use super::layout::{block, count, number, outline, text, time};
use super::print::{Screen, Style};
use crate::catalog::Catalog;
use crate::config::Config;
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
    warn(app, &value);
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
        None => alone(app, &plane, &policy, &file)?,
    };
    warn(app, &value);
    app.screen.answer(&value, |value| {
        let rules = count(number(value, "rules"), "rule", "rules");
        format!("{file} is good: {rules}, {}", short(value))
    })?;
    Ok(Exit::Ok)
}

/// The check without a keeper, who alone knows the agents.
fn alone(app: &App, plane: &str, policy: &str, file: &str) -> Result<Value> {
    let engine = Engine::load(policy, file, &Catalog::native()?)?;
    let config = Config::find(&app.paths.config()).ok().flatten();
    let plane = config.as_ref().and_then(|config| config.planes.get(plane));
    let roots: Option<Vec<&str>> =
        plane.map(|plane| plane.roots.keys().map(String::as_str).collect());
    let unchecked: &[&str] = match roots {
        Some(_) => &["agents"],
        None => &["agents", "roots"],
    };
    Ok(json!({
        "digest": engine.digest(),
        "rules": engine.rules(),
        "warnings": engine.unknown(None, roots.as_deref()),
        "unchecked": unchecked,
    }))
}

/// Shows what the policy names and there is not, beside the answer.
fn warn(app: &App, value: &Value) {
    for warning in list(value, "warnings") {
        app.screen.note(warned(&app.screen, warning));
    }
    let unchecked: Vec<String> = list(value, "unchecked").iter().map(plain).collect();
    if !unchecked.is_empty() {
        let names = unchecked.join(" and ");
        app.screen.note(format!(
            "the plane does not run, so nobody knows its {names}: their names were not looked at"
        ));
    }
}

fn warned(screen: &Screen, warning: &Value) -> String {
    let part = |name: &str| text(warning, name);
    let (kind, name) = (part("kind"), part("name"));
    let mut shown = format!(
        "{} {}:{}: rule `{}` is about {kind} `{name}`, and there is no such {kind}\n",
        screen.paint(Style::Warn, "warning:"),
        part("file"),
        part("line"),
        part("rule"),
    );
    let known: Vec<String> = list(warning, "known").iter().map(plain).collect();
    shown += &match (part("meant"), known.is_empty()) {
        (_, true) => format!("  there are no {kind}s yet"),
        (meant, false) if meant.is_empty() => {
            format!("  {kind}s there are: {}", known.join(", "))
        }
        (meant, false) => format!("  did you mean `{meant}`?"),
    };
    shown
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let items = value.get(name).and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}

/// A text from outside.
fn plain(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
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
    fn a_name_that_is_nobodys_is_told_with_what_there_is() {
        let shown = |known: &[&str], meant: Option<&str>| {
            let value = json!({
                "kind": "root", "name": "mial", "rule": "r", "file": "a.cedar", "line": 3,
                "known": known, "meant": meant,
            });
            warned(&Screen::new(false, true), &value)
        };
        let first =
            "warning: a.cedar:3: rule `r` is about root `mial`, and there is no such root\n";
        assert_eq!(
            shown(&["mail", "out"], Some("mail")),
            format!("{first}  did you mean `mail`?")
        );
        assert_eq!(
            shown(&["a", "b"], None),
            format!("{first}  roots there are: a, b")
        );
        assert_eq!(shown(&[], None), format!("{first}  there are no roots yet"));
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
