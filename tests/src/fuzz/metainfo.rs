//! Metainfo files: any bytes are refused or become a torrent whose every name is harmless and whose
//! numbers fit each other; files and pieces cover the content once, of v2 each piece in one file
//! with one hash; other trackers change nothing else; what is held is proportional to the input.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use bitswarm_core::merkle::HashTree;
use bitswarm_core::metainfo::{File, MAX_TRACKERS, Metainfo, PathRules};
use bitswarm_core::piece::PieceIndex;
use bytes::Bytes;
use sha1::{Digest, Sha1};

/// See the module.
pub(super) fn run(data: &[u8]) {
    for rules in [PathRules::Unix, PathRules::Windows] {
        match Metainfo::from_bytes(Bytes::copy_from_slice(data), rules) {
            Ok(metainfo) => check(&metainfo, data, rules),
            Err(error) => drop(error.to_string()),
        }
    }
}

fn check(metainfo: &Metainfo, data: &[u8], rules: PathRules) {
    assert_eq!(metainfo.to_bytes(), data);
    let sha1 = <[u8; 20]>::from(Sha1::digest(metainfo.info_bytes()));
    match (metainfo.infohash_v1(), metainfo.infohash_v2()) {
        (Some(v1), _) => assert!(v1.0 == sha1 && metainfo.infohash() == v1),
        (None, Some(v2)) => assert_eq!(metainfo.infohash(), v2.truncated()),
        (None, None) => panic!("neither v1 nor v2"),
    }
    check_trees(metainfo);
    check_names(metainfo, data, rules);
    check_texts(metainfo, data);
    check_layout(metainfo);
    check_trackers(metainfo, rules);
    let _ = format!("{metainfo:?}");
}

/// Nothing leads out of the root or onto another file, nor is longer than what it was made of.
fn check_names(metainfo: &Metainfo, data: &[u8], rules: PathRules) {
    let spec = metainfo.store_spec(Path::new("/root"));
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    for file in &spec.files {
        let mut components = 0;
        for component in file.path.components() {
            let Component::Normal(name) = component else { panic!("{:?}", file.path) };
            check_component(name.to_str().expect("names are text"), rules);
            components += 1;
        }
        assert!(components > 0 && file.path.is_relative());
        let folded = file.path.to_str().expect("names are text").to_lowercase();
        assert!(seen.insert(folded), "two files at {:?}", file.path);
        bytes += file.path.as_os_str().len() - metainfo.name().len();
    }
    for path in &seen {
        let mut parents = path.rmatch_indices('/').map(|(at, _)| &path[..at]);
        assert!(parents.all(|parent| !seen.contains(parent)), "a file is a folder too: {path}");
    }
    check_component(metainfo.name(), rules);
    // A name that comes to nothing is `_`; one that is taken gets a number. In a file tree, all
    // files of a directory share its path in the input.
    let shared = if metainfo.has_v1() { 0 } else { data.len() * spec.files.len() };
    assert!(bytes <= 4 * data.len() + 16 * spec.files.len() + shared, "{bytes} bytes of paths");
}

fn check_component(name: &str, rules: PathRules) {
    assert!(!matches!(name, "" | "." | "..") && name.len() <= 255, "{name:?}");
    let harmful = |c: char| c.is_control() || matches!(c, '/' | '\\' | '\u{202e}' | '\u{2028}');
    assert!(!name.contains(harmful), "{name:?}");
    if rules == PathRules::Windows {
        assert!(!name.contains(['<', '>', ':', '"', '|', '?', '*']), "{name:?}");
        assert!(!name.ends_with(['.', ' ']), "{name:?}");
    }
}

/// What is shown can be shown.
fn check_texts(metainfo: &Metainfo, data: &[u8]) {
    let texts = [metainfo.comment(), metainfo.created_by(), metainfo.source()];
    for text in texts.into_iter().flatten() {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
        assert!(text.len() <= 3 * data.len());
    }
    assert!(metainfo.trackers().iter().flatten().count() <= MAX_TRACKERS);
    assert!(metainfo.trackers().iter().all(|tier| !tier.is_empty()));
}

