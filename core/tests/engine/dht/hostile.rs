//! Nodes that lie: about their ids, other nodes and peers, and about who they are.

use std::net::SocketAddr;

use bitswarm_core::dht::NodeId;
use bitswarm_core::dht::krpc::{Body, Contact, Message, Method, Query, Response, Want, parse};
use bitswarm_core::packet::Packet;
use bitswarm_core::random::SecretRng;

/// What a hostile node does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trick {
    /// Answers under an id close to whatever is looked for, which its address does not allow.
    WrongId,
    /// Names nodes close to whatever is looked for, at addresses where nobody is.
    DeadNodes,
    /// Names peers that do not exist, many of them.
    FalsePeers,
    /// Asks in the name of others, long answers welcome.
    Spoofer,
}

pub(crate) struct Hostile {
    trick: Trick,
    id: NodeId,
    rng: SecretRng,
}

impl Hostile {
    pub(crate) fn new(trick: Trick, mut rng: SecretRng) -> Self {
        Hostile { trick, id: NodeId::random(&mut rng), rng }
    }

    /// Its first word to an honest node.
    pub(crate) fn hello(&mut self, to: SocketAddr) -> Packet {
        query(to, self.id, Method::Ping)
    }

    /// What it sends when somebody says something: the address it claims to be at, and what.
    pub(crate) fn answer(
        &mut self,
        from: SocketAddr,
        data: &[u8],
    ) -> Vec<(Option<SocketAddr>, Packet)> {
        let asked = parse(data, |message| {
            let message = message.ok()?;
            let Body::Query(query) = message.body else { return None };
            let target = match query.method {
                Method::FindNode { target } | Method::Get { target, .. } => Some(target),
                Method::GetPeers { infohash, .. } => Some(infohash),
                _ => None,
            };
            Some((message.transaction.to_vec(), target))
        });
        let Some((transaction, target)) = asked else { return Vec::new() };
        let mut sent = vec![(None, self.response(from, &transaction, target))];
        if self.trick == Trick::Spoofer {
            sent.extend((0..20).map(|n| {
                let victim = SocketAddr::from(([10, 9, 8, 7 + n % 3], 7777));
                let victim = SocketAddr::new(victim.ip(), victim.port());
                // A victim on the internet.
                let public = SocketAddr::from(([150, 9, 8, 7 + n % 3], victim.port()));
                let infohash = target.unwrap_or(self.id);
                let method = Method::GetPeers { infohash, no_seeds: false, scrape: true };
                (Some(public), query(from, NodeId::random(&mut self.rng), method))
            }));
            // Answers that it was not asked for, with transactions that it guesses.
            sent.extend((0..5).map(|_| {
                let guess: [u8; 4] = self.rng.bytes();
                let public = SocketAddr::from((self.public_ip(), 6881));
                (Some(public), self.response(from, &guess, target))
            }));
        }
        sent
    }

    fn response(&mut self, to: SocketAddr, transaction: &[u8], target: Option<NodeId>) -> Packet {
        let mut response = Response::new(self.id);
        response.token = Some(b"whatever");
        if let Some(target) = target {
            match self.trick {
                Trick::WrongId => response.id = target.random_beside(100, &mut self.rng),
                Trick::DeadNodes | Trick::Spoofer => {
                    response.nodes = (0..8).map(|_| self.dead_node(&target)).collect();
                }
                Trick::FalsePeers => {
                    response.values =
                        (0..200).map(|_| SocketAddr::from((self.public_ip(), 6881))).collect();
                }
            }
        }
        let body = Body::Response(Box::new(response));
        let your_addr = Some(SocketAddr::from(([6, 6, 6, 6], 666)));
        let message = Message { transaction, version: None, read_only: false, your_addr, body };
        Packet { remote: to, data: message.encode() }
    }

    /// A contact that seems right: its id fits its address and is close to the target.
    fn dead_node(&mut self, target: &NodeId) -> Contact {
        let ip = self.public_ip();
        let bound = NodeId::bound_to(ip.into(), &mut self.rng);
        let mut id = target.0;
        if self.rng.next_u32().is_multiple_of(2) {
            // An honest-looking one that is not so close.
            id = bound.0;
        }
        Contact { id: NodeId(id), addr: SocketAddr::from((ip, 6881)) }
    }

    fn public_ip(&mut self) -> [u8; 4] {
        let [a, b, c, d]: [u8; 4] = self.rng.bytes();
        [120 + a % 60, b, c, d]
    }
}

pub(crate) fn query(to: SocketAddr, id: NodeId, method: Method<'_>) -> Packet {
    let want = Some(Want { v4: true, v6: true });
    let body = Body::Query(Query { id, want, method });
    let message =
        Message { transaction: b"hh", version: None, read_only: false, your_addr: None, body };
    Packet { remote: to, data: message.encode() }
}
