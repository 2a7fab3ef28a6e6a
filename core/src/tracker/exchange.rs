//! One question to one tracker, from its URL to the answer: fetched over HTTP, or asked over UDP
//! at the addresses of the tracker's host, one after the other (BEP 3, BEP 15).
//!
//! The machine says what to do in [`Step`]s and is handed what came of each. It ends within the
//! question's deadline. Addresses where a torrent must not lead are not asked, at first or after a
//! redirect (defence 29). Where the user wants to ask, we do; a redirect from there is followed by
//! the same rules as any.
//!
//! An announce is for one address family, and asks at the tracker's addresses of that family: it is
//! from where we ask that the tracker tells peers of us (BEP 7). Each of them has its share of the
//! time, until one gives a tracker's answer.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::announce::AnnounceResponse;
use super::error::TrackerError;
use super::question::{Answer, NamedBy, Question};
use super::scrape::{ScrapeResponse, scrape_url};
use crate::family::Families;
use crate::http::client::Limits;
use crate::http::fetch::{Body, FetchError, FetchRequest};
use crate::http::reach::{Purpose, Reach, Unreachable};
use crate::http::{Response, Scheme, Url, UrlHost};
use crate::net_error::ResolveError;
use crate::reach::{Namer, may_dial};
use crate::time::{Duration, Instant};

/// Time for one address to react before the next is tried (chosen).
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// What the owner of an [`Exchange`] is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Fetch this over HTTP, then call [`Exchange::handle_response`] or
    /// [`Exchange::handle_failed`].
    Fetch(Box<FetchRequest>),
    /// The response is no tracker's: have the fetch try the next address.
    TryNext,
    /// Look up this host, then call [`Exchange::handle_resolved`].
    Resolve(Box<str>),
    /// Ask over UDP ([`UdpTracker::ask`](super::UdpTracker::ask), with this URL and this
    /// question), then call [`Exchange::handle_answer`].
    Ask {
        /// The tracker's address.
        to: SocketAddr,
        /// How long to wait for its answer.
        patience: Duration,
    },
    /// Over; the last step. An answer over UDP and a fetch may be cancelled.
    Done(Result<Answer, TrackerError>),
}

/// A question under way.
#[derive(Debug)]
pub struct Exchange {
    tracker: Url,
    question: Question,
    deadline: Instant,
    reach: Reach,
    /// Addresses not asked yet over UDP.
    addresses: VecDeque<SocketAddr>,
    state: State,
    steps: VecDeque<Step>,
}

#[derive(Debug)]
enum State {
    /// The answer is fetched over HTTP. With what was wrong with the last response.
    Fetching(Option<TrackerError>),
    Resolving,
    Asking {
        at: IpAddr,
    },
    Done,
}

impl Exchange {
    /// Begins to ask `question` at the addresses of `tracker` that are of these families.
    /// `user_agent` names us to HTTP servers.
    pub fn new(
        now: Instant,
        tracker: Url,
        question: Question,
        families: Families,
        named_by: NamedBy,
        user_agent: &str,
    ) -> Self {
        let mut exchange = Exchange {
            deadline: now + question.deadline(),
            reach: Reach::new(Purpose::Tracker, families, named_by == NamedBy::User),
            tracker,
            question,
            addresses: VecDeque::new(),
            state: State::Resolving,
            steps: VecDeque::new(),
        };
        match exchange.tracker.scheme() {
            Scheme::Udp => exchange.resolve(now),
            Scheme::Http | Scheme::Https => exchange.fetch(user_agent),
        }
        exchange
    }

    /// The tracker's URL.
    pub fn tracker(&self) -> &Url {
        &self.tracker
    }

    /// What is asked.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// Whether strangers choose where the question goes.
    pub fn is_of_strangers(&self) -> bool {
        self.reach.is_of_strangers()
    }

