//! `download`: gets what the torrents describe, and shares it as long as told.

use bitswarm_core::disk::Allocation;
use bitswarm_core::torrent::{AddTorrent, PieceOrder, TorrentSource};

use crate::args::{Download, Transfer};
use crate::claim::{Gate, Use};
use crate::exit::{Code, Failure};
use crate::progress::Progress;
use crate::selection::Selection;
use crate::session::{Session, make_dir, resolve_peers};
use crate::signals::Interrupt;
use crate::state::State;
use crate::swarm::Swarm;
use crate::torrents::{list, load_sources, priorities};
use crate::watch::{Purpose, Share};

/// Downloads until everything is complete, on disk, and shared enough.
pub(crate) fn run(args: &Download) -> Result<(), Failure> {
    let transfer = &args.transfer;
    let torrents = load_sources(&args.inputs.all()?, &transfer.reach())?;
    if transfer.list {
        let known: Option<Vec<_>> = torrents
            .iter()
            .map(|source| source.metainfo().map(|known| (**known).clone()))
            .collect();
        let message = "the files of a magnet link are not known yet; \
                       bitswarm metadata MAGNET -o FILE, then list that";
        let known = known.ok_or_else(|| Failure::new(Code::Usage, message))?;
        return list(&known, transfer.reporting.json);
    }
    if transfer.files.is_some() && torrents.len() > 1 {
        let message = "--files chooses from one torrent; download these one by one";
        return Err(Failure::new(Code::Usage, message));
    }
    let interrupt = Interrupt::catch()?;
    make_dir(&args.output)?;
    let state = State::open(transfer.state_dir.as_deref(), &args.output)?;
    let adds =
        torrents.into_iter().map(|source| add(args, source)).collect::<Result<Vec<_>, _>>()?;
    let peers = resolve_peers(&transfer.network.peers)?;
    let progress = Progress::new(transfer.reporting);
    let gate = Gate::enter(&state)?;
    let (session, dir) = Session::for_transfer(transfer, &state)?;
    let claim = gate.claim(&dir, adds.iter().map(|add| add.source.infohash()), Use::Write)?;
    let kept = state.fetcher(&dir);
    let purpose = Purpose::Download(share(args));
    let mut swarm = Swarm::new(session, purpose, transfer, progress, claim);
    for add in adds {
        kept.fetch(add.source.infohash());
        swarm.add(AddTorrent { peers: peers.clone(), ..add })?;
    }
    swarm.run(&interrupt)
}

fn add(args: &Download, source: TorrentSource) -> Result<AddTorrent, Failure> {
    let Transfer { network, files, sequential, preallocate, .. } = &args.transfer;
    // What is chosen of a magnet link is looked at when its files are known.
    let only = files.as_ref().and_then(Selection::zero_based);
    let files = match source.metainfo() {
        Some(metainfo) => priorities(metainfo, files.as_ref())?,
        None => Vec::new(),
    };
    Ok(AddTorrent {
        trackers: network.trackers.clone(),
        files,
        only,
        order: if *sequential { PieceOrder::Sequential } else { PieceOrder::RarestFirst },
        allocation: if *preallocate { Allocation::Full } else { Allocation::Sparse },
        ..AddTorrent::new(source, &args.output)
    })
}

fn share(args: &Download) -> Share {
    let (ratio, time) = (args.seed_ratio, args.seed_time);
    if args.seed || ratio.is_some() || time.is_some() {
        Share::Until { ratio, time }
    } else {
        Share::No
    }
}
