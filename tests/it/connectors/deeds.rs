//! What a manifest declares of its tools is acted on: undo by another tool, dry runs, high value,
//! kinds and labels. The server really makes and removes things, and keeps a journal of its calls.

mod scripts;
mod world;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use self::world::{IBAN, World};
use crate::harness::{AGENT, binary, eventually};
use crate::web::{self, Http};

#[test]
fn what_a_tool_made_is_taken_back_once_by_the_tool_that_is_declared() {
    let mut world = World::new("live");
    let mut session = world.session();
    let seq = world.create(&mut session, "one");
    let intent = world.last("call.intent", "things.create");
    let recipe = &intent["body"]["undo"];
    assert_eq!(recipe["tool"], "remove", "{intent}");
    assert_eq!(recipe["arguments"], json!({"id": "result:/id"}));
    assert_eq!(recipe.get("digest"), None);
    let outcome = world.last("call.outcome", "things.create");
    assert!(outcome["body"]["undo"]["digest"].is_string(), "{outcome}");

    // Without a yes it only shows.
    let shown = world.appliance.cli(&["undo", &seq.to_string()]);
    assert_eq!(shown.status.code(), Some(12), "{shown:?}");
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.contains("calls things.remove with\n  id: t-one"),
        "{text}"
    );
    assert!(world.has("one") && world.journal("remove").is_empty());

    let done = world.undo(seq);
    assert!(!world.has("one"));
    assert_eq!(
        world.journal("remove"),
        [json!({"tool": "remove", "id": "t-one"})]
    );
    let undo = world.last("call.intent", "things.remove");
    assert_eq!(undo["seq"], done["undo_seq"]);
    for (member, value) in [
        ("undoes", json!(seq)),
        ("agent", "operator".into()),
        ("of", "bot".into()),
    ] {
        assert_eq!(undo["body"][member], value, "{undo}");
    }
    let outcome = world.last("call.outcome", "things.remove");
    assert_eq!(outcome["body"]["undone"], true, "{outcome}");

    world.undo_refused(seq, 10, "it was undone already");
    drop(session);
    world.appliance.stop();
    world.appliance.serve();
    world.undo_refused(seq, 10, "it was undone already");
    assert_eq!(world.journal("remove").len(), 1);
    // The undo is a call of a tool that can be taken back itself.
    world.undo(done["undo_seq"].as_u64().unwrap());
    assert!(world.has("one"));
    assert!(world.appliance.cli(&["log", "verify"]).status.success());
}

#[test]
fn a_killed_keeper_takes_back_what_it_did_before() {
    let mut world = World::new("live");
    let mut session = world.session();
    let (one, two) = (
        world.create(&mut session, "one"),
        world.create(&mut session, "two"),
    );
    let stuck = world.create(&mut session, "stuck");
    drop(session);
    // Between the outcome and the undo.
    world.appliance.kill();
    world.appliance.serve();
    world.undo(one);
    assert!(!world.has("one") && world.has("two"));
    // Between the intent of an undo and its outcome.
    let mut undo = Command::new(binary())
        .arg("--dir")
        .arg(world.appliance.directory.path())
        .args(["undo", &stuck.to_string(), "--yes"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the undo is on its way", || {
        world
            .journal("remove")
            .iter()
            .any(|call| call["id"] == "t-stuck")
    });
    world.undo_refused(stuck, 10, "it is being undone, or nobody can say");
    world.appliance.kill();
    assert!(!undo.wait().unwrap().success());
    world.appliance.serve();
    world.undo_refused(stuck, 10, "it is being undone, or nobody can say");
    assert!(world.has("stuck"));
    // An agent that is no more did things that are taken back all the same.
    world.appliance.must(&["agent", "revoke", "bot"]);
    world.undo(two);
    assert!(!world.has("two"));
}