    /// What to do next; to be called until it returns `None`, after each input.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When to call [`Exchange::handle_timeout`]. A fetch has a deadline of its own.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Resolving | State::Asking { .. } => Some(self.deadline),
            State::Fetching(_) | State::Done => None,
        }
    }

    // Over HTTP.

    /// A response was fetched, from this address.
    pub fn handle_response(&mut self, response: &Response, from: Option<IpAddr>) {
        let State::Fetching(problem) = &mut self.state else { return };
        match read(&self.question, response) {
            Ok(answer) => self.end(Ok(believed(answer, from))),
            // A tracker's own words count for each of its addresses.
            result @ Err(TrackerError::Refused { .. }) => self.end(result),
            Err(why) => {
                *problem = Some(why);
                self.steps.push_back(Step::TryNext);
            }
        }
    }

    /// Nothing more can be fetched.
    pub fn handle_failed(&mut self, why: FetchError) {
        let State::Fetching(problem) = &mut self.state else { return };
        let why = match (why, problem.take()) {
            (FetchError::NoMoreAddresses, Some(problem)) => problem,
            (why, _) => why.into(),
        };
        self.end(Err(why));
    }

    fn fetch(&mut self, user_agent: &str) {
        let url = match &self.question {
            Question::Announce(request) => request.to_url(&self.tracker),
            Question::Scrape(infohashes) => match scrape_url(&self.tracker, infohashes) {
                Some(url) => url,
                None => return self.end(Err(TrackerError::NoScrape)),
            },
        };
        self.state = State::Fetching(None);
        self.steps.push_back(Step::Fetch(Box::new(FetchRequest {
            url,
            body: Body::Whole,
            user_agent: user_agent.into(),
            reach: self.reach.clone(),
            patience: self.question.deadline(),
            limits: Limits::default(),
        })));
    }

    // Over UDP.

    /// The host was looked up.
    pub fn handle_resolved(&mut self, now: Instant, result: Result<Vec<IpAddr>, ResolveError>) {
        if !matches!(self.state, State::Resolving) {
            return;
        }
        match result {
            Ok(addresses) => self.handle_addresses(now, &addresses),
            Err(why) => self.end(Err(TrackerError::Resolve(why))),
        }
    }

    /// The UDP client is done with the question.
    pub fn handle_answer(&mut self, now: Instant, result: Result<Answer, TrackerError>) {
        let State::Asking { at } = self.state else { return };
        match result {
            Err(why @ (TrackerError::TimedOut | TrackerError::Connect(_))) => {
                self.ask_next(now, why);
            }
            Ok(answer) => self.end(Ok(believed(answer, Some(at)))),
            Err(why) => self.end(Err(why)),
        }
    }

    /// The time of [`Exchange::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.end(Err(TrackerError::TimedOut));
        }
    }

    fn resolve(&mut self, now: Instant) {
        match self.tracker.host().clone() {
            UrlHost::Name(name) => self.steps.push_back(Step::Resolve(name)),
            UrlHost::Ip(ip) => self.handle_addresses(now, &[ip]),
        }
    }

    fn handle_addresses(&mut self, now: Instant, found: &[IpAddr]) {
        match self.reach.choose(&self.tracker, found) {
            Ok(addresses) => {
                self.addresses = addresses.into();
                self.ask_next(now, TrackerError::TimedOut);
            }
            Err(why) => self.end(Err(why.into())),
        }
    }

    /// Asks at the next address; without one, `error` is what came of it all.
    fn ask_next(&mut self, now: Instant, error: TrackerError) {
        let Some(to) = self.addresses.pop_front() else { return self.end(Err(error)) };
        // Each that is left has its turn before the deadline.
        let left = self.deadline.saturating_duration_since(now);
        let others = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        let share = left / others.saturating_add(1);
        let patience = if others == 0 { share } else { share.min(ADDRESS_TIMEOUT) };
        self.state = State::Asking { at: to.ip() };
        self.steps.push_back(Step::Ask { to, patience });
    }

    fn end(&mut self, result: Result<Answer, TrackerError>) {
        self.state = State::Done;
        self.steps.push_back(Step::Done(result));
    }
}

/// What may be believed of an answer from this address: no peers that are nearer than the tracker.
fn believed(mut answer: Answer, from: Option<IpAddr>) -> Answer {
    if let (Answer::Announce(announce), Some(from)) = (&mut answer, from) {
        announce.answered_by = Some(from);
        announce.peers.retain(|peer| may_dial(*peer, Namer::Tracker(from)));
    }
    answer
}

/// The answer to a question in a response.
fn read(question: &Question, response: &Response) -> Result<Answer, TrackerError> {
    let answer = match question {
        Question::Announce(_) => AnnounceResponse::parse(&response.body).map(Answer::Announce),
        Question::Scrape(_) => ScrapeResponse::parse(&response.body).map(Answer::Scrape),
    };
    match answer {
        // Some trackers refuse with an HTTP error around their words.
        Err(TrackerError::Refused { .. }) => answer,
        _ if response.status != 200 => Err(TrackerError::Status(response.status)),
        _ => answer,
    }
}

impl From<FetchError> for TrackerError {
    fn from(why: FetchError) -> Self {
        match why {
            FetchError::Unreachable(why) => why.into(),
            FetchError::Connect(why) => TrackerError::Connect(why),
            FetchError::Disconnected(why) => TrackerError::Disconnected(why),
            FetchError::Http(why) => TrackerError::Http(why),
            FetchError::TooManyRedirects => TrackerError::TooManyRedirects,
            FetchError::TimedOut | FetchError::NoMoreAddresses => TrackerError::TimedOut,
        }
    }
}

impl From<Unreachable> for TrackerError {
    fn from(why: Unreachable) -> Self {
        match why {
            Unreachable::Resolve(why) => TrackerError::Resolve(why),
            Unreachable::NoAddress(family) => TrackerError::NoAddress(family),
            Unreachable::Forbidden(ip) => TrackerError::ForbiddenAddress(ip),
        }
    }
}

#[cfg(test)]
mod tests;
