//! Killed at random points under load, again and again: what was acknowledged is in the log, no
//! effect is without its intent, and the log verifies.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Appliance, Session};

/// Rounds; 100 where nothing else is said.
fn rounds() -> u32 {
    std::env::var("KEEPGATE_CRASH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100)
}

/// Writes numbered files until the connection ends; notes every acknowledged request id.
fn load(
    mut session: Session,
    name: String,
    acknowledged: &Mutex<HashSet<String>>,
    stop: &AtomicBool,
) {
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "load", "version": "0"}});
    if session.try_request("initialize", hello).is_none() {
        return;
    }
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let path = format!("out/{name}-{number}");
        let call = json!({"name": "file__write", "arguments": {"path": path, "content": path}});
        let Some(answer) = session.try_request("tools/call", call) else {
            return;
        };
        if answer["result"]["isError"] == false {
            let request = answer["result"]["_meta"]["keepgate/request"]
                .as_str()
                .unwrap();
            acknowledged.lock().unwrap().insert(request.to_owned());
        }
    }
}

fn calls(appliance: &Appliance, kind: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = 0_u64;
    loop {
        let text = after.to_string();
        let page = appliance.must(&[
            "log", "query", "--kind", kind, "--after", &text, "--limit", "1000",
        ]);
        let entries = page["entries"].as_array().unwrap().clone();
        let Some(last) = entries.last() else {
            return all;
        };
        after = last["seq"].as_u64().unwrap();
        all.extend(entries);
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_no_effect_is_without_intent() {
    let mut appliance = Appliance::start(
        "[planes.production.quota]\nagent_calls_per_minute = 1000000\nplane_calls_per_minute = 1000000\n",
    );
    appliance.enrol("a");
    appliance.must(&["mode", "live"]);
    let acknowledged = Arc::new(Mutex::new(HashSet::new()));
    let mut seed = 0x9e37_79b9_u64;
    for round in 0..rounds() {
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let session = appliance.connect("a");
                let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
                let name = format!("{round}-{worker}");
                std::thread::spawn(move || load(session, name, &acknowledged, &stop))
            })
            .collect();
        // A pause of random length is the point: the kill has to fall anywhere.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        std::thread::park_timeout(Duration::from_millis(20 + (seed >> 33) % 180));
        if round % 2 == 0 {
            appliance.kill();
        } else {
            let keeper = nix::unistd::Pid::from_raw(appliance.role("keeper"));
            nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        stop.store(true, Ordering::SeqCst);
        for worker in workers {
            worker.join().unwrap();
        }
        if round % 2 == 0 {
            appliance.serve();
        } else {
            appliance.ready();
        }
    }
    let done = appliance.cli(&["log", "verify"]);
    assert!(done.status.success(), "{done:?}");
    let outcomes: HashSet<String> = calls(&appliance, "call.outcome")
        .iter()
        .filter_map(|entry| entry["body"]["call"].as_str().map(ToOwned::to_owned))
        .collect();
    let intents = calls(&appliance, "call.intent");
    let acknowledged = acknowledged.lock().unwrap();
    assert!(
        acknowledged.len() > usize::try_from(rounds()).unwrap() / 2,
        "the load was no load: {}",
        acknowledged.len()
    );
    let lost: Vec<_> = acknowledged.difference(&outcomes).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let intended: HashSet<String> = intents
        .iter()
        .filter_map(|entry| {
            entry["body"]["undo"]["file"]["path"]
                .as_str()
                .map(ToOwned::to_owned)
        })
        .collect();
    for entry in std::fs::read_dir(appliance.path("out")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with('.') {
            assert!(
                intended.contains(&name),
                "`{name}` was written without an intent"
            );
        }
    }
}