#[test]
fn an_undo_that_lacks_something_says_what() {
    let world = World::new("live");
    let mut session = world.session();
    for (name, lacks) in [
        ("bare", "its result has no structured part"),
        ("odd", "`id` of `remove`: expected string, not number"),
    ] {
        let seq = world.create(&mut session, name);
        let outcome = world.last("call.outcome", "things.create");
        assert_eq!(outcome["body"]["undo"]["lacks"], lacks, "{outcome}");
        world.undo_refused(seq, 10, lacks);
        assert!(world.has(name));
    }
    assert!(world.journal("remove").is_empty());
    // Whoever is asked and says no can be asked again.
    let kept = world.create(&mut session, "kept");
    for _ in 0..2 {
        world.undo_refused(kept, 1, "it stays");
    }
    assert_eq!(world.journal("remove").len(), 2);
    // What would be missing or wrong is seen before anything is done.
    for call in [json!({}), json!({"id": 7})] {
        assert_eq!(session.fails("things__keep", call), "needs_person");
        let refused = world.last("call.refused", "things.keep");
        assert_eq!(refused["body"]["rule"], "builtin:undo", "{refused}");
        let detail = refused["body"]["detail"].as_str().unwrap();
        assert!(detail.starts_with("`id` of `remove`: "), "{refused}");
    }
    assert!(world.journal("keep").is_empty());
    // A call that is not taken back by anything is none to undo.
    let paid = session.call("things__find", json!({"who": "ann@example.net"}));
    assert_ne!(paid["isError"], true, "{paid}");
    let seq = world.last("call.intent", "things.find")["seq"]
        .as_u64()
        .unwrap();
    world.undo_refused(seq, 2, "nothing takes it back");
}

#[test]
fn a_connector_that_was_approved_anew_takes_nothing_back() {
    let world = World::new("live");
    let mut session = world.session();
    let seq = world.create(&mut session, "one");
    let manifest = world.appliance.path("connectors/things.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{text}# a remark\n")).unwrap();
    world.approve();
    let pin = |world: &World| {
        let status = world.appliance.json(&["status"]);
        status["planes"]["production"]["connectors"]["things"]["pin"].clone()
    };
    let before = pin(&world);
    world.appliance.reload();
    eventually("the approval is taken over", || {
        let now = pin(&world);
        !now.is_null() && now != before && world.appliance.serving()
    });
    world.undo_refused(seq, 10, "approved anew since");
    assert!(world.has("one") && world.journal("remove").is_empty());
}

