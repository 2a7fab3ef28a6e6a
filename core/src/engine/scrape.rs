//! Trackers asked for the numbers of swarms without taking part in them (BEP 48, BEP 15).

use super::{Engine, Stopping};
use crate::http::Url;
use crate::piece::InfoHash;
use crate::time::Instant;
use crate::tracker::ScrapeId;

impl Engine {
    /// Asks the tracker with this announce URL for the numbers of swarms, of the first
    /// [`MAX_SCRAPE`](crate::tracker::MAX_SCRAPE) of these at most; `Notice::Scraped` follows.
    pub fn scrape(
        &mut self,
        now: Instant,
        tracker: Url,
        infohashes: Vec<InfoHash>,
    ) -> Result<ScrapeId, Stopping> {
        self.advance(now);
        if self.session.stopping {
            return Err(Stopping);
        }
        let id = self.announces.scrape(&mut self.session, &mut self.fetches, tracker, infohashes);
        self.settle();
        Ok(id)
    }
}
