//! What well-behaved servers of both eras get and are heard to say.

use serde_json::{Value, json};

use super::super::client::Order;
use super::Machine;
use crate::wire::messages::{EgressToKeeper, Era, Got, Offer, Passing, Unasked};

fn opened(machine: &Machine) -> (Era, String, Value) {
    let [(EgressToKeeper::Opened { era, version, .. }, blob)] = machine.told.as_slice() else {
        panic!("{:?}", machine.told)
    };
    (*era, version.clone(), serde_json::from_slice(blob).unwrap())
}

#[test]
fn a_stateless_server_is_asked_first_and_stays_that() {
    let mut machine = Machine::new(|_| {});
    let discover = machine.sent[0].clone();
    assert_eq!(discover["method"], "server/discover");
    let meta = &discover["params"]["_meta"];
    assert_eq!(
        meta["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    assert_eq!(
        meta["io.modelcontextprotocol/clientCapabilities"],
        json!({})
    );
    assert_eq!(
        meta["io.modelcontextprotocol/clientInfo"]["name"],
        "keepgate"
    );
    machine.answer(&json!({
        "supportedVersions": ["2026-07-28", "2025-11-25"],
        "capabilities": {"tools": {"listChanged": true}, "prompts": {}},
        "instructions": "none",
    }));
    assert_eq!(machine.question()["method"], "tools/list");
    machine.answer(&json!({"tools": [{"name": "a"}], "nextCursor": "1"}));
    assert_eq!(machine.question()["params"]["cursor"], "1");
    machine.answer(&json!({"tools": [{"name": "b", "unknown": 1.50}]}));
    assert_eq!(machine.question()["method"], "prompts/list");
    machine.refuse(-32601, &Value::Null);
    let (era, version, all) = opened(&machine);
    assert_eq!((era, version.as_str()), (Era::Stateless, "2026-07-28"));
    assert_eq!(all["hello"]["instructions"], "none");
    assert_eq!(
        all["tools"],
        json!([{"name": "a"}, {"name": "b", "unknown": 1.5}])
    );
    assert_eq!(
        (&all["prompts"], &all["resources"]),
        (&json!([]), &json!([]))
    );
    // Then it is asked to tell of changes, of what it says it tells of.
    let listen = machine.question();
    assert_eq!(listen["method"], "subscriptions/listen");
    assert_eq!(
        listen["params"]["notifications"],
        json!({"toolsListChanged": true})
    );
}

#[test]
fn a_session_server_is_found_by_any_other_error_and_by_silence() {
    let errors: [fn(&mut Machine); 4] = [
        |machine| machine.refuse(-32601, &Value::Null),
        |machine| machine.refuse(-32602, &json!("x")),
        |machine| machine.refuse(-32022, &json!({"supported": ["2025-06-18"]})),
        |machine| {
            machine.say(&json!({"jsonrpc": "2.0", "id": null,
                "error": {"code": -32600, "message": "what?"}}));
        },
    ];
    for error in errors {
        let mut machine = Machine::new(|_| {});
        error(&mut machine);
        session(machine);
    }
    let mut machine = Machine::new(|_| {});
    machine.later(7_499).unwrap();
    assert_eq!(machine.sent.len(), 1);
    machine.later(1).unwrap();
    session(machine);
    let machine = Machine::new(|settings| settings.era = Some(Era::Session));
    assert_eq!(machine.sent.len(), 1);
    session(machine);
}

#[test]
fn a_server_that_knows_no_sessions_is_asked_for_its_era_once() {
    let mut machine = Machine::new(|settings| settings.era = Some(Era::Session));
    machine.refuse(-32601, &Value::Null);
    assert_eq!(machine.question()["method"], "server/discover");
    machine.answer(&json!({"supportedVersions": ["2026-07-28"], "capabilities": {}}));
    assert_eq!(opened(&machine).0, Era::Stateless);
    // One that speaks neither is not asked for ever.
    let mut machine = Machine::new(|settings| settings.era = Some(Era::Session));
    machine.refuse(-32601, &Value::Null);
    machine.refuse(-32601, &Value::Null);
    let initialize = machine.question().clone();
    assert_eq!(initialize["method"], "initialize");
    let error = json!({"code": -32601, "message": "no"});
    let no = json!({"jsonrpc": "2.0", "id": initialize["id"], "error": error});
    let why = machine.says(&no.to_string()).unwrap_err();
    assert!(why.contains("refuses `initialize`"), "{why}");
}

fn session(mut machine: Machine) {
    let initialize = machine.question().clone();
    assert_eq!(initialize["method"], "initialize");
    assert_eq!(initialize["params"]["protocolVersion"], "2025-11-25");
    assert_eq!(initialize["params"]["capabilities"], json!({}));
    assert_eq!(initialize["params"]["_meta"], Value::Null);
    machine.answer(&json!({"protocolVersion": "2024-11-05", "capabilities": {},
        "serverInfo": {"name": "old", "version": "0"}}));
    let last = machine.sent.iter().rev().find(|sent| sent["id"].is_null());
    let told: Vec<_> = machine.sent.iter().map(|sent| &sent["method"]).collect();
    assert!(
        told.contains(&&json!("notifications/initialized")),
        "{told:?} {last:?}"
    );
    let (era, version, all) = opened(&machine);
    assert_eq!((era, version.as_str()), (Era::Session, "2024-11-05"));
    assert_eq!(all["tools"], json!([]));
}

#[test]
fn a_slow_stateless_server_is_not_mistaken_for_an_old_one() {
    let mut machine = Machine::new(|_| {});
    machine.later(8_000).unwrap();
    let (discover, initialize) = (machine.sent[0]["id"].clone(), machine.sent[1]["id"].clone());
    machine.say(&json!({"jsonrpc": "2.0", "id": discover, "result": {
        "supportedVersions": ["2026-07-28"], "capabilities": {}}}));
    // Its answer to what it was asked meanwhile is for nobody.
    machine.say(&json!({"jsonrpc": "2.0", "id": initialize, "result": {}}));
    assert_eq!(opened(&machine).0, Era::Stateless);
}

#[test]
fn a_call_goes_and_comes_byte_for_byte() {
    let mut machine = Machine::open(|_| {});
    let ticket = machine.put(
        "tools/call",
        "{\"name\":\"echo\",\"arguments\":{\n \"a\" : 1.0 },\"_meta\":{\"progressToken\":\"x\"}}",
    );
    let asked = machine.question().clone();
    assert_eq!(asked["params"]["arguments"], json!({"a": 1.0}));
    // Tokens are ours, so that one question's progress is never another's.
    assert_eq!(asked["params"]["_meta"]["progressToken"], asked["id"]);
    let progress = |token: &Value, n: u64| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": n}})
    };
    machine.say(&progress(&asked["id"], 1));
    machine.say(&progress(&json!(999), 2));
    machine.say(&progress(&json!("x"), 3));
    let [
        (
            EgressToKeeper::Notice {
                ticket: of, method, ..
            },
            params,
        ),
    ] = machine.told.as_slice()
    else {
        panic!("{:?}", machine.told)
    };
    assert_eq!(
        (*of, method.as_str()),
        (Some(ticket), "notifications/progress")
    );
    assert!(String::from_utf8_lossy(params).contains("\"progress\":1"));
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{ "content" : [], "new" : 1e400 }}}}"#,
        asked["id"]
    );
    machine.says(&line).unwrap();
    let (got, result) = machine.got(ticket);
    assert_eq!(
        (got, result.as_str()),
        (Got::Result, r#"{ "content" : [], "new" : 1e400 }"#)
    );
    // Progress of what is over is for nobody.
    machine.told.clear();
    machine.say(&progress(&asked["id"], 4));
    assert_eq!(machine.told.len(), 0);
    let ticket = machine.put("tools/call", "{}");
    machine.refuse(-32602, &json!({"x": 1}));
    let (got, error) = machine.got(ticket);
    assert!(
        got == Got::Error && error.contains(r#""data":{"x":1}"#),
        "{error}"
    );
}

#[test]
fn questions_have_a_number_and_an_end() {
    let mut machine = Machine::open(|settings| settings.limits.in_flight = 2);
    let (one, two) = (
        machine.put("tools/call", "{}"),
        machine.put("prompts/get", "{}"),
    );
    let three = machine.put("tools/call", "{}");
    assert_eq!(machine.got(three).0, Got::Refused(Unasked::Busy));
    let numbers: Vec<Value> = machine.sent.iter().map(|sent| sent["id"].clone()).collect();
    // The agent gives one up; the other's time is up.
    machine.client.obey(Order::Revoke(two), machine.now);
    machine.drain();
    assert_eq!(machine.got(two).0, Got::Cancelled);
    machine.later(1_000).unwrap();
    assert_eq!(machine.got(one).0, Got::TimedOut);
    let cancelled: Vec<&Value> = machine
        .sent
        .iter()
        .filter(|sent| sent["method"] == "notifications/cancelled")
        .map(|sent| &sent["params"]["requestId"])
        .collect();
    assert_eq!(cancelled, [&numbers[1], &numbers[0]]);
    // Late answers are dropped, once each.
    for id in &numbers {
        machine.say(&json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    }
    assert_eq!(machine.told.len(), 0);
    let again = json!({"jsonrpc": "2.0", "id": numbers[0], "result": {}}).to_string();
    assert!(
        machine
            .says(&again)
            .unwrap_err()
            .contains("not asked, or twice")
    );
}

#[test]
fn what_is_not_carried_is_not_sent() {
    let mut machine = Machine::new(|_| {});
    let early = machine.put("tools/call", "{}");
    assert_eq!(machine.got(early).0, Got::Refused(Unasked::NotOpen));
    let mut machine = Machine::open(|_| {});
    for (method, params) in [
        ("initialize", "{}"),
        ("tasks/get", "{}"),
        ("tools/call", "[]"),
    ] {
        let ticket = machine.put(method, params);
        assert_eq!(machine.got(ticket).0, Got::Refused(Unasked::NotCarried));
    }
    machine.client.full = true;
    let ticket = machine.put("tools/call", "{}");
    assert_eq!(machine.got(ticket).0, Got::Refused(Unasked::Busy));
    assert_eq!(machine.sent.len(), 0);
}

#[test]
fn a_server_asks_only_what_the_operator_allows_and_only_during_a_question() {
    let ask = |id: &str, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"p": 1}});
    let mut machine = Machine::open(|settings| {
        settings.allow = Passing {
            elicitation: true,
            ..Passing::default()
        };
    });
    machine.say(&ask("early", "elicitation/create"));
    assert_eq!(machine.sent.pop().unwrap()["error"]["code"], -32601);
    let ticket = machine.put("tools/call", "{}");
    for method in ["sampling/createMessage", "roots/list", "keepgate/secrets"] {
        machine.say(&ask("no", method));
        assert_eq!(
            machine.sent.pop().unwrap()["error"]["code"],
            -32601,
            "{method}"
        );
    }
    machine.say(&json!({"jsonrpc": "2.0", "id": 3, "method": "ping"}));
    assert_eq!(
        machine.sent.pop().unwrap(),
        json!({"jsonrpc": "2.0", "id": 3, "result": {}})
    );
    machine.say(&ask("a", "elicitation/create"));
    let (
        EgressToKeeper::Asks {
            ask: number,
            ticket: of,
            ..
        },
        params,
    ) = machine.told.remove(0)
    else {
        panic!()
    };
    assert_eq!((of, params.as_slice()), (ticket, &br#"{"p":1}"#[..]));
    let reply = Order::Reply {
        ask: number,
        ok: true,
        json: b"{\n\"action\":\"decline\"}".to_vec(),
    };
    machine.client.obey(reply, machine.now);
    machine.drain();
    let answer = machine.sent.pop().unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["action"]),
        (&json!("a"), &json!("decline"))
    );
    // What is asked for the sake of a question ends with it.
    machine.say(&ask("b", "elicitation/create"));
    let (EgressToKeeper::Asks { ask: number, .. }, _) = machine.told.remove(0) else {
        panic!()
    };
    machine.client.obey(Order::Revoke(ticket), machine.now);
    machine.drain();
    machine.sent.clear();
    let reply = Order::Reply {
        ask: number,
        ok: true,
        json: b"{}".to_vec(),
    };
    machine.client.obey(reply, machine.now);
    machine.drain();
    assert_eq!(machine.sent.len(), 0);
}

