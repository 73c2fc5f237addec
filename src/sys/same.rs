//! That every list says the same to every call whether its rules are searched or tried one after the
//! other: around every value that a rule names.

use std::collections::{BTreeMap, BTreeSet};

use super::bpf::{self, AND, AT_LEAST, EQUAL, JUMP, LOAD, MORE};
use super::filter::{ARCH, Clone3, Filter, NUMBER_AT, X32, head, linear};

macro_rules! list {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../jail/seccomp/", $name, ".json")),
        )
    };
}

/// Every filter there is, as the product puts them together.
const FILTERS: [&[(&str, &str)]; 18] = [
    &[list!("tool")],
    &[list!("tool"), list!("observed")],
    &[list!("tool"), list!("ready")],
    &[list!("native-generic")],
    &[list!("native-generic"), list!("observed")],
    &[list!("foreign")],
    &[list!("foreign"), list!("local")],
    &[list!("init")],
    &[list!("first")],
    &[list!("tool"), list!("first")],
    &[list!("common"), list!("keeper")],
    &[list!("common"), list!("jailer")],
    &[list!("common"), list!("jailer"), list!("native-generic")],
    &[list!("common"), list!("front")],
    &[list!("common"), list!("egress")],
    &[list!("hostile")],
    &[list!("supervisor")],
    &[list!("anything")],
];
/// Instructions of `seccompiler` before the number is loaded.
const ABI_CHECK: usize = 3;
/// Offset of the first argument in `struct seccomp_data`.
const ARGUMENTS_AT: u32 = 16;

/// What a linear program compares each half of an argument with, by call: all those values, their
/// neighbours, and what a mask takes for the same or for something else.
type Borders = BTreeMap<u32, BTreeMap<usize, BTreeSet<u32>>>;

fn borders(linear: &[libc::sock_filter]) -> Borders {
    let mut all = Borders::new();
    let (mut number, mut offset, mut mask) = (None, NUMBER_AT, u32::MAX);
    // A call begins with its number, where two jumps follow.
    let begins = |at: usize| {
        let jumps = linear.get(at + 1..at + 3).unwrap_or_default();
        jumps.len() == 2 && jumps.iter().all(|line| line.code == JUMP)
    };
    for (at, line) in linear.iter().enumerate().skip(ABI_CHECK) {
        match line.code {
            LOAD => (offset, mask) = (line.k, u32::MAX),
            AND => mask = line.k,
            EQUAL if (line.jt, line.jf) == (0, 1) && begins(at) => {
                number = Some(line.k);
                all.entry(line.k).or_default();
            }
            EQUAL | MORE | AT_LEAST if offset >= ARGUMENTS_AT => {
                let half = usize::try_from((offset - ARGUMENTS_AT) / 4).unwrap();
                let k = line.k;
                let values = all.get_mut(&number.unwrap()).unwrap().entry(half);
                let low = 1 << mask.trailing_zeros().min(31);
                let high = 1_u32 << (31 - mask.leading_zeros().min(31));
                values.or_default().extend([
                    0,
                    u32::MAX,
                    k,
                    k.wrapping_add(1),
                    k.wrapping_sub(1),
                    k ^ low,
                    k ^ high,
                    k | !mask,
                ]);
            }
            _ => {}
        }
    }
    all
}

/// Each combination of these values, the other halves zero and all ones.
fn variations(borders: Option<&BTreeMap<usize, BTreeSet<u32>>>) -> Vec<[u64; 6]> {
    let mut all = vec![[0_u64; 6], [u64::MAX; 6]];
    for (half, values) in borders.into_iter().flatten() {
        let shift = half % 2 * 32;
        let set = |arguments: &[u64; 6], value: u32| {
            let mut arguments = *arguments;
            let argument = &mut arguments[half / 2];
            *argument &= !(u64::from(u32::MAX) << shift);
            *argument |= u64::from(value) << shift;
            arguments
        };
        let each = |arguments: &[u64; 6]| {
            let arguments = *arguments;
            values.iter().map(move |value| set(&arguments, *value))
        };
        all = all.iter().flat_map(each).collect();
    }
    all
}

#[test]
fn a_search_finds_what_the_chain_found() {
    let mut seen = BTreeSet::new();
    for lists in FILTERS {
        let texts: Vec<&str> = lists.iter().map(|(_, text)| *text).collect();
        let names: Vec<&str> = lists.iter().map(|(name, _)| *name).collect();
        seen.extend(names.iter().copied());
        let linear = linear(&texts).unwrap();
        let borders = borders(&linear);
        let mut answers = BTreeSet::new();
        for clone3 in [Clone3::Missing, Clone3::Ruled] {
            let chain = Filter(
                head(clone3, &texts)
                    .into_iter()
                    .chain(linear.clone())
                    .collect(),
            );
            let search = Filter::compile(&texts, clone3).unwrap();
            assert!(
                search.0.len() < chain.0.len() || linear.len() == 4,
                "{names:?}"
            );
            for number in (0..600).chain([X32 - 1, X32, X32 | 59, X32 | 520, u32::MAX]) {
                for arguments in variations(borders.get(&number)) {
                    for arch in [ARCH, 0x4000_0003, 0xc000_00b7, 0] {
                        let run = |filter: &Filter| bpf::run(&filter.0, arch, number, arguments);
                        let answer = run(&chain);
                        assert!(answer.is_some());
                        let what = || format!("{names:?}: {number} of {arch:x}");
                        assert_eq!(run(&search), answer, "{}, {arguments:x?}", what());
                        answers.insert((arch == ARCH, answer));
                    }
                }
            }
        }
        let (own, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(own, _)| *own);
        assert_eq!(others, [(false, Some(libc::SECCOMP_RET_KILL_PROCESS))]);
        assert!(own.len() > 1, "{names:?}: {own:?}");
    }
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/jail/seccomp");
    for file in std::fs::read_dir(directory).unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_owned();
        assert!(
            seen.contains(name.to_str().unwrap()),
            "{name:?} is not tried"
        );
    }
}

/// The twin of the test above: it would notice a rule that is lost, and one that is wider.
#[test]
fn the_borders_tell_rules_apart() {
    const LIST: &str = r#"{"x": {"mismatch_action": {"errno": 1}, "match_action": "allow", "filter": [
        {"syscall": "read"},
        {"syscall": "socket", "args": [{"index": 0, "type": "qword", "op": "eq", "val": 1},
            {"index": 1, "type": "dword", "op": {"masked_eq": 12}, "val": 4}]}]}}"#;
    let linear_one = linear(&[LIST]).unwrap();
    let borders = borders(&linear_one);
    assert_eq!(borders.keys().collect::<Vec<_>>(), [&0, &41]);
    assert_eq!(borders[&41].keys().collect::<Vec<_>>(), [&0, &1, &2]);
    let one = Filter::compile(&[LIST], Clone3::Missing).unwrap();
    for (from, to) in [
        (r#""val": 1}"#, r#""val": 2}"#),
        (r#""qword""#, r#""dword""#),
        (r#""masked_eq": 12"#, r#""masked_eq": 4"#),
        (r#""masked_eq": 12"#, r#""masked_eq": 28"#),
        (r#"{"masked_eq": 12}"#, r#""eq""#),
    ] {
        let other = LIST.replacen(from, to, 1);
        assert_ne!(other, LIST);
        let other = Filter::compile(&[&other], Clone3::Missing).unwrap();
        let all = variations(borders.get(&41));
        let differ = all
            .iter()
            .any(|a| one.answer(41, *a) != other.answer(41, *a));
        assert!(differ, "{from} {to}");
    }
}
