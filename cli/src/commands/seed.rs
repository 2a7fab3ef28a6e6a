//! `seed`: shares data that is already here, until stopped.
//!
//! It never writes to the data: nothing is wanted of any torrent, so what is missing or was changed
//! is not fetched. What is here and right is shared.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::torrent::AddTorrent;

use crate::args::Seed;
use crate::exit::{Code, Failure};
use crate::fetch::Reach;
use crate::goals::Purpose;
use crate::input;
use crate::known::links_of_torrents;
use crate::left_out::LeftOut;
use crate::load::{list, load_all, place, root_of};
use crate::progress::Progress;
use crate::session::resolve_peers;
use crate::signals::Interrupt;
use crate::torrent_lock::Use;
use crate::transfer_loop::TransferLoop;
use crate::workplace::Workplace;

/// Shares until Ctrl-C or SIGTERM.
pub(crate) fn run(args: &Seed) -> Result<(), Failure> {
    let transfer = &args.transfer;
    let mut left_out = LeftOut::default();
    transfer.network.failures().for_each(|failure| left_out.add(failure));
    let torrents = load_all(&input::named(&args.inputs)?, &Reach::of(transfer), &mut left_out);
    if args.list {
        list(&torrents, transfer.reporting.json)?;
        return left_out.verdict();
    }
    fs::metadata(&args.data).map_err(|error| Failure::file("cannot read", &args.data, &error))?;
    let interrupt = Interrupt::catch()?;
    let (here, missing): (Vec<_>, Vec<_>) =
        torrents.into_iter().partition(|metainfo| has_files(args, metainfo));
    missing.iter().for_each(|metainfo| left_out.add(nothing_here(args, metainfo)));
    if here.is_empty() {
        return left_out.verdict();
    }
    let peers = resolve_peers(&transfer.network.peers(), false, &mut left_out, &interrupt)?;
    let progress = Progress::new(transfer.reporting, transfer.painting);
    let data = root_of_all(args, &here);
    let locked = here.iter().map(Metainfo::infohash);
    let place = Workplace::enter(transfer, None, &data, locked, Use::Read, &progress)?;
    let kept = place.kept;
    let mut transfers =
        TransferLoop::new(place.session, Purpose::Seed, transfer, progress, place.lock, left_out);
    let made = links_of_torrents(transfer.state_dir.as_deref(), &data);
    for metainfo in here {
        let root = root_of(&metainfo, &args.data);
        let add = AddTorrent {
            trackers: transfer.network.trackers(),
            peers: peers.clone(),
            share_only: true,
            recheck: transfer.check,
            follow_top_link: !made.contains(OsStr::new(metainfo.name())),
            ..AddTorrent::new(metainfo, root)
        };
        transfers.add(add, kept.as_ref())?;
    }
    transfers.run(&interrupt)
}

/// The directory in which all torrents lie; `--data` if it is not the same for each.
fn root_of_all(args: &Seed, torrents: &[Metainfo]) -> PathBuf {
    let mut roots = torrents.iter().map(|metainfo| root_of(metainfo, &args.data));
    match roots.next() {
        Some(first) if roots.all(|root| root == first) => first,
        _ => args.data.clone(),
    }
}

/// Whether anything of the torrent lies where it should.
fn has_files(args: &Seed, metainfo: &Metainfo) -> bool {
    let root = root_of(metainfo, &args.data);
    let spec = metainfo.store_spec(&root);
    metainfo.geometry().data_len() == 0
        || spec.files.iter().any(|file| root.join(&file.path).exists())
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