#[test]
fn rehearsals_are_what_is_declared_and_nothing_else_is_asked() {
    let world = World::new("rehearse");
    let mut session = world.session();
    // Whatever the agent says of the argument that makes it one.
    let told = session.call("things__create", json!({"name": "one", "dry": false}));
    assert_ne!(told["isError"], true, "{told}");
    assert_eq!(
        told["_meta"]["keepgate/rehearsal"]["by"], "arguments",
        "{told}"
    );
    assert!(
        told["content"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("Rehearsed, not done.")
    );
    assert_eq!(told["content"][1]["text"], "would make one");
    let asked = json!({"tool": "create", "name": "one", "dry": true});
    assert_eq!(world.journal("create"), [asked]);
    let outcome = world.last("call.outcome", "things.create");
    assert_eq!(outcome["body"]["status"], "rehearsed", "{outcome}");
    assert_eq!(outcome["body"]["rehearsal"]["tool"], "things.create");

    let told = session.call("things__make", json!({"name": "two"}));
    assert_eq!(told["structuredContent"], json!({"would": "two"}), "{told}");
    assert_eq!(
        world.journal("preview"),
        [json!({"tool": "preview", "name": "two"})]
    );
    assert!(world.journal("make").is_empty());

    // Nothing is declared: the plan, and no question.
    for (amount, live) in [
        (5, "it could be taken back by `refund`"),
        (500, "as things stand that would be refused: needs_person"),
    ] {
        let call = json!({"to": IBAN, "amount": amount});
        let told = session.call("things__pay", call);
        assert_eq!(
            told["_meta"]["keepgate/class"], "rehearsed_not_executed",
            "{told}"
        );
        let text = told["content"][0]["text"].as_str().unwrap();
        let plan =
            format!(r#"`pay` of connector `things` would get {{"amount":{amount},"to":"{IBAN}"}}"#);
        assert!(text.contains(&plan) && text.contains(live), "{text}");
    }
    assert!(world.journal("pay").is_empty());
    let outcome = world.last("call.outcome", "things.pay");
    assert_eq!(outcome["body"]["plan"]["undo"], "refund", "{outcome}");
    assert_eq!(outcome["body"]["plan"]["live"], "needs_person", "{outcome}");
    assert!(!world.has("one") && !world.has("two"));
    // What was rehearsed cannot be undone.
    let seq = world.last("call.intent", "things.create")["seq"]
        .as_u64()
        .unwrap();
    world.undo_refused(seq, 2, "the call was rehearsed");
}

#[test]
fn high_value_needs_a_person_whatever_the_policy_says() {
    let world = World::new("live");
    let mut session = world.session();
    let paid = session.call("things__pay", json!({"to": IBAN, "amount": 100}));
    assert_ne!(paid["isError"], true, "{paid}");
    assert_eq!(world.journal("pay").len(), 1);
    let intent = world.last("call.intent", "things.pay");
    // All that takes it back is known before.
    assert!(intent["body"]["undo"]["digest"].is_string(), "{intent}");
    for (call, why) in [
        (
            json!({"to": IBAN, "amount": 100.01}),
            "`amount` is above 100",
        ),
        (
            json!({"to": IBAN, "amount": "1e3"}),
            "`amount` is no amount that can be read",
        ),
        (
            json!({"to": IBAN, "amount": -5000}),
            "`amount` is no amount that can be read",
        ),
        (
            json!({"to": IBAN, "amount": null}),
            "`amount` is no amount that can be read",
        ),
        (json!({"to": IBAN}), "`amount` is missing"),
    ] {
        assert_eq!(
            session.fails("things__pay", call.clone()),
            "needs_person",
            "{call}"
        );
        let refused = world.last("call.refused", "things.pay");
        // Nobody watches this plane, so the rule is the reason why it is refused.
        assert_eq!(refused["body"]["rule"], "builtin:high-value", "{refused}");
        let said = refused["body"]["hint"].as_str().unwrap();
        assert!(said.starts_with(why), "{refused}");
    }
    assert_eq!(world.journal("pay").len(), 1);
    let arguments = json!({"to": IBAN, "amount": 5000}).to_string();
    let explained = world.appliance.must(&[
        "policy",
        "explain",
        "--agent",
        "bot",
        "--tool",
        "things.pay",
        "--args",
        &arguments,
    ]);
    assert_eq!(explained["class"], "needs_person", "{explained}");
    assert_eq!(explained["context"]["high_value"], true, "{explained}");
    assert!(
        explained["builtin"]
            .to_string()
            .contains("`amount` is above 100")
    );
    let shown = world.appliance.cli(&["connector", "show", "things"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.contains("amount > 100") && text.contains("refund"),
        "{text}"
    );
}

#[test]
fn values_are_of_their_kind_and_what_comes_back_has_labels() {
    let world = World::new("live");
    let mut session = world.session();
    for (tool, call, argument) in [
        (
            "pay",
            json!({"to": "DE89370400440532013001", "amount": 1}),
            "`to`",
        ),
        ("create", json!({"name": "../../etc/passwd"}), "`name`"),
        (
            "find",
            json!({"who": "ann@example.net, eve@evil.example"}),
            "`who`",
        ),
        (
            "find",
            json!({"who": ["ann@example.net", "Eve <eve@evil.example>"]}),
            "`who/1`",
        ),
    ] {
        let told = session.call(&format!("things__{tool}"), call);
        assert_eq!(told["_meta"]["keepgate/class"], "bad_argument", "{told}");
        let text = told["content"][0]["text"].as_str().unwrap();
        assert!(
            text.contains(argument) && text.contains("expected"),
            "{text}"
        );
        assert!(world.journal(tool).is_empty());
    }
    let found = session.call("things__find", json!({"who": ["ann@example.net"]}));
    assert_ne!(found["isError"], true, "{found}");
    let outcome = world.last("call.outcome", "things.find");
    assert_eq!(
        outcome["body"]["labels"],
        json!({"": "untrusted", "/id": "trusted"}),
        "{outcome}"
    );

    // Policies see what a call would reach, wherever in its arguments that stands.
    world.appliance.policy(
        "permit (principal, action, resource);\n\
         @id(\"known\") forbid (principal, action == Action::\"things__find\", resource)\n\
         unless { [\"ann@example.net\", \"bob@example.net\"].containsAll(context.targets) };\n",
    );
    let ok = session.call(
        "things__find",
        json!({"who": ["ann@example.net", "bob@example.net"]}),
    );
    assert_ne!(ok["isError"], true, "{ok}");
    let eve = json!({"who": ["ann@example.net", "eve@evil.example"]});
    assert_eq!(session.fails("things__find", eve), "not_permitted");
}

#[test]
fn an_undo_needs_no_tool_that_its_agent_sees() {
    let world = World::new("live");
    world.appliance.must(&["agent", "revoke", "bot"]);
    let uid = AGENT.to_string();
    world.appliance.must(&[
        "agent",
        "add",
        "bot",
        "--uid",
        &uid,
        "--tools",
        "things__create",
    ]);
    let mut session = world.session();
    let seq = world.create(&mut session, "one");
    let gone = session.request(
        "tools/call",
        json!({"name": "things__remove", "arguments": {"id": "t-one"}}),
    );
    assert!(gone.get("error").is_some(), "{gone}");
    world.undo(seq);
    assert!(!world.has("one"));
}

#[test]
fn what_nobody_knows_of_is_taken_back_where_the_call_says_all() {
    let world = World::new("live");
    let mut session = world.session();
    // The server ends before it answers; what it did is there.
    assert_eq!(
        session.fails("things__keep", json!({"id": "t-gone"})),
        "unknown"
    );
    assert!(world.has("gone"));
    let outcome = world.last("call.outcome", "things.keep");
    assert_eq!(outcome["body"]["status"], "unknown", "{outcome}");
    let seq = world.last("call.intent", "things.keep")["seq"]
        .as_u64()
        .unwrap();
    let shown = world.appliance.cli(&["undo", &seq.to_string()]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.contains("note: nobody can say whether the call happened"),
        "{text}"
    );
    // It may rest a while before it is started again: then nothing is done, and that is told.
    eventually("it is taken back", || {
        world
            .appliance
            .cli(&["undo", &seq.to_string(), "--yes"])
            .status
            .success()
    });
    assert!(!world.has("gone"));
    assert_eq!(world.journal("remove").len(), 1);
    world.undo_refused(seq, 10, "it was undone already");
}

#[test]
fn two_who_undo_at_once_undo_once() {
    let world = World::new("live");
    let mut session = world.session();
    let seq = world.create(&mut session, "one").to_string();
    let codes: Vec<_> = std::thread::scope(|scope| {
        let undo = || world.appliance.cli(&["undo", &seq, "--yes"]).status.code();
        let all: Vec<_> = (0..4).map(|_| scope.spawn(undo)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(
        codes.iter().filter(|code| **code == Some(0)).count(),
        1,
        "{codes:?}"
    );
    assert_eq!(
        codes.iter().filter(|code| **code == Some(10)).count(),
        3,
        "{codes:?}"
    );
    assert_eq!(world.journal("remove").len(), 1);
}

#[test]
fn stateless_clients_have_their_calls_taken_back_in_their_era() {
    let world = World::new("live");
    let mut session = world.appliance.connect("bot");
    let mut call = |tool: &str, arguments: Value| {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "it", "version": "0"},
        });
        let parameters = json!({"name": tool, "arguments": arguments, "_meta": meta});
        session.request("tools/call", parameters)["result"].clone()
    };
    let made = call("things__create", json!({"name": "one"}));
    assert_eq!(made["resultType"], "complete", "{made}");
    let intent = world.last("call.intent", "things.create");
    assert_eq!(intent["body"]["undo"]["era"], "stateless", "{intent}");
    world.undo(intent["seq"].as_u64().unwrap());
    assert!(!world.has("one"));
    // A server that asks first has done nothing yet.
    let asked = call("things__keep", json!({"id": "t-ask"}));
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let outcome = world.last("call.outcome", "things.keep");
    let lacks = "its server asks something first, and has done nothing yet";
    assert_eq!(outcome["body"]["undo"]["lacks"], lacks, "{outcome}");
    let seq = world.last("call.intent", "things.keep")["seq"]
        .as_u64()
        .unwrap();
    world.undo_refused(seq, 10, lacks);
}

#[test]
fn what_is_declared_of_tools_is_in_the_document_of_what_is_trusted() {
    let world = World::new("live");
    let report = world.appliance.cli(&["connector", "list", "--report"]);
    let report = String::from_utf8(report.stdout).unwrap();
    for row in [
        "| `create` | write | reversible | `remove` | itself |  | `",
        "| `make` | write | reversible | `remove` | `preview` |  | `",
        "| `pay` | send | mitigable | `refund` |  | `amount` above 100 | `",
        "| `find` | read | reversible |  |  |  | `",
    ] {
        assert!(report.contains(row), "{row}\n{report}");
    }
}

#[test]
fn a_call_that_is_not_over_is_not_taken_back() {
    let world = World::new("live");
    let mut session = world.session();
    let id = session.ask(
        "tools/call",
        json!({"name": "things__keep", "arguments": {"id": "t-slow"}}),
    );
    eventually("the server is asked", || !world.journal("keep").is_empty());
    let seq = world.last("call.intent", "things.keep")["seq"]
        .as_u64()
        .unwrap();
    world.undo_refused(seq, 10, "the call is still being carried out");
    fs::write(world.place.join("go"), "").unwrap();
    let answer = session.next();
    assert_eq!(answer["id"], id, "{answer}");
    assert!(world.journal("remove").is_empty());
}

#[test]
fn a_write_is_not_made_again_unasked_by_a_keeper_that_starts_anew() {
    let mut world = World::with("live", &web::local(web::port()));
    let (url, token) = web::enrol(&world.appliance, "web");
    let ask = |id: &str| {
        web::modern(
            "tools/call",
            json!({"name": "things__keep", "arguments": {"id": id}}),
        )
    };
    let class = |body: &Value| {
        let (status, told) = Http::connect(&url).post(&token, body);
        assert_eq!(status, 200);
        let class = told["result"]["_meta"]["keepgate/class"].as_str();
        class.unwrap_or_default().to_owned()
    };
    let (slow, heard, other) = (ask("t-slow"), ask("t-heard"), ask("t-other"));
    assert_eq!(class(&heard), "");
    eventually("its delivery is on record", || {
        !world.appliance.entries("call.delivered").is_empty()
    });
    let mut client = Http::connect(&url);
    client.send(&token, &slow);
    eventually("the server is asked", || world.journal("keep").len() == 2);
    client.leave();
    fs::write(world.place.join("go"), "").unwrap();
    eventually("it has an outcome", || {
        world.appliance.entries("call.outcome").len() == 2
    });
    fs::remove_file(world.place.join("go")).unwrap();
    world.appliance.stop();
    world.appliance.serve();
    assert_eq!(class(&slow), "done_before");
    assert_eq!(world.journal("keep").len(), 2);
    eventually("that was delivered", || {
        world.appliance.entries("call.delivered").len() == 2
    });
    // The agent knows: now a second one is meant. It is killed with the keeper.
    let mut client = Http::connect(&url);
    client.send(&token, &slow);
    eventually("the server is asked", || world.journal("keep").len() == 3);
    world.appliance.kill();
    world.appliance.serve();
    assert_eq!(class(&slow), "unknown");
    assert_eq!(class(&heard), "");
    assert_eq!(class(&other), "");
    let refused = world.appliance.entries("call.refused");
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(world.appliance.cli(&["log", "verify"]).status.success());
}

#[test]
fn a_write_whose_answer_was_lost_is_made_once() {
    let world = World::with("live", &web::local(web::port()));
    let (url, token) = web::enrol(&world.appliance, "web");
    let body = web::modern(
        "tools/call",
        json!({"name": "things__keep", "arguments": {"id": "t-slow"}}),
    );
    let mut lost = Http::connect(&url);
    lost.send(&token, &body);
    eventually("the server is asked", || !world.journal("keep").is_empty());
    lost.leave();
    fs::write(world.place.join("go"), "").unwrap();
    let (status, again) = Http::connect(&url).post(&token, &body);
    assert_eq!(status, 200);
    assert_eq!(again["result"]["content"][0]["text"], "kept", "{again}");
    let intents = world.appliance.entries("call.intent");
    let first = &intents[0]["body"]["call"];
    let repeated = world.appliance.entries("call.repeated");
    assert_eq!((intents.len(), repeated.len()), (1, 1));
    assert_eq!(&repeated[0]["body"]["repeats"], first);
    assert_eq!(world.journal("keep").len(), 1);
    // That one was delivered: the same call is meant now.
    eventually("a deliberate call is made", || {
        assert_eq!(Http::connect(&url).post(&token, &body).0, 200);
        world.journal("keep").len() == 2
    });
}
