//! Manual pages, in roff: what `clap_mangen` makes of the options, and what it cannot know: exit
//! codes, files, environment, examples. A page names only pages that there are.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::below;

/// Exit codes and their meaning, as `--help` and docs/CLI.md have them.
const CODES: [(&str, &str); 11] = [
    ("0", "done"),
    ("1", "an error that has no code of its own"),
    ("2", "the command line makes no sense"),
    ("4", "the input is neither a torrent nor a magnet link, or cannot be used; of lint, harmful"),
    ("6", "nobody could be reached: no peer, and no tracker that answers"),
    ("7", "interrupted by a signal with work unfinished"),
    ("8", "nothing has moved for as long as --stall-timeout allows"),
    ("9", "the disk is full"),
    ("11", "another file error: missing, not permitted, in the way"),
    ("13", "the data is not what the torrent says; of diff, the torrents differ"),
    ("15", "cannot listen on the address or port that was asked for"),
];

/// A page about one command, or about all.
struct Page {
    /// `download`, `dht-lookup`; empty for the overview.
    name: String,
    codes: Vec<&'static str>,
    files: Vec<Entry>,
    environment: Vec<Entry>,
    examples: List,
}

/// A term, and what there is to say of it.
type Entry = (&'static str, &'static str);

type List = &'static [Entry];

const STATE: (&str, &str) = (
    "$XDG_STATE_HOME/bitswarm/, or ~/.local/state/bitswarm/",
    "what a run needs to go on where the last one ended, under the path of its data directory; \
     --state-dir names another place. Lost, it costs one full check.",
);
const CONFIG: (&str, &str) =
    ("$XDG_CONFIG_HOME/bitswarm/config.toml, or ~/.config/bitswarm/config.toml", "settings");
const HOMES: [(&str, &str); 2] = [
    ("XDG_STATE_HOME, XDG_CONFIG_HOME, HOME", "where state is kept and settings are found"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "certificates that HTTPS servers are checked against"),
];
const VARIABLES: (&str, &str) = (
    "BITSWARM_DOWN, BITSWARM_NO_DHT, ...",
    "options of all runs, as in the settings' file, which they outrank; bitswarm config shows them",
);
const NO_COLOR: (&str, &str) =
    ("NO_COLOR", "if it is set and not empty, nothing is in colour, unless --color says otherwise");
const TERM: (&str, &str) = ("TERM", "dumb, or unset: plain lines instead of bars");
const TRANSFER_CODES: &[&str] = &["0", "1", "2", "4", "6", "7", "8", "9", "11", "13", "15"];
/// A torrent may have to be got from the web.
const READ_CODES: &[&str] = &["0", "1", "2", "4", "6", "11"];

/// The manual page with this name, such as `dht lookup` or `dht-lookup`; the overview if it is empty.
/// `None` if there is no such command.
pub(crate) fn page(mut command: Command, name: &str) -> Option<Vec<u8>> {
    // Built, so that the pages of commands know their full name.
    command.build();
    let mut found = &command;
    let mut path = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let fits = |sub: &&Command| {
            let after = rest.strip_prefix(sub.get_name());
            after.is_some_and(|after| after.is_empty() || after.starts_with(['-', ' ']))
        };
        found = below(found).find(fits)?;
        path.push(found.get_name());
        rest = rest[found.get_name().len()..].trim_start_matches(['-', ' ']);
    }
    Some(render(found, &Page::of(found, path.join("-"))))
}

