//! That the checks can fail: for each rule, a conversation that breaks it and one that does not.

use std::path::Path;

use bitswarm_core::id::Id;

use super::*;
use crate::sim::content::Kind;
use crate::sim::peer_wire::{HashRun, Hello, Msg};
use bitswarm_core::piece::BLOCK_LEN;

const ROOT: &str = "/data";
const BLOCK: Run = Run { piece: 0, begin: 0, length: 16_384 };

/// An engine's connection, spoken by hand.
struct Talk {
    checker: Checker,
    disk: Disk,
    content: Arc<Content>,
    conn: ConnId,
    now: Instant,
}

impl Talk {
    /// A connection after both handshakes. `seed`: the engine's disk holds everything.
    fn new(fast: bool, seed: bool) -> Self {
        let content = Content::single(1, "talk", 100_000, 32_768);
        let mut disk = Disk::new(1, "disk", 0);
        if seed {
            content.plant(&mut disk, Path::new(ROOT));
        }
        let mut checker = Checker::new(Settings { own_requests: 2, ..Settings::default() });
        checker.watch(content.clone(), PathBuf::from(ROOT));
        let conn = ConnId::new(0, 0);
        checker.opened(conn);
        let mut talk = Talk { checker, disk, content, conn, now: Instant::ZERO };
        let hello = Hello::new(talk.content.infohash().0, [1; 20], fast, true).to_bytes();
        assert_eq!(talk.say_bytes(&hello), Ok(()));
        talk.checker.received(talk.now, conn, &hello);
        talk
    }

    fn say_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.say_parts(&[bytes])
    }

    fn say_parts(&mut self, parts: &[&[u8]]) -> Result<(), String> {
        self.checker.sent(self.now, self.conn, parts.iter().copied(), &self.disk)
    }

    fn say(&mut self, message: Msg<'_>) -> Result<(), String> {
        self.say_bytes(&message.to_bytes())
    }

    fn hear(&mut self, message: Msg<'_>) {
        self.checker.received(self.now, self.conn, &message.to_bytes());
    }

    /// The conversation is fine up to here.
    fn fine(&mut self, message: Msg<'_>) {
        assert_eq!(self.say(message), Ok(()));
    }

    /// The message breaks a rule, named by these words.
    fn breaks(&mut self, message: Msg<'_>, words: &str) {
        let broken = self.say(message).expect_err("no rule was broken");
        assert!(broken.contains(words), "{broken:?} does not say {words:?}");
    }
}

#[test]
fn a_download_by_the_rules_passes() {
    for fast in [false, true] {
        let mut talk = Talk::new(fast, false);
        if fast {
            talk.fine(Msg::HaveNone);
        }
        talk.hear(Msg::Bitfield(&[0xf0]));
        talk.fine(Msg::Interested);
        talk.hear(Msg::Unchoke);
        talk.fine(Msg::Request(BLOCK));
        let data = talk.content.run(0, 0, 16_384).unwrap();
        talk.hear(Msg::Piece { piece: 0, begin: 0, data: &data });
        talk.fine(Msg::Request(Run { begin: 16_384, ..BLOCK }));
        talk.fine(Msg::Cancel(Run { begin: 16_384, ..BLOCK }));
        talk.content.clone().plant(&mut talk.disk, Path::new(ROOT));
        talk.fine(Msg::Have(0));
        talk.fine(Msg::NotInterested);
        assert_eq!(talk.checker.tally().requests, 2);
        assert_eq!(talk.checker.tally().payload_received, 16_384);
    }
}

#[test]
fn an_upload_by_the_rules_passes() {
    let mut talk = Talk::new(true, true);
    talk.fine(Msg::HaveAll);
    talk.fine(Msg::AllowedFast(1));
    talk.hear(Msg::Interested);
    let fast = Run { piece: 1, ..BLOCK };
    talk.hear(Msg::Request(fast));
    let data = talk.content.run(1, 0, 16_384).unwrap();
    talk.fine(Msg::Piece { piece: 1, begin: 0, data: &data });
    talk.fine(Msg::Unchoke);
    talk.hear(Msg::Request(BLOCK));
    talk.fine(Msg::Choke);
    talk.fine(Msg::Reject(BLOCK));
}

