//! Completion in the shells themselves, as far as they are installed.

use std::fs;
use std::process::Command;

use crate::sandbox::{Sandbox, skips};
use crate::terminal::Terminal;

/// A sandbox with something to complete.
fn sandbox(shell: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("album.torrent"), "").unwrap();
    fs::write(sandbox.path("a file"), "").unwrap();
    fs::create_dir_all(sandbox.path("albums/inside")).unwrap();
    let script = sandbox.run(&format!("completions {shell}"));
    assert_eq!(script.code, 0, "{}", script.stderr);
    fs::write(sandbox.path("script"), script.stdout).unwrap();
    sandbox
}

/// What a shell prints, or nothing if it is not installed.
fn run(sandbox: &Sandbox, shell: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(shell);
    command.args(args).current_dir(sandbox.path("")).env("HOME", sandbox.path("home"));
    let Ok(output) = command.output() else {
        skips(&format!("{shell} is not installed"));
        return None;
    };
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// What is offered for the last of these words.
fn in_bash(sandbox: &Sandbox, words: &[&str]) -> Option<Vec<String>> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source ./script; COMP_WORDS=({}); COMP_CWORD={}; _bitswarm; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1
    );
    let offered = run(sandbox, "bash", &["--norc", "-c", &script])?;
    Some(offered.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[test]
fn bash_offers_commands_options_files_and_values() {
    let sandbox = sandbox("bash");
    let Some(commands) = in_bash(&sandbox, &["bitswarm", ""]) else { return };
    for command in ["download", "seed", "create", "dht", "man"] {
        assert!(commands.iter().any(|offer| offer == command), "{commands:?}");
    }
    let cases: [(&[&str], &[&str]); 16] = [
        (&["bitswarm", "dow"], &["download"]),
        (&["bitswarm", "download", "al"], &["album.torrent", "albums"]),
        (&["bitswarm", "download", "album.torrent", "a "], &["a file"]),
        (&["bitswarm", "info", "album"], &["album.torrent", "albums"]),
        (&["bitswarm", "create", "a"], &["a file", "album.torrent", "albums"]),
        (&["bitswarm", "download", "x", "-o", "al"], &["albums"]),
        (&["bitswarm", "download", "x", "--output", "=", "al"], &["albums"]),
        (&["bitswarm", "seed", "x", "--data", "al"], &["albums"]),
        (&["bitswarm", "download", "--seq"], &["--sequential"]),
        (&["bitswarm", "download", "--runtime", "m"], &["mio"]),
        (&["bitswarm", "create", "x", "--protocol", ""], &["hybrid", "v1", "v2"]),
        (&["bitswarm", "dht", "lo"], &["lookup"]),
        (&["bitswarm", "dht", "lookup", "al"], &["album.torrent", "albums"]),
        (&["bitswarm", "completions", "f"], &["fish"]),
        (&["bitswarm", "man", "dht-l"], &["dht-lookup"]),
        (&["bitswarm", "download", "x", "--port", "al"], &[]),
    ];
    for (words, expected) in cases {
        let mut offered = in_bash(&sandbox, words).unwrap();
        offered.sort();
        assert_eq!(offered, expected, "{words:?}");
    }
}

#[test]
fn fish_offers_commands_options_files_and_values() {
    let sandbox = sandbox("fish");
    let cases = [
        ("bitswarm dow", "download"),
        ("bitswarm download al", "album.torrent"),
        ("bitswarm download --seq", "--sequential"),
        ("bitswarm download x --runtime m", "mio"),
        ("bitswarm completions f", "fish"),
        ("bitswarm man dht-l", "dht-lookup"),
        ("bitswarm dht lo", "lookup"),
        ("bitswarm help dow", "download"),
        ("bitswarm download x -o al", "albums/"),
        ("bitswarm download x --output=al", "--output=albums/"),
        ("bitswarm download x --output=albums/", "--output=albums/inside/"),
    ];
    for (line, expected) in cases {
        let script = format!("source ./script; complete -C '{line}'");
        let Some(offered) = run(&sandbox, "fish", &["--no-config", "-c", &script]) else { return };
        assert!(offered.lines().any(|offer| offer.starts_with(expected)), "{line}: {offered}");
    }
}

#[test]
fn zsh_takes_the_script_and_knows_where_files_are_wanted() {
    let sandbox = sandbox("zsh");
    let script = fs::read_to_string(sandbox.path("script")).unwrap();
    for (argument, action) in [("inputs", "_files"), ("torrent", "_files")] {
        let fits = |line: &&str| line.contains(&format!(":{argument} ")) && line.contains(action);
        assert!(script.lines().any(|line| fits(&line)), "{argument}");
    }
    assert!(script.contains("dht-lookup"));
    let load = "autoload -U compinit; compinit -D; source ./script; whence -w _bitswarm";
    let Some(told) = run(&sandbox, "zsh", &["-f", "-c", load]) else { return };
    assert!(told.contains("_bitswarm: function"), "{told}");
}

#[test]
fn zsh_completes_what_is_typed() {
    let sandbox = sandbox("zsh");
    let mut zsh = Command::new("zsh");
    zsh.arg("-f").current_dir(sandbox.path("")).env("HOME", sandbox.path("home"));
    zsh.env("TERM", "xterm").env("PS1", "> ");
    if Command::new("zsh").arg("--version").output().is_err() {
        return skips("zsh is not installed");
    }
    let mut terminal = Terminal::start(Terminal::controlled(&zsh), 100, 24);
    terminal.wait_until(|rows| rows.last().is_some_and(|row| row == ">"));
    terminal.press("autoload -U compinit; compinit -D; source ./script; clear; echo rea''dy\n");
    terminal.wait_until(|rows| rows.first().is_some_and(|row| row == "ready"));
    let cases = [
        ("bitswarm dow", "bitswarm download"),
        ("bitswarm download album.", "bitswarm download album.torrent"),
        ("bitswarm download x --col", "bitswarm download x --color="),
        ("bitswarm download x -o al", "bitswarm download x -o albums/"),
        ("bitswarm seed x --da", "bitswarm seed x --data="),
        ("bitswarm create x --protocol hy", "bitswarm create x --protocol hybrid"),
        ("bitswarm lint x y --js", "bitswarm lint x y --json"),
        ("bitswarm dht lo", "bitswarm dht lookup"),
        ("bitswarm help dow", "bitswarm help download"),
        ("bitswarm man dht-lo", "bitswarm man dht-lookup"),
    ];
    for (typed, completed) in cases {
        terminal.press(&format!("{typed}\t"));
        terminal.wait_until(|rows| rows.last().is_some_and(|row| *row == format!("> {completed}")));
        // Away with it.
        terminal.press("\x15");
        terminal.wait_until(|rows| rows.last().is_some_and(|row| row == ">"));
    }
    terminal.press("exit\n");
    terminal.end();
}
