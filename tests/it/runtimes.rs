//! Agents on this host whose own files are pinned.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Appliance, Session, eventually};

/// An appliance whose agent `bot` is made of one program and a lockfile.
fn appliance() -> (Appliance, PathBuf) {
    let appliance = Appliance::init("");
    let made_of = appliance
        .directory
        .path()
        .canonicalize()
        .unwrap()
        .join("bot");
    fs::create_dir(&made_of).unwrap();
    fs::set_permissions(&made_of, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, text) in [("agent.py", "print(1)\n"), ("uv.lock", "mcp = 2\n")] {
        let path = made_of.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let path = appliance.path("keepgate.toml");
    let text = fs::read_to_string(&path).unwrap();
    let runtime = format!(
        "[planes.production.agents.bot.runtime]\npaths = [{made_of:?}]\n\
         models = [\"model-2026-10\"]\n"
    );
    fs::write(path, text + &runtime).unwrap();
    (appliance, made_of)
}

fn list(session: &mut Session) -> Value {
    session.call("file__list", json!({"path": "."}))
}

fn class(result: &Value) -> &str {
    result["_meta"]["keepgate/class"].as_str().unwrap_or("done")
}

/// What a call of a new connection comes to.
fn anew(appliance: &Appliance) -> String {
    class(&list(&mut appliance.session("bot"))).to_owned()
}

fn state(appliance: &Appliance) -> String {
    let status = appliance.json(&["status"]);
    let bot = &status["planes"]["production"]["runtimes"]["bot"];
    bot["state"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn pin(appliance: &Appliance) {
    let pinned = appliance.must(&["agent", "pin", "bot", "--by", "alice"]);
    assert_eq!(
        (&pinned["by"], &pinned["entries"]),
        (&"alice".into(), &3.into())
    );
    appliance.reload();
    eventually("the pin is taken over", || state(appliance) == "pinned");
}

#[test]
fn an_agent_that_is_not_what_was_pinned_calls_nothing_until_it_is_pinned_again() {
    let (mut appliance, made_of) = appliance();
    appliance.serve();
    appliance.enrol("bot");
    appliance.enrol("other");
    // Nobody has looked at it yet.
    assert_eq!(anew(&appliance), "agent_changed");
    assert_eq!(state(&appliance), "not pinned");
    // Whose files nobody pins is not held up.
    assert_eq!(class(&list(&mut appliance.session("other"))), "done");

    pin(&appliance);
    let mut first = appliance.session("bot");
    assert_eq!(class(&list(&mut first)), "done");
    let runs = appliance.entries("run.open");
    let run = runs
        .iter()
        .find(|run| run["body"]["agent"] == "bot")
        .unwrap();
    assert_eq!(run["body"]["models"], json!(["model-2026-10"]));
    let pinned = appliance.entries("agent.pinned");
    assert_eq!(pinned.len(), 1);
    assert_eq!(pinned[0]["body"]["by"], "alice");
    assert_eq!(pinned[0]["body"]["pin"], run["body"]["pin"]);
    let listed = appliance.cli(&["agent", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("pinned") && listed.contains("model-2026-10"),
        "{listed}"
    );

    // Another byte under it: told at the next connection, to the connection before too.
    fs::write(made_of.join("agent.py"), "print(2)\n").unwrap();
    eventually("a new connection shows what it is", || {
        anew(&appliance) == "agent_changed"
    });
    assert_eq!(class(&list(&mut first)), "agent_changed");
    let changed = appliance.entries("agent.changed");
    assert_eq!(changed.len(), 1, "{changed:?}");
    let why = changed[0]["body"]["why"].as_str().unwrap();
    assert!(why.contains("agent.py` changed in content"), "{why}");
    let done = appliance.cli(&["agent", "diff", "bot"]);
    assert_eq!(done.status.code(), Some(20), "{done:?}");
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(
        said.contains("agent.py") && said.contains("  content\n    - "),
        "{said}"
    );
    let screen = String::from_utf8(appliance.cli(&["status"]).stdout).unwrap();
    assert!(
        screen.contains("bot calls nothing: agent `bot` is not what was pinned"),
        "{screen}"
    );
    let refused = first.call("file__list", json!({"path": "."})).to_string();
    assert!(!refused.contains("agent.py"), "{refused}");

    // As it was before is not enough, nor is another keeper.
    fs::write(made_of.join("agent.py"), "print(1)\n").unwrap();
    let keeper = appliance.role("keeper");
    kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
    eventually("another keeper serves and has looked", || {
        appliance.serving() && appliance.role("keeper") != keeper && state(&appliance) == "changed"
    });
    assert_eq!(
        appliance.cli(&["agent", "diff", "bot"]).status.code(),
        Some(0)
    );
    assert_eq!(anew(&appliance), "agent_changed");
    pin(&appliance);
    assert_eq!(anew(&appliance), "done");
    assert_eq!(appliance.entries("agent.pinned").len(), 2);

    // What changes while nobody serves is found at the start, before anybody calls.
    appliance.stop();
    fs::write(made_of.join("json.py"), "").unwrap();
    appliance.serve();
    eventually("it is found at the start", || {
        state(&appliance) == "changed"
    });
    assert_eq!(anew(&appliance), "agent_changed");
}

#[test]
fn what_an_agent_could_write_or_nobody_configured_is_not_pinned() {
    let (appliance, made_of) = appliance();
    let program = made_of.join("agent.py");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o666)).unwrap();
    let done = appliance.cli(&["agent", "pin", "bot", "--by", "alice"]);
    assert_eq!(done.status.code(), Some(10), "{done:?}");
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(
        said.contains("others may write it") && said.contains("hint:"),
        "{said}"
    );
    assert!(!appliance.path("agents.lock").exists());
    let done = appliance.cli(&["agent", "pin", "other", "--by", "alice"]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(
        said.contains("[planes.production.agents.other.runtime]"),
        "{said}"
    );
}
