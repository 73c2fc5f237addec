//! What a jail costs: against `posix_spawn` and bare fork + exec of the same program, against other
//! sandboxes, through a jailer as the product has it.

mod group;
mod host;
mod keeper;
mod parts;
mod worker;
mod world;

use keepgate::jail::profile::{Draft, Host};
use keepgate::wire::manifest::Manifest;

use super::report::Report;
pub(super) use worker::WORKER;

/// The uid of jails here.
const TOOL: u32 = 64_997;
/// The uid of jailers here.
const JAILER: u32 = 64_996;

/// Measures all of it.
pub(super) fn measure(report: &mut Report) {
    let small = parts::Small::new();
    parts::native(report);
    parts::unprivileged(report);
    parts::fat(report);
    parts::crowd(report);
    parts::leaks(report);
    parts::others(report, &small);
    parts::foreign(report);
    parts::self_test(report);
}

/// Median seconds of a native jail, as root.
pub(super) fn floor() -> f64 {
    parts::native(&mut Report::silent())
}

/// The life of a worker of this kind.
pub(super) fn work(kind: &str, argument: &str) {
    match kind {
        host::KIND => host::run(argument),
        world::KIND => world::run(argument),
        keeper::KIND => keeper::run(argument),
        _ => panic!("{kind}"),
    }
}

/// The built-in profile `foreign` on this host.
pub(crate) fn foreign() -> Manifest {
    let draft = Draft::builtin("foreign").unwrap();
    draft.check(&Host::here(Vec::new(), true)).unwrap()
}
