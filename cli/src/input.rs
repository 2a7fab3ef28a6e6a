//! What the user names as INPUT: a torrent file or a magnet link.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bitswarm_core::http::Url;
use bitswarm_core::metainfo::{MAX_METAINFO_LEN, Magnet, Metainfo};
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::TorrentSource;

use crate::exit::{Code, Failure};

/// Reads and parses a torrent file or a magnet link.
pub(crate) fn load_any(input: &Path) -> Result<TorrentSource, Failure> {
    match input.to_str().filter(|text| is_link(text)) {
        Some(link) => magnet(link).map(TorrentSource::from),
        None => load(input).map(TorrentSource::from),
    }
}

/// The infohash of what is named by it, by a magnet link or by a torrent file.
pub(crate) fn infohash(input: &Path) -> Result<InfoHash, Failure> {
    infohash_and_trackers(input).map(|(infohash, _)| infohash)
}

/// The same, and the trackers that the link or the file names.
pub(crate) fn infohash_and_trackers(input: &Path) -> Result<(InfoHash, Vec<String>), Failure> {
    let text = input.to_str().unwrap_or_default();
    if let Ok(magnet) = format!("magnet:?xt=urn:btih:{text}").parse::<Magnet>() {
        return Ok((magnet.infohash, Vec::new()));
    }
    let looks_like_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if looks_like_one && !input.exists() {
        let message = format!("{text} is no infohash, which has 40 hexadecimal digits; see --help");
        return Err(Failure::new(Code::Usage, message));
    }
    let source = load_any(input)?;
    let trackers = match &source {
        TorrentSource::Metainfo(metainfo) => metainfo.trackers().concat(),
        TorrentSource::Magnet(magnet) => magnet.trackers.clone(),
    };
    Ok((source.infohash(), trackers))
}

/// Reads and parses a torrent file.
pub(crate) fn load(path: &Path) -> Result<Metainfo, Failure> {
    refuse_what_is_no_file(path)?;
    let bytes = read(path).map_err(|error| Failure::file("cannot read", path, &error))?;
    let metainfo = Metainfo::parse(&bytes)
        .map_err(|error| Failure::new(Code::BadInput, format!("{}: {error}", path.display())))?;
    // With -v: it takes a walk through the whole file.
    if tracing::enabled!(tracing::Level::INFO) {
        for finding in metainfo.lint().iter().filter(|finding| finding.is_left_out()) {
            tracing::info!("{}: left out: {finding}", path.display());
        }
    }
    Ok(metainfo)
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

fn refuse_what_is_no_file(path: &Path) -> Result<(), Failure> {
    let text = path.to_string_lossy().to_ascii_lowercase();
    let message = if is_link(&text) {
        "a torrent file is needed; bitswarm metadata MAGNET -o FILE makes one of a magnet link"
    } else if text.starts_with("http://") || text.starts_with("https://") {
        "addresses on the web are not supported yet; give a torrent file or a magnet link"
    } else {
        return Ok(());
    };
    Err(Failure::new(Code::BadInput, message))
}

/// The whole file; of a file that is too long for a torrent, no more than shows that it is.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_METAINFO_LEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
