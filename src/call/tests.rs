//! What the agent is told about arguments that are no call.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::id::Id;
use super::{Call, Caller, Unfit, admit};
use crate::catalog::Catalog;
use crate::time::Timestamp;
use crate::wire::messages::ARGUMENTS_MAX;

const SCREENS: &str = include_str!("../../tests/vectors/policy/arguments.json");

fn try_call(tool: &str, raw: &[u8]) -> Result<Call, Unfit> {
    let catalog = Catalog::native().unwrap();
    let id = || Id::random().unwrap();
    let received = Timestamp::from_micros(7);
    let caller = Caller {
        agent: "a".into(),
        run: id(),
        call: id(),
        received,
    };
    admit(raw, catalog.tool(tool).unwrap(), caller)
}

#[test]
fn every_mistake_is_named() {
    let screens: Vec<Value> = serde_json::from_str(SCREENS).unwrap();
    for screen in screens {
        let raw = screen["raw"].as_str().unwrap();
        let told = match try_call(screen["tool"].as_str().unwrap(), raw.as_bytes()) {
            Ok(_) => json!({}),
            Err(Unfit {
                class,
                argument: None,
                say,
            }) => json!({"class": class, "say": say}),
            Err(Unfit {
                class,
                argument,
                say,
            }) => {
                json!({"class": class, "argument": argument, "say": say})
            }
        };
        let mut wanted = screen.clone();
        wanted
            .as_object_mut()
            .unwrap()
            .retain(|key, _| key != "tool" && key != "raw");
        assert_eq!(told, wanted, "{raw}");
    }
}

