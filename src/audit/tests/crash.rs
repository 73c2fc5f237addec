//! The model: at whatever byte the machine stops, what was acknowledged is there afterwards, in
//! order, and the log opens and verifies. A disk that lies about fdatasync must break it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::*;
use crate::audit::Options;
use crate::error::{Kind, Result};

/// What a stopped machine leaves behind the durable bytes.
#[derive(Debug, Clone, Copy)]
enum Left {
    Everything,
    Nothing,
    /// This part of it, in 256ths.
    Some(u8),
    /// Its length, but zeros.
    Zeros,
}

fn left() -> impl Strategy<Value = Left> {
    prop_oneof![
        Just(Left::Everything),
        Just(Left::Nothing),
        any::<u8>().prop_map(Left::Some),
        Just(Left::Zeros),
    ]
}

/// Stops the machine: of what was never made durable, only `left` stays.
fn stop(faults: &Faults, left: Left) {
    for (path, durable) in faults.durable.lock().unwrap().iter() {
        let length = path.metadata().unwrap().len();
        let keep = match left {
            Left::Everything | Left::Zeros => length,
            Left::Nothing => *durable,
            Left::Some(part) => durable + (length - durable) * u64::from(part) / 256,
        };
        let file = std::fs::File::options().write(true).open(path).unwrap();
        if matches!(left, Left::Zeros) {
            file.set_len(*durable).unwrap();
        }
        file.set_len(keep).unwrap();
    }
}

/// Appends until the disk is full, stops the machine, looks what is left. Gives what was
/// acknowledged and what is there.
fn run(room: u64, lies: bool, left: Left, segment_entries: u64) -> Result<(Vec<u64>, Vec<u64>)> {
    let place = Place::new();
    let options = || Options {
        segment_entries,
        ..unhurried()
    };
    drop(place.open(options())?);
    let faults = Arc::new(Faults {
        room: AtomicU64::new(room),
        lies,
        ..Faults::none()
    });
    let mut acknowledged = Vec::new();
    if let Ok(log) = place.open_on(Arc::new(FaultyDisk(Arc::clone(&faults))), options()) {
        for number in 0.. {
            let draft = note(number).payload("p", crate::audit::Masker::default().mask(b"pay"));
            match log.append(draft) {
                Ok(_) => acknowledged.push(number),
                Err(_) => break,
            }
        }
        // A machine that stops signs nothing more: the log is blocked by now.
        assert!(log.blocked().is_some());
    }
    stop(&faults, left);
    let log = place.open(options())?;
    log.append(note(1_000_000))?;
    drop(log);
    place.verify()?;
    let found = place
        .bodies()
        .iter()
        .filter_map(|body| body["number"].as_u64())
        .collect();
    Ok((acknowledged, found))
}

/// Whether all that was acknowledged is there, in order, followed by at most the one in flight
/// and the one written afterwards.
fn holds(result: &Result<(Vec<u64>, Vec<u64>)>) -> bool {
    let Ok((acknowledged, found)) = result else {
        return false;
    };
    let mut rest = found.iter();
    acknowledged
        .iter()
        .all(|number| rest.next() == Some(number))
        && rest.count() <= 2
}

