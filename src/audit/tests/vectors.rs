//! The logs in `tests/vectors/log`: read by this verifier and by `scripts/verify-log.py`, and
//! judged as `EXPECTED` there says: `NAME ok ENTRIES ROOT`, the same with `unsigned`, or
//! `NAME tampered`.
//!
//! `KEEPGATE_WRITE_VECTORS=1 cargo test audit::tests::vectors` makes them anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::support::*;
use crate::audit::frame::{self, HEADER};
use crate::audit::sealer::Sealer;
use crate::audit::{Draft, Log, Masker, Options, Reader, SoftwareSealer};
use crate::error::Kind;

const EXPECTED: &str = "EXPECTED";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/log")
}

fn verdict(dir: &Path) -> String {
    match check(dir) {
        Ok(report) => {
            let signed = report.checkpoint.is_some();
            let word = if signed { "ok" } else { "unsigned" };
            format!("{word} {} {}", report.entries, report.root)
        }
        Err(error) if error.kind() == Kind::Tampered => "tampered".into(),
        Err(error) if error.kind() == Kind::Degraded => {
            let nothing = crate::audit::tree::Frontier::default().root();
            format!("unsigned 0 {}", crate::wire::text::hex(&nothing))
        }
        Err(error) => panic!("{}: {error}", dir.display()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the second verifier is a program of its own"
)]
fn second_verdict(dir: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/verify-log.py");
    let done = std::process::Command::new("python3")
        .arg(script)
        .arg(dir)
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let words: Vec<_> = text.split_whitespace().collect();
    match (done.status.code(), words.as_slice()) {
        (Some(0), ["ok", entries, "entries", "root", root]) => format!("ok {entries} {root}"),
        (Some(3), ["unsigned", entries, "entries", "root", root]) => {
            format!("unsigned {entries} {root}")
        }
        (Some(20), ["tampered:", ..]) => "tampered".into(),
        other => panic!("{}: {other:?}", dir.display()),
    }
}

#[test]
fn both_verifiers_judge_every_vector_as_expected() {
    if std::env::var_os("KEEPGATE_WRITE_VECTORS").is_some() {
        generate(&root());
    }
    let expected = std::fs::read_to_string(root().join(EXPECTED)).unwrap();
    let mut names = Vec::new();
    for line in expected.lines() {
        let (name, expected) = line.split_once(' ').unwrap();
        assert_eq!(verdict(&root().join(name)), expected, "{name}");
        assert_eq!(
            second_verdict(&root().join(name)),
            expected,
            "{name}, the second verifier"
        );
        names.push(name.to_owned());
    }
    let mut found: Vec<_> = std::fs::read_dir(root())
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != EXPECTED)
        .collect();
    found.sort();
    assert_eq!(found, names);
    assert!(names.len() > 20);
}

#[test]
fn both_verifiers_agree_on_flips() {
    let good = root().join("good");
    let copy = tempfile::tempdir().unwrap();
    copy_log(&good, copy.path());
    for name in ["00000000000000000005.seg", "checkpoint"] {
        let whole = std::fs::read(good.join(name)).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 20) {
            let mut bytes = whole.clone();
            bytes[at] ^= 2;
            std::fs::write(copy.path().join(name), bytes).unwrap();
            let ours = verdict(copy.path());
            assert_eq!(ours, "tampered", "{name}, byte {at}");
            assert_eq!(second_verdict(copy.path()), ours, "{name}, byte {at}");
        }
        std::fs::write(copy.path().join(name), whole).unwrap();
    }
}

fn copy_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        std::fs::copy(item.path(), to.join(item.file_name())).unwrap();
    }
}

fn options() -> Options {
    Options {
        segment_entries: 5,
        ..unhurried()
    }
}

