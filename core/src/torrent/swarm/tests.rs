//! The swarm with peers that are not connected to anything: no engine, no session.

use super::*;
use crate::bitfield::Bitfield;
use crate::config::Config;
use crate::id::{ConnId, Id};
use crate::merkle::HashRange;
use crate::peer::{PeerWire, WireState};
use crate::random::PolicyRng;
use crate::wire::Decoder;
use crate::wire::extension::{Extension, ExtensionHandshake, ExtensionIds};
use crate::wire::handshake::HandshakeDecoder;

const NOW: Instant = Instant::from_secs(1000);
const PIECES: u32 = 8;
const OURS: PeerId = PeerId([5; 20]);

fn swarm() -> Swarm {
    Swarm::new(PeerList::new(100, PolicyRng::from_seed([1; 32])))
}

fn addr(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 6881))
}

/// The same host by IPv6.
fn addr_v6(host: u8) -> SocketAddr {
    SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)], 6881))
}

/// A peer whose handshake is done.
fn join(swarm: &mut Swarm, host: u8, incoming: bool, id: u8) -> PeerSlot {
    join_from(swarm, addr(host), incoming, id)
}

fn join_from(swarm: &mut Swarm, remote: SocketAddr, incoming: bool, id: u8) -> PeerSlot {
    let conn = ConnId::new(u32::from(remote.is_ipv6()), u32::from(id));
    let pieces = Some(PIECES);
    let mut wire = PeerWire::new(conn, remote, incoming, WireState::Open, pieces, NOW);
    wire.id = Some(PeerId([id; 20]));
    let slot = swarm.insert(Peer::new(wire, pieces, &Config::default()));
    swarm.opened(slot, NOW);
    slot
}

fn peer(swarm: &mut Swarm, slot: PeerSlot) -> &mut Peer {
    swarm.peers.get_mut(slot).expect("connected")
}

/// Has a peer that lets us download what we want.
fn makes_source(swarm: &mut Swarm, slot: PeerSlot) {
    let source = &mut peer(swarm, slot).download;
    source.peer_choking = false;
    source.interesting = 1;
}

#[test]
fn of_two_connections_that_crossed_both_ends_close_the_same() {
    for (theirs, ours_stays) in [(9, true), (2, false)] {
        let mut swarm = swarm();
        let dialled = join(&mut swarm, 1, false, theirs);
        let came = join(&mut swarm, 1, true, theirs);
        let crossed = swarm.crossed(came, PeerId([theirs; 20]), OURS, NOW);
        let (winner, loser) = if ours_stays { (dialled, came) } else { (came, dialled) };
        assert_eq!(crossed, Some(Crossed { loser, winner }));
        assert_eq!(swarm.crossed(dialled, PeerId([theirs; 20]), OURS, NOW), crossed);
    }
}

#[test]
fn of_two_connections_in_one_direction_the_older_stays() {
    let mut swarm = swarm();
    let older = join(&mut swarm, 1, true, 9);
    let newer = join(&mut swarm, 1, true, 9);
    let crossed = swarm.crossed(newer, PeerId([9; 20]), OURS, NOW);
    assert_eq!(crossed, Some(Crossed { loser: newer, winner: older }));
    assert_eq!(swarm.crossed(newer, PeerId([8; 20]), OURS, NOW), None, "another peer");
}

#[test]
fn of_two_connections_by_two_families_both_ends_close_the_same() {
    // Crossed: that of the peer with the smaller id stays, in whichever order they came.
    for (theirs, ours_stays) in [(9, true), (2, false)] {
        for first_is_v4 in [true, false] {
            let mut swarm = swarm();
            let (a, b) = if first_is_v4 { (addr(1), addr_v6(1)) } else { (addr_v6(1), addr(1)) };
            let dialled = join_from(&mut swarm, a, false, theirs);
            let came = join_from(&mut swarm, b, true, theirs);
            let (winner, loser) = if ours_stays { (dialled, came) } else { (came, dialled) };
            for newer in [dialled, came] {
                let crossed = swarm.crossed(newer, PeerId([theirs; 20]), OURS, NOW);
                assert_eq!(crossed, Some(Crossed { loser, winner }));
            }
        }
    }
    // Opened by one side: that one closes the younger, the other leaves it to it.
    let mut swarm = swarm();
    let older = join_from(&mut swarm, addr(1), false, 9);
    let newer = join_from(&mut swarm, addr_v6(1), false, 9);
    let crossed = swarm.crossed(newer, PeerId([9; 20]), OURS, NOW);
    assert_eq!(crossed, Some(Crossed { loser: newer, winner: older }));
    let mut swarm = self::swarm();
    join_from(&mut swarm, addr(1), true, 9);
    let newer = join_from(&mut swarm, addr_v6(1), true, 9);
    assert_eq!(swarm.crossed(newer, PeerId([9; 20]), OURS, NOW), None);
}

