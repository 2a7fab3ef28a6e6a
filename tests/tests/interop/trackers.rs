//! Our client and trackers: what it tells them, and the answers that it has to understand.

use std::io::Read as _;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bitswarm_tests::interop::client::{Client, Peer, Task};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::process::Signal;
use bitswarm_tests::interop::tracker::Manner;
use bitswarm_tests::interop::transmission::Transmission;
use bitswarm_tests::interop::{
    Bitswarm, Case, Content, Creator, Lab, Opentracker, Outcome, Process, Seat, Torrent, Tracker,
    bitswarm, libtorrent,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "tracker_hears_started_completed_and_stopped",
            &[],
            tracker_hears_started_completed_and_stopped,
        ),
        Case::new(
            "tracker_answers_of_every_manner_are_understood",
            &[],
            answers_of_every_manner_are_understood,
        ),
        Case::new("second_tracker_serves_when_the_first_is_dead", &[], second_tracker_serves),
        Case::new("mute_tracker_does_not_hold_up_the_end", &[], mute_tracker),
        Case::new("swarm_over_ipv6", &[], swarm_over_ipv6),
        Case::new("opentracker_over_http", &[Opentracker::NEEDS], |lab| opentracker(lab, "http")),
        Case::new("opentracker_over_udp", &[Opentracker::NEEDS], |lab| opentracker(lab, "udp")),
        Case::new("our_tracker_is_scraped", &[], our_tracker_is_scraped),
        Case::new(
            "our_tracker_is_scraped_by_libtorrent",
            &[Client::Libtorrent.needs()],
            our_tracker_is_scraped_by_libtorrent,
        ),
        Case::new(
            "our_tracker_is_scraped_by_transmission",
            &[Client::Transmission.needs()],
            our_tracker_is_scraped_by_transmission,
        ),
        Case::new("scrape_of_nobody_ends_in_code_6", &[], scrape_of_nobody),
    ]
}

fn tracker_hears_started_completed_and_stopped(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::odd_file(lab)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 16, &tracker.url())?;
    let total = torrent.total();
    let mut seed = Bitswarm::start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let root = lab.make_dir("download")?;
    let mut leech = Bitswarm::start(lab, &Task::leech(&torrent, &root))?;
    assert_eq!(leech.process().exit_code(Duration::from_secs(60))?, 0);
    seed.process().signal(Signal::INT)?;
    assert_eq!(seed.process().exit_code(Duration::from_secs(10))?, 0, "a seed stopped by Ctrl-C");

    let told = |port| -> Vec<(String, Option<u64>)> {
        let history = tracker.history(port).into_iter().filter(|told| !told.event.is_empty());
        history.map(|told| (told.event, told.left)).collect()
    };
    let event = |name: &str, left| (name.to_owned(), Some(left));
    let whole = [event("started", total), event("completed", 0), event("stopped", 0)];
    assert_eq!(told(leech.seat().port), whole);
    assert_eq!(told(seed.seat().port), [event("started", 0), event("stopped", 0)]);

    let leech_history = tracker.history(leech.seat().port);
    let last = leech_history.last().ok_or("no announce")?;
    assert!(last.downloaded >= Some(total), "{last:?}");
    for told in leech_history {
        assert_eq!(told.infohash, torrent.infohash);
        assert_eq!(told.peer.ip(), leech.seat().ip, "announces come from the bound address");
        assert!(told.compact);
    }
    let seed_history = tracker.history(seed.seat().port);
    assert!(seed_history.last().ok_or("no announce")?.uploaded >= Some(total));
    Ok(())
}

fn answers_of_every_manner_are_understood(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::single(lab, "file.bin", 100_001)?;
    let create = |url: &str| Torrent::create(lab, content.clone(), Creator::Bitswarm, 1 << 14, url);
    let torrent = create(&tracker.url())?;
    let seed = Client::any_seed().start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    for manner in Manner::ALL {
        let same = create(&tracker.url_with(manner))?;
        assert_eq!(same.infohash, torrent.infohash);
        let root = lab.make_dir("download")?;
        let mut leech = Bitswarm::start(lab, &Task::leech(&same, &root))?;
        let code = leech.process().exit_code(Duration::from_secs(30));
        assert_eq!(code.map_err(|error| format!("{manner:?}: {error}"))?, 0, "{manner:?}");
        content.compare(&root)?;
    }
    Ok(())
}

