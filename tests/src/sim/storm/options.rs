//! What a seed draws before a run begins, each by a name that the command line knows.
//!
//! Every option is a number with a least value; the least of a kind of trouble is 0, off. Kinds of
//! trouble are off in half of the runs, and their weights are spread over powers of two in the
//! others, so that some runs see much of one kind and some a little of all. Options are drawn from
//! a stream of their own: changing one shifts no other, which is what shrinking builds on.

use std::fmt;

use crate::sim::dice::Dice;

macro_rules! options {
    ($($(#[doc = $about:literal])+ $name:ident >= $least:literal,)+) => {
        /// What a run is made of.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Options {
            /// Decides all else that is random.
            pub seed: u64,
            $($(#[doc = $about])+ pub $name: u64,)+
        }

        impl Options {
            /// The names of all options, each with its least value and what it says.
            pub const NAMES: &[(&str, u64, &str)] =
                &[$((stringify!($name), $least, concat!($($about),+)),)+];

            fn all_least(seed: u64) -> Self {
                Options { seed, $($name: $least,)+ }
            }

            /// The value of the option of that name.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name),)+
                    _ => None,
                }
            }

            /// Sets the option of that name; no lower than its least value.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
                match name {
                    $(stringify!($name) => self.$name = value.max($least),)+
                    _ => return Err(format!("there is no option {name:?}")),
                }
                Ok(())
            }
        }
    };
}

options! {
    /// Bytes of the torrent.
    length >= 1,
    /// Bytes of a piece, as a power of two.
    piece_log2 >= 14,
    /// Whether it has several files, some of them empty.
    many_files >= 0,
    /// Engines that have everything; the first is reachable and stays.
    seeders >= 1,
    /// Engines that have nothing.
    leechers >= 1,
    /// Scripted peers, well-behaved or corrupting, stalling, flapping, vanishing.
    scripts >= 0,
    /// Scripted peers that do not keep to the protocol.
    hostiles >= 0,
    /// Addresses known to all at which there is nobody.
    dead_peers >= 0,
    /// How peers meet: 0 by address, 1 through a scripted tracker, 2 through an engine's.
    meeting >= 0,
    /// Trackers before the right one that hang, lie, redirect, or answer garbage or too much.
    bad_trackers >= 0,
    /// Whether streams are cut and merged wherever they can be.
    rough_streams >= 0,
    /// Whether links are slow.
    slow_links >= 0,
    /// Most milliseconds one way that a link adds.
    latency_ms >= 0,
    /// Hosts of 1000 that cannot be dialled.
    nat_per_mille >= 0,
    /// Datagrams of 1000 that each link loses, doubles and lets be overtaken.
    loss_per_mille >= 0,
    /// Whether engines have small queues and budgets.
    small_bounds >= 0,
    /// Bytes per second that every engine may send and receive while there is trouble; 0: no limit.
    limit >= 0,
    /// Seconds of trouble.
    safety_s >= 1,
    /// Most milliseconds between two troubles.
    pause_ms >= 1,
    /// Weight of crashes and restarts.
    crashes >= 0,
    /// Weight of partitions.
    partitions >= 0,
    /// Weight of streams that are reset.
    resets >= 0,
    /// Weight of disks that fill up, fail or slow down.
    disk_faults >= 0,
    /// Weight of disks that give back other bytes than were written.
    bit_rot >= 0,
    /// Weight of hosts that sleep for a while.
    sleeps >= 0,
    /// Weight of wall clocks that jump.
    clock_jumps >= 0,
    /// Weight of users who pause, resume and limit.
    user >= 0,
    /// Whether trackers are announced to over UDP.
    udp >= 0,
    /// Most milliseconds that a link loses every datagram in one go; it begins at one in fifty.
    burst_ms >= 0,
    /// Whether engines have a DHT node each, and one host of the DHT is known to all.
    dht >= 0,
    /// Leechers of 1000 that begin with a magnet link.
    magnets_per_mille >= 0,
    /// Upload slots, which go round every second; 0: as many as usual, and at the usual pace.
    slots >= 0,
    /// The versions of the protocol that the torrent is made for: 0 v1, 1 v2, 2 both.
    protocol >= 0,
    /// Scripted peers of 1000 that do with hash requests what they should not.
    hash_trouble_per_mille >= 0,
    /// Whether the torrent is private; then local discovery is on, and there is gossip of strangers.
    private >= 0,
    /// Most milliseconds until an engine is told that what it sent has left; 0: it is told at once.
    sent_late_ms >= 0,
    /// Whether engines speak uTP: 0 not, 1 beside TCP, 2 instead of it.
    utp >= 0,
    /// How engines encrypt: 0 never, 1 where a peer wants it, 2 where it can be, 3 always.
    mse >= 0,
    /// Addresses of a crowd that takes places and gives nothing for them.
    crowd >= 0,
    /// What they do: 0 idle, 1 say nothing, 2 choke, 3 reject, 4 drip, 5 read nothing, 6 come again and again;
    /// 7 each something of this.
    crowd_kind >= 0,
    /// Connections of each of them.
    crowd_conns >= 0,
    /// Connections that an engine may have of a torrent; 0: as many as usual.
    places >= 0,
    /// Kibibytes by which the metadata is longer than it need be.
    metadata_kib >= 0,
    /// Whether IP filters refuse hostile peers, bad trackers and dead addresses: 0 not, 1 from the beginning,
    /// 2 from the middle of the trouble on.
    filtered >= 0,
    /// Pieces of another torrent in the same sessions, which nobody has and only hostile peers know; 0: there is
    /// none.
    hostile_torrent >= 0,
    /// Peers that name others, of whom there are none, and take metadata, again and again.
    namers >= 0,
    /// Whether there are nodes of the DHT, or clients of our UDP tracker, that show what others were given.
    liars >= 0,
}

