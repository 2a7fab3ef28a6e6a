//! HTTP fetches under way in a session: their host names, connections and deadlines.
//!
//! What a fetch does next is decided by [`Fetch`]; here its steps are performed and the events of its
//! connection find their way to it. Every input returns the owner of the fetch, which then takes
//! the outputs with [`Fetches::poll`]. A fetch stays until its owner ends it.
//!
//! Connections that can carry further requests are kept here for fetches of any owner: all requests of
//! the session come from the same address and name the same client.

use std::net::IpAddr;

use bytes::Bytes;

use crate::action::Close;
use crate::deadline::TimerKey;
use crate::event::{NetError, ResolveError};
use crate::http::fetch::{Fetch, FetchRequest, Output, Step};
use crate::http::kept::{KEEP, Kept, Origin};
use crate::id::{AnnounceId, ConnId, FetchId, Slab};
use crate::segments::Segments;
use crate::session::Session;
use crate::session::op::OpOwner;
use crate::timer::TimerId;
use crate::transport::{Role, Setup, StreamEvent};

/// What a fetch is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FetchOwner {
    /// The answer of a tracker.
    Tracker(AnnounceId),
}

/// All fetches of a session.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    running: Slab<FetchId, Running>,
    kept: Kept<ConnId>,
}

#[derive(Debug)]
struct Running {
    owner: FetchOwner,
    fetch: Fetch,
    conn: Option<ConnId>,
    /// The request, until it is gathered.
    request: Bytes,
    timer: TimerId,
}

impl Fetches {
    /// Begins to fetch. There may be an output at once.
    pub(crate) fn start(
        &mut self,
        session: &mut Session,
        owner: FetchOwner,
        request: FetchRequest,
    ) -> FetchId {
        let fetch = Fetch::new(session.now, request);
        let timers = &mut session.timers;
        let id = self.running.insert_with(|id| {
            let timer = timers.register(TimerKey::Fetch(id));
            Running { owner, fetch, conn: None, request: Bytes::new(), timer }
        });
        self.advance(session, id);
        id
    }

    /// The address that the last complete response of a fetch came from.
    pub(crate) fn answered_by(&self, id: FetchId) -> Option<IpAddr> {
        self.running.get(id)?.fetch.answered_by()
    }

    /// What there is for the owner of a fetch.
    pub(crate) fn poll(&mut self, id: FetchId) -> Option<Output> {
        self.running.get_mut(id)?.fetch.poll_output()
    }

    /// The owner cannot use the response: has the next address tried.
    pub(crate) fn try_next(&mut self, session: &mut Session, id: FetchId) {
        if let Some(running) = self.running.get_mut(id) {
            running.fetch.try_next(session.now);
            self.advance(session, id);
        }
    }

    /// Ends a fetch, wherever it is.
    pub(crate) fn end(&mut self, session: &mut Session, id: FetchId) {
        if let Some(running) = self.running.remove(id) {
            session.timers.unregister(running.timer);
            if let Some(conn) = running.conn {
                session.transport().close(conn, Close::Abort);
            }
        }
    }

    /// Closes the connections that are kept.
    pub(crate) fn close_kept(&mut self, session: &mut Session) {
        for conn in self.kept.take_all() {
            session.transport().close(conn, Close::Abort);
        }
    }

    /// Closes the connections to where the IP filter refuses; the owners of fetches that had one.
    pub(crate) fn close_refused(&mut self, session: &mut Session) -> Vec<FetchOwner> {
        for conn in self.kept.take_where(|ip| session.is_filtered(ip)) {
            session.transport().close(conn, Close::Abort);
        }
        let is_refused = |conn: ConnId| {
            session.streams.remote(conn).is_some_and(|remote| session.is_filtered(remote.ip()))
        };
        let refused =
            self.running.iter().filter(|(_, running)| running.conn.is_some_and(is_refused));
        let refused: Vec<FetchId> = refused.map(|(id, _)| id).collect();
        let owners = refused.into_iter().filter_map(|id| self.refuse(session, id));
        owners.collect()
    }

    /// Ends the connection of a fetch, which may go on elsewhere.
    fn refuse(&mut self, session: &mut Session, id: FetchId) -> Option<FetchOwner> {
        let running = self.running.get_mut(id)?;
        if let Some(conn) = running.conn.take() {
            session.transport().close(conn, Close::Abort);
        }
        running.fetch.handle_closed(session.now, Some(NetError::Filtered));
        self.advance(session, id)
    }

