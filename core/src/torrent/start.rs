//! A torrent begins: what its parts are made of, and how it becomes known what it is.

use std::sync::Arc;

use crate::id::{StoreId, TorrentId};
use crate::metainfo::Metainfo;
use crate::picker::Picker;
use crate::piece::Geometry;
use crate::session::Session;
use crate::torrent::announcing::Announcing;
use crate::torrent::content::{Choices, Content};
use crate::torrent::disk::Files;
use crate::torrent::download::Download;
use crate::torrent::identity::Identity;
use crate::torrent::lifecycle::Lifecycle;
use crate::torrent::metadata::Acquisition;
use crate::torrent::peer_book::{PeerBook, PeerSource};
use crate::torrent::swarm::Swarm;
use crate::torrent::traffic::Traffic;
use crate::torrent::upload::Upload;
use crate::torrent::{AddTorrent, PieceOrder, Torrent, TorrentSource, register_timer};
use crate::tracker::NamedBy;

impl Torrent {
    /// A torrent that has done nothing yet; [`Torrent::start`] follows.
    pub(crate) fn new(
        session: &mut Session,
        id: TorrentId,
        store: StoreId,
        mut add: AddTorrent,
    ) -> Self {
        let choices = Choices::of(&mut add);
        let identity = Identity::of(&add.source);
        let mut policy = session.policy.fork();
        let (metainfo, magnet) = match add.source {
            TorrentSource::Metainfo(metainfo) => (Some(metainfo), None),
            TorrentSource::Magnet(magnet) => (None, Some(magnet)),
        };
        let mut book = PeerBook::new(session.config.bounds.known_peers, policy.fork());
        for peer in add.peers {
            book.add(peer, PeerSource::User, session.now);
        }
        let acquisition = Acquisition::new(magnet, add.metadata_only);
        let mut torrent = Torrent {
            id,
            identity,
            content: None,
            choices: Some(Box::new(choices)),
            store,
            acquisition,
            life: Lifecycle::new(add.paused),
            files: Files::new(add.recheck),
            download: Download::new(Picker::new(Geometry::NOTHING, policy.fork())),
            upload: Upload::new(session.now),
            swarm: Swarm::new(book),
            announcing: Announcing::new(policy.fork()),
            traffic: Traffic::default(),
            policy,
            timer: register_timer(session, id),
        };
        torrent.set_limits(session, add.limits);
        // Those that the user adds are each a tier of its own, and come first.
        let users: Vec<Vec<String>> = add.trackers.into_iter().map(|url| vec![url]).collect();
        torrent.announcing.trackers.add(&users, NamedBy::User, session.now);
        if let Some(metainfo) = metainfo {
            torrent.announcing.trackers.add(metainfo.trackers(), NamedBy::Torrent, session.now);
            torrent.adopt(metainfo);
            torrent.meet_named_nodes(session);
        }
        if let Some(magnet) = torrent.acquisition.magnet().cloned() {
            torrent.take_hints(session, &magnet);
        }
        torrent
    }

    /// It is known what the torrent is: how it is cut, which files it has, which of them are wanted.
    pub(super) fn adopt(&mut self, metainfo: Arc<Metainfo>) {
        let Some(choices) = self.choices.take() else { return };
        self.identity.learn(&metainfo);
        let by_link = self.acquisition.chosen_by_link();
        let order = choices.order;
        let content = Content::new(metainfo, *choices, by_link);
        self.download.picker = Picker::new(content.geometry().clone(), self.policy.fork());
        self.download.picker.set_order(order);
        for (piece, priority) in content.piece_priorities() {
            self.download.picker.set_priority(piece, priority);
        }
        for piece in self.acquisition.find_layers(&content) {
            self.download.picker.hold(piece);
        }
        self.content = Some(Box::new(content));
    }

    /// Begins by finding out what the torrent is, if only a magnet link is known.
    pub(crate) fn start(&mut self, session: &mut Session) {
        if self.content.is_some() {
            self.find_resume_data(session);
        } else {
            self.load_metadata(session, self.identity.resume_key());
        }
    }

    /// Fetches pieces in this order from now on.
    pub(crate) fn set_order(&mut self, order: PieceOrder) {
        if let Some(choices) = &mut self.choices {
            choices.order = order;
        }
        self.download.picker.set_order(order);
    }
}
