//! An agent's calls through the whole gate, and everything that is no call.

use serde_json::{Value, json};

use crate::harness::Appliance;

#[test]
fn a_permitted_read_is_answered_and_recorded_before_and_after() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    let mut session = appliance.session("a");
    let tools = session.request("tools/list", json!({}));
    let names: Vec<&str> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|t| t["name"].as_str())
        .collect();
    for tool in ["file__read", "file__list", "file__write", "http__request"] {
        assert!(names.contains(&tool), "{names:?}");
    }
    let read = session.works("file__read", json!({"path": "mail/hello.txt"}));
    assert_eq!(read["text"], "hello from the mailbox\n");
    let list = session.works("file__list", json!({"path": "mail"}));
    assert_eq!(
        list["entries"],
        json!([{"name": "hello.txt", "type": "file"}])
    );
    let roots = session.works("file__list", json!({"path": "."}));
    assert_eq!(roots["entries"].as_array().unwrap().len(), 2);
    let intents = appliance.entries("call.intent");
    let outcomes = appliance.entries("call.outcome");
    assert_eq!((intents.len(), outcomes.len()), (3, 3));
    for (intent, outcome) in intents.iter().zip(&outcomes) {
        assert_eq!(intent["body"]["call"], outcome["body"]["call"]);
        assert_eq!(outcome["body"]["intent"], intent["seq"]);
        assert!(intent["seq"].as_u64() < outcome["seq"].as_u64());
    }
    assert!(appliance.cli(&["log", "verify"]).status.success());
}

#[test]
fn a_refusal_tells_the_agent_a_class_and_the_operator_the_rule() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.policy(
        "@id(\"reads\")\npermit (principal, action == Action::\"file__read\", resource);\n\
         @id(\"no-secrets\")\nforbid (principal, action == Action::\"file__read\", resource)\n\
         when { context.path like \"*secret*\" };\n",
    );
    appliance.put("mail/secret.txt", "x");
    let mut session = appliance.session("a");
    session.works("file__read", json!({"path": "mail/hello.txt"}));
    let result = session.call("file__read", json!({"path": "mail/secret.txt"}));
    assert_eq!(result["isError"], true);
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("not_permitted"), "{text}");
    assert!(
        !text.contains("no-secrets"),
        "an agent must not learn the rule: {text}"
    );
    let request = result["_meta"]["keepgate/request"].as_str().unwrap();
    assert!(text.contains(request), "{text}");
    let told = appliance.must(&["policy", "explain", "--request", request]);
    let told = told.to_string();
    assert!(
        told.contains("no-secrets") && told.contains("test.cedar"),
        "{told}"
    );
    assert_eq!(appliance.entries("call.refused").len(), 1);
}

#[test]
fn what_cannot_be_read_fails_with_a_precise_class() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    std::os::unix::fs::symlink("/etc/passwd", appliance.path("mail/link")).unwrap();
    let mut session = appliance.session("a");
    let mut class = |path: &str| session.fails("file__read", json!({"path": path}));
    assert_eq!(class("mail/none"), "not_found");
    assert_eq!(class("mail/link"), "outside_root");
    assert_eq!(class("mail"), "wrong_kind");
    assert_eq!(class("nowhere/x"), "unknown_root");
    for path in [
        "mail/../keepgate.toml",
        "/etc/passwd",
        "mail//x",
        "mail/./x",
        "mail/a\u{0}b",
    ] {
        assert_eq!(class(path), "bad_argument", "{path:?}");
    }
}

#[test]
fn an_agent_sees_only_its_tools() {
    let appliance = Appliance::start("");
    let uid = crate::harness::AGENT.to_string();
    appliance.must(&[
        "agent",
        "add",
        "reader",
        "--uid",
        &uid,
        "--tools",
        "file__read",
    ]);
    let mut session = appliance.session("reader");
    let tools = session.request("tools/list", json!({}));
    assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 1);
    let answer = session.request(
        "tools/call",
        json!({"name": "file__list", "arguments": {"path": "mail"}}),
    );
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}

#[test]
fn what_is_no_call_gets_a_precise_error_and_nothing_dies() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    let mut session = appliance.session("a");
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{}{}}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    let big = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"x\":\"{}\"}}}}",
        "x".repeat(3 << 20)
    );
    let lines: [&[u8]; 8] = [
        b"nonsense",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}",
        b"[]",
        b"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}",
        b"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}",
        b"\xff\xfe",
        deep.as_bytes(),
        big.as_bytes(),
    ];
    for line in lines {
        session.raw(line);
        let answer = session.next();
        assert!(answer["error"]["code"].as_i64().is_some(), "{answer}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    let answer = session.request("tools/uncall", json!({}));
    assert_eq!(answer["error"]["code"], -32601);
    let answer = session.request("tools/call", json!({"name": "no__tool", "arguments": {}}));
    assert_eq!(answer["error"]["code"], -32602);
    let bad: [Value; 5] = [
        json!({}),
        json!({"path": 7}),
        json!({"path": "mail/hello.txt", "surprise": 1}),
        json!({"path": "mail/hello.txt", "limit": -1}),
        json!({"path": "x".repeat(10_000)}),
    ];
    for arguments in bad {
        assert_eq!(session.fails("file__read", arguments), "bad_argument");
    }
    session.raw(b"{\"jsonrpc\":\"2.0\",\"id\":77,\"method\":\"tools/call\",\"params\":{\"name\":\"file__read\",\"arguments\":{\"path\":\"mail/hello.txt\",\"path\":\"mail/other\"}}}");
    let answer = session.next();
    assert!(
        answer["error"].is_object() || answer["result"]["isError"] == true,
        "{answer}"
    );
    session.works("file__read", json!({"path": "mail/hello.txt"}));
    crate::harness::eventually("malformed input is recorded", || {
        !appliance.entries("front.malformed").is_empty()
    });
}

#[test]
fn a_revoked_agent_is_cut_off_now() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    let mut session = appliance.session("a");
    session.works("file__read", json!({"path": "mail/hello.txt"}));
    appliance.must(&["agent", "revoke", "a"]);
    session.child.wait().unwrap();
    assert!(!appliance.path("run/production/agents/a.sock").exists());
}

#[test]
fn another_uid_cannot_use_an_agents_socket() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    // root may open the socket file, but is not the agent.
    let stream =
        std::os::unix::net::UnixStream::connect(appliance.path("run/production/agents/a.sock"));
    let mut stream = stream.unwrap();
    let mut answer = Vec::new();
    // The front closes at once: writing may fail, reading gives nothing.
    drop(std::io::Write::write_all(
        &mut stream,
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n",
    ));
    drop(std::io::Read::read_to_end(&mut stream, &mut answer));
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn roots_operators_and_roles_uids_cannot_be_agents() {
    let appliance = Appliance::start("");
    for uid in ["0", "64100", "64101", "64104"] {
        let done = appliance.cli(&["agent", "add", "x", "--uid", uid]);
        assert_eq!(done.status.code(), Some(10), "{uid}: {done:?}");
        assert!(String::from_utf8_lossy(&done.stderr).contains("hint:"));
    }
}
