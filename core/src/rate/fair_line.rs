//! The line before a rate limit, in which torrents take turns by what they have had.
//!
//! Connections wait per torrent, in the order in which they came. The torrent whose connection goes
//! next is the one that has been served the least, in bytes: so each gets the same share of the
//! limit, however many peers it has and however much one of them sends at a time (start-time fair
//! queuing). A torrent that did not compete gains no claim by that: it begins where the others are.
//!
//! Each operation is O(log n) in the torrents that competed lately; the others are forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Connections that wait for a share of a limit. `T` names torrents, `C` their connections.
#[derive(Clone, Debug)]
pub struct FairLine<T, C> {
    torrents: BTreeMap<T, Turn<C>>,
    /// Those of them with a connection that waits, the one that was served the least in front.
    waiting: BTreeSet<(u64, T)>,
    /// The others, in the same order: to be forgotten when they have no lead any more.
    resting: BTreeSet<(u64, T)>,
    /// How much the torrent had been served that went last: where newcomers begin.
    floor: u64,
}

#[derive(Clone, Debug)]
struct Turn<C> {
    line: VecDeque<C>,
    /// Bytes had, or promised when one was let go.
    served: u64,
    /// Bytes promised that have not been had yet.
    promised: u64,
    /// Connections that were let go with a promise and have not come back.
    away: u64,
}

