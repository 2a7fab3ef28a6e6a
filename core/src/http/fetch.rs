//! Fetches what an HTTP or HTTPS URL names: looks the host up, tries its addresses, follows
//! redirects, and gives the body whole or, of a range, as it comes.
//!
//! The machine says what to do in [`Step`]s and is handed what came of each; what it has for its owner
//! are [`Output`]s. It holds at most one connection. Each address of the host has its share of the
//! time until one gives a response; an owner that cannot use the response has the next address
//! tried. Where a request may go is decided by its [`Reach`], for each address and again after each
//! redirect (defence 29). The host of the engine speaks TLS.
//!
//! A connection that can carry another request is given back to be kept ([`Step::Keep`]), and a fetch
//! may begin on one that was ([`Fetch::handle_kept`]). That is a short cut only: if what comes of
//! it is anything but a response the owner wants, the fetch begins anew without it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};

use super::client::{Limits, MAX_REDIRECTS, redirect};
use super::range::{self, Served};
use super::reach::{Reach, Unreachable};
use super::response::{Head, Part, ResponseDecoder, decompress, is_plain};
use super::{HttpError, Request, Response, Scheme, Url, UrlError, UrlHost};
use crate::net_error::{NetError, ResolveError};
use crate::time::{Duration, Instant};

/// Time for one address to react before the next is tried (chosen).
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// What to fetch, and within which bounds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// Where it is; HTTP or HTTPS.
    pub url: Url,
    /// Which part of it.
    pub body: Body,
    /// What names us to the server.
    pub user_agent: Box<str>,
    /// Where the request may go.
    pub reach: Reach,
    /// Time for the whole response; of a range, for its head and then for each part of it.
    pub patience: Duration,
    /// How much is accepted.
    pub limits: Limits,
}

/// Which part of a resource is fetched, and how it is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// All of it, in one [`Output::Response`]; it may come compressed.
    Whole,
    /// These bytes, as they come: [`Output::Head`], [`Output::Body`], [`Output::End`].
    Range(Range<u64>),
}

/// What the owner of the connections is to do for a [`Fetch`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Look up this host, then call [`Fetch::handle_resolved`].
    Resolve(Box<str>),
    /// Connect over TCP, then call [`Fetch::handle_connected`] or [`Fetch::handle_closed`].
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
    /// Keep the connection for further requests, or close it. No more is wanted of it now.
    Keep,
}

/// What a [`Fetch`] has for its owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// The request was sent; the server may have it.
    Requested,
    /// The whole response. The owner may still have the next address tried.
    Response(Response),
    /// The response to a request for a range begins.
    Head {
        /// Its status and headers.
        head: Head,
        /// What of the range follows; `None` if the status is an error.
        served: Option<Served>,
    },
    /// The next bytes of the body; not empty.
    Body(Bytes),
    /// The body is complete.
    End,
    /// No address gave a response; this is what came of the last.
    Failed(FetchError),
}

/// Why a fetch failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchError {
    /// There is no address to ask.
    Unreachable(Unreachable),
    /// The last address accepts no connection.
    Connect(NetError),
    /// The connection broke before the response was complete.
    Disconnected(NetError),
    /// The response is not what it should be.
    Http(HttpError),
    /// More redirects than are followed.
    TooManyRedirects,
    /// No response in time.
    TimedOut,
    /// The owner had the next address tried, and there is none.
    NoMoreAddresses,
}

/// A fetch under way.
#[derive(Debug)]
pub struct Fetch {
    request: FetchRequest,
    /// Differs from that of the request after a redirect.
    url: Url,
    redirects: u32,
    /// Whether a connection that was kept may be used.
    may_use_kept: bool,
    deadline: Instant,
    /// Addresses not tried yet.
    addresses: VecDeque<SocketAddr>,
    state: State,
    /// The address that the last complete response came from.
    answered_by: Option<IpAddr>,
    steps: VecDeque<Step>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    Resolving,
    Connecting {
        to: SocketAddr,
        until: Instant,
    },
    Exchanging(Box<Exchanging>),
    /// A response was given, and there is no connection; whether it came on one that was kept.
    Answered {
        on_kept: bool,
    },
    Done,
}

