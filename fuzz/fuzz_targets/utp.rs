#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bitswarm_tests::fuzz::run("utp", data));