impl Options {
    /// What this seed draws.
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "options");
        let dice = &mut dice;
        let length = 1 << dice.between(12..=20);
        let mut options = Self::all_least(seed);
        options.length = length + dice.between(0..=length);
        options.piece_log2 = dice.between(14..=17);
        options.many_files = flag(dice, 500);
        options.seeders = dice.between(1..=2);
        options.leechers = few(dice, 5);
        options.scripts = if dice.chance(600) { few(dice, 4) } else { 0 };
        options.hostiles = if dice.chance(400) { few(dice, 3) } else { 0 };
        options.dead_peers = if dice.chance(300) { 1 << dice.between(0..=5) } else { 0 };
        options.meeting = dice.between(0..=2);
        options.bad_trackers = if dice.chance(400) { few(dice, 3) } else { 0 };
        options.rough_streams = flag(dice, 300);
        options.slow_links = flag(dice, 200);
        options.latency_ms = 1 << dice.between(0..=8);
        options.nat_per_mille = if dice.chance(500) { dice.between(1..=700) } else { 0 };
        options.loss_per_mille = if dice.chance(300) { 1 << dice.between(0..=8) } else { 0 };
        options.small_bounds = flag(dice, 200);
        options.limit = if dice.chance(250) { 1 << dice.between(12..=18) } else { 0 };
        options.safety_s = 1 << dice.between(2..=8);
        options.pause_ms = 1 << dice.between(8..=14);
        for weight in [
            &mut options.crashes,
            &mut options.partitions,
            &mut options.resets,
            &mut options.disk_faults,
            &mut options.bit_rot,
            &mut options.sleeps,
            &mut options.clock_jumps,
            &mut options.user,
        ] {
            *weight = if dice.chance(500) { 1 << dice.between(0..=6) } else { 0 };
        }
        // Rotten reads make honest peers liars, which hides much: seldom.
        if dice.chance(700) {
            options.bit_rot = 0;
        }
        options.udp = flag(dice, 300);
        options.burst_ms = if dice.chance(200) { 1 << dice.between(6..=15) } else { 0 };
        options.dht = flag(dice, 250);
        options.magnets_per_mille = if dice.chance(250) { dice.between(1..=1000) } else { 0 };
        options.slots = if dice.chance(250) { dice.between(1..=3) } else { 0 };
        options.draw_protocol(&mut Dice::new(seed, "protocol"));
        options.draw_privacy(&mut Dice::new(seed, "privacy"));
        options.draw_completion(&mut Dice::new(seed, "completion"));
        options.draw_transports(&mut Dice::new(seed, "transports"));
        options.draw_crowd(&mut Dice::new(seed, "crowd"));
        options.draw_filter(&mut Dice::new(seed, "filter"));
        options.draw_encryption(&mut Dice::new(seed, "encryption"));
        options.draw_hostile_torrent(&mut Dice::new(seed, "hostile torrent"));
        options.draw_liars(&mut Dice::new(seed, "liars"));
        options
    }

    /// From a stream of its own, as above. Crowds do not encrypt.
    fn draw_encryption(&mut self, dice: &mut Dice) {
        if dice.chance(333) {
            self.mse = dice.between(1..=if self.crowd == 0 { 3 } else { 2 });
        }
    }

    /// From a stream of its own, and seldom, as above. The DHT, which is the nearest to be told of
    /// it, is there more often.
    fn draw_privacy(&mut self, dice: &mut Dice) {
        self.private = flag(dice, 100);
        if self.private > 0 {
            self.dht = flag(dice, 500);
        }
    }

    /// From a stream of its own, as above: in a tenth of the runs more strangers than places, from many
    /// addresses or from few.
    fn draw_crowd(&mut self, dice: &mut Dice) {
        if dice.chance(150) {
            self.metadata_kib = dice.between(1..=80);
        }
        if !dice.chance(100) {
            return;
        }
        self.places = dice.between(6..=16);
        let conns = self.places + dice.between(0..=self.places);
        self.crowd_conns = if dice.chance(500) { 1 } else { dice.between(2..=8) };
        self.crowd = conns.div_ceil(self.crowd_conns);
        self.crowd_kind = dice.between(0..=7);
        if self.slow_links > 0 && matches!(self.crowd_kind, 5 | 7) {
            // What they are sent and do not read would be more than the links carry.
            self.crowd_kind = 0;
        }
        // What is to be seen are the places, and runs are to take no longer than others.
        self.leechers = self.leechers.min(3);
        self.scripts = self.scripts.min(2);
        self.dead_peers = self.dead_peers.min(4);
        // Crowds speak TCP.
        self.utp = self.utp.min(1);
    }

    /// From a stream of its own, as above: mostly where there is somebody to refuse.
    fn draw_filter(&mut self, dice: &mut Dice) {
        let strangers = self.hostiles + self.bad_trackers + self.dead_peers;
        if dice.chance(if strangers > 0 { 250 } else { 20 }) {
            self.filtered = dice.between(1..=2);
        }
    }

    /// From a stream of its own, as above: in a tenth of the runs. A few of them are large, and short, since
    /// each input takes longer there.
    fn draw_hostile_torrent(&mut self, dice: &mut Dice) {
        if !dice.chance(100) {
            return;
        }
        self.hostile_torrent = dice.between(1..=64);
        if dice.chance(100) {
            self.hostile_torrent = 100_000;
            self.safety_s = self.safety_s.min(64);
            self.leechers = self.leechers.min(2);
        }
    }

    /// From a stream of its own, as above.
    fn draw_completion(&mut self, dice: &mut Dice) {
        self.sent_late_ms = if dice.chance(250) { 1 << dice.between(0..=11) } else { 0 };
    }

    /// From a stream of its own, as above. Namers need a torrent of which one may tell others.
    fn draw_liars(&mut self, dice: &mut Dice) {
        if dice.chance(100) && self.private == 0 {
            self.namers = dice.between(1..=4);
        }
        self.liars = flag(dice, 500);
        if self.dht + self.udp == 0 {
            self.liars = 0;
        }
    }

    /// From a stream of its own, as above. Scripted peers speak TCP.
    fn draw_transports(&mut self, dice: &mut Dice) {
        self.utp = flag(dice, 500);
        if self.utp > 0 && self.scripts + self.hostiles == 0 {
            self.utp += flag(dice, 600);
        }
    }

    /// From a stream of its own, and mostly v1, so that old seeds keep what they drew.
    fn draw_protocol(&mut self, dice: &mut Dice) {
        self.protocol = match dice.between(0..=99) {
            0..70 => 0,
            70..85 => 1,
            _ => 2,
        };
        if self.protocol > 0 && dice.chance(600) {
            self.hash_trouble_per_mille = dice.between(1..=1000);
        }
    }

    /// Whether nothing but others keeps somebody waiting who wants something of a seed.
    pub fn has_turns(&self) -> bool {
        let excuses = [
            self.hostiles,
            self.crowd,
            self.user,
            self.sleeps,
            self.disk_faults,
            self.bit_rot,
            self.partitions,
            self.limit,
        ];
        excuses.iter().all(|excuse| *excuse == 0)
    }

    /// Whether what a newcomer says and hears goes its way in time.
    pub fn has_swift_links(&self) -> bool {
        let hindrances = [self.loss_per_mille, self.burst_ms, self.slow_links, self.sent_late_ms];
        hindrances.iter().all(|one| *one == 0)
    }

    /// Whether a good tracker hears in time whatever is said to it.
    pub fn has_swift_tracker(&self) -> bool {
        let is_near = self.meeting == 1 && self.latency_ms <= 64;
        is_near && self.bad_trackers == 0 && self.has_swift_links()
    }

    /// The arguments with which the command line draws these options from their seed.
    pub fn arguments(&self) -> String {
        let drawn = Self::draw(self.seed);
        let mut text = format!("--seed {}", self.seed);
        for (name, least, _) in Self::NAMES {
            let value = self.get(name);
            match value {
                Some(value) if drawn.get(name) == Some(value) => {}
                Some(0) if *least == 0 => text += &format!(" --without {name}"),
                Some(value) => text += &format!(" --set {name}={value}"),
                None => {}
            }
        }
        text
    }

    /// Options that are smaller by one step each, the boldest steps first.
    pub fn smaller(&self) -> Vec<Self> {
        let mut found = Vec::new();
        let mut cuts: Vec<(u64, Self)> = Vec::new();
        for (name, least, _) in Self::NAMES {
            let value = self.get(name).unwrap_or(*least);
            // All of it, half, and one.
            let mut targets = vec![*least, least + (value - least) / 2, value.saturating_sub(1)];
            targets.dedup();
            for (step, target) in targets.into_iter().enumerate() {
                let mut less = self.clone();
                if (*least..value).contains(&target) && less.set(name, target).is_ok() {
                    cuts.push((step as u64, less));
                }
            }
        }
        cuts.sort_by_key(|(step, _)| *step);
        found.extend(cuts.into_iter().map(|(_, less)| less));
        found
    }
}

