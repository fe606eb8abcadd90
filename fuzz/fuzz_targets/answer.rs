#![no_main]

#[expect(dead_code, reason = "each target asks one thing")]
mod answers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| answers::answer(data));
