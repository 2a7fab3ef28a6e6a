//! What is made is what was asked for, and nothing is made that could not be read.

use std::collections::BTreeMap;

use quickcheck::{Arbitrary, Gen, quickcheck};
use sha1::{Digest, Sha1};

use super::*;
use crate::bencode::{Document, Limits, encode_dict};
use crate::disk::{FileIndex, Span};
use crate::merkle::leaf;
use crate::metainfo::File;
use crate::piece::PieceIndex;

fn folder() -> Creator {
    let files = [(["b", "z"], 20_000), (["a", "y"], 0), (["B", "x"], 5)];
    Creator::folder("top", files.map(|(path, length)| NewFile::new(path, length)))
}

#[test]
fn a_file_is_made_canonical_with_every_key() {
    let creator = Creator {
        piece_length: 32_768,
        trackers: vec![vec!["http://a/".into(), "http://b/".into()], vec!["http://c/".into()]],
        web_seeds: vec!["http://seed/".into()],
        nodes: vec![("node".into(), 6881)],
        private: true,
        source: Some("here".into()),
        comment: Some("hello".into()),
        created_by: Some("bitswarm".into()),
        creation_date: Some(1_700_000_000),
        ..Creator::single_file("file", 5)
    };
    let torrent = creator.finish(b"aaaaaaaaaaaaaaaaaaaa").unwrap();
    let expected = "d8:announce9:http://a/13:announce-listll9:http://a/9:http://b/e\
        l9:http://c/ee7:comment5:hello10:created by8:bitswarm13:creation datei1700000000e\
        4:infod6:lengthi5e4:name4:file12:piece lengthi32768e6:pieces20:aaaaaaaaaaaaaaaaaaaa\
        7:privatei1e6:source4:heree5:nodesll4:nodei6881eee8:url-list12:http://seed/e";
    assert_eq!(torrent.to_bytes(), expected);
    assert_eq!(torrent.trackers(), creator.trackers);
    assert_eq!(torrent.web_seeds(), creator.web_seeds);
    assert!(torrent.is_private());
    assert_eq!(torrent.source(), Some("here"));
    assert_eq!(torrent.comment(), Some("hello"));
    assert_eq!(torrent.created_by(), Some("bitswarm"));
    assert_eq!(torrent.creation_date(), Some(1_700_000_000));
}

#[test]
fn the_order_in_which_files_are_named_does_not_matter() {
    let creator = folder();
    let paths: Vec<_> = creator.files().iter().map(|file| file.path.join("/")).collect();
    assert_eq!(paths, ["B/x", "a/y", "b/z"]);
    let backwards = Creator::folder("top", creator.files().iter().rev().cloned());
    let content = vec![7; 20_005];
    let torrent = creator.finish_with_content(&content).unwrap();
    assert_eq!(torrent, backwards.finish_with_content(&content).unwrap());
    let paths: Vec<_> = torrent.files().iter().map(File::path).collect();
    assert_eq!(paths, ["B/x", "a/y", "b/z"]);
}

#[test]
fn the_layout_says_what_to_read_and_hashes_are_those_of_the_pieces() {
    let creator = folder();
    let layout = creator.layout().unwrap();
    let spans = [
        Span { file: Some(FileIndex(0)), offset: 0, length: 5 },
        Span { file: Some(FileIndex(2)), offset: 0, length: 16_379 },
    ];
    assert_eq!(layout.piece_spans(PieceIndex(0))[..], spans);
    let content: Vec<u8> = (0..20_005_u32).map(|byte| byte as u8).collect();
    let torrent = creator.finish_with_content(&content).unwrap();
    let second: [u8; 20] = Sha1::digest(&content[16_384..]).into();
    assert_eq!(torrent.piece_hash(PieceIndex(1)), Some(second));
    assert_eq!(torrent.layout(), layout);
}

#[test]
fn padding_and_executables_are_marked() {
    let file = |path: &str, length| NewFile::new([path], length);
    let pad = NewFile { pad: true, ..NewFile::new([".pad", "16379"], 16_379) };
    let program = NewFile { executable: true, ..file("c", 1) };
    let creator = Creator::folder_in_order("top", [file("a", 5), pad, program]);
    let mut content = vec![0; 16_385];
    content[16_384] = 1;
    let torrent = creator.finish_with_content(&content).unwrap();
    assert!(torrent.files()[1].attributes().pad);
    assert!(torrent.files()[2].attributes().executable);
    assert_eq!(torrent.layout(), creator.layout().unwrap());
}

