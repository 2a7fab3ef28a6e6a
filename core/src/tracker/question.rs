//! What is asked of a tracker and what it answers, whatever carries it.

use super::announce::{AnnounceEvent, AnnounceRequest, AnnounceResponse};
use super::error::TrackerError;
use super::scrape::ScrapeResponse;
use crate::piece::InfoHash;
use crate::time::Duration;

/// Time for a whole exchange with a tracker (chosen).
const DEADLINE: Duration = Duration::from_secs(30);

/// Time for telling a tracker that we leave: nobody waits long for that (chosen).
const STOPPED_DEADLINE: Duration = Duration::from_secs(5);

/// Where a tracker's URL comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamedBy {
    /// The user, who knows what is there: it is asked wherever it is.
    User,
    /// A torrent or magnet link, which strangers made.
    Torrent,
}

/// Something to ask a tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// Announces a peer.
    Announce(Box<AnnounceRequest>),
    /// Asks for the numbers of swarms.
    Scrape(Vec<InfoHash>),
}

/// What a tracker answers to a [`Question`] of the same kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To an announce.
    Announce(AnnounceResponse),
    /// To a scrape.
    Scrape(ScrapeResponse),
}

impl Question {
    /// How long to wait for the answer.
    pub fn deadline(&self) -> Duration {
        if self.is_farewell() { STOPPED_DEADLINE } else { DEADLINE }
    }

    /// Whether it tells a tracker that we leave.
    pub fn is_farewell(&self) -> bool {
        self.event() == Some(AnnounceEvent::Stopped)
    }

    /// Whether the tracker is to hear it though the torrent stops: that it is complete, that we leave.
    pub fn outlives_torrent(&self) -> bool {
        matches!(self.event(), Some(AnnounceEvent::Stopped | AnnounceEvent::Completed))
    }

    fn event(&self) -> Option<AnnounceEvent> {
        match self {
            Question::Announce(request) => request.event,
            Question::Scrape(_) => None,
        }
    }
}

impl From<AnnounceRequest> for Question {
    fn from(request: AnnounceRequest) -> Self {
        Question::Announce(Box::new(request))
    }
}

impl Answer {
    /// The answer to an announce; an error if it is none.
    pub fn into_announce(self) -> Result<AnnounceResponse, TrackerError> {
        match self {
            Answer::Announce(response) => Ok(response),
            Answer::Scrape(_) => Err(TrackerError::Malformed("it is no announce's")),
        }
    }

    /// The answer to a scrape; an error if it is none.
    pub fn into_scrape(self) -> Result<ScrapeResponse, TrackerError> {
        match self {
            Answer::Scrape(response) => Ok(response),
            Answer::Announce(_) => Err(TrackerError::Malformed("it is no scrape's")),
        }
    }
}
