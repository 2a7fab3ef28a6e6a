//! One question to one tracker, from its URL to the answer: look up the host, try its addresses,
//! speak HTTP (over TLS, which the host does) or have the UDP client ask, follow redirects (BEP 3, BEP 15).
//!
//! The machine says what to do in [`Step`]s and is told what came of each. It holds at most one
//! connection, and ends within the question's deadline. Addresses where a torrent must not lead
//! are not asked, at first or after a redirect (defence 29). Where the user wants to ask, we do; a
//! redirect from there is followed by the same rules as any.
//!
//! An announce is for one address family, and asks at the tracker's addresses of that family: it is
//! from where we ask that the tracker tells peers of us (BEP 7). Each of them has its share of the
//! time, until one gives a tracker's answer.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::announce::AnnounceResponse;
use super::error::TrackerError;
use super::question::{Answer, NamedBy, Question};
use super::scrape::{ScrapeResponse, scrape_url};
use crate::event::{NetError, ResolveError};
use crate::family::{Families, Family};
use crate::http::client::Limits;
use crate::http::{
    ClientExchange, Host, HttpError, MAX_REDIRECTS, Progress, Request, Response, Scheme, Url,
    UrlError, origin,
};
use crate::time::{Duration, Instant};

/// Time for one address to react before the next is tried (chosen).
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// What the owner of an [`Exchange`] is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Look up this host, then call [`Exchange::handle_resolved`].
    Resolve(Box<str>),
    /// Connect over TCP, then call [`Exchange::handle_connected`] or [`Exchange::handle_closed`].
    Connect {
        /// Where to.
        to: SocketAddr,
        /// Over TLS, with this host.
        tls: Option<Box<str>>,
    },
    /// Send this on the connection.
    Send(Bytes),
    /// Close the connection, or stop connecting. No more is wanted of it.
    Close,
    /// Ask over UDP ([`UdpTracker::ask`](super::UdpTracker::ask), with this URL and this
    /// question), then call [`Exchange::handle_answer`].
    Ask {
        /// The tracker's address.
        to: SocketAddr,
        /// How long to wait for its answer.
        patience: Duration,
    },
    /// Over; the last step. A connection was closed before, an answer over UDP may be cancelled.
    Done(Result<Answer, TrackerError>),
}

/// A question under way.
#[derive(Debug)]
pub struct Exchange {
    tracker: Url,
    question: Question,
    user_agent: Box<str>,
    deadline: Instant,
    /// What is asked for now: differs from the tracker's URL by the query and by redirects.
    url: Url,
    redirects: u32,
    /// The address that sent us elsewhere.
    redirected_by: Option<IpAddr>,
    named_by: NamedBy,
    /// Families of the addresses that it may be asked at.
    families: Families,
    /// Addresses not tried yet.
    addresses: VecDeque<SocketAddr>,
    state: State,
    steps: VecDeque<Step>,
}

