//! `scrape`: asks a torrent's trackers how many peers it has, without being one (BEP 15, BEP 48).
//!
//! A line for each tracker that answers; why another does not is said on stderr. That none answers
//! is exit code 6.

use std::collections::BTreeSet;
use std::time::Instant;

use bitswarm_core::config::Config;
use bitswarm_core::http::Url;
use bitswarm_core::notice::Notice;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::tracker::{ScrapeEntry, ScrapeId};
use bitswarm_runtime_common::ClientConfig;

use crate::args::{Given, Scrape, listen_at};
use crate::exit::{Code, Failure};
use crate::fetch::Reach;
use crate::input;
use crate::left_out::LeftOut;
use crate::output::{Object, print, say};
use crate::session::{MustListen, PATIENCE, Session};
use crate::signals::Interrupt;
use crate::units::{Span, counted};

/// Asks all of them at once; each answers, or fails, within the core's deadline or `--timeout`.
pub(crate) fn run(args: &Scrape) -> Result<(), Failure> {
    let bind = args.bind.into_iter().collect();
    let reach = Reach { bind, insecure: args.insecure_trackers.clone() };
    let (infohash, mut trackers) = input::infohash_and_trackers(&args.torrent, &reach)?;
    let mut left_out = LeftOut::default();
    Given::failures(&args.trackers).for_each(|failure| left_out.add(failure));
    let mut known: BTreeSet<Url> = trackers.iter().filter_map(|url| Url::parse(url).ok()).collect();
    let is_news = |url: &String| Url::parse(url).map_or(true, |url| known.insert(url));
    trackers.extend(Given::usable(&args.trackers).into_iter().filter(is_news));
    if trackers.is_empty() {
        let message = "the torrent names no tracker; name one with --tracker";
        return Err(Failure::new(Code::Usage, message));
    }
    let interrupt = Interrupt::catch()?;
    let session = start(args)?;
    let answered = ask(&session, args, infohash, &trackers, &interrupt);
    session.stop();
    match answered? {
        0 => Err(Failure::new(Code::NoPeers, "no tracker said how many peers there are")),
        _ => left_out.verdict(),
    }
}

fn start(args: &Scrape) -> Result<Session, Failure> {
    let listen = listen_at(args.bind.as_slice(), 0);
    let config = ClientConfig {
        core: Config {
            listen,
            bind: args.bind.into_iter().collect(),
            dht: None,
            ..Config::default()
        },
        insecure_trackers: args.insecure_trackers.clone(),
        ..ClientConfig::default()
    };
    Session::start(args.driven.runtime, &config, MustListen::if_named(args.bind.is_some()))
}

/// How many trackers gave numbers.
fn ask(
    session: &Session,
    args: &Scrape,
    infohash: InfoHash,
    trackers: &[String],
    interrupt: &Interrupt,
) -> Result<usize, Failure> {
    let mut asked: Vec<(ScrapeId, &str)> = Vec::new();
    for tracker in trackers {
        match Url::parse(tracker) {
            Ok(url) => asked.push((session.scrape(url, infohash)?, tracker)),
            Err(error) => tell(args, tracker, Err(error.to_string()))?,
        }
    }
    let deadline = Instant::now() + args.timeout;
    let mut answered = 0;
    while !asked.is_empty() {
        if interrupt.is_set() {
            return Err(Failure::interrupted("not every tracker has answered"));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let Some(Notice::Scraped { scrape, swarms }) = session.next_notice(PATIENCE.min(left))?
        else {
            continue;
        };
        let Some(at) = asked.iter().position(|(id, _)| *id == scrape) else { continue };
        let (_, tracker) = asked.remove(at);
        let numbers = swarms.and_then(|swarms| {
            let of_torrent = swarms.into_iter().find(|swarm| swarm.infohash == infohash);
            of_torrent.ok_or("it does not know the torrent".to_owned())
        });
        answered += usize::from(numbers.is_ok());
        tell(args, tracker, numbers)?;
    }
    for (_, tracker) in asked {
        tell(args, tracker, Err(format!("no answer within {}", Span(args.timeout))))?;
    }
    Ok(answered)
}

fn tell(args: &Scrape, tracker: &str, numbers: Result<ScrapeEntry, String>) -> Result<(), Failure> {
    match numbers {
        Ok(swarm) if args.reporting.json => Object::event("tracker")
            .with("url", tracker)
            .with("seeds", swarm.complete)
            .with("downloaders", swarm.incomplete)
            .with("completed", swarm.downloaded)
            .print(),
        Ok(ScrapeEntry { complete, incomplete, downloaded, .. }) => {
            let seeds = counted(complete, "seed", "seeds");
            let downloaders = counted(incomplete, "downloader", "downloaders");
            let times = counted(downloaded, "time", "times");
            print(&format!("{tracker}: {seeds}, {downloaders}, completed {times}"))
        }
        Err(why) if args.reporting.json => {
            Object::event("tracker").with("url", tracker).with("error", why).print()
        }
        Err(why) => {
            say(&format!("{tracker}: {why}"));
            Ok(())
        }
    }
}
