//! Everything at once: whole runs drawn from a seed.

use std::collections::BTreeMap;

use bitswarm_tests::sim::storm::{self, Options};

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

/// What seeds drew before there was anything but public torrents of v1, and sends reported at once.
const V1: &[(&str, u64)] =
    &[("protocol", 0), ("hash_trouble_per_mille", 0), ("private", 0), ("sent_late_ms", 0)];

/// A run that once found something (docs/SIMULATION.md), with the options that it had.
fn again(seed: u64, set: &[(&str, u64)]) {
    let mut options = Options::draw(seed);
    for (name, value) in set {
        options.set(name, *value).expect("there is such an option");
    }
    if let Err(failure) = storm::run_with(options, None) {
        panic!("{failure}");
    }
}

#[test]
fn a_request_that_waits_while_the_peer_chokes_us_is_not_sent() {
    again(111, &[]);
}

#[test]
fn after_the_last_notice_nobody_is_dialled_and_nothing_announced() {
    again(10_170, V1);
}

#[test]
fn whoever_spoils_pieces_larger_than_the_assembly_budget_is_found_out() {
    again(11_563, V1);
}

#[test]
fn leaf_hashes_that_two_were_asked_for_may_come_from_both() {
    again(300_788, &[("protocol", 1), ("magnets_per_mille", 700), ("hash_trouble_per_mille", 500)]);
}

#[test]
fn who_spoils_the_padded_last_block_of_a_hybrid_again_and_again_is_found_out() {
    again(3_002_711, &[]);
}
