//! `dht`: asks the DHT, stores in it, or runs a node of it.
//!
//! Each but `node` takes part only to ask (BEP 43), and ends when its lookup does. Results go to
//! stdout; that nobody answered, or that nobody has what was looked for, is exit code 6.

use std::path::Path;
use std::time::{Duration, Instant};

use bitswarm_core::bencode::{Document, Limits};
use bitswarm_core::config::Config;
use bitswarm_core::dht::store::item::{Item, ItemError, mutable_target, public_key};
use bitswarm_core::dht::{DhtRequest, DhtResult, NodeId};
use bitswarm_core::notice::{Notice, Service};
use bitswarm_runtime_common::ClientConfig;

use crate::args::{
    Dht, DhtAsking, DhtCommand, DhtOptions, DhtPut, Given, dht_config, listen_at, parse_hex,
    to_connect_from,
};
use crate::exit::{Code, Failure};
use crate::input;
use crate::json::listening;
use crate::left_out::LeftOut;
use crate::output::{Object, print, say};
use crate::report::report;
use crate::session::{MustListen, PATIENCE, Session, TransferFailure};
use crate::signals::Interrupt;
use crate::state::State;
use crate::units::counted;

/// Between two lines about how a node stands (chosen).
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Carries out one of the commands below `dht`.
pub(crate) fn run(args: &Dht) -> Result<(), Failure> {
    let mut left_out = LeftOut::default();
    Given::failures(&args.command.options().bootstrap).for_each(|failure| left_out.add(failure));
    carry_out(&args.command)?;
    left_out.verdict()
}

fn carry_out(command: &DhtCommand) -> Result<(), Failure> {
    match command {
        DhtCommand::Lookup { torrent, asking } => {
            let infohash = input::infohash(torrent)?.into();
            let request =
                DhtRequest::Peers { infohash, no_seeds: false, announce: None, enough: None };
            tell_peers(&ask(asking, request)?, &asking.options)
        }
        DhtCommand::Get { target, key, salt, asking } => {
            let salt = salt.as_deref().unwrap_or_default().as_bytes().to_vec();
            let target = match (target, key) {
                (_, Some(key)) => mutable_target(&key.0, &salt),
                (Some(target), None) => *target,
                (None, None) => {
                    let message = "name the item by its TARGET, or by --key; see --help";
                    return Err(Failure::new(Code::Usage, message));
                }
            };
            tell_item(&ask(asking, DhtRequest::Get { target, salt })?, target, &asking.options)
        }
        DhtCommand::Put(args) => put(args),
        DhtCommand::Scrape { torrent, asking } => {
            let infohash = input::infohash(torrent)?.into();
            tell_swarm(&ask(asking, DhtRequest::Scrape { infohash })?, &asking.options)
        }
        DhtCommand::Node { options, state_dir } => node(options, state_dir.as_deref()),
    }
}

/// A node that is reached there.
fn config(options: &DhtOptions, read_only: bool) -> ClientConfig {
    let default = if read_only { 0 } else { 6881 };
    let port = options.port.unwrap_or(default);
    let core = Config {
        listen: listen_at(&options.bind, port),
        bind: to_connect_from(&options.bind),
        listen_fallback: options.port.is_none(),
        dht: Some(dht_config(&options.bootstrap, read_only)),
        ..Config::default()
    };
    ClientConfig { core, ..ClientConfig::default() }
}

fn must_listen(options: &DhtOptions) -> MustListen {
    MustListen::if_named(options.port.is_some() || !options.bind.is_empty())
}

/// What comes of a request; a failure if no node answered.
fn ask(asking: &DhtAsking, request: DhtRequest) -> Result<DhtResult, Failure> {
    let options = &asking.options;
    let interrupt = Interrupt::catch()?;
    let (config, must_listen) = (config(options, true), must_listen(options));
    let session = Session::start(options.driven.runtime, &config, must_listen)?;
    let result = wait_for(&session, asking.timeout, request, &interrupt);
    session.stop();
    result
}

fn wait_for(
    session: &Session,
    timeout: Duration,
    request: DhtRequest,
    interrupt: &Interrupt,
) -> Result<DhtResult, Failure> {
    let deadline = Instant::now() + timeout;
    let id = session.dht_request(request)?;
    while Instant::now() < deadline {
        if interrupt.is_set() {
            return Err(Failure::interrupted("the lookup was not done"));
        }
        match session.next_notice(PATIENCE)? {
            Some(Notice::DhtDone { request, result }) if request == id => {
                return if result.answered > 0 { Ok(*result) } else { Err(nobody()) };
            }
            Some(notice) => tell_unheard(session, &notice),
            None => {}
        }
    }
    Err(nobody())
}

