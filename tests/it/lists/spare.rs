//! Rules that nobody needs: each is one more door.

use keepgate::sys::filter::Clone3;

use super::rules::{List, Rule, variations};
use super::{LISTS, Named, OWN_FIRST};

/// A rule that every role shares may be covered by a wider one of a single role, but not the other
/// way round.
#[test]
fn no_rule_is_covered_by_others() {
    let common: Named = ("common", &LISTS[3].1[..1], Clone3::Ruled);
    for (name, texts, _) in LISTS.into_iter().chain([common]) {
        let shared = match texts {
            [shared, _] => List::read(&[shared]).rules.len(),
            _ => 0,
        };
        for (call, rules) in List::read(texts).by_call() {
            let variations = variations(&rules);
            // Each of these two is used alone as well, and says by itself how it becomes its program.
            let twice = |rule: &&&Rule| {
                let mut others = rules.iter().filter(|other| other.place < shared);
                name == OWN_FIRST && others.any(|other| other.checks == rule.checks)
            };
            let own = rules.iter().filter(|rule| rule.place >= shared);
            for rule in own.filter(|rule| !twice(rule)) {
                let others: Vec<_> = rules
                    .iter()
                    .filter(|other| other.place != rule.place)
                    .collect();
                let alone = |arguments: &[u64; 6]| {
                    rule.met(*arguments) && !others.iter().any(|other| other.met(*arguments))
                };
                assert!(
                    variations.iter().any(alone),
                    "{name}: a rule of `{call}` allows nothing that another does not: {rule:?}"
                );
            }
        }
    }
}

/// The twin of the test above: it would notice.
#[test]
fn a_covered_rule_is_found() {
    let text = r#"{"x": {"mismatch_action": {"errno": 1}, "match_action": "allow", "filter": [
        {"syscall": "fcntl", "comment": "a", "args": [{"index": 1, "type": "dword", "op": "le", "val": 7}]},
        {"syscall": "fcntl", "comment": "b", "args": [{"index": 1, "type": "dword", "op": "eq", "val": 3}]}]}}"#;
    let list = List::read(&[text]);
    let rules: Vec<_> = list.rules.iter().collect();
    let all = variations(&rules);
    assert!(all.iter().any(|a| rules[0].met(*a) && !rules[1].met(*a)));
    assert!(!all.iter().any(|a| rules[1].met(*a) && !rules[0].met(*a)));
}
