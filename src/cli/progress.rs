//! Progress of long commands: on a terminal only, and only where standard error is one.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::print::Screen;

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// A bar over a number of bytes; hidden where nobody looks.
pub(super) fn bytes(screen: &Screen) -> ProgressBar {
    if !visible(screen) {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

/// A sign of life; hidden where nobody looks.
pub(super) fn spinner(screen: &Screen, what: &'static str) -> ProgressBar {
    if !visible(screen) {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(TURN);
    bar
}

fn visible(screen: &Screen) -> bool {
    use std::io::IsTerminal;
    !screen.json() && std::io::stderr().is_terminal()
}