/// Whether a torrent lies where its creator said; what it has of padding besides is its own.
fn lies_as_planned(torrent: &Metainfo, creator: &Creator) -> bool {
    let (read, planned) = (torrent.layout(), creator.layout().unwrap());
    let mut pieces = planned.geometry().iter();
    read.geometry().pieces() == planned.geometry().pieces()
        && pieces.all(|piece| read.piece_spans(piece) == planned.piece_spans(piece))
}

#[test]
fn a_hybrid_is_padded_and_both_its_parts_are_read() {
    let content: Vec<u8> = (0..20_005_u32).map(|byte| (byte / 3) as u8).collect();
    let creator = folder().with_protocol(Protocol::Hybrid);
    let torrent = creator.finish_with_content(&content).unwrap();
    assert!(torrent.has_v1() && torrent.has_v2() && torrent.has_piece_layers());
    let files: Vec<_> = torrent.files().iter().map(|f| (f.path(), f.length())).collect();
    let expected =
        [("B/x", 5), (".pad/16379", 16_379), ("a/y", 0), ("b/z", 20_000), (".pad/12768", 12_768)];
    assert_eq!(files, expected);
    let mut last = content[5 + 16_384..].to_vec();
    last.resize(16_384, 0);
    assert_eq!(torrent.piece_hash(PieceIndex(2)), Some(Sha1::digest(&last).into()));
    let hash = leaf(&content[5 + 16_384..]);
    assert_eq!(torrent.piece_hash_v2(PieceIndex(2)), Some(hash));
    assert_eq!(torrent.pieces_root(0), Some(leaf(&content[..5])));
    assert!(lies_as_planned(&torrent, &creator));
}

#[test]
fn v2_alone_has_the_tree_of_the_hybrid_and_nothing_of_v1() {
    let content = vec![9; 20_005];
    let hybrid = folder().with_protocol(Protocol::Hybrid).finish_with_content(&content);
    let creator = folder().with_protocol(Protocol::V2);
    let torrent = creator.finish_with_content(&content).unwrap();
    assert!(!torrent.has_v1() && torrent.has_piece_layers());
    assert!(lies_as_planned(&torrent, &creator));
    let hybrid = hybrid.unwrap();
    let pieces = 0..3;
    assert!(pieces.map(PieceIndex).all(|p| torrent.piece_hash_v2(p) == hybrid.piece_hash_v2(p)));
    let text = String::from_utf8_lossy(&torrent.to_bytes()).into_owned();
    assert!(!text.contains("5:files") && !text.contains("6:pieces"));
}

#[test]
fn a_hybrid_of_one_file_is_one_file_in_both_parts() {
    let creator = Creator::single_file("one", 40_000).with_protocol(Protocol::Hybrid);
    let torrent = creator.finish_with_content(&[3; 40_000]).unwrap();
    assert!(!torrent.is_multi_file() && torrent.has_v2());
    assert_eq!(torrent.files().len(), 1);
    assert_eq!(torrent.piece_layer(0).unwrap().len(), 96);
    let v2 = creator.with_protocol(Protocol::V2).finish_with_content(&[3; 40_000]).unwrap();
    assert!(!v2.is_multi_file());
    assert_eq!(v2.pieces_root(0), torrent.pieces_root(0));
}

#[test]
fn one_file_alone_in_a_folder_is_not_padded() {
    let creator = Creator::folder("top", [NewFile::new(["a"], 5)]);
    let torrent = creator.with_protocol(Protocol::Hybrid).finish_with_content(b"12345").unwrap();
    assert_eq!((torrent.files().len(), torrent.total_len()), (1, 5));
    assert!(torrent.is_multi_file());
}

#[test]
fn links_are_written_in_both_parts() {
    let link = NewFile { link: Some(vec!["b".into(), "z".into()]), ..NewFile::new(["l"], 0) };
    let files = [NewFile::new(["b", "z"], 5), link];
    for protocol in [Protocol::V1, Protocol::V2, Protocol::Hybrid] {
        let creator = Creator::folder("top", files.clone()).with_protocol(protocol);
        let torrent = creator.finish_with_content(b"12345").unwrap();
        let link = torrent.files().iter().position(|f| f.attributes().symlink).unwrap();
        assert_eq!(torrent.link_target(link), Some("b/z"), "{protocol:?}");
    }
}

