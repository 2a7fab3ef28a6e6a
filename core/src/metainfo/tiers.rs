//! Trackers in tiers (BEP 12), as they are used and as they are written.

use std::collections::BTreeSet;

use super::error::MetainfoError;
use super::limits::MAX_TRACKERS;

/// Tiers as they are used: each URL once, trimmed, no empty tier, not too many.
pub(super) fn used<'a>(
    tiers: impl IntoIterator<Item = impl IntoIterator<Item = &'a str>>,
) -> Vec<Vec<String>> {
    tiers_up_to(MAX_TRACKERS, tiers)
}

/// Tiers as they are written: as [`used`], if they are not too many to be read again.
pub(super) fn writable(of: &[Vec<String>]) -> Result<Vec<Vec<String>>, MetainfoError> {
    let tiers = tiers_up_to(usize::MAX, of.iter().map(|tier| tier.iter().map(String::as_str)));
    match tiers.iter().map(Vec::len).sum() {
        0..=MAX_TRACKERS => Ok(tiers),
        trackers => Err(MetainfoError::TooManyTrackers { trackers }),
    }
}

fn tiers_up_to<'a>(
    most: usize,
    tiers: impl IntoIterator<Item = impl IntoIterator<Item = &'a str>>,
) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for tier in tiers {
        let urls = tier.into_iter().map(str::trim).filter(|url| !url.is_empty());
        let fresh = urls.filter(|url| seen.len() < most && seen.insert(*url));
        let mut tier: Vec<String> = fresh.map(str::to_owned).collect();
        // Most torrents have one tracker, and a session may have thousands of torrents.
        tier.shrink_to_fit();
        if !tier.is_empty() {
            kept.push(tier);
        }
    }
    kept.shrink_to_fit();
    kept
}
