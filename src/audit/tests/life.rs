//! A log's ordinary life, and how it stops when the disk fails.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::support::*;
use crate::audit::index::Index;
use crate::audit::queue::BESIDE;
use crate::audit::sealer::{self, SoftwareSealer};
use crate::audit::verify::{self, verify};
use crate::audit::{Draft, Options, Reader, Sealer, key_in_force};
use crate::error::Kind;
use crate::wire::admin::Filter;

#[test]
fn what_is_written_is_read_and_verified() {
    let place = Place::new();
    let log = place
        .open(Options {
            segment_entries: 7,
            ..unhurried()
        })
        .unwrap();
    for number in 0..10 {
        let call = format!("call{number}");
        let written = log.append(intent(&call)).unwrap();
        assert_eq!(written.seq + 1, log.head().size);
        if number != 4 {
            log.append(outcome(&call)).unwrap();
        }
    }
    assert_eq!(place.fold.lock().unwrap().0["call.intent"], 10);
    let reader = log.reader().unwrap();
    let entries: Vec<_> = reader.entries(0).unwrap().map(Result::unwrap).collect();
    assert_eq!(entries.len() as u64, log.head().size);
    assert!(
        entries
            .iter()
            .enumerate()
            .all(|(seq, entry)| entry.seq == seq as u64)
    );
    let last = entries
        .iter()
        .rfind(|entry| entry.kind == "call.outcome")
        .unwrap();
    assert_eq!(
        reader.payload(last, "result").unwrap().unwrap(),
        b"the result"
    );
    assert_eq!(reader.payload(last, "other").unwrap(), None);
    assert_eq!(reader.last_seq().unwrap(), Some(log.head().size - 1));
    let tail: Vec<_> = reader
        .entries(12)
        .unwrap()
        .map(|entry| entry.unwrap().seq)
        .collect();
    assert_eq!(tail, (12..log.head().size).collect::<Vec<_>>());
    let root = crate::wire::text::hex(&log.head().root);
    log.close();
    assert!(log.append(intent("late")).is_err());
    let report = place.verify().unwrap();
    assert_eq!((report.entries, report.root), (log.head().size, root));
    assert_eq!(report.segments, report.entries.div_ceil(7));
    assert_eq!(report.unsigned, 0);
    assert_eq!(report.unanswered.len(), 1);
    assert_eq!(report.unanswered[0].call, "call4");
}

#[test]
fn reopening_restores_the_state_and_goes_on() {
    let place = Place::new();
    let options = || Options {
        segment_entries: 5,
        ..unhurried()
    };
    let mut counts = Counts::default();
    for round in 0..4 {
        let log = place.open(options()).unwrap();
        assert_eq!(*place.fold.lock().unwrap(), counts);
        for number in 0..round + 2 {
            log.append(note(number)).unwrap();
        }
        counts = place.fold.lock().unwrap().clone();
    }
    assert_eq!(counts.0["mode.set"], 2 + 3 + 4 + 5);
    let report = place.verify().unwrap();
    let boots = Reader::open(&place.dir()).unwrap();
    let boots = boots.entries(0).unwrap().map(|entry| entry.unwrap().boot);
    assert_eq!(boots.collect::<std::collections::HashSet<_>>().len(), 4);
    assert!(report.segments > 2);
}

#[test]
fn there_is_one_writer_and_its_own_kinds_are_its_own() {
    let place = Place::new();
    let log = place.open(unhurried()).unwrap();
    let second = place.open(unhurried()).unwrap_err();
    assert!(
        second.message().contains("open for writing already"),
        "{second}"
    );
    assert!(
        log.append(Draft::new("segment", serde_json::Map::new()))
            .is_err()
    );
    assert!(
        log.append(Draft::new("x", body(json!({"float": 0.5}))))
            .is_err()
    );
    log.append(note(1)).unwrap();
    drop(log);
    place.open(unhurried()).unwrap();
}

#[test]
fn many_callers_share_one_commit() {
    let place = Place::new();
    let faults = Arc::new(Faults::none());
    let log = place
        .open_on(Arc::new(FaultyDisk(Arc::clone(&faults))), unhurried())
        .unwrap();
    let syncs = || faults.syncs.load(Ordering::SeqCst);
    let append = |number| {
        let log = log.clone();
        thread::spawn(move || log.append(note(number)).unwrap())
    };
    let gate = faults.gate.lock().unwrap();
    let before = syncs();
    let mut threads = vec![append(0)];
    wait_for(|| syncs() == before + 1);
    // While the first commit hangs, enough others go beside it, together.
    let enough = BESIDE as u64;
    threads.extend((1..enough).map(append));
    wait_for(|| log.waiting() == BESIDE - 1);
    assert_eq!(syncs(), before + 1);
    threads.push(append(enough));
    wait_for(|| syncs() == before + 2);
    // Everybody else queues.
    threads.extend((enough + 1..64).map(append));
    wait_for(|| log.waiting() == 63 - BESIDE);
    drop(gate);
    let mut seqs: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap().seq)
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..65).collect::<Vec<_>>());
    assert_eq!(syncs(), before + 3);
    drop(log);
    assert_eq!(place.verify().unwrap().entries, 65);
}

