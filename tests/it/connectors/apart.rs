//! A connector that cannot be used hurts nobody else, and can be used again once that is mended.

use std::fs;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use super::rugs::{Place, approve, configure, mode, place, state, works};
use crate::harness::{Appliance, Session, eventually};

const NEWS: &str = "notifications/tools/list_changed";

/// Waits for news of tools.
#[track_caller]
fn hears(session: &mut Session) {
    while session.next()["method"] != NEWS {}
}

/// Nothing was told since the last answer.
#[track_caller]
fn heard_nothing(session: &mut Session) {
    let id = session.ask("ping", json!({}));
    assert_eq!(session.next()["id"], id);
}

/// The connectors whose tools it sees.
fn seen(session: &mut Session) -> Vec<String> {
    let listed = session.request("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names = tools.iter().map(|tool| tool["name"].as_str().unwrap());
    let foreign = names.filter_map(|name| name.strip_suffix("__echo"));
    foreign.map(str::to_owned).collect()
}

fn becomes(appliance: &Appliance, name: &str, wanted: &str) -> Value {
    eventually(&format!("{name} is {wanted}"), || {
        state(appliance, name)["state"] == wanted && appliance.serving()
    });
    state(appliance, name)
}

/// `steady` and `gone` show what every other does; what `holds` shows may hold no socket.
fn furnished(appliance: &Appliance) -> [Place; 3] {
    let steady = place(appliance, "steady", None);
    let gone = place(appliance, "gone", Some(&steady));
    let holds = place(appliance, "holds", Some(&steady));
    let text = fs::read_to_string(&holds.manifest).unwrap();
    let changed = text.replace("loopback = false", "loopback = true");
    assert_ne!(changed, text);
    fs::write(&holds.manifest, changed).unwrap();
    approve(appliance, &[&steady, &gone, &holds]);
    let names = ["steady", "gone", "holds"].map(str::to_owned);
    configure(appliance, &names);
    [steady, gone, holds]
}

#[test]
fn a_connector_that_cannot_be_used_hurts_nobody_else_and_comes_back() {
    let mut appliance = Appliance::init("");
    let [_, gone, holds] = furnished(&appliance);
    appliance.serve();
    // One agent may use them, the other none: only one has news.
    appliance.enrol("able");
    appliance.enrol("bot");
    let (mut able, mut bot) = (appliance.session("able"), appliance.session("bot"));
    assert_eq!(seen(&mut bot), ["gone", "holds", "steady"]);
    assert_eq!(seen(&mut able), [""; 0]);
    works(&appliance, &mut bot, "gone", "before");
    works(&appliance, &mut bot, "holds", "before");

    // What the supervisor sees, and what only the jailer does.
    let away = gone.server.with_file_name("away");
    fs::rename(&gone.server, &away).unwrap();
    let socket = holds.listed.with_file_name("socket");
    drop(UnixListener::bind(&socket).unwrap());
    appliance.reload();
    let told = becomes(&appliance, "gone", "unusable");
    let path = gone.server.display().to_string();
    assert!(told["why"].as_str().unwrap().contains(&path), "{told}");
    assert!(
        told["hint"].as_str().unwrap().contains("put it back"),
        "{told}"
    );
    let told = becomes(&appliance, "holds", "unusable");
    assert!(
        told["why"].as_str().unwrap().contains("holds the socket"),
        "{told}"
    );
    assert!(
        told["hint"].as_str().unwrap().contains("remove it"),
        "{told}"
    );
    hears(&mut bot);
    eventually("both are out of sight", || seen(&mut bot) == ["steady"]);
    heard_nothing(&mut able);
    works(&appliance, &mut bot, "steady", "goes on");
    let shown = bot.request(
        "tools/call",
        json!({"name": "file__list", "arguments": {"path": "mail"}}),
    );
    assert_eq!(shown["result"]["isError"], false, "{shown}");
    let doctor = appliance.json(&["doctor"]).to_string();
    for name in ["gone", "holds"] {
        let id = format!("run.production.connectors.{name}");
        assert!(doctor.contains(&id), "{doctor}");
    }
    assert!(!doctor.contains("connectors.steady"), "{doctor}");
    let text = String::from_utf8(appliance.cli(&["status"]).stdout).unwrap();
    assert!(text.contains("1 of 3 connectors can be used"), "{text}");

    // Only the jailer has anything to look at again, and what is still gone stays that.
    fs::remove_file(&socket).unwrap();
    appliance.reload();
    becomes(&appliance, "holds", "approved");
    hears(&mut bot);
    assert_eq!(seen(&mut bot), ["holds", "steady"]);
    works(&appliance, &mut bot, "holds", "after");

    fs::rename(&away, &gone.server).unwrap();
    appliance.reload();
    becomes(&appliance, "gone", "approved");
    hears(&mut bot);
    assert_eq!(seen(&mut bot), ["gone", "holds", "steady"]);
    works(&appliance, &mut bot, "gone", "after");
    heard_nothing(&mut able);

    let names = |kind: &str| -> Vec<String> {
        let all = appliance.entries(kind);
        let named = all.iter().map(|entry| entry["body"]["connector"].as_str());
        let mut names: Vec<String> = named.map(|name| name.unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names("connector.unusable"), ["gone", "holds"]);
    assert_eq!(names("connector.usable"), ["gone", "holds"]);
    assert_eq!(names("connector.quarantined"), [""; 0]);
}

#[test]
fn what_comes_back_as_something_else_is_quarantined() {
    let mut appliance = Appliance::init("");
    let [_, gone, _] = furnished(&appliance);
    let away = gone.server.with_file_name("away");
    fs::rename(&gone.server, &away).unwrap();
    appliance.serve();
    appliance.enrol("bot");
    becomes(&appliance, "gone", "unusable");
    let helper = away.join("helper.py");
    fs::write(&helper, "X = 2\n").unwrap();
    mode(&helper, 0o644);
    fs::rename(&away, &gone.server).unwrap();
    appliance.reload();
    let told = becomes(&appliance, "gone", "quarantined");
    let why = told["why"].as_str().unwrap();
    assert!(why.contains("helper.py` changed in content"), "{told}");
    let mut bot = appliance.session("bot");
    assert_eq!(seen(&mut bot), ["holds", "steady"]);
    works(&appliance, &mut bot, "steady", "goes on");
}

#[test]
fn what_is_put_in_its_place_while_it_runs_is_quarantined() {
    let mut appliance = Appliance::init("");
    let [steady, ..] = furnished(&appliance);
    appliance.serve();
    appliance.enrol("bot");
    let mut bot = appliance.session("bot");
    works(&appliance, &mut bot, "steady", "before");
    // A jail keeps the folder it was given, so that nothing beneath it changes.
    let other = steady.server.with_file_name("other");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&steady.server, &other])
        .status();
    assert!(copied.unwrap().success());
    fs::write(other.join("helper.py"), "X = 2\n").unwrap();
    fs::rename(&steady.server, steady.server.with_file_name("away")).unwrap();
    fs::rename(&other, &steady.server).unwrap();
    let told = becomes(&appliance, "steady", "quarantined");
    let why = told["why"].as_str().unwrap();
    assert!(why.contains("helper.py` changed in content"), "{told}");
    hears(&mut bot);
    works(&appliance, &mut bot, "gone", "goes on");
}

