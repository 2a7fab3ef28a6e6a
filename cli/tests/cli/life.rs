//! A process's life: outputs that nobody reads, terminals that go, signals, and what trackers hear
//! of the end.

use std::fs;
use std::io::{PipeWriter, pipe};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::quiet_tracker::QuietTracker;
use crate::sandbox::{Sandbox, same};
use crate::swarm::{LOCAL, address, with_content};

/// The same content with a torrent of v1 alone, which is announced by one infohash.
fn with_v1_content(len: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("data/content", len, 1);
    let made = sandbox.run("create data/content -o content.torrent -q --protocol v1");
    assert_eq!(made.code, 0, "{}", made.stderr);
    sandbox
}

/// An output that nobody reads.
fn closed() -> PipeWriter {
    pipe().unwrap().1
}

/// The code that a process ends with by itself, in time.
#[track_caller]
fn code(child: &mut Child) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or_else(|| panic!("ended by a signal: {status}"));
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Commands that end by themselves, with the code that each ends with.
fn commands() -> Vec<(&'static str, i32)> {
    vec![
        ("info content.torrent", 0),
        ("info content.torrent --json", 0),
        ("info missing.torrent", 11),
        ("info missing.torrent --json", 11),
        ("magnet content.torrent", 0),
        ("lint content.torrent missing.torrent", 11),
        ("diff content.torrent other.torrent", 13),
        ("verify content.torrent --data data", 0),
        ("verify content.torrent --data data -v", 0),
        ("verify content.torrent --data wrong", 13),
        ("create data/content -o again.torrent --force -v", 0),
        ("create data/content -o - --json", 2),
        ("edit content.torrent -o edited.torrent --force --comment x", 0),
        ("download content.torrent --list", 0),
        ("download content.torrent -o data --no-dht --no-lsd --port 0 --bind 127.0.0.1 -v", 0),
        ("download content.torrent missing.torrent -o data --no-dht --no-lsd --json", 11),
        ("download content.torrent -o none --no-dht --no-lsd --stall-timeout 100ms --json", 6),
        ("seed content.torrent --data nothing", 11),
        ("scrape content.torrent --tracker http://127.0.0.1:9/announce", 6),
        ("dht lookup content.torrent --dht-bootstrap 127.0.0.1:9 --timeout 100ms --json", 6),
        ("demo --size 100K --peers 1", 0),
        ("demo --size 100K --peers 1 --json -v", 0),
        ("config", 0),
        ("forget content.torrent --data nowhere", 11),
        ("replay missing.log", 11),
        ("completions bash", 0),
        ("man", 0),
        ("--help", 0),
        ("--version", 0),
        ("no-such-command --json", 2),
    ]
}

#[test]
fn no_command_cares_whether_anybody_reads_its_outputs() {
    let sandbox = with_content(300_000);
    sandbox.write("wrong/content", 300_000, 2);
    sandbox.write("other", 300_000, 2);
    sandbox.torrent("other", "");
    for dir in ["nothing", "tmp"] {
        fs::create_dir(sandbox.path(dir)).unwrap();
    }
    for (line, expected) in commands() {
        for (no_stdout, no_stderr) in [(true, false), (false, true), (true, true)] {
            let mut command = sandbox.command(line.split_whitespace());
            command.env("TMPDIR", sandbox.path("tmp"));
            command.stdout(if no_stdout { closed().into() } else { Stdio::null() });
            command.stderr(if no_stderr { closed().into() } else { Stdio::null() });
            let mut child = command.spawn().unwrap();
            drop(command);
            let which = format!("{line} (stdout closed: {no_stdout}, stderr: {no_stderr})");
            assert_eq!(code(&mut child), expected, "{which}");
            assert_eq!(fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0, "{which}");
        }
    }
}

