//! Decisions as a table, refused policies as screens, and the promises that hold for any policy.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::call::declared::{Declared, DryRun, HighValue};
use crate::call::id::Id;
use crate::call::tool::{EffectClass, Method, Reversibility, Tool};
use crate::call::{Call, Caller, Listed, admit};
use crate::catalog::Catalog;
use crate::time::Timestamp;
use crate::wire::admin::Mode;
use crate::wire::messages::HttpRule;

const DECISIONS: &str = include_str!("../../tests/vectors/policy/decisions.json");
const REFUSED: &str = include_str!("../../tests/vectors/policy/refused.json");

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| Catalog::native().unwrap())
}

fn load(text: &str) -> Engine {
    Engine::load(text, "test.cedar", catalog()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn call(agent: &str, tool: &str, arguments: &Value) -> Call {
    let id = Id::random().unwrap();
    let received = Timestamp::from_micros(0);
    let caller = Caller {
        agent: agent.into(),
        run: id,
        call: id,
        received,
    };
    let raw = arguments.to_string();
    admit(raw.as_bytes(), catalog().tool(tool).unwrap(), caller)
        .unwrap_or_else(|unfit| panic!("{unfit:?}: {raw}"))
}

/// A plane with a read-only root, a writable one and one way out.
#[derive(Debug)]
struct World {
    plane: String,
    agent: String,
    mode: Mode,
    one_user: bool,
    unattended: bool,
    roots: BTreeMap<String, RootGround>,
    http: Vec<HttpRule>,
}

impl World {
    fn new() -> Self {
        let root = |name: &str, writable| {
            let path = format!("/srv/{name}");
            (
                name.to_owned(),
                RootGround {
                    path,
                    writable,
                    uid: None,
                    gid: None,
                },
            )
        };
        let rule = HttpRule {
            scheme: "https".into(),
            host: "docs.example".into(),
            port: 443,
            methods: ["GET", "HEAD", "POST"].map(Into::into).to_vec(),
            path: "/api".into(),
            private: Vec::new(),
            pin_sha256: None,
        };
        Self {
            plane: "production".into(),
            agent: "a".into(),
            mode: Mode::Rehearse,
            one_user: false,
            unattended: false,
            roots: [root("mail", false), root("out", true)].into(),
            http: vec![rule],
        }
    }

    fn ground(&self) -> Ground<'_> {
        Ground {
            plane: &self.plane,
            agent: &self.agent,
            mode: self.mode,
            separation_one_user: self.one_user,
            unattended: self.unattended,
            roots: &self.roots,
            http: &self.http,
        }
    }
}

/// What an explanation says, to be compared with a row of the table.
fn told(explained: &Explanation) -> Value {
    json!({
        "decision": explained.decision,
        "class": explained.class,
        "argument": explained.argument,
        "rule": explained.rule,
        "line": explained.at.as_ref().map(|at| at.rsplit(':').next().unwrap().parse::<u32>().unwrap()),
    })
}

/// The same of a decision.
fn decided(decision: &Decision) -> (&'static str, Option<&'static str>, Option<String>, String) {
    match decision {
        Decision::Permit(grant) => ("permit", None, None, grant.rules()[0].clone()),
        Decision::Ask(pending) => (
            "ask",
            Some("needs_person"),
            None,
            pending.rules()[0].clone(),
        ),
        Decision::Forbid(reason) => (
            "forbid",
            Some(reason.class),
            reason.argument.clone(),
            reason.rule.clone(),
        ),
    }
}

fn agree(engine: &Engine, call: &Call, ground: &Ground<'_>) -> Explanation {
    let explained = engine.explain(call, ground);
    let decision = engine.judge(call, ground);
    let wanted = (
        explained.decision,
        explained.class,
        explained.argument.clone(),
        explained.rule.clone().unwrap(),
    );
    assert_eq!(decided(&decision), wanted);
    explained
}

#[test]
fn decisions_are_as_the_table_says() {
    let table: Value = serde_json::from_str(DECISIONS).unwrap();
    let mut engines: BTreeMap<&str, Engine> = BTreeMap::new();
    engines.insert("demo", load(demo_policy()));
    for (name, text) in table["policies"].as_object().unwrap() {
        engines.insert(name, load(text.as_str().unwrap_or(default_policy())));
    }
    for case in table["cases"].as_array().unwrap() {
        let text = |key: &str, or: &str| case[key].as_str().unwrap_or(or).to_owned();
        let agent = text("agent", "a");
        let world = World {
            plane: text("plane", "production"),
            agent: text("judged_as", &agent),
            mode: if case["mode"] == "live" {
                Mode::Live
            } else {
                Mode::Rehearse
            },
            one_user: case["one_user"] == true,
            unattended: case["unattended"] == true,
            ..World::new()
        };
        let call = call(&agent, case["tool"].as_str().unwrap(), &case["arguments"]);
        let policy = case["policy"].as_str().unwrap();
        let explained = agree(&engines[policy], &call, &world.ground());
        let mut told = told(&explained);
        if case["line"].is_null() && ["starter", "demo"].contains(&policy) {
            told["line"] = Value::Null;
        }
        for key in ["decision", "class", "argument", "rule", "line"] {
            assert_eq!(told[key], case[key], "`{key}` of {case}\n{explained:#?}");
        }
        if let Some(class) = explained.class {
            assert!(CLASSES.iter().any(|(known, _)| *known == class), "{class}");
        }
    }
}

#[test]
fn a_bad_policy_is_refused_by_line_and_column() {
    let screens: Vec<Value> = serde_json::from_str(REFUSED).unwrap();
    let mut wrong = String::new();
    for screen in screens {
        let text = screen["text"].as_str().unwrap();
        let Err(error) = Engine::load(text, "test.cedar", catalog()) else {
            wrong.push_str(&format!("{text}\n  was taken\n"));
            continue;
        };
        assert_eq!(error.kind(), crate::error::Kind::Usage, "{text}");
        let (message, hint) = (
            error.message(),
            error.hint_text().unwrap_or_default().to_owned(),
        );
        let has = |told: &str, key: &str| {
            let parts = screen[key].as_array().into_iter().flatten();
            parts
                .into_iter()
                .all(|part| told.contains(part.as_str().unwrap()))
        };
        let plain = message
            .chars()
            .all(|c| (' '..='~').contains(&c) || c == '…');
        if !(has(&message, "says") && has(&hint, "hint") && plain) {
            wrong.push_str(&format!("{text}\n  {message}\n  {hint}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_policy_has_limits() {
    let long = format!("// {}\n", "x".repeat(source::BYTES_MAX));
    let error = Engine::load(&long, "long.cedar", catalog()).unwrap_err();
    assert_eq!(
        error.message(),
        "long.cedar: it is longer than 262144 bytes"
    );
    let one = "permit (principal, action, resource);\n";
    let error = Engine::load(&one.repeat(source::RULES_MAX + 1), "x", catalog()).unwrap_err();
    assert_eq!(error.message(), "x: it has more than 1000 rules");
    assert_eq!(load(&one.repeat(source::RULES_MAX)).rules(), 1000);
}

#[test]
fn the_schema_names_every_tool_and_group() {
    let engine = load("");
    for name in [
        "file__list",
        "file__read",
        "file__write",
        "http__request",
        "read",
        "send",
    ] {
        assert!(
            engine.schema().contains(&format!("action \"{name}\"")),
            "{}",
            engine.schema()
        );
    }
    assert!(
        !engine.schema().contains("headers"),
        "an open object has no Cedar type"
    );
    assert_eq!(
        engine.digest(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn a_grant_covers_its_own_call_only() {
    let (world, engine) = (World::new(), load(default_policy()));
    let first = call("a", "file.read", &json!({"path": "mail/a"}));
    let other = call("a", "file.read", &json!({"path": "mail/b"}));
    let Decision::Permit(grant) = engine.judge(&first, &world.ground()) else {
        panic!()
    };
    assert!(grant.covers(&first).is_ok());
    assert!(grant.covers(&other).is_err());
    assert_eq!(
        (grant.policy(), grant.rules()),
        (engine.digest(), &["read-files".to_owned()][..])
    );
}

#[test]
fn a_fetch_is_no_read_where_its_tool_pays() {
    let text = include_str!("../catalog/native/http.request.json");
    let pays = text.replace("[\"egress\", \"send\"]", "[\"egress\", \"send\", \"pay\"]");
    let world = World {
        mode: Mode::Live,
        ..World::new()
    };
    let asks = |definition: &str| {
        let id = Id::random().unwrap();
        let received = Timestamp::from_micros(0);
        let caller = Caller {
            agent: "a".into(),
            run: id,
            call: id,
            received,
        };
        let raw = br#"{"method":"GET","url":"https://docs.example/api/x"}"#;
        let call = admit(raw, &Arc::new(Tool::define(definition).unwrap()), caller).unwrap();
        let (verdicts, _) = rules::judge(&call, &world.ground());
        verdicts
            .iter()
            .any(|verdict| matches!(verdict.said, Said::Ask { .. }))
    };
    assert!(!asks(text));
    assert!(asks(&pays));
}

#[test]
fn another_definition_of_a_tool_is_not_judged() {
    let text = include_str!("../catalog/native/file.read.json");
    let changed = Tool::define(&text.replace("Read a file", "Read some file")).unwrap();
    let id = Id::random().unwrap();
    let received = Timestamp::from_micros(0);
    let caller = Caller {
        agent: "a".into(),
        run: id,
        call: id,
        received,
    };
    let call = admit(br#"{"path":"mail/a"}"#, &Arc::new(changed), caller).unwrap();
    let (world, engine) = (World::new(), load("permit (principal, action, resource);"));
    let explained = agree(&engine, &call, &world.ground());
    assert_eq!(explained.rule.as_deref(), Some("builtin:question"));
}

#[test]
fn an_explanation_shows_all_rules_that_speak_and_cuts_long_values() {
    let (world, engine) = (World::new(), load(demo_policy()));
    let long = call(
        "a",
        "file.write",
        &json!({"path": "out/.x", "content": "y".repeat(5000)}),
    );
    let explained = serde_json::to_value(engine.explain(&long, &world.ground())).unwrap();
    let ids: Vec<&str> = explained["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["id"].as_str())
        .collect();
    assert_eq!(ids, ["write-notes", "no-hidden-files"]);
    assert_eq!(
        explained["hint"],
        "choose a name that does not begin with a dot"
    );
    assert_eq!(
        explained["context"]["input"]["content"]
            .as_str()
            .unwrap()
            .chars()
            .count(),
        201
    );
    assert_eq!(explained["context"]["path"], ".x");
    assert!(
        explained["builtin"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["verdict"] == "pass")
    );
    // Where a built-in rule refuses, the policy's rules are shown all the same.
    let elsewhere = call("a", "file.read", &json!({"path": "nowhere/x"}));
    let explained = engine.explain(&elsewhere, &world.ground());
    assert_eq!(
        (explained.class, explained.rules.len()),
        (Some("unknown_root"), 1)
    );
}

/// Any call there could be, near the edges of what is allowed.
fn any_call() -> impl Strategy<Value = (&'static str, Value)> {
    let path = prop::sample::select(vec![
        "mail", "mail/a", "out/a", "out/.x", "no/x", "out", ".",
    ]);
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "DELETE", "CONNECT"]);
    let url = prop::sample::select(vec![
        "https://docs.example/api/x",
        "https://docs.example/",
        "http://docs.example/api",
        "https://evil.example/api",
        "https://docs.example/api/../x",
        "no url",
    ]);
    let header = prop::sample::select(vec!["Accept", "Cookie"]);
    (0..4_usize, path, method, url, header, 1..5000_i64).prop_map(
        |(tool, path, method, url, header, number)| match (tool, path) {
            (0, _) => ("file.list", json!({"path": path, "limit": number})),
            (3, _) | (_, ".") => {
                let headers = json!({header: "x"});
                (
                    "http.request",
                    json!({"method": method, "url": url, "headers": headers}),
                )
            }
            (1, _) => ("file.read", json!({"path": path, "offset": number})),
            _ => ("file.write", json!({"path": path, "content": "x"})),
        },
    )
}

fn any_world() -> impl Strategy<Value = World> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(live, one_user, unattended)| World {
        mode: if live { Mode::Live } else { Mode::Rehearse },
        one_user,
        unattended,
        ..World::new()
    })
}

/// Policies out of rules that permit, forbid, ask and fail.
fn any_policy() -> impl Strategy<Value = String> {
    let rule = prop::sample::select(vec![
        "permit (principal, action, resource);",
        "permit (principal, action, resource) when { !context.unattended };",
        "permit (principal, action in Action::\"read\", resource);",
        "permit (principal, action == Action::\"http__request\", resource);",
        "permit (principal, action, resource) when { context.mode == \"live\" };",
        "forbid (principal, action, resource) when { context.unattended };",
        "forbid (principal, action == Action::\"file__write\", resource) when { context.path like \".*\" };",
        "forbid (principal == Agent::\"b\", action, resource);",
        "forbid (principal, action == Action::\"file__read\", resource) \
         when { context.input has offset && context.input.offset * 9000000000000000 > 0 };",
    ]);
    prop::collection::vec(rule, 0..5).prop_map(|rules| rules.join("\n"))
}

/// Conditions that are true after `levels` levels, each kind of operator in a row or within another.
fn deep(levels: usize) -> [String; 5] {
    let less = levels - 1;
    [
        format!("1{} > 0", "+1".repeat(less)),
        format!(
            "context.mode == \"x\"{}",
            " || !context.unattended".repeat(less - 1)
        ),
        format!("[1].contains(1){}", "&&[1].contains(1)".repeat(less - 1)),
        format!(
            "{}true",
            "if context.unattended then false else ".repeat(levels)
        ),
        format!("1{} > 0", "*1".repeat(less)),
    ]
}

#[test]
fn what_is_let_in_can_be_evaluated() {
    let rule =
        |condition: &str| format!("permit (principal, action, resource)\nwhen {{ {condition} }};");
    let world = World::new();
    for (deepest, deeper) in deep(depth::LEVELS_MAX - 4)
        .iter()
        .zip(deep(depth::LEVELS_MAX + 2))
    {
        let engine = load(&rule(deepest));
        let answer = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(EVALUATION_STACK);
            let judge = || {
                let call = call("a", "file.read", &json!({"path": "mail/x"}));
                decided(&engine.judge(&call, &world.ground()))
            };
            thread.spawn_scoped(scope, judge).unwrap().join().unwrap()
        });
        assert!(
            matches!(answer.0, "permit" | "ask"),
            "{answer:?}: {deepest:.80}"
        );
        let error = Engine::load(&rule(&deeper), "t.cedar", catalog()).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Usage);
        assert!(
            error
                .message()
                .starts_with("t.cedar:1:1: a rule has more operators"),
            "{error}: {deeper:.80}"
        );
    }
}

#[test]
fn names_that_are_nobodys_are_told_with_their_line() {
    let engine = load(
        "@id(\"one\")\npermit (principal == Agent::\"asistant\", action in Action::\"read\", resource)\n\
         when { [\"mail\",\n \"outt\"].contains(context.root) };\n\
         @id(\"two\") permit (principal == Agent::\"clerk\", action, resource);",
    );
    let (agents, roots) = (["assistant", "clerk"], ["mail", "out"]);
    let told: Vec<_> = engine
        .unknown(Some(&agents), Some(&roots))
        .into_iter()
        .map(|warning| (warning.line, warning.rule, warning.name, warning.meant))
        .collect();
    let row = |line, name: &str, meant: &str| {
        (
            line,
            "one".to_owned(),
            name.to_owned(),
            Some(meant.to_owned()),
        )
    };
    assert_eq!(
        told,
        [row(2, "asistant", "assistant"), row(4, "outt", "out")]
    );
    assert_eq!(engine.unknown(None, Some(&roots)).len(), 1);
    assert_eq!(engine.unknown(None, None), []);
    assert_eq!(load(default_policy()).unknown(Some(&[]), Some(&[])), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn explanation_and_decision_agree((tool, arguments) in any_call(), world in any_world(), policy in any_policy()) {
        let engine = load(&policy);
        agree(&engine, &call("a", tool, &arguments), &world.ground());
    }

    #[test]
    fn no_permit_overrides_a_built_in_refusal((tool, arguments) in any_call(), world in any_world(), policy in any_policy()) {
        static ALL: OnceLock<Engine> = OnceLock::new();
        let all = ALL.get_or_init(|| load("permit (principal, action, resource);"));
        let call = call("a", tool, &arguments);
        let (most, ground) = (all.judge(&call, &world.ground()), world.ground());
        let more = format!("{policy}\npermit (principal, action, resource);");
        let decision = load(&more).judge(&call, &ground);
        let rank = |decision: &Decision| match decision {
            Decision::Permit(_) => 2,
            Decision::Ask(_) => 1,
            Decision::Forbid(_) => 0,
        };
        // What permits everything gives the most that built-in rules allow; nothing gives more.
        prop_assert!(rank(&decision) <= rank(&most));
        if let Decision::Forbid(reason) = &most {
            prop_assert!(reason.rule.starts_with("builtin:"), "{:?}", reason);
            let same = matches!(&decision, Decision::Forbid(other) if other.class == reason.class)
                || reason.class == "needs_person";
            prop_assert!(same, "{:?}", decision);
        }
    }

    #[test]
    fn no_text_upsets_the_reader(text in "[a-z@\"();/\\\\ {}=:\n\u{202e}é]{0,80}") {
        drop(Engine::load(&text, "any.cedar", catalog()));
    }
}

#[test]
fn a_policy_that_no_longer_fits_the_tools_permits_nothing() {
    let catalog = Catalog::native().unwrap();
    let gone = r#"permit (principal, action == Action::"git__status", resource);"#;
    let error = Engine::load(gone, "p.cedar", &catalog).unwrap_err();
    let engine = Engine::refusing(&error, "p.cedar", &catalog).unwrap();
    assert!(engine.trouble().unwrap().contains("git__status"));
    assert_eq!(engine.rules(), 0);
    assert_eq!(
        Engine::load("", "p.cedar", &catalog).unwrap().trouble(),
        None
    );
}

#[test]
fn tools_may_have_names_that_are_no_names_of_types() {
    let raw = |name: &str| {
        let tool = json!({"name": name, "inputSchema": {"type": "object"}});
        serde_json::value::to_raw_value(&tool).unwrap()
    };
    let tools = ["search-web", "search_web", "9"].map(|name| {
        Tool::listed(&Listed {
            connector: "x",
            manifest: "",
            raw: &raw(name),
            declared: &Declared {
                class: EffectClass::Read,
                reversibility: Reversibility::Reversible,
                ..Declared::default()
            },
            prefix: false,
        })
    });
    let beside = Tool::beside("x", "", Method::Read);
    let tools = tools.into_iter().chain([beside]).map(Result::unwrap);
    let catalog = Catalog::with(tools.collect()).unwrap();
    for wire in ["search-web", "search_web", "9", "x__resources/read"] {
        let text = format!("permit (principal, action == Action::\"{wire}\", resource);");
        Engine::load(&text, "test.cedar", &catalog).unwrap();
    }
}

#[test]
fn high_value_wants_a_person_wherever_a_server_would_be_asked() {
    let raw = |name: &str| {
        let properties = json!({"amount": {"type": "number"}, "to": {"type": "string"}});
        let schema = json!({"type": "object", "properties": properties});
        serde_json::value::to_raw_value(&json!({"name": name, "inputSchema": schema})).unwrap()
    };
    let tool = |name: &str, class, dry_run| {
        Tool::listed(&Listed {
            connector: "x",
            manifest: "",
            raw: &raw(name),
            declared: &Declared {
                class,
                reversibility: Reversibility::Reversible,
                dry_run,
                high_value: Some(HighValue::Above {
                    parameter: "amount".into(),
                    above: 10,
                }),
                ..Declared::default()
            },
            prefix: true,
        })
        .unwrap()
    };
    let dry = DryRun::Tool("look".into());
    let tools = vec![
        tool("pay", EffectClass::Send, DryRun::None),
        tool("try", EffectClass::Send, dry),
        tool("look", EffectClass::Read, DryRun::None),
    ];
    let catalog = Catalog::with(tools).unwrap();
    let rules = "permit (principal, action, resource);\n\
                 forbid (principal, action == Action::\"x__look\", resource) \
                 when { context.targets.contains(\"eve\") };";
    let engine = Engine::load(rules, "test.cedar", &catalog).unwrap();
    let mut world = World::new();
    let mut told = |tool: &str, mode, arguments: Value| {
        let id = Id::random().unwrap();
        let caller = Caller {
            agent: "a".into(),
            run: id,
            call: id,
            received: Timestamp::from_micros(0),
        };
        let raw = arguments.to_string();
        let call = admit(raw.as_bytes(), catalog.tool(tool).unwrap(), caller).unwrap();
        world.mode = mode;
        match engine.judge(&call, &world.ground()) {
            Decision::Permit(_) => "permit".to_owned(),
            Decision::Ask(pending) => {
                assert_eq!(pending.rules().last().unwrap(), "builtin:high-value");
                pending.why().join("; ")
            }
            Decision::Forbid(reason) => reason.rule,
        }
    };
    let high = "`amount` is above 10";
    for (tool, rehearsal) in [("x.pay", "permit"), ("x.try", high), ("x.look", high)] {
        assert_eq!(
            told(tool, Mode::Live, json!({"amount": 11})),
            high,
            "{tool}"
        );
        assert_eq!(
            told(tool, Mode::Rehearse, json!({"amount": 11})),
            rehearsal,
            "{tool}"
        );
        assert_eq!(
            told(tool, Mode::Live, json!({"amount": 10})),
            "permit",
            "{tool}"
        );
    }
    // What nobody declared to be anything else decides what is reached.
    let eve = json!({"amount": 1, "to": "eve"});
    assert_eq!(told("x.look", Mode::Live, eve), "policy1");
}