#[test]
fn a_tool_with_a_name_that_is_taken_takes_its_connector_out_and_nothing_else() {
    let mut appliance = Appliance::init("");
    let loner = place(&appliance, "loner", None);
    // Each file that names the tool names it as Keepgate's own is called.
    for file in [&loner.listed, &loner.manifest] {
        let text = fs::read_to_string(file).unwrap();
        let changed = text.replace("\"echo\"", "\"file__read\"");
        assert_ne!(changed, text);
        fs::write(file, changed).unwrap();
    }
    // Vetting has a word about the name too; here it is accepted.
    let vetted = appliance.cli(&["--json", "connector", "vet", "loner"]);
    let report: Value = serde_json::from_slice(&vetted.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let high = findings.filter(|finding| finding["severity"] == "high");
    let ids: Vec<&str> = high
        .map(|finding| finding["id"].as_str().unwrap())
        .collect();
    let ids = ids.join(",");
    appliance.must(&[
        "connector",
        "approve",
        "loner",
        "--by",
        "alice",
        "--accept",
        &ids,
    ]);
    configure(&appliance, &["loner".to_owned()]);
    let path = appliance.path("keepgate.toml");
    let text = fs::read_to_string(&path).unwrap() + "prefix = false\n";
    fs::write(&path, text).unwrap();
    appliance.serve();
    let told = becomes(&appliance, "loner", "unusable");
    assert!(
        told["why"].as_str().unwrap().contains("`file__read`"),
        "{told}"
    );
    appliance.enrol("bot");
    let mut bot = appliance.session("bot");
    let read = json!({"name": "file__read", "arguments": {"path": "mail/hello.txt"}});
    let answer = bot.request("tools/call", read);
    let text = &answer["result"]["structuredContent"]["text"];
    assert_eq!(text, "hello from the mailbox\n", "{answer}");
}
