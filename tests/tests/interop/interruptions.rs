//! Stopped in the middle, with and without a chance to clean up: a second run goes on from where
//! the first was, and never claims a piece that is not on disk.
//!
//! What it claims is asked over the wire: a scripted peer connects and reads its bitfield. What is
//! on disk is judged by hashing it here.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitswarm_tests::interop::client::{Client, Peer, Task};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::process::Signal;
use bitswarm_tests::interop::wire::Wire;
use bitswarm_tests::interop::{
    Bitswarm, Case, Content, Creator, Lab, Outcome, Seat, Torrent, Tracker,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "killed_download_resumes_and_claims_only_what_is_on_disk",
            &[],
            killed_download_resumes,
        ),
        Case::new("interrupted_download_resumes", &[], interrupted_download_resumes),
        Case::new(
            "file_changed_between_runs_is_not_claimed",
            &[],
            file_changed_between_runs_is_not_claimed,
        ),
        Case::new(
            "file_removed_between_runs_is_fetched_again",
            &[],
            file_removed_between_runs_is_fetched_again,
        ),
    ]
}

/// A torrent with a tracker, a seed, and a place for our download of it.
struct Setting<'a> {
    lab: &'a Lab,
    tracker: Tracker,
    torrent: Torrent,
    root: PathBuf,
    seat: Seat,
}

impl<'a> Setting<'a> {
    fn new(lab: &'a Lab, content: Content) -> Outcome<Self> {
        let tracker = Tracker::start(lab)?;
        let url = tracker.url();
        let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 16, &url)?;
        let root = lab.make_dir("download")?;
        Ok(Setting { lab, tracker, torrent, root, seat: lab.seat() })
    }

    fn seed(&self) -> Outcome<Box<dyn Peer>> {
        let seed = Client::any_seed().start(self.lab, &Task::seed(&self.torrent))?;
        self.tracker.add_peer(self.torrent.infohash, seed.seat().addr());
        Ok(seed)
    }

    fn download(&self, arguments: &[&str]) -> Outcome<Bitswarm> {
        let task = Task::leech(&self.torrent, &self.root);
        Bitswarm::start_with(self.lab, self.seat, &task, arguments)
    }

    /// How many pieces are on disk, whole and right.
    fn valid_pieces(&self) -> usize {
        count(&self.torrent.verify(&self.root))
    }

    fn wait_for_pieces(&self, ours: &mut Bitswarm, pieces: usize) -> Outcome {
        until(&format!("{pieces} pieces on disk"), Duration::from_secs(60), || {
            ours.process().ensure_running()?;
            Ok((self.valid_pieces() >= pieces).then_some(()))
        })
    }

    /// What a freshly started download says about its check: pieces there, and whether its resume
    /// data answered.
    fn checked(&self, ours: &mut Bitswarm) -> Outcome<(usize, bool)> {
        until("the check of what is on disk", Duration::from_secs(30), || {
            let checked = ours.json()?.into_iter().find(|line| line["event"] == "checked");
            let Some(checked) = checked else {
                ours.process().ensure_running()?;
                return Ok(None);
            };
            let pieces = checked["pieces_have"].as_u64().ok_or("no pieces_have")?;
            let from_resume = checked["from_resume"].as_bool().ok_or("no from_resume")?;
            Ok(Some((usize::try_from(pieces)?, from_resume)))
        })
    }

    /// The pieces it offers to another peer.
    fn claimed(&self, ours: &mut Bitswarm) -> Outcome<Vec<bool>> {
        let wire = until("a handshake with ours", Duration::from_secs(10), || {
            ours.process().ensure_running()?;
            let own = self.lab.seat().ip;
            Ok(Wire::connect(own, self.seat.addr(), &self.torrent).ok().flatten())
        });
        wire?.claimed_pieces(self.torrent.piece_hashes.len(), Duration::from_secs(1))
    }

    /// Checks that a download without a seed in reach claims exactly what `checked` says and
    /// nothing that is not on disk; returns how much it claims.
    fn claims_are_true(&self, ours: &mut Bitswarm) -> Outcome<usize> {
        let (said, _) = self.checked(ours)?;
        let claimed = self.claimed(ours)?;
        let valid = self.torrent.verify(&self.root);
        let lies: Vec<usize> =
            (0..valid.len()).filter(|piece| claimed[*piece] && !valid[*piece]).collect();
        assert!(lies.is_empty(), "claims pieces that are not on disk: {lies:?}");
        assert_eq!(count(&claimed), said, "claims over the wire what it says itself");
        Ok(said)
    }

    fn completes(&self) -> Outcome {
        let _seed = self.seed()?;
        let mut ours = self.download(&[])?;
        assert_eq!(ours.process().exit_code(Duration::from_secs(90))?, 0);
        self.torrent.content.compare(&self.root)
    }
}

