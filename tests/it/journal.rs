//! Diagnostics in a real systemd-journald, started by hand in a mount namespace of its own with a
//! private `/run`: the machine's own journal never hears of it.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Appliance, binary};

const SCRIPT: &str = r#"
set -eu
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log/journal
[ ! -d /var/log/journal ] || mount -t tmpfs none /var/log/journal
/lib/systemd/systemd-journald >/dev/null 2>&1 &
journald=$!
wait_for() { n=0; until "$@" >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 600 ] || exit 9; sleep 0.1; done; }
wait_for test -S /run/systemd/journal/socket
"$BIN" --dir "$DIR" serve >/dev/null 2>"$DIR/serve.log" &
serve=$!
wait_for "$BIN" --dir "$DIR" agent add reader --uid 64999
find_entry() { journalctl --quiet --no-pager -o json KEEPGATE_KIND=agent.add | grep -q KEEPGATE_SEQ; }
wait_for find_entry
journalctl --quiet --no-pager -o json KEEPGATE_KIND=agent.add
kill -TERM $serve; wait $serve || true
kill -TERM $journald; wait $journald || true
"#;

#[test]
fn entries_reach_a_real_journal_with_searchable_fields() {
    let appliance = Appliance::init("");
    let done = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-c", SCRIPT])
        .env("BIN", binary())
        .env("DIR", appliance.directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        done.status.success(),
        "{done:?}\n{}",
        appliance.diagnostics()
    );
    let entry: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(entry["KEEPGATE_PLANE"], "production", "{entry}");
    assert_eq!(entry["KEEPGATE_AGENT"], "reader");
    assert_eq!(entry["SYSLOG_IDENTIFIER"], "keepgate");
    assert!(
        entry["KEEPGATE_SEQ"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .is_ok()
    );
    assert!(
        appliance.diagnostics().is_empty(),
        "stderr is for hosts without a journal: {}",
        appliance.diagnostics()
    );
}
