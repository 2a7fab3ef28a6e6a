//! `info`: shows what is in a torrent, or what a magnet link says. `--list` of download and seed uses its table of files.

use bitswarm_core::metainfo::{File, Magnet, Metainfo};
use bitswarm_core::piece::InfoHashV2;
use bitswarm_core::torrent::TorrentSource;
use serde_json::{Value, json};

use crate::args::Info;
use crate::commands::metadata::describe;
use crate::exit::Failure;
use crate::input;
use crate::output::{Object, print};
use crate::units::{Size, counted};

/// Shows a torrent as a table, or as one JSON object.
pub(crate) fn run(args: &Info) -> Result<(), Failure> {
    match input::load_any(&args.input)? {
        TorrentSource::Metainfo(metainfo) if args.json => object(&metainfo).print(),
        TorrentSource::Metainfo(metainfo) => print_table(&metainfo),
        TorrentSource::Magnet(magnet) if args.json => magnet_object(&magnet).print(),
        TorrentSource::Magnet(magnet) => {
            describe(&magnet).iter().try_for_each(|(label, text)| row(label, text))
        }
    }
}

/// What `--json` prints of a magnet link.
fn magnet_object(magnet: &Magnet) -> Object {
    let v1 = (!magnet.is_v2_only()).then(|| magnet.infohash.to_string());
    let v2 = magnet.v2.map(|v2| v2.to_string());
    let peers = magnet.peers.iter().map(ToString::to_string);
    Object::new()
        .with("name", magnet.name.as_deref())
        .with("infohash_v1", v1)
        .with("infohash_v2", v2)
        .with("trackers", magnet.trackers.clone())
        .with("web_seeds", magnet.web_seeds.clone())
        .with("peers", peers.collect::<Vec<_>>())
        .with("only_files", magnet.select.as_ref().map(ToString::to_string))
}

/// What `--json` prints.
pub(crate) fn object(metainfo: &Metainfo) -> Object {
    let nodes = metainfo.nodes().iter().map(|(host, port)| json!([host, port]));
    let similar = metainfo.similar().iter().map(ToString::to_string);
    Object::new()
        .with("name", metainfo.name())
        .with("infohash_v1", metainfo.infohash_v1().map(|hash| hash.to_string()))
        .with("infohash_v2", metainfo.infohash_v2().map(|hash| hash.to_string()))
        .with("meta_version", if metainfo.has_v2() { 2 } else { 1 })
        .with("piece_length", metainfo.geometry().piece_len())
        .with("pieces", metainfo.geometry().pieces())
        .with("total_size", size_of_files(metainfo))
        .with("files", files_json(metainfo))
        .with("links", links_json(metainfo))
        .with("private", metainfo.is_private())
        .with("trackers", metainfo.trackers().to_vec())
        .with("comment", metainfo.comment())
        .with("created_by", metainfo.created_by())
        .with("creation_date", metainfo.creation_date())
        .with("source", metainfo.source())
        .with("web_seeds", metainfo.web_seeds().to_vec())
        .with("nodes", nodes.collect::<Vec<_>>())
        .with("similar", similar.collect::<Vec<_>>())
        .with("collections", metainfo.collections().to_vec())
}

/// The files as a JSON array, in the order in which `--files` counts them.
pub(crate) fn files_json(metainfo: &Metainfo) -> Vec<Value> {
    let files = metainfo.files().iter().enumerate().filter(|(_, file)| file.is_stored());
    let object = |(index, file): (usize, &File)| {
        let root = metainfo.pieces_root(index).map(|root| InfoHashV2(root).to_string());
        let attributes = file.attributes();
        json!({
            "path": file.path(),
            "length": file.length(),
            "pieces_root": root,
            "executable": attributes.executable,
            "hidden": attributes.hidden,
        })
    };
    files.map(object).collect()
}

/// The symbolic links: where they lead, null if to nothing in the torrent.
fn links_json(metainfo: &Metainfo) -> Vec<Value> {
    links(metainfo).map(|(path, target)| json!({ "path": path, "target": target })).collect()
}

/// Symbolic links, and where they lead if it is to something in the torrent.
pub(crate) fn links(metainfo: &Metainfo) -> impl Iterator<Item = (&str, Option<&str>)> {
    let links = metainfo.files().iter().enumerate();
    let links = links.filter(|(_, file)| file.is_link());
    links.map(|(index, file)| (file.path(), metainfo.link_target(index)))
}

