//! What is unusual or harmful in a torrent file that can be read all the same.
//!
//! Nothing here decides what is accepted: `parse` has done that. A finding says what is in the
//! file and what comes of it. The work is in proportion to the file.

mod finding;

use std::collections::BTreeSet;

use super::fields::raw_path;
use super::path::{PathRules, component};
use super::{File, MAX_HINTS, MAX_NODES_ASKED, MAX_TRACKERS, Metainfo, tree};
use crate::bencode::{Document, Limits, Value};
use crate::http::Url;
use crate::piece::{BLOCK_LEN, Sha256Hash};

pub use finding::Finding;

/// Most names listed of each kind (chosen: a thousand findings of one kind say no more than ten).
const MAX_EACH: usize = 10;

/// More pieces than this make the file large and the start slow (chosen).
const MANY_PIECES: u32 = 50_000;

/// Content past this in so few pieces, in bytes, makes every wrong byte and every late peer dear
/// (chosen).
const FEW_PIECES: (u64, u32) = (1 << 30, 64);

/// Longest component that common file systems store when it is encrypted, in bytes (eCryptfs).
const LONG_NAME: usize = 143;

impl Metainfo {
    /// What is unusual or harmful in it; nothing if nothing is.
    pub fn lint(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        // It was parsed with these limits.
        if let Ok(document) = Document::parse_prefix(&self.bytes, Limits::METAINFO) {
            encoding(self, &document, &mut findings);
            layers(self, document.root(), &mut findings);
            hints(document.root(), &mut findings);
            trackers(document.root(), &mut findings);
            if let Some(info) = document.root().get("info") {
                let renamed = renamed(self, info);
                let renamed = renamed.map(|stored_as| Finding::Renamed { stored_as });
                push_some(&mut findings, renamed);
            }
        }
        pieces(self, &mut findings);
        names(self, &mut findings);
        sources(self, &mut findings);
        findings
    }
}

fn encoding(metainfo: &Metainfo, document: &Document<'_>, findings: &mut Vec<Finding>) {
    if !is_canonical(document.root()) {
        findings.push(Finding::NotCanonical);
    }
    let len = metainfo.bytes.len().saturating_sub(document.consumed());
    if len > 0 {
        findings.push(Finding::BytesAfterEnd { len });
    }
}

/// Whether everything is written as BEP 3 wants it.
fn is_canonical(root: Value<'_>) -> bool {
    let mut waiting = vec![root];
    while let Some(value) = waiting.pop() {
        if let Some(entries) = value.as_dict() {
            let (mut last, mut start) = (None, value.span().start + 1);
            for (key, child) in entries {
                let key_len = child.span().start.saturating_sub(start);
                let is_sorted = last.replace(key).is_none_or(|last| last < key);
                if !is_sorted || key_len != string_len(key) {
                    return false;
                }
                start = child.span().end;
                waiting.push(child);
            }
        } else if let Some(list) = value.as_list() {
            waiting.extend(list);
        } else if let Some(bytes) = value.as_bytes() {
            if value.raw().len() != string_len(bytes) {
                return false;
            }
        } else if let Some(number) = value.as_int()
            && value.raw() != format!("i{number}e").as_bytes()
        {
            return false;
        }
    }
    true
}

/// Bytes that a string takes as it should be written.
fn string_len(content: &[u8]) -> usize {
    let digits = content.len().checked_ilog10().unwrap_or_default() as usize + 1;
    digits + 1 + content.len()
}

fn layers(metainfo: &Metainfo, root: Value<'_>, findings: &mut Vec<Finding>) {
    if !metainfo.has_v2() {
        return;
    }
    let Some(entries) = root.get("piece layers").and_then(Value::as_dict) else {
        let is_long = |file: usize| metainfo.tree_shape(file).is_some_and(|s| s.has_piece_layer());
        if (0..metainfo.files.len()).any(is_long) {
            findings.push(Finding::NoLayers);
        }
        return;
    };
    let used: BTreeSet<Sha256Hash> = (0..metainfo.files.len())
        .filter(|&file| metainfo.files.get(file).is_some_and(|file| file.layer.is_some()))
        .filter_map(|file| metainfo.pieces_root(file))
        .collect();
    let is_used = |root: &[u8]| Sha256Hash::try_from(root).is_ok_and(|root| used.contains(&root));
    let layers = entries.filter(|(root, _)| !is_used(root)).count();
    if layers > 0 {
        findings.push(Finding::UnusedLayers { layers });
    }
}

