//! Message stream encryption with other clients, both ways: what we agree on with each, and what
//! follows from a refusal.

use std::time::Duration;

use bitswarm_tests::interop::client::Client::{Aria2, Libtorrent, Rtorrent, Transmission};
use bitswarm_tests::interop::client::{Client, Encryption, Peer, Task};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::{Bitswarm, Case, Content, Creator, Lab, Outcome, Torrent, Tracker};

/// Our client and another, and what comes of it.
#[derive(Clone, Copy)]
struct Meeting {
    them: Client,
    /// How they insist on being encrypted.
    theirs: Encryption,
    /// Our policy, as the command line has it.
    ours: &'static str,
    creator: Creator,
    /// What we say of the connection.
    agreed: &'static str,
    /// Whether all speak uTP alone.
    utp: bool,
}

pub(crate) fn cases() -> Vec<Case> {
    use Encryption::{Handshake, Off, Rc4};
    let meetings = [
        ("libtorrent_without_encryption", Libtorrent, Off, "prefer", Creator::Bitswarm, "none"),
        (
            "libtorrent_with_plain_text",
            Libtorrent,
            Handshake,
            "prefer",
            Creator::Bitswarm,
            "handshake",
        ),
        ("libtorrent_with_rc4", Libtorrent, Rc4, "prefer", Creator::Bitswarm, "rc4"),
        ("libtorrent_that_requires_it", Libtorrent, Rc4, "allow", Creator::Bitswarm, "rc4"),
        ("libtorrent_of_v2", Libtorrent, Rc4, "require", Creator::BitswarmV2, "rc4"),
        ("libtorrent_of_a_hybrid", Libtorrent, Rc4, "require", Creator::BitswarmHybrid, "rc4"),
        ("transmission_that_requires_it", Transmission, Rc4, "prefer", Creator::Bitswarm, "rc4"),
        ("rtorrent_that_requires_it", Rtorrent, Rc4, "prefer", Creator::Bitswarm, "rc4"),
        ("rtorrent_that_refuses_it", Rtorrent, Off, "prefer", Creator::Bitswarm, "none"),
        ("aria2_that_requires_it", Aria2, Rc4, "prefer", Creator::Bitswarm, "rc4"),
    ];
    let meetings = meetings.map(|(name, them, theirs, ours, creator, agreed)| {
        (name, Meeting { them, theirs, ours, creator, agreed, utp: false })
    });
    let over_utp = [
        ("libtorrent_with_rc4_over_utp", Rc4, "prefer", Creator::Bitswarm, "rc4"),
        (
            "libtorrent_with_plain_text_over_utp",
            Handshake,
            "prefer",
            Creator::Bitswarm,
            "handshake",
        ),
        ("libtorrent_of_a_hybrid_over_utp", Rc4, "require", Creator::BitswarmHybrid, "rc4"),
    ];
    let over_utp = over_utp.map(|(name, theirs, ours, creator, agreed)| {
        (name, Meeting { them: Libtorrent, theirs, ours, creator, agreed, utp: true })
    });
    let mut cases = Vec::new();
    for (name, meeting) in meetings.into_iter().chain(over_utp) {
        for (way, we_seed) in [("from", false), ("to", true)] {
            let needs = &[meeting.them.needs()];
            cases.push(Case::new(format!("encrypted_{way}_{name}"), needs, move |lab| {
                meet(lab, meeting, we_seed)
            }));
        }
    }
    cases
}

fn meet(lab: &Lab, meeting: Meeting, we_seed: bool) -> Outcome {
    let Meeting { them, theirs, ours, creator, agreed, utp } = meeting;
    let tracker = Tracker::start(lab)?;
    let torrent = Torrent::create(lab, Content::odd_file(lab)?, creator, 64 << 10, &tracker.url())?;
    let root = lab.make_dir("download")?;
    let (seed, leech) = (Task::seed(&torrent), Task::leech(&torrent, &root));
    let (seed, leech) = if utp { (seed.over_utp(), leech.over_utp()) } else { (seed, leech) };
    let start =
        |task: &Task<'_>| Bitswarm::start_with(lab, lab.seat(), task, &["--encryption", ours]);
    let our_own;
    if we_seed {
        our_own = start(&seed)?;
        let mut leech = them.start(lab, &leech.encrypted(theirs))?;
        until("it to complete", Duration::from_secs(30), || {
            Ok(leech.is_complete()?.then_some(()))
        })?;
        leech.stop()?;
    } else {
        let _seed = them.start(lab, &seed.encrypted(theirs))?;
        let mut leech = start(&leech)?;
        until("us to complete", Duration::from_secs(30), || {
            Ok(leech.is_complete()?.then_some(()))
        })?;
        our_own = leech;
    }
    torrent.content.compare(&root)?;
    let connected: Vec<String> = our_own
        .json()?
        .iter()
        .filter(|object| object["event"] == "peer_connected")
        .map(|object| object["encryption"].as_str().unwrap_or_default().to_owned())
        .collect();
    if connected.is_empty() || connected.iter().any(|encryption| encryption != agreed) {
        return Err(format!("connections are encrypted like this: {connected:?}").into());
    }
    Ok(())
}
