//! What the user names as a torrent: a file, a magnet link, an infohash, an address on the web, or
//! what comes in on stdin.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bitswarm_core::http::Url;
use bitswarm_core::metainfo::{MAX_METAINFO_LEN, Magnet, Metainfo};
use bitswarm_core::piece::{InfoHash, InfoHashV2};
use bitswarm_core::torrent::TorrentSource;

use crate::args::{Inputs, parse_hex};
use crate::exit::{Code, Failure};
use crate::fetch::{self, Reach};
use crate::kinds;

/// Names stdin.
const STDIN: &str = "-";

/// Longest list of inputs that is read (chosen: a hundred thousand magnet links).
const MAX_LIST_LEN: u64 = 64 << 20;

/// What a name given by the user stands for.
enum Named<'a> {
    File(&'a Path),
    Link(&'a str),
    Hash(Magnet),
    Web(&'a str),
    Stdin,
}

impl<'a> Named<'a> {
    fn of(input: &'a Path) -> Self {
        match input.to_str() {
            Some(STDIN) => Named::Stdin,
            Some(text) if is_link(text) => Named::Link(text),
            Some(text) if fetch::is_web_address(text) => Named::Web(text),
            // A file of such a name was meant: it is there.
            Some(text) if !input.exists() => {
                bare_hash(text).map_or(Named::File(input), Named::Hash)
            }
            _ => Named::File(input),
        }
    }
}

/// A link to nothing but an infohash: 40 hexadecimal or 32 base32 digits are one of v1, 64
/// hexadecimal digits one of v2.
fn bare_hash(text: &str) -> Option<Magnet> {
    if let Ok(hash) = parse_hex(text) {
        return Some(Magnet::new_v2(InfoHashV2(hash)));
    }
    let is_hash = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_hash.then(|| format!("magnet:?xt=urn:btih:{text}").parse().ok()).flatten()
}

/// Reads and parses whatever names a torrent.
pub(crate) fn load_any(input: &Path) -> Result<TorrentSource, Failure> {
    load_any_within(input, &Reach::default())
}

/// The same; what lies on the web is got within this reach.
pub(crate) fn load_any_within(input: &Path, reach: &Reach) -> Result<TorrentSource, Failure> {
    let bytes = match Named::of(input) {
        Named::Link(link) => return magnet(link).map(TorrentSource::from),
        Named::Hash(magnet) => return Ok(magnet.into()),
        Named::File(path) => read_file(path)?,
        Named::Web(address) => fetch::fetch(address, reach)?.to_vec(),
        Named::Stdin => read_stdin()?,
    };
    // Programs hand links on as text.
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok(link) if is_link(link) => match magnet(link) {
            Ok(magnet) => Ok(magnet.into()),
            Err(error) => Err(Failure::new(Code::BadInput, format!("{}: {error}", shown(input)))),
        },
        _ => parse(&bytes, input).map(TorrentSource::from),
    }
}

/// Reads and parses a torrent, which must be there as a whole.
pub(crate) fn load(input: &Path) -> Result<Metainfo, Failure> {
    load_within(input, &Reach::default())
}

/// The same; what lies on the web is got within this reach.
pub(crate) fn load_within(input: &Path, reach: &Reach) -> Result<Metainfo, Failure> {
    load_any_within(input, reach).and_then(whole)
}

/// The torrent, unless only its infohash is known.
pub(crate) fn whole(source: TorrentSource) -> Result<Metainfo, Failure> {
    match source {
        TorrentSource::Metainfo(metainfo) => Ok(Arc::unwrap_or_clone(metainfo)),
        TorrentSource::Magnet(magnet) => {
            let hash = shown_hash(&magnet);
            Err(Failure::new(
                Code::BadInput,
                format!(
                    "of {hash} only the infohash is known, and a torrent file is needed; \
                     bitswarm metadata {hash} -o FILE makes one, asking peers"
                ),
            ))
        }
    }
}

fn shown_hash(magnet: &Magnet) -> String {
    match magnet.v2.filter(|_| magnet.is_v2_only()) {
        Some(v2) => v2.to_string(),
        None => magnet.infohash.to_string(),
    }
}

/// The infohash of whatever names a torrent.
pub(crate) fn infohash(input: &Path) -> Result<InfoHash, Failure> {
    infohash_and_trackers(input, &Reach::default()).map(|(infohash, _)| infohash)
}

/// The same, and the trackers that are named with it.
pub(crate) fn infohash_and_trackers(
    input: &Path,
    reach: &Reach,
) -> Result<(InfoHash, Vec<String>), Failure> {
    let source = load_any_within(input, reach)?;
    let trackers = match &source {
        TorrentSource::Metainfo(metainfo) => metainfo.trackers().concat(),
        TorrentSource::Magnet(magnet) => magnet.trackers.clone(),
    };
    Ok((source.infohash(), trackers))
}

/// Torrents that the user names by infohash or torrent file.
pub(crate) fn similar(names: &[PathBuf]) -> Result<Vec<InfoHash>, Failure> {
    let named = |name: &PathBuf| {
        let text = name.to_str().unwrap_or_default();
        if let Ok(hash) = parse_hex(text) {
            return Ok(InfoHash(hash));
        }
        // BEP 38 knows 20 bytes: of v2 alone the first, by which it is known to peers.
        match parse_hex(text) {
            Ok(hash) => Ok(InfoHashV2(hash).truncated()),
            Err(_) => infohash(name),
        }
    };
    names.iter().map(named).collect()
}

/// Whether this is meant as a magnet link, whether it is one or not.
pub(crate) fn is_link(text: &str) -> bool {
    text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"))
}

/// Parses a magnet link.
pub(crate) fn magnet(text: &str) -> Result<Magnet, Failure> {
    let magnet =
        text.parse::<Magnet>().map_err(|error| Failure::new(Code::BadInput, error.to_string()))?;
    for what in Magnet::left_out(text) {
        tracing::info!("left out of the magnet link: {what}");
    }
    for url in &magnet.trackers {
        if let Err(why) = Url::parse(url) {
            tracing::info!("left out of the magnet link: tr={url}: {why}");
        }
    }
    Ok(magnet)
}

/// Whether the torrent lies in a file that could be written.
pub(crate) fn is_file(input: &Path) -> bool {
    matches!(Named::of(input), Named::File(_))
}

/// The name for messages.
pub(crate) fn shown(input: &Path) -> String {
    match Named::of(input) {
        Named::Stdin => "standard input".to_owned(),
        Named::Web(address) => bitswarm_core::http::Url::parse(address)
            .map_or_else(|_| "the web address".to_owned(), |url| url.to_string()),
        _ => input.display().to_string(),
    }
}

fn parse(bytes: &[u8], input: &Path) -> Result<Metainfo, Failure> {
    let metainfo = Metainfo::parse(bytes).map_err(|error| {
        let input = shown(input);
        let message = match kinds::describe(bytes) {
            Some(what) => format!("{input} is {what}"),
            None => format!("{input}: {error}"),
        };
        Failure::new(Code::BadInput, message)
    })?;
    // With -v: it takes a walk through the whole file.
    if tracing::enabled!(tracing::Level::INFO) {
        for finding in metainfo.lint().iter().filter(|finding| finding.is_left_out()) {
            tracing::info!("{}: left out: {finding}", shown(input));
        }
    }
    Ok(metainfo)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let text = path.to_string_lossy();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number && !path.exists() {
        let message = format!(
            "{text} is no infohash, which has 40 or 64 hexadecimal digits, and no file; see --help"
        );
        return Err(Failure::new(Code::Usage, message));
    }
    if let Some((scheme, _)) = text.split_once("://").filter(|_| !path.exists()) {
        let message = format!(
            "nothing is got over {scheme}://; give an http:// or https:// address, a magnet link or a file"
        );
        return Err(Failure::new(Code::Usage, message));
    }
    let bytes = File::open(path).and_then(|file| read(file, MAX_METAINFO_LEN as u64));
    bytes.map_err(|error| Failure::file("cannot read", path, &error))
}

/// All of stdin, which can be read once.
fn read_stdin() -> Result<Vec<u8>, Failure> {
    take_stdin(MAX_METAINFO_LEN as u64)
}

fn take_stdin(most: u64) -> Result<Vec<u8>, Failure> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        let message = "- names standard input twice, and it can be read once";
        return Err(Failure::new(Code::Usage, message));
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let message = "- reads from standard input, which is a terminal; redirect it";
        return Err(Failure::new(Code::Usage, message));
    }
    let bytes = read(stdin.lock(), most);
    bytes.map_err(|error| Failure::file("cannot read", Path::new("standard input"), &error))
}