#[test]
fn requests_that_a_choke_drops_must_be_answered() {
    let mut talk = Talk::new(true, true);
    talk.fine(Msg::HaveAll);
    talk.hear(Msg::Interested);
    talk.fine(Msg::Unchoke);
    talk.hear(Msg::Request(BLOCK));
    talk.fine(Msg::Choke);
    talk.breaks(Msg::Unchoke, "never answered 0+0 16384");
    talk.fine(Msg::Reject(BLOCK));
    talk.fine(Msg::Choke);
    talk.fine(Msg::Unchoke);
}

/// Found by seeds 6187 and 13975, where two cancels that were sent at once lay in two buffers.
#[test]
fn what_is_not_taken_back_by_the_end_of_all_that_is_sent_is_caught() {
    let other = Run { begin: 16_384, ..BLOCK };
    let ready = || {
        let mut talk = Talk::new(false, false);
        talk.hear(Msg::Bitfield(&[0xf0]));
        talk.fine(Msg::Interested);
        talk.hear(Msg::Unchoke);
        talk.fine(Msg::Request(BLOCK));
        talk.fine(Msg::Request(other));
        talk.content.clone().plant(&mut talk.disk, Path::new(ROOT));
        talk.fine(Msg::Have(0));
        talk.now += LATE * 2;
        talk
    };
    let mut talk = ready();
    let cancels = [Msg::Cancel(BLOCK).to_bytes(), Msg::Cancel(other).to_bytes()];
    assert_eq!(talk.say_parts(&[&cancels[0], &cancels[1]]), Ok(()));
    ready().breaks(Msg::Cancel(BLOCK), "does not cancel 0+16384 16384");
}

/// Found by seed 201932.
#[test]
fn a_cancel_that_crosses_a_reject_passes() {
    let mut talk = Talk::new(true, false);
    talk.fine(Msg::HaveNone);
    talk.hear(Msg::Bitfield(&[0xf0]));
    talk.fine(Msg::Interested);
    talk.hear(Msg::Unchoke);
    talk.fine(Msg::Request(BLOCK));
    talk.hear(Msg::Reject(BLOCK));
    talk.fine(Msg::Cancel(BLOCK));
    talk.breaks(Msg::Cancel(BLOCK), "not asked for");
}

#[test]
fn more_who_want_to_download_and_may_than_there_are_slots_are_caught() {
    let mut talk = Talk::new(false, true);
    talk.checker.settings.slots = 0;
    let judge = |talk: &Talk| talk.checker.judge_slots(|_| true);
    talk.fine(Msg::Unchoke);
    assert_eq!(judge(&talk), Ok(()), "nobody wants the slot");
    talk.hear(Msg::Interested);
    assert!(judge(&talk).is_err());
    assert_eq!(talk.checker.judge_slots(|_| false), Ok(()), "a choke may wait");
    talk.fine(Msg::Choke);
    assert_eq!(judge(&talk), Ok(()));
}