fn hints(root: Value<'_>, findings: &mut Vec<Finding>) {
    let lists = [root.get("info"), Some(root)].into_iter().flatten();
    let entries = lists.filter_map(|dict| dict.get("similar")?.as_list()).flatten();
    let is_odd = |entry: &Value<'_>| entry.as_bytes().is_none_or(|hash| hash.len() != 20);
    let entries = entries.filter(is_odd).count();
    if entries > 0 {
        findings.push(Finding::OddSimilar { entries });
    }
    for key in ["similar", "collections"] {
        let lists = [root.get("info"), Some(root)].into_iter().flatten();
        let entries = lists.filter_map(|dict| dict.get(key)?.as_list()).flatten().count();
        if entries > MAX_HINTS {
            findings.push(Finding::ManyHints { key, entries });
        }
    }
}

fn trackers(root: Value<'_>, findings: &mut Vec<Finding>) {
    let tiers = root.get("announce-list").and_then(Value::as_list).into_iter().flatten();
    let trackers = tiers.map(|tier| tier.as_list().map_or(1, Iterator::count)).sum();
    if trackers > MAX_TRACKERS {
        findings.push(Finding::ManyTrackers { trackers });
    }
}

/// The first few findings of one kind, and how many more there are.
fn push_some(findings: &mut Vec<Finding>, mut found: impl Iterator<Item = Finding>) {
    findings.extend(found.by_ref().take(MAX_EACH));
    if let Some(first) = found.next() {
        let count = found.count().saturating_add(1);
        findings.push(Finding::More { word: first.word(), count });
    }
}

fn pieces(metainfo: &Metainfo, findings: &mut Vec<Finding>) {
    let geometry = &metainfo.geometry;
    let (len, count) = (geometry.piece_len(), geometry.pieces());
    if !len.is_power_of_two() || len < BLOCK_LEN {
        findings.push(Finding::OddPieceLength(len));
    }
    if count > MANY_PIECES {
        findings.push(Finding::ManyPieces(count));
    }
    let (much, few) = FEW_PIECES;
    if geometry.total_len() > much && count < few {
        findings.push(Finding::FewPieces(count));
    }
    let is_unaligned = |file: &&File| {
        file.is_stored()
            && file.length > 0
            && tree::align(file.offset, len.into()) != Some(file.offset)
    };
    let files = metainfo.files.iter().filter(is_unaligned).count();
    if files > 0 {
        let is_padded = metainfo.files.iter().any(|file| file.attributes.pad);
        findings.push(Finding::Unaligned { files, is_padded });
    }
}

fn names(metainfo: &Metainfo, findings: &mut Vec<Finding>) {
    let mut each = |found: &mut dyn Iterator<Item = Finding>| push_some(findings, found);
    let stored = || metainfo.files.iter().enumerate().filter(|(_, file)| file.is_stored());
    let path = |file: &File| file.path.clone();
    let for_windows = |name: &str| component(name.as_bytes(), PathRules::Windows) == name;
    each(
        &mut stored()
            .filter(|(_, file)| !file.path.split('/').all(for_windows))
            .map(|(_, file)| Finding::NotForWindows { path: path(file) }),
    );
    let is_long = |file: &File| file.path.split('/').any(|name| name.len() > LONG_NAME);
    each(
        &mut stored()
            .filter(|(_, file)| is_long(file))
            .map(|(_, file)| Finding::LongName { path: path(file) }),
    );
    let dangling = metainfo
        .files
        .iter()
        .enumerate()
        .filter(|(index, file)| file.is_link() && metainfo.link_target(*index).is_none());
    each(&mut dangling.map(|(_, file)| Finding::DanglingLink { path: path(file) }));
}

/// The names of what cannot or must not have its own: the torrent, then its files.
fn renamed(metainfo: &Metainfo, info: Value<'_>) -> impl Iterator<Item = String> {
    let mut renamed = Vec::new();
    let raw_name = info.get("name.utf-8").or_else(|| info.get("name")).and_then(Value::as_bytes);
    if raw_name != Some(metainfo.name.as_bytes()) {
        renamed.push(metainfo.name.clone());
    }
    let mut files = metainfo.files.iter();
    let mut compare = |file: Option<&File>, is_same: bool| {
        if let Some(file) = file.filter(|file| file.is_stored() && !is_same) {
            renamed.push(file.path.clone());
        }
    };
    let is_path = |file: &File, raw: &mut dyn Iterator<Item = &[u8]>| {
        file.path.split('/').map(str::as_bytes).eq(raw)
    };
    if let Some(list) = info.get("files").and_then(Value::as_list).filter(|_| metainfo.has_v1()) {
        for (file, entry) in files.zip(list) {
            let raw = raw_path(entry).and_then(Value::as_list);
            let mut raw = raw.into_iter().flatten().filter_map(Value::as_bytes);
            compare(Some(file), is_path(file, &mut raw));
        }
    } else if let Some(tree) = info.get("file tree").filter(|_| !metainfo.has_v1()) {
        // That the tree can be walked was seen before.
        let _ = tree::walk(tree, |_, path, _| {
            let file = files.find(|file| !file.attributes.pad);
            let is_same = file.is_some_and(|file| is_path(file, &mut path.iter().copied()));
            compare(file, is_same);
            Ok(())
        });
    }
    renamed.into_iter()
}