#[test]
fn a_full_or_failing_disk_blocks_for_good() {
    for (room, syncs) in [(100, u64::MAX), (u64::MAX, 0)] {
        let place = Place::new();
        let faults = Arc::new(Faults::none());
        let log = place
            .open_on(Arc::new(FaultyDisk(Arc::clone(&faults))), unhurried())
            .unwrap();
        log.append(note(1)).unwrap();
        faults.room.store(room, Ordering::SeqCst);
        faults.syncs_left.store(syncs, Ordering::SeqCst);
        let error = log.append(note(2)).unwrap_err();
        assert!(error.message().contains("is blocked"), "{error}");
        assert!(error.message().contains(".seg"), "{error}");
        // Mending the disk does not mend the handle.
        faults.room.store(u64::MAX, Ordering::SeqCst);
        faults.syncs_left.store(u64::MAX, Ordering::SeqCst);
        let start = Instant::now();
        assert!(log.append(note(3)).is_err());
        assert!(log.checkpoint_now().is_err());
        assert!(start.elapsed() < Duration::from_secs(1));
        assert!(log.blocked().unwrap().contains("os error"));
        drop(log);
        let log = place.open(unhurried()).unwrap();
        log.append(note(4)).unwrap();
        drop(log);
        place.verify().unwrap();
    }
}

#[test]
fn nothing_is_acknowledged_behind_a_commit_that_failed() {
    let place = Place::new();
    let faults = Arc::new(Faults::none());
    let log = place
        .open_on(Arc::new(FaultyDisk(Arc::clone(&faults))), unhurried())
        .unwrap();
    let append = |number| {
        let log = log.clone();
        thread::spawn(move || log.append(note(number)))
    };
    let before = faults.syncs.load(Ordering::SeqCst);
    let begun = |count: u64| wait_for(|| faults.syncs.load(Ordering::SeqCst) == before + count);
    // Of the two commits in flight the first fails, whichever the disk gets to first.
    let gate = faults.gate.lock().unwrap();
    let mut threads = vec![append(0)];
    begun(1);
    faults.failing.store(before, Ordering::SeqCst);
    threads.extend((1..=BESIDE as u64).map(append));
    begun(2);
    drop(gate);
    for thread in threads {
        let error = thread.join().unwrap().unwrap_err();
        assert!(error.message().contains("fdatasync"), "{error}");
    }
    assert_eq!(log.head().size, 1);
    assert!(place.fold.lock().unwrap().0.is_empty());
}

#[test]
fn a_deleted_replaced_or_changed_file_blocks() {
    let harms: [fn(&Path); 4] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| {
            std::fs::copy(path, path.with_extension("copy")).unwrap();
            std::fs::remove_file(path).unwrap();
            std::fs::hard_link(path.with_extension("copy"), path).unwrap();
        },
        |path| {
            std::fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(50)
                .unwrap()
        },
        |path| std::fs::remove_dir_all(path.parent().unwrap()).unwrap(),
    ];
    for harm in harms {
        let place = Place::new();
        let log = place.open(unhurried()).unwrap();
        log.append(note(1)).unwrap();
        harm(&place.dir().join("00000000000000000000.seg"));
        assert!(log.append(note(2)).is_err());
        assert!(log.blocked().is_some());
    }
}

#[test]
fn a_disk_that_hangs_does_not_hang_its_callers() {
    let place = Place::new();
    let faults = Arc::new(Faults::none());
    let options = Options {
        stall: Duration::from_millis(50),
        ..unhurried()
    };
    let log = place
        .open_on(Arc::new(FaultyDisk(Arc::clone(&faults))), options)
        .unwrap();
    let gate = faults.gate.lock().unwrap();
    let error = log.append(note(1)).unwrap_err();
    assert!(
        error.message().contains("did not answer within 50 ms"),
        "{error}"
    );
    assert!(log.append(note(2)).is_err());
    drop(gate);
}

