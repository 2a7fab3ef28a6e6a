//! Trackers that fail, and peers found all the same.

use bitswarm_core::event::ResolveError;
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::time::Duration;
use bitswarm_tests::sim::content::announce_url;
use bitswarm_tests::sim::network::Link;
use bitswarm_tests::sim::scripted::tracker::{Answer, TRACKER_PORT, Tracker};
use bitswarm_tests::sim::scripted::udp_tracker::UdpTracker;

use super::scene::{MIB, Scene, home};

#[test]
fn trackers_that_fail_in_every_way_are_passed_over_for_one_that_answers() {
    for seed in 0..3 {
        let mut scene = Scene::new(seed, MIB);
        let seeder = scene.seeder(home());
        let failing = [
            Answer::Hang,
            Answer::HangUp,
            Answer::Status(503),
            Answer::Garbage,
            Answer::Failure("go away".to_owned()),
        ];
        let mut urls: Vec<String> = Vec::new();
        for (number, answer) in failing.into_iter().enumerate() {
            let name = format!("tracker {number}");
            let host = scene.world.add_script(&name, home(), Box::new(Tracker::new(answer)));
            urls.push(announce_url((scene.world.addr(host).ip(), TRACKER_PORT).into()));
        }
        // Nobody listens there; no such host; no such name; a name that does not resolve now.
        urls.push(announce_url((scene.world.addr(seeder).ip(), 1).into()));
        urls.push("http://50.200.0.1:8080/announce".to_owned());
        urls.push("http://nobody.test/announce".to_owned());
        urls.push("http://later.test/announce".to_owned());
        scene.world.resolver().fail("later.test", ResolveError::Unavailable);
        let answer = Answer::Peers(scene.addrs(&[seeder]), 60);
        let good = scene.world.add_script("good", home(), Box::new(Tracker::new(answer)));
        let good_ip = scene.world.addr(good).ip();
        scene.world.resolver().set("good.test", [good_ip]);
        let good_url = format!("http://good.test:{TRACKER_PORT}/announce");
        urls.push(good_url.clone());
        let leecher = scene.world.add_engine("leecher", home(), |_| {});
        let tiers: Vec<[&str; 1]> = urls.iter().map(|url| [url.as_str()]).collect();
        let tiers: Vec<&[&str]> = tiers.iter().map(|tier| &tier[..]).collect();
        let metainfo = scene.content.metainfo(&tiers);
        let content = scene.content.clone();
        scene.world.add_torrent(leecher, &content, |add| add.source = metainfo.into());
        scene.finish(leecher, 900);
        scene.run(Duration::from_secs(300));
        for url in urls.iter().filter(|url| **url != good_url) {
            let failed = |notice: &TorrentNotice| matches!(notice, TorrentNotice::TrackerFailed { url: of, .. } if of == url);
            assert!(scene.saw(leecher, failed), "seed {seed}: {url} was not found to fail");
        }
    }
}

#[test]
fn a_tracker_down_for_a_day_is_asked_again_and_found() {
    let mut scene = Scene::new(1, MIB);
    let seeder = scene.seeder(home());
    let answer = Answer::Peers(scene.addrs(&[seeder]), 60);
    let tracker = scene.world.add_script("tracker", home(), Box::new(Tracker::new(answer)));
    let url = announce_url((scene.world.addr(tracker).ip(), TRACKER_PORT).into());
    let now = scene.world.now();
    scene.world.net().partition(now, &[(tracker, 1)]);
    let leecher = scene.world.add_engine("leecher", home(), |_| {});
    scene.world.add_torrent(leecher, &scene.content, |add| add.trackers = vec![url]);
    scene.run(Duration::from_secs(24 * 3600));
    assert!(!scene.world.has_finished(leecher));
    let now = scene.world.now();
    scene.world.net().heal(now);
    scene.finish(leecher, 3 * 3600);
}

/// The tracker minds that each packet is whole and each connection id young and its own.
#[test]
fn a_tracker_over_udp_is_found_through_loss_that_comes_in_bursts() {
    for seed in 0..10 {
        let mut scene = Scene::new(seed, MIB);
        let lossy = Link {
            loss_per_mille: 100,
            duplicate_per_mille: 200,
            reorder_per_mille: 200,
            burst_per_mille: 100,
            burst: Duration::from_secs(20),
            ..home()
        };
        let url = |scene: &mut Scene, name: &str, moody: bool| {
            let tracker = UdpTracker::new(seed, name, moody);
            let host = scene.world.add_script(name, lossy, Box::new(tracker));
            (host, format!("udp://{}:{TRACKER_PORT}/announce", scene.world.addr(host).ip()))
        };
        let (_, moody) = url(&mut scene, "moody", true);
        let (good, right) = url(&mut scene, "good", false);
        let content = scene.content.clone();
        let seeder = scene.world.add_engine("seeder", home(), |_| {});
        scene.world.plant(seeder, &content);
        scene.world.add_torrent(seeder, &content, |add| add.trackers = vec![right.clone()]);
        let leecher = scene.world.add_engine("leecher", home(), |_| {});
        scene.world.add_torrent(leecher, &content, |add| add.trackers = vec![moody, right]);
        scene.finish(leecher, 4 * 3600);
        assert!(scene.world.script::<UdpTracker>(good).announces() > 0);
    }
}
