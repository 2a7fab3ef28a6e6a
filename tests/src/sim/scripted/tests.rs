//! Scripted peers among themselves: that the world works without any engine in it.

use super::peer::{Behaviour, Corrupt, Peer, Unchoke};
use super::*;
use crate::sim::content::Content;
use crate::sim::network::{Disturbance, Link};
use crate::sim::trace::Fingerprint;
use crate::sim::world::{Failure, World};

/// A scripted seeder and a scripted leecher on home connections; until the leecher is complete.
fn pair(seed: u64, seeder: Behaviour) -> (World, HostId, HostId, Result<(), Failure>) {
    let content = Content::single(seed, "pair", 300_000, 32_768);
    let mut world = World::new(seed);
    world.net().disturbance = Disturbance::rough();
    let link = Link::home(100_000, 400_000);
    let seeder = world.add_script("seeder", link, Box::new(Peer::new(seed, "s", &content, seeder)));
    let behaviour = Behaviour::leecher(vec![world.addr(seeder)]);
    let leecher = Peer::new(seed, "l", &content, behaviour);
    let leecher = world.add_script("leecher", link, Box::new(leecher));
    let deadline = Instant::from_secs(60);
    let ended = world.run_until(deadline, |world| world.script::<Peer>(leecher).is_complete());
    (world, seeder, leecher, ended)
}

#[test]
fn a_scripted_leecher_fetches_everything_from_a_scripted_seeder() {
    for (fast, extended) in [(false, false), (true, false), (true, true)] {
        let (world, seeder, leecher, ended) =
            pair(1, Behaviour { fast, extended, ..Behaviour::seeder() });
        ended.unwrap();
        assert_eq!(world.script::<Peer>(leecher).counts().received_blocks, 19);
        assert_eq!(world.script::<Peer>(seeder).counts().good_blocks, 19);
        // 300 kB at 100 kB/s.
        assert!((3.0..3.5).contains(&(world.now() - Instant::ZERO).as_secs_f64()));
    }
}

#[test]
fn a_flapping_choke_does_not_stop_a_leecher() {
    for fast in [false, true] {
        let unchoke = Unchoke::Flap(Duration::from_millis(300));
        let (world, _, leecher, ended) =
            pair(1, Behaviour { unchoke, fast, ..Behaviour::seeder() });
        ended.unwrap();
        assert!(world.script::<Peer>(leecher).is_complete());
    }
}

#[test]
fn a_corrupting_seeder_is_noticed_and_a_vanished_one_serves_no_more() {
    let corrupt = Behaviour { corrupt: Corrupt::FirstOfPiece, ..Behaviour::seeder() };
    let (world, seeder, _, ended) = pair(1, corrupt);
    assert!(ended.expect_err("took wrong data for right").what.contains("not in time"));
    assert!(world.script::<Peer>(seeder).counts().bad_blocks > 0);
    let (world, seeder, leecher, ended) =
        pair(1, Behaviour { vanish_after: Some(5), ..Behaviour::seeder() });
    assert!(ended.expect_err("completed").what.contains("not in time"));
    assert_eq!(world.script::<Peer>(seeder).counts().good_blocks, 5);
    assert!(world.script::<Peer>(leecher).counts().received_blocks <= 5);
}

#[test]
fn the_same_seed_gives_the_same_fingerprint_and_another_another() {
    let run = |seed| -> Fingerprint { pair(seed, Behaviour::seeder()).0.fingerprint() };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
