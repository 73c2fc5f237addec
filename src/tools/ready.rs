//! A jailed process that was started before there was anything to do, so that a call need not wait
//! for that. It serves one order: it takes the tool's name and descriptors, gives up the calls it
//! needed for that, and is then the same as a process that was started for the order.

use std::process::ExitCode;

use crate::jail;
use crate::sys::handed;

/// Exit status where no order could be taken.
const UNREADY: u8 = 71;

/// Its whole life.
pub(super) fn run() -> ExitCode {
    // All that takes time comes before the order.
    let Ok(filter) = jail::tool_filter() else {
        return ExitCode::from(UNREADY);
    };
    let tool = match handed::take() {
        Ok(Some(tool)) if tool != jail::WAITS => tool,
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(_)) | Err(_) => return ExitCode::from(UNREADY),
    };
    if filter.install().is_err() {
        return ExitCode::from(UNREADY);
    }
    super::run(&tool)
}