fn killed_download_resumes(lab: &Lab) -> Outcome {
    let setting = Setting::new(lab, Content::single(lab, "killed.bin", 40_000_001)?)?;
    let pieces = setting.torrent.piece_hashes.len();
    let mut claimed_before = 0;
    // At different depths, so that the moments differ: once before the first resume data is
    // written, then in the middle, then late.
    for share in [10, 40, 75] {
        let mut seed = setting.seed()?;
        let mut ours = setting.download(&["--down", "8MiB"])?;
        setting.wait_for_pieces(&mut ours, pieces * share / 100)?;
        ours.process().kill();
        seed.process().kill();

        let mut again = setting.download(&[])?;
        let claimed = setting.claims_are_true(&mut again)?;
        assert!(claimed < pieces, "the kill came too late to be one in the middle");
        assert!(claimed >= claimed_before, "{claimed} pieces after {claimed_before}");
        claimed_before = claimed;
        again.process().kill();
    }
    assert!(claimed_before > pieces / 4, "resumes with only {claimed_before} of {pieces}");
    setting.completes()
}

fn interrupted_download_resumes(lab: &Lab) -> Outcome {
    let setting = Setting::new(lab, Content::single(lab, "interrupted.bin", 20_000_001)?)?;
    let pieces = setting.torrent.piece_hashes.len();
    let mut seed = setting.seed()?;
    let mut ours = setting.download(&["--down", "4MiB"])?;
    setting.wait_for_pieces(&mut ours, pieces / 3)?;
    ours.process().signal(Signal::INT)?;
    assert_eq!(ours.process().exit_code(Duration::from_secs(10))?, 7, "interrupted");
    seed.process().kill();

    let valid = setting.valid_pieces();
    assert!(valid < pieces, "the interruption came too late to be one in the middle");
    let mut again = setting.download(&[])?;
    let (said, from_resume) = setting.checked(&mut again)?;
    assert!(from_resume, "nothing has changed on disk: nothing needs to be hashed");
    assert_eq!(setting.claims_are_true(&mut again)?, said);
    // A clean stop loses nothing.
    assert_eq!(said, valid);
    again.process().kill();
    setting.completes()
}

fn file_changed_between_runs_is_not_claimed(lab: &Lab) -> Outcome {
    let setting = Setting::new(lab, Content::single(lab, "changed.bin", 20_000_001)?)?;
    half_way(&setting)?;
    let valid = setting.torrent.verify(&setting.root);
    let victim = valid.iter().position(|valid| *valid).ok_or("nothing on disk")?;
    overwrite(&setting.root.join("changed.bin"), victim as u64 * (1 << 16) + 100)?;
    assert!(!setting.torrent.verify(&setting.root)[victim]);

    let mut again = setting.download(&[])?;
    setting.claims_are_true(&mut again)?;
    again.process().kill();
    setting.completes()
}

fn file_removed_between_runs_is_fetched_again(lab: &Lab) -> Outcome {
    let files = [("one", 8_000_000), ("two", 0), ("three", 12_000_000)];
    let setting = Setting::new(lab, Content::make(lab, "removed", &files)?)?;
    half_way(&setting)?;
    fs::remove_file(setting.root.join("removed/one"))?;

    let mut again = setting.download(&[])?;
    setting.claims_are_true(&mut again)?;
    again.process().kill();
    setting.completes()
}

/// Downloads about half and stops cleanly.
fn half_way(setting: &Setting<'_>) -> Outcome {
    let mut seed = setting.seed()?;
    let mut ours = setting.download(&["--down", "4MiB"])?;
    setting.wait_for_pieces(&mut ours, setting.torrent.piece_hashes.len() / 2)?;
    ours.process().signal(Signal::INT)?;
    assert_eq!(ours.process().exit_code(Duration::from_secs(10))?, 7, "interrupted");
    seed.process().kill();
    Ok(())
}

/// Changes some bytes in place.
fn overwrite(path: &Path, offset: u64) -> Outcome {
    // Past the resolution of any file system's times.
    std::thread::sleep(Duration::from_millis(50));
    let file = OpenOptions::new().write(true).open(path)?;
    Ok(file.write_all_at(b"something else altogether", offset)?)
}

fn count(pieces: &[bool]) -> usize {
    pieces.iter().filter(|piece| **piece).count()
}
