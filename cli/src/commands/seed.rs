//! `seed`: shares data that is already here, until stopped.
//!
//! It never writes to the data: nothing is wanted of any torrent, so what is missing or was changed
//! is not fetched. What is here and right is shared.

use std::ffi::OsStr;
use std::fs;

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::torrent::{AddTorrent, FilePriority};

use crate::args::Seed;
use crate::claim::Use;
use crate::exit::{Code, Failure};
use crate::known::links_of_torrents;
use crate::progress::Progress;
use crate::session::resolve_peers;
use crate::signals::Interrupt;
use crate::swarm::Swarm;
use crate::torrents::{list, load_all, place};
use crate::watch::Purpose;
use crate::workplace::Workplace;

/// Shares until Ctrl-C or SIGTERM.
pub(crate) fn run(args: &Seed) -> Result<(), Failure> {
    let transfer = &args.transfer;
    let torrents = load_all(&args.inputs)?;
    if transfer.list {
        return list(&torrents, transfer.reporting.json);
    }
    fs::read_dir(&args.data).map_err(|error| Failure::file("cannot read", &args.data, &error))?;
    let interrupt = Interrupt::catch()?;
    let (here, missing): (Vec<_>, Vec<_>) =
        torrents.into_iter().partition(|metainfo| has_files(args, metainfo));
    let mut missing = missing.iter().map(|metainfo| nothing_here(args, metainfo));
    if here.is_empty()
        && let Some(failure) = missing.next()
    {
        return Err(failure);
    }
    let peers = resolve_peers(&transfer.network.peers)?;
    let progress = Progress::new(transfer.reporting);
    let claimed = here.iter().map(Metainfo::infohash);
    let place = Workplace::enter(transfer, &args.data, claimed, Use::Read, &progress)?;
    here.iter().for_each(|metainfo| place.fetch(metainfo.infohash()));
    let mut swarm = Swarm::new(place.session, Purpose::Seed, transfer, progress, place.claim);
    missing.for_each(|failure| swarm.leave_out(failure));
    let made = links_of_torrents(transfer.state_dir.as_deref(), &args.data);
    for metainfo in here {
        let files = vec![FilePriority::Skip; metainfo.files().len()];
        let add = AddTorrent {
            trackers: transfer.network.trackers.clone(),
            peers: peers.clone(),
            files,
            recheck: transfer.check,
            follow_top_link: !made.contains(OsStr::new(metainfo.name())),
            ..AddTorrent::new(metainfo, &args.data)
        };
        swarm.add(add)?;
    }
    swarm.run(&interrupt)
}

/// Whether anything of the torrent lies where it should.
fn has_files(args: &Seed, metainfo: &Metainfo) -> bool {
    let spec = metainfo.store_spec(&args.data);
    metainfo.total_len() == 0 || spec.files.iter().any(|file| args.data.join(&file.path).exists())
}

fn nothing_here(args: &Seed, metainfo: &Metainfo) -> Failure {
    let place = place(metainfo, &args.data);
    Failure::new(
        Code::File,
        format!(
            "there is nothing to share in {}; --data names the directory that contains it",
            place.display()
        ),
    )
}
