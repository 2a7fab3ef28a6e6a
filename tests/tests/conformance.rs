//! Every runtime passes the same suite.

use bitswarm_tests::conformance;

conformance!(mio, bitswarm_runtime_mio::start);

conformance!(async_std, bitswarm_runtime_async_std::start);

conformance!(smol, bitswarm_runtime_async_std::start_on_smol);

conformance!(blocking, bitswarm_tests::blocking::start, core);

/// The example is to show that a runtime is an afternoon's work.
#[test]
fn blocking_example_stays_short() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/blocking.rs");
    let lines = std::fs::read_to_string(path).unwrap().lines().count();
    assert!(lines <= 400, "it has {lines} lines");
}