#[test]
fn what_v2_forbids_is_refused_before_hashing() {
    let creator = Creator { piece_length: 40_000, ..folder() };
    assert!(creator.geometry().is_ok());
    let creator = creator.with_protocol(Protocol::Hybrid);
    assert_eq!(creator.geometry(), Err(CreateError::PieceLengthV2(40_000)));
    let deep = NewFile::new(vec!["d"; 91], 1);
    let deep = Creator::folder("top", [deep]).with_protocol(Protocol::V2);
    assert!(matches!(deep.geometry(), Err(CreateError::TooDeep { .. })));
    let just = NewFile::new(vec!["d"; 90], 1);
    let just = Creator::folder("top", [just]).with_protocol(Protocol::V2);
    assert!(just.finish_with_content(b"x").is_ok());
}

#[test]
fn names_that_could_not_be_stored_as_they_are_are_refused() {
    let named = |name: &str| Creator::single_file(name, 1).finish(&[0; 20]).map(drop);
    let refused = |name: &str, stored_as: &str| {
        Err(CreateError::Name { name: name.into(), stored_as: stored_as.into() })
    };
    assert_eq!(named("a: really?"), Ok(()));
    assert_eq!(named("a\\b"), refused("a\\b", "ab"));
    assert_eq!(named("a\nb"), refused("a\nb", "a_b"));
    let twins = [NewFile::new(["README"], 1), NewFile::new(["readme"], 1)];
    let twins = Creator::folder("top", twins).finish(&[0; 20]).map(drop);
    assert_eq!(twins, refused("readme", "readme.1"));
    let inside = Creator::folder("top", [NewFile::new(["..", "x"], 1)]);
    assert_eq!(inside.finish(&[0; 20]).map(drop), refused("../x", "_/x"));
}

#[test]
fn what_cannot_be_a_torrent_is_refused_before_hashing() {
    let none: [NewFile; 0] = [];
    assert_eq!(Creator::folder("top", none).geometry(), Err(CreateError::NoFiles));
    assert_eq!(Creator::single_file("a", 0).geometry(), Err(CreateError::Empty));
    let with_length = |piece_length| Creator { piece_length, ..Creator::single_file("a", 1 << 40) };
    assert_eq!(with_length(0).geometry(), Err(CreateError::PieceLength(0)));
    assert_eq!(with_length(16_384).geometry(), Err(CreateError::PieceLength(16_384)));
    assert!(with_length(1 << 20).geometry().is_ok());
    let huge = [NewFile::new(["a"], u64::MAX), NewFile::new(["b"], u64::MAX)];
    let huge = Creator::folder("top", huge).geometry();
    assert_eq!(huge, Err(CreateError::Unreadable(MetainfoError::TotalOverflow)));
    let short = Creator::single_file("a", 5).finish(&[0; 40]).map(drop);
    assert_eq!(short, Err(CreateError::PieceHashes { given: 40, needed: 20 }));
}

#[test]
fn the_automatic_piece_length_keeps_the_pieces_few_and_allowed() {
    assert_eq!(auto_piece_length(0), 16_384);
    assert_eq!(auto_piece_length(32 << 20), 16_384);
    assert_eq!(auto_piece_length((32 << 20) + 1), 32_768);
    assert_eq!(auto_piece_length(1 << 30), 512 << 10);
    assert_eq!(auto_piece_length(1 << 40), 16 << 20);
    assert_eq!(auto_piece_length(1 << 48), 128 << 20);
    assert_eq!(auto_piece_length(u64::MAX), MAX_PIECE_LEN);
    assert!((0..=49).all(|bits| Geometry::new(1 << bits, auto_piece_length(1 << bits)).is_some()));
}

/// A folder of any shape: files, empty ones, executables, hidden ones and links to some of them.
#[derive(Clone, Debug)]
struct AnyTree(Vec<NewFile>);

