#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    keepgate_fuzz::run("upstream-message", bytes);
});
