//! When a run is over, and how: judged from what the engine tells, without touching anything.
//!
//! A [`Goals`] hears every notice and sees every status snapshot of `download` and `seed`. A
//! download is over when each torrent is complete, verified and flushed to disk, and its sharing
//! goal is reached; a failure ends the run at once. Time is handed in, so that the tests need none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bitswarm_core::TorrentId;
use bitswarm_core::disk::{DiskError, DiskErrorKind};
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::storage::foreign::Refusal;
use bitswarm_core::torrent::{TorrentState, TorrentStatus};

use crate::exit::{Code, Failure};
use crate::units::{Span, counted};

/// What the run is for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Purpose {
    /// Get everything that is wanted, then share it as long as told.
    Download(Share),
    /// Share what is there until stopped.
    Seed,
}

/// How long to share what is complete.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Share {
    /// Not at all.
    No,
    /// Until the first of these is reached; with neither, until stopped.
    Until {
        /// Bytes uploaded per byte of content that is wanted.
        ratio: Option<f64>,
        /// Time since it was complete.
        time: Option<Duration>,
    },
}

/// The judge of one run.
#[derive(Debug)]
pub(crate) struct Goals {
    purpose: Purpose,
    stall_timeout: Option<Duration>,
    jobs: BTreeMap<TorrentId, Job>,
    seen: Seen,
    moved_bytes: u64,
    moved_at: Instant,
    peer_reached: bool,
    tracker_answered: bool,
    tracker_failure: Option<String>,
}

/// One torrent of the run.
#[derive(Debug, Default)]
struct Job {
    finished: bool,
    complete_at: Option<Instant>,
    shared: bool,
}

/// What one look at all torrents has seen so far.
#[derive(Debug, Default)]
struct Seen {
    moved_bytes: u64,
    checking: bool,
}

impl Goals {
    /// No torrent yet.
    pub(crate) fn new(purpose: Purpose, stall_timeout: Option<Duration>, now: Instant) -> Self {
        Goals {
            purpose,
            stall_timeout,
            jobs: BTreeMap::new(),
            seen: Seen::default(),
            moved_bytes: 0,
            moved_at: now,
            peer_reached: false,
            tracker_answered: false,
            tracker_failure: None,
        }
    }

    /// Another torrent belongs to the run.
    pub(crate) fn add(&mut self, id: TorrentId) {
        self.jobs.insert(id, Job::default());
    }