/// Some entries of each kind, odd characters included; the checkpoint covers all but the last.
fn fill(log: &Log) {
    log.append(intent("0000000000000001")).unwrap();
    log.append(outcome("0000000000000001")).unwrap();
    let odd = json!({"\u{1f600}": "\u{7f}\u{2028}\u{1}\n\"\\/", "\u{fb33}": [], "a": {"b": [-1, 0]},
        "": null, "big": 9_007_199_254_740_991_i64, "é": "\u{0}\u{1f}", "A": [true, {}, false]});
    let two = Draft::new("config", body(odd))
        .payload("b", Masker::default().mask(&[]))
        .payload(
            "a",
            Masker::default().mask(b"E\x10\0\0\0\0\0\0\0{\"body\":"),
        );
    log.append(two).unwrap();
    for number in 0..4 {
        log.append(note(number)).unwrap();
    }
    log.checkpoint_now().unwrap();
    log.append(intent("0000000000000002")).unwrap();
}

/// Gives a log of this content as it is while its writer still has it open.
fn live(rotate: bool) -> (Place, Log) {
    let place = Place::new();
    let log = place.open(options()).unwrap();
    if rotate {
        log.append(note(7)).unwrap();
        let next = SoftwareSealer::create(&place.base.path().join("next.key")).unwrap();
        log.rotate_key(Arc::new(next) as Arc<dyn Sealer>).unwrap();
    }
    fill(&log);
    (place, log)
}