#[test]
fn checkpoints_are_signed_in_time_and_on_demand() {
    let place = Place::new();
    let log = place
        .open(Options {
            checkpoint_every: Duration::ZERO,
            ..unhurried()
        })
        .unwrap();
    log.append(note(1)).unwrap();
    let wanted = format!("{ORIGIN}\n2\n");
    let path = place.dir().join("checkpoint");
    wait_for(|| std::fs::read_to_string(&path).unwrap().starts_with(&wanted));
    drop(log);
    let log = place.open(unhurried()).unwrap();
    log.append(note(2)).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().starts_with(&wanted));
    let note = log.checkpoint_now().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), note);
    assert!(note.starts_with(&format!("{ORIGIN}\n3\n")));
}

#[test]
fn a_new_key_is_vouched_for_by_the_old_one() {
    let place = Place::new();
    let log = place.open(unhurried()).unwrap();
    log.append(note(1)).unwrap();
    let old = sealer::vkey(&*place.sealer(), ORIGIN).unwrap().to_string();
    let next = Arc::new(SoftwareSealer::create(&place.base.path().join("next.key")).unwrap());
    let new = sealer::vkey(&*next, ORIGIN).unwrap().to_string();
    log.rotate_key(Arc::clone(&next) as Arc<dyn Sealer>)
        .unwrap();
    log.append(note(2)).unwrap();
    drop(log);
    assert_eq!(key_in_force(&place.dir()).unwrap(), Some(new.clone()));
    let error = place.open(unhurried()).unwrap_err();
    assert!(error.message().contains("key in force"), "{error}");
    for vkey in [old, new.clone()] {
        let options = verify::Options {
            vkey: Some(vkey),
            progress: &mut |_, _| {},
        };
        let report = verify(&place.dir(), options).unwrap();
        assert!(report.key_expected);
        assert_eq!(
            (report.key_changes.clone(), report.vkey),
            (vec![2], new.clone())
        );
    }
    let other = SoftwareSealer::create(&place.base.path().join("other.key")).unwrap();
    let vkey = Some(sealer::vkey(&other, ORIGIN).unwrap().to_string());
    let options = verify::Options {
        vkey,
        progress: &mut |_, _| {},
    };
    assert_eq!(
        verify(&place.dir(), options).unwrap_err().kind(),
        Kind::Tampered
    );
    std::fs::copy(
        place.base.path().join("next.key"),
        place.base.path().join("log.key"),
    )
    .unwrap();
    let log = place
        .open(Options {
            segment_entries: 5,
            ..unhurried()
        })
        .unwrap();
    log.append(note(3)).unwrap();
    log.append(note(4)).unwrap();
    drop(log);
    assert_eq!(place.verify().unwrap().segments, 2);
}

#[test]
fn followers_wake_and_end() {
    let place = Place::new();
    let log = place
        .open(Options {
            segment_entries: 4,
            ..unhurried()
        })
        .unwrap();
    let woken = log.subscribe();
    let reader = log.reader().unwrap();
    let follower = thread::spawn(move || {
        let mut entries = reader.entries(0).unwrap();
        let mut seen = Vec::new();
        while woken.recv().is_ok() {
            seen.extend(entries.by_ref().map(|entry| entry.unwrap().seq));
        }
        seen.extend(entries.map(|entry| entry.unwrap().seq));
        seen
    });
    for number in 0..20 {
        log.append(note(number)).unwrap();
    }
    let size = log.head().size;
    drop(log);
    assert_eq!(follower.join().unwrap(), (0..size).collect::<Vec<_>>());
}

/// Copies a log as the format demands: its checkpoint first.
fn copy(from: &Path, to: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(from)
        .unwrap()
        .map(|item| item.unwrap().file_name())
        .collect();
    names.sort_by_key(|name| (name != "checkpoint", name.clone()));
    for name in names
        .iter()
        .filter(|name| !name.to_string_lossy().starts_with('.'))
    {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn a_log_is_verified_and_copied_while_it_is_written() {
    let place = Place::new();
    let options = Options {
        segment_entries: 50,
        checkpoint_every: Duration::ZERO,
        ..unhurried()
    };
    let log = place.open(options).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..3 {
            let (log, stop) = (&log, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    log.append(intent(&format!("call{number}"))).unwrap();
                }
            });
        }
        // Whatever goes wrong in here, the writers must end.
        let looked = std::panic::catch_unwind(|| {
            while place.verify().unwrap().segments < 4 {
                let target = tempfile::tempdir().unwrap();
                copy(&place.dir(), target.path());
                check(target.path()).unwrap();
                let reader = Reader::open(target.path()).unwrap();
                let seqs: Vec<_> = reader.entries(0).unwrap().map(|e| e.unwrap().seq).collect();
                assert!(
                    seqs.iter()
                        .enumerate()
                        .all(|(place, seq)| place as u64 == *seq)
                );
                assert!(
                    log.reader().unwrap().last_seq().unwrap().unwrap() + 1 >= seqs.len() as u64
                );
            }
        });
        stop.store(true, Ordering::SeqCst);
        looked.unwrap();
    });
}

