//! `share`: makes a torrent of a file or a directory in memory, prints its magnet link and seeds it
//! until stopped.

use std::net::SocketAddr;

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Protocol;
use bitswarm_core::metainfo::magnet::PeerAddress;
use bitswarm_core::torrent::AddTorrent;

use crate::args::Share;
use crate::content::{self, Choice};
use crate::exit::{Code, Failure};
use crate::goals::Purpose;
use crate::left_out::LeftOut;
use crate::link;
use crate::making::hashed;
use crate::output::{Object, print};
use crate::progress::Progress;
use crate::session::resolve_peers;
use crate::signals::Interrupt;
use crate::torrent_lock::Use;
use crate::transfer_loop::TransferLoop;
use crate::workplace::Workplace;

/// Hashes, prints the link, shares until Ctrl-C or SIGTERM.
pub(crate) fn run(args: &Share) -> Result<(), Failure> {
    let transfer = &args.transfer;
    let interrupt = Interrupt::catch()?;
    let progress = Progress::new(transfer.reporting, transfer.painting);
    let mut left_out = LeftOut::default();
    transfer.network.failures().for_each(|failure| left_out.add(failure));
    let unreadable = |error| Failure::file("cannot read", &args.path, &error);
    // As the file system names it: the data is looked for under the torrent's name.
    let path = args.path.canonicalize().map_err(unreadable)?;
    let root = path.parent().ok_or_else(|| {
        Failure::new(Code::File, "the root directory has no name; share a directory in it")
    })?;
    let mut content = content::scan(&path, &Choice::everything())?;
    for left in &content.left_out {
        progress.say(&format!("leaving out {left}"));
    }
    content.creator = content.creator.with_protocol(Protocol::Hybrid);
    content.creator.private = args.private;
    content.creator.trackers =
        transfer.network.trackers().into_iter().map(|url| vec![url]).collect();
    let metainfo = hashed(&path, content, &progress, &interrupt)?;
    let peers = resolve_peers(&transfer.network.peers(), false, &mut left_out, &interrupt)?;
    let locked = [metainfo.infohash()].into_iter();
    let place = Workplace::enter(transfer, None, root, locked, Use::Read, &progress)?;
    place.lock.check(&metainfo.infohash(), metainfo.name())?;
    tell(args, &metainfo, &progress)?;
    let kept = place.kept;
    let mut transfers =
        TransferLoop::new(place.session, Purpose::Seed, transfer, progress, place.lock, left_out);
    let add = AddTorrent {
        // They are in the torrent too, but it is the user who names them.
        trackers: transfer.network.trackers(),
        peers,
        share_only: true,
        recheck: transfer.check,
        ..AddTorrent::new(metainfo, root)
    };
    transfers.add(add, kept.as_ref())?;
    transfers.run(&interrupt)
}

/// The link, which names this machine if it is known where peers reach it.
fn tell(args: &Share, metainfo: &Metainfo, progress: &Progress) -> Result<(), Failure> {
    let magnet = link::to(metainfo, |message| progress.say(message));
    let network = &args.transfer.network;
    let port = network.port.filter(|&port| port != 0).into_iter();
    let known = port.flat_map(|port| {
        let known = network.bind.iter().filter(|ip| !ip.is_unspecified());
        known.map(move |ip| PeerAddress::Ip(SocketAddr::new(*ip, port)))
    });
    let link = link::text(magnet, known)?;
    match args.transfer.reporting.json {
        true => Object::event("magnet").with("link", link).print(),
        false => print(&link),
    }
}