/// Everything; of what is longer than that, no more than shows that it is.
fn read(from: impl io::Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All inputs of a run, those in lists last.
pub(crate) fn named(inputs: &Inputs) -> Result<Vec<PathBuf>, Failure> {
    let mut all = inputs.inputs.clone();
    all.extend(listed_in(&inputs.input_files)?);
    if all.is_empty() {
        let message = "the lists name no torrent; write an input on each line";
        return Err(Failure::new(Code::Usage, message));
    }
    Ok(all)
}

/// The inputs that lists name, a line each. What is empty or begins with `#` is skipped.
fn listed_in(lists: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut inputs = Vec::new();
    for list in lists {
        let bytes = match list.to_str() {
            Some(STDIN) => take_stdin(MAX_LIST_LEN)?,
            _ => File::open(list)
                .and_then(|file| read(file, MAX_LIST_LEN))
                .map_err(|error| Failure::file("cannot read the list", list, &error))?,
        };
        if bytes.len() as u64 > MAX_LIST_LEN {
            let message = format!(
                "the list {} is longer than {MAX_LIST_LEN} bytes; split it",
                list.display()
            );
            return Err(Failure::new(Code::BadInput, message));
        }
        inputs.extend(lines(&bytes));
    }
    Ok(inputs)
}

fn lines(list: &[u8]) -> impl Iterator<Item = PathBuf> + '_ {
    // Some editors begin a text so.
    let list = list.strip_prefix("\u{feff}".as_bytes()).unwrap_or(list);
    let lines = list.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")).map(path)
}