#[test]
fn a_call_is_its_canonical_bytes_and_its_tool() {
    let spaced = try_call("file.read", br#" { "path" : "mail/a", "limit": 1e1 } "#).unwrap();
    let plain = try_call("file__read", br#"{"limit":10,"path":"mail/a"}"#).unwrap();
    assert_eq!(spaced.canonical(), br#"{"limit":10,"path":"mail/a"}"#);
    assert_eq!(spaced.digest(), plain.digest());
    let other = try_call("file.list", br#"{"limit":10,"path":"mail/a"}"#).unwrap();
    assert_ne!(other.digest(), plain.digest());
    assert_eq!((plain.agent(), plain.received().as_micros()), ("a", 7));
}

#[test]
fn limits_hold_before_anything_is_read() {
    let long = vec![b' '; ARGUMENTS_MAX + 1];
    assert_eq!(try_call("file.read", &long).unwrap_err().class, "too_large");
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert_eq!(
        try_call("file.read", &deep).unwrap_err().class,
        "bad_argument"
    );
    let path = format!("{{\"path\":\"mail/{}\"}}", "x".repeat(10_000));
    let unfit = try_call("file.read", path.as_bytes()).unwrap_err();
    assert_eq!(unfit.say, "expected at most 4096 characters");
    let wide = format!("{{\"path\":\"mail/{}\"}}", "ä".repeat(4000));
    let unfit = try_call("file.read", wide.as_bytes()).unwrap_err();
    assert_eq!(unfit.say, "the path is longer than 4096 bytes");
}

#[test]
fn a_value_is_told_to_nobody() {
    let raw = br#"{"path":"mail/a","offset":"s3cret-value"}"#;
    let unfit = try_call("file.read", raw).unwrap_err();
    assert!(!format!("{unfit:?}").contains("s3cret"), "{unfit:?}");
    let call = try_call(
        "file.write",
        br#"{"path":"out/a","content":"s3cret-value"}"#,
    )
    .unwrap();
    assert!(!format!("{call:?}").contains("s3cret"), "{call:?}");
}

proptest! {
    #[test]
    fn no_bytes_upset_it_and_what_passes_passes_again(raw: Vec<u8>, text in ".{0,40}", n: i64) {
        let catalog = Catalog::native().unwrap();
        let id = Id::random().unwrap();
        let caller =
            || Caller { agent: "a".into(), run: id, call: id, received: Timestamp::from_micros(0) };
        let shaped = json!({"path": text, "limit": n, "method": text, "url": text}).to_string();
        let plain = json!({"path": text, "content": text}).to_string();
        for raw in [raw.as_slice(), shaped.as_bytes(), plain.as_bytes()] {
            for tool in catalog.tools() {
                match admit(raw, &Arc::clone(tool), caller()) {
                    Ok(call) => {
                        let again = admit(call.canonical(), tool, caller()).unwrap();
                        prop_assert_eq!(again.digest(), call.digest());
                    }
                    Err(unfit) => {
                        prop_assert!(unfit.say.chars().all(|c| (' '..='~').contains(&c) || c == '…'));
                        prop_assert!(unfit.say.len() < 700);
                    }
                }
            }
        }
    }
}

mod listed {
    use serde_json::value::RawValue;

    use super::super::declared::Declared;
    use super::super::tool::{EffectClass, Reversibility, Tool};
    use super::super::{Call, Caller, Listed, Unfit, admit};
    use super::*;

    const RAW: &str = r#"{"name":"echo", "icons":[{"src":"x"}],"inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]},"x-new":1.0}"#;

    fn tool(raw: &str, prefix: bool, class: EffectClass) -> crate::error::Result<Tool> {
        let raw = RawValue::from_string(raw.into()).unwrap();
        Tool::listed(&Listed {
            connector: "fx",
            manifest: "00",
            raw: &raw,
            declared: &Declared {
                class,
                reversibility: Reversibility::Reversible,
                ..Declared::default()
            },
            prefix,
        })
    }

    fn call(tool: &Tool, raw: &[u8]) -> Result<(), Unfit> {
        let validator = tool.validator();
        let value: Value = serde_json::from_slice(raw).unwrap();
        match validator.iter_errors(&value).next() {
            None => Ok(()),
            Some(error) => Err(Unfit::schema(&error)),
        }
    }

    #[test]
    fn a_servers_tool_keeps_its_bytes_but_for_its_name() {
        let named = tool(RAW, true, EffectClass::Read).unwrap();
        assert_eq!((named.name(), named.wire()), ("fx.echo", "fx__echo"));
        let expected = RAW.replace(r#""name":"echo", "#, r#""name":"fx__echo","#);
        assert_eq!(named.listing().get(), expected);
        let alone = tool(RAW, false, EffectClass::Read).unwrap();
        assert_eq!((alone.name(), alone.wire()), ("fx.echo", "echo"));
        let upstream = alone.upstream().unwrap();
        assert_eq!((&*upstream.connector, &*upstream.tool), ("fx", "echo"));
        // Unknown arguments are its server's to judge; a missing one is refused here already.
        assert!(call(&named, br#"{"text":"a","more":1}"#).is_ok());
        assert!(call(&named, b"{}").is_err());
    }

    #[test]
    fn every_change_of_what_is_listed_or_declared_is_another_pin() {
        let of = |raw: &str, prefix, class| *tool(raw, prefix, class).unwrap().digest();
        let before = of(RAW, true, EffectClass::Read);
        assert_eq!(of(&RAW.replace(", ", ","), true, EffectClass::Read), before);
        assert_ne!(of(RAW, false, EffectClass::Read), before);
        assert_ne!(of(RAW, true, EffectClass::Write), before);
        for (from, to) in [
            ("x-new", "x-old"),
            ("1.0", "1.5"),
            ("src", "scr"),
            ("string", "number"),
        ] {
            assert_ne!(
                of(&RAW.replace(from, to), true, EffectClass::Read),
                before,
                "{from}"
            );
        }
    }

    #[test]
    fn what_is_no_tool_or_reaches_elsewhere_is_refused() {
        for (from, to) in [
            (r#""name":"echo","#, ""),
            ("echo", "a b"),
            ("echo", &"x".repeat(70)),
            ("echo", ""),
            (r#"{"type":"object""#, r#"{"type":"array""#),
            (
                r#"{"type":"string"}"#,
                r#"{"$ref":"https://schemas.example/x"}"#,
            ),
            (
                r#"{"type":"string"}"#,
                r#"{"type":"string","pattern":"(?=x)"}"#,
            ),
        ] {
            assert!(RAW.contains(from), "{from}");
            assert!(
                tool(&RAW.replacen(from, to, 1), true, EffectClass::Read).is_err(),
                "{to}"
            );
        }
    }

    #[test]
    fn a_call_of_it_is_admitted_as_any_other() {
        let tool = Arc::new(tool(RAW, true, EffectClass::Read).unwrap());
        let caller = || Caller {
            agent: "a".into(),
            run: Id::random().unwrap(),
            call: Id::random().unwrap(),
            received: Timestamp::from_micros(7),
        };
        let made: Result<Call, Unfit> = admit(br#"{ "text" : "x" }"#, &tool, caller());
        assert_eq!(made.unwrap().canonical(), br#"{"text":"x"}"#);
        assert!(admit(br#"{"text":"x","text":"y"}"#, &tool, caller()).is_err());
    }
}
