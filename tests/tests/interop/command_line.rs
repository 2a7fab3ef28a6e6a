//! The command line as a new user meets it: what goes wrong ends in its exit code and one clear
//! line, and the options do what they say.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bitswarm_tests::interop::client::Client::Libtorrent;
use bitswarm_tests::interop::client::{Client, Peer, Task};
use bitswarm_tests::interop::content::compare_files;
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::mount::Tmpfs;
use bitswarm_tests::interop::{
    Bitswarm, Case, Content, Creator, Lab, Need, Outcome, Process, Torrent, Tracker, bitswarm,
};

/// Longest a command may take that has nothing to wait for.
const AT_ONCE: Duration = Duration::from_secs(10);

pub(crate) fn cases() -> Vec<Case> {
    let setpriv: &[Need] = &[Need::Program("setpriv")];
    let leech = [Libtorrent.needs()];
    let creator = [Creator::Libtorrent.needs()];
    vec![
        Case::new("usage_errors_end_in_code_2", &[], usage_errors),
        Case::new("bad_torrent_files_end_in_their_code", &[], bad_torrent_files),
        Case::new("unwritable_directory_ends_in_code_11", &[setpriv], unwritable_directory),
        Case::new("full_disk_ends_in_code_9_and_resumes_with_space", &[&[Need::Mount]], full_disk),
        Case::new("full_state_directory_costs_no_data", &[&[Need::Mount]], full_state_directory),
        Case::new("taken_port_ends_in_code_15", &[], taken_port),
        Case::new("unknown_tracker_host_ends_in_code_6", &[], unknown_tracker_host),
        Case::new("stalled_download_ends_in_code_8", &[], stalled_download),
        Case::new("verify_tells_whole_changed_and_missing_data", &[], verify),
        Case::new("info_says_what_the_torrent_says", &creator, info),
        Case::new("files_option_fetches_only_those", &[], files_option),
        Case::new("down_limit_is_kept", &[], down_limit),
        Case::new("up_limit_is_kept", &leech, up_limit),
        Case::new("demo_runs_to_its_end", &[], demo),
    ]
}

/// A run of our binary that ended by itself.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// It failed with this code, and all it said is one line that contains each of `words`.
    fn fails(&self, code: i32, words: &[&str]) {
        let Ended { code: found, stdout, stderr } = self;
        assert_eq!(*found, code, "stderr: {stderr}");
        assert_eq!(stdout, "", "a failure has no result");
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 1, "not one line: {stderr}");
        assert!(lines[0].len() > 20, "too short to be clear: {stderr}");
        for word in words {
            assert!(lines[0].contains(word), "{word:?} is missing: {stderr}");
        }
    }
}

fn run(lab: &Lab, command: &Command, within: Duration) -> Outcome<Ended> {
    let mut process = Process::spawn(lab, "bitswarm", command)?;
    let code = process.exit_code(within)?;
    Ok(Ended { code, stdout: process.stdout(), stderr: process.stderr() })
}

/// `bitswarm download TORRENT -o DIR` at a seat of its own, silent but for its last line.
fn download(lab: &Lab, torrent: &Path, root: &Path) -> Command {
    let mut command = bitswarm::command(lab);
    command.arg("download").arg(torrent).arg("-o").arg(root).arg("--quiet");
    command.args(bitswarm::quiet_network(lab.seat()));
    command
}

fn our_torrent(lab: &Lab, tracker: &str) -> Outcome<Torrent> {
    Torrent::create(lab, Content::odd_file(lab)?, Creator::Bitswarm, 1 << 16, tracker)
}

fn usage_errors(lab: &Lab) -> Outcome {
    for arguments in [
        &["download"][..],
        &["download", "x.torrent", "--down", "fast"],
        &["download", "x.torrent", "--up", "1 furlong"],
        &["download", "x.torrent", "--files", "0"],
        &["seed"],
        &["frobnicate"],
    ] {
        let mut command = bitswarm::command(lab);
        run(lab, command.args(arguments), AT_ONCE)?.fails(2, &["--help"]);
    }
    Ok(())
}

