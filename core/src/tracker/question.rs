//! What is asked of a tracker and what it answers, whatever carries it.

use super::announce::{AnnounceEvent, AnnounceRequest, AnnounceResponse};
use super::scrape::ScrapeResponse;
use crate::piece::InfoHash;
use crate::time::Duration;

/// Time for a whole exchange with a tracker (chosen).
const DEADLINE: Duration = Duration::from_secs(30);

/// Time for telling a tracker that we leave: nobody waits long for that (chosen).
const STOPPED_DEADLINE: Duration = Duration::from_secs(5);

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
        matches!(self, Question::Announce(request) if request.event == Some(AnnounceEvent::Stopped))
    }
}

impl From<AnnounceRequest> for Question {
    fn from(request: AnnounceRequest) -> Self {
        Question::Announce(Box::new(request))
    }
}

impl Answer {
    /// The answer to an announce.
    pub fn into_announce(self) -> Option<AnnounceResponse> {
        match self {
            Answer::Announce(response) => Some(response),
            Answer::Scrape(_) => None,
        }
    }
}
