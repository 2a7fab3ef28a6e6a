//! The figures of a handful of swarms, to the last digit: time is virtual, so a change of picker,
//! choker or pipeline that costs or gains the swarm something shows up here as a difference.

use std::path::Path;

use bitswarm_tests::sim::experiment::{Report, Role, Settings, run};

/// Set to anything, this has the snapshot written instead of compared.
const UPDATE: &str = "UPDATE_SNAPSHOTS";

fn small() -> Settings {
    Settings {
        size: 8 << 20,
        piece_len: 128 << 10,
        up_bytes_per_s: 128 << 10,
        down_bytes_per_s: 1 << 20,
        ..Settings::default()
    }
}

fn swarms() -> Vec<(&'static str, Settings)> {
    vec![
        ("100 homogeneous", Settings { peers: 100, ..small() }),
        ("50 heterogeneous", Settings { peers: 50, heterogeneous: true, ..small() }),
        ("40 flash crowd", Settings { peers: 40, flash_crowd: true, ..small() }),
        ("30 churn", Settings { peers: 30, churn: true, ..small() }),
        ("30 with 6 free riders", free_riders()),
        ("30 with 6 who come anew", Settings { riders_return: true, ..free_riders() }),
        ("36 with 6, twice as long", Settings { peers: 36, size: 48 << 20, ..free_riders() }),
    ]
}

/// Long enough for reciprocation to count, and with a seed that is not what all wait for: then
/// everybody would be done when the last piece is out.
fn free_riders() -> Settings {
    Settings {
        peers: 30,
        free_riders: 6,
        size: 24 << 20,
        seed_up_bytes_per_s: Some(512 << 10),
        ..small()
    }
}

#[test]
fn the_figures_of_the_swarms_are_those_of_the_snapshot_and_free_riders_get_less() {
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
    for report in reports.iter().rev().take(3) {
        let rate = |role| report.mean_rate(role).expect("they finish");
        let (rider, giver) = (rate(Role::FreeRider), rate(Role::Leecher));
        assert!(rider < giver * 0.92, "free riders get {rider:.0} B/s, others {giver:.0} B/s");
    }
    // Not counted what those give to all alike who have finished.
    let shares: Vec<f64> = reports.iter().filter_map(Report::rider_share).collect();
    let bounds = [0.45, 0.45, 0.35];
    let few = shares.iter().zip(bounds).all(|(share, bound)| *share < bound);
    assert!(few && shares.len() == 3, "free riders have {shares:?} of what others have");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/swarm.txt");
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