/// A request that was sent and the response so far.
#[derive(Debug)]
struct Exchanging {
    with: IpAddr,
    /// Whether the connection was kept from an earlier request.
    on_kept: bool,
    until: Instant,
    decoder: ResponseDecoder,
    head: Option<Head>,
    /// The body so far, if it is given whole.
    body: Vec<u8>,
    /// Bytes of the body that came.
    received: u64,
    /// Bytes of the body that the head promises, if it is part of a file.
    promised: Option<u64>,
}

impl Fetch {
    /// Begins to fetch.
    pub fn new(now: Instant, request: FetchRequest) -> Self {
        let mut fetch = Fetch {
            url: request.url.clone(),
            deadline: now + request.patience,
            request,
            redirects: 0,
            may_use_kept: true,
            addresses: VecDeque::new(),
            state: State::Resolving,
            answered_by: None,
            steps: VecDeque::new(),
            outputs: VecDeque::new(),
        };
        fetch.begin(now);
        fetch
    }

    /// What to do next; to be called until it returns `None`, after each input.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// What there is for the owner, once the steps are done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The address that the last complete response came from.
    pub fn answered_by(&self) -> Option<IpAddr> {
        self.answered_by
    }

    /// When to call [`Fetch::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Resolving => Some(self.deadline),
            State::Connecting { until, .. } => Some(self.deadline.min(*until)),
            State::Exchanging(exchange) => Some(self.deadline.min(exchange.until)),
            State::Answered { .. } | State::Done => None,
        }
    }

    /// The host was looked up.
    pub fn handle_resolved(&mut self, now: Instant, result: Result<Vec<IpAddr>, ResolveError>) {
        if !matches!(self.state, State::Resolving) {
            return;
        }
        match result {
            Ok(found) => self.choose_addresses(now, &found),
            Err(why) => self.fail(FetchError::Unreachable(Unreachable::Resolve(why))),
        }
    }

    /// The URL that is fetched now: differs from that of the request after a redirect.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the fetch may begin on a kept connection to this address of the host, instead of
    /// what it has just said to do: to look up the host, or to connect.
    pub fn may_use_kept(&self, ip: IpAddr) -> bool {
        let begins = matches!(self.state, State::Resolving | State::Connecting { .. });
        self.may_use_kept && begins && self.request.reach.fits(&self.url, ip)
    }

    /// There is a connection to this address that was kept, and the fetch may use it.
    pub fn handle_kept(&mut self, now: Instant, with: IpAddr) {
        self.may_use_kept = false;
        // If it is broken without a sign of it, there must be time left for another.
        let half = self.deadline.saturating_duration_since(now) / 2;
        self.send_request(with, now + half, true);
    }

    /// The connection is there.
    pub fn handle_connected(&mut self, now: Instant) {
        let State::Connecting { to, .. } = self.state else { return };
        let until = if self.addresses.is_empty() { self.deadline } else { now + self.share(now) };
        self.send_request(to.ip(), until, false);
    }

    fn send_request(&mut self, with: IpAddr, until: Instant, on_kept: bool) {
        let mut request = Request::get(self.url.clone())
            .header("User-Agent", &self.request.user_agent)
            .keep_alive();
        if let Body::Range(range) = &self.request.body {
            request = request.range(range.clone());
        }
        self.steps.push_back(Step::Send(request.to_bytes()));
        self.outputs.push_back(Output::Requested);
        self.state = State::Exchanging(Box::new(Exchanging {
            with,
            on_kept,
            until,
            decoder: ResponseDecoder::new(self.request.limits.head),
            head: None,
            body: Vec::new(),
            received: 0,
            promised: None,
        }));
    }

    /// Bytes came in.
    pub fn handle_received(&mut self, now: Instant, mut data: BytesMut) {
        while let State::Exchanging(exchange) = &mut self.state {
            let mut rest = &data[..];
            let part = exchange.decoder.next(&mut rest);
            let used = data.len() - rest.len();
            let handled = match part {
                Ok(None) => return,
                Ok(Some(Part::Head(head))) => {
                    data.advance(used);
                    self.handle_head(now, head)
                }
                Ok(Some(Part::Body(part))) => {
                    let framing = used - part.len();
                    let mut part = data.split_to(used);
                    part.advance(framing);
                    self.handle_body(now, part)
                }
                Ok(Some(Part::End { keep_alive })) => {
                    self.steps.push_back(if keep_alive { Step::Keep } else { Step::Close });
                    self.complete(now);
                    Ok(())
                }
                Err(why) => Err(why),
            };
            if let Err(why) = handled {
                self.steps.push_back(Step::Close);
                self.give_up_address(now, FetchError::Http(why));
            }
        }
    }

    /// Whether strangers choose where it goes.
    pub fn is_of_strangers(&self) -> bool {
        self.request.reach.is_of_strangers()
    }

    /// The connection is over, or could not be established.
    pub fn handle_closed(&mut self, now: Instant, why: Option<NetError>) {
        match (&mut self.state, why) {
            (State::Connecting { .. }, why) => {
                let why = why.unwrap_or(NetError::UnexpectedEnd);
                self.give_up_address(now, FetchError::Connect(why));
            }
            (State::Exchanging(_), Some(why)) => {
                self.give_up_address(now, FetchError::Disconnected(why));
            }
            (State::Exchanging(exchange), None) => match exchange.decoder.handle_close() {
                Ok(()) => self.complete(now),
                Err(why) => self.give_up_address(now, FetchError::Http(why)),
            },
            (State::Resolving | State::Answered { .. } | State::Done, _) => {}
        }
    }

    /// The time of [`Fetch::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (until, error) = match &self.state {
            State::Answered { .. } | State::Done => return,
            State::Resolving => (self.deadline, FetchError::TimedOut),
            State::Connecting { until, .. } => (*until, FetchError::Connect(NetError::TimedOut)),
            State::Exchanging(exchange) => (exchange.until, FetchError::TimedOut),
        };
        let is_over = now >= self.deadline;
        if !is_over && now < until {
            return;
        }
        if !matches!(self.state, State::Resolving) {
            self.steps.push_back(Step::Close);
        }
        match is_over {
            true => self.fail(FetchError::TimedOut),
            false => self.give_up_address(now, error),
        }
    }

    /// The owner cannot use the response: has the next address tried.
    pub fn try_next(&mut self, now: Instant) {
        match self.state {
            State::Answered { on_kept: true } => self.begin(now),
            State::Answered { on_kept: false } => {
                self.connect_next(now, FetchError::NoMoreAddresses);
            }
            _ => {}
        }
    }

    /// Looks for what `url` names.
    fn begin(&mut self, now: Instant) {
        self.state = State::Resolving;
        match self.url.host().clone() {
            UrlHost::Name(name) => self.steps.push_back(Step::Resolve(name)),
            UrlHost::Ip(ip) => self.choose_addresses(now, &[ip]),
        }
    }

    fn choose_addresses(&mut self, now: Instant, found: &[IpAddr]) {
        match self.request.reach.choose(&self.url, found) {
            Ok(addresses) => {
                self.addresses = addresses.into();
                self.connect_next(now, FetchError::NoMoreAddresses);
            }
            Err(why) => self.fail(FetchError::Unreachable(why)),
        }
    }

    /// The time for one address, so that each that is left has its turn before the deadline.
    fn share(&self, now: Instant) -> Duration {
        let left = self.deadline.saturating_duration_since(now);
        left / u32::try_from(self.addresses.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Turns to the next address; without one, `error` is what came of it all.
    fn connect_next(&mut self, now: Instant, error: FetchError) {
        let Some(to) = self.addresses.pop_front() else { return self.fail(error) };
        let until = now + self.share(now).min(ADDRESS_TIMEOUT);
        self.state = State::Connecting { to, until };
        let tls = (self.url.scheme() == Scheme::Https).then(|| self.url.host().to_tls_name());
        self.steps.push_back(Step::Connect { to, tls });
    }

    /// Nothing comes of the address that was tried; there is no connection. Once a part of the body
    /// was given out, no other address can take its place.
    fn give_up_address(&mut self, now: Instant, error: FetchError) {
        let (has_begun, on_kept) = match &self.state {
            State::Exchanging(exchange) => {
                (self.gives_parts() && exchange.head.is_some(), exchange.on_kept)
            }
            _ => (false, false),
        };
        match (has_begun, on_kept) {
            (true, _) => self.fail(error),
            (false, true) => self.begin(now),
            (false, false) => self.connect_next(now, error),
        }
    }

    fn gives_parts(&self) -> bool {
        matches!(self.request.body, Body::Range(_))
    }

    fn handle_head(&mut self, now: Instant, head: Head) -> Result<(), HttpError> {
        let State::Exchanging(exchange) = &mut self.state else { return Ok(()) };
        if let Some(location) = redirect(&self.url, &head)? {
            let from = exchange.with;
            self.steps.push_back(Step::Close);
            self.follow(now, from, location);
            return Ok(());
        }
        let limit = self.request.limits.body;
        if head.length.is_some_and(|length| length > limit as u64) {
            return Err(HttpError::BodyTooLong(limit));
        }
        if let Body::Range(asked) = &self.request.body {
            let served = range::judge(&head, asked)?;
            if !is_plain(&head.headers) {
                return Err(HttpError::UnknownContentCoding);
            }
            if let Some(Served::Part { range, .. }) = &served {
                exchange.promised = Some(range.end - range.start);
            }
            self.deadline = now + self.request.patience;
            exchange.until = self.deadline;
            self.outputs.push_back(Output::Head { head: head.clone(), served });
        }
        exchange.head = Some(head);
        Ok(())
    }

    fn handle_body(&mut self, now: Instant, part: BytesMut) -> Result<(), HttpError> {
        let State::Exchanging(exchange) = &mut self.state else { return Ok(()) };
        let limit = self.request.limits.body;
        exchange.received = exchange.received.saturating_add(part.len() as u64);
        if exchange.received > limit as u64 {
            return Err(HttpError::BodyTooLong(limit));
        }
        if exchange.promised.is_some_and(|promised| exchange.received > promised) {
            return Err(HttpError::BadRange);
        }
        match self.request.body {
            Body::Whole => exchange.body.extend_from_slice(&part),
            Body::Range(_) => {
                self.deadline = now + self.request.patience;
                exchange.until = self.deadline;
                self.outputs.push_back(Output::Body(part.freeze()));
            }
        }
        Ok(())
    }

    fn follow(&mut self, now: Instant, from: IpAddr, to: Url) {
        self.redirects += 1;
        self.request.reach.redirected(from);
        match to.scheme() {
            _ if self.redirects > MAX_REDIRECTS => self.fail(FetchError::TooManyRedirects),
            Scheme::Http | Scheme::Https => {
                self.url = to;
                self.may_use_kept = true;
                self.begin(now);
            }
            Scheme::Udp => {
                let why = HttpError::BadRedirect(UrlError::UnknownScheme);
                self.fail(FetchError::Http(why));
            }
        }
    }

    /// The response is complete, and there is no connection any more.
    fn complete(&mut self, now: Instant) {
        let answered = match &self.state {
            State::Exchanging(exchange) => State::Answered { on_kept: exchange.on_kept },
            _ => return,
        };
        let State::Exchanging(exchange) = std::mem::replace(&mut self.state, answered) else {
            return;
        };
        let Exchanging { with, head, body, received, promised, on_kept, .. } = *exchange;
        self.answered_by = Some(with);
        let Some(Head { status, headers, .. }) = head else { return };
        if self.gives_parts() {
            match promised.is_some_and(|promised| received < promised) {
                true => self.fail(FetchError::Http(HttpError::UnexpectedEnd)),
                false => self.outputs.push_back(Output::End),
            }
            return;
        }
        match decompress(&headers, body, self.request.limits.body) {
            Ok(body) => {
                let body = body.into();
                let response = Response { status, headers, body, keep_alive: false };
                self.outputs.push_back(Output::Response(response));
            }
            Err(_) if on_kept => self.begin(now),
            Err(why) => self.connect_next(now, FetchError::Http(why)),
        }
    }

    /// It is over; there is no connection.
    fn fail(&mut self, why: FetchError) {
        self.state = State::Done;
        self.outputs.push_back(Output::Failed(why));
    }
}

#[cfg(test)]
mod tests;