/// Files and pieces both cover the content, each byte once.
fn check_layout(metainfo: &Metainfo) {
    let geometry = metainfo.geometry();
    let mut offset = 0;
    for file in metainfo.files() {
        assert_eq!(file.offset(), offset);
        offset += file.length();
    }
    assert_eq!((offset, metainfo.total_len()), (geometry.total_len(), geometry.total_len()));

    let layout = metainfo.layout();
    let spec = metainfo.store_spec(Path::new("/root"));
    assert_eq!(layout.stored_files(), spec.files.len());
    let last = geometry.pieces().checked_sub(1);
    for piece in (0..geometry.pieces().min(4)).chain(last).map(PieceIndex) {
        let spans = layout.piece_spans(piece);
        let len: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        assert_eq!(len, u64::from(geometry.len_of(piece)), "{spans:?}");
        for span in &spans {
            let Some(file) = span.file else { continue };
            let file = spec.files.get(file.0 as usize).expect("the file is in the store");
            assert!(span.offset + u64::from(span.length) <= file.length, "past its end");
        }
        assert_eq!(metainfo.piece_hash(piece).is_some(), metainfo.has_v1());
        if metainfo.has_piece_layers() {
            assert!(metainfo.piece_hash_v2(piece).is_some());
            assert!(layout.merkle_layer(piece).is_some());
        }
        for file in layout.files_of_piece(piece) {
            assert!(layout.pieces_of_file(file).contains(&piece.0));
        }
    }
    assert_eq!(metainfo.piece_hash(PieceIndex(geometry.pieces())), None);
    assert_eq!(layout.pieces_wanted(&[]).len(), geometry.pieces() as usize);
}

/// Files of v2 begin with a piece, and their layers make their roots; links lead to what is there.
fn check_trees(metainfo: &Metainfo) {
    for (index, file) in metainfo.files().iter().enumerate() {
        if let Some(target) = metainfo.link_target(index) {
            assert!(file.attributes().symlink && !target.split('/').any(|name| name == ".."));
            // Case does not count, and a link may be on the way.
            let folded = |path: &str| format!("{}/", path.to_uppercase().to_lowercase());
            let target = folded(target);
            let is_there = |other: &File| {
                let path = folded(other.path());
                let is_link = other.attributes().symlink;
                other.is_stored() && path.starts_with(&target)
                    || is_link && target.starts_with(&path)
            };
            assert!(metainfo.files().iter().any(is_there), "{target:?} is not there");
        }
        let Some(shape) = metainfo.tree_shape(index) else { continue };
        assert!(file.is_stored() && file.length() > 0);
        assert!(file.offset().is_multiple_of(metainfo.geometry().piece_len().into()));
        let root = metainfo.pieces_root(index).expect("what has a shape has a root");
        if let Some(layer) = metainfo.piece_layer(index) {
            let tree = HashTree::new(shape, shape.piece_layer(), layer).expect("as many as pieces");
            assert_eq!(tree.root(), Some(root));
        }
    }
}

/// With other trackers it is the same torrent, and what its bytes say.
fn check_trackers(metainfo: &Metainfo, rules: PathRules) {
    let tiers = [vec!["http://a/announce".to_owned()], vec!["udp://b:1".to_owned()]];
    for tiers in [&tiers[..], &tiers[..1], &[]] {
        let other = metainfo.with_trackers(tiers);
        assert_eq!(other.trackers(), tiers);
        assert_eq!(other.info_bytes(), metainfo.info_bytes());
        assert_eq!(other.files(), metainfo.files());
        assert_eq!(other.has_piece_layers(), metainfo.has_piece_layers());
        let read = Metainfo::from_bytes(other.to_bytes(), rules).expect("it can be read");
        assert!(read == other, "{} says something else", other.to_bytes().escape_ascii());
    }
}