#[test]
fn changes_are_listed_again_and_not_too_often() {
    let mut machine = Machine::open(|_| {});
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    machine.say(&changed);
    assert_eq!(machine.question()["method"], "tools/list");
    machine.say(&changed);
    machine.answer(&json!({"tools": [{"name": "evil"}]}));
    let (
        EgressToKeeper::Changed {
            what: Offer::Tools, ..
        },
        blob,
    ) = machine.told.remove(0)
    else {
        panic!()
    };
    assert_eq!(blob, br#"[{"name":"evil"}]"#);
    assert_eq!(machine.sent.len(), 1, "{:?}", machine.sent);
    machine.later(999).unwrap();
    assert_eq!(machine.sent.len(), 1);
    machine.later(1).unwrap();
    assert_eq!(machine.sent.len(), 2);
}

#[test]
fn a_subscription_tells_of_changes_and_is_made_again() {
    let mut machine = Machine::stateless(|_| {});
    let listen = machine.question()["id"].clone();
    let meta = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": listen}});
    let tell = |method: &str| json!({"jsonrpc": "2.0", "method": method, "params": meta});
    machine.say(&tell("notifications/subscriptions/acknowledged"));
    assert_eq!(machine.told.len(), 0);
    machine.say(&tell("notifications/tools/list_changed"));
    assert_eq!(machine.question()["method"], "tools/list");
    machine.answer(&json!({"tools": []}));
    machine.say(&json!({"jsonrpc": "2.0", "id": listen, "result": {"resultType": "complete"}}));
    machine.sent.clear();
    machine.later(29_999).unwrap();
    assert_eq!(machine.sent.len(), 0);
    machine.later(1).unwrap();
    assert_eq!(machine.question()["method"], "subscriptions/listen");
    // A subscription of the agent's own has its notifications to itself.
    let ticket = machine.put("subscriptions/listen", "{\"notifications\":{}}");
    let own =
        json!({"_meta": {"io.modelcontextprotocol/subscriptionId": machine.question()["id"]}});
    machine.told.clear();
    machine.say(
        &json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
        "params": own}),
    );
    let (EgressToKeeper::Notice { ticket: of, .. }, _) = machine.told.remove(0) else {
        panic!()
    };
    assert_eq!(of, Some(ticket));
}
