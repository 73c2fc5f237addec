//! The manual names tests; each of them has to exist and to be a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use keepgate::manual::attacks::{ATTACKS, Stage};
use serde_json::Value;

use crate::harness::{AGENT, Appliance, binary};

/// Files in which the tests of `modules` can stand: a module's own file, or, for a module written
/// within another, that one's.
fn candidates(modules: &[&str]) -> Vec<PathBuf> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (base, modules) = match modules {
        ["it", rest @ ..] => (base.join("tests/it"), rest),
        _ => (base.join("src"), modules),
    };
    let file = |modules: &[&str]| {
        let path = modules
            .iter()
            .fold(base.clone(), |path, module| path.join(module));
        [path.with_extension("rs"), path.join("mod.rs")]
    };
    let mut all = Vec::from(file(modules));
    if let Some((&"tests", outer)) = modules.split_last() {
        all.extend(file(outer));
    }
    all
}

/// Whether the text holds a function of that name with a test's attribute above it.
fn holds(text: &str, name: &str) -> bool {
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            marked |= line == "#[test]" || line.starts_with("#[tokio::test");
        } else if let Some(rest) = line.strip_prefix("fn ").or(line.strip_prefix("async fn ")) {
            if marked
                && rest
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('('))
            {
                return true;
            }
            marked = false;
        } else if !line.is_empty() && !line.starts_with("//") {
            marked = false;
        }
    }
    false
}

fn exists(test: &str) -> bool {
    let mut modules: Vec<&str> = test.split("::").collect();
    let Some(name) = modules.pop() else {
        return false;
    };
    candidates(&modules)
        .iter()
        .any(|path| fs::read_to_string(path).is_ok_and(|text| holds(&text, name)))
}

/// Names in the text that look like tests: `module::name`.
fn named(text: &str) -> BTreeSet<&str> {
    let odd = text.split('`').skip(1).step_by(2);
    odd.filter(|name| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':';
        name.contains("::") && name.chars().all(plain)
    })
    .collect()
}

#[test]
fn every_test_that_the_attacks_name_exists() {
    let missing: Vec<_> = ATTACKS
        .iter()
        .flat_map(|attack| attack.tests.iter().map(|test| (attack.name, *test)))
        .filter(|(_, test)| !exists(test))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_attack_is_told_once_and_shown() {
    let names: BTreeSet<_> = ATTACKS.iter().map(|attack| attack.name).collect();
    assert_eq!(names.len(), ATTACKS.len());
    for attack in ATTACKS {
        assert!(
            !attack.what.is_empty() && !attack.tests.is_empty(),
            "{}",
            attack.name
        );
    }
}

#[test]
fn every_promise_has_a_number_and_a_test_that_exists() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/promises.rs");
    let text = fs::read_to_string(path).unwrap().replace("//!", "");
    let mut promises = 0;
    for (place, _) in text.match_indices("**").step_by(2) {
        promises += 1;
        let promise = text
            .get(place..)
            .unwrap_or_default()
            .trim_start_matches('*');
        assert!(
            promise.starts_with(&format!("{promises}. ")),
            "promise {promises}"
        );
        let own = promise.split("\n\n").next().unwrap();
        let tests = named(own);
        assert!(!tests.is_empty(), "promise {promises} is not shown");
        let missing: Vec<_> = tests.iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "promise {promises}: {missing:?}");
    }
    assert!(promises >= 20, "{promises}");
}

/// Words like `fs_mount` between `quote`s: names of probes.
fn probes(text: &str, quote: char) -> BTreeSet<&str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '*';
    let odd = text.split(quote).skip(1).step_by(2);
    odd.filter(|word| word.len() > 3 && word.chars().all(plain))
        .collect()
}

#[test]
fn every_probe_belongs_to_a_known_attack() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = String::new();
    for directory in ["src/sys/probe", "src/jail/probe"] {
        for file in fs::read_dir(base.join(directory)).unwrap() {
            source += &fs::read_to_string(file.unwrap().path()).unwrap();
        }
    }
    // Controls are what is allowed, and environment variables are no probes.
    let probe = |name: &&str| name.contains('_') && !name.starts_with("ctl_");
    let variable = |name: &&str| name.ends_with("_proxy");
    let tried: BTreeSet<_> = probes(&source, '"')
        .into_iter()
        .filter(|name| probe(name) && !variable(name))
        .collect();
    assert!(tried.len() > 300, "{tried:?}");
    let jail = ATTACKS.iter().filter(|attack| attack.stage == Stage::Jail);
    let told: BTreeSet<_> = jail.flat_map(|attack| probes(attack.what, '`')).collect();
    let fits = |told: &str, name: &str| match told.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == told,
    };
    let untold: Vec<_> = tried
        .iter()
        .filter(|name| !told.iter().any(|t| fits(t, name)))
        .collect();
    assert!(untold.is_empty(), "probes of no known attack: {untold:?}");
    let source = source + &fs::read_to_string(base.join("src/jailer/self_test.rs")).unwrap();
    let tried = probes(&source, '"');
    let untried: Vec<_> = told
        .iter()
        .filter(|t| !tried.iter().any(|name| fits(t, name)))
        .collect();
    assert!(untried.is_empty(), "told and not tried: {untried:?}");
}

#[test]
fn a_real_jail_lets_nothing_through() {
    let appliance = Appliance::start("");
    let status = appliance.json(&["status"]);
    let jailer = &status["planes"]["production"]["jailer"];
    assert_eq!(jailer["fit"], true, "{jailer}");
    assert_eq!(
        jailer["self_test"]["succeeded"],
        Value::Array(Vec::new()),
        "{jailer}"
    );
    assert!(
        jailer["self_test"]["attempted"].as_u64().unwrap() > 100,
        "{jailer}"
    );
}

#[test]
fn without_a_jail_the_probe_gets_through() {
    let done = Command::new(binary())
        .arg0("keepgate-tool")
        .arg("self-test")
        .stdin(Stdio::null())
        .uid(AGENT)
        .gid(AGENT)
        .output()
        .unwrap();
    assert!(!done.status.success(), "{done:?}");
    let findings: Value = serde_json::from_slice(&done.stdout).unwrap();
    let through: BTreeSet<_> = findings["succeeded"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for name in [
        "fs_read_passwd",
        "fs_list_root",
        "net_tcp4",
        "net_udp",
        "unix_stream",
        "mem_exec",
    ] {
        assert!(
            through.contains(name),
            "`{name}` should get through without a jail: {through:?}"
        );
    }
    assert!(through.len() > 20, "{through:?}");
}

#[test]
fn a_made_up_test_is_missed() {
    assert!(exists("it::manual::a_made_up_test_is_missed"));
    assert!(!exists("it::manual::a_test_that_nobody_wrote"));
    assert!(!exists("it::manual::exists"), "a function is no test");
    assert!(!exists("it::nowhere::a_made_up_test_is_missed"));
    assert!(!exists("it::manual::a_made_up"));
    assert!(!exists(""));
    assert_eq!(
        named("`a::b` and a::c `D::e` `f` `g::h`"),
        BTreeSet::from(["a::b", "g::h"])
    );
}
