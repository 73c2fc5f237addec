//! What the tests of the log share: a clock, a fold, disks that fail.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::audit::disk::{Disk, RealDisk, Tail};
use crate::audit::verify::{Options as VerifyOptions, Report, verify};
use crate::audit::{Draft, Entry, Fold, Log, Masker, Options, Reader, SoftwareSealer};
use crate::error::Result;
use crate::time::{Clock, Timestamp};

pub(super) const ORIGIN: &str = "keepgate.test/plane";

/// A clock that goes on by a millisecond at each look.
#[derive(Debug, Default)]
pub(super) struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        let ticks = self.0.fetch_add(1, Ordering::Relaxed);
        Timestamp::from_micros(1_795_511_567_000_000 + ticks * 1000)
    }

    fn since_boot_micros(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts entries by kind.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub(super) struct Counts(pub(super) HashMap<String, u64>);

impl Fold for Counts {
    fn apply(&mut self, entry: &Entry) {
        *self.0.entry(entry.kind.clone()).or_default() += 1;
    }

    fn snapshot(&self) -> Value {
        json!(self.0)
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        self.0 = serde_json::from_value(state.clone()).unwrap();
        Ok(())
    }
}

/// A log directory of its own, with its key.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) base: tempfile::TempDir,
    pub(super) fold: Arc<Mutex<Counts>>,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            base: tempfile::tempdir().unwrap(),
            fold: Arc::default(),
        }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.base.path().join("log")
    }

    pub(super) fn sealer(&self) -> Arc<SoftwareSealer> {
        Arc::new(SoftwareSealer::open(&self.base.path().join("log.key")).unwrap())
    }

    pub(super) fn open(&self, options: Options) -> Result<Log> {
        self.open_on(Arc::new(RealDisk), options)
    }

    pub(super) fn open_on(&self, disk: Arc<dyn Disk>, options: Options) -> Result<Log> {
        // Another test that starts a program holds every lock of this process until its exec.
        let until = Instant::now() + Duration::from_millis(500);
        loop {
            *self.fold.lock().unwrap() = Counts::default();
            let (sealer, clock) = (self.sealer(), Arc::new(Ticks::default()));
            let (disk, fold) = (Arc::clone(&disk), Arc::clone(&self.fold));
            match Log::open_on(
                disk,
                &self.dir(),
                ORIGIN,
                sealer,
                clock,
                fold,
                options.clone(),
            ) {
                Err(error)
                    if error.message().contains("open for writing already")
                        && Instant::now() < until =>
                {
                    std::thread::yield_now();
                }
                answer => return answer,
            }
        }
    }

    pub(super) fn verify(&self) -> Result<Report> {
        check(&self.dir())
    }

    pub(super) fn bodies(&self) -> Vec<Value> {
        let reader = Reader::open(&self.dir()).unwrap();
        reader
            .entries(0)
            .unwrap()
            .map(|entry| Value::Object(entry.unwrap().body))
            .collect()
    }
}

pub(super) fn check(dir: &Path) -> Result<Report> {
    verify(
        dir,
        VerifyOptions {
            vkey: None,
            progress: &mut |_, _| {},
        },
    )
}

/// Waits until `condition` holds.
pub(super) fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

/// No checkpoint unless asked for.
pub(super) fn unhurried() -> Options {
    Options {
        checkpoint_every: Duration::from_secs(3600),
        ..Options::default()
    }
}

pub(super) fn body(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(super) fn intent(call: &str) -> Draft {
    let body = body(json!({"call": call, "agent": "clerk", "tool": "file.read", "mode": "live"}));
    Draft::new("call.intent", body)
        .payload("arguments", Masker::default().mask(b"{\"path\":\"x\"}"))
}

pub(super) fn outcome(call: &str) -> Draft {
    let result = Masker::default().mask(b"the result");
    Draft::new("call.outcome", body(json!({"call": call, "status": "ok"})))
        .payload("result", result)
}

pub(super) fn note(number: u64) -> Draft {
    Draft::new(
        "mode.set",
        body(json!({"number": number, "pad": "x".repeat(number as usize % 90)})),
    )
}

/// How a [`FaultyDisk`] behaves.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Bytes it still takes; the write that crosses it is cut there and fails.
    pub(super) room: AtomicU64,
    /// Syncs succeed and do nothing.
    pub(super) lies: bool,
    /// Syncs fail from this one on, counted down.
    pub(super) syncs_left: AtomicU64,
    /// Bytes of each file that would survive a loss of power.
    pub(super) durable: Mutex<HashMap<PathBuf, u64>>,
    pub(super) syncs: AtomicU64,
    /// Number of a sync that fails alone, from 0.
    pub(super) failing: AtomicU64,
    /// While locked, syncs hang.
    pub(super) gate: Mutex<()>,
}

impl Faults {
    pub(super) fn none() -> Self {
        Self {
            room: u64::MAX.into(),
            syncs_left: u64::MAX.into(),
            failing: u64::MAX.into(),
            ..Self::default()
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct FaultyDisk(pub(super) Arc<Faults>);

#[derive(Debug)]
struct FaultyTail {
    real: Box<dyn Tail>,
    faults: Arc<Faults>,
    path: PathBuf,
}

impl FaultyDisk {
    fn wrap(&self, real: Box<dyn Tail>, path: &Path) -> Box<dyn Tail> {
        let length = path.metadata().unwrap().len();
        self.0.durable.lock().unwrap().insert(path.into(), length);
        Box::new(FaultyTail {
            real,
            faults: Arc::clone(&self.0),
            path: path.into(),
        })
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Tail>> {
        RealDisk.create(path).map(|tail| self.wrap(tail, path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Tail>> {
        RealDisk.open(path).map(|tail| self.wrap(tail, path))
    }
}

impl Tail for FaultyTail {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let room = self.faults.room.load(Ordering::SeqCst);
        let take = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.real.append(&bytes[..take])?;
        self.faults.room.store(room - take as u64, Ordering::SeqCst);
        if take < bytes.len() {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        // What is appended while it runs may not become durable.
        let length = self.real.length()?;
        let number = self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        drop(self.faults.gate.lock());
        if self.faults.failing.load(Ordering::SeqCst) == number {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if self.faults.syncs_left.load(Ordering::SeqCst) == 0 {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.faults.syncs_left.fetch_sub(1, Ordering::SeqCst);
        if !self.faults.lies {
            let mut durable = self.faults.durable.lock().unwrap();
            let known = durable.entry(self.path.clone()).or_default();
            *known = length.max(*known);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.real.length()
    }
}
