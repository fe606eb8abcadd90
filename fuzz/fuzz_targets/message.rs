#![no_main]

#[expect(dead_code, reason = "each target asks one thing")]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::message(data));