/// Of several addresses that were named, one cannot be used.
fn tell_unheard(session: &Session, notice: &Notice) {
    if let Notice::ListenFailed { kind, addr, why, .. } = notice
        && let Some(failure) = session.listen_failure(*kind, *addr, *why)
    {
        report(&failure);
    }
}

fn nobody() -> Failure {
    let advice = "check the network, or name a node with --dht-bootstrap";
    Failure::new(Code::NoPeers, format!("no DHT node answered; {advice}"))
}

fn tell_peers(result: &DhtResult, options: &DhtOptions) -> Result<(), Failure> {
    for peer in &result.peers {
        match options.reporting.json {
            true => Object::event("peer").with("addr", peer.to_string()).print()?,
            false => print(&peer.to_string())?,
        }
    }
    if options.reporting.json {
        done(result).with("peers", result.peers.len()).print()?;
    }
    if result.peers.is_empty() {
        let message = format!("none of {} knows a peer of this torrent", nodes(result.answered));
        return Err(Failure::verdict(Code::NoPeers, message));
    }
    Ok(())
}

fn tell_swarm(result: &DhtResult, options: &DhtOptions) -> Result<(), Failure> {
    let Some((seeds, peers)) = result.swarm else {
        tell_nothing(result, options)?;
        let message = format!("none of {} counts this torrent's peers", nodes(result.answered));
        return Err(Failure::verdict(Code::NoPeers, message));
    };
    match options.reporting.json {
        true => done(result).with("seeds", seeds).with("downloaders", peers).print(),
        false => print(&format!(
            "about {}, {}",
            counted(seeds, "seed", "seeds"),
            counted(peers, "downloader", "downloaders")
        )),
    }
}

fn tell_item(result: &DhtResult, target: NodeId, options: &DhtOptions) -> Result<(), Failure> {
    let Some(item) = &result.item else {
        tell_nothing(result, options)?;
        let message = format!("none of {} has the item {target}", nodes(result.answered));
        return Err(Failure::verdict(Code::NoPeers, message));
    };
    let value = item.value();
    let text = Document::parse(value, Limits::MESSAGE)
        .ok()
        .and_then(|document| document.root().as_str().map(str::to_owned))
        .unwrap_or_else(|| value.escape_ascii().to_string());
    if !options.reporting.json {
        return print(&text);
    }
    let key = item.signed().map(|signed| hex(&signed.key));
    done(result)
        .with("target", target.to_string())
        .with("value", text)
        .with("value_hex", hex(value))
        .with("seq", item.seq())
        .with("key", key)
        .print()
}

fn put(args: &DhtPut) -> Result<(), Failure> {
    let value = match args.bencoded {
        true => args.value.clone().into_bytes(),
        false => [format!("{}:", args.value.len()).as_bytes(), args.value.as_bytes()].concat(),
    };
    let salt = args.salt.as_deref().unwrap_or_default().as_bytes().to_vec();
    let (item, cas) = match &args.secret {
        None => (Item::immutable(value), None),
        Some(path) => {
            let secret = read_secret(path)?;
            let (seq, cas) = match args.seq {
                Some(seq) => (seq, None),
                // The next after what is there; nobody else may have been faster.
                None => match newest(args, &secret, &salt)? {
                    Some(seq) => (seq.saturating_add(1), Some(seq)),
                    None => (1, None),
                },
            };
            (Item::mutable(&secret, salt, seq, value), cas)
        }
    };
    let item = item.map_err(|error: ItemError| Failure::new(Code::BadInput, error.to_string()))?;
    let request = DhtRequest::Put { item: (&item).into(), cas };
    let result = ask(&args.asking, request)?;
    if result.stored == 0 {
        tell_nothing(&result, &args.asking.options)?;
        let why = result.refused.map_or("no answer".to_owned(), |code| code.to_string());
        let message = format!("none of {} stored it: {why}", nodes(result.answered));
        return Err(Failure::verdict(Code::NoPeers, message));
    }
    if !args.asking.options.reporting.json {
        return print(&item.target().to_string());
    }
    let key = item.signed().map(|signed| hex(&signed.key));
    done(&result)
        .with("target", item.target().to_string())
        .with("stored", result.stored)
        .with("seq", item.seq())
        .with("key", key)
        .print()
}

