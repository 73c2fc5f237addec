//! The seeds of every fuzz target, replayed. What fuzzing once found stays found: put the input
//! into the target's corpus.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/entries.rs"]
#[expect(
    unreachable_pub,
    reason = "public for the fuzz targets, which have it as a library"
)]
mod entries;

/// Bytes of all seeds together.
const SEEDS_MAX: u64 = 300 << 10;
/// Seeds of one target.
const SEEDS_MIN: usize = 10;

fn fuzz(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(name)
}

fn seeds(target: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(fuzz("corpus").join(target))? {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        all.push((path, bytes));
    }
    all.sort();
    Ok(all)
}

/// Runs every seed; gives how many the parser took, and the seeds it panicked on.
fn replay(parser: entries::Parser, seeds: &[(PathBuf, Vec<u8>)]) -> (usize, Vec<&Path>) {
    let mut taken = 0;
    let mut broken = Vec::new();
    for (path, bytes) in seeds {
        match catch_unwind(AssertUnwindSafe(|| parser(bytes))) {
            Ok(took) => taken += usize::from(took),
            Err(_) => broken.push(path.as_path()),
        }
    }
    (taken, broken)
}

#[test]
fn no_seed_upsets_a_parser() {
    let mut wrong = Vec::new();
    for (target, parser) in entries::ENTRIES {
        let seeds = seeds(target).unwrap();
        let (taken, broken) = replay(*parser, &seeds);
        if !broken.is_empty() {
            wrong.push(format!("`{target}` panics on {broken:?}"));
        }
        // A corpus of which all or nothing is taken says little about the parser.
        if seeds.len() < SEEDS_MIN || taken == 0 || taken == seeds.len() {
            wrong.push(format!("`{target}` takes {taken} of {} seeds", seeds.len()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_parser_that_panics_is_noticed() {
    let seeds = [
        ("bad".into(), b"bad".to_vec()),
        ("good".into(), b"good".to_vec()),
    ];
    let parser: entries::Parser = |bytes| {
        assert_ne!(bytes, b"bad");
        true
    };
    assert_eq!(replay(parser, &seeds), (1, vec![Path::new("bad")]));
}

#[test]
fn every_entry_has_a_target_and_a_corpus_and_nothing_is_left_over() {
    let entries: BTreeSet<String> = entries::ENTRIES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let listed = |directory: &str| -> BTreeSet<String> {
        let all = fs::read_dir(fuzz(directory)).unwrap();
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(listed("corpus"), entries);
    let files: BTreeSet<String> = entries.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(listed("targets"), files);
    let manifest = fs::read_to_string(fuzz("Cargo.toml")).unwrap();
    for name in &entries {
        let text = fs::read_to_string(fuzz("targets").join(format!("{name}.rs"))).unwrap();
        assert!(
            text.contains(&format!("keepgate_fuzz::run(\"{name}\", ")),
            "{name}"
        );
        assert!(
            manifest.contains(&format!("path = \"targets/{name}.rs\"")),
            "{name}"
        );
    }
    assert!(!entries::run("no such entry", b""));
}

#[test]
fn the_corpus_stays_small() {
    let sizes = entries::ENTRIES
        .iter()
        .flat_map(|(target, _)| seeds(target).unwrap());
    let sum: u64 = sizes
        .map(|(_, bytes)| u64::try_from(bytes.len()).unwrap())
        .sum();
    assert!(sum <= SEEDS_MAX, "{sum} bytes of seeds");
}