#[test]
fn a_transfer_goes_on_when_its_reader_goes_and_says_so_once() {
    let sandbox = with_content(1_000_001);
    let mut seed = sandbox.start(&format!("seed content.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let line = format!("download content.torrent -o out --peer {addr} --down 500K --json {LOCAL}");
    let mut command = sandbox.command(line.split_whitespace());
    let child = command.stdout(closed()).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(said.matches("nobody reads the standard output").count(), 1, "{said}");
    assert!(same(&sandbox.path("data/content"), &sandbox.path("out/content")));

    // The seed's stdout is closed by ending to read: it goes on, and ends well.
    let mut stopped = sandbox.start(&format!("seed content.torrent --data data -v {LOCAL}"));
    stopped.close_outputs();
    thread::sleep(Duration::from_millis(500));
    stopped.signal("TERM");
    assert_eq!(stopped.end(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_a_full_disk_takes_end_in_its_code() {
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let sandbox = with_content(1_000);
    for line in
        ["info content.torrent", "magnet content.torrent", "--help", "info --help", "--version"]
    {
        let mut child = sandbox.command(line.split(' ')).stdout(full()).spawn().unwrap();
        assert_eq!(code(&mut child), 9, "{line}");
    }
    // A transfer is done first.
    let mut seed = sandbox.start(&format!("seed content.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let line = format!("download content.torrent -o out --peer {addr} {LOCAL}");
    let mut child = sandbox.command(line.split(' ')).stdout(full()).spawn().unwrap();
    assert_eq!(code(&mut child), 9);
    assert!(same(&sandbox.path("data/content"), &sandbox.path("out/content")));
    // Messages matter less than what they are about.
    let line = "verify content.torrent --data data -v";
    let mut child = sandbox.command(line.split(' ')).stderr(full()).spawn().unwrap();
    assert_eq!(code(&mut child), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_that_goes_ends_nothing() {
    let sandbox = with_content(1_000_001);
    let mut seed = sandbox.start(&format!("seed content.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    for (dir, also_stdout) in [("one", false), ("two", true)] {
        let line = format!("download content.torrent -o {dir} --peer {addr} --down 400K {LOCAL}");
        let mut command = sandbox.command(line.split(' '));
        let terminal = terminal();
        command.stderr(terminal.1.try_clone().unwrap()).stdout(Stdio::null());
        if also_stdout {
            command.stdout(terminal.1.try_clone().unwrap());
        }
        let mut child = command.spawn().unwrap();
        drop(command);
        thread::sleep(Duration::from_millis(700));
        drop(terminal);
        assert_eq!(code(&mut child), 0);
        assert!(same(&sandbox.path("data/content"), &sandbox.path(dir).join("content")));
    }
}

/// A terminal's two ends, ours and that of a process. No process is controlled by it.
#[cfg(target_os = "linux")]
fn terminal() -> (std::os::fd::OwnedFd, fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = rustix::fs::open(
        name,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    (ours, theirs.unwrap().into())
}

#[test]
fn every_signal_that_means_end_ends_in_order() {
    let sandbox = with_v1_content(100_000);
    for signal in ["INT", "TERM", "QUIT", "HUP"] {
        let tracker = QuietTracker::start();
        let line = format!("seed content.torrent --data data --json {LOCAL}");
        let mut seed = sandbox.start(&format!("{line} --tracker {}", tracker.http()));
        assert_eq!(tracker.next(), "started");
        seed.signal(signal);
        seed.wait_for("stopped");
        assert_eq!(seed.end(), 0, "{signal}");
        assert_eq!(tracker.next(), "stopped");
    }
}

#[test]
fn a_hang_up_that_was_ignored_at_the_start_stays_ignored() {
    let sandbox = with_v1_content(100_000);
    let tracker = QuietTracker::start();
    let bitswarm = sandbox.command([""]).get_program().to_owned();
    let script = format!(
        "trap '' HUP; exec \"$0\" seed content.torrent --data data -q {LOCAL} --tracker {}",
        tracker.http()
    );
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(bitswarm).current_dir(sandbox.path(""));
    command.env("HOME", sandbox.path("home")).env_remove("XDG_STATE_HOME");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    assert_eq!(tracker.next(), "started");
    let kill = |signal: &str| {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    };
    kill("HUP");
    tracker.heard_nothing();
    kill("TERM");
    assert_eq!(tracker.next(), "stopped");
    assert_eq!(code(&mut child), 0);
}

#[test]
fn two_signals_at_once_are_one_and_a_second_later_ends_the_process() {
    let sandbox = with_v1_content(100_000);
    let tracker = QuietTracker::start();
    let line = format!("seed content.torrent --data data --json {LOCAL}");
    let line = format!("{line} --tracker {}", tracker.http());
    // As `timeout` sends it, and a terminal that closes.
    for (first, second) in [("TERM", "TERM"), ("HUP", "HUP"), ("TERM", "HUP")] {
        let mut seed = sandbox.start(&line);
        assert_eq!(tracker.next(), "started");
        seed.signals(&[first, second]);
        seed.wait_for("stopped");
        assert_eq!(seed.end(), 0, "{first} {second}");
        assert_eq!(tracker.next(), "stopped");
    }
    // The tracker does not answer, so that the orderly end takes nearly a second.
    let mut seed = sandbox.start(&line);
    assert_eq!(tracker.next(), "started");
    seed.signal("INT");
    assert_eq!(tracker.next(), "stopped");
    thread::sleep(Duration::from_millis(150));
    seed.signal("INT");
    assert_eq!(seed.end(), 7, "it is cut off");
}

#[test]
fn demo_cleans_up_after_itself_however_it_ends() {
    for signals in [&["INT"][..], &["TERM"], &["HUP"], &["QUIT"], &["INT", "", "INT"]] {
        let sandbox = Sandbox::new();
        let mut demo = sandbox.start("demo --size 4GiB");
        let deadline = Instant::now() + Duration::from_secs(20);
        let left = || fs::read_dir(sandbox.path("")).unwrap().count();
        while left() == 0 {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(10));
        }
        for signal in signals {
            match *signal {
                "" => thread::sleep(Duration::from_millis(120)),
                signal => demo.signal(signal),
            }
        }
        assert_eq!(demo.end(), 7, "{signals:?}");
        assert_eq!(left(), 0, "{signals:?}");
    }
}

#[test]
fn a_run_that_ends_before_its_tracker_answers_says_that_it_left() {
    let sandbox = with_v1_content(100_000);
    let tracker = QuietTracker::start();
    for url in [tracker.http(), tracker.udp()] {
        for runtime in ["mio", "async-std"] {
            let line = format!("download content.torrent -o out --json {LOCAL} --tracker {url}");
            let line = format!("{line} --runtime {runtime}");
            let mut download = sandbox.start(&line);
            assert_eq!(tracker.next(), "started", "{url}");
            download.signal("INT");
            assert_eq!(download.end(), 7, "{url}");
            assert_eq!(tracker.next(), "stopped", "{url}");
            // One that is over by itself, or fails.
            let ended = sandbox.run(&format!("{line} --stall-timeout 1"));
            assert_eq!(ended.code, 6, "{}", ended.stderr);
            assert_eq!([tracker.next(), tracker.next()], ["started", "stopped"], "{url}");
        }
    }
    tracker.heard_nothing();
}

#[test]
fn a_hybrid_leaves_under_both_of_its_infohashes() {
    let sandbox = with_content(100_000);
    let tracker = QuietTracker::start();
    for url in [tracker.http(), tracker.udp()] {
        let line = format!("download content.torrent -o out --json {LOCAL} --tracker {url}");
        let mut download = sandbox.start(&line);
        assert_eq!([tracker.next(), tracker.next()], ["started", "started"], "{url}");
        download.signal("TERM");
        assert_eq!(download.end(), 7, "{url}");
        assert_eq!([tracker.next(), tracker.next()], ["stopped", "stopped"], "{url}");
    }
    tracker.heard_nothing();
}

#[test]
fn what_is_only_checked_and_complete_announces_nothing() {
    let sandbox = with_v1_content(100_000);
    let tracker = QuietTracker::start();
    for url in [tracker.http(), tracker.udp()] {
        // With a check, then without one.
        for _ in 0..2 {
            let line = format!("download content.torrent -o data {LOCAL} --tracker {url}");
            let ended = sandbox.run(&line);
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            assert_eq!(ended.stdout, "data/content: was complete already\n");
        }
        let ended = sandbox.run(&format!(
            "download content.torrent -o data {LOCAL} --tracker {url} --seed-ratio 0"
        ));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    tracker.heard_nothing();
    // What is to be shared is announced.
    let url = tracker.http();
    let line = format!("download content.torrent -o data {LOCAL} --tracker {url} --seed --json");
    let mut shares = sandbox.start(&line);
    assert_eq!(tracker.next(), "started");
    shares.signal("TERM");
    assert_eq!(shares.end(), 0);
    assert_eq!(tracker.next(), "stopped");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_of_the_file() {
    let sandbox = with_content(1_000_001);
    let mut seed = sandbox.start(&format!("seed content.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let limited = |blocks: u32, line: &str| {
        let bitswarm = sandbox.command([""]).get_program().to_owned();
        let mut command = Command::new("sh");
        let script = format!("ulimit -f {blocks}; exec \"$0\" {line}");
        command.arg("-c").arg(script).arg(bitswarm).current_dir(sandbox.path(""));
        command.env("HOME", sandbox.path("home")).env_remove("XDG_STATE_HOME");
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let lines = [
        (200, format!("download content.torrent -o out -q --peer {addr} {LOCAL}")),
        (1, "create data/content -o big.torrent -q --piece-length 16KiB".to_owned()),
        (1, "edit content.torrent -o big.torrent --comment x".to_owned()),
        (200, "demo --size 1MiB -q".to_owned()),
        (1, "create data/content -o - -q --piece-length 16KiB > big.torrent".to_owned()),
    ];
    for (blocks, line) in lines {
        let (code, said) = limited(blocks, &line);
        assert_eq!(code, Some(11), "{line}: {said}");
        assert!(said.contains("ulimit -f"), "{line}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_in_the_background_draws_no_bars() {
    let sandbox = with_content(100_000);
    let bitswarm = sandbox.command([""]).get_program().to_str().unwrap().to_owned();
    // In a terminal of its own, with job control.
    let drawn = |after: &str| {
        let line = format!("{bitswarm} verify content.torrent --data data {after}");
        let mut command = Command::new("script");
        command.args(["-qec", &format!("bash -mc '{line}'"), "/dev/null"]);
        command.current_dir(sandbox.path("")).env("TERM", "xterm").stdin(Stdio::null());
        Some(String::from_utf8(command.output().ok()?.stdout).unwrap())
    };
    let Some(in_front) = drawn("") else { return };
    assert!(in_front.contains("\x1b[2K"), "{in_front:?}");
    let behind = drawn("& wait").unwrap();
    assert!(!behind.contains('\x1b') && behind.contains("pieces are right"), "{behind:?}");
}

#[test]
fn a_download_that_ends_at_once_is_counted_as_completed() {
    let sandbox = with_v1_content(100_000);
    let mut tracker = sandbox.start("tracker --listen 127.0.0.1:0 -v");
    let url = tracker.line();
    let line = format!("seed content.torrent --data data --json --tracker {url} {LOCAL}");
    let mut seed = sandbox.start(&line);
    seed.wait_for("tracker_answered");
    const RUNS: usize = 5;
    for run in 0..RUNS {
        let line = format!("download content.torrent -o {run} -q --tracker {url} {LOCAL}");
        let ended = sandbox.run(&format!("{line} --stall-timeout 20s"));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    let counted = sandbox.run(&format!("scrape content.torrent --tracker {url} --json"));
    assert_eq!(counted.json()["completed"], RUNS, "{}", counted.stdout);
    assert_eq!(counted.json()["seeds"], 1, "the others said that they left");
    tracker.signal("TERM");
    assert_eq!(tracker.end(), 0);
    let log = tracker.stderr();
    for event in ["completed", "stopped"] {
        let heard = log.matches(&format!(" {event} ")).count();
        assert_eq!(heard, RUNS, "{event}: {log}");
    }
}

#[test]
fn a_recording_that_cannot_be_written_is_said_at_the_end() {
    let sandbox = with_v1_content(100_000);
    let mut seed = sandbox.start(&format!("seed content.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let line = format!("download content.torrent -o out -q --peer {addr} {LOCAL}");
    let ended = sandbox.run(&format!("{line} --record /dev/full --force"));
    ended.fails(9, &["cannot record to /dev/full", "disk is full"]);
    assert!(same(&sandbox.path("data/content"), &sandbox.path("out/content")));
}