fn bad_torrent_files(lab: &Lab) -> Outcome {
    let dir = lab.make_dir("bad")?;
    let good = fs::read(our_torrent(lab, "http://127.0.0.1:1/announce")?.path)?;
    let file = |name: &str, bytes: &[u8]| -> Outcome<_> {
        let path = dir.join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    };
    let bad = [
        file("text.torrent", b"This is no torrent.\n")?,
        file("empty.torrent", b"")?,
        file("truncated.torrent", &good[..good.len() / 2])?,
        file("other.torrent", b"d3:fooi1ee")?,
        file("page.torrent", b"<!DOCTYPE html><html><body>404</body></html>")?,
    ];
    for path in &bad {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        run(lab, &download(lab, path, &dir), AT_ONCE)?.fails(4, &[&name]);
        for command in ["info", "verify", "seed"] {
            let mut ours = bitswarm::command(lab);
            ours.arg(command).arg(path);
            if command != "info" {
                ours.arg("--data").arg(&dir);
            }
            run(lab, &ours, AT_ONCE)?.fails(4, &[&name]);
        }
    }
    for path in [dir.join("missing.torrent"), dir.clone()] {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        run(lab, &download(lab, &path, &dir), AT_ONCE)?.fails(11, &[&name]);
    }
    let mut create = bitswarm::command(lab);
    create.arg("create").arg(dir.join("nothing here")).arg("-o").arg(dir.join("out.torrent"));
    run(lab, &create, AT_ONCE)?.fails(11, &["nothing here"]);
    assert!(!dir.join("out.torrent").exists());
    Ok(())
}

fn unwritable_directory(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let torrent = our_torrent(lab, &tracker.url())?;
    let seed = Bitswarm::start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let root = lab.make_dir("unwritable")?;
    let mut locked = fs::metadata(&root)?.permissions();
    locked.set_readonly(true);
    fs::set_permissions(&root, locked)?;
    let download = download(lab, &torrent.path, &root);
    run(lab, &without_privileges(&download), Duration::from_secs(30))?.fails(11, &["unwritable"]);
    Ok(())
}

/// The same command without root's right to write everywhere, if we have that.
fn without_privileges(command: &Command) -> Command {
    let mut bound = Command::new("env");
    if rustix::process::geteuid().is_root() {
        bound = Command::new("setpriv");
        bound.args(["--bounding-set=-all", "--inh-caps=-all", "--"]);
    }
    bound.arg(command.get_program()).args(command.get_args());
    bound.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    bound
}

fn full_disk(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::odd_file(lab)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 16, &tracker.url())?;
    let seed = Client::any_seed().start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let disk = Tmpfs::mount(lab, 3 << 20)?;
    let root = disk.path();
    let full = run(lab, &download(lab, &torrent.path, root), Duration::from_secs(30))?;
    full.fails(9, &["tmpfs"]);
    let valid = torrent.verify(root).iter().filter(|valid| **valid).count();
    assert!(valid > 0, "nothing of what fitted is there");

    disk.resize(64 << 20)?;
    let again = run(lab, &download(lab, &torrent.path, root), Duration::from_secs(60))?;
    assert_eq!(again.code, 0, "{}", again.stderr);
    torrent.content.compare(root)
}

fn full_state_directory(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::odd_file(lab)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 16, &tracker.url())?;
    let seed = Bitswarm::start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let disk = Tmpfs::mount(lab, 64 << 10)?;
    let filler = disk.path().join("filler");
    let fill = || {
        // Until there is no more room.
        let _ = fs::write(&filler, vec![1; 128 << 10]);
    };
    let run_into = |name: &str, options: &[&str]| -> Outcome<(Ended, PathBuf)> {
        let root = lab.make_dir(name)?;
        let mut command = download(lab, &torrent.path, &root);
        command.env("XDG_STATE_HOME", disk.path().join("usual")).args(options);
        Ok((run(lab, &command, Duration::from_secs(60))?, root))
    };

    // Where it usually is it is gone without; where the user wants it, that cannot be.
    fill();
    let (without, root) = run_into("without", &[])?;
    assert_eq!(without.code, 0, "{}", without.stderr);
    torrent.content.compare(&root)?;
    let named = disk.path().join("named").display().to_string();
    let (refused, root) = run_into("refused", &["--state-dir", &named])?;
    refused.fails(9, &["named", "full"]);
    assert!(fs::read_dir(root)?.next().is_none(), "nothing was begun");

    // One that fills later ends the run, which goes on when there is room.
    fs::remove_file(&filler)?;
    let root = lab.make_dir("later")?;
    let mut command = download(lab, &torrent.path, &root);
    command.env("XDG_STATE_HOME", disk.path().join("usual")).args(["--down", "1MiB"]);
    let mut process = Process::spawn(lab, "download", &command)?;
    until("the first piece to be written", Duration::from_secs(20), || {
        process.ensure_running()?;
        let valid = torrent.verify(&root);
        Ok(valid.contains(&true).then_some(()))
    })?;
    fill();
    let status = process.wait(Duration::from_secs(60))?;
    assert_eq!(status.code(), Some(9), "{}", process.stderr());
    assert!(process.stderr().contains(".resume"), "{}", process.stderr());
    fs::remove_file(&filler)?;
    let mut again = download(lab, &torrent.path, &root);
    again.env("XDG_STATE_HOME", disk.path().join("usual"));
    let again = run(lab, &again, Duration::from_secs(60))?;
    assert_eq!(again.code, 0, "{}", again.stderr);
    torrent.content.compare(&root)
}

