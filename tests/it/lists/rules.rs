//! A second reading of the lists: from the JSON, without the compiler that the product uses.

use std::collections::{BTreeMap, BTreeSet};

use keepgate::sys::calls;
use keepgate::sys::filter::Verdict;
use serde_json::Value;

/// Numbers that are looked at: every call there is, and many that do not exist.
pub(super) const NUMBERS: u32 = 600;

/// One argument check.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Check {
    pub(super) index: usize,
    wide: bool,
    op: Op,
    value: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Op {
    Eq,
    Ne,
    Le,
    Ge,
    Masked(u64),
}

/// One rule: all checks hold.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) call: String,
    pub(super) comment: String,
    pub(super) checks: Vec<Check>,
    /// Its number in the list.
    pub(super) place: usize,
}

/// A list as it is written.
#[derive(Debug)]
pub(super) struct List {
    pub(super) rules: Vec<Rule>,
    pub(super) matched: Verdict,
    pub(super) else_: Verdict,
}

impl List {
    /// Reads the texts as one list; the actions are the first one's.
    pub(super) fn read(texts: &[&str]) -> Self {
        let mut lists = texts.iter().map(|text| {
            let text: Value = serde_json::from_str(text).unwrap();
            let list = text.as_object().unwrap().values().next().unwrap().clone();
            let rules = list["filter"].as_array().unwrap().iter().map(Rule::read);
            Self {
                rules: rules.collect(),
                matched: action(&list["match_action"]),
                else_: action(&list["mismatch_action"]),
            }
        });
        let mut all = lists.next().unwrap();
        all.rules.extend(lists.flat_map(|list| list.rules));
        for (place, rule) in all.rules.iter_mut().enumerate() {
            rule.place = place;
        }
        all
    }

    /// What the list says to a call.
    pub(super) fn says(&self, number: u32, arguments: [u64; 6]) -> Verdict {
        let name = calls::name(i32::try_from(number).unwrap());
        let met = |rule: &Rule| Some(rule.call.as_str()) == name && rule.met(arguments);
        match self.rules.iter().any(met) {
            true => self.matched,
            false => self.else_,
        }
    }

    /// Rules by call.
    pub(super) fn by_call(&self) -> BTreeMap<&str, Vec<&Rule>> {
        let mut calls: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
        for rule in &self.rules {
            calls.entry(rule.call.as_str()).or_default().push(rule);
        }
        calls
    }
}

fn action(value: &Value) -> Verdict {
    match (value.as_str(), value["errno"].as_u64()) {
        (Some("allow"), _) => Verdict::Allow,
        (Some("kill_process"), _) => Verdict::Kill,
        (None, Some(errno)) => Verdict::Errno(u16::try_from(errno).unwrap()),
        _ => panic!("{value}"),
    }
}

impl Rule {
    fn read(rule: &Value) -> Self {
        let checks = rule["args"].as_array().map(Vec::as_slice);
        Self {
            call: rule["syscall"].as_str().unwrap().into(),
            comment: rule["comment"].as_str().unwrap().into(),
            checks: checks.unwrap_or_default().iter().map(Check::read).collect(),
            place: 0,
        }
    }

    /// All its checks hold.
    pub(super) fn met(&self, arguments: [u64; 6]) -> bool {
        self.checks.iter().all(|check| check.holds(arguments))
    }
}

impl Check {
    fn read(check: &Value) -> Self {
        let op = match (check["op"].as_str(), check["op"]["masked_eq"].as_u64()) {
            (Some("eq"), _) => Op::Eq,
            (Some("ne"), _) => Op::Ne,
            (Some("le"), _) => Op::Le,
            (Some("ge"), _) => Op::Ge,
            (None, Some(mask)) => Op::Masked(mask),
            _ => panic!("{check}"),
        };
        Self {
            index: usize::try_from(check["index"].as_u64().unwrap()).unwrap(),
            wide: match check["type"].as_str() {
                Some("qword") => true,
                Some("dword") => false,
                _ => panic!("{check}"),
            },
            op,
            value: check["val"].as_u64().unwrap(),
        }
    }

    fn holds(&self, arguments: [u64; 6]) -> bool {
        let value = arguments[self.index];
        let value = if self.wide {
            value
        } else {
            value & 0xffff_ffff
        };
        match self.op {
            Op::Eq => value == self.value,
            Op::Ne => value != self.value,
            Op::Le => value <= self.value,
            Op::Ge => value >= self.value,
            Op::Masked(mask) => value & mask == self.value & mask,
        }
    }

    /// Values around the border of this check.
    fn borders(&self, into: &mut BTreeSet<u64>) {
        let value = self.value;
        into.extend([
            value,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            value | 1 << 32,
        ]);
        if let Op::Masked(mask) = self.op {
            let bits = (0..64)
                .map(|bit| 1_u64 << bit)
                .filter(|bit| mask & bit != 0);
            let bits: Vec<u64> = bits.collect();
            let ends = bits.iter().take(3).chain(bits.iter().rev().take(3));
            into.extend(ends.map(|bit| value ^ bit));
            into.insert(value | !mask);
            into.insert(value | !mask & 0xffff_ffff);
        }
    }
}

/// Arguments around the borders of all rules of one call: each combination of the values of those
/// arguments that are checked, the others zero, and once all ones.
pub(super) fn variations(rules: &[&Rule]) -> Vec<[u64; 6]> {
    let mut values: [BTreeSet<u64>; 6] = Default::default();
    for check in rules.iter().flat_map(|rule| &rule.checks) {
        let values = &mut values[check.index];
        values.extend([0, 0xffff_ffff, u64::MAX]);
        check.borders(values);
    }
    let mut all = vec![[0; 6]];
    for (index, values) in values
        .iter()
        .enumerate()
        .filter(|(_, values)| !values.is_empty())
    {
        all = all
            .iter()
            .flat_map(|arguments| {
                values.iter().map(move |value| {
                    let mut arguments = *arguments;
                    arguments[index] = *value;
                    arguments
                })
            })
            .collect();
    }
    all.push([u64::MAX; 6]);
    all
}

/// The number of a call.
pub(super) fn number(name: &str) -> u32 {
    let is = |number: &u32| calls::name(i32::try_from(*number).unwrap()) == Some(name);
    (0..NUMBERS)
        .find(is)
        .unwrap_or_else(|| panic!("no call `{name}`"))
}