fn second_tracker_serves(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    // Nobody listens there.
    let dead = format!("http://{}/announce", lab.seat().addr());
    let torrent = Torrent::create(lab, Content::odd_file(lab)?, Creator::Bitswarm, 1 << 16, &dead)?;
    let seed = Client::any_seed().start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let root = lab.make_dir("download")?;
    let task = Task::leech(&torrent, &root);
    let mut ours = Bitswarm::start_with(lab, lab.seat(), &task, &["--tracker", &tracker.url()])?;
    assert_eq!(ours.process().exit_code(Duration::from_secs(60))?, 0);
    torrent.content.compare(&root)
}

fn mute_tracker(lab: &Lab) -> Outcome {
    // It takes connections and says nothing.
    let mute = TcpListener::bind(lab.seat().addr())?;
    let url = format!("http://{}/announce", mute.local_addr()?);
    let torrent = Torrent::create(lab, Content::odd_file(lab)?, Creator::Bitswarm, 1 << 16, &url)?;
    let root = lab.make_dir("download")?;
    let mut ours = Bitswarm::start(lab, &Task::leech(&torrent, &root))?;
    let _asked = hear_started(&mute)?;
    for signal in [Signal::INT, Signal::TERM] {
        let start = Instant::now();
        ours.process().signal(signal)?;
        assert_eq!(ours.process().exit_code(Duration::from_secs(10))?, 7, "{signal:?}");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(3), "{signal:?}: took {took:?} to leave");
        ours = Bitswarm::start(lab, &Task::leech(&torrent, &root))?;
        let _asked = hear_started(&mute)?;
    }
    Ok(())
}

/// Takes connections until one announces that it begins; what went before says that it leaves.
fn hear_started(tracker: &TcpListener) -> Outcome<TcpStream> {
    loop {
        let (mut stream, _) = tracker.accept()?;
        let mut request = [0; 4096];
        let length = stream.read(&mut request)?;
        if String::from_utf8_lossy(&request[..length]).contains("event=started") {
            return Ok(stream);
        }
    }
}

/// Tracker and peers on ::1, each with a port of its own (BEP 7).
fn swarm_over_ipv6(lab: &Lab) -> Outcome {
    // Shared with other runs on this machine where there is no namespace.
    let first_port = 30_000 + (std::process::id() % 10_000) as u16;
    let seat = |number: u8| Seat {
        number,
        ip: Ipv6Addr::LOCALHOST.into(),
        port: first_port + u16::from(number),
    };
    let tracker = Tracker::start_at(SocketAddr::new(seat(0).ip, seat(0).port))?;
    let content = Content::odd_file(lab)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 16, &tracker.url())?;
    let mut seed = Bitswarm::start_with(lab, seat(1), &Task::seed(&torrent), &[])?;
    until("the seed to announce", Duration::from_secs(20), || {
        seed.process().ensure_running()?;
        Ok((!tracker.history(seat(1).port).is_empty()).then_some(()))
    })?;
    let root = lab.make_dir("download")?;
    let mut leech = Bitswarm::start_with(lab, seat(2), &Task::leech(&torrent, &root), &[])?;
    assert_eq!(leech.process().exit_code(Duration::from_secs(60))?, 0);
    torrent.content.compare(&root)
}

/// A tracker that public swarms run on counts us right, and brings our peers together.
fn opentracker(lab: &Lab, scheme: &str) -> Outcome {
    let seat = lab.seat();
    let url = format!("{scheme}://{}/announce", seat.addr());
    let torrent = Torrent::create(lab, Content::odd_file(lab)?, Creator::Bitswarm, 1 << 16, &url)?;
    let _tracker = Opentracker::start(lab, seat, &torrent.infohash_hex())?;
    is_counted(lab, &torrent, &url)
}

/// Our tracker, asked over each of its transports about a torrent of its own.
fn over_each_transport(lab: &Lab, check: impl Fn(&Torrent, &str) -> Outcome) -> Outcome {
    let tracker = Bitswarm::tracker(lab)?;
    for scheme in ["http", "udp"] {
        let url = format!("{scheme}://{}/announce", tracker.seat().addr());
        let content = Content::single(lab, &format!("{scheme}.bin"), 100_001)?;
        let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 14, &url)?;
        check(&torrent, &url)?;
    }
    Ok(())
}

