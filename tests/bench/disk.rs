//! Durable entries against raw `fdatasync` on the same disk, and verification.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keepgate::audit::{Draft, Entry, Fold, Log, Masker, Options, SoftwareSealer, verify};
use keepgate::error::Result;
use keepgate::time::SystemClock;
use serde_json::{Map, Value};

use super::report::{Report, median};

/// Bytes of an entry and its payload on disk, about.
const ENTRY: usize = 1024;
/// Entries verified.
const VERIFIED: u64 = 200_000;

#[derive(Debug)]
struct Nothing;

impl Fold for Nothing {
    fn apply(&mut self, _: &Entry) {}

    fn snapshot(&self) -> Value {
        Value::Null
    }

    fn restore(&mut self, _: &Value) -> Result<()> {
        Ok(())
    }
}

fn open(directory: &std::path::Path) -> Log {
    std::fs::create_dir_all(directory).unwrap();
    let sealer = Arc::new(SoftwareSealer::create(&directory.with_extension("pk8")).unwrap());
    let fold = Arc::new(Mutex::new(Nothing));
    Log::open(
        directory,
        "bench/plane",
        sealer,
        Arc::new(SystemClock),
        fold,
        Options::default(),
    )
    .unwrap()
}

fn draft(masker: &Masker, number: u64) -> Draft {
    let mut body = Map::new();
    body.insert("call".into(), "0123456789abcdef".into());
    body.insert("agent".into(), "bench".into());
    body.insert("number".into(), number.into());
    Draft::new("bench.entry", body).payload("arguments", masker.mask(&[b'x'; ENTRY - 600]))
}

/// Seconds for one raw append of `len` bytes and `fdatasync`.
fn raw(file: &mut File, len: usize) -> f64 {
    let bytes = vec![7; len];
    let start = Instant::now();
    file.write_all(&bytes).unwrap();
    file.sync_data().unwrap();
    start.elapsed().as_secs_f64()
}

/// Entries a second of `threads` callers who each wait for their own.
fn appended(log: &Log, threads: usize, time: Duration) -> f64 {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let masker = Masker::default();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    log.append(draft(&masker, count.fetch_add(1, Ordering::Relaxed)))
                        .unwrap();
                }
            });
        }
        std::thread::park_timeout(time);
        stop.store(true, Ordering::Relaxed);
    });
    count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

fn raw_batches(file: &mut File, time: Duration) -> f64 {
    let start = Instant::now();
    let mut count = 0.0;
    while start.elapsed() < time {
        raw(file, 64 * ENTRY);
        count += 64.0;
    }
    count / start.elapsed().as_secs_f64()
}

/// Median seconds of one raw append and `fdatasync`.
pub(crate) fn fdatasync() -> f64 {
    let directory = super::scratch();
    let mut file = File::create(directory.path().join("raw")).unwrap();
    median(&mut Vec::from_iter((0..200).map(|_| raw(&mut file, ENTRY))))
}

/// A log that does nothing but take entries, as large as those of a call.
pub(crate) struct Alone {
    log: Log,
    masker: Masker,
}

impl Alone {
    pub(crate) fn open(directory: &std::path::Path) -> Self {
        Self {
            log: open(directory),
            masker: Masker::default(),
        }
    }

    /// Microseconds until one is durable.
    pub(crate) fn append(&self, number: u64) -> f64 {
        let draft = draft(&self.masker, number);
        let start = Instant::now();
        self.log.append(draft).unwrap();
        start.elapsed().as_secs_f64() * 1e6
    }
}

/// Measures appends by one and by many callers.
pub(crate) fn measure(report: &mut Report) {
    let directory = super::scratch();
    let log = open(&directory.path().join("log"));
    let mut file = File::create(directory.path().join("raw")).unwrap();
    let masker = Masker::default();
    let (mut floors, mut appends) = (Vec::new(), Vec::new());
    for number in 0..200 {
        floors.push(raw(&mut file, ENTRY));
        let start = Instant::now();
        log.append(draft(&masker, number)).unwrap();
        appends.push(start.elapsed().as_secs_f64());
    }
    let floor = median(&mut floors);
    report.fdatasync = Some(floor);
    report.note(
        "raw append + fdatasync of 1 KiB, p50",
        format!("{:.2} ms", floor * 1e3),
    );
    report.note(
        "one durable entry / raw fdatasync, p50",
        format!("{:.2}", median(&mut appends) / floor),
    );
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut spent, size) = (0.0, log.head().size);
    for _ in 0..5 {
        theirs.push(raw_batches(&mut file, Duration::from_secs(1)));
        let before = cpu();
        ours.push(appended(&log, 64, Duration::from_secs(1)));
        spent += cpu() - before;
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    report.note("durable entries/s, 64 callers", format!("{ours:.0}"));
    let each = spent / (log.head().size - size) as f64;
    report.note(
        "CPU for one of these entries",
        format!("{:.1} us", each * 1e6),
    );
    report.note("raw batch-64 entries/s", format!("{theirs:.0}"));
    report.at_least("64 callers / raw batch-64", ours / theirs, 0.7, " x");
    log.close();
    verified(report);
}

fn verified(report: &mut Report) {
    let directory = super::scratch();
    let path = directory.path().join("log");
    let log = open(&path);
    let (masker, next) = (Masker::default(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < VERIFIED {
                    log.append(draft(&masker, 0)).unwrap();
                }
            });
        }
    });
    log.close();
    let before = cpu();
    let told = verify::verify(
        &path,
        verify::Options {
            vkey: None,
            progress: &mut |_, _| {},
        },
    )
    .unwrap();
    let rate = told.entries as f64 / (cpu() - before);
    report.at_least("verify, entries per second of CPU", rate, 200_000.0, "/s");
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}