impl fmt::Display for Options {
    /// One line for each option that is not at its least value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}", self.seed)?;
        let mut off = Vec::new();
        for (name, least, _) in Self::NAMES {
            match self.get(name) {
                Some(value) if value != *least || *least > 0 => write!(f, ", {name} {value}")?,
                _ => off.push(*name),
            }
        }
        if !off.is_empty() {
            write!(f, "; off: {}", off.join(", "))?;
        }
        Ok(())
    }
}

fn flag(dice: &mut Dice, per_mille: u32) -> u64 {
    u64::from(dice.chance(per_mille))
}

/// From one to `most`, small numbers more often: most bugs need few.
fn few(dice: &mut Dice, most: u64) -> u64 {
    let most = dice.between(1..=most);
    dice.between(1..=most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_changed_options_name_what_was_changed_and_no_more() {
        let drawn = Options::draw(7);
        assert_eq!(drawn.arguments(), "--seed 7");
        let mut changed = drawn.clone();
        changed.set("leechers", drawn.leechers + 10).expect("there is such an option");
        changed.set("latency_ms", 0).expect("there is such an option");
        let expected =
            format!("--seed 7 --set leechers={} --without latency_ms", drawn.leechers + 10);
        assert_eq!(changed.arguments(), expected);
        assert!(changed.set("nonsense", 1).is_err());
    }

    #[test]
    fn shrinking_ends_at_the_least_of_everything() {
        let mut options = Options::draw(3);
        while let Some(less) = options.smaller().into_iter().next() {
            options = less;
        }
        assert_eq!(options, Options::all_least(3));
    }

    #[test]
    fn every_kind_of_trouble_is_off_in_many_runs_and_on_in_many() {
        for (name, least, _) in Options::NAMES.iter().filter(|(_, least, _)| *least == 0) {
            let on = (0..200).filter(|seed| Options::draw(*seed).get(name) > Some(*least)).count();
            assert!(on > 10, "{name} is on in {on} of 200 runs");
        }
    }
}
