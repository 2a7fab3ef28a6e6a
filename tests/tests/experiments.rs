//! The figures of a handful of swarms, to the last digit: time is virtual, so a change of picker,
//! choker or pipeline that costs or gains the swarm something shows up here as a difference.

use std::path::Path;

use bitswarm_tests::sim::experiment::{Report, Settings, run};

/// Set to anything, this has the snapshot written instead of compared.
const UPDATE: &str = "UPDATE_SNAPSHOTS";

fn small() -> Settings {
    Settings {
        size: 4 << 20,
        piece_len: 64 << 10,
        up_bytes_per_s: 64 << 10,
        down_bytes_per_s: 512 << 10,
        ..Settings::default()
    }
}

fn swarms() -> Vec<(&'static str, Settings)> {
    vec![
        ("100 homogeneous", Settings { peers: 100, ..small() }),
        ("50 heterogeneous", Settings { peers: 50, heterogeneous: true, ..small() }),
        ("40 flash crowd", Settings { peers: 40, flash_crowd: true, ..small() }),
        ("30 churn", Settings { peers: 30, churn: true, ..small() }),
        ("30 with 6 free riders", Settings { peers: 30, free_riders: 6, ..small() }),
    ]
}

#[test]
fn the_figures_of_the_swarms_are_those_of_the_snapshot() {
    let swarms = swarms();
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            swarms.iter().map(|(_, settings)| scope.spawn(|| run(settings))).collect();
        runs.into_iter().map(|run| run.join().expect("no panic")).collect()
    });
    let mut table = format!("{}\n", Report::HEADING);
    for ((name, _), report) in swarms.iter().zip(&reports) {
        assert!(report.is_complete(), "{name}: not everybody finished\n{report}");
        table += report.row(name).trim_end();
        table.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/swarm.txt");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &table).expect("the snapshot can be written");
        return;
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        before == table,
        "the figures have changed. Before:\n{before}Now:\n{table}If that is as it should be, run \
         `{UPDATE}=1 cargo test -p bitswarm-tests --test experiments` and commit the result."
    );
}

#[test]
fn the_same_seed_gives_the_same_swarm_and_another_seed_another() {
    let figures = |seed| run(&Settings { peers: 8, seed, ..small() }).row("swarm");
    assert_eq!(figures(1), figures(1));
    assert_ne!(figures(1), figures(2));
}

#[test]
fn a_free_rider_gets_the_content_later_than_those_who_give() {
    use bitswarm_tests::sim::experiment::Role;
    let report = run(&Settings { peers: 20, free_riders: 4, ..small() });
    let rate = |role| report.mean_rate(role).expect("they finish");
    let (rider, giver) = (rate(Role::FreeRider), rate(Role::Leecher));
    assert!(rider < giver * 0.9, "a free rider gets {rider:.0} B/s, a contributor {giver:.0} B/s");
}
