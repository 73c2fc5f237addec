//! Where diagnostics go: the systemd journal with searchable fields (`KEEPGATE_SEQ=`,
//! `KEEPGATE_PLANE=`, …) where there is one, standard error otherwise. The log of calls is
//! something else: see [`crate::audit`].
#![forbid(unsafe_code)]

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

/// Prefix of our fields in the journal.
const PREFIX: &str = "KEEPGATE";

/// Starts diagnostics of a process that serves. Connects to the journal now, before the process
/// confines itself.
pub fn start(level: Level) {
    let level = LevelFilter::from_level(level);
    match tracing_journald::layer() {
        Ok(journal) => {
            let journal = journal
                .with_field_prefix(Some(PREFIX.into()))
                .with_syslog_identifier("keepgate".into());
            drop(registry().with(level).with(journal).try_init());
        }
        Err(_) => {
            let text = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false);
            drop(registry().with(level).with(text).try_init());
        }
    }
}
