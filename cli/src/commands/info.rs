//! `info`: shows what is in a torrent, or what a magnet link says.

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::torrent::TorrentSource;
use time::OffsetDateTime;

use crate::args::Info;
use crate::describe::{self, links, print_files, protocol, size_of_files};
use crate::exit::Failure;
use crate::input;
use crate::output::print;
use crate::units::{Size, counted};

/// Shows a torrent as a table, or as one JSON object.
pub(crate) fn run(args: &Info) -> Result<(), Failure> {
    match input::load_any(&args.input)? {
        TorrentSource::Metainfo(metainfo) if args.json => describe::object(&metainfo).print(),
        TorrentSource::Metainfo(metainfo) => print_table(&metainfo),
        TorrentSource::Magnet(magnet) if args.json => describe::magnet_object(&magnet).print(),
        TorrentSource::Magnet(magnet) => {
            describe::magnet_rows(&magnet).iter().try_for_each(|(label, text)| row(label, text))
        }
    }
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

fn row(label: &str, text: &str) -> Result<(), Failure> {
    print(&format!("{label:<16}{text}"))
}

/// Seconds since 1970 as a date and time in UTC; as a number if the year would not have four digits.
fn date(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(at) if (1970..=9999).contains(&at.year()) => {
            let (year, month, day) = at.to_calendar_date();
            let (hour, minute, second) = at.to_hms();
            let month = u8::from(month);
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
        }
        _ => format!("{seconds} seconds since 1970"),
    }
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