#[test]
fn the_index_answers_and_mends_itself() {
    let place = Place::new();
    let log = place
        .open(Options {
            segment_entries: 6,
            ..unhurried()
        })
        .unwrap();
    for number in 0..10 {
        log.append(intent(&format!("{number:016}"))).unwrap();
        log.append(outcome(&format!("{number:016}"))).unwrap();
    }
    log.append(note(1)).unwrap();
    let size = log.head().size;
    let reader = log.reader().unwrap();
    let path = place.base.path().join("index.sqlite");
    let mut index = Index::open(&path).unwrap();
    assert_eq!(index.catch_up(&reader).unwrap(), size);
    let seqs = |index: &Index, filter: Filter| -> Vec<u64> {
        index
            .entries(&filter, &reader)
            .unwrap()
            .iter()
            .map(|entry| entry.seq)
            .collect()
    };
    let filter = || Filter {
        limit: Some(1000),
        ..Filter::default()
    };
    let clerk = Filter {
        agent: Some("clerk".into()),
        ..filter()
    };
    assert_eq!(seqs(&index, clerk.clone()).len(), 20);
    let tool = |tool: &str| Filter {
        tool: Some(tool.into()),
        ..filter()
    };
    assert_eq!(seqs(&index, tool("file.*")).len(), 20);
    assert_eq!(seqs(&index, tool("file.re")).len(), 0);
    let kind = Filter {
        kind: Some("call.outcome".into()),
        ..filter()
    };
    assert_eq!(seqs(&index, kind).len(), 10);
    assert_eq!(index.call("0000000000000003", &reader).unwrap().len(), 2);
    let newest = seqs(
        &index,
        Filter {
            limit: Some(3),
            ..Filter::default()
        },
    );
    assert_eq!(newest, [size - 3, size - 2, size - 1]);
    let after = seqs(
        &index,
        Filter {
            after: Some(4),
            limit: Some(2),
            ..Filter::default()
        },
    );
    assert_eq!(after, [5, 6]);
    let first = index.seq(0, &reader).unwrap().unwrap();
    let until = Filter {
        until: Some(first.time.plus_micros(1).to_string()),
        ..filter()
    };
    assert_eq!(seqs(&index, until), [0]);
    let since = Filter {
        since: Some(first.time.plus_micros(1).to_string()),
        ..filter()
    };
    assert_eq!(seqs(&index, since).len() as u64, size - 1);
    let bad = Filter {
        since: Some("yesterday".into()),
        ..filter()
    };
    assert_eq!(index.query(&bad).unwrap_err().kind(), Kind::Usage);
    assert!(
        index
            .query(&Filter {
                limit: Some(1001),
                ..Filter::default()
            })
            .is_err()
    );
    // What was just read is indexed as it is; what does not follow is looked for.
    log.append(note(2)).unwrap();
    let all: Vec<_> = reader.entries(0).unwrap().map(Result::unwrap).collect();
    let (old, new) = all.split_at(all.len() - 1);
    index.extend(new, &reader).unwrap();
    assert_eq!(
        index.query(&Filter::default()).unwrap().last().unwrap().seq,
        size
    );
    index.extend(old, &reader).unwrap();
    index.extend(&[], &reader).unwrap();
    assert_eq!(index.catch_up(&reader).unwrap(), size + 1);
    assert_eq!(seqs(&index, filter()).len() as u64, size + 1);
    drop(index);
    for harm in [b"no database at all".to_vec(), vec![0x5a; 8192], Vec::new()] {
        let mut bytes = std::fs::read(&path).unwrap();
        for (to, from) in bytes.iter_mut().skip(16).zip(&harm) {
            *to = *from;
        }
        std::fs::write(&path, if harm.is_empty() { harm } else { bytes }).unwrap();
        let mut index = Index::open(&path).unwrap();
        assert_eq!(index.catch_up(&reader).unwrap(), size + 1);
        assert_eq!(seqs(&index, clerk.clone()).len(), 20);
    }
    // The index of another log is none of this one.
    let other = Place::new();
    let other_log = other.open(unhurried()).unwrap();
    for number in 0..30 {
        other_log.append(note(number)).unwrap();
    }
    let mut index = Index::open(&path).unwrap();
    assert_eq!(index.catch_up(&other_log.reader().unwrap()).unwrap(), 31);
    assert_eq!(index.query(&clerk).unwrap(), []);
}