fn generate(root: &Path) {
    drop(std::fs::remove_dir_all(root));
    let (place, log) = live(false);
    let good = root.join("good");
    copy_log(&place.dir(), &root.join("unsigned-tail"));
    drop(log);
    copy_log(&place.dir(), &good);
    let (place, log) = live(true);
    drop(log);
    copy_log(&place.dir(), &root.join("new-key"));
    let active = "00000000000000000005.seg";
    let edit = |name: &str, base: &str, file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let dir = root.join(name);
        copy_log(&root.join(base), &dir);
        let mut bytes = std::fs::read(dir.join(file)).unwrap();
        change(&mut bytes);
        std::fs::write(dir.join(file), bytes).unwrap();
    };
    let sealed = "00000000000000000000.seg";
    let entry = |seq: u64| {
        Reader::open(&good)
            .unwrap()
            .entries(seq)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
    };
    let length = std::fs::metadata(good.join(active)).unwrap().len() as usize;
    let last_at = entry(9).at as usize;
    edit("flipped-entry", "good", sealed, &|b| {
        b[entry(1).at as usize + HEADER + 20] ^= 1
    });
    edit("flipped-payload", "good", sealed, &|b| {
        b[entry(1).payloads[0].at as usize + HEADER + 33] ^= 1;
    });
    edit("flipped-salt", "good", sealed, &|b| {
        b[entry(1).payloads[0].at as usize + HEADER] ^= 1
    });
    edit("flipped-length", "good", active, &|b| b[3] ^= 0x40);
    edit("flipped-check", "good", active, &|b| b[5] ^= 1);
    edit("flipped-last", "good", active, &|b| b[length - 2] ^= 1);
    edit("flipped-checkpoint", "good", "checkpoint", &|b| {
        b[ORIGIN.len() + 8] ^= 1
    });
    edit("flipped-signature", "good", "checkpoint", &|b| {
        let at = b.len() - 20;
        b[at] = if b[at] == b'A' { b'B' } else { b'A' };
    });
    edit("cut", "good", active, &|b| b.truncate(last_at));
    edit("cut-all", "good", active, &Vec::clear);
    edit("cut-first", "good", sealed, &|b| {
        drop(b.drain(..entry(1).at as usize))
    });
    edit("cut-unsigned", "unsigned-tail", active, &|b| {
        b.truncate(last_at)
    });
    edit("torn", "unsigned-tail", active, &|b| b.truncate(length - 5));
    edit("torn-zeros", "unsigned-tail", active, &|b| {
        b.resize(length + 5000, 0)
    });
    edit("torn-lookalike", "unsigned-tail", active, &|b| {
        b.truncate(last_at);
        b.extend(b"P\xff\xff\0\0abcdE\x09\0\0\0abcd{\"body\":}");
    });
    edit("torn-flip", "unsigned-tail", active, &|b| b[5] ^= 1);
    edit("sealed-longer", "good", sealed, &|b| b.push(0));
    edit("sealed-shorter", "good", sealed, &|b| {
        b.truncate(b.len() - 1)
    });
    edit("missing-key-change", "new-key", sealed, &|b| {
        let at = b
            .windows(11)
            .position(|window| window == b"key.changed")
            .unwrap();
        b[at..at + 11].copy_from_slice(b"key_changed");
    });
    edit("pruned", "good", sealed, &|b| {
        prune(b, &entry(1).payloads[0])
    });
    edit("pruned-header", "good", sealed, &|b| {
        prune(b, &entry(1).payloads[0]);
        b[entry(1).payloads[0].at as usize + 5] ^= 1;
    });
    // Not even covered by the checkpoint: only the spelling is wrong.
    for (name, change) in [
        ("spelling-space", (r#""mode":"#, r#""mode": "#)),
        (
            "spelling-order",
            (r#""agent":"clerk","call""#, r#""call":"clerk","agent""#),
        ),
        ("spelling-escape", ("clerk", "cler\\u006b")),
        ("spelling-number", (r#""seq":9,"#, r#""seq":9.0,"#)),
        (
            "spelling-twice",
            (r#""agent":"clerk","#, r#""agent":"clerk","agent":"clerk","#),
        ),
        ("other-seq", (r#""seq":9,"#, r#""seq":8,"#)),
        ("other-v", (r#""v":1}"#, r#""v":2}"#)),
        (
            "other-kind",
            (r#""kind":"call.intent""#, r#""kind":"segment""#),
        ),
        ("other-origin", (ORIGIN, "keepgate.test/other")),
        ("other-payload", (r#""len":12"#, r#""len":11"#)),
    ] {
        edit(name, "unsigned-tail", active, &|b| {
            respell(b, &entry(9), change)
        });
    }
    let time = ("2026-11-24T", "2026-11-23T");
    edit("other-time", "good", sealed, &|b| {
        respell(b, &entry(1), time)
    });
    for (name, file) in [
        ("no-checkpoint", "checkpoint"),
        ("no-first", sealed),
        ("no-last", active),
    ] {
        edit(name, "good", file, &|_| ());
        std::fs::remove_file(root.join(name).join(file)).unwrap();
    }
    let second = HEADER + entry(0).bytes().len();
    // Begun and never signed, or all but that taken away.
    for (name, length) in [("begun", second), ("begun-torn", 100)] {
        edit(name, "no-checkpoint", sealed, &|b| b.truncate(length));
        std::fs::remove_file(root.join(name).join(active)).unwrap();
    }
    edit("begun-and-more", "no-checkpoint", sealed, &|b| {
        b.truncate(second)
    });
    edit("other-checkpoint", "good", "checkpoint", &|b| {
        *b = std::fs::read(root.join("new-key/checkpoint")).unwrap();
    });
    write_expected(root);
}

fn prune(bytes: &mut [u8], payload: &crate::audit::PayloadRef) {
    let from = payload.at as usize + HEADER;
    bytes[from..from + 32 + payload.len as usize].fill(0);
}

/// Writes an entry otherwise, its frame being right: what somebody does who knows the format.
fn respell(bytes: &mut Vec<u8>, entry: &crate::audit::Entry, (from, to): (&str, &str)) {
    let text = std::str::from_utf8(entry.bytes()).unwrap();
    let other = text.replace(from, to);
    assert_ne!(text, other);
    let first = Reader::open(&root().join("good")).unwrap();
    let mix = frame::mix_of(
        &first
            .entries(entry.segment)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .leaf(),
    );
    let mut put = Vec::new();
    let hash = crate::audit::tree::leaf(other.as_bytes());
    frame::put(frame::Kind::Entry, &hash, mix, other.as_bytes(), &mut put);
    let at = entry.at as usize;
    bytes.splice(at..at + HEADER + text.len(), put);
}

fn write_expected(root: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected = String::new();
    for name in names {
        writeln!(expected, "{name} {}", verdict(&root.join(&name))).unwrap();
    }
    std::fs::write(root.join(EXPECTED), expected).unwrap();
}