/// The number of the newest item under this key, if there is one.
fn newest(args: &DhtPut, secret: &[u8; 32], salt: &[u8]) -> Result<Option<i64>, Failure> {
    let target = mutable_target(&public_key(secret), salt);
    let result = ask(&args.asking, DhtRequest::Get { target, salt: salt.to_vec() })?;
    Ok(result.item.and_then(|item| item.seq()))
}

/// A secret key: 64 hexadecimal digits in a file.
fn read_secret(path: &Path) -> Result<[u8; 32], Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::file("cannot read the secret key", path, &error))?;
    parse_hex::<32>(text.trim()).map_err(|_| {
        let message = format!(
            "{} is no secret key; write 64 random hexadecimal digits into it",
            path.display()
        );
        Failure::new(Code::BadInput, message)
    })
}

/// Runs a node until it is told to end. Says where it listens, and how it stands. Its id and its table
/// are kept from run to run: it is the same node, and need not look for others anew (BEP 5).
fn node(options: &DhtOptions, state_dir: Option<&Path>) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let session = start_node(options, state_dir)?;
    let mut tell_at = Instant::now() + TELL_EVERY;
    while !interrupt.is_set() {
        match session.next_notice(PATIENCE)? {
            Some(Notice::Listening { service: Service::Peers, kind, addr })
                if kind == bitswarm_core::action::SocketKind::Udp =>
            {
                match options.reporting.json {
                    true => listening(kind, addr).print()?,
                    false => print(&format!("udp://{addr}"))?,
                }
            }
            Some(Notice::DhtReady { nodes }) => tell_node(&session, options, "ready", nodes)?,
            Some(notice) => tell_unheard(&session, &notice),
            None => {}
        }
        if Instant::now() >= tell_at {
            tell_at = Instant::now() + TELL_EVERY;
            let nodes = session.dht_stats().map_or(0, |stats| stats.nodes);
            tell_node(&session, options, "status", nodes)?;
        }
    }
    session.stop();
    Ok(())
}

/// A session that keeps the node's state; without, where none can be kept and the user named no place.
fn start_node(options: &DhtOptions, state_dir: Option<&Path>) -> Result<Session, Failure> {
    let (config, must_listen) = (config(options, false), must_listen(options));
    let runtime = options.driven.runtime;
    // It works on no directory: its state is that of all of them.
    let state = State::open(state_dir, Path::new("/")).map_err(TransferFailure::State);
    let keep = |state| Session::in_state(runtime, config.clone(), must_listen, &state);
    match state.and_then(keep) {
        Ok((session, _)) => Ok(session),
        Err(TransferFailure::State(failure)) if state_dir.is_none() => {
            if !options.reporting.quiet {
                say(&format!(
                    "{failure}; going on without: the next run has another id and begins anew \
                     (--state-dir names another place)"
                ));
            }
            Session::start(runtime, &config, must_listen)
        }
        Err(failure) => Err(failure.into()),
    }
}

fn tell_node(
    session: &Session,
    options: &DhtOptions,
    event: &str,
    nodes: usize,
) -> Result<(), Failure> {
    let Some(stats) = session.dht_stats() else { return Ok(()) };
    if options.reporting.json {
        return Object::event(event)
            .with("nodes", nodes)
            .with("good_nodes", stats.good_nodes)
            .with("swarms", stats.swarms)
            .with("peers", stats.peers)
            .with("items", stats.items)
            .print();
    }
    if options.reporting.quiet {
        return Ok(());
    }
    let (peers, items) =
        (counted(stats.peers, "peer", "peers"), counted(stats.items, "item", "items"));
    say(&format!("{}; keeps {peers}, {items}", self::nodes(nodes)));
    Ok(())
}

/// The end of a JSON stream that has nothing else in it; why is said on stderr.
fn tell_nothing(result: &DhtResult, options: &DhtOptions) -> Result<(), Failure> {
    if options.reporting.json { done(result).print() } else { Ok(()) }
}

fn done(result: &DhtResult) -> Object {
    Object::event("done").with("nodes_asked", result.asked).with("nodes_answered", result.answered)
}

/// So many nodes, in words.
fn nodes(count: usize) -> String {
    counted(count, "node", "nodes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
