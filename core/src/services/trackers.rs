//! Exchanges with trackers under way: the announces of torrents, and what the user asks.
//!
//! A torrent says which tracker to ask what ([`AnnounceJob`]); here names are looked up, connections opened and
//! datagrams passed on until there is a result, which goes back to the torrent. A bounded number
//! runs at once, in all and at one host; the others wait in the order in which they came, hosts in
//! turn; farewells go first. A scrape is the user's, and waits like any announce.

use std::net::IpAddr;

use crate::deadline::TimerKey;
use crate::event::{Datagram, ResolveError};
use crate::family::Families;
use crate::http::Url;
use crate::http::fetch::Output;
use crate::id::{AnnounceId, FetchId, Slab, TorrentId};
use crate::notice::Notice;
use crate::packet::Packet;
use crate::piece::InfoHash;
use crate::services::fetches::{FetchOwner, Fetches};
use crate::services::tracker_queue::TrackerQueue;
use crate::session::Session;
use crate::session::op::OpOwner;
use crate::timer::TimerId;
use crate::tracker::announce_job::{AnnounceJob, AnnounceResult};
use crate::tracker::exchange::{Exchange, Step};
use crate::tracker::list::{Announce, TrackerKey};
use crate::tracker::udp::UdpTracker;
use crate::tracker::{Answer, NamedBy, Question, ScrapeId, TrackerError};

/// An announce that is done, for its torrent.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) torrent: TorrentId,
    pub(crate) infohash: InfoHash,
    pub(crate) tracker: TrackerKey,
    pub(crate) result: AnnounceResult,
}

/// All announces of a session.
#[derive(Debug)]
pub(crate) struct Trackers {
    running: Slab<AnnounceId, Running>,
    waiting: TrackerQueue<Waiting>,
    scrapes: u64,
    udp: UdpTracker<AnnounceId>,
    udp_timer: TimerId,
    finished: Vec<Finished>,
    sent: Vec<(TorrentId, TrackerKey)>,
}

/// What waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asker {
    Torrent { id: TorrentId, infohash: InfoHash, tracker: TrackerKey },
    User(ScrapeId),
}

#[derive(Debug)]
struct Waiting {
    asker: Asker,
    url: Url,
    /// In which of them it is asked.
    families: Families,
    named_by: NamedBy,
    question: Question,
}

#[derive(Debug)]
struct Running {
    asker: Asker,
    host: Box<str>,
    exchange: Exchange,
    fetch: Option<FetchId>,
    timer: TimerId,
}

