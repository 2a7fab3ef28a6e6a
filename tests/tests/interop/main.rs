//! Interop with real clients. See `bitswarm_tests::interop` for the harness.

mod between_peers;

use std::process::ExitCode;

fn main() -> ExitCode {
    bitswarm_tests::interop::runner::run(between_peers::cases())
}