fn sources(metainfo: &Metainfo, findings: &mut Vec<Finding>) {
    if metainfo.is_private && metainfo.trackers().is_empty() {
        findings.push(Finding::PrivateWithoutTracker);
    }
    if metainfo.is_private && !metainfo.nodes().is_empty() {
        findings.push(Finding::PrivateWithNodes);
    }
    let nodes = metainfo.nodes().len();
    if !metainfo.is_private && nodes > MAX_NODES_ASKED {
        findings.push(Finding::ManyNodes { nodes });
    }
    let has_scheme = |url: &str, schemes: &[&str]| {
        url.split_once("://").is_some_and(|(scheme, rest)| {
            !rest.is_empty() && schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme))
        })
    };
    let unknown = metainfo.trackers().iter().flatten();
    let unknown = unknown.filter(|url| Url::parse(url).is_err());
    let finding = |url: &String| Finding::UnknownTracker { url: url.clone() };
    push_some(findings, unknown.map(finding));
    let unknown =
        metainfo.web_seeds().iter().filter(|url| !has_scheme(url, &["http", "https", "ftp"]));
    let finding = |url: &String| Finding::UnknownWebSeed { url: url.clone() };
    push_some(findings, unknown.map(finding));
    if let Some(date) = metainfo.creation_date().filter(|&date| date < 0) {
        findings.push(Finding::OddDate(date));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::Edit;
    use crate::metainfo::create::{Creator, NewFile, Protocol};

    fn findings(torrent: &[u8]) -> Vec<Finding> {
        Metainfo::from_bytes(torrent.to_vec().into(), PathRules::Unix).unwrap().lint()
    }

    fn of_v1(rest: &str) -> Vec<Finding> {
        let hash = "a".repeat(20);
        findings(
            format!("d{rest}4:infod6:lengthi5e4:name1:a12:piece lengthi16384e6:pieces20:{hash}ee")
                .as_bytes(),
        )
    }

    #[test]
    fn a_torrent_as_it_should_be_has_no_findings() {
        let files = [NewFile::new(["a"], 40_000), NewFile::new(["b", "c"], 7)];
        for protocol in [Protocol::V2, Protocol::Hybrid] {
            let creator = Creator::folder("top", files.clone()).with_protocol(protocol);
            assert_eq!(creator.finish_with_content(&[5; 40_007]).unwrap().lint(), []);
        }
        assert_eq!(of_v1(""), []);
    }

    #[test]
    fn files_that_share_pieces_are_named_unless_they_are_padded() {
        let files = [NewFile::new(["a"], 40_000), NewFile::new(["b"], 7), NewFile::new(["c"], 7)];
        let torrent = Creator::folder("top", files).finish_with_content(&[5; 40_014]).unwrap();
        assert_eq!(torrent.lint(), [Finding::Unaligned { files: 2, is_padded: false }]);
    }

    #[test]
    fn encodings_that_others_would_change_are_harmful() {
        assert_eq!(of_v1("7:comment1:a8:announce0:"), [Finding::NotCanonical]);
        assert_eq!(of_v1("07:comment1:a"), [Finding::NotCanonical]);
        assert_eq!(of_v1("13:creation datei007e"), [Finding::NotCanonical]);
        assert!(of_v1("13:creation datei007e")[0].is_harmful());
        assert_eq!(of_v1("13:creation datei-7e"), [Finding::OddDate(-7)]);
        let torrent = Creator::single_file("a", 5).finish_with_content(b"12345").unwrap();
        let longer = [&torrent.to_bytes()[..], b"xy"].concat();
        assert_eq!(findings(&longer), [Finding::BytesAfterEnd { len: 2 }]);
    }

    #[test]
    fn private_torrents_need_a_tracker_and_no_nodes() {
        let mut creator = Creator::single_file("a", 5);
        creator.private = true;
        creator.nodes = vec![("n".into(), 1)];
        let torrent = creator.finish_with_content(b"12345").unwrap();
        assert_eq!(torrent.lint(), [Finding::PrivateWithoutTracker, Finding::PrivateWithNodes]);
        let with_tracker = torrent.with_trackers(&[vec!["gopher://x/".into()]]);
        let unknown = Finding::UnknownTracker { url: "gopher://x/".into() };
        assert_eq!(with_tracker.lint(), [Finding::PrivateWithNodes, unknown]);
    }

    #[test]
    fn what_is_more_than_listed_or_read_is_counted() {
        let mut creator = Creator::single_file("a", 5);
        creator.trackers = (0..25).map(|n| vec![format!("gopher://x/{n}")]).collect();
        let findings = creator.finish_with_content(b"12345").unwrap().lint();
        assert_eq!(findings.len(), 11);
        assert_eq!(findings[10], Finding::More { word: "unknown_tracker", count: 15 });
        let many = format!("13:announce-listl{}e", "l7:udp://xe".repeat(MAX_TRACKERS + 4));
        let found = of_v1(&many);
        assert_eq!(found[0], Finding::ManyTrackers { trackers: MAX_TRACKERS + 4 });
        assert!(found[0].to_string().contains(&MAX_TRACKERS.to_string()));
        let nodes = |count: usize| {
            let mut creator = Creator::single_file("a", 5);
            creator.nodes = (0..count).map(|n| (format!("n{n}"), 1)).collect();
            creator.finish_with_content(b"12345").unwrap().lint()
        };
        assert_eq!(nodes(MAX_NODES_ASKED), []);
        let found = nodes(MAX_NODES_ASKED + 1);
        assert_eq!(found, [Finding::ManyNodes { nodes: MAX_NODES_ASKED + 1 }]);
        assert!(found[0].is_left_out() && !found[0].is_harmful());
        assert!(found[0].to_string().contains(&MAX_NODES_ASKED.to_string()));
        let many = format!("11:collectionsl{}e", "1:x".repeat(MAX_HINTS + 1));
        let found = of_v1(&many);
        assert_eq!(found[0], Finding::ManyHints { key: "collections", entries: MAX_HINTS + 1 });
    }

    #[test]
    fn what_is_made_can_be_read_again_or_the_bound_is_named() {
        let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        let with = |count| {
            let mut creator = Creator::single_file("a", 5);
            creator.collections = names(count);
            creator.finish_with_content(b"12345")
        };
        assert_eq!(with(MAX_HINTS).unwrap().collections().len(), MAX_HINTS);
        let refused = with(MAX_HINTS + 1).unwrap_err().to_string();
        assert!(refused.contains(&MAX_HINTS.to_string()), "{refused}");
        let edit = Edit { collections: Some(names(MAX_HINTS + 1)), ..Edit::default() };
        let refused = with(1).unwrap().edited(&edit).unwrap_err().to_string();
        assert!(refused.contains(&MAX_HINTS.to_string()), "{refused}");
    }

    #[test]
    fn names_that_are_stored_otherwise_are_named() {
        let torrent = "d4:infod5:filesld6:lengthi0e4:pathl2:..1:xeed6:lengthi0e4:pathl3:Auxee\
            d6:lengthi0e4:pathl3:auxeee4:name3:top12:piece lengthi1000e6:pieces0:ee";
        let expected = [
            Finding::Renamed { stored_as: "_/x".into() },
            Finding::Renamed { stored_as: "aux.1".into() },
            Finding::OddPieceLength(1000),
            Finding::NotForWindows { path: "Aux".into() },
            Finding::NotForWindows { path: "aux.1".into() },
        ];
        assert_eq!(findings(torrent.as_bytes()), expected);
    }

    #[test]
    fn a_hybrid_without_layers_and_layers_without_files_are_named() {
        let creator = Creator::single_file("a", 40_000).with_protocol(Protocol::Hybrid);
        let torrent = creator.finish_with_content(&[5; 40_000]).unwrap();
        let without = [b"d4:info", &torrent.info_bytes()[..], b"e"].concat();
        assert_eq!(findings(&without), [Finding::NoLayers]);
        let bytes = torrent.to_bytes();
        let more = [&bytes[..bytes.len() - 2], b"5:wrong0:ee"].concat();
        let found = findings(&more);
        assert!(found.contains(&Finding::UnusedLayers { layers: 1 }), "{found:?}");
    }
}
