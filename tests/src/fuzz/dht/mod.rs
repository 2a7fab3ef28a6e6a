//! A node of the DHT to which any datagrams come at any time, from strangers and from those whom it
//! asks, while its user requests things.
//!
//! The input is a program: a byte that says what kind of node it is, then a byte an event with its
//! arguments. Datagrams are any bytes, or queries and answers in their right form with right and
//! wrong tokens, ids, addresses and transactions. The world ([`world`]) looks at each reaction: what
//! is sent, to whom and how much of it, what is stored, whom it believes. In the end, with silence
//! around it, the node is done with every request.

mod world;

use std::net::SocketAddr;

use bitswarm_core::dht::krpc::{Method, RawItem, Want};
use bitswarm_core::dht::store::item::Item;
use bitswarm_core::dht::{Announce, DhtRequest, NodeId, PutItem, Settings};

use super::input::Input;
use world::World;

/// Most events of an input.
const MOST_EVENTS: usize = 200;

/// Places that are asked for: few, so that what was stored is found.
const PLACES: [NodeId; 4] =
    [NodeId([0x11; 20]), NodeId([0x7f; 20]), NodeId([0x80; 20]), NodeId([0xee; 20])];

/// See the module.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let settings =
        Settings { v4: true, v6: kind & 1 == 0, read_only: kind & 6 == 6, version: *b"BS00" };
    let mut world = World::new(settings, kind & 8 == 0);
    let mut events = 0;
    while !input.is_empty() && events < MOST_EVENTS {
        step(&mut world, &mut input);
        events += 1;
    }
    world.finish();
}

fn step(world: &mut World, input: &mut Input<'_>) {
    match input.below(16) {
        0 => {
            let from = world.remote(input.byte());
            let data = input.run().to_vec();
            world.datagram(from, &data);
        }
        1..=3 => ask(world, input),
        4 => {
            let (which, body) = (input.byte(), input.run().to_vec());
            world.answer_with(which, &body);
        }
        5 | 6 => answer(world, input),
        7 => {
            let (which, code) = (input.byte(), input.u16());
            world.answer_error(which, code);
        }
        8 => world.answer_all(),
        9 => world.pass_millis(u64::from(input.u16())),
        10 => world.pass_to_timeout(),
        11 | 12 => request(world, input),
        13 => {
            let which = input.byte();
            world.forget(which);
        }
        14 => flood(world, input),
        _ => {
            let addr = world.remote(input.byte());
            world.meet(addr);
        }
    }
}

/// A query in its right form, but perhaps for its token or its port.
fn ask(world: &mut World, input: &mut Input<'_>) {
    let (who, what, how) = (input.byte(), input.byte(), input.byte());
    let from = world.remote(who);
    let target = PLACES[usize::from(what >> 4) % PLACES.len()];
    let token = if how & 1 == 0 { world.token(from) } else { input.run().to_vec() };
    let value = format!("{}:{}", how >> 4, "v".repeat(usize::from(how >> 4))).into_bytes();
    let mutable = Item::mutable(
        &[how >> 6; 32],
        &b"salt"[..usize::from(how & 4)],
        i64::from(how),
        value.clone(),
    )
    .expect("it is a small item");
    let cas = (how & 2 != 0).then(|| i64::from(input.byte()));
    let method = match what & 15 {
        0 => Method::Ping,
        1 | 2 => Method::FindNode { target },
        3..=5 => {
            Method::GetPeers { infohash: target, no_seeds: how & 2 != 0, scrape: how & 4 != 0 }
        }
        6..=8 => Method::AnnouncePeer {
            infohash: target,
            port: (how & 8 != 0).then_some(u16::from(how)),
            seed: how & 2 != 0,
            token: &token,
        },
        9 => Method::Get { target: mutable.target(), seq: cas },
        10 => Method::Get { target, seq: cas },
        11 | 12 => {
            Method::Put { item: RawItem { value: &value, signed: None }, cas, token: &token }
        }
        13 => Method::Put { item: mutable.raw(), cas, token: &token },
        14 => Method::SampleInfohashes { target },
        _ => Method::Unknown { target: Some(target) },
    };
    let want = (how & 0x18 == 0x18).then_some(Want { v4: true, v6: true });
    world.query(from, method, want, how & 0x20 != 0);
}

/// An answer to a query of the node: contacts and peers, a token, where the node is seen.
fn answer(world: &mut World, input: &mut Input<'_>) {
    let (which, what) = (input.byte(), input.byte());
    let mut body = Vec::new();
    if what & 1 != 0 {
        let ip = input.array::<6>();
        body.push(("ip", [b"6:", &ip[..]].concat()));
    }
    let mut values = Vec::new();
    if what & 2 != 0 {
        let contacts = world.contacts(input.byte(), what >> 4);
        values.push(("nodes", [format!("{}:", contacts.len()).as_bytes(), &contacts].concat()));
    }
    if what & 4 != 0 {
        values.push(("token", b"5:token".to_vec()));
    }
    if what & 8 != 0 {
        let peers = input.run();
        let list: Vec<u8> = peers.chunks(6).flat_map(|peer| [b"6:", peer].concat()).collect();
        values.push(("values", [b"l", &list[..], b"e"].concat()));
    }
    world.answer_fields(which, &body, &values);
}

fn request(world: &mut World, input: &mut Input<'_>) {
    let (what, how) = (input.byte(), input.byte());
    let target = PLACES[usize::from(what >> 4) % PLACES.len()];
    let announce = (how & 1 != 0)
        .then_some(Announce { port: (how & 2 != 0).then_some(6881), seed: how & 4 != 0 });
    world.request(match what & 7 {
        0 => DhtRequest::Nodes { target },
        1 => DhtRequest::Scrape { infohash: target },
        2 => DhtRequest::Get { target, salt: Vec::new() },
        3 => DhtRequest::Sample { target },
        4 => {
            let item = Item::mutable(&[how; 32], Vec::new(), i64::from(how), &b"1:x"[..]);
            let item = item.expect("it is a small item");
            DhtRequest::Put { item: PutItem::from(&item), cas: None }
        }
        _ => DhtRequest::Peers {
            infohash: target,
            no_seeds: how & 8 != 0,
            announce,
            enough: (how & 16 != 0).then_some(usize::from(how >> 5)),
        },
    });
}

/// One address stores as much as it can, with the token that it was given.
fn flood(world: &mut World, input: &mut Input<'_>) {
    let (who, how) = (input.byte(), input.byte());
    let from: SocketAddr = world.remote(who);
    let token = world.token(from);
    for n in 0..u16::from(how) {
        if how & 1 == 0 {
            let value = format!("i{n}e").into_bytes();
            let item = RawItem { value: &value, signed: None };
            world.query(from, Method::Put { item, cas: None, token: &token }, None, true);
        } else {
            let mut infohash = NodeId([who; 20]);
            infohash.0[..2].copy_from_slice(&n.to_be_bytes());
            let method =
                Method::AnnouncePeer { infohash, port: Some(6881), seed: false, token: &token };
            world.query(from, method, None, true);
        }
        // As fast as an address may go on asking.
        world.pass_millis(100);
    }
}