fn render(command: &Command, page: &Page) -> Vec<u8> {
    let mut out = Vec::new();
    let man = Man::new(command.clone());
    let whole = "writing to memory does not fail";
    man.render_title(&mut out).expect(whole);
    man.render_name_section(&mut out).expect(whole);
    man.render_synopsis_section(&mut out).expect(whole);
    man.render_description_section(&mut out).expect(whole);
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut out).expect(whole);
    }
    let mut roff = Roff::new();
    if command.has_subcommands() {
        roff.control("SH", ["COMMANDS"]);
        for sub in below(command) {
            let title = format!("{} {}", command_line(&page.name), sub.get_name());
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            entry(&mut roff, &title, &about);
        }
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in CODES.iter().filter(|(code, _)| page.codes.contains(code)) {
        entry(&mut roff, code, meaning);
    }
    let lists = [("FILES", &page.files), ("ENVIRONMENT", &page.environment)];
    for (title, entries) in lists.into_iter().filter(|(_, entries)| !entries.is_empty()) {
        roff.control("SH", [title]);
        entries.iter().for_each(|(term, text)| entry(&mut roff, term, text));
    }
    if !page.examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        for (text, line) in page.examples {
            roff.control("PP", []);
            roff.text([roman(*text)]);
            roff.control("RS", ["4"]);
            roff.control("nf", []);
            roff.text([bold(*line)]);
            roff.control("fi", []);
            roff.control("RE", []);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(page.see_also(command))]);
    roff.to_writer(&mut out).expect(whole);
    out
}

fn command_line(name: &str) -> String {
    format!("bitswarm {}", name.replace('-', " ")).trim_end().to_owned()
}

fn entry(roff: &mut Roff, term: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text([roman(text)]);
}

impl Page {
    fn of(command: &Command, name: String) -> Self {
        let (codes, files, environment, examples) = contents(&name);
        let mut page = Page {
            // Whatever prints may find its output full, or unusable.
            codes: codes.iter().copied().chain(["9", "11"]).collect(),
            files: files.to_vec(),
            environment: environment.to_vec(),
            name,
            examples,
        };
        let has = |long: &str| command.get_arguments().any(|arg| arg.get_long() == Some(long));
        if has("state-dir") && !page.files.contains(&STATE) {
            page.files.push(STATE);
        }
        if has("color") {
            page.environment.extend([NO_COLOR, TERM]);
        }
        // What packagers run needs no settings.
        if !matches!(page.name.as_str(), "completions" | "man") {
            if !page.files.contains(&CONFIG) {
                page.files.push(CONFIG);
            }
            if !page.environment.contains(&HOMES[0]) {
                page.environment.push(HOMES[0]);
            }
            page.environment.push(VARIABLES);
        }
        page
    }

    /// The pages beside this one. Each is printed by `bitswarm man`.
    fn see_also(&self, command: &Command) -> String {
        let mut pages: Vec<String> = match self.name.rsplit_once('-') {
            _ if self.name.is_empty() => Vec::new(),
            Some((parent, _)) => vec![format!("bitswarm-{parent}(1)")],
            None => vec!["bitswarm(1)".to_owned()],
        };
        let prefix = if self.name.is_empty() { String::new() } else { format!("{}-", self.name) };
        let names = below(command).map(Command::get_name);
        pages.extend(names.map(|name| format!("bitswarm-{prefix}{name}(1)")));
        format!("{}. The command bitswarm man prints each of these pages.", pages.join(", "))
    }
}

