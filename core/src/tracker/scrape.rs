//! Scraping: the numbers of swarms without taking part in them (BEP 48).

use serde::Serialize;

use super::announce::parse_answer;
use super::error::TrackerError;
use crate::bencode::Value;
use crate::http::{Url, percent};
use crate::piece::InfoHash;

/// Torrents in one request (BEP 15: "up to about 74"; a query of that many is below 5 KiB).
pub const MAX_SCRAPE: usize = 74;

/// Names one scrape to the application that asked for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct ScrapeId(pub(crate) u64);

/// The numbers of one swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ScrapeEntry {
    /// Which swarm.
    pub infohash: InfoHash,
    /// Seeds in it.
    pub complete: u64,
    /// Leeches in it.
    pub incomplete: u64,
    /// How many peers ever completed.
    pub downloaded: u64,
}

/// A tracker's answer to a scrape.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScrapeResponse {
    /// The swarms it knows of those asked for, and perhaps others: some trackers tell of all.
    pub entries: Vec<ScrapeEntry>,
}

/// The URL that scrapes `infohashes` at the tracker with this announce URL.
///
/// The last path segment must start with `announce`, which becomes `scrape`; otherwise the tracker
/// cannot be scraped (BEP 48, "scrape request"). At most [`MAX_SCRAPE`] torrents are asked for.
pub fn scrape_url(announce: &Url, infohashes: &[InfoHash]) -> Option<Url> {
    let (folder, name) = announce.path().rsplit_once('/')?;
    let rest = name.strip_prefix("announce")?;
    let mut query = String::new();
    for infohash in infohashes.iter().take(MAX_SCRAPE) {
        query.push_str(if query.is_empty() { "info_hash=" } else { "&info_hash=" });
        percent::encode_into(&mut query, &infohash.0);
    }
    Some(announce.with_path(&format!("{folder}/scrape{rest}")).with_query(&query))
}

impl ScrapeResponse {
    /// Reads the body of an HTTP tracker's answer.
    pub fn parse(body: &[u8]) -> Result<Self, TrackerError> {
        let document = parse_answer(body)?;
        let files = document.root().get("files").and_then(Value::as_dict);
        let files = files.ok_or(TrackerError::Malformed("it has no files"))?;
        Ok(ScrapeResponse { entries: files.filter_map(entry).collect() })
    }

    /// The numbers of one swarm, if the tracker knows it.
    pub fn get(&self, infohash: InfoHash) -> Option<ScrapeEntry> {
        self.entries.iter().copied().find(|entry| entry.infohash == infohash)
    }
}

fn entry((key, numbers): (&[u8], Value<'_>)) -> Option<ScrapeEntry> {
    let infohash = InfoHash(key.try_into().ok()?);
    let number = |name| numbers.get(name).and_then(Value::as_uint).unwrap_or(0);
    Some(ScrapeEntry {
        infohash,
        complete: number("complete"),
        incomplete: number("incomplete"),
        downloaded: number("downloaded"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn scrape(announce: &str, infohashes: &[InfoHash]) -> Option<String> {
        let url = scrape_url(&Url::parse(announce).unwrap(), infohashes)?;
        Some(url.target().to_owned())
    }

    #[test]
    fn scrape_url_follows_from_the_announce_url() {
        let hash = InfoHash([b'x'; 20]);
        let x = "xxxxxxxxxxxxxxxxxxxx";
        assert_eq!(
            scrape("http://t/a/announce.php?k=v", &[hash, hash]).unwrap(),
            format!("/a/scrape.php?k=v&info_hash={x}&info_hash={x}")
        );
        assert_eq!(scrape("http://t/announce", &[hash]).unwrap(), format!("/scrape?info_hash={x}"));
        assert_eq!(scrape("http://t/a", &[hash]), None);
        assert_eq!(scrape("http://t/announce/x", &[hash]), None);
    }

    #[test]
    fn example_of_bep_48_is_read() {
        let body = b"d5:filesd20:xxxxxxxxxxxxxxxxxxxxd8:completei11e10:downloadedi13772e\
            10:incompletei19ee20:yyyyyyyyyyyyyyyyyyyyd8:completei21e10:downloadedi206e\
            10:incompletei20eeee";
        let response = ScrapeResponse::parse(body).unwrap();
        assert_eq!(response.entries.len(), 2);
        let y = response.get(InfoHash([b'y'; 20])).unwrap();
        assert_eq!((y.complete, y.incomplete, y.downloaded), (21, 20, 206));
        assert_eq!(response.get(InfoHash([b'z'; 20])), None);
    }

    #[test]
    fn refusal_and_garbage_are_errors() {
        let error = |body: &[u8]| ScrapeResponse::parse(body).unwrap_err();
        assert!(matches!(error(b"d14:failure reason2:noe"), TrackerError::Refused { .. }));
        assert!(matches!(error(b"d5:filesi1ee"), TrackerError::Malformed(_)));
        assert!(matches!(error(b"d5:files"), TrackerError::Malformed(_)));
    }

    quickcheck! {
        fn any_bytes_are_an_answer_or_refused(bytes: Vec<u8>) -> bool {
            let mut body = format!("d5:filesd20:xxxxxxxxxxxxxxxxxxxx{}:", bytes.len()).into_bytes();
            body.extend(&bytes);
            body.extend(b"ee");
            let _ = ScrapeResponse::parse(&bytes);
            ScrapeResponse::parse(&body).is_ok()
        }
    }
}