#[test]
fn a_log_that_stopped_while_it_was_begun_is_unsigned_and_not_tampered() {
    let mut seen = [0; 2];
    for room in (0..600_u64).step_by(50).chain([u64::MAX]) {
        for left in [
            Left::Everything,
            Left::Nothing,
            Left::Some(100),
            Left::Zeros,
        ] {
            let place = Place::new();
            let faults = Arc::new(Faults {
                room: room.into(),
                syncs_left: 0.into(),
                ..Faults::none()
            });
            let disk = Arc::new(FaultyDisk(Arc::clone(&faults)));
            place.open_on(disk, unhurried()).unwrap_err();
            stop(&faults, left);
            match place.verify() {
                Ok(report) => {
                    assert_eq!((report.entries, report.unsigned), (1, 1));
                    assert_eq!(report.checkpoint, None);
                    seen[1] += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Degraded, "{error}");
                    seen[0] += 1;
                }
            }
            // It goes on, and is signed before anything is acknowledged.
            drop(place.open(unhurried()).unwrap());
            assert!(place.verify().unwrap().checkpoint.is_some());
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_is_durable(room in 0_u64..6000, left in left(), segment in 2_u64..9) {
        let result = run(room, false, left, segment);
        prop_assert!(holds(&result), "{:?}", result);
    }
}

#[test]
fn a_disk_that_lies_is_noticed() {
    let result = run(4000, true, Left::Nothing, 100);
    assert!(!holds(&result), "{result:?}");
    assert!(holds(&run(4000, false, Left::Nothing, 100)));
}

#[test]
fn a_torn_tail_is_kept_and_reported() {
    let place = Place::new();
    let log = place.open(unhurried()).unwrap();
    let before = log.append(note(1)).unwrap();
    log.checkpoint_now().unwrap();
    log.append(intent("abc")).unwrap();
    let path = place.dir().join("00000000000000000000.seg");
    let copy = Place::new();
    std::fs::create_dir(copy.dir()).unwrap();
    std::fs::copy(
        place.base.path().join("log.key"),
        copy.base.path().join("log.key"),
    )
    .unwrap();
    std::fs::copy(
        place.dir().join("checkpoint"),
        copy.dir().join("checkpoint"),
    )
    .unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(
        copy.dir().join("00000000000000000000.seg"),
        &whole[..whole.len() - 1],
    )
    .unwrap();
    let torn = copy.verify().unwrap();
    assert!(torn.torn_bytes > 0 && torn.entries == before.seq + 1);
    assert_eq!(
        crate::audit::Reader::open(&copy.dir())
            .unwrap()
            .last_seq()
            .unwrap(),
        Some(before.seq)
    );
    drop(copy.open(unhurried()).unwrap());
    let report = copy.verify().unwrap();
    assert_eq!((report.entries, report.torn_bytes), (before.seq + 2, 0));
    let expected = json!({"after_seq": before.seq, "bytes": torn.torn_bytes});
    assert_eq!(copy.bodies().last(), Some(&expected));
    let kept: Vec<_> = std::fs::read_dir(copy.dir())
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "torn"))
        .collect();
    assert_eq!(kept.len(), 1);
    let kept = std::fs::read(&kept[0]).unwrap();
    assert!(whole[..whole.len() - 1].ends_with(&kept) && kept.len() as u64 == torn.torn_bytes);
    drop(log);
}

#[test]
fn a_log_or_segment_that_was_never_finished_is_begun_again() {
    for bytes in [&b""[..], b"E", b"E\x10\0\0\0abcd{\"body\""] {
        let place = Place::new();
        std::fs::create_dir(place.dir()).unwrap();
        std::fs::write(place.dir().join("00000000000000000000.seg"), bytes).unwrap();
        let log = place
            .open(Options {
                segment_entries: 3,
                ..unhurried()
            })
            .unwrap();
        log.append(note(1)).unwrap();
        log.append(note(2)).unwrap();
        drop(log);
        std::fs::write(place.dir().join("00000000000000000003.seg"), bytes).unwrap();
        assert_eq!(place.verify().unwrap().torn_bytes, bytes.len() as u64);
        let log = place
            .open(Options {
                segment_entries: 3,
                ..unhurried()
            })
            .unwrap();
        log.append(note(3)).unwrap();
        drop(log);
        assert_eq!(place.verify().unwrap().segments, 2);
        let bodies = place.bodies();
        let numbers: Vec<_> = bodies
            .iter()
            .filter_map(|body| body["number"].as_u64())
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(
            bodies[3]["previous"]["name"],
            Value::from("00000000000000000000.seg")
        );
    }
}
