//! Policies from the operator's side.

use std::fs;

use serde_json::json;

use crate::harness::Appliance;

#[test]
fn a_bad_policy_leaves_the_old_one_in_force() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    let before = appliance.must(&["policy", "show"]);
    let bad = [
        "permit (principal, action, resource",
        "permit (principal, action == Action::\"file__raed\", resource);",
        "permit (principal, action == Action::\"file__read\", resource) when { context.no_such == 1 };",
    ];
    for text in bad {
        fs::write(appliance.path("bad.cedar"), text).unwrap();
        let file = appliance.path("bad.cedar");
        let done = appliance.cli(&["policy", "apply", file.to_str().unwrap()]);
        assert!(!done.status.success(), "{text}");
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(told.contains("bad.cedar:1"), "the line is named: {told}");
    }
    assert_eq!(
        appliance.must(&["policy", "show"])["digest"],
        before["digest"]
    );
    appliance
        .session("a")
        .works("file__read", json!({"path": "mail/hello.txt"}));
    assert_eq!(appliance.entries("policy.applied").len(), 1);
}

#[test]
fn a_rule_too_deep_to_be_evaluated_is_refused_when_it_comes() {
    let appliance = Appliance::start("");
    let deep = format!(
        "permit (principal, action, resource);\n\
         forbid (principal, action, resource)\nwhen {{ 1{} == 0 }};",
        "+1".repeat(900)
    );
    fs::write(appliance.path("deep.cedar"), deep).unwrap();
    let file = appliance.path("deep.cedar");
    for verb in ["check", "apply"] {
        let done = appliance.cli(&["policy", verb, file.to_str().unwrap()]);
        assert_eq!(done.status.code(), Some(2), "{verb}");
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(told.contains("deep.cedar:2:1: a rule has more"), "{told}");
    }
}

#[test]
fn names_that_are_nobodys_are_warned_of_and_the_policy_is_taken() {
    let appliance = Appliance::start("");
    appliance.enrol("assistant");
    let file = appliance.path("names.cedar");
    let file = file.to_str().unwrap();
    let text = "permit (principal == Agent::\"asistant\", action in Action::\"read\", resource)\n\
                when { context.root == \"mial\" };\n";
    fs::write(file, text).unwrap();
    for verb in ["check", "apply"] {
        let done = appliance.cli(&["policy", verb, file]);
        assert!(done.status.success(), "{verb}: {done:?}");
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        for part in [
            "names.cedar:1: rule `policy0` is about agent `asistant`",
            "did you mean `assistant`?",
            "names.cedar:2: rule `policy0` is about root `mial`",
            "did you mean `mail`?",
        ] {
            assert!(told.contains(part), "{verb}: {part}: {told}");
        }
        let warnings = appliance.must(&["policy", verb, file])["warnings"].clone();
        assert_eq!(warnings[0]["name"], "asistant");
        assert_eq!(warnings[0]["meant"], "assistant");
        assert_eq!(warnings[1]["kind"], "root");
        assert_eq!(warnings[1]["line"], 2);
    }
    fs::write(
        file,
        text.replace("asistant", "assistant")
            .replace("mial", "mail"),
    )
    .unwrap();
    let good = appliance.must(&["policy", "check", file]);
    assert_eq!(good["warnings"], json!([]));
}

#[test]
fn nothing_is_permitted_that_no_rule_permits() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.policy("// nothing\n");
    let mut session = appliance.session("a");
    assert_eq!(
        session.fails("file__read", json!({"path": "mail/hello.txt"})),
        "not_permitted"
    );
    appliance.policy("permit (principal == Agent::\"b\", action, resource);");
    assert_eq!(
        session.fails("file__read", json!({"path": "mail/hello.txt"})),
        "not_permitted"
    );
    appliance.policy("permit (principal == Agent::\"a\", action, resource);");
    session.works("file__read", json!({"path": "mail/hello.txt"}));
}

#[test]
fn what_needs_a_person_is_refused_as_pending() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.policy(
        "permit (principal, action == Action::\"file__read\", resource) when { !context.unattended };",
    );
    let mut session = appliance.session("a");
    assert_eq!(
        session.fails("file__read", json!({"path": "mail/hello.txt"})),
        "needs_person"
    );
}

#[test]
fn policy_mode_and_agents_survive_a_restart() {
    let mut appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.policy("permit (principal == Agent::\"a\", action, resource);");
    appliance.must(&["mode", "live"]);
    let before = appliance.must(&["policy", "show"])["digest"].clone();
    appliance.stop();
    appliance.serve();
    assert_eq!(appliance.must(&["policy", "show"])["digest"], before);
    assert_eq!(appliance.must(&["mode"])["mode"], "live");
    let mut session = appliance.session("a");
    session.works("file__write", json!({"path": "out/x", "content": "x"}));
    assert_eq!(appliance.get("out/x"), "x");
}