fn our_tracker_is_scraped(lab: &Lab) -> Outcome {
    over_each_transport(lab, |torrent, url| is_counted(lab, torrent, url))
}

fn our_tracker_is_scraped_by_libtorrent(lab: &Lab) -> Outcome {
    over_each_transport(lab, |torrent, _| {
        let mut seed = Bitswarm::start(lab, &Task::seed(torrent))?;
        let asker = lab.seat();
        until("libtorrent to see the seed", Duration::from_secs(40), || {
            seed.process().ensure_running()?;
            let mut command = libtorrent::script();
            command.arg("scrape").arg(&torrent.path).arg(asker.addr().to_string());
            let mut process = Process::spawn(lab, "libtorrent-scrape", &command)?;
            assert_eq!(process.exit_code(Duration::from_secs(20))?, 0);
            let told: serde_json::Value = serde_json::from_str(process.stdout().trim())?;
            let numbers = (told["seeds"].as_i64(), told["downloaders"].as_i64());
            Ok((numbers == (Some(1), Some(0))).then_some(()))
        })
    })
}

/// Of the clients that these tests run, aria2 alone never scrapes.
fn our_tracker_is_scraped_by_transmission(lab: &Lab) -> Outcome {
    over_each_transport(lab, |torrent, _| {
        let mut seed = Bitswarm::start(lab, &Task::seed(torrent))?;
        let root = lab.make_dir("download")?;
        let mut leech = Transmission::start(lab, &Task::leech(torrent, &root))?;
        until("transmission to download", Duration::from_secs(60), || {
            seed.process().ensure_running()?;
            Ok(leech.is_complete()?.then_some(()))
        })?;
        until("transmission's scrape", Duration::from_secs(60), || {
            let told = leech.tracker()?;
            let seeds = told["seederCount"].as_i64();
            Ok((told["lastScrapeSucceeded"] == true && seeds >= Some(1)).then_some(()))
        })
    })
}

/// A seed, a download and the numbers in between, all by one tracker.
fn is_counted(lab: &Lab, torrent: &Torrent, url: &str) -> Outcome {
    let asker = lab.seat();
    let mut seed = Bitswarm::start(lab, &Task::seed(torrent))?;
    until("the seed to be counted", Duration::from_secs(20), || {
        seed.process().ensure_running()?;
        Ok((scrape(lab, asker, torrent)? == Some([1, 0, 0])).then_some(()))
    })?;
    let root = lab.make_dir("download")?;
    let mut leech = Bitswarm::start(lab, &Task::leech(torrent, &root))?;
    assert_eq!(leech.process().exit_code(Duration::from_secs(60))?, 0, "{url}");
    torrent.content.compare(&root)?;
    until("the download to be counted", Duration::from_secs(20), || {
        Ok((scrape(lab, asker, torrent)? == Some([1, 0, 1])).then_some(()))
    })
}

/// Seeds, downloaders and downloads by `bitswarm scrape`; `None` if no tracker knows.
fn scrape(lab: &Lab, asker: Seat, torrent: &Torrent) -> Outcome<Option<[u64; 3]>> {
    let mut command = bitswarm::command(lab);
    command.arg("scrape").arg(&torrent.path).args(["--json", "--bind"]);
    command.arg(asker.ip.to_string());
    let mut process = Process::spawn(lab, "scrape", &command)?;
    match process.exit_code(Duration::from_secs(30))? {
        0 => {
            let told: serde_json::Value = serde_json::from_str(process.stdout().trim())?;
            let number = |name: &str| told[name].as_u64().ok_or(format!("no {name}: {told}"));
            Ok(Some([number("seeds")?, number("downloaders")?, number("completed")?]))
        }
        6 => Ok(None),
        code => Err(format!("code {code}: {}", process.stderr()).into()),
    }
}

fn scrape_of_nobody(lab: &Lab) -> Outcome {
    let dead = format!("http://{}/announce", lab.seat().addr());
    let torrent = Torrent::create(lab, Content::odd_file(lab)?, Creator::Bitswarm, 1 << 16, &dead)?;
    assert_eq!(scrape(lab, lab.seat(), &torrent)?, None);
    Ok(())
}
