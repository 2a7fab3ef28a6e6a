//! Interop with real clients. See `bitswarm_tests::interop` for the harness.

mod between_peers;
mod command_line;
mod create;
mod dht;
mod encryption;
mod hostile_peers;
mod https_trackers;
mod interruptions;
mod local_discovery;
mod magnets;
mod trackers;
mod transfers;
mod utp;
mod v2_trees;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut cases = between_peers::cases();
    cases.extend(transfers::cases());
    cases.extend(magnets::cases());
    cases.extend(dht::cases());
    cases.extend(local_discovery::cases());
    cases.extend(trackers::cases());
    cases.extend(https_trackers::cases());
    cases.extend(interruptions::cases());
    cases.extend(encryption::cases());
    cases.extend(hostile_peers::cases());
    cases.extend(command_line::cases());
    cases.extend(create::cases());
    cases.extend(utp::cases());
    cases.extend(v2_trees::cases());
    bitswarm_tests::interop::runner::run(cases)
}
