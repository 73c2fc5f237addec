//! Which of the three standard descriptors were closed when this process was started. The standard
//! library opens `/dev/null` in their place before `main`, where what is written vanishes without an
//! error, so it has to be asked earlier: by a function that the C library calls first
//! (`.init_array`, System V ABI, "Initialization and Termination Functions").

use std::sync::atomic::{AtomicU8, Ordering};

use super::raw;

/// A bit for each that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

#[used]
#[expect(unsafe_code, reason = "nothing of std runs before `main`")]
// SAFETY: the section holds pointers to functions that take nothing that is looked at; `look` needs
// nothing of the standard library that has to be made ready.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for number in 0..3_u8 {
        if !raw::is_open(number.into()) {
            CLOSED.fetch_or(1 << number, Ordering::Relaxed);
        }
    }
}

/// Whether descriptor `number` (0 to 2) was closed when this process was started.
pub fn was_closed(number: u8) -> bool {
    let bit = 1_u8.checked_shl(number.into()).unwrap_or(0);
    CLOSED.load(Ordering::Relaxed) & bit != 0
}