    /// Something happened to a torrent; an error ends the run.
    pub(crate) fn handle(
        &mut self,
        id: TorrentId,
        what: &TorrentNotice,
        now: Instant,
    ) -> Result<(), Failure> {
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(()) };
        match what {
            TorrentNotice::Finished => job.finished = true,
            TorrentNotice::Saved if job.finished => {
                job.complete_at.get_or_insert(now);
            }
            TorrentNotice::TrackerAnswered { .. } => self.tracker_answered = true,
            TorrentNotice::TrackerFailed { url, why } => {
                self.tracker_failure = Some(format!("{}: {why}", tracker_host(url)));
            }
            TorrentNotice::MetadataUnusable { why } => {
                return Err(Failure::new(
                    Code::BadInput,
                    format!("what the magnet link describes cannot be used: {why}"),
                ));
            }
            TorrentNotice::NothingSelected { selected, by_link: true, files } => {
                return Err(Failure::new(
                    Code::BadInput,
                    format!(
                        "the magnet link selects files (so={selected}, counted from 0), and the torrent has \
                         none of them: it has {files}; select others with --files"
                    ),
                ));
            }
            TorrentNotice::NothingSelected { files, .. } => {
                return Err(Failure::new(
                    Code::Usage,
                    format!(
                        "the torrent has none of the files that --files selects: it has {files}"
                    ),
                ));
            }
            TorrentNotice::DiskFailed { error } if self.purpose != Purpose::Seed => {
                return Err(disk_failure(error));
            }
            _ => {}
        }
        Ok(())
    }

    /// How a torrent stands now; [`Goals::judge`] follows when all are seen.
    pub(crate) fn see(&mut self, status: &TorrentStatus, now: Instant) {
        self.peer_reached |= status.peers > 0;
        self.judge_sharing(status, now);
        self.seen.moved_bytes += self.moved(status);
        self.seen.checking |= status.state == TorrentState::Checking;
    }

    /// All torrents were seen. `Ok(true)`: the run is over and did what it was for.
    pub(crate) fn judge(&mut self, now: Instant) -> Result<bool, Failure> {
        let seen = std::mem::take(&mut self.seen);
        self.judge_movement(seen, now)?;
        let over = |job: &Job| job.complete_at.is_some() && job.shared;
        Ok(self.purpose != Purpose::Seed && self.jobs.values().all(over))
    }

    /// A torrent does not belong to the run any more.
    pub(crate) fn remove(&mut self, id: TorrentId) {
        self.jobs.remove(&id);
    }

    /// How a run ends that the user has interrupted now.
    pub(crate) fn interrupted(&self) -> Result<(), Failure> {
        if self.purpose == Purpose::Seed || self.is_complete() {
            return Ok(());
        }
        let complete = self.jobs.values().filter(|job| job.complete_at.is_some()).count();
        let of = counted(self.jobs.len(), "torrent", "torrents");
        let resume = "run the same command again to go on from here";
        Err(Failure::interrupted(format!("{complete} of {of} complete; {resume}")))
    }

    /// Whether every torrent is complete and on disk.
    fn is_complete(&self) -> bool {
        self.jobs.values().all(|job| job.complete_at.is_some())
    }

    /// Whether this torrent is complete and on disk.
    pub(crate) fn is_torrent_complete(&self, id: TorrentId) -> bool {
        self.jobs.get(&id).is_some_and(|job| job.complete_at.is_some())
    }

    fn judge_sharing(&mut self, status: &TorrentStatus, now: Instant) {
        let Purpose::Download(share) = self.purpose else { return };
        let Some(job) = self.jobs.get_mut(&status.id) else { return };
        let Some(complete_at) = job.complete_at else { return };
        job.shared |= match share {
            Share::No => true,
            Share::Until { ratio, time } => {
                let uploaded = status.uploaded_bytes as f64;
                ratio.is_some_and(|ratio| uploaded >= ratio * status.wanted_bytes as f64)
                    || time.is_some_and(|time| now.saturating_duration_since(complete_at) >= time)
            }
        };
    }

    /// Ends the run when nothing that it is for has moved for too long.
    fn judge_movement(&mut self, seen: Seen, now: Instant) -> Result<(), Failure> {
        let Some(timeout) = self.stall_timeout else { return Ok(()) };
        let done = self.purpose != Purpose::Seed && self.is_complete();
        if seen.moved_bytes > self.moved_bytes || seen.checking || done {
            self.moved_bytes = seen.moved_bytes;
            self.moved_at = now;
            return Ok(());
        }
        if now.saturating_duration_since(self.moved_at) < timeout {
            return Ok(());
        }
        Err(self.stalled(timeout))
    }

    fn moved(&self, status: &TorrentStatus) -> u64 {
        match self.purpose {
            Purpose::Seed => status.uploaded_bytes,
            Purpose::Download(_) => status
                .downloaded_bytes
                .saturating_sub(status.failed_bytes.saturating_add(status.redundant_bytes)),
        }
    }

    fn stalled(&self, timeout: Duration) -> Failure {
        let nobody = !self.peer_reached && !self.tracker_answered;
        if nobody && self.purpose != Purpose::Seed {
            let why = match &self.tracker_failure {
                Some(failure) => format!("the tracker does not help ({failure})"),
                None => "no tracker has answered".to_owned(),
            };
            let advice =
                "check the network, or name a peer with --peer or a tracker with --tracker";
            return Failure::new(
                Code::NoPeers,
                format!("no peer could be reached: {why}; {advice}"),
            );
        }
        let message = match self.purpose {
            Purpose::Download(_) => "nothing received",
            Purpose::Seed => "nothing asked for",
        };
        let resume = "run the same command again to go on from here";
        Failure::new(Code::Stalled, format!("{message} for {}; {resume}", Span(timeout)))
    }
}

/// The failure that a disk error ends a download with.
pub(crate) fn disk_failure(error: &DiskError) -> Failure {
    let (code, advice) = match error.kind {
        DiskErrorKind::Full => (Code::DiskFull, "free some space and run this again to go on"),
        DiskErrorKind::Denied => (Code::File, "check who owns it and its mode"),
        DiskErrorKind::InTheWay => (Code::File, "move it away or choose another directory"),
        // Overwriting is no way out of that.
        DiskErrorKind::Foreign if error.cause.starts_with(&Refusal::OtherTorrent.to_string()) => {
            (Code::File, "give each its own directory")
        }
        DiskErrorKind::Foreign => (
            Code::File,
            "move it away, choose another directory, or write over it with --overwrite",
        ),
        DiskErrorKind::TooManyOpen => (Code::File, "raise the limit on open files (ulimit -n)"),
        _ => (Code::File, "run this again to go on from here"),
    };
    Failure::new(code, format!("{error}; {advice}"))
}

