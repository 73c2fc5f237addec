//! The whole appliance in a cgroup that was left to it, as a unit with `Delegate=` is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use keepgate::jail::NO_CGROUPS;
use keepgate::jail::cgroup::{LEAVES_MAX, UNIT};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Appliance, Cgroup, eventually};

/// The cgroup2 path of a process.
fn cgroup(pid: i32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = text.lines().find_map(|line| line.strip_prefix("0::"));
    own.unwrap_or_else(|| panic!("no cgroup2: {text}"))
        .to_owned()
}

fn limiting(appliance: &Appliance) -> Value {
    let status = appliance.json(&["status"]);
    status["planes"]["production"]["jailer"]["self_test"]["limiting"].clone()
}

#[test]
fn a_delegated_cgroup_is_divided_used_and_given_back() {
    let Some(group) = Cgroup::new() else {
        return;
    };
    let mut appliance = Appliance::init("");
    appliance.serve_in(&group);
    let how = limiting(&appliance);
    assert_eq!(how["kill"], true, "{how}");
    assert_eq!(group.children(), ["plane-production", "supervisor"]);
    let jailer = appliance.role("jailer");
    assert!(cgroup(jailer).ends_with("/plane-production/jailer"));
    for role in ["keeper", "front", "egress"] {
        let own = cgroup(appliance.role(role));
        assert!(own.ends_with("/supervisor"), "{role}: {own}");
    }
    // The jailer may make leaves there and set nothing of the plane's own.
    let plane = group.path().join("plane-production");
    let owner = |file: &str| fs::metadata(plane.join(file)).unwrap().uid();
    assert_ne!(owner("cgroup.procs"), 0);
    assert_eq!(owner("cgroup.procs"), owner("."));
    for file in [
        "cgroup.kill",
        "cgroup.subtree_control",
        "cgroup.max.descendants",
    ] {
        assert_eq!(owner(file), 0, "{file}");
    }
    appliance.enrol("a");
    let mut session = appliance.session("a");
    let read = |session: &mut crate::harness::Session| {
        let read = session.works("file__read", json!({"path": "mail/hello.txt"}));
        assert_eq!(read["text"], "hello from the mailbox\n");
    };
    read(&mut session);
    // An ended jailer takes everything of its plane with it; the next one starts afresh.
    let marker = plane.join("jail-99");
    fs::create_dir(&marker).unwrap();
    kill(Pid::from_raw(jailer), Signal::SIGKILL).unwrap();
    eventually("another jailer", || {
        appliance.serving() && appliance.role("jailer") != jailer
    });
    assert!(!marker.exists());
    assert_eq!(limiting(&appliance), how);
    read(&mut session);
    appliance.stop();
    assert_eq!(group.children(), [""; 0]);
    // And again in the same cgroup.
    appliance.serve_in(&group);
    assert_eq!(limiting(&appliance), how);
    // Killed, it leaves its cgroups to the next one.
    appliance.kill();
    assert_eq!(group.children(), ["plane-production", "supervisor"]);
    appliance.serve_in(&group);
    assert_eq!(limiting(&appliance), how);
    appliance.stop();
    assert_eq!(group.children(), ["supervisor"]);
}

#[test]
fn a_jailers_subtree_has_an_end() {
    let Some(group) = Cgroup::new() else {
        return;
    };
    let mut appliance = Appliance::init("");
    appliance.serve_in(&group);
    let plane = group.path().join("plane-production");
    let leaf = |number: usize| fs::create_dir(plane.join(format!("more-{number}")));
    let made = (0..1000).take_while(|number| leaf(*number).is_ok()).count();
    let most = LEAVES_MAX + 1;
    assert!((most - 16..=most).contains(&made), "{made} of {most}");
    for number in 0..made {
        fs::remove_dir(plane.join(format!("more-{number}"))).unwrap();
    }
    leaf(0).unwrap();
    assert!(fs::create_dir(plane.join("more-0/deeper")).is_err());
    appliance.stop();
    assert_eq!(group.children(), [""; 0]);
}

#[test]
fn the_unit_has_what_the_doctor_asks_for() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(base.join(file)).unwrap();
    let delegate = UNIT.split('`').nth(1).unwrap();
    assert!(delegate.starts_with("Delegate="), "{UNIT}");
    let unit = read("systemd/keepgate.service");
    assert!(unit.lines().any(|line| line == delegate), "{unit}");
    assert!(UNIT.contains("systemd/keepgate.service"));
    assert!(read("README.md").contains("systemd/keepgate.service"));
}

#[test]
fn a_cgroup_of_others_is_not_touched_and_the_lack_is_named_with_its_reason() {
    // The tests' own cgroup: other processes are in it, or it is the top one.
    let mut appliance = Appliance::init("");
    let path = appliance.path("keepgate.toml");
    let config = fs::read_to_string(&path).unwrap();
    let accept = format!("accept = [\"{NO_CGROUPS}\"]\n");
    assert!(config.contains(&accept), "{config}");
    fs::write(&path, config.replacen(&accept, "", 1)).unwrap();
    appliance.begin();
    let fit = |status: &Value| status["planes"]["production"]["jailer"]["fit"].clone();
    eventually("it refuses to serve", || {
        fit(&appliance.json(&["status"])) == false
    });
    let status = appliance.json(&["status"]);
    let plane = &status["planes"]["production"];
    assert_eq!(plane["serving"], false, "{plane}");
    assert_eq!(plane["degraded"], json!([NO_CGROUPS]));
    assert_eq!(plane["missing"], json!([NO_CGROUPS]));
    appliance.enrol("a");
    let refused = appliance
        .session("a")
        .call("file__read", json!({"path": "mail/hello.txt"}));
    assert_eq!(refused["isError"], true, "{refused}");
    assert!(appliance.entries("call.intent").is_empty());
    let how = limiting(&appliance);
    assert_eq!(how["kill"], false, "{how}");
    let why = how["why"].as_str().unwrap();
    let reasons = ["top cgroup", "not delegated", "no cgroup2"];
    assert!(reasons.iter().any(|reason| why.contains(reason)), "{why}");
    let screen = String::from_utf8(appliance.cli(&["status"]).stdout).unwrap();
    assert!(screen.contains(why), "{screen}");
    let doctor = appliance.json(&["doctor"]);
    let checks = doctor["checks"].as_array().unwrap();
    let check = checks
        .iter()
        .find(|check| check["id"] == "run.production.limits");
    let check = check.unwrap_or_else(|| panic!("{doctor}"));
    assert_eq!(check["verdict"], "warn", "{check}");
    assert!(check["found"].as_str().unwrap().contains(why), "{check}");
    assert_eq!(check["mend"], how["mend"], "{check}");
}

#[test]
fn an_accepted_lack_is_not_missing() {
    let appliance = Appliance::start("");
    let plane = &appliance.json(&["status"])["planes"]["production"];
    assert_eq!(plane["degraded"], json!([NO_CGROUPS]));
    assert_eq!(plane["missing"], json!([]));
    // And each call is on record with it.
    appliance.enrol("a");
    let mut session = appliance.session("a");
    session.works("file__read", json!({"path": "mail/hello.txt"}));
    let intent = &appliance.entries("call.intent")[0]["body"];
    assert_eq!(intent["degraded"], json!([NO_CGROUPS]), "{intent}");
    let doctor = appliance.json(&["doctor"]);
    let checks = doctor["checks"].as_array().unwrap();
    for id in ["host.cgroup", "run.production.limits"] {
        let check = checks.iter().find(|check| check["id"] == id).unwrap();
        assert_eq!(check["verdict"], "ok", "{check}");
    }
}