impl Arbitrary for AnyTree {
    fn arbitrary(g: &mut Gen) -> Self {
        const NAMES: [&str; 8] = ["a", "b", "c.txt", "d d", "\u{fc}", ".e", "f-", "f.x"];
        // No file where another has its folder, so none is renamed.
        let mut places: BTreeMap<Vec<&str>, bool> = BTreeMap::new();
        let mut files: Vec<NewFile> = Vec::new();
        for _ in 0..1 + u8::arbitrary(g) % 12 {
            let depth = 1 + usize::from(u8::arbitrary(g)) % 4;
            let path: Vec<&str> = (0..depth).map(|_| *g.choose(&NAMES).unwrap()).collect();
            let blocked = (1..depth).any(|end| places.get(&path[..end]) == Some(&true));
            if blocked || places.contains_key(&path) {
                continue;
            }
            places.extend((1..depth).map(|end| (path[..end].to_vec(), false)));
            places.insert(path.clone(), true);
            let length = *g.choose(&[0, 1, 16_384, 16_385, 50_000, 32_768]).unwrap();
            let model = files.iter().rfind(|file| file.link.is_none());
            let link = model.filter(|_| u8::arbitrary(g) % 4 == 0).map(|file| file.path.clone());
            files.push(NewFile {
                executable: bool::arbitrary(g),
                hidden: bool::arbitrary(g),
                link: link.clone(),
                ..NewFile::new(path, if link.is_some() { 0 } else { length })
            });
        }
        files[0].length = files[0].length.max(1);
        AnyTree(files)
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        // A link needs the file it leads to, so files go from the end.
        let shorter = self.0[..self.0.len() - 1].to_vec();
        Box::new((!shorter.is_empty()).then_some(AnyTree(shorter)).into_iter())
    }
}

impl AnyTree {
    fn creator(&self, protocol: Protocol) -> Creator {
        let creator = Creator::folder("top", self.0.clone()).with_protocol(protocol);
        Creator { piece_length: 32_768, ..creator }
    }

    fn torrent(&self, protocol: Protocol) -> Metainfo {
        let creator = self.creator(protocol);
        let total: u64 = creator.files().iter().map(|file| file.length).sum();
        let content: Vec<u8> = (0..total).map(|at| (at / 7 % 253) as u8).collect();
        creator.finish_with_content(&content).unwrap()
    }
}

/// What a torrent says of its tree: each file but padding, as it would be asked for.
fn tree(torrent: &Metainfo) -> Vec<NewFile> {
    let files = torrent.files().iter().enumerate().filter(|(_, file)| !file.attributes().pad);
    files
        .map(|(index, file)| NewFile {
            executable: file.attributes().executable,
            hidden: file.attributes().hidden,
            link: torrent.link_target(index).map(|to| to.split('/').map(str::to_owned).collect()),
            ..NewFile::new(file.path().split('/'), file.length())
        })
        .collect()
}

/// The v1 part of a hybrid by itself.
fn v1_alone(hybrid: &Metainfo) -> Metainfo {
    let info = hybrid.info_bytes();
    let info = Document::parse(&info, Limits::METAINFO).unwrap();
    let entries = info.root().as_dict().unwrap();
    let entries = entries.filter(|(key, _)| ![&b"file tree"[..], b"meta version"].contains(key));
    let bytes = encode_dict(|root| {
        root.dict("info", |dict| entries.for_each(|(key, value)| dict.raw(key, value.raw())));
    });
    Metainfo::parse(&bytes).unwrap()
}

/// Where the bytes of each piece lie, padding left out.
fn places(torrent: &Metainfo) -> Vec<Vec<Span>> {
    let layout = torrent.layout();
    let spans = |piece| layout.piece_spans(piece).into_iter().filter(|span| span.file.is_some());
    layout.geometry().iter().map(|piece| spans(piece).collect()).collect()
}

quickcheck! {
    fn any_tree_is_what_it_was_after_being_written_and_read(any: AnyTree) -> bool {
        [Protocol::V1, Protocol::V2, Protocol::Hybrid].into_iter().all(|protocol| {
            let torrent = any.torrent(protocol);
            let again = Metainfo::parse(&torrent.to_bytes()).unwrap();
            again == torrent
                && tree(&again) == any.creator(protocol).files()
                && again.lint().iter().all(|finding| !finding.is_harmful())
        })
    }

    fn both_parts_of_a_hybrid_lay_out_the_same_pieces(any: AnyTree) -> bool {
        let (hybrid, v2) = (any.torrent(Protocol::Hybrid), any.torrent(Protocol::V2));
        let v1 = v1_alone(&hybrid);
        let roots = |torrent: &Metainfo| -> Vec<_> {
            let files = torrent.files().iter().enumerate();
            let files = files.filter(|(_, file)| !file.attributes().pad);
            files.map(|(index, file)| (file.offset(), torrent.pieces_root(index))).collect()
        };
        let nodes = |torrent: &Metainfo| -> Vec<_> {
            torrent.geometry().iter().map(|piece| torrent.piece_hash_v2(piece)).collect()
        };
        places(&v1) == places(&v2)
            && places(&hybrid) == places(&v2)
            && nodes(&hybrid) == nodes(&v2)
            && roots(&hybrid).iter().zip(roots(&v2)).all(|(a, b)| a.1 == b.1)
    }
}