/// Its infohashes, in words.
pub(crate) fn infohashes(metainfo: &Metainfo) -> String {
    let v1 = metainfo.infohash_v1().map(|hash| format!("infohash {hash}"));
    let v2 = metainfo.infohash_v2().map(|hash| format!("infohash v2 {hash}"));
    v1.into_iter().chain(v2).collect::<Vec<_>>().join(", ")
}

/// The bytes of the files listed.
pub(crate) fn size_of_files(metainfo: &Metainfo) -> u64 {
    metainfo.numbered_files().map(File::length).sum()
}

fn print_table(metainfo: &Metainfo) -> Result<(), Failure> {
    let geometry = metainfo.geometry();
    let size = size_of_files(metainfo);
    row("name", metainfo.name())?;
    if let Some(hash) = metainfo.infohash_v1() {
        row("infohash", &hash.to_string())?;
    }
    if let Some(hash) = metainfo.infohash_v2() {
        row("infohash v2", &hash.to_string())?;
    }
    row("protocol", protocol(metainfo))?;
    row("size", &format!("{} ({})", Size(size), counted(size, "byte", "bytes")))?;
    let piece_len = Size(geometry.piece_len().into());
    row("pieces", &format!("{} of {piece_len}", geometry.pieces()))?;
    row("private", if metainfo.is_private() { "yes" } else { "no" })?;
    for (number, tier) in (1..).zip(metainfo.trackers()) {
        for url in tier {
            row(&format!("tracker, tier {number}"), url)?;
        }
    }
    for url in metainfo.web_seeds() {
        row("web seed", url)?;
    }
    for (host, port) in metainfo.nodes() {
        row("DHT node", &format!("{host} port {port}"))?;
    }
    let date = metainfo.creation_date().map(date);
    let texts = [
        ("source", metainfo.source()),
        ("comment", metainfo.comment()),
        ("created by", metainfo.created_by()),
        ("created", date.as_deref()),
    ];
    for (label, text) in texts {
        if let Some(text) = text {
            row(label, text)?;
        }
    }
    for hash in metainfo.similar() {
        row("similar to", &hash.to_string())?;
    }
    for name in metainfo.collections() {
        row("collection", name)?;
    }
    row("files", &metainfo.file_count().to_string())?;
    print_files(metainfo)?;
    for (path, target) in links(metainfo) {
        row("link", &format!("{path} -> {}", target.unwrap_or("nothing in the torrent")))?;
    }
    Ok(())
}

fn protocol(metainfo: &Metainfo) -> &'static str {
    match (metainfo.has_v1(), metainfo.has_v2(), metainfo.has_piece_layers()) {
        (true, true, true) => "v1 and v2 (hybrid)",
        (true, true, false) => "v1 and v2 (hybrid), without the piece layers of v2",
        (false, ..) => "v2",
        (true, false, _) => "v1",
    }
}

/// One line a file: its number, its length, its path, its attributes if it has any.
pub(crate) fn print_files(metainfo: &Metainfo) -> Result<(), Failure> {
    for (number, file) in (1..).zip(metainfo.numbered_files()) {
        let attributes = file.attributes();
        let marks = match (attributes.executable, attributes.hidden) {
            (false, false) => "",
            (true, false) => "  (executable)",
            (false, true) => "  (hidden)",
            (true, true) => "  (executable, hidden)",
        };
        print(&format!("{number:>6}  {:>10}  {}{marks}", Size(file.length()), file.path()))?;
    }
    Ok(())
}

fn row(label: &str, text: &str) -> Result<(), Failure> {
    print(&format!("{label:<16}{text}"))
}

/// Seconds since 1970 as a date and time in UTC; as a number if the year would not have four digits.
fn date(seconds: i64) -> String {
    const LAST_OF_9999: i64 = 253_402_300_799;
    if !(0..=LAST_OF_9999).contains(&seconds) {
        return format!("{seconds} seconds since 1970");
    }
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of the day this many days after 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year; 400 years have
/// 146,097 days, and month lengths from March on follow `(153 m + 2) / 5`.
fn civil(days: i64) -> (i64, i64, i64) {
    let since_march_0 = days + 719_468;
    let (era, day_of_era) = (since_march_0 / 146_097, since_march_0 % 146_097);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_709_251_199), "2024-02-29 23:59:59 UTC");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00 UTC");
        assert_eq!(date(253_402_300_799), "9999-12-31 23:59:59 UTC");
        assert_eq!(date(-1), "-1 seconds since 1970");
        assert_eq!(date(i64::MAX), "9223372036854775807 seconds since 1970");
    }
}