/// Codes, files, environment and examples of a command.
fn contents(name: &str) -> (&'static [&'static str], List, List, List) {
    const TORRENT_DATE: List = &[(
        "SOURCE_DATE_EPOCH",
        "the date of creation in seconds since 1970, for builds that are to be repeated",
    )];
    const NO_ENTRIES: List = &[];
    match name {
        "" => (
            TRANSFER_CODES,
            &[STATE],
            &HOMES,
            &[
                (
                    "Download what a torrent describes, into a directory:",
                    "bitswarm download album.torrent -o Music",
                ),
                (
                    "Make a torrent and share its content until Ctrl-C:",
                    "bitswarm create album -o album.torrent -t http://tracker.example/announce\nbitswarm seed album.torrent --data .",
                ),
                ("See it all at work without a network:", "bitswarm demo"),
            ],
        ),
        "download" => (
            TRANSFER_CODES,
            &[STATE],
            &HOMES,
            &[
                (
                    "Get two files of a torrent, no faster than 2 MiB/s:",
                    "bitswarm download album.torrent --list\nbitswarm download album.torrent --files 1,3 --down 2MiB",
                ),
                (
                    "Get what a magnet link names, and go on sharing until as much was sent as it is long:",
                    "bitswarm download 'magnet:?xt=urn:btih:...' --seed-ratio 1",
                ),
            ],
        ),
        "seed" => (
            TRANSFER_CODES,
            &[STATE],
            &HOMES,
            &[(
                "Share Music/album, of which album.torrent was made:",
                "bitswarm seed album.torrent --data Music",
            )],
        ),
        "share" => (
            TRANSFER_CODES,
            &[STATE],
            &HOMES,
            &[("Share a directory, and print the link to give away:", "bitswarm share album")],
        ),
        "create" => (
            &["0", "1", "2", "4", "7", "9", "11"],
            NO_ENTRIES,
            TORRENT_DATE,
            &[
                ("Make album.torrent:", "bitswarm create album -t http://tracker.example/announce"),
                (
                    "Only the sound files, for clients that cannot use hybrids:",
                    "bitswarm create album --include '*.flac' --protocol v1",
                ),
            ],
        ),
        "edit" => (
            &["0", "1", "2", "4", "6", "9", "11"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[(
                "Replace all trackers by one:",
                "bitswarm edit album.torrent -t http://tracker.example/announce",
            )],
        ),
        "info" => (
            READ_CODES,
            NO_ENTRIES,
            NO_ENTRIES,
            &[(
                "Show a torrent, and read its infohash from a script:",
                "bitswarm info album.torrent\nbitswarm info album.torrent --json | jq -r .infohash_v1",
            )],
        ),
        "magnet" => (
            READ_CODES,
            NO_ENTRIES,
            NO_ENTRIES,
            &[("Print a link:", "bitswarm magnet album.torrent")],
        ),
        "lint" => (
            READ_CODES,
            NO_ENTRIES,
            NO_ENTRIES,
            &[("Look at all torrents here:", "bitswarm lint *.torrent")],
        ),
        "diff" => (
            &["0", "1", "2", "4", "6", "11", "13"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[("Compare two torrents:", "bitswarm diff old.torrent new.torrent")],
        ),
        "verify" => (
            &["0", "1", "2", "4", "6", "7", "11", "13"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[(
                "Compare Music/album with its torrent:",
                "bitswarm verify album.torrent --data Music",
            )],
        ),
        "metadata" => (
            &["0", "1", "2", "4", "6", "7", "8", "9", "11", "15"],
            NO_ENTRIES,
            &HOMES,
            &[(
                "Make a torrent file of a link:",
                "bitswarm metadata 'magnet:?xt=urn:btih:...' -o album.torrent",
            )],
        ),
        "tracker" => (
            &["0", "1", "2", "15"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[(
                "Run a tracker on port 6975 of all addresses, and see who announces:",
                "bitswarm tracker --listen :6975 -v",
            )],
        ),
        "scrape" => (
            &["0", "1", "2", "4", "6", "7", "11", "15"],
            NO_ENTRIES,
            &HOMES,
            &[("Ask how many peers a torrent has:", "bitswarm scrape album.torrent")],
        ),
        "dht-node" => (
            &["0", "1", "2", "11", "15"],
            &[STATE],
            &HOMES,
            &[("Run a node on port 6881:", "bitswarm dht node --port 6881")],
        ),
        "dht-lookup" => (
            &["0", "1", "2", "4", "6", "7", "11", "15"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[("Print the peers of a torrent:", "bitswarm dht lookup album.torrent")],
        ),
        "dht-put" => (
            &["0", "1", "2", "4", "6", "7", "11", "15"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[(
                "Store a text that can be replaced later:",
                "openssl rand -hex 32 > key\nbitswarm dht put hello --secret key",
            )],
        ),
        "dht-get" => (
            &["0", "1", "2", "6", "7", "15"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[(
                "Get what put has stored:",
                "bitswarm dht get 0123456789abcdef0123456789abcdef01234567",
            )],
        ),
        "dht-scrape" => (
            &["0", "1", "2", "4", "6", "7", "11", "15"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[("Count a torrent's peers:", "bitswarm dht scrape album.torrent")],
        ),
        "dht" => (
            &["0", "1", "2", "4", "6", "7", "11", "15"],
            &[STATE],
            &HOMES,
            &[("Print the peers of a torrent:", "bitswarm dht lookup album.torrent")],
        ),
        "demo" => (
            &["0", "1", "2", "7", "8", "9", "11", "13", "15"],
            &[(
                "$TMPDIR/bitswarm-demo-*",
                "the content, unless --dir names a place; removed at the end",
            )],
            &[("TMPDIR", "where the temporary directory is made")],
            &[("Pass 1 GiB between five downloaders:", "bitswarm demo --size 1GiB --peers 5")],
        ),
        "replay" => (
            &["0", "1", "2", "4", "11", "13"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[
                ("Record a run:", "bitswarm download album.torrent --record run.log"),
                ("Play it again:", "bitswarm replay run.log"),
            ],
        ),
        "forget" => (
            READ_CODES,
            &[STATE],
            &HOMES,
            &[
                (
                    "Have the next download begin with a full check:",
                    "bitswarm forget album.torrent --data Music",
                ),
                ("Forget all that is kept for a directory:", "bitswarm forget --all --data Music"),
            ],
        ),
        "config" => (
            &["0", "1", "2", "11"],
            &[CONFIG],
            &HOMES,
            &[("Show what is set, and where:", "bitswarm config")],
        ),
        "completions" => (
            &["0", "2"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[(
                "Complete commands, options and files in this shell:",
                "source <(bitswarm completions bash)",
            )],
        ),
        "man" => (
            &["0", "2"],
            NO_ENTRIES,
            NO_ENTRIES,
            &[("Read a page:", "bitswarm man download | man -l -")],
        ),
        _ => (&["0", "1", "2"], NO_ENTRIES, NO_ENTRIES, NO_ENTRIES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{self, page_names};

    fn text(name: Option<&str>) -> String {
        String::from_utf8(page(args::command(), name.unwrap_or_default()).unwrap())
            .unwrap()
            .replace("\\-", "-")
    }

    #[test]
    fn every_page_has_its_sections_and_names_only_pages_that_there_are() {
        let mut command = args::command();
        command.build();
        let names = page_names(&command);
        assert!(names.contains(&"dht-lookup".to_owned()) && names.len() > 20);
        let exists = |page: &str| {
            page == "bitswarm" || names.iter().any(|name| format!("bitswarm-{name}") == page)
        };
        let all = names.iter().map(|name| Some(name.as_str())).chain([None]);
        for name in all {
            let text = text(name);
            for section in ["NAME", "SYNOPSIS", "\"EXIT STATUS\"", "EXAMPLES", "\"SEE ALSO\""] {
                assert!(text.contains(&format!(".SH {section}")), "{name:?} {section}: {text}");
            }
            let words = text.split(|c: char| c.is_whitespace() || c == ',');
            let references: Vec<&str> =
                words.filter_map(|word| word.trim_end_matches('.').strip_suffix("(1)")).collect();
            assert!(!references.is_empty(), "{name:?}");
            for page in references {
                assert!(exists(page), "{name:?} names {page}");
            }
        }
        for name in names.iter().filter(|name| !["completions", "man"].contains(&name.as_str())) {
            let text = text(Some(name));
            for told in ["config.toml", "BITSWARM_DOWN", "\\fB2\\fR", "\\fB9\\fR", "\\fB11\\fR"] {
                assert!(text.contains(told), "{name} {told}: {text}");
            }
        }
        for name in ["info", "lint", "verify", "edit", "diff", "magnet"] {
            assert!(text(Some(name)).contains("\\fB6\\fR"), "{name} may get it from the web");
        }
        assert!(text(Some("verify")).contains("XDG_STATE_HOME/bitswarm"));
        assert!(
            text(Some("create")).contains("NO_COLOR") && !text(Some("info")).contains("NO_COLOR")
        );
        let download = text(Some("download"));
        assert!(download.contains("XDG_STATE_HOME") && download.contains(".SH FILES"));
        assert!(page(args::command(), "no-such").is_none());
        assert!(page(args::command(), "downloads").is_none());
        assert_eq!(text(Some("dht lookup")), text(Some("dht-lookup")));
        assert!(
            page(args::command(), "lookup").is_none() && page(args::command(), "dht x").is_none()
        );
    }
}
