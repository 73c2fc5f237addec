//! Every change to a log is found and named.

use std::path::{Path, PathBuf};

use super::support::*;
use crate::audit::Options;
use crate::audit::frame::HEADER;
use crate::error::{Error, Kind};

fn segment(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}.seg"))
}

/// A small log of two segments, closed and signed to its end.
fn small() -> Place {
    let place = Place::new();
    let log = place
        .open(Options {
            segment_entries: 4,
            ..unhurried()
        })
        .unwrap();
    for call in ["a", "b"] {
        log.append(intent(call)).unwrap();
        log.append(outcome(call)).unwrap();
    }
    drop(log);
    place
}

fn named(error: &Error) -> bool {
    let text = error.message();
    let place = text.contains("segment `") && text.contains("offset") && text.contains("entry");
    error.kind() == Kind::Tampered && place
}

#[test]
fn every_flipped_byte_is_named() {
    let place = small();
    for start in [0, 4] {
        let path = segment(&place.dir(), start);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= [0x01, 0x20, 0x80][at % 3];
            std::fs::write(&path, &bytes).unwrap();
            let error = place.verify().unwrap_err();
            assert!(named(&error), "byte {at} of {start}: {error}");
            // Opening reads the active segment, which is enough for flips in it.
            if start == 4 && at % 7 == 0 {
                let error = place.open(unhurried()).unwrap_err();
                assert!(named(&error), "byte {at}: {error}");
            }
        }
        std::fs::write(&path, &whole).unwrap();
    }
    place.verify().unwrap();
    place.open(unhurried()).unwrap();
}

#[test]
fn without_a_checkpoint_only_the_last_frames_may_look_torn() {
    let place = Place::new();
    let log = place.open(unhurried()).unwrap();
    log.append(intent("a")).unwrap();
    log.append(outcome("a")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(
        place.dir().join("checkpoint"),
        copy.path().join("checkpoint"),
    )
    .unwrap();
    let whole = std::fs::read(segment(&place.dir(), 0)).unwrap();
    let reader = log.reader().unwrap();
    let last = reader.entries(2).unwrap().next().unwrap().unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x04;
        std::fs::write(segment(copy.path(), 0), &bytes).unwrap();
        match check(copy.path()) {
            Ok(report) => {
                assert!(at as u64 >= last.at, "byte {at} was taken for a torn tail");
                assert!(report.torn_bytes as usize >= last.bytes().len() + HEADER);
            }
            Err(error) => assert!(named(&error), "byte {at}: {error}"),
        }
    }
}

#[test]
fn every_cut_below_the_checkpoint_is_named() {
    let place = small();
    let path = segment(&place.dir(), 4);
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).rev() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = place.verify().unwrap_err();
        assert!(named(&error), "{length}: {error}");
        if length % 50 == 0 {
            assert_eq!(place.open(unhurried()).unwrap_err().kind(), Kind::Tampered);
        }
    }
    std::fs::remove_file(&path).unwrap();
    assert!(named(&place.verify().unwrap_err()));
    assert!(named(&place.open(unhurried()).unwrap_err()));
}

#[test]
fn missing_swapped_and_foreign_files_are_found() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("first segment", |dir| {
            std::fs::remove_file(segment(dir, 0)).unwrap()
        }),
        ("checkpoint", |dir| {
            std::fs::remove_file(dir.join("checkpoint")).unwrap()
        }),
        ("all segments", |dir| {
            std::fs::remove_file(segment(dir, 0)).unwrap();
            std::fs::remove_file(segment(dir, 4)).unwrap();
        }),
        ("lengthened", |dir| {
            let mut bytes = std::fs::read(segment(dir, 0)).unwrap();
            bytes.push(0);
            std::fs::write(segment(dir, 0), bytes).unwrap();
        }),
        ("swapped", |dir| {
            let first = std::fs::read(segment(dir, 0)).unwrap();
            std::fs::write(segment(dir, 4), first).unwrap();
        }),
        ("foreign", |dir| {
            let other = small();
            std::fs::copy(segment(&other.dir(), 4), segment(dir, 4)).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let place = small();
        harm(&place.dir());
        assert_eq!(place.verify().unwrap_err().kind(), Kind::Tampered, "{name}");
        assert_eq!(
            place.open(unhurried()).unwrap_err().kind(),
            Kind::Tampered,
            "{name}"
        );
    }
}

#[test]
fn a_log_written_anew_with_another_key_does_not_pass() {
    let (place, other) = (small(), small());
    // All of the other log, with the first one's checkpoint.
    for start in [0, 4] {
        std::fs::copy(segment(&other.dir(), start), segment(&place.dir(), start)).unwrap();
    }
    assert!(named(&place.verify().unwrap_err()));
    // And an older checkpoint does not hide what came after it: it only covers less.
    let place = Place::new();
    let log = place
        .open(Options {
            segment_entries: 4,
            ..unhurried()
        })
        .unwrap();
    let old = log.checkpoint_now().unwrap();
    for number in 0..8 {
        log.append(note(number)).unwrap();
    }
    drop(log);
    std::fs::write(place.dir().join("checkpoint"), old).unwrap();
    assert!(place.verify().unwrap().unsigned > 0);
    assert_eq!(place.open(unhurried()).unwrap_err().kind(), Kind::Tampered);
}

#[test]
fn a_pruned_payload_is_counted_and_a_half_pruned_one_named() {
    let place = small();
    let reader = crate::audit::Reader::open(&place.dir()).unwrap();
    let entry = reader.entries(1).unwrap().next().unwrap().unwrap();
    let payload = entry.payload("arguments").unwrap();
    let path = segment(&place.dir(), 0);
    let mut bytes = std::fs::read(&path).unwrap();
    let from = payload.at as usize + HEADER;
    let to = from + 32 + payload.len as usize;
    bytes[from..to - 1].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    assert!(named(&place.verify().unwrap_err()));
    assert_eq!(
        reader.payload(&entry, "arguments").unwrap_err().kind(),
        Kind::Tampered
    );
    bytes[to - 1] = 0;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(place.verify().unwrap().pruned, 1);
    assert_eq!(reader.payload(&entry, "arguments").unwrap(), None);
    // Its header stays and still counts.
    bytes[payload.at as usize + 6] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(named(&place.verify().unwrap_err()));
}
