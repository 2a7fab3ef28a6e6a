//! Everything at once: whole runs drawn from a seed.

use std::collections::BTreeMap;

use bitswarm_tests::sim::storm;

/// Seeds to run: `SIM_SEEDS=from..to`, or a few.
fn seeds() -> std::ops::Range<u64> {
    let drawn = std::env::var("SIM_SEEDS").ok().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    drawn.unwrap_or(0..40)
}

#[test]
fn storms_of_all_faults_break_no_invariant_and_end_well() {
    let mut failures = Vec::new();
    let mut events: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds() {
        match storm::run(seed) {
            Ok(report) => {
                for (event, count) in report.events {
                    *events.entry(event).or_default() += count;
                }
            }
            Err(failure) => {
                eprintln!("{failure}\n  {}", storm::Options::draw(seed));
                failures.push(seed);
            }
        }
    }
    eprintln!("{events:?}");
    assert!(failures.is_empty(), "{} seeds failed: {failures:?}", failures.len());
}

/// A run that finds a bug if it is put back (docs/SIMULATION.md).
fn again(seed: u64) {
    if let Err(failure) = storm::run(seed) {
        panic!("{failure}");
    }
}

#[test]
fn a_request_that_waits_while_the_peer_chokes_us_is_not_sent() {
    again(111);
}

#[test]
fn after_the_last_notice_nothing_is_announced() {
    again(615);
}

#[test]
fn a_peer_that_spoils_pieces_larger_than_the_assembly_budget_is_found_out() {
    again(296);
}

#[test]
fn who_spoils_the_padded_last_block_of_a_hybrid_again_and_again_is_found_out() {
    again(3_002_711);
}

/// The same with options that the seed does not draw.
fn again_with(seed: u64, changes: &[(&str, u64)]) {
    let mut options = storm::Options::draw(seed);
    for (name, value) in changes {
        options.set(name, *value).expect("there is such an option");
    }
    if let Err(failure) = storm::run_with(options, None) {
        panic!("{failure}");
    }
}

/// On its second connection the answers were still on their way over a slow link, and counted as missing.
#[test]
fn hashes_that_were_given_once_need_not_be_given_again_in_time() {
    again_with(20_227, &[("crowd", 19)]);
}

/// More than thirty connections a second that say nothing left a newcomer its place by chance alone.
#[test]
fn a_newcomer_has_a_place_while_silent_connections_are_renewed() {
    again_with(20_314, &[("crowd", 19), ("crowd_kind", 1)]);
}