#[test]
fn requests_that_break_a_rule_are_caught() {
    let ready = || {
        let mut talk = Talk::new(true, false);
        talk.fine(Msg::HaveNone);
        talk.hear(Msg::Bitfield(&[0x80]));
        talk
    };
    let mut talk = ready();
    talk.fine(Msg::Interested);
    talk.breaks(Msg::Request(BLOCK), "while choked");
    talk.hear(Msg::AllowedFast(0));
    talk.fine(Msg::Request(BLOCK));
    talk.breaks(Msg::Request(BLOCK), "already owes");
    talk.now += Duration::from_secs(60);
    talk.fine(Msg::Request(BLOCK));

    let mut talk = ready();
    talk.hear(Msg::Extended { id: 0, payload: b"d4:reqqi1ee" });
    talk.hear(Msg::Unchoke);
    talk.breaks(Msg::Request(BLOCK), "without being interested");
    talk.fine(Msg::Interested);
    talk.breaks(Msg::Request(Run { piece: 1, ..BLOCK }), "which the peer lacks");
    talk.breaks(Msg::Request(Run { piece: 4, ..BLOCK }), "outside");
    talk.breaks(Msg::Request(Run { begin: 1, ..BLOCK }), "not a block");
    talk.breaks(Msg::Cancel(BLOCK), "not asked for");
    talk.hear(Msg::Have(2));
    talk.fine(Msg::Request(BLOCK));
    talk.breaks(Msg::Request(Run { piece: 2, ..BLOCK }), "past what the peer queues");

    let mut talk = ready();
    talk.hear(Msg::Unchoke);
    talk.fine(Msg::Interested);
    talk.content.clone().plant(&mut talk.disk, Path::new(ROOT));
    talk.fine(Msg::Have(0));
    talk.breaks(Msg::Request(BLOCK), "that it has");
}

#[test]
fn claims_of_what_is_not_on_disk_are_caught() {
    let mut talk = Talk::new(true, false);
    talk.breaks(Msg::HaveAll, "not on disk");
    let mut talk = Talk::new(false, false);
    talk.breaks(Msg::Bitfield(&[0x40]), "not on disk");
    let mut talk = Talk::new(false, true);
    talk.fine(Msg::Have(1));
    talk.breaks(Msg::Have(1), "twice");
    talk.breaks(Msg::Have(9), "of 4");
    let path = talk.content.paths(Path::new(ROOT))[0].0.clone();
    talk.disk.tamper(Instant::ZERO, &path, 70_000, &[0; 64]);
    talk.breaks(Msg::Have(2), "not on disk");
    talk.fine(Msg::Have(3));
}

#[test]
fn uploads_that_break_a_rule_are_caught() {
    let mut talk = Talk::new(false, true);
    let data = talk.content.run(0, 0, 16_384).unwrap();
    let block = Msg::Piece { piece: 0, begin: 0, data: &data };
    talk.fine(Msg::Bitfield(&[0xf0]));
    talk.breaks(block, "one it chokes");
    talk.fine(Msg::Unchoke);
    talk.breaks(block, "not asked for");
    talk.hear(Msg::Request(BLOCK));
    let wrong = Msg::Piece { piece: 0, begin: 0, data: &[0; 16_384] };
    talk.breaks(wrong, "wrong bytes");
    talk.hear(Msg::Request(BLOCK));
    talk.fine(Msg::Choke);
    talk.fine(Msg::Unchoke);
    talk.breaks(block, "not asked for");
}

#[test]
fn messages_out_of_order_are_caught() {
    let mut talk = Talk::new(true, true);
    talk.breaks(Msg::Interested, "despite the fast extension");
    let mut talk = Talk::new(false, true);
    talk.breaks(Msg::HaveAll, "without the fast extension");
    let mut talk = Talk::new(false, true);
    talk.fine(Msg::Interested);
    talk.breaks(Msg::Interested, "again");
    talk.breaks(Msg::Choke, "again");
    talk.breaks(Msg::Bitfield(&[0xf0]), "later message");
    talk.breaks(Msg::Extended { id: 0, payload: b"d1:b0:1:a0:e" }, "malformed");
    let none =
        HashRun { pieces_root: [1; 32], base_layer: 0, index: 0, length: 2, proof_layers: 0 };
    talk.breaks(Msg::HashReject(none), "of v2 to one of v1");
    assert!(talk.say_bytes(&[0, 0, 0, 1, 77]).is_err(), "an unknown message passed");
    let stranger = ConnId::new(5, 0);
    assert!(talk.checker.sent(talk.now, stranger, std::iter::once(&b"x"[..]), &talk.disk).is_err());
}

