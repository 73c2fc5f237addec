//! The manual names tests; each of them has to exist and to be a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use keepgate::manual::attacks::ATTACKS;

/// Files in which the tests of `modules` can stand: a module's own file, or, for a module written
/// within another, that one's.
fn candidates(modules: &[&str]) -> Vec<PathBuf> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (base, modules) = match modules {
        ["it", rest @ ..] => (base.join("tests/it"), rest),
        _ => (base.join("src"), modules),
    };
    let file = |modules: &[&str]| {
        let path = modules.iter().fold(base.clone(), |path, module| path.join(module));
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
            if marked && rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')) {
                return true;
            }
            marked = false;
        } else if !line.starts_with("//") {
            marked = false;
        }
    }
    false
}

fn exists(test: &str) -> bool {
    let mut modules: Vec<&str> = test.split("::").collect();
    let Some(name) = modules.pop() else { return false };
    candidates(&modules).iter().any(|path| fs::read_to_string(path).is_ok_and(|text| holds(&text, name)))
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
        assert!(!attack.what.is_empty() && !attack.tests.is_empty(), "{}", attack.name);
    }
}

#[test]
fn every_promise_has_a_number_and_a_test_that_exists() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/promises.rs");
    let text = fs::read_to_string(path).unwrap().replace("//!", "");
    let mut promises = 0;
    for (place, _) in text.match_indices("**").step_by(2) {
        promises += 1;
        let promise = text.get(place..).unwrap_or_default().trim_start_matches('*');
        assert!(promise.starts_with(&format!("{promises}. ")), "promise {promises}");
        let own = promise.split("\n\n").next().unwrap();
        let tests = named(own);
        assert!(!tests.is_empty(), "promise {promises} is not shown");
        let missing: Vec<_> = tests.iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "promise {promises}: {missing:?}");
    }
    assert!(promises >= 20, "{promises}");
}

#[test]
fn a_made_up_test_is_missed() {
    assert!(exists("it::manual::a_made_up_test_is_missed"));
    assert!(!exists("it::manual::a_test_that_nobody_wrote"));
    assert!(!exists("it::manual::exists"), "a function is no test");
    assert!(!exists("it::nowhere::a_made_up_test_is_missed"));
    assert!(!exists("it::manual::a_made_up"));
    assert!(!exists(""));
    assert_eq!(named("`a::b` and a::c `D::e` `f` `g::h`"), BTreeSet::from(["a::b", "g::h"]));
}