    /// Hands out what a fetch sends.
    pub(crate) fn gather(&mut self, id: FetchId, out: &mut Segments) {
        if let Some(running) = self.running.get_mut(id) {
            out.push(std::mem::take(&mut running.request));
        }
    }

    /// A host was looked up.
    pub(crate) fn handle_resolved(
        &mut self,
        session: &mut Session,
        id: FetchId,
        result: Result<Vec<IpAddr>, ResolveError>,
    ) -> Option<FetchOwner> {
        self.running.get_mut(id)?.fetch.handle_resolved(session.now, result);
        self.advance(session, id)
    }

    /// Something happened on the connection of a fetch.
    pub(crate) fn handle_stream(
        &mut self,
        session: &mut Session,
        id: FetchId,
        conn: ConnId,
        event: StreamEvent,
    ) -> Option<FetchOwner> {
        let running = self.running.get_mut(id).filter(|running| running.conn == Some(conn));
        let Some(running) = running else {
            // Kept: it has ended, was idle for long enough, or the server sends what is no response.
            if self.kept.forget(conn) {
                session.transport().close(conn, Close::Abort);
            }
            return None;
        };
        let now = session.now;
        match event {
            StreamEvent::Opened => running.fetch.handle_connected(now),
            StreamEvent::Received(data) => running.fetch.handle_received(now, data),
            StreamEvent::Closed { why, .. } => {
                running.conn = None;
                running.fetch.handle_closed(now, why);
            }
            StreamEvent::Sent { .. } | StreamEvent::TimedOut => return None,
        }
        self.advance(session, id)
    }

    /// The deadline of a fetch has come.
    pub(crate) fn handle_timeout(
        &mut self,
        session: &mut Session,
        id: FetchId,
    ) -> Option<FetchOwner> {
        self.running.get_mut(id)?.fetch.handle_timeout(session.now);
        self.advance(session, id)
    }

    /// Performs the steps of a fetch.
    fn advance(&mut self, session: &mut Session, id: FetchId) -> Option<FetchOwner> {
        let Fetches { running, kept } = self;
        let running = running.get_mut(id)?;
        let now = session.now;
        while let Some(step) = running.fetch.poll_step() {
            if matches!(step, Step::Resolve(_) | Step::Connect { .. }) {
                let origin = Origin::of(running.fetch.url());
                let found = kept.take(&origin, |ip| running.fetch.may_use_kept(ip));
                if let Some((remote, conn)) = found {
                    session.transport().assign(conn, Role::Fetch(id));
                    running.conn = Some(conn);
                    running.fetch.handle_kept(now, remote.ip());
                    continue;
                }
            }
            match step {
                Step::Resolve(host) => {
                    session.resolve(OpOwner::Fetch(id), &host);
                }
                Step::Connect { to, tls } => {
                    if let Some(why) = session.refusal(to, running.fetch.is_of_strangers()) {
                        running.fetch.handle_closed(now, Some(why));
                        continue;
                    }
                    let setup = tls.map_or(Setup::Plain, Setup::Tls);
                    running.conn = Some(session.transport().connect(to, setup, Role::Fetch(id)));
                }
                Step::Send(request) => {
                    running.request = request;
                    if let Some(conn) = running.conn {
                        session.transport().ask_send(conn);
                    }
                }
                Step::Close => {
                    if let Some(conn) = running.conn.take() {
                        session.transport().close(conn, Close::Abort);
                    }
                }
                Step::Keep => {
                    let Some(conn) = running.conn.take() else { continue };
                    let is_sent = running.request.is_empty() && !session.streams.is_sending(conn);
                    let closed = match session.streams.remote(conn).filter(|_| is_sent) {
                        None => Some(conn),
                        Some(remote) => {
                            session.transport().set_deadline(conn, now + KEEP);
                            kept.keep(Origin::of(running.fetch.url()), remote, conn)
                        }
                    };
                    if let Some(conn) = closed {
                        session.transport().close(conn, Close::Abort);
                    }
                }
            }
        }
        session.arm(running.timer, running.fetch.poll_timeout());
        Some(running.owner)
    }
}
