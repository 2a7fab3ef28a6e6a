//! What an HTTP tracker answers to announces and scrapes: any body is refused or becomes an answer
//! that is sane, whatever the tracker said, and no larger than what it was made of.

use bitswarm_core::tracker::announce::{AnnounceResponse, MAX_INTERVAL, MAX_PEERS, MIN_INTERVAL};
use bitswarm_core::tracker::scrape::{MAX_SCRAPE, ScrapeResponse};
use bitswarm_core::tracker::{RetryIn, TrackerError};

/// See the module.
pub(super) fn run(data: &[u8]) {
    match AnnounceResponse::parse(data) {
        Ok(response) => check_announce(&response, data.len()),
        Err(error) => check_error(&error),
    }
    match ScrapeResponse::parse(data) {
        Ok(response) => {
            // An infohash takes 23 bytes, its numbers at least two.
            assert!(response.entries.len() <= MAX_SCRAPE.min(data.len() / 25));
            for entry in &response.entries {
                assert!(response.get(entry.infohash).is_some());
            }
        }
        Err(error) => check_error(&error),
    }
}

/// Also for what comes over UDP.
pub(super) fn check_announce(response: &AnnounceResponse, input_len: usize) {
    assert!((MIN_INTERVAL..=MAX_INTERVAL).contains(&response.interval));
    if let Some(min) = response.min_interval {
        assert!((MIN_INTERVAL..=response.interval).contains(&min));
    }
    assert!(response.peers.len() <= MAX_PEERS.min(input_len / 6));
    for peer in &response.peers {
        let ip = peer.ip();
        assert!(peer.port() != 0 && !ip.is_unspecified() && !ip.is_multicast(), "{peer}");
        assert_eq!(ip, ip.to_canonical());
    }
    assert!(response.tracker_id.as_ref().is_none_or(|id| id.len() <= 512));
    if let Some(warning) = &response.warning {
        check_text(warning);
    }
}

/// Also for what comes over UDP.
pub(super) fn check_error(error: &TrackerError) {
    let _ = (error.to_string(), error.is_permanent(), error.retry_after());
    if let TrackerError::Refused { reason, retry } = error {
        check_text(reason);
        if let Some(RetryIn::After(time)) = retry {
            let secs = time.as_secs();
            assert!(secs % 60 == 0 || secs == u64::MAX, "it is said in minutes");
        }
    }
}

fn check_text(text: &str) {
    assert!(text.chars().count() <= 300 && !text.contains(char::is_control), "{text:?}");
}