/// Both sides' handshakes with a hybrid: by which infohash, and whether v2 is offered.
fn greeted(theirs: (bool, bool), ours: bool) -> Result<Tally, String> {
    let content = Content::single_of(Kind::Hybrid, 1, "talk", 100_000, 32_768);
    let mut checker = Checker::new(Settings::default());
    checker.watch(content.clone(), PathBuf::from(ROOT));
    let conn = ConnId::new(0, 0);
    checker.opened(conn);
    let names = [content.infohash(), content.short_v2().expect("of a hybrid")];
    let hello = |of_v2: bool| Hello::new(names[usize::from(of_v2)].0, [1; 20], true, false);
    let (of_v2, offers) = theirs;
    let heard = if offers { hello(of_v2).with_v2() } else { hello(of_v2) };
    checker.received(Instant::ZERO, conn, &heard.to_bytes());
    let said = hello(ours).with_v2().to_bytes();
    let disk = Disk::new(1, "disk", 0);
    checker.sent(Instant::ZERO, conn, std::iter::once(&said[..]), &disk)?;
    Ok(checker.tally())
}

#[test]
fn a_hybrid_is_called_by_either_name_and_upgraded_only_where_that_is_offered() {
    let v2_conns = |theirs, ours| greeted(theirs, ours).map(|tally| tally.v2_conns);
    assert_eq!(v2_conns((false, false), false), Ok(0));
    assert_eq!(v2_conns((false, true), true), Ok(1));
    assert_eq!(v2_conns((false, true), false), Ok(0));
    assert_eq!(v2_conns((true, false), true), Ok(1));
    assert!(v2_conns((false, false), true).is_err(), "v2 was not offered");
    assert!(v2_conns((true, false), false).is_err(), "they may not know v1");
}

#[test]
fn a_repeated_request_is_early_unless_it_is_late_or_the_end_game() {
    let two_peers = |content_blocks: u32| {
        let mut talk = Talk::new(false, false);
        talk.checker.settings.own_requests = 100;
        talk.hear(Msg::Bitfield(&[0xf0]));
        talk.fine(Msg::Interested);
        talk.hear(Msg::Unchoke);
        let first = talk.conn;
        let all = (0..4).flat_map(|piece| {
            let blocks = talk.content.blocks_of(piece);
            (0..blocks).map(move |block| (piece, block * BLOCK_LEN))
        });
        let runs: Vec<Run> = all
            .map(|(piece, begin)| {
                let left = talk.content.piece(piece).len() as u32 - begin;
                Run { piece, begin, length: left.min(BLOCK_LEN) }
            })
            .take(content_blocks as usize)
            .collect();
        runs.into_iter().for_each(|run| talk.fine(Msg::Request(run)));
        talk.conn = ConnId::new(1, 0);
        talk.checker.opened(talk.conn);
        let hello = Hello::new(talk.content.infohash().0, [1; 20], false, false).to_bytes();
        assert_eq!(talk.say_bytes(&hello), Ok(()));
        talk.checker.received(talk.now, talk.conn, &hello);
        talk.hear(Msg::Bitfield(&[0xf0]));
        talk.fine(Msg::Interested);
        talk.hear(Msg::Unchoke);
        assert_ne!(first, talk.conn);
        talk
    };
    let early = |talk: &Talk| {
        (talk.checker.tally().duplicate_requests, talk.checker.tally().early_duplicates)
    };
    let mut talk = two_peers(3);
    talk.fine(Msg::Request(BLOCK));
    assert_eq!(early(&talk), (1, 1));
    let mut talk = two_peers(3);
    talk.now += LATE;
    talk.fine(Msg::Request(BLOCK));
    assert_eq!(early(&talk), (1, 0));
    let mut talk = two_peers(7);
    talk.fine(Msg::Request(BLOCK));
    assert_eq!(early(&talk), (1, 0));
}