impl Trackers {
    pub(crate) fn new(session: &mut Session) -> Self {
        Trackers {
            running: Slab::new(),
            waiting: TrackerQueue::new(),
            scrapes: 0,
            udp: UdpTracker::new(session.random.secret.fork()),
            udp_timer: session.timers.register(TimerKey::UdpTrackers),
            finished: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Whether none is under way or waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Makes an announce, now or when its turn comes.
    pub(crate) fn start(
        &mut self,
        session: &mut Session,
        fetches: &mut Fetches,
        torrent: TorrentId,
        job: AnnounceJob,
    ) {
        let AnnounceJob { announce, request } = job;
        let infohash = request.infohash;
        let asker = Asker::Torrent { id: torrent, infohash, tracker: announce.tracker };
        let Announce { url, family, named_by, .. } = announce;
        let (families, question) = (Families::only(family), request.into());
        self.ask(session, fetches, Waiting { asker, url, families, named_by, question });
    }

    /// Asks a tracker for the numbers of swarms; `Notice::Scraped` tells what it says.
    pub(crate) fn scrape(
        &mut self,
        session: &mut Session,
        fetches: &mut Fetches,
        url: Url,
        infohashes: Vec<InfoHash>,
    ) -> ScrapeId {
        let id = ScrapeId(self.scrapes);
        self.scrapes += 1;
        let question = Question::Scrape(infohashes);
        let (asker, families) = (Asker::User(id), session.sockets.families());
        // Torrents' trackers come here too; and a scrape's path is always one that may be asked.
        let named_by = NamedBy::Torrent;
        self.ask(session, fetches, Waiting { asker, url, families, named_by, question });
        id
    }

    fn ask(&mut self, session: &mut Session, fetches: &mut Fetches, what: Waiting) {
        let host = what.url.host().to_tls_name();
        let leaves = what.question.is_farewell();
        self.waiting.push(host, what, leaves);
        self.start_waiting(session, fetches);
    }

    /// A torrent does not wait for its announces any more, except to say that it is complete and that it
    /// leaves.
    pub(crate) fn abandon(
        &mut self,
        session: &mut Session,
        fetches: &mut Fetches,
        torrent: TorrentId,
    ) {
        self.abandon_of(
            session,
            fetches,
            |asker| matches!(asker, Asker::Torrent { id, .. } if id == torrent),
        );
    }

    /// The user does not wait for scrapes any more.
    pub(crate) fn abandon_scrapes(&mut self, session: &mut Session, fetches: &mut Fetches) {
        self.abandon_of(session, fetches, |asker| matches!(asker, Asker::User(_)));
    }

    fn abandon_of(
        &mut self,
        session: &mut Session,
        fetches: &mut Fetches,
        is_given_up: impl Fn(Asker) -> bool,
    ) {
        let stays = |asker, question: &Question| !is_given_up(asker) || question.outlives_torrent();
        self.waiting.retain(|waiting| stays(waiting.asker, &waiting.question));
        let running = self.running.iter();
        let given_up: Vec<AnnounceId> = running
            .filter(|(_, running)| !stays(running.asker, running.exchange.question()))
            .map(|(id, _)| id)
            .collect();
        for id in given_up {
            self.udp.cancel(id);
            self.remove(session, fetches, id);
        }
        self.start_waiting(session, fetches);
    }

    /// Gives all announces up.
    pub(crate) fn abandon_all(&mut self, session: &mut Session, fetches: &mut Fetches) {
        self.waiting.retain(|_| false);
        let all: Vec<AnnounceId> = self.running.keys().collect();
        for id in all {
            self.udp.cancel(id);
            self.remove(session, fetches, id);
        }
    }

    /// Begins what waits and may run; nothing before it is known what we can listen on, since
    /// that is what datagrams leave by.
    pub(crate) fn start_waiting(&mut self, session: &mut Session, fetches: &mut Fetches) {
        if !session.sockets.are_listeners_known() {
            return;
        }
        while self.running.len() < session.config.bounds.announces {
            let Some((host, next)) = self.waiting.next() else { return };
            let Waiting { asker, url, families, named_by, question } = next;
            let user_agent = session.config.client_name.replace(' ', "/");
            let now = session.now;
            let exchange = Exchange::new(now, url, question, families, named_by, &user_agent);
            let timers = &mut session.timers;
            let id = self.running.insert_with(|id| Running {
                asker,
                host,
                exchange,
                fetch: None,
                timer: timers.register(TimerKey::Announce(id)),
            });
            self.advance(session, fetches, id);
        }
    }

    // What happened.

    pub(crate) fn resolved(
        &mut self,
        session: &mut Session,
        fetches: &mut Fetches,
        id: AnnounceId,
        result: Result<Vec<IpAddr>, ResolveError>,
    ) {
        let now = session.now;
        self.input(session, fetches, id, |exchange| exchange.handle_resolved(now, result));
    }

    /// There may be something new of the fetch of an announce.
    pub(crate) fn fetched(&mut self, session: &mut Session, fetches: &mut Fetches, id: AnnounceId) {
        self.input(session, fetches, id, |_| {});
    }

    pub(crate) fn timeout(&mut self, session: &mut Session, fetches: &mut Fetches, id: AnnounceId) {
        let now = session.now;
        self.input(session, fetches, id, |exchange| exchange.handle_timeout(now));
    }

    pub(crate) fn datagram(
        &mut self,
        session: &mut Session,
        fetches: &mut Fetches,
        datagram: &Datagram,
    ) {
        self.udp.handle_datagram(session.now, datagram.remote, &datagram.data);
        self.advance_udp(session, fetches);
    }

    pub(crate) fn udp_timeout(&mut self, session: &mut Session, fetches: &mut Fetches) {
        self.udp.handle_timeout(session.now);
        self.advance_udp(session, fetches);
    }

    // What follows.

    /// The announces that are done.
    pub(crate) fn take_finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    /// The announces that are on their way since this was asked: their trackers may have heard them.
    pub(crate) fn take_sent(&mut self) -> Vec<(TorrentId, TrackerKey)> {
        std::mem::take(&mut self.sent)
    }

    /// The datagrams to send.
    pub(crate) fn take_datagrams(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.udp.poll_transmit()).collect()
    }

    fn input(
        &mut self,
        session: &mut Session,
        fetches: &mut Fetches,
        id: AnnounceId,
        input: impl FnOnce(&mut Exchange),
    ) {
        if let Some(running) = self.running.get_mut(id) {
            input(&mut running.exchange);
            self.advance(session, fetches, id);
            self.start_waiting(session, fetches);
        }
    }

    /// Does what an exchange wants done.
    fn advance(&mut self, session: &mut Session, fetches: &mut Fetches, id: AnnounceId) {
        while let Some(running) = self.running.get_mut(id) {
            if let Some(step) = running.exchange.poll_step() {
                self.perform(session, fetches, id, step);
                continue;
            }
            let from = running.fetch.and_then(|fetch| fetches.answered_by(fetch));
            match running.fetch.and_then(|fetch| fetches.poll(fetch)) {
                Some(Output::Requested) => self.note_sent(id),
                Some(Output::Response(response)) => {
                    running.exchange.handle_response(&response, from);
                }
                Some(Output::Failed(why)) => running.exchange.handle_failed(why),
                // Of a range, which no tracker is asked for.
                Some(Output::Head { .. } | Output::Body(_) | Output::End) => {}
                None => {
                    let (timer, at) = (running.timer, running.exchange.poll_timeout());
                    return session.arm(timer, at);
                }
            }
        }
    }

    fn perform(
        &mut self,
        session: &mut Session,
        fetches: &mut Fetches,
        id: AnnounceId,
        step: Step,
    ) {
        let Some(running) = self.running.get_mut(id) else { return };
        match step {
            Step::Resolve(host) => {
                session.resolve(OpOwner::Announce(id), &host);
            }
            Step::Fetch(request) => {
                let owner = FetchOwner::Tracker(id);
                running.fetch = Some(fetches.start(session, owner, *request));
            }
            Step::TryNext => {
                if let Some(fetch) = running.fetch {
                    fetches.try_next(session, fetch);
                }
            }
            Step::Ask { to, patience } => {
                let is_of_strangers = running.exchange.is_of_strangers();
                if let Some(why) = session.refusal(to, is_of_strangers) {
                    let refused = Err(TrackerError::Connect(why));
                    return running.exchange.handle_answer(session.now, refused);
                }
                let url = running.exchange.tracker().clone();
                let question = running.exchange.question().clone();
                self.udp.ask(session.now, id, to, &url, question, patience);
                self.advance_udp(session, fetches);
            }
            Step::Done(result) => {
                let asker = running.asker;
                self.remove(session, fetches, id);
                self.finish(session, asker, result);
            }
        }
    }

    fn note_sent(&mut self, id: AnnounceId) {
        let asker = self.running.get(id).map(|running| running.asker);
        if let Some(Asker::Torrent { id, tracker, .. }) = asker {
            self.sent.push((id, tracker));
        }
    }

    fn finish(
        &mut self,
        session: &mut Session,
        asker: Asker,
        result: Result<Answer, TrackerError>,
    ) {
        match asker {
            Asker::Torrent { id, infohash, tracker } => {
                let result = result.and_then(Answer::into_announce);
                self.finished.push(Finished { torrent: id, infohash, tracker, result });
            }
            Asker::User(scrape) => {
                let result = result.and_then(Answer::into_scrape);
                let swarms = result.map(|response| response.entries);
                let notice = Notice::Scraped { scrape, swarms: swarms.map_err(|e| e.to_string()) };
                session.outbox.notify(notice);
            }
        }
    }

    fn advance_udp(&mut self, session: &mut Session, fetches: &mut Fetches) {
        let now = session.now;
        while let Some(id) = self.udp.poll_sent() {
            self.note_sent(id);
        }
        while let Some((id, result)) = self.udp.poll_output() {
            self.input(session, fetches, id, |exchange| exchange.handle_answer(now, result));
        }
        session.arm(self.udp_timer, self.udp.poll_timeout());
    }

    fn remove(&mut self, session: &mut Session, fetches: &mut Fetches, id: AnnounceId) {
        if let Some(running) = self.running.remove(id) {
            self.waiting.done(&running.host);
            session.timers.unregister(running.timer);
            if let Some(fetch) = running.fetch {
                fetches.end(session, fetch);
            }
        }
    }
}
