//! What an agent may use of what there is: tools it sees, calls of a tool, calls and writes of a run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{AGENT, Appliance, Session, eventually};

/// Adds to the configuration of an appliance that does not serve.
fn configure(appliance: &Appliance, more: &str) {
    let path = appliance.path("keepgate.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}\n{more}")).unwrap();
}

/// The fake server as connector `fx`, approved; `declared` goes below `[tools.echo]`.
fn connect(appliance: &Appliance, declared: &str) {
    let dir = appliance.directory.path().canonicalize().unwrap();
    let server = dir.join("server");
    fs::create_dir(&server).unwrap();
    let program = server.join("mcp.py");
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes/mcp.py");
    fs::copy(fake, &program).unwrap();
    for (path, mode) in [(&server, 0o755), (&program, 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let program = program.to_str().unwrap();
    appliance.must(&[
        "connector",
        "import",
        "fx",
        "--",
        "/usr/bin/python3",
        program,
    ]);
    let manifest = appliance.path("connectors/fx.toml");
    let worst = "class = \"destructive\"\nreversibility = \"irreversible\"\n";
    let reads = format!("class = \"read\"\nreversibility = \"reversible\"\n{declared}");
    let text = fs::read_to_string(&manifest).unwrap();
    // `echo` comes before `forget`.
    fs::write(&manifest, text.replacen(worst, &reads, 1)).unwrap();
    let done = appliance.cli(&["connector", "vet", "fx"]);
    assert!(matches!(done.status.code(), Some(0 | 3)), "{done:?}");
    appliance.must(&["connector", "approve", "fx", "--by", "alice"]);
}

fn limits(appliance: &Appliance) -> Vec<Value> {
    let status = appliance.json(&["status"]);
    let all = &status["planes"]["production"]["limits"];
    all.as_array().cloned().unwrap_or_default()
}

/// Use and limit of `which`, as `status` says.
fn used(appliance: &Appliance, which: &str) -> Option<(u64, u64)> {
    let all = limits(appliance);
    let one = all.iter().find(|one| one["which"] == which)?;
    Some((one["used"].as_u64()?, one["limit"].as_u64()?))
}

#[track_caller]
fn over(result: &Value, which: &str) -> u64 {
    assert_eq!(result["isError"], true, "{result}");
    assert_eq!(result["_meta"]["keepgate/class"], "over_quota", "{result}");
    assert_eq!(result["_meta"]["keepgate/limit"], which, "{result}");
    let wait = result["_meta"]["keepgate/retry_after_s"].as_u64().unwrap();
    let said = result["content"][0]["text"].as_str().unwrap();
    assert!(said.contains(&format!("try again in {wait} s")), "{said}");
    wait
}

fn names(session: &mut Session) -> Vec<String> {
    let listed = session.request("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
    tools.iter().map(name).collect()
}

#[test]
fn a_run_has_its_calls_and_writes_whatever_becomes_of_the_keeper() {
    let appliance = Appliance::start(
        "[planes.production.quota]\ncalls_per_run = 6\n\
         [planes.production.agents.a]\nwrites_per_run = 2\n",
    );
    appliance.enrol("a");
    let mut session = appliance.session("a");
    let write = json!({"path": "out/a.txt", "content": "x"});
    session.works("file__write", write.clone());
    session.works("file__write", write.clone());
    let wait = over(&session.call("file__write", write), "run_writes");
    assert_eq!(wait, 30 * 60 + 1);
    session.works("file__list", json!({"path": "."}));
    assert_eq!(used(&appliance, "run_writes"), Some((2, 2)));

    // The same run goes on: three calls were made, and one more was counted before its arguments
    // showed that it would write.
    let before = appliance.role("keeper");
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    eventually("another keeper serves", || {
        appliance.serving() && appliance.role("keeper") != before
    });
    assert_eq!(used(&appliance, "run_calls"), Some((3, 6)));
    for _ in 0..3 {
        session.works("file__list", json!({"path": "."}));
    }
    over(
        &session.call("file__list", json!({"path": "."})),
        "run_calls",
    );
    for _ in 0..20 {
        over(
            &session.call("file__list", json!({"path": "."})),
            "run_calls",
        );
    }
    assert_eq!(appliance.entries("run.open").len(), 1);
    assert_eq!(appliance.entries("call.intent").len(), 6);
    assert_eq!(appliance.entries("call.refused").len(), 0);
    let told = appliance.entries("quota.exceeded");
    let told: Vec<&Value> = told.iter().map(|entry| &entry["body"]).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1]["which"], "run_calls");
    assert_eq!(
        (&told[1]["limit"], &told[1]["refused"]),
        (&6.into(), &1.into())
    );
}

#[test]
fn a_connectors_tool_has_its_day_and_its_minute_and_who_may_not_see_it_does_not() {
    let mut appliance = Appliance::init("");
    connect(&appliance, "calls_per_minute = 60\ncalls_per_day = 3\n");
    configure(
        &appliance,
        "[planes.production.connectors.fx]\nagents = [\"bot\", \"other\"]\ntools = [\"echo\"]\n\
         limits.echo = { calls_per_minute = 2, calls_per_day = 100 }\n\
         [planes.production.agents.other]\ncalls_per_minute = 4\nconnectors.fx = []\n",
    );
    appliance.serve();
    let uid = AGENT.to_string();
    for name in ["bot", "other"] {
        appliance.must(&["agent", "add", name, "--uid", &uid]);
    }
    let mut bot = appliance.session("bot");
    let mut other = appliance.session("other");
    let seen = names(&mut bot);
    assert!(seen.contains(&"fx__echo".into()) && !seen.contains(&"fx__forget".into()));
    assert!(
        !names(&mut other)
            .iter()
            .any(|name| name.starts_with("fx__"))
    );
    for (session, tool) in [(&mut bot, "fx__forget"), (&mut other, "fx__echo")] {
        let call = json!({"name": tool, "arguments": {"text": "x"}});
        let answer = session.request("tools/call", call);
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }

    let hello = json!({"text": "hello"});
    for _ in 0..2 {
        let result = bot.call("fx__echo", hello.clone());
        assert_eq!(result["content"][0]["text"], "hello", "{result}");
    }
    let wait = over(
        &bot.call("fx__echo", hello.clone()),
        "tool_calls_per_minute",
    );
    assert!((1..=31).contains(&wait), "{wait}");
    assert_eq!(used(&appliance, "tool_calls_per_day"), Some((2, 3)));
    // Minutes begin anew with the keeper; days do not.
    appliance.stop();
    appliance.serve();
    let mut bot = appliance.session("bot");
    let result = bot.call("fx__echo", hello.clone());
    assert_eq!(result["content"][0]["text"], "hello", "{result}");
    let wait = over(&bot.call("fx__echo", hello.clone()), "tool_calls_per_day");
    assert!((1..=86_401).contains(&wait), "{wait}");
    let calls = appliance.entries("call.intent");
    let echoes = calls
        .iter()
        .filter(|call| call["body"]["tool"] == "fx.echo");
    assert_eq!(echoes.count(), 3);
    let screen = appliance.cli(&["status"]);
    let screen = String::from_utf8(screen.stdout).unwrap();
    assert!(screen.contains("3 of 3 calls of fx.echo today"), "{screen}");

    // An agent's own minute is of all its tools, in place of the plane's.
    let mut other = appliance.session("other");
    for _ in 0..4 {
        other.works("file__list", json!({"path": "."}));
    }
    over(
        &other.call("file__list", json!({"path": "."})),
        "agent_entries",
    );

    // What limits a tool that there is not limits nothing, so nothing of it is used.
    appliance.stop();
    configure(
        &appliance,
        "[planes.production.connectors.fx.limits.ecko]\ncalls_per_day = 1\n",
    );
    appliance.serve();
    let status = appliance.json(&["status"]);
    let fx = &status["planes"]["production"]["connectors"]["fx"];
    assert_eq!(fx["state"], "unusable", "{fx}");
    let why = fx["why"].as_str().unwrap();
    assert!(why.contains("a tool `ecko`"), "{why}");
    assert!(!names(&mut appliance.session("bot")).contains(&"fx__echo".into()));
}
