#![no_main]

mod manifests;

libfuzzer_sys::fuzz_target!(|data: &[u8]| manifests::manifest(data));
