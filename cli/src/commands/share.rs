//! `share`: makes a torrent of a file or a directory in memory, prints its magnet link and seeds it
//! until stopped.

use std::net::SocketAddr;

use bitswarm_core::metainfo::create::Protocol;
use bitswarm_core::metainfo::magnet::PeerAddress;
use bitswarm_core::metainfo::{Magnet, Metainfo};
use bitswarm_core::torrent::{AddTorrent, FilePriority};

use crate::args::Share;
use crate::claim::{Gate, Use};
use crate::commands::create::hashed;
use crate::content::{self, Choice};
use crate::exit::{Code, Failure};
use crate::output::{Object, print};
use crate::progress::Progress;
use crate::session::{Session, resolve_peers};
use crate::signals::Interrupt;
use crate::state::State;
use crate::swarm::Swarm;
use crate::watch::Purpose;

/// Hashes, prints the link, shares until Ctrl-C or SIGTERM.
pub(crate) fn run(args: &Share) -> Result<(), Failure> {
    let transfer = &args.transfer;
    let interrupt = Interrupt::catch()?;
    let progress = Progress::new(transfer.reporting);
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
        transfer.network.trackers.iter().map(|url| vec![url.clone()]).collect();
    let metainfo = hashed(&path, content, &progress, &interrupt)?;
    let peers = resolve_peers(&transfer.network.peers)?;
    let state = State::open(transfer.state_dir.as_deref(), root)?;
    let gate = Gate::enter(&state)?;
    let (session, dir) = Session::for_transfer(transfer, &state)?;
    let claim = gate.claim(&dir, [metainfo.infohash()].into_iter(), Use::Read)?;
    state.fetcher(&dir).fetch(metainfo.infohash());
    tell(args, &metainfo)?;
    let mut swarm = Swarm::new(session, Purpose::Seed, transfer, progress, claim);
    let files = vec![FilePriority::Skip; metainfo.files().len()];
    // They are in the torrent too, but it is the user who names them.
    let trackers = transfer.network.trackers.clone();
    let add = AddTorrent { trackers, peers, files, ..AddTorrent::new(metainfo, root) };
    swarm.add(add)?;
    swarm.run(&interrupt)
}

/// The link, which names this machine if it is known where peers reach it.
fn tell(args: &Share, metainfo: &Metainfo) -> Result<(), Failure> {
    let mut magnet = Magnet::of(metainfo);
    let network = &args.transfer.network;
    if let Some(port) = network.port.filter(|&port| port != 0) {
        let known = network.bind.iter().filter(|ip| !ip.is_unspecified());
        magnet.peers.extend(known.map(|ip| PeerAddress::Ip(SocketAddr::new(*ip, port))));
    }
    match args.transfer.reporting.json {
        true => Object::event("magnet").with("link", magnet.to_string()).print(),
        false => print(&magnet.to_string()),
    }
}
