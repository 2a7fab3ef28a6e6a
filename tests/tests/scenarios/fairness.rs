//! Everybody gets a turn. That free riders get less is measured in tests/experiments.rs.

use bitswarm_core::time::Duration;
use bitswarm_tests::sim::network::{HostId, Link};
use bitswarm_tests::sim::scripted::peer::{Behaviour, Peer};
use bitswarm_tests::sim::world::World;

use super::scene::{MIB, Scene, home};

/// BEP 3, "optimistic unchoking": who has nothing to give gets the first of it as a present.
#[test]
fn newcomers_among_those_who_share_are_unchoked_in_turn() {
    let mut scene = Scene::new(2, 8 * MIB);
    let link = Link::home(60_000, 1_000_000);
    let seeder = scene.peer("seeder", link, Behaviour::seeder());
    let seeds = scene.addrs(&[seeder]);
    let sharing = scene.world.add_engine("sharing", link, |config| config.choking.slots = 2);
    scene.world.add_torrent(sharing, &scene.content.clone(), |add| add.peers = seeds);
    scene.run(Duration::from_secs(20));
    let target = scene.addrs(&[sharing]);
    let newcomers: Vec<HostId> = (0..5)
        .map(|number| {
            let behaviour = Behaviour { fast: false, ..Behaviour::leecher(target.clone()) };
            scene.peer(&format!("newcomer {number}"), home(), behaviour)
        })
        .collect();
    scene.run(Duration::from_secs(90));
    assert!(!scene.world.has_finished(sharing), "it seeds already");
    let deadline = scene.world.now() + Duration::from_secs(600);
    let served =
        |world: &World, host: &HostId| world.script::<Peer>(*host).counts().received_blocks > 0;
    let all = |world: &World| newcomers.iter().all(|host| served(world, host));
    scene.world.run_until(deadline, all).unwrap_or_else(|failure| panic!("{failure}"));
}