impl<T: Copy + Ord, C> FairLine<T, C> {
    /// Nobody waits.
    pub fn new() -> Self {
        FairLine {
            torrents: BTreeMap::new(),
            waiting: BTreeSet::new(),
            resting: BTreeSet::new(),
            floor: 0,
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A connection of a torrent joins the line.
    pub fn wait(&mut self, torrent: T, conn: C) {
        self.change(torrent, |turn| {
            turn.come_back();
            turn.line.push_back(conn);
        });
    }

    /// The next to go, who is expected to use this many bytes.
    pub fn next(&mut self, expected: u64) -> Option<C> {
        let &(served, torrent) = self.waiting.first()?;
        self.floor = self.floor.max(served);
        let conn = self.change(torrent, |turn| {
            turn.served = turn.served.saturating_add(expected);
            turn.promised = turn.promised.saturating_add(expected);
            turn.away += 1;
            turn.line.pop_front()
        });
        // What is behind those that go would begin here anyway.
        while let Some(&(served, torrent)) = self.resting.first()
            && served <= self.floor
        {
            self.resting.pop_first();
            self.torrents.remove(&torrent);
        }
        conn
    }

    /// A torrent used bytes of the limit, in its turn or while there was no line.
    pub fn charge(&mut self, torrent: T, bytes: u64) {
        let served = self.change(torrent, |turn| {
            let promised = turn.promised.min(bytes);
            turn.promised -= promised;
            turn.served = turn.served.saturating_add(bytes - promised);
            if turn.promised == 0 {
                turn.away = 0;
            }
            turn.served
        });
        if self.waiting.is_empty() {
            // Without a line nobody had to give way: it is no lead.
            self.floor = self.floor.max(served);
        }
    }

    fn change<R>(&mut self, torrent: T, change: impl FnOnce(&mut Turn<C>) -> R) -> R {
        let floor = self.floor;
        let turn = self.torrents.entry(torrent).or_insert_with(|| Turn {
            line: VecDeque::new(),
            served: floor,
            promised: 0,
            away: 0,
        });
        let before = (turn.served, torrent);
        if turn.line.is_empty() {
            self.resting.remove(&before);
            turn.served = turn.served.max(floor);
        } else {
            self.waiting.remove(&before);
        }
        let result = change(turn);
        let place = (turn.served, torrent);
        if turn.line.is_empty() { &mut self.resting } else { &mut self.waiting }.insert(place);
        result
    }
}

impl<C> Turn<C> {
    /// A connection's turn is over: what it was promised and did not use was not had.
    fn come_back(&mut self) {
        let unused = self.promised / self.away.max(1);
        self.promised -= unused;
        self.served = self.served.saturating_sub(unused);
        self.away = self.away.saturating_sub(1);
    }
}

impl<T: Copy + Ord, C> Default for FairLine<T, C> {
    fn default() -> Self {
        FairLine::new()
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    const BLOCK: u64 = 16_384;

    /// Torrents whose connections use `appetites` bytes each time they go, and wait again at once:
    /// what each torrent has after `total` bytes.
    fn shares(torrents: &[&[u64]], total: u64) -> Vec<u64> {
        let mut line = FairLine::new();
        let mut had = vec![0; torrents.len()];
        for (torrent, appetites) in torrents.iter().enumerate() {
            appetites.iter().for_each(|&appetite| line.wait(torrent, (torrent, appetite)));
        }
        let mut level = 0_i64;
        while had.iter().sum::<u64>() < total {
            // What flows in between two looks is less than anybody wants.
            level += 1024;
            let count = level.max(0).cast_unsigned().div_ceil(BLOCK);
            let gone: Vec<_> =
                std::iter::from_fn(|| line.next(BLOCK)).take(count as usize).collect();
            for (torrent, appetite) in gone {
                line.charge(torrent, appetite);
                level -= appetite as i64;
                had[torrent] += appetite;
                line.wait(torrent, (torrent, appetite));
            }
        }
        had
    }

    #[test]
    fn torrents_have_equal_shares_however_many_peers_and_however_greedy() {
        let total = 1 << 30;
        let many = [BLOCK; 40];
        for torrents in [
            &[&[256 * 1024][..], &[BLOCK], &[1448]][..],
            &[&many[..], &[BLOCK]],
            &[&many[..], &[256 * 1024, 1], &[5_000; 3], &[BLOCK, 700]],
        ] {
            let had = shares(torrents, total);
            let fair = total / torrents.len() as u64;
            for share in &had {
                assert!(share.abs_diff(fair) < fair / 50, "{had:?}");
            }
        }
    }

    #[test]
    fn within_a_torrent_connections_go_in_the_order_in_which_they_came() {
        let mut line = FairLine::new();
        (0..3).for_each(|conn| line.wait("a", conn));
        let order: Vec<i32> = std::iter::from_fn(|| line.next(BLOCK)).collect();
        assert_eq!(order, [0, 1, 2]);
        assert!(line.is_empty());
    }

    #[test]
    fn who_had_much_while_nobody_waited_owes_nobody_anything() {
        let mut line = FairLine::new();
        line.charge("a", 1 << 40);
        line.wait("b", 1);
        line.wait("a", 2);
        line.wait("b", 3);
        assert_eq!(line.next(BLOCK), Some(2), "it begins beside the other");
        assert_eq!(line.next(BLOCK), Some(1));
    }

    #[test]
    fn who_does_not_compete_is_forgotten_and_gains_no_claim() {
        let mut line = FairLine::new();
        line.wait("early", 0);
        line.next(BLOCK);
        for _ in 0..1000 {
            line.wait("a", 1);
            line.next(BLOCK);
            line.charge("a", BLOCK);
        }
        assert!(line.torrents.len() <= 1 && line.resting.len() <= 1);
        line.wait("early", 2);
        line.wait("a", 3);
        let mut order: Vec<i32> = std::iter::from_fn(|| line.next(BLOCK)).collect();
        order.sort_unstable();
        assert_eq!(order, [2, 3], "neither waits for a thousand turns");
    }

    quickcheck! {
        /// Whatever happens, who waits goes once, and what is remembered is bounded by who competed.
        fn nobody_is_lost_and_nobody_goes_twice(steps: Vec<(u8, u8, u16)>) -> bool {
            let mut line = FairLine::new();
            let mut waits = BTreeSet::new();
            for (number, (kind, torrent, bytes)) in steps.into_iter().enumerate() {
                let torrent = torrent % 5;
                match kind % 3 {
                    0 => {
                        line.wait(torrent, number);
                        waits.insert(number);
                    }
                    1 => line.charge(torrent, bytes.into()),
                    _ => match line.next(bytes.into()) {
                        Some(conn) => assert!(waits.remove(&conn)),
                        None => assert!(waits.is_empty()),
                    },
                }
                assert_eq!(line.is_empty(), waits.is_empty());
                assert_eq!(line.torrents.len(), line.waiting.len() + line.resting.len());
            }
            true
        }
    }
}