fn taken_port(lab: &Lab) -> Outcome {
    let torrent = our_torrent(lab, "http://127.0.0.1:1/announce")?;
    let root = lab.make_dir("download")?;
    let seat = lab.seat();
    let _taken = TcpListener::bind(seat.addr())?;
    let port = seat.port.to_string();
    let mut download = bitswarm::command(lab);
    download.arg("download").arg(&torrent.path).arg("-o").arg(&root).arg("--quiet");
    download.args(bitswarm::quiet_network(seat));
    run(lab, &download, AT_ONCE)?.fails(15, &[&port]);

    let mut tracker = bitswarm::command(lab);
    tracker.args(["tracker", "--listen", &seat.addr().to_string()]);
    run(lab, &tracker, AT_ONCE)?.fails(15, &[&port]);
    Ok(())
}

fn unknown_tracker_host(lab: &Lab) -> Outcome {
    let torrent = our_torrent(lab, "http://no-such-host.invalid/announce?key=secret")?;
    let root = lab.make_dir("download")?;
    let mut download = download(lab, &torrent.path, &root);
    let ended = run(lab, download.args(["--stall-timeout", "4"]), Duration::from_secs(30))?;
    ended.fails(6, &["no-such-host.invalid"]);
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    Ok(())
}

fn stalled_download(lab: &Lab) -> Outcome {
    // The tracker answers, and knows nobody.
    let tracker = Tracker::start(lab)?;
    let torrent = our_torrent(lab, &tracker.url())?;
    let root = lab.make_dir("download")?;
    let mut download = download(lab, &torrent.path, &root);
    let ended = run(lab, download.args(["--stall-timeout", "4"]), Duration::from_secs(30))?;
    ended.fails(8, &[]);
    Ok(())
}

fn verify(lab: &Lab) -> Outcome {
    let content = Content::awkward_tree(lab)?;
    let dead = "http://127.0.0.1:1/announce";
    let torrent = Torrent::create(lab, content.clone(), Creator::Bitswarm, 1 << 15, dead)?;
    let copy = content.copy(lab)?;
    let check = || -> Outcome<Ended> {
        let mut verify = bitswarm::command(lab);
        verify.arg("verify").arg(&torrent.path).arg("--data").arg(&copy).arg("--quiet");
        run(lab, &verify, AT_ONCE)
    };
    assert_eq!(check()?.code, 0);

    let victim = copy.join(&content.files()[3].0);
    let original = fs::read(&victim)?;
    let mut bytes = original.clone();
    bytes[600_000] ^= 0x80;
    fs::write(&victim, &bytes)?;
    assert_eq!(check()?.code, 13, "a changed byte");
    fs::write(&victim, &original[..original.len() - 1])?;
    assert_eq!(check()?.code, 13, "a file too short");
    fs::remove_file(&victim)?;
    assert_eq!(check()?.code, 13, "a missing file");
    fs::write(&victim, &original)?;
    assert_eq!(check()?.code, 0);

    fs::remove_file(copy.join(&content.files()[0].0))?;
    assert_eq!(check()?.code, 13, "a missing file of length 0");
    Ok(())
}

fn info(lab: &Lab) -> Outcome {
    let url = "http://127.0.0.1:1/announce";
    for creator in [Creator::Libtorrent, Creator::Bitswarm, Creator::LibtorrentHybrid] {
        let torrent = Torrent::create(lab, Content::awkward_tree(lab)?, creator, 1 << 15, url)?;
        let mut info = bitswarm::command(lab);
        let ended = run(lab, info.arg("info").arg(&torrent.path).arg("--json"), AT_ONCE)?;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let said: serde_json::Value = serde_json::from_str(&ended.stdout)?;
        assert_eq!(said["name"], torrent.content.name());
        assert_eq!(said["infohash_v1"], torrent.infohash_hex());
        assert_eq!(said["piece_length"], torrent.piece_length);
        assert_eq!(said["pieces"], torrent.piece_hashes.len());
        assert_eq!(said["total_size"], torrent.content.total());
        assert_eq!(said["private"], false);
        assert_eq!(said["trackers"], serde_json::json!([[url]]));
        let files = said["files"].as_array().ok_or("no files")?;
        let named: Vec<_> =
            files.iter().map(|file| (file["path"].clone(), file["length"].clone())).collect();
        let below_the_name = |path: &Path| -> Option<serde_json::Value> {
            Some(path.strip_prefix(torrent.content.name()).ok()?.to_str()?.into())
        };
        let expected: Vec<_> = torrent
            .files
            .iter()
            .filter_map(|(path, length)| Some((below_the_name(path.as_ref()?)?, (*length).into())))
            .collect();
        assert_eq!(named, expected, "{creator:?}");
    }
    Ok(())
}