#[test]
fn a_peer_of_this_machine_is_one_at_whichever_of_its_addresses() {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 6881));
    for (first, second) in [(loopback, addr(1)), (addr_v6(1), loopback)] {
        let mut swarm = swarm();
        let older = join_from(&mut swarm, first, false, 9);
        let newer = join_from(&mut swarm, second, false, 9);
        let crossed = swarm.crossed(newer, PeerId([9; 20]), OURS, NOW);
        assert_eq!(crossed, Some(Crossed { loser: newer, winner: older }));
    }
}

#[test]
fn who_copies_an_id_keeps_nobody_out() {
    let mut swarm = swarm();
    let copy = join_from(&mut swarm, addr_v6(66), true, 2);
    let dialled = join_from(&mut swarm, addr(1), false, 2);
    let later = NOW + SETTLED;
    assert_eq!(swarm.crossed(dialled, PeerId([2; 20]), OURS, later), None);
    // It has proven to be of use.
    peer(&mut swarm, copy).download.downloaded = 1;
    let crossed = swarm.crossed(dialled, PeerId([2; 20]), OURS, later);
    assert_eq!(crossed, Some(Crossed { loser: dialled, winner: copy }));
}

#[test]
fn who_copies_an_id_drives_out_nobody() {
    let mut swarm = swarm();
    let peer = join_from(&mut swarm, addr(1), false, 2);
    let later = NOW + SETTLED;
    let copy = join_from(&mut swarm, addr_v6(66), true, 2);
    let crossed = swarm.crossed(copy, PeerId([2; 20]), OURS, later);
    assert_eq!(crossed, Some(Crossed { loser: copy, winner: peer }));
    // Two hosts of one family are two peers, whatever they call themselves.
    let other = join(&mut swarm, 77, true, 2);
    swarm.peers.remove(copy);
    assert_eq!(swarm.crossed(other, PeerId([2; 20]), OURS, NOW), None);
}

#[test]
fn place_of_a_peer_that_neither_side_wants_anything_of_is_free_after_a_while() {
    let (mut swarm, patience) = (swarm(), Duration::from_secs(60));
    let slot = join(&mut swarm, 1, true, 1);
    assert_eq!(swarm.useless_peer(NOW, patience), None, "it may still want something");
    assert_eq!(swarm.useless_peer(NOW + patience, patience), Some(slot));
    peer(&mut swarm, slot).upload.peer_interested = true;
    assert_eq!(swarm.useless_peer(NOW + patience, patience), None);
}

#[test]
fn wasteful_peer_gives_way_only_while_another_sends_the_same() {
    let mut swarm = swarm();
    let (wasteful, other) = (join(&mut swarm, 1, true, 1), join(&mut swarm, 2, true, 2));
    makes_source(&mut swarm, wasteful);
    peer(&mut swarm, wasteful).download.unasked_bytes = 1 << 26;
    assert!(!swarm.gives_way(wasteful), "no other has anything");
    makes_source(&mut swarm, other);
    assert!(swarm.gives_way(wasteful) && !swarm.gives_way(other));
    assert!(swarm.wastes_too_much(wasteful) && !swarm.wastes_too_much(other));
    assert_eq!(swarm.useless_peer(NOW, Duration::from_secs(60)), Some(wasteful));
}

#[test]
fn who_comes_again_goes_on_where_its_address_was() {
    let mut swarm = swarm();
    let slot = join(&mut swarm, 1, true, 1);
    peer(&mut swarm, slot).upload.uploaded = 700;
    let gone = swarm.peers.remove(slot).expect("connected");
    swarm.gone(NOW, &gone, Ended::Normal);
    let again = join(&mut swarm, 1, true, 3);
    assert_eq!(peer(&mut swarm, again).upload.before.uploaded, 700);
}

#[test]
fn slots_count_peers_that_are_unchoked_and_interested() {
    let mut swarm = swarm();
    let slots = [1, 2, 3].map(|host| join(&mut swarm, host, true, host));
    assert!(!swarm.is_any_interested() && !swarm.is_any_waiting());
    for slot in &slots[..2] {
        peer(&mut swarm, *slot).upload.peer_interested = true;
    }
    peer(&mut swarm, slots[0]).unchoke(NOW);
    peer(&mut swarm, slots[2]).unchoke(NOW);
    assert_eq!(swarm.slots_used(), 1);
    assert!(swarm.is_any_interested() && swarm.is_any_waiting());
}

