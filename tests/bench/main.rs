//! What Keepgate costs, as ratios in one run on one machine: against raw `fdatasync` on the same
//! disk, against `posix_spawn` and bare fork + exec of the same binary. Each pair is measured in
//! turns, and medians are compared, so that a noisy neighbour hurts both alike. Names of
//! [`SECTIONS`] as arguments measure only these.
#![expect(
    clippy::disallowed_methods,
    reason = "the benchmark starts the real binary"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark that fails should say so and stop"
)]

mod calls;
mod disk;
mod gateway;
mod jail;
mod memory;
mod report;

use std::path::PathBuf;

use report::Report;

/// Measures one thing.
type Section = fn(&mut Report);

/// What can be measured alone.
const SECTIONS: [(&str, Section); 5] = [
    ("log", disk::measure),
    ("jail", jail::measure),
    ("calls", calls::measure),
    ("gateway", gateway::measure),
    ("memory", memory::measure),
];

/// The binary under test.
fn binary() -> PathBuf {
    std::env::var_os("KEEPGATE_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_keepgate").into(), Into::into)
}

/// A fresh directory on the disk that holds the build, not in memory.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if let [caller, socket, connections, depth, calls] = arguments.as_slice()
        && caller == "caller"
    {
        calls::caller(
            socket,
            connections.parse().unwrap(),
            depth.parse().unwrap(),
            calls.parse().unwrap(),
        );
        return;
    }
    if let [echo, kind, at, token, tool, callers, calls] = arguments.as_slice()
        && echo == "echo"
    {
        let place = gateway::client::Place::parse(kind, at, token);
        let (callers, calls) = (callers.parse().unwrap(), calls.parse().unwrap());
        for time in gateway::client::echo(&place, tool, callers, calls) {
            println!("{time:.1}");
        }
        return;
    }
    if let [relay, what, server] = arguments.as_slice()
        && relay == "relay"
    {
        gateway::floor::relay(what, server);
        return;
    }
    if let [worker, kind, argument] = arguments.as_slice()
        && worker == jail::WORKER
    {
        jail::work(kind, argument);
        return;
    }
    let known = SECTIONS.map(|(name, _)| name);
    let unknown = arguments.iter().find(|name| !known.contains(&&***name));
    assert!(unknown.is_none(), "no section {unknown:?}: {known:?}");
    let mut report = Report::default();
    for (name, measure) in SECTIONS {
        if arguments.is_empty() || arguments.iter().any(|wanted| wanted == name) {
            measure(&mut report);
        }
    }
}
