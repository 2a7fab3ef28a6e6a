//! `seed`: shares data that is already here, until stopped.
//!
//! It never writes to the data: nothing is wanted of any torrent, so what is missing or was changed
//! is not fetched. What is here and right is shared.

use std::fs;

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::torrent::{AddTorrent, FilePriority};

use crate::args::Seed;
use crate::claim::{Gate, Use};
use crate::exit::{Code, Failure};
use crate::left_out::LeftOut;
use crate::progress::Progress;
use crate::session::{Session, resolve_peers};
use crate::signals::Interrupt;
use crate::state::State;
use crate::swarm::Swarm;
use crate::torrents::{list, load_all, place};
use crate::watch::Purpose;

/// Shares until Ctrl-C or SIGTERM.
pub(crate) fn run(args: &Seed) -> Result<(), Failure> {
    let transfer = &args.transfer;
    let mut left_out = LeftOut::default();
    let torrents = load_all(&args.inputs, Use::Read, &mut left_out)?;
    if args.list {
        list(&torrents, transfer.reporting.json)?;
        return left_out.verdict();
    }
    fs::read_dir(&args.data).map_err(|error| Failure::file("cannot read", &args.data, &error))?;
    let interrupt = Interrupt::catch()?;
    let (here, missing): (Vec<_>, Vec<_>) =
        torrents.into_iter().partition(|metainfo| has_files(args, metainfo));
    missing.iter().for_each(|metainfo| left_out.add(nothing_here(args, metainfo)));
    if here.is_empty() {
        return left_out.verdict();
    }
    let state = State::open(transfer.state_dir.as_deref(), &args.data)?;
    let peers = resolve_peers(&transfer.network.peers, &interrupt)?;
    let progress = Progress::new(transfer.reporting);
    let gate = Gate::enter(&state)?;
    let (session, dir) = Session::for_transfer(transfer, None, &state)?;
    let claim = gate.claim(&dir, here.iter().map(Metainfo::infohash), Use::Read)?;
    let kept = state.fetcher(&dir);
    let mut swarm = Swarm::new(session, Purpose::Seed, transfer, progress, claim, left_out);
    for metainfo in here {
        let files = vec![FilePriority::Skip; metainfo.files().len()];
        let add = AddTorrent {
            trackers: transfer.network.trackers.clone(),
            peers: peers.clone(),
            files,
            ..AddTorrent::new(metainfo, &args.data)
        };
        swarm.add(add, &kept)?;
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
