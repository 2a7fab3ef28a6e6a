//! `download`: gets what the torrents describe, and shares it as long as told.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use bitswarm_core::disk::Allocation;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::torrent::{AddTorrent, PieceOrder, TorrentSource};

use crate::args::Download;
use crate::exit::{Code, Failure};
use crate::fetch::Reach;
use crate::goals::{Purpose, Share};
use crate::input;
use crate::known::links_of_torrents;
use crate::left_out::LeftOut;
use crate::load::{list, load_sources, priorities};
use crate::progress::Progress;
use crate::selection::Selection;
use crate::session::{make_dir, resolve_peers};
use crate::signals::Interrupt;
use crate::torrent_lock::Use;
use crate::transfer_loop::TransferLoop;
use crate::workplace::Workplace;

/// Downloads until everything is complete, on disk, and shared enough.
pub(crate) fn run(args: &Download) -> Result<(), Failure> {
    let transfer = &args.transfer;
    let mut left_out = LeftOut::default();
    transfer.network.failures().for_each(|failure| left_out.add(failure));
    let torrents = load_sources(&input::named(&args.inputs)?, &Reach::of(transfer), &mut left_out);
    if args.list {
        let known: Vec<_> =
            torrents.iter().filter_map(|source| left_out.keep(known(source))).collect();
        list(&known, transfer.reporting.json)?;
        return left_out.verdict();
    }
    if torrents.is_empty() {
        return left_out.verdict();
    }
    if args.files.is_some() && torrents.len() > 1 {
        let message = "--files chooses from one torrent; download these one by one";
        return Err(Failure::new(Code::Usage, message));
    }
    let interrupt = Interrupt::catch()?;
    make_dir(&args.output)?;
    let made = links_of_torrents(transfer.state_dir.as_deref(), &args.output);
    let adds = torrents
        .into_iter()
        .map(|source| add(args, &made, source))
        .collect::<Result<Vec<_>, _>>()?;
    let names = transfer.network.peers();
    let peers = resolve_peers(&names, are_all(args, &adds), &mut left_out, &interrupt)?;
    let progress = Progress::new(transfer.reporting, transfer.painting);
    let locked = adds.iter().map(|add| add.source.infohash());
    let place = Workplace::enter(transfer, args.down, &args.output, locked, Use::Write, &progress)?;
    let purpose = Purpose::Download(share(args));
    let kept = place.kept;
    let mut transfers =
        TransferLoop::new(place.session, purpose, transfer, progress, place.lock, left_out);
    for add in adds {
        transfers.add(AddTorrent { peers: peers.clone(), ..add }, kept.as_ref())?;
    }
    transfers.run(&interrupt)
}

/// Whether peers come from nowhere but the command line.
fn are_all(args: &Download, adds: &[AddTorrent]) -> bool {
    let has_trackers = |add: &AddTorrent| {
        !add.trackers.is_empty()
            || match &add.source {
                TorrentSource::Metainfo(metainfo) => !metainfo.trackers().is_empty(),
                TorrentSource::Magnet(magnet) => !magnet.trackers.is_empty(),
            }
    };
    let transfer = &args.transfer;
    transfer.network.no_dht && transfer.no_lsd && !adds.iter().any(has_trackers)
}

/// What a torrent is, to list its files.
fn known(source: &TorrentSource) -> Result<Metainfo, Failure> {
    source.metainfo().map(|known| (**known).clone()).ok_or_else(|| {
        let name = source.shown_name();
        let message = format!(
            "the files of {name} are not known yet; bitswarm metadata MAGNET -o FILE, \
             then list that"
        );
        Failure::new(Code::Usage, message)
    })
}

fn add(
    args: &Download,
    made: &BTreeSet<OsString>,
    source: TorrentSource,
) -> Result<AddTorrent, Failure> {
    let Download { files, sequential, preallocate, transfer, .. } = args;
    // What is chosen of a magnet link is looked at when its files are known.
    let only = files.as_ref().and_then(Selection::zero_based);
    let files = match source.metainfo() {
        Some(metainfo) => priorities(metainfo, files.as_ref())?,
        None => Vec::new(),
    };
    // The name behind a magnet link may turn out to be any.
    let follow_top_link = match source.metainfo() {
        Some(metainfo) => !made.contains(OsStr::new(metainfo.name())),
        None => made.is_empty(),
    };
    Ok(AddTorrent {
        follow_top_link,
        trackers: transfer.network.trackers(),
        files,
        only,
        order: if *sequential { PieceOrder::Sequential } else { PieceOrder::RarestFirst },
        allocation: if *preallocate { Allocation::Full } else { Allocation::Sparse },
        recheck: transfer.check,
        overwrite: args.overwrite,
        idle_if_complete: !shares(args),
        ..AddTorrent::new(source, &args.output)
    })
}

/// Whether what is complete already is to be shared.
fn shares(args: &Download) -> bool {
    match share(args) {
        Share::No => false,
        Share::Until { ratio, time } => ratio != Some(0.0) && time != Some(Duration::ZERO),
    }
}

fn share(args: &Download) -> Share {
    let (ratio, time) = (args.seed_ratio, args.seed_time);
    if args.seed || ratio.is_some() || time.is_some() {
        Share::Until { ratio, time }
    } else {
        Share::No
    }
}
