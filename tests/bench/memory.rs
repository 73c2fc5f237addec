//! What an idle appliance of two planes takes: proportional set size of all roles, and the binary.

use super::calls::Bench;
use super::report::Report;

pub(crate) fn measure(report: &mut Report) {
    let bench = Bench::start();
    let mut kib = pss(bench.supervisor());
    let mut each = vec![format!("supervisor {}", kib / 1024)];
    for (plane, role, pid) in bench.roles() {
        let own = pss(pid);
        each.push(format!("{plane}/{role} {}", own / 1024));
        kib += own;
    }
    report.at_most("Pss of two idle planes", kib as f64 / 1024.0, 64.0, " MiB");
    report.note("  of these, in MiB", each.join(", "));
    let size = std::fs::metadata(super::binary()).unwrap().len();
    report.at_most("binary", size as f64 / f64::from(1 << 20), 16.0, " MiB");
}

fn pss(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