#[test]
fn only_peers_of_v2_that_have_the_piece_are_asked_for_its_leaves() {
    let mut swarm = swarm();
    let slots = [1, 2, 3].map(|host| join(&mut swarm, host, true, host));
    for slot in &slots[..2] {
        peer(&mut swarm, *slot).download.has = Bitfield::full(PIECES);
    }
    for slot in &slots[1..] {
        peer(&mut swarm, *slot).wire.of_v2 = true;
    }
    assert_eq!(swarm.with_leaves(PieceIndex(3)).collect::<Vec<_>>(), [slots[1]]);
}

#[test]
fn peers_are_told_of_others_together_and_not_of_themselves() {
    let mut swarm = swarm();
    let slots = [1, 2, 3].map(|host| join(&mut swarm, host, false, host));
    for slot in slots {
        peer(&mut swarm, slot).wire.extensions = ExtensionIds::ours(&Extension::ALL);
        swarm.send_pex_soon(NOW);
    }
    let at = swarm.pex_at().expect("there is news");
    assert!(at > NOW);
    let mut sent = Vec::new();
    swarm.send_pex(at, true, |conn| sent.push(conn));
    assert_eq!(sent.len(), 3);
    for slot in slots {
        assert!(!peer(&mut swarm, slot).wire.outbox.is_empty());
    }
    swarm.send_pex_soon(at);
    sent.clear();
    swarm.send_pex(at, false, |conn| sent.push(conn));
    assert!(sent.is_empty() && swarm.pex_at().is_none(), "of a private torrent nothing is told");
}

#[test]
fn local_discovery_is_news_when_it_changes_or_there_is_another_infohash() {
    let mut swarm = swarm();
    assert_eq!(swarm.local_news(false, true), None);
    assert_eq!(swarm.local_news(true, false), Some(true));
    assert_eq!(swarm.local_news(true, false), None);
    assert_eq!(swarm.local_news(true, true), Some(true));
    assert_eq!(swarm.local_news(false, false), Some(false));
}

#[test]
fn discovered_peers_are_those_that_neither_a_tracker_nor_the_user_named() {
    let mut swarm = swarm();
    swarm.addresses.add(addr(1), PeerSource::Pex, NOW);
    swarm.addresses.add(addr(2), PeerSource::User, NOW);
    let found = join(&mut swarm, 1, false, 1);
    join(&mut swarm, 2, false, 2);
    join(&mut swarm, 3, true, 3);
    assert_eq!(swarm.discovered(), [found]);
    assert_eq!(swarm.at(|remote| remote == addr(1)), [found]);
}

#[test]
fn a_new_piece_is_announced_to_those_that_lack_it_and_interest_in_the_others_ends() {
    let mut swarm = swarm();
    let piece = PieceIndex(2);
    let (lacks, has) = (join(&mut swarm, 1, true, 1), join(&mut swarm, 2, true, 2));
    peer(&mut swarm, has).download.has.set(piece);
    makes_source(&mut swarm, has);
    assert!(peer(&mut swarm, has).set_interest(true));
    let conns = [lacks, has].map(|slot| peer(&mut swarm, slot).wire.conn);
    for slot in [lacks, has] {
        peer(&mut swarm, slot).wire.outbox.take_all();
    }
    let mut sends = Vec::new();
    swarm.announce_have(piece, true, |conn| sends.push(conn));
    assert_eq!(sends, conns);
    let sent = |slot, swarm: &mut Swarm| {
        let mut decoder = Decoder::new();
        decoder.push(peer(swarm, slot).wire.outbox.take_all());
        std::iter::from_fn(|| decoder.next_message().expect("our own")).collect::<Vec<_>>()
    };
    assert_eq!(sent(lacks, &mut swarm), [Message::Have(piece)]);
    assert_eq!(sent(has, &mut swarm), [Message::NotInterested]);
}

#[test]
fn leaf_hashes_are_requested_of_peers_that_are_still_there() {
    let mut swarm = swarm();
    let slot = join(&mut swarm, 1, true, 1);
    let range = HashRange { base_layer: 0, index: 0, length: 2, proof_layers: 0 };
    let request = HashRequest { root: [9; 32], range };
    let mut sends = Vec::new();
    let gone = (slot.index() + 1, request);
    swarm.ask_for_leaves([(slot.index(), request), gone], |conn| sends.push(conn));
    assert_eq!(sends, [peer(&mut swarm, slot).wire.conn]);
    let mut decoder = Decoder::new();
    decoder.push(peer(&mut swarm, slot).wire.outbox.take_all());
    assert_eq!(decoder.next_message(), Ok(Some(Message::HashRequest(request))));
}

