use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::call::Listed;
use crate::call::declared::Declared;
use crate::call::tool::{EffectClass, Reversibility};

fn tool(name: &str) -> Tool {
    let raw = json!({"name": name, "inputSchema": {"type": "object"}}).to_string();
    let raw = RawValue::from_string(raw).unwrap();
    Tool::listed(&Listed {
        connector: "git",
        manifest: "m",
        raw: &raw,
        declared: &Declared {
            class: EffectClass::Write,
            reversibility: Reversibility::Mitigable,
            ..Declared::default()
        },
        prefix: true,
    })
    .unwrap()
}

fn at(seconds: i64) -> Now {
    let micros = seconds * 1_000_000;
    Now {
        boot: Timestamp::from_micros(micros),
        wall: Timestamp::from_micros(micros),
    }
}

fn rules() -> Rules {
    let push = Rates {
        calls_per_minute: Some(2),
        calls_per_day: Some(3),
    };
    Rules {
        connectors: [("git".to_owned(), 5)].into(),
        tools: [("git.push".to_owned(), push)].into(),
        ..Rules::default()
    }
}

#[test]
fn a_tool_has_its_minute_and_its_day_beside_its_connectors() {
    let limits = Limits::new(rules(), BTreeMap::new());
    let (push, log) = (tool("push"), tool("log"));
    let run = Id::random().unwrap();
    let take = |tool: &Tool, now: i64| limits.take("a", tool, run, at(now));
    take(&push, 0).unwrap();
    take(&push, 0).unwrap();
    let over = take(&push, 0).unwrap_err();
    assert_eq!(over.which, Which::ToolCallsPerMinute);
    assert_eq!((over.limit, over.retry_after), (2, Duration::from_secs(30)));
    // What was refused took nothing of the connector's.
    for _ in 0..3 {
        take(&log, 0).unwrap();
    }
    let over = take(&log, 0).unwrap_err();
    assert_eq!(over.which, Which::ConnectorCallsPerMinute);
    // Another agent has its own.
    limits
        .take("b", &push, Id::random().unwrap(), at(0))
        .unwrap();
    take(&push, 60).unwrap();
    let over = take(&push, 120).unwrap_err();
    assert_eq!(over.which, Which::ToolCallsPerDay);
    assert_eq!(over.retry_after, Duration::from_secs(86_400 - 120));
    take(&push, 86_400).unwrap();
}

#[test]
fn a_run_has_its_calls_writes_and_results() {
    let run = RunLimits {
        calls: Some(3),
        writes: Some(1),
        result_bytes: None,
    };
    let own = RunLimits {
        result_bytes: Some(10),
        ..RunLimits::default()
    };
    let rules = Rules {
        run,
        agents: [("b".to_owned(), own)].into(),
        ..Rules::default()
    };
    let limits = Limits::new(rules, BTreeMap::new());
    let (push, run) = (tool("push"), Id::random().unwrap());
    limits.take("a", &push, run, at(0)).unwrap();
    limits.take_write("a", &push, run).unwrap();
    limits.take("a", &push, run, at(0)).unwrap();
    // It is no call of the run then, nor of the day.
    let over = limits.take_write("a", &push, run).unwrap_err();
    assert_eq!(over.which, Which::RunWrites);
    limits.take("a", &push, run, at(0)).unwrap();
    limits.take("a", &push, run, at(0)).unwrap();
    let over = limits.take("a", &push, run, at(0)).unwrap_err();
    assert_eq!(over.which, Which::RunCalls);
    assert_eq!(over.retry_after, Duration::from_secs(30 * 60));
    let next = Id::random().unwrap();
    limits.take("a", &push, next, at(0)).unwrap();
    limits.take_write("a", &push, next).unwrap();

    limits.take("b", &push, run, at(0)).unwrap();
    limits.gave("b", 9);
    limits.take("b", &push, run, at(0)).unwrap();
    limits.gave("b", 9);
    let over = limits.take("b", &push, run, at(0)).unwrap_err();
    assert_eq!(over.which, Which::RunResultBytes);
    let status = limits.status(at(0));
    let told = |which: &str| {
        let of = |one: &&Value| one["agent"] == "b" && one["which"] == which;
        status.as_array().unwrap().iter().find(of).cloned().unwrap()
    };
    assert_eq!(told("run_result_bytes")["used"], 18);
    assert_eq!(told("run_calls")["limit"], 3);
}

#[test]
fn what_is_refused_is_told_once_a_minute_with_how_often() {
    let limits = Limits::new(rules(), BTreeMap::new());
    let (push, run) = (tool("push"), Id::random().unwrap());
    let mut told = Vec::new();
    for second in [0, 0, 0, 0, 0, 1, 2, 62] {
        drop(limits.take("a", &push, run, at(second)));
        told.extend(limits.met("a", at(second)));
    }
    let refused: Vec<u64> = told.iter().map(|met| met.refused).collect();
    assert_eq!(refused, [1, 4]);
    assert!(
        told.iter()
            .all(|met| met.which == Which::ToolCallsPerMinute && met.of == "git.push")
    );
}

#[test]
fn what_the_log_tells_was_used_stays_used() {
    let run = Id::random().unwrap();
    let mut used = Used::default();
    for _ in 0..3 {
        used.called(run, "git.push", at(5).wall);
    }
    let limits = Limits::new(rules(), [("a".to_owned(), used)].into());
    let over = limits.take("a", &tool("push"), run, at(9)).unwrap_err();
    assert_eq!(over.which, Which::ToolCallsPerDay);
    limits.forget("a");
    limits.take("a", &tool("push"), run, at(9)).unwrap();
}

proptest! {
    /// Whatever is asked when: no more passes than a day and the minutes allow, and what is refused
    /// says when it is free.
    #[test]
    fn no_order_of_calls_gets_more_than_the_limits(
        steps in prop::collection::vec((0_i64..40, any::<bool>()), 1..120)
    ) {
        let limits = Limits::new(rules(), BTreeMap::new());
        let (push, log, run) = (tool("push"), tool("log"), Id::random().unwrap());
        let (mut now, mut pushed, mut all) = (0, 0_u64, 0_u64);
        for (wait, pushes) in steps {
            now += wait;
            let tool = if pushes { &push } else { &log };
            match limits.take("a", tool, run, at(now)) {
                Ok(()) => {
                    all += 1;
                    pushed += u64::from(pushes);
                }
                Err(over) => {
                    prop_assert!(over.retry_after > Duration::ZERO);
                    let later = now + i64::try_from(over.retry_after.as_secs()).unwrap() + 1;
                    prop_assert!(limits.take("a", tool, run, at(later)).is_ok());
                    return Ok(());
                }
            }
            let minutes = u64::try_from(now).unwrap() / 60 + 1;
            prop_assert!(pushed <= 3);
            prop_assert!(all <= 5 + 5 * minutes);
        }
    }
}