/// The part of a tracker's URL that may be shown: a path or query can hold the user's key.
pub(crate) fn tracker_host(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    let authority = &url[start..end];
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use bitswarm_core::id::Slab;
    use bitswarm_core::piece::InfoHash;
    use bitswarm_core::torrent::Bottleneck;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    impl Goals {
        fn look(&mut self, statuses: &[TorrentStatus], now: Instant) -> Result<bool, Failure> {
            statuses.iter().for_each(|status| self.see(status, now));
            self.judge(now)
        }
    }

    fn id() -> TorrentId {
        Slab::<TorrentId, ()>::new().insert(())
    }

    fn status(state: TorrentState) -> TorrentStatus {
        TorrentStatus {
            id: id(),
            name: "t".to_owned(),
            infohash: InfoHash([0; 20]),
            state,
            bottleneck: Bottleneck::None,
            pieces: 10,
            pieces_have: 0,
            total_bytes: 1000,
            wanted_bytes: 1000,
            done_bytes: 0,
            down_bytes_per_s: 0,
            up_bytes_per_s: 0,
            downloaded_bytes: 0,
            uploaded_bytes: 0,
            failed_bytes: 0,
            redundant_bytes: 0,
            peers: 0,
            seeds: 0,
            utp_peers: 0,
            encrypted: 0,
            known_peers: 0,
            unchoked_us: 0,
            eta: None,
            trackers: Vec::new(),
            metadata: None,
            disk_error: None,
        }
    }

    fn goals(purpose: Purpose, stall: Option<Duration>, now: Instant) -> Goals {
        let mut goals = Goals::new(purpose, stall, now);
        goals.add(id());
        goals
    }

    fn complete(goals: &mut Goals, now: Instant) {
        goals.handle(id(), &TorrentNotice::Finished, now).unwrap();
        goals.handle(id(), &TorrentNotice::Saved, now).unwrap();
    }

    #[test]
    fn download_is_over_when_it_is_flushed_and_not_before() {
        let now = Instant::now();
        let mut goals = goals(Purpose::Download(Share::No), None, now);
        goals.handle(id(), &TorrentNotice::Saved, now).unwrap();
        assert_eq!(goals.look(&[status(TorrentState::Downloading)], now), Ok(false));
        goals.handle(id(), &TorrentNotice::Finished, now).unwrap();
        assert_eq!(goals.look(&[status(TorrentState::Seeding)], now), Ok(false));
        assert_eq!(goals.interrupted().unwrap_err().code, Code::Interrupted);
        goals.handle(id(), &TorrentNotice::Saved, now).unwrap();
        assert_eq!(goals.look(&[status(TorrentState::Seeding)], now), Ok(true));
        assert_eq!(goals.interrupted(), Ok(()));
    }

    #[test]
    fn sharing_ends_at_the_first_goal_reached() {
        let now = Instant::now();
        let share = Share::Until { ratio: Some(1.5), time: Some(SECOND * 60) };
        let mut by_ratio = goals(Purpose::Download(share), None, now);
        complete(&mut by_ratio, now);
        let mut seeding = status(TorrentState::Seeding);
        seeding.uploaded_bytes = 1499;
        assert_eq!(by_ratio.look(&[seeding.clone()], now + SECOND), Ok(false));
        seeding.uploaded_bytes = 1500;
        assert_eq!(by_ratio.look(&[seeding], now + SECOND), Ok(true));

        let mut by_time = goals(Purpose::Download(share), None, now);
        complete(&mut by_time, now);
        let seeding = [status(TorrentState::Seeding)];
        assert_eq!(by_time.look(&seeding, now + SECOND * 59), Ok(false));
        assert_eq!(by_time.look(&seeding, now + SECOND * 60), Ok(true));
    }

    #[test]
    fn the_ratio_counts_what_is_wanted() {
        let now = Instant::now();
        let share = Share::Until { ratio: Some(2.0), time: None };
        let mut goals = goals(Purpose::Download(share), None, now);
        complete(&mut goals, now);
        let mut seeding = status(TorrentState::Seeding);
        (seeding.total_bytes, seeding.wanted_bytes, seeding.uploaded_bytes) = (1000, 300, 599);
        assert_eq!(goals.look(&[seeding.clone()], now), Ok(false));
        seeding.uploaded_bytes = 600;
        assert_eq!(goals.look(&[seeding], now), Ok(true));
    }

    #[test]
    fn sharing_without_a_goal_goes_on() {
        let now = Instant::now();
        let share = Share::Until { ratio: None, time: None };
        let mut goals = goals(Purpose::Download(share), Some(SECOND), now);
        complete(&mut goals, now);
        let seeding = [status(TorrentState::Seeding)];
        assert_eq!(goals.look(&seeding, now + SECOND * 1000), Ok(false));
    }

    #[test]
    fn a_ratio_of_nothing_stops_at_once() {
        let now = Instant::now();
        let share = Share::Until { ratio: Some(0.0), time: None };
        let mut goals = goals(Purpose::Download(share), None, now);
        complete(&mut goals, now);
        assert_eq!(goals.look(&[status(TorrentState::Seeding)], now), Ok(true));
    }

    #[test]
    fn stall_counts_from_the_last_useful_byte() {
        let now = Instant::now();
        let mut goals = goals(Purpose::Download(Share::No), Some(SECOND * 5), now);
        let mut moving = status(TorrentState::Downloading);
        moving.peers = 1;
        moving.downloaded_bytes = 100;
        assert_eq!(goals.look(&[moving.clone()], now + SECOND * 4), Ok(false));
        // Bytes that failed their hash are no progress.
        moving.downloaded_bytes = 300;
        moving.failed_bytes = 200;
        assert_eq!(goals.look(&[moving.clone()], now + SECOND * 8), Ok(false));
        let failure = goals.look(&[moving], now + SECOND * 9).unwrap_err();
        assert_eq!(failure.code, Code::Stalled);
    }

    #[test]
    fn stall_with_nobody_reached_is_a_lack_of_peers() {
        let now = Instant::now();
        let mut goals = goals(Purpose::Download(Share::No), Some(SECOND), now);
        let failed = TorrentNotice::TrackerFailed {
            url: "http://user:pw@nowhere.invalid/announce?passkey=secret".to_owned(),
            why: "no such host".to_owned(),
        };
        goals.handle(id(), &failed, now).unwrap();
        let failure = goals.look(&[status(TorrentState::Downloading)], now + SECOND).unwrap_err();
        assert_eq!(failure.code, Code::NoPeers);
        let text = failure.to_string();
        assert!(text.contains("nowhere.invalid: no such host"), "{text}");
        assert!(!text.contains("secret") && !text.contains("pw"), "{text}");
    }

    #[test]
    fn stall_with_a_tracker_that_answers_is_a_stall() {
        let now = Instant::now();
        let mut goals = goals(Purpose::Download(Share::No), Some(SECOND), now);
        let answered =
            TorrentNotice::TrackerAnswered { url: "u".to_owned(), peers: 0, warning: None };
        goals.handle(id(), &answered, now).unwrap();
        let failure = goals.look(&[status(TorrentState::Downloading)], now + SECOND).unwrap_err();
        assert_eq!(failure.code, Code::Stalled);
    }

    #[test]
    fn checking_is_no_stall() {
        let now = Instant::now();
        let mut goals = goals(Purpose::Download(Share::No), Some(SECOND), now);
        let checking = [status(TorrentState::Checking)];
        assert_eq!(goals.look(&checking, now + SECOND * 60), Ok(false));
        let downloading = [status(TorrentState::Downloading)];
        assert_eq!(goals.look(&downloading, now + SECOND * 60), Ok(false));
        assert!(goals.look(&downloading, now + SECOND * 61).is_err());
    }

    #[test]
    fn a_full_disk_ends_a_download_but_not_a_seed() {
        let now = Instant::now();
        let error = DiskError {
            kind: DiskErrorKind::Full,
            path: "out/t".into(),
            cause: "No space left on device".to_owned(),
        };
        let notice = TorrentNotice::DiskFailed { error };
        let failure =
            goals(Purpose::Download(Share::No), None, now).handle(id(), &notice, now).unwrap_err();
        assert_eq!(failure.code, Code::DiskFull);
        assert!(failure.to_string().starts_with("out/t: disk full"), "{failure}");
        assert_eq!(goals(Purpose::Seed, None, now).handle(id(), &notice, now), Ok(()));
    }

    #[test]
    fn tracker_host_hides_keys() {
        assert_eq!(tracker_host("udp://t.example:80"), "t.example:80");
        assert_eq!(tracker_host("http://a:b@t.example/x/key/announce"), "t.example");
        assert_eq!(tracker_host("http://[::1]:80?k=1"), "[::1]:80");
        assert_eq!(tracker_host(""), "");
    }
}
