//! `metadata`: makes a torrent file of a magnet link, asking peers, without downloading anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitswarm_core::TorrentId;
use bitswarm_core::config::Config;
use bitswarm_core::metainfo::{Magnet, Metainfo};
use bitswarm_core::notice::{Notice, TorrentNotice};
use bitswarm_core::torrent::{AddTorrent, Bottleneck, TorrentSource};
use bitswarm_runtime_common::ClientConfig;

use crate::args;
use crate::describe;
use crate::destination::Destination;
use crate::exit::{Code, Failure};
use crate::fetch::Reach;
use crate::input;
use crate::ip_filter::IpLists;
use crate::left_out::LeftOut;
use crate::output::{print, print_raw};
use crate::progress::Progress;
use crate::replace::{self, Existing};
use crate::session::{MustListen, Session, resolve_peers};
use crate::signals::Interrupt;
use crate::status_line::{Dht, facts, words};
use crate::units::Span;

/// Between two looks at the state and at signals (chosen).
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Fetches, writes, tells.
pub(crate) fn run(args: &args::Metadata) -> Result<(), Failure> {
    let network = &args.network;
    let reach = Reach { bind: network.bind.clone(), insecure: Vec::new() };
    let existing = Existing::by_force(args.force);
    let output = Destination::of(args.output.clone(), args.reporting.json, existing)?;
    let mut left_out = LeftOut::default();
    network.failures().for_each(|failure| left_out.add(failure));
    let source = input::load_any_within(&args.torrent, &reach)?;
    let metainfo = match source {
        TorrentSource::Metainfo(metainfo) => metainfo,
        TorrentSource::Magnet(magnet) => ask(args, *magnet, &mut left_out)?,
    };
    let bytes = metainfo.to_bytes();
    let Some(path) = output.path() else {
        print_raw(&bytes)?;
        return left_out.verdict();
    };
    replace::write(path, &bytes, existing)?;
    let path = path.display().to_string();
    if args.reporting.json {
        describe::object(&metainfo).with("path", path).print()?;
    } else {
        print(&format!("{path}: {}, {}", metainfo.name(), describe::infohashes(&metainfo)))?;
    }
    left_out.verdict()
}

/// Starts a session to ask peers in.
fn ask(
    args: &args::Metadata,
    magnet: Magnet,
    left_out: &mut LeftOut,
) -> Result<Arc<Metainfo>, Failure> {
    let network = &args.network;
    let interrupt = Interrupt::catch()?;
    let progress = Progress::new(args.reporting, args.painting);
    let are_all = network.no_dht && magnet.trackers.is_empty() && network.trackers().is_empty();
    let peers = resolve_peers(&network.peers(), are_all, left_out, &interrupt)?;
    // What it prints is the metadata alone: no event of the filter.
    let lists = IpLists::new(&network.ip_filter, false);
    let core = Config { ip_filter: lists.load(&progress)?, ..network.core_config(true) };
    let config = ClientConfig { core, ..ClientConfig::default() };
    let must_listen = MustListen::if_named(network.port.is_some());
    let session = Session::start(args.driven.runtime, &config, must_listen)?;
    let add = AddTorrent {
        peers,
        trackers: network.trackers(),
        metadata_only: true,
        ..AddTorrent::new(magnet, ".")
    };
    let fetched = fetch(&session, add, args.timeout, &progress, &interrupt);
    session.stop();
    fetched
}

/// The metainfo of a torrent of which only a magnet link is known.
fn fetch(
    session: &Session,
    add: AddTorrent,
    timeout: Option<Duration>,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Arc<Metainfo>, Failure> {
    let mut task = progress.task(&add.source.shown_name());
    let id = session.add(add)?;
    let began = Instant::now();
    let mut found = None;
    while !interrupt.is_set() {
        let notice = session.next_notice(LOOK_INTERVAL)?;
        if let Some(Notice::Torrent { what: TorrentNotice::DhtAnswered { peers, .. }, .. }) = notice
        {
            found = Some(peers);
        }
        if let Some(metainfo) = hear(session, id, notice)? {
            return Ok(metainfo);
        }
        let Some(status) = session.status(id) else { break };
        let dht = session.dht_stats().map(|stats| Dht { nodes: stats.nodes, found });
        task.set(|| facts(&status, dht));
        progress.refresh();
        if let Some(timeout) = timeout.filter(|&timeout| began.elapsed() >= timeout) {
            let code = match status.bottleneck {
                Bottleneck::NoPeers => Code::NoPeers,
                _ => Code::Stalled,
            };
            let (state, span) = (words(&status, dht), Span(timeout));
            return Err(Failure::new(code, format!("no metadata after {span}: {state}")));
        }
    }
    Err(Failure::interrupted("the metadata is not known yet"))
}

fn hear(
    session: &Session,
    id: TorrentId,
    notice: Option<Notice>,
) -> Result<Option<Arc<Metainfo>>, Failure> {
    match notice {
        Some(Notice::Torrent { what: TorrentNotice::MetadataReceived { .. }, .. }) => {
            Ok(session.metainfo(id))
        }
        Some(Notice::Torrent { what: TorrentNotice::MetadataUnusable { why }, .. }) => Err(
            Failure::new(Code::BadInput, format!("what the link describes cannot be used: {why}")),
        ),
        _ => Ok(None),
    }
}
