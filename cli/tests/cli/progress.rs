//! What progress looks like on a terminal, by what a terminal shows of it.

use std::process::Command;

use crate::networks::FakeTracker;
use crate::sandbox::Sandbox;
use crate::terminal::Terminal;

/// Keeps a run to this machine, on a port that the system chooses.
const LOCAL: &str = "--bind 127.0.0.1 --port 0 --no-dht --no-lsd";

/// A command that has a terminal of this kind.
fn command(sandbox: &Sandbox, term: &str, args: &str) -> Command {
    let mut command = sandbox.command(args.split_whitespace());
    command.env("TERM", term).env_remove("NO_COLOR").env_remove("TMUX").env_remove("XTERM_VERSION");
    command
}

/// A sandbox with a torrent of a name, whose content lies in `data`.
fn with_torrent(name: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(&format!("data/{name}"), 300_000, 1);
    let path = format!("data/{name}");
    let made = sandbox.run_with(["create", &path, "-o", "t.torrent", "-q"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    sandbox
}

#[test]
fn a_name_has_as_much_room_as_there_is_and_is_marked_where_it_is_cut() {
    let name = "文件-🎬-a-name-that-is-longer-than-eighty-columns-have-room-for-and-then-some.mkv";
    let sandbox = with_torrent(name);
    for (width, cut) in [(20, true), (40, true), (80, true), (120, true), (200, false)] {
        let line = format!("download t.torrent -o out {LOCAL}");
        let terminal = Terminal::start(command(&sandbox, "xterm", &line), width, 24);
        let is_there =
            |row: &String| row.contains("0.0%") && (width < 40 || row.contains("[no peers"));
        let rows = terminal.wait_until(|rows| rows.iter().any(is_there));
        assert_eq!(rows.len(), 1, "{width}: {rows:#?}");
        assert!(rows[0].starts_with("文件-🎬"), "{width}: {rows:#?}");
        assert_eq!(rows[0].contains(name), !cut, "{width}: {rows:#?}");
        let shown = rows[0].split('%').next().unwrap();
        assert_eq!(shown.contains('…'), cut, "{width}: {rows:#?}");
        assert_eq!(rows[0].contains("of 293 KiB"), width >= 80, "{width}: {rows:#?}");
    }
}

#[test]
fn a_terminal_that_changes_its_size_stays_clean() {
    let sandbox = with_torrent("content");
    let line = format!("seed t.torrent --data data --up 1MiB {LOCAL}");
    // This kind leaves lines as they are when it becomes narrower, as does the one in the test.
    let terminal = Terminal::start(command(&sandbox, "linux", &line), 120, 10);
    terminal.wait_until(|rows| rows.iter().any(|row| row.contains("seeding")));
    for (width, rows) in [(60, 10), (30, 5), (100, 24), (40, 3), (80, 24)] {
        terminal.resize(width, rows);
        let written = terminal.written().len();
        // A few frames at the new size.
        terminal.wait_until(|_| terminal.written().len() > written + 3 * 20);
        let rows = terminal
            .wait_until(|rows| rows.iter().filter(|row| row.contains("content")).count() == 1);
        assert_eq!(rows.len(), 1, "{width}: {rows:#?}");
        assert!(rows[0].contains("100.0%"), "{width}: {rows:#?}");
    }
}

#[test]
fn ctrl_c_leaves_a_clean_screen_and_nothing_that_seems_to_go_on() {
    let sandbox = with_torrent("content");
    for (line, code, last) in [
        (format!("seed t.torrent --data data {LOCAL}"), 0, "stopped, sent 0 B"),
        (format!("download t.torrent -o out {LOCAL}"), 7, "bitswarm: interrupted"),
    ] {
        let command = Terminal::controlled(&command(&sandbox, "xterm", &line));
        let mut terminal = Terminal::start(command, 100, 24);
        terminal.wait_until(|rows| rows.iter().any(|row| row.contains("0.0%")));
        terminal.press("\x03");
        assert_eq!(terminal.end(), code);
        let rows = terminal.rows();
        for word in ["seeding", "[no peers", "^C"] {
            assert!(!rows.iter().any(|row| row.contains(word)), "{word}: {rows:#?}");
        }
        assert_eq!(rows.iter().filter(|row| row.starts_with("content")).count(), 1, "{rows:#?}");
        assert!(rows.last().unwrap().contains(last), "{rows:#?}");
        assert_eq!(terminal.cursor_column(), 0, "what follows begins on a line of its own");
    }
}

#[test]
fn a_terminal_without_a_movable_cursor_gets_plain_lines() {
    let sandbox = with_torrent("content");
    let line = format!("seed t.torrent --data data {LOCAL}");
    let mut terminal = Terminal::start(command(&sandbox, "dumb", &line), 80, 24);
    terminal.wait_for("content: 100.0%");
    terminal.press("\x03");
    assert!(!terminal.written().contains('\x1b'), "{:?}", terminal.written());
    assert!(terminal.written().contains("seeding\r\n"), "{:?}", terminal.written());
}

/// A shell that a terminal of its own controls.
fn shell(sandbox: &Sandbox, options: &str, script: &str) -> Terminal {
    let mut shell = Command::new("bash");
    let ours = command(sandbox, "xterm", "");
    shell.args([options, script]).current_dir(ours.get_current_dir().unwrap());
    for (name, value) in ours.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Terminal::start(Terminal::controlled(&shell), 80, 24)
}

#[test]
fn a_process_in_the_background_leaves_the_screen_to_the_foreground() {
    // With job control, and as a script has it.
    for options in ["-mc", "-c"] {
        let sandbox = with_torrent("content");
        let binary = env!("CARGO_BIN_EXE_bitswarm");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let local = "--bind 127.0.0.1 --no-dht --no-lsd";
        let script = format!(
            "{binary} seed t.torrent --data data {local} --port {port} & \
             {binary} download t.torrent -o out {local} --port 0 --peer 127.0.0.1:{port} \
             --down 40KiB; echo ended with $?; kill $!; wait"
        );
        let mut terminal = shell(&sandbox, options, &script);
        terminal.wait_for("ended with 0");
        terminal.end();
        let written = terminal.written();
        assert!(written.contains("[rate limit]"), "it took some time: {written:?}");
        let front = written.split("ended with").next().unwrap();
        assert!(!front.contains("seeding") && !front.contains("\ncontent: "), "{front:?}");
        let rows = terminal.rows();
        let bars = rows.iter().filter(|row| row.starts_with("content ")).count();
        assert_eq!(bars, 1, "{rows:#?}");
        assert!(rows.iter().any(|row| row.starts_with("out/content: complete")), "{rows:#?}");
    }
}

#[test]
fn a_process_in_the_background_draws_nothing_over_the_foreground() {
    let sandbox = with_torrent("content");
    let binary = env!("CARGO_BIN_EXE_bitswarm");
    let script = format!(
        "{binary} seed t.torrent --data data {LOCAL} & \
         sleep 4; kill -TERM $!; wait $!; echo ended with $?"
    );
    let mut terminal = shell(&sandbox, "-mc", &script);
    terminal.wait_for("ended with 0");
    assert_eq!(terminal.end(), 0);
    let written = terminal.written();
    assert!(!written.contains('\x1b'), "{written:?}");
    assert!(written.contains("content: 100.0%"), "{written:?}");
}

#[test]
fn a_sentence_of_the_background_waits_while_another_program_has_the_terminal() {
    let sandbox = with_torrent("content");
    let binary = env!("CARGO_BIN_EXE_bitswarm");
    let tracker =
        FakeTracker::start("d8:intervali1800e5:peers0:15:warning message12:about to go!e");
    let url = format!("http://{}/announce", tracker.addr);
    let script = format!(
        "{binary} download t.torrent -o data --seed-time 6s --tracker {url} {LOCAL} & \
         sleep 3; echo the other has ended; wait $!; echo ended with $?"
    );
    let mut terminal = shell(&sandbox, "-mc", &script);
    terminal.wait_for("ended with 0");
    assert_eq!(terminal.end(), 0);
    let written = terminal.written();
    let at = |text: &str| written.find(text).unwrap_or_else(|| panic!("no {text}: {written}"));
    assert!(at("the other has ended") < at("about to go!"), "{written}");
    assert!(at("about to go!") < at("ended with 0"), "{written}");
}

#[test]
fn with_more_torrents_than_rows_the_others_are_counted_and_the_whole_has_a_line() {
    let sandbox = Sandbox::new();
    let mut line = format!("download -o out {LOCAL}");
    for number in 0..30 {
        sandbox.write(&format!("data/torrent-{number}"), 20_000, number);
        let made = sandbox.run(&format!("create data/torrent-{number} -o {number}.torrent -q"));
        assert_eq!(made.code, 0, "{}", made.stderr);
        line += &format!(" {number}.torrent");
    }
    let mut terminal =
        Terminal::start(Terminal::controlled(&command(&sandbox, "xterm", &line)), 100, 8);
    let counted = "and 25 others: 25 waiting";
    let rows = terminal.wait_until(|rows| rows.get(5).is_some_and(|row| row == counted));
    assert_eq!(rows.len(), 7, "{rows:#?}");
    assert!(rows[6].starts_with("30 torrents") && rows[6].contains("of 586 KiB"), "{rows:#?}");
    terminal.press("\x03");
    assert_eq!(terminal.end(), 7);
    let rows = terminal.rows();
    assert!(!rows.iter().any(|row| row.contains("[no peers")), "{rows:#?}");
}

#[test]
fn colour_is_there_where_it_is_wanted() {
    let sandbox = with_torrent("content");
    let painted = |options: &str, no_color: bool| {
        let line = format!("download t.torrent -o out {LOCAL} {options}");
        let mut command = command(&sandbox, "xterm", &line);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let terminal = Terminal::start(command, 100, 24);
        terminal.wait_for("[no peers");
        terminal.written().contains("\x1b[33m[no peers")
    };
    assert!(painted("", false));
    assert!(!painted("", true));
    assert!(!painted("--color never", false));
    assert!(painted("--color always", true));
}

#[test]
fn without_peers_the_state_of_the_dht_is_said() {
    let sandbox = with_torrent("content");
    let line = "download t.torrent -o out --bind 127.0.0.1 --port 0 --no-lsd \
                --dht-bootstrap 127.0.0.1:1";
    let terminal = Terminal::start(command(&sandbox, "xterm", line), 100, 24);
    terminal.wait_for("[no peers: DHT: no node yet]");
    drop(terminal);
    let mut told = sandbox.start(&format!("{line} --json"));
    assert_eq!(told.wait_for("progress")["dht_nodes"], 0);
}

#[test]
fn a_limit_that_several_torrents_share_is_what_keeps_each_slow() {
    let sandbox = Sandbox::new();
    for (number, name) in [(1, "one"), (2, "two")] {
        sandbox.write(&format!("data/{name}"), 4_000_000, number);
        assert_eq!(sandbox.run(&format!("create data/{name} -o {name}.torrent -q")).code, 0);
    }
    let mut seed =
        sandbox.start(&format!("seed one.torrent two.torrent --data data --json {LOCAL}"));
    let addr = seed.wait_for("listening")["addr"].as_str().unwrap().to_owned();
    let mut download = sandbox.start(&format!(
        "download one.torrent two.torrent -o out --json --down 400K --peer {addr} {LOCAL}"
    ));
    let mut limits = std::collections::BTreeMap::new();
    for _ in 0..12 {
        let progress = download.wait_for("progress");
        if progress["down_rate"].as_u64().unwrap() > 0 {
            let of = progress["infohash_v1"].as_str().unwrap().to_owned();
            limits.insert(of, progress["limit"].as_str().unwrap_or_default().to_owned());
        }
    }
    assert_eq!(limits.len(), 2, "both move");
    assert!(limits.values().all(|limit| limit == "rate limit"), "{limits:?}");
}