#[cfg(unix)]
fn path(line: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(line))
}

#[cfg(not(unix))]
fn path(line: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_infohashes_are_links_to_nothing_else() {
        let v1 = "00112233445566778899AABBCCDDEEFF00112233";
        let magnet = bare_hash(v1).unwrap();
        assert_eq!(magnet.infohash.to_string(), v1.to_lowercase());
        assert_eq!((magnet.v2, magnet.trackers.len()), (None, 0));
        let base32 = bare_hash("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").unwrap();
        assert_eq!(base32.infohash.to_string(), "00443214c74254b635cf84653a56d7c675be77df");
        let v2 = bare_hash(&"ab".repeat(32)).unwrap();
        assert!(v2.is_v2_only());
        assert_eq!(v2.v2.unwrap().to_string(), "ab".repeat(32));
        for text in ["", "a.torrent", &v1[1..], "x&so=0", &"g".repeat(40), &"1".repeat(32)] {
            assert!(bare_hash(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_list_has_an_input_a_line() {
        let list =
            b"\xef\xbb\xbf# ours\n a.torrent \r\n\nmagnet:?xt=urn:btih:x#y\n  # more\nb c.torrent";
        let inputs: Vec<PathBuf> = lines(list).collect();
        let expected = ["a.torrent", "magnet:?xt=urn:btih:x#y", "b c.torrent"].map(PathBuf::from);
        assert_eq!(inputs, expected);
    }
}