#[test]
fn why_a_connection_ended_is_told_by_how_far_it_had_come() {
    let closed = |state, why| {
        let mut swarm = swarm();
        let slot = join(&mut swarm, 1, false, 1);
        peer(&mut swarm, slot).wire.state = state;
        swarm.closed(slot, why, true, EncryptionPolicy::Allow)
    };
    assert_eq!(closed(WireState::Open, Some(NetError::Unreachable)), Some(Ended::Normal));
    assert_eq!(closed(WireState::Connecting, None), Some(Ended::Failed));
    assert_eq!(closed(WireState::Connecting, Some(NetError::TooManyOpen)), Some(Ended::Normal));
    assert_eq!(
        closed(WireState::Connecting, Some(NetError::Unreachable)),
        Some(Ended::Unreachable)
    );
    let mut swarm = swarm();
    let slot = join(&mut swarm, 1, false, 1);
    assert!(swarm.is_open_at(addr(1)) && !swarm.is_open_at(addr(2)));
    assert_eq!(swarm.remote_of(slot), Some(addr(1)));
    swarm.peers.remove(slot);
    assert_eq!(swarm.closed(slot, None, true, EncryptionPolicy::Allow), None, "it is gone");
}

#[test]
fn a_peer_that_hangs_up_unheard_is_redialled_the_other_way_once() {
    let mut swarm = swarm();
    let slot = join(&mut swarm, 1, false, 1);
    swarm.addresses.add(addr(1), PeerSource::Tracker, NOW);
    peer(&mut swarm, slot).wire.state = WireState::Handshaking(HandshakeDecoder::new());
    let closed = |swarm: &mut Swarm| swarm.closed(slot, None, false, EncryptionPolicy::Allow);
    assert_eq!(closed(&mut swarm), Some(Ended::Redialled));
    let known = swarm.addresses.encryption(addr(1)).expect("it is known");
    let attempt = known.attempt(EncryptionPolicy::Allow);
    assert!(attempt.encrypted && attempt.is_redial);
    peer(&mut swarm, slot).attempt = attempt;
    assert_eq!(closed(&mut swarm), Some(Ended::Failed));
}

fn says_it_listens_at(swarm: &mut Swarm, slot: PeerSlot, port: u16) {
    let before = peer(swarm, slot).wire.listens_at;
    let said = ExtensionHandshake { port: Some(port), ..ExtensionHandshake::default() };
    peer(swarm, slot).handle_extended_handshake(said);
    swarm.listens(slot, before, NOW);
}

fn goes(swarm: &mut Swarm, slot: PeerSlot) {
    let peer = swarm.peers.remove(slot).expect("connected");
    swarm.gone(NOW, &peer, Ended::Normal);
}

#[test]
fn a_peer_that_names_one_port_after_the_other_holds_one_address() {
    let mut swarm = swarm();
    let slot = join(&mut swarm, 1, true, 1);
    let at = |port| SocketAddr::new(addr(1).ip(), port);
    swarm.addresses.add(at(3005), PeerSource::Tracker, NOW);
    for port in 3000..3100 {
        says_it_listens_at(&mut swarm, slot, port);
        let connected = (3000..3100).filter(|port| swarm.addresses.is_connected(at(*port)));
        assert_eq!(connected.collect::<Vec<u16>>(), [port]);
    }
    assert_eq!(swarm.addresses.len(), 2, "this one, and what a tracker named");
    goes(&mut swarm, slot);
    assert!((3000..3100).all(|port| !swarm.addresses.is_connected(at(port))));
    assert_eq!(swarm.addresses.len(), 2);
}

#[test]
fn an_address_that_two_peers_name_is_connected_while_either_is() {
    let mut swarm = swarm();
    let at = |port| SocketAddr::new(addr(1).ip(), port);
    let honest = join(&mut swarm, 1, true, 1);
    let liar = join_from(&mut swarm, at(40_000), true, 2);
    says_it_listens_at(&mut swarm, honest, 3000);
    says_it_listens_at(&mut swarm, liar, 3000);
    says_it_listens_at(&mut swarm, liar, 3001);
    assert!(swarm.addresses.is_connected(at(3000)), "another said so first");
    says_it_listens_at(&mut swarm, liar, 3000);
    goes(&mut swarm, liar);
    assert!(swarm.addresses.is_connected(at(3000)));
    goes(&mut swarm, honest);
    assert!(!swarm.addresses.is_connected(at(3000)));
}