/// A private torrent, spoken of by an engine that was given it, or a link to it.
fn private_talk(given: bool) -> Talk {
    let mut talk = Talk::new(true, false);
    talk.content = talk.content.private();
    talk.checker = Checker::new(Settings::default());
    let (content, root) = (talk.content.clone(), PathBuf::from(ROOT));
    match given {
        true => talk.checker.watch(content, root),
        false => talk.checker.watch_link(content, root),
    }
    talk.checker.opened(talk.conn);
    let hello = Hello::new(talk.content.infohash().0, [1; 20], true, true).to_bytes();
    talk.checker.received(talk.now, talk.conn, &hello);
    talk.hear(Msg::Extended { id: 0, payload: b"d1:md6:ut_pexi7eee" });
    assert_eq!(talk.say_bytes(&hello), Ok(()));
    talk.fine(Msg::HaveNone);
    talk
}

#[test]
fn nothing_of_a_private_torrent_is_told_to_others_once_it_is_known_to_be_one() {
    let pex = Msg::Extended { id: 7, payload: b"de" };
    let offer = Msg::Extended { id: 0, payload: b"d1:md6:ut_pexi2eee" };
    let mut talk = private_talk(true);
    talk.fine(Msg::Extended { id: 0, payload: b"d1:md6:ut_pexi0eee" });
    talk.fine(Msg::Extended { id: 8, payload: b"de" });
    talk.breaks(pex, "exchanges peers");
    talk.breaks(offer, "offers to exchange peers");
    talk.breaks(Msg::Port(6881), "tells of its node");
    let node = SocketAddr::from(([50, 0, 0, 1], 6881));
    let tracker = SocketAddr::from(([50, 0, 0, 1], 6969));
    let InfoHash(name) = talk.content.infohash();
    let hex: String = name.iter().map(|byte| format!("{byte:02X}")).collect();
    let question = [&b"get_peers"[..], &name].concat();
    for data in [&question, hex.as_bytes()] {
        assert!(talk.checker.judge_secrecy(6881, node, data).is_err());
        assert_eq!(talk.checker.judge_secrecy(6881, tracker, data), Ok(()));
    }
    assert_eq!(talk.checker.judge_secrecy(6881, node, b"ping"), Ok(()));
    assert!(talk.checker.judge_dial(stranger(300)).is_err());
    assert_eq!(talk.checker.judge_dial(node), Ok(()));

    let mut talk = private_talk(false);
    talk.fine(pex);
    talk.fine(offer);
    assert_eq!(talk.checker.judge_secrecy(6881, node, &question), Ok(()));
    talk.checker.learnt(|_| true);
    talk.breaks(pex, "exchanges peers");
    assert!(talk.checker.judge_secrecy(6881, node, &question).is_err());
    talk.checker.crashed();
    assert_eq!(talk.checker.judge_secrecy(6881, node, &question), Ok(()), "it begins anew");
}

#[test]
fn what_waited_to_be_sent_when_a_torrent_was_found_to_be_private_is_not_taken_back() {
    let offer = Msg::Extended { id: 0, payload: b"d1:md6:ut_pexi2eee" };
    let mut talk = private_talk(false);
    talk.checker.learnt(|_| false);
    talk.fine(offer);
    talk.breaks(offer, "offers to exchange peers");
}

#[test]
fn a_private_torrents_handshake_does_not_offer_the_dht() {
    let mut talk = private_talk(true);
    talk.checker.closed(talk.conn);
    talk.checker.opened(talk.conn);
    let mut hello = Hello::new(talk.content.infohash().0, [1; 20], true, true);
    hello.reserved[7] |= 0x01;
    let broken = talk.say_bytes(&hello.to_bytes()).expect_err("a rule was broken");
    assert!(broken.contains("offers the DHT"), "{broken}");
}