#[derive(Debug)]
enum State {
    Resolving,
    Connecting { to: SocketAddr, until: Instant },
    Exchanging { with: IpAddr, until: Instant, http: Box<ClientExchange> },
    Asking,
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
            url: tracker.clone(),
            tracker,
            question,
            user_agent: user_agent.into(),
            redirects: 0,
            redirected_by: None,
            named_by,
            families,
            addresses: VecDeque::new(),
            state: State::Resolving,
            steps: VecDeque::new(),
        };
        match exchange.request_url() {
            Ok(url) => exchange.go_to(now, url),
            Err(error) => exchange.finish(Err(error)),
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

    /// What to do next; to be called until it returns `None`, after each input.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When to call [`Exchange::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Done => None,
            State::Connecting { until, .. } | State::Exchanging { until, .. } => {
                Some(until.min(self.deadline))
            }
            _ => Some(self.deadline),
        }
    }

    /// The host was looked up.
    pub fn handle_resolved(&mut self, now: Instant, result: Result<Vec<IpAddr>, ResolveError>) {
        if !matches!(self.state, State::Resolving) {
            return;
        }
        match result {
            Ok(addresses) => self.handle_addresses(now, &addresses),
            Err(why) => self.finish(Err(TrackerError::Resolve(why))),
        }
    }

    /// The connection is there.
    pub fn handle_connected(&mut self, now: Instant) {
        let State::Connecting { to, .. } = self.state else { return };
        let request = Request::get(self.url.clone()).header("User-Agent", &self.user_agent);
        let http = Box::new(ClientExchange::new(&request, Limits::default()));
        self.steps.push_back(Step::Send(http.request()));
        let until = if self.addresses.is_empty() { self.deadline } else { now + self.share(now) };
        self.state = State::Exchanging { with: to.ip(), until, http };
    }

    /// Bytes came in.
    pub fn handle_received(&mut self, now: Instant, data: &[u8]) {
        let State::Exchanging { with, http, .. } = &mut self.state else { return };
        let with = *with;
        let progress = http.handle(data);
        self.handle_progress(now, with, progress, true);
    }

    /// The connection is over, or could not be established.
    pub fn handle_closed(&mut self, now: Instant, why: Option<NetError>) {
        match &mut self.state {
            State::Connecting { .. } => {
                let why = why.unwrap_or(NetError::UnexpectedEnd);
                self.try_next(now, TrackerError::Connect(why));
            }
            State::Exchanging { with, http, .. } => {
                let with = *with;
                match why {
                    Some(why) => self.try_next(now, TrackerError::Disconnected(why)),
                    None => {
                        let progress = http.handle_close();
                        self.handle_progress(now, with, progress, false);
                    }
                }
            }
            State::Resolving | State::Asking | State::Done => {}
        }
    }

    /// The UDP client is done with the question.
    pub fn handle_answer(&mut self, now: Instant, result: Result<Answer, TrackerError>) {
        if !matches!(self.state, State::Asking) {
            return;
        }
        match result {
            Err(TrackerError::TimedOut) => self.try_next(now, TrackerError::TimedOut),
            result => self.end(result),
        }
    }

    /// The time of [`Exchange::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Done => {}
            _ if now >= self.deadline => self.finish(Err(TrackerError::TimedOut)),
            State::Connecting { until, .. } if now >= until => {
                self.steps.push_back(Step::Close);
                self.try_next(now, TrackerError::Connect(NetError::TimedOut));
            }
            State::Exchanging { until, .. } if now >= until => {
                self.steps.push_back(Step::Close);
                self.try_next(now, TrackerError::TimedOut);
            }
            _ => {}
        }
    }

    /// What to get over HTTP; the tracker's own URL over UDP.
    fn request_url(&self) -> Result<Url, TrackerError> {
        match (self.tracker.scheme(), &self.question) {
            (Scheme::Udp, _) => Ok(self.tracker.clone()),
            (_, Question::Announce(request)) => Ok(request.to_url(&self.tracker)),
            (_, Question::Scrape(infohashes)) => {
                scrape_url(&self.tracker, infohashes).ok_or(TrackerError::NoScrape)
            }
        }
    }

    /// Makes `url` the one that is asked.
    fn go_to(&mut self, now: Instant, url: Url) {
        self.url = url;
        self.state = State::Resolving;
        match self.url.host().clone() {
            Host::Name(name) => self.steps.push_back(Step::Resolve(name)),
            Host::Ip(ip) => self.handle_addresses(now, &[ip]),
        }
    }

    fn handle_addresses(&mut self, now: Instant, addresses: &[IpAddr]) {
        let port = self.url.port();
        let of_family = |ip: &&IpAddr| self.families.contains(Family::of(**ip));
        let mut here: Vec<IpAddr> = addresses.iter().filter(of_family).copied().collect();
        if here.is_empty() && self.redirects > 0 {
            // Where it leads to is not in the tracker's hand alone: better there than nowhere.
            here = addresses.to_vec();
        }
        let error = match (here.first(), addresses.first()) {
            (Some(first), _) => TrackerError::ForbiddenAddress(*first),
            (None, Some(first)) => TrackerError::NoAddress(Family::of(*first).other()),
            (None, None) => TrackerError::Resolve(ResolveError::NotFound),
        };
        let allowed = here.into_iter().filter(|ip| self.is_allowed(*ip));
        self.addresses = allowed.map(|ip| SocketAddr::new(ip, port)).collect();
        self.try_next(now, error);
    }

    /// The time for one address, so that each that is left has its turn before the deadline.
    fn share(&self, now: Instant) -> Duration {
        let left = self.deadline.saturating_duration_since(now);
        left / u32::try_from(self.addresses.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        if self.named_by == NamedBy::User && self.redirects == 0 {
            return true;
        }
        let from_here = self.redirected_by.is_none_or(|from| origin::redirect_allowed(from, ip));
        // A packet of BEP 15 means nothing to other services.
        from_here && (self.url.scheme() == Scheme::Udp || origin::tracker_allowed(&self.url, ip))
    }

    /// Turns to the next address; without one, `error` is what came of it all.
    fn try_next(&mut self, now: Instant, error: TrackerError) {
        let Some(to) = self.addresses.pop_front() else {
            return self.end(Err(error));
        };
        if self.url.scheme() != Scheme::Udp {
            let until = now + self.share(now).min(ADDRESS_TIMEOUT);
            self.state = State::Connecting { to, until };
            let is_secure = self.url.scheme() == Scheme::Https;
            let tls = is_secure.then(|| self.url.host().to_tls_name());
            self.steps.push_back(Step::Connect { to, tls });
            return;
        }
        let share = self.share(now);
        let patience = if self.addresses.is_empty() { share } else { share.min(ADDRESS_TIMEOUT) };
        self.state = State::Asking;
        self.steps.push_back(Step::Ask { to, patience });
    }

    /// `open` says whether there is still a connection to close.
    fn handle_progress(
        &mut self,
        now: Instant,
        with: IpAddr,
        progress: Result<Progress, HttpError>,
        open: bool,
    ) {
        if open && progress != Ok(Progress::More) {
            self.steps.push_back(Step::Close);
        }
        match progress {
            Ok(Progress::More) => {}
            Ok(Progress::Response(response)) => match self.read(&response) {
                Ok(answer) => self.end(Ok(answer)),
                // A tracker's own words count for each of its addresses.
                Err(refusal @ TrackerError::Refused { .. }) => self.end(Err(refusal)),
                Err(why) => self.try_next(now, why),
            },
            Ok(Progress::Redirect(url)) => self.redirect(now, with, url),
            Err(why) => self.try_next(now, TrackerError::Http(why)),
        }
    }

    fn redirect(&mut self, now: Instant, from: IpAddr, to: Url) {
        self.redirects += 1;
        self.redirected_by = Some(from);
        match to.scheme() {
            _ if self.redirects > MAX_REDIRECTS => self.end(Err(TrackerError::TooManyRedirects)),
            Scheme::Http | Scheme::Https => self.go_to(now, to),
            Scheme::Udp => {
                let why = HttpError::BadRedirect(UrlError::UnknownScheme);
                self.end(Err(TrackerError::Http(why)));
            }
        }
    }

    fn read(&self, response: &Response) -> Result<Answer, TrackerError> {
        let answer = match self.question {
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

    /// Over, with the connection closed if there is one.
    fn finish(&mut self, result: Result<Answer, TrackerError>) {
        if matches!(self.state, State::Connecting { .. } | State::Exchanging { .. }) {
            self.steps.push_back(Step::Close);
        }
        self.end(result);
    }

    /// Over; there is no connection.
    fn end(&mut self, result: Result<Answer, TrackerError>) {
        self.state = State::Done;
        self.steps.push_back(Step::Done(result));
    }
}

#[cfg(test)]
mod tests;
