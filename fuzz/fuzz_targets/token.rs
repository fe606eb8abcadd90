#![no_main]

mod tokens;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tokens::token(data));
