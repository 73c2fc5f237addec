//! Calls of tools behind a gateway.

pub(crate) mod client;
pub(crate) mod floor;
mod parts;
mod whole;

use super::report::Report;

/// Measures all of it.
pub(crate) fn measure(report: &mut Report) {
    if !nix::unistd::geteuid().is_root() || !std::path::Path::new("/usr/bin/python3").exists() {
        return report.note("gateway: not measured", "needs root and python3".into());
    }
    parts::measure(report);
    whole::measure(report);
}
