//! `keepgate agent`.

use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::app::App;
use super::args::AgentCommand;
use super::exit::Exit;
use super::layout::{cell, number, table, text, time};
use crate::config::{Config, socket_fits};
use crate::error::{Error, Kind, Result};
use crate::wire::admin::Ask;
use crate::wire::messages::Proof;
use crate::wire::text::escaped;

pub(super) mod certificate;
mod http;
mod runtime;
mod snippets;
pub(super) use snippets::quoted;

pub(super) fn run(app: &App, command: AgentCommand) -> Result<Exit> {
    match command {
        AgentCommand::Add {
            name,
            tools,
            token: true,
            ..
        } => http::with_token(app, name, tools),
        AgentCommand::Add {
            name,
            tools,
            cert: Some(file),
            ..
        } => http::with_certificate(app, name, tools, &file),
        AgentCommand::Add {
            name, uid, tools, ..
        } => add(app, name, uid, tools),
        AgentCommand::List => list(app),
        AgentCommand::Pin { name, by } => runtime::pin(app, &name, &by),
        AgentCommand::Diff { name } => runtime::diff(app, &name),
        AgentCommand::Revoke { name } => {
            let value = app.keeper()?.ask(Ask::AgentRevoke { name: name.clone() })?;
            app.screen.answer(&value, |value| {
                format!(
                    "agent {name} is removed: entry {} of the log",
                    number(value, "seq")
                )
            })?;
            Ok(Exit::Ok)
        }
    }
}

fn add(app: &App, name: String, uid: Option<u32>, tools: Vec<String>) -> Result<Exit> {
    let plane = app.plane()?;
    let own = geteuid();
    let uid = match uid {
        Some(uid) => uid,
        None if !own.is_root() => own.as_raw(),
        None => {
            return Err(
                Error::of(Kind::Usage, "the agent's uid is not said").hint(format!(
                    "say which user it runs as: `keepgate agent add {name} --uid N`"
                )),
            );
        }
    };
    usable(Config::find(&app.paths.config())?.as_ref(), uid)?;
    let socket = app.paths.agent_socket(&plane, &name);
    socket_fits(&socket)?;
    let mut value = app.keeper()?.ask(Ask::AgentAdd {
        name: name.clone(),
        proof: Proof::Uid(uid),
        tools,
    })?;
    let ways = snippets::Snippets::new(&name, &app.options(&plane))?;
    if let Some(members) = value.as_object_mut() {
        members.insert("plane".into(), plane.clone().into());
        members.insert("socket".into(), socket.to_string_lossy().into());
        members.insert("snippets".into(), ways.json());
    }
    app.screen.answer(&value, |value| {
        let socket = escaped(&socket.to_string_lossy());
        let seq = number(value, "seq");
        format!(
            "agent {name} is enrolled in plane {plane} for uid {uid}: entry {seq} of the log\n\
             its socket: {socket}\n\n{}",
            ways.text(uid)
        )
    })?;
    Ok(Exit::Ok)
}

/// What the keeper will say too, said before it is asked.
fn usable(config: Option<&Config>, uid: u32) -> Result<()> {
    let denied = |what: String, hint: &str| Err(Error::of(Kind::Denied, what).hint(hint));
    let own = "give the agent a user of its own: `useradd --system mailbot`";
    if uid == 0 {
        return denied("uid 0 is root's".into(), own);
    }
    let euid = geteuid();
    let Some(config) = config.filter(|_| euid.is_root()) else {
        return Ok(());
    };
    if uid == config.appliance.operator_uid {
        return denied(format!("uid {uid} is the operator's"), own);
    }
    if config.role_uids().contains(&uid) {
        return denied(format!("uid {uid} is one of Keepgate's own"), own);
    }
    Ok(())
}

/// How an agent proves who it is, in a cell.
fn proof(agent: &Value) -> String {
    let kind = text(agent, "proof");
    match kind.as_str() {
        "uid" => format!("uid {}", text(agent, "uid")),
        "certificate" => {
            let sha256: String = text(agent, "sha256").chars().take(16).collect();
            format!("certificate {sha256}…")
        }
        _ => kind,
    }
}

/// Whether an agent of this host is what was pinned, in a cell.
fn made_of(agent: &Value) -> String {
    match agent.get("runtime") {
        Some(runtime) => text(runtime, "state"),
        None => "-".into(),
    }
}

/// The models that were pinned with an agent, in a cell.
fn models(agent: &Value) -> String {
    let models = agent.pointer("/runtime/models").and_then(Value::as_array);
    let names: Vec<&str> = models
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match names.as_slice() {
        [] => "-".into(),
        names => cell(&names.join(" ")),
    }
}

fn list(app: &App) -> Result<Exit> {
    let value = app.keeper()?.ask(Ask::AgentList)?;
    app.screen.answer(&value, |value| {
        let agents = value
            .get("agents")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        if agents.is_empty() {
            return "no agent is enrolled; `keepgate agent add NAME --uid N` enrols one".into();
        }
        let head = ["agent", "proof", "since", "tools", "made of", "models"]
            .map(Into::into)
            .to_vec();
        let rows = agents.iter().map(|agent| {
            let tools = agent.get("tools").cloned().unwrap_or(json!([]));
            let tools: Vec<&str> = tools
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let tools = if tools.is_empty() {
                "all".into()
            } else {
                cell(&tools.join(" "))
            };
            vec![
                text(agent, "name"),
                proof(agent),
                time(&text(agent, "since")),
                tools,
                made_of(agent),
                models(agent),
            ]
        });
        table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
    })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_tells_what_an_agent_is_made_of_and_asks() {
        let agent = json!({"runtime": {"state": "pinned", "models": ["m-1", "m-2"]}});
        assert_eq!(
            (made_of(&agent), models(&agent)),
            ("pinned".into(), "m-1 m-2".into())
        );
        let other = json!({"name": "a"});
        assert_eq!((made_of(&other), models(&other)), ("-".into(), "-".into()));
    }

    #[test]
    fn some_users_cannot_be_agents() {
        assert!(geteuid().is_root(), "this test must run as root");
        let config = Config::parse("[appliance]\noperator_uid = 1000\n", "t").unwrap();
        for uid in [0, 1000, 64_100, 64_115] {
            let error = usable(Some(&config), uid).unwrap_err();
            assert_eq!(error.kind(), Kind::Denied);
            assert!(error.hint_text().is_some());
        }
        usable(Some(&config), 64_116).unwrap();
        usable(None, 64_100).unwrap();
    }
}