fn files_option(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::awkward_tree(lab)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 15, &tracker.url())?;
    let seed = Client::any_seed().start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());

    // Numbers count from 1 in the torrent's order.
    let number = |end: &str| -> Outcome<usize> {
        let ends = |path: &Path| path.to_string_lossy().ends_with(end);
        let found = torrent.files.iter().position(|(path, _)| path.as_deref().is_some_and(ends));
        Ok(found.ok_or("no such file")? + 1)
    };
    let wanted = [number("eins.bin")?, number("last.bin")?];
    let root = lab.make_dir("download")?;
    let mut download = download(lab, &torrent.path, &root);
    download.args(["--files", &format!("{},{}", wanted[0], wanted[1])]);
    let ended = run(lab, &download, Duration::from_secs(60))?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    let source = torrent.content.root();
    for number in wanted {
        let path = torrent.files[number - 1].0.as_ref().ok_or("a pad file")?;
        compare_files(&source.join(path), &root.join(path))?;
    }
    let unwanted = torrent.content.files().iter().find(|(_, length)| *length > 1_000_000);
    let (path, length) = unwanted.ok_or("no large file")?;
    let on_disk = fs::metadata(root.join(path)).map_or(0, |file| blocks(&file));
    assert!(on_disk < length / 2, "{}: {on_disk} bytes were written", path.display());

    // The rest comes when it is wanted after all.
    let ended = run(lab, &self::download(lab, &torrent.path, &root), Duration::from_secs(60))?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    torrent.content.compare(&root)
}

/// Bytes that a file takes on disk: a sparse file takes fewer than its length.
fn blocks(file: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.blocks() * 512
}

/// 10 MB at 2 MB/s take 5 s; the first second may be a burst.
const LIMITED_BYTES: u64 = 10_000_001;
const LIMIT: &str = "2MB";
const LIMITED_TIME: std::ops::Range<f64> = 3.9..8.0;

fn down_limit(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::single(lab, "limited.bin", LIMITED_BYTES)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 16, &tracker.url())?;
    let seed = Client::any_seed().start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let root = lab.make_dir("download")?;
    let start = Instant::now();
    let task = Task::leech(&torrent, &root);
    let mut ours = Bitswarm::start_with(lab, lab.seat(), &task, &["--down", LIMIT])?;
    assert_eq!(ours.process().exit_code(Duration::from_secs(60))?, 0);
    let took = start.elapsed().as_secs_f64();
    assert!(LIMITED_TIME.contains(&took), "took {took} s");
    torrent.content.compare(&root)
}

fn up_limit(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::single(lab, "limited.bin", LIMITED_BYTES)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 16, &tracker.url())?;
    let seat = lab.seat();
    let _seed = Bitswarm::start_with(lab, seat, &Task::seed(&torrent), &["--up", LIMIT])?;
    tracker.add_peer(torrent.infohash, seat.addr());
    let root = lab.make_dir("download")?;
    let mut leech = Libtorrent.start(lab, &Task::leech(&torrent, &root))?;
    // From the first piece on: until then the other side takes its time.
    let first = bitswarm_tests::interop::lab::until("the first piece", AT_ONCE * 3, || {
        Ok(torrent.verify(&root).contains(&true).then(Instant::now))
    })?;
    bitswarm_tests::interop::lab::until("the download", Duration::from_secs(60), || {
        Ok(leech.is_complete()?.then_some(()))
    })?;
    let took = first.elapsed().as_secs_f64();
    assert!(LIMITED_TIME.contains(&took), "took {took} s");
    Ok(())
}

fn demo(lab: &Lab) -> Outcome {
    let mut demo = bitswarm::command(lab);
    demo.args(["demo", "--size", "16MiB"]).env("TMPDIR", lab.make_dir("demo")?);
    let ended = run(lab, &demo, Duration::from_secs(90))?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!ended.stdout.is_empty(), "it says what it did");
    Ok(())
}
