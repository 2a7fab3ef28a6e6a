//! Torrents of v2 and hybrids, well made and badly.

use std::collections::BTreeMap;

use quickcheck::quickcheck;
use sha2::{Digest, Sha256};

use super::create::{Creator, Protocol};
use super::*;
use crate::bencode::{DictWriter, encode_dict};
use crate::merkle::{BlockHasher, leaf};

const PIECE: usize = 32_768;

/// A file of v1: its path with `/`, its length, its `attr`.
type V1File = (&'static str, usize, &'static str);

/// Layers by their roots.
type Layers = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a tree is made of: path, content, `attr`.
type TreeFile<'a> = (&'a str, &'a [u8], &'a str);

/// A torrent that is still to be written: the parts that tests change.
#[derive(Clone)]
struct Draft {
    name: &'static str,
    piece_len: i64,
    /// Path with `/`, content, `attr`.
    files: Vec<(&'static str, Vec<u8>, &'static str)>,
    /// Files of v1 with their lengths and attributes, instead of none.
    v1: Option<Vec<V1File>>,
    layers: Option<Layers>,
    version: i64,
    /// Instead of the tree of `files`.
    tree: Option<Vec<u8>>,
}

fn content(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 3 % 251) as u8 ^ salt).collect()
}

fn root(content: &[u8]) -> Sha256Hash {
    let mut hasher = BlockHasher::default();
    hasher.update(content);
    hasher.finish(TreeShape::new(content.len() as u64, PIECE as u32).unwrap().height()).unwrap()
}

fn layer(content: &[u8]) -> Vec<u8> {
    let hash = |piece: &[u8]| {
        let mut hasher = BlockHasher::default();
        hasher.update(piece);
        hasher.finish(1).unwrap()
    };
    content.chunks(PIECE).flat_map(hash).collect()
}

impl Draft {
    fn new(files: &[(&'static str, usize)]) -> Self {
        let files: Vec<_> =
            (0..).zip(files).map(|(salt, &(path, len))| (path, content(len, salt), "")).collect();
        let with_layer = files.iter().filter(|file| file.1.len() > PIECE);
        Draft {
            name: "top",
            piece_len: PIECE as i64,
            layers: Some(with_layer.map(|f| (root(&f.1).to_vec(), layer(&f.1))).collect()),
            files,
            v1: None,
            version: 2,
            tree: None,
        }
    }

    /// The same with the v1 part that belongs to it.
    fn hybrid(mut self) -> Self {
        let mut v1 = Vec::new();
        let mut offset = 0;
        for (path, content, attr) in &self.files {
            let gap = offset % PIECE;
            if gap > 0 && !content.is_empty() {
                v1.push((".pad/x", PIECE - gap, "p"));
                offset += PIECE - gap;
            }
            v1.push((*path, content.len(), *attr));
            offset += content.len();
        }
        self.v1 = Some(v1);
        self
    }

    fn tree(&self) -> Vec<u8> {
        let files: Vec<_> = self.files.iter().map(|f| (f.0, &f.1[..], f.2)).collect();
        encode_dict(|tree| write_tree(tree, &files))
    }

    fn bytes(&self) -> Vec<u8> {
        encode_dict(|root| {
            root.dict("info", |info| {
                info.raw("file tree", &self.tree.clone().unwrap_or_else(|| self.tree()));
                info.int("meta version", self.version);
                info.bytes("name", self.name);
                info.int("piece length", self.piece_len);
                if let Some(v1) = &self.v1 {
                    write_v1(info, v1);
                }
            });
            if let Some(layers) = &self.layers {
                root.dict("piece layers", |dict| {
                    layers.iter().for_each(|(root, layer)| dict.bytes(root, layer));
                });
            }
        })
    }

    fn parse(&self) -> Result<Metainfo, MetainfoError> {
        Metainfo::from_bytes(self.bytes().into(), PathRules::Unix)
    }
}

fn write_v1(info: &mut DictWriter<'_>, files: &[(&str, usize, &str)]) {
    let total: usize = files.iter().map(|file| file.1).sum();
    info.bytes("pieces", vec![1; total.div_ceil(PIECE) * 20]);
    info.list("files", |list| {
        for (path, length, attr) in files {
            list.dict(|file| {
                file.bytes("attr", attr);
                file.int("length", *length as i64);
                file.list("path", |list| path.split('/').for_each(|part| list.bytes(part)));
            });
        }
    });
}

fn write_tree(tree: &mut DictWriter<'_>, files: &[TreeFile<'_>]) {
    let mut names: BTreeMap<&str, Vec<TreeFile<'_>>> = BTreeMap::new();
    for &(path, content, attr) in files {
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        names.entry(name).or_default().push((rest, content, attr));
    }
    for (name, files) in names {
        tree.dict(name, |node| match files[0] {
            ("", content, attr) => node.dict("", |file| {
                file.bytes("attr", attr);
                file.int("length", content.len() as i64);
                if !content.is_empty() {
                    file.bytes("pieces root", root(content));
                }
            }),
            _ => write_tree(node, &files),
        });
    }
}

fn sample() -> Draft {
    Draft::new(&[("a", 5), ("b/c", 70_000), ("b/d", 0), ("b/e", PIECE), ("z", PIECE + 1)])
}

fn tree_error(tree: &[u8]) -> (usize, TreeError) {
    match (Draft { tree: Some(tree.to_vec()), ..sample() }).parse() {
        Err(MetainfoError::Tree { file, why }) => (file, why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_torrent_of_v2_alone_is_laid_out_with_padding_between_files() {
    let torrent = sample().parse().unwrap();
    let hash: Sha256Hash = Sha256::digest(torrent.info_bytes()).into();
    assert_eq!(torrent.infohash_v2(), Some(InfoHashV2(hash)));
    assert_eq!(torrent.infohash().0, hash[..20]);
    assert_eq!(torrent.infohash_v1(), None);
    assert!(torrent.has_v2() && !torrent.has_v1() && torrent.has_piece_layers());
    assert!(torrent.is_multi_file());
    let files: Vec<_> =
        torrent.files().iter().map(|f| (f.path(), f.offset(), f.length())).collect();
    let expected = [
        ("a", 0, 5),
        (".pad/32763", 5, 32_763),
        ("b/c", 32_768, 70_000),
        ("b/d", 102_768, 0),
        (".pad/28304", 102_768, 28_304),
        ("b/e", 131_072, 32_768),
        ("z", 163_840, 32_769),
    ];
    assert_eq!(files, expected);
    assert_eq!(torrent.geometry().pieces(), 7);
    assert_eq!(torrent.piece_hash(PieceIndex(0)), None);
    assert_eq!(torrent.layout().geometry(), torrent.geometry());
    let spec = torrent.store_spec(Path::new("/root"));
    let paths: Vec<_> = spec.files.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["top/a", "top/b/c", "top/b/d", "top/b/e", "top/z"]);
}

#[test]
fn every_piece_of_v2_has_its_hash() {
    for draft in [sample(), sample().hybrid()] {
        let torrent = draft.parse().unwrap();
        let long = &draft.files[1].1;
        assert_eq!(torrent.piece_hash_v2(PieceIndex(0)), Some(leaf(&draft.files[0].1)));
        let layer = layer(long);
        for piece in 0..3 {
            let hash = torrent.piece_hash_v2(PieceIndex(piece + 1)).unwrap();
            assert_eq!(hash[..], layer[piece as usize * 32..][..32]);
        }
        assert_eq!(torrent.piece_hash_v2(PieceIndex(4)), Some(root(&draft.files[3].1)));
        assert_eq!(torrent.piece_hash_v2(PieceIndex(7)), None);
        assert_eq!(torrent.pieces_root(2), Some(root(long)));
        assert_eq!(torrent.piece_layer(2).unwrap(), layer);
        assert_eq!(torrent.piece_layer(0), None);
        assert_eq!(torrent.pieces_root(1), None);
        assert_eq!(torrent.file_of_piece(PieceIndex(3)), Some((2, 2)));
    }
}

#[test]
fn a_hybrid_is_both() {
    let torrent = sample().hybrid().parse().unwrap();
    assert!(torrent.has_v1() && torrent.has_v2() && torrent.has_piece_layers());
    assert_eq!(torrent.infohash_v1(), Some(torrent.infohash()));
    assert_eq!(torrent.piece_hash(PieceIndex(6)), Some([1; 20]));
    assert_ne!(torrent.infohash_v2().unwrap().truncated(), torrent.infohash());
    let link: Magnet = Magnet::of(&torrent).to_string().parse().unwrap();
    assert_eq!((link.infohash, link.v2), (torrent.infohash(), torrent.infohash_v2()));
}

#[test]
fn a_file_of_the_torrents_name_is_a_torrent_of_one_file() {
    let torrent = Draft::new(&[("top", 5)]).parse().unwrap();
    assert!(!torrent.is_multi_file());
    assert_eq!(torrent.store_spec(Path::new("")).files[0].path, Path::new("top"));
    let torrent = Draft::new(&[("other", 5)]).parse().unwrap();
    assert_eq!(torrent.store_spec(Path::new("")).files[0].path, Path::new("top/other"));
    assert!(Draft::new(&[("top/top", 5)]).parse().unwrap().is_multi_file());
}

#[test]
fn the_version_is_looked_at_first() {
    let newer = Draft { version: 3, tree: Some(b"i1e".to_vec()), ..sample() };
    assert_eq!(newer.parse(), Err(MetainfoError::UnknownVersion(3)));
    // Version 1 was never assigned: only the v1 part counts.
    let older = Draft { version: 1, tree: Some(b"i1e".to_vec()), ..sample().hybrid() };
    assert!(!older.parse().unwrap().has_v2());
    let without = encode_dict(|root| {
        root.dict("info", |info| {
            info.int("meta version", 2);
            info.bytes("name", "a");
        });
    });
    assert_eq!(Metainfo::parse(&without), Err(MetainfoError::Missing("info.file tree")));
}

#[test]
fn trees_that_lie_are_refused() {
    let root = "11:pieces root32:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let file = |properties: &str| format!("d1:ad0:d{properties}eee").into_bytes();
    assert_eq!(tree_error(b"d0:d6:lengthi0eee"), (0, TreeError::RootIsFile));
    assert_eq!(tree_error(b"d1:ai5ee"), (0, TreeError::NotADictionary));
    assert_eq!(tree_error(b"d1:ad0:i5eee"), (0, TreeError::NotADictionary));
    let twice = b"d1:ad0:d6:lengthi0eee1:ad0:d6:lengthi0eeee";
    assert_eq!(tree_error(twice), (1, TreeError::NotSorted));
    let unsorted = b"d1:bd0:d6:lengthi0eee1:ad0:d6:lengthi0eeee";
    assert_eq!(tree_error(unsorted), (1, TreeError::NotSorted));
    let both = b"d1:ad0:d6:lengthi0ee1:xd0:d6:lengthi0eeeee";
    assert_eq!(tree_error(both), (0, TreeError::FileAndDirectory));
    let late = b"d1:ad1:xd0:d6:lengthi0eee0:d6:lengthi0eeee";
    assert_eq!(tree_error(late), (1, TreeError::NotSorted));
    assert_eq!(tree_error(&file("")), (0, TreeError::Length));
    assert_eq!(tree_error(&file("6:lengthi-1e")), (0, TreeError::Length));
    assert_eq!(tree_error(&file("6:lengthi5e")), (0, TreeError::Root));
    assert_eq!(tree_error(&file("6:lengthi5e11:pieces root3:abc")), (0, TreeError::Root));
    let zeros = format!("6:lengthi5e11:pieces root32:{}", "\0".repeat(32));
    assert_eq!(tree_error(&file(&zeros)), (0, TreeError::ZeroRoot));
    let padding = format!("4:attr1:p6:lengthi5e{root}");
    assert_eq!(tree_error(&file(&padding)), (0, TreeError::Padding));

    let parse = |tree: &[u8]| Draft { tree: Some(tree.to_vec()), ..sample() }.parse();
    assert_eq!(parse(b"de"), Err(MetainfoError::NoFiles));
    assert_eq!(parse(b"d1:adee"), Err(MetainfoError::NoFiles));
    assert_eq!(parse(b"le"), Err(MetainfoError::WrongType("info.file tree")));
    let huge = format!("d1:ad0:d6:lengthi{0}e{root}ee1:bd0:d6:lengthi{0}e{root}eee", i64::MAX);
    assert_eq!(parse(huge.as_bytes()), Err(MetainfoError::TotalOverflow));
    let many = file(&format!("6:lengthi{}e{root}", 1_u64 << 50));
    assert_eq!(parse(&many), Err(MetainfoError::TooManyPieces { pieces: 1 << 35 }));
}

#[test]
fn a_tree_that_is_deep_or_long_costs_no_more_than_its_limits() {
    let nested = |depth: usize, name: &str| {
        let open = format!("d{}:{name}", name.len()).repeat(depth);
        format!("{open}d0:d6:lengthi0eee{}", "e".repeat(depth)).into_bytes()
    };
    let parse = |tree: Vec<u8>| Draft { tree: Some(tree), layers: None, ..sample() }.parse();
    assert_eq!(parse(nested(90, "a")).unwrap().files()[0].path().len(), 179);
    assert!(matches!(parse(nested(200, "a")), Err(MetainfoError::Bencode(_))));
    assert!(matches!(parse(nested(100_000, "a")), Err(MetainfoError::Bencode(_))));
    let long = parse(nested(20, &"x".repeat(250)));
    assert_eq!(long, Err(MetainfoError::PathTooLong { file: 0 }));
    // Every file has the path of its directory: 4,000 bytes each, of 22 bytes in the input.
    let files: String = (0..30_000).map(|n| format!("5:{n:05}d0:d6:lengthi0eee")).collect();
    let open: String = format!("d250:{}", "x".repeat(250)).repeat(16);
    let amplified = format!("{open}d{files}e{}", "e".repeat(16)).into_bytes();
    let error = parse(amplified).unwrap_err();
    assert!(matches!(error, MetainfoError::Tree { why: TreeError::PathsTooLong, .. }), "{error:?}");
}

#[test]
fn layers_are_checked_against_their_roots() {
    let error = |change: &dyn Fn(&mut Layers)| {
        let mut draft = sample();
        draft.layers.iter_mut().for_each(change);
        draft.parse().unwrap_err()
    };
    let long = root(&sample().files[1].1).to_vec();
    let refused = |why| MetainfoError::Layer { file: 2, why };
    assert_eq!(error(&|layers| drop(layers.remove(&long))), refused(LayerError::Missing));
    assert_eq!(error(&|layers| layers.get_mut(&long).unwrap()[40] ^= 1), refused(LayerError::Root));
    let cut = |layers: &mut Layers| layers.get_mut(&long).unwrap().truncate(64);
    assert_eq!(error(&cut), refused(LayerError::Length { len: 64, pieces: 3 }));
    let longer = |layers: &mut Layers| layers.get_mut(&long).unwrap().extend([0; 32]);
    assert_eq!(error(&longer), refused(LayerError::Length { len: 128, pieces: 3 }));
    // What belongs to no file does no harm.
    let mut more = sample();
    more.layers.as_mut().unwrap().insert(b"other".to_vec(), vec![]);
    assert!(more.parse().is_ok());

    let without = Draft { layers: None, ..sample() };
    assert_eq!(without.parse(), Err(MetainfoError::NoLayers));
    let short = Draft { layers: None, ..Draft::new(&[("a", 5), ("b", PIECE)]) };
    assert!(short.parse().is_ok(), "no file needs a layer");
    let hybrid = Draft { layers: None, ..sample().hybrid() }.parse().unwrap();
    assert!(hybrid.has_v2() && !hybrid.has_piece_layers());
    assert_eq!(hybrid.piece_hash_v2(PieceIndex(1)), None);
}

#[test]
fn a_root_that_claims_two_lengths_is_refused() {
    let file = content(70_000, 0);
    let tree = |lengths: [usize; 2]| {
        encode_dict(|tree| {
            for (name, length) in ["a", "b"].into_iter().zip(lengths) {
                tree.dict(name, |node| {
                    node.dict("", |properties| {
                        properties.int("length", length as i64);
                        properties.bytes("pieces root", root(&file));
                    });
                });
            }
        })
    };
    let layers = Some([(root(&file).to_vec(), layer(&file))].into());
    let draft = Draft { layers, ..Draft::new(&[]) };
    let parse = |lengths| Draft { tree: Some(tree(lengths)), ..draft.clone() }.parse();
    assert!(parse([70_000, 70_000]).is_ok());
    let error = parse([70_000, 140_000]).unwrap_err();
    let expected = LayerError::Length { len: 96, pieces: 5 };
    assert_eq!(error, MetainfoError::Layer { file: 2, why: expected });
}

#[test]
fn hybrids_whose_parts_differ_are_refused() {
    let error = |change: &dyn Fn(&mut Vec<V1File>)| {
        let mut draft = sample().hybrid();
        draft.v1.iter_mut().for_each(change);
        match draft.parse() {
            Err(MetainfoError::Hybrid { file, why }) => (file, why),
            other => panic!("{other:?}"),
        }
    };
    // As the draft has them: a, padding, b/c, b/d, padding, b/e, z.
    assert_eq!(error(&|v1| v1[2].0 = "b/C"), (2, HybridError::Path));
    assert_eq!(error(&|v1| v1[2].0 = "c"), (2, HybridError::Path));
    assert_eq!(error(&|v1| v1[2].1 += 1), (2, HybridError::Length));
    assert_eq!(error(&|v1| v1[3].2 = "l"), (3, HybridError::Link));
    assert_eq!(error(&|v1| v1[1].1 -= 1), (2, HybridError::Offset));
    assert_eq!(error(&|v1| v1[1].1 += PIECE), (2, HybridError::Offset));
    assert_eq!(error(&|v1| v1.retain(|file| file.1 != 32_763)), (1, HybridError::Offset));
    assert_eq!(error(&|v1| v1.swap(5, 6)), (5, HybridError::Path));
    assert_eq!(error(&|v1| v1.truncate(6)), (4, HybridError::Count));
    assert_eq!(error(&|v1| v1.push(("more", 0, ""))), (7, HybridError::Count));
    assert_eq!(error(&|v1| v1.push((".pad/y", 40_000, "p"))), (8, HybridError::Padding));
    // Padding to the end of the last piece is allowed, and so are other names for padding.
    let mut padded = sample().hybrid();
    padded.v1.as_mut().unwrap().push((".pad/y", PIECE - 1, "p"));
    assert!(padded.parse().unwrap().has_v2());
}

#[test]
fn piece_lengths_that_v2_forbids_are_refused() {
    for piece_len in [0, -1, 8192, 40_000, 1 << 29, i64::MIN] {
        let draft = Draft { piece_len, ..sample() };
        assert_eq!(draft.parse(), Err(MetainfoError::PieceLengthV2(piece_len)));
    }
}

#[test]
fn names_of_v2_are_made_safe_and_distinct() {
    let draft = Draft::new(&[("..", 1), ("A", 2), ("a", 3), ("con\u{202e}", 4)]);
    let torrent = draft.parse().unwrap();
    let stored = torrent.files().iter().filter(|file| file.is_stored());
    let paths: Vec<_> = stored.map(File::path).collect();
    assert_eq!(paths, ["_", "A", "a.1", "con"]);
}

#[test]
fn other_trackers_leave_roots_and_layers_where_they_are_found() {
    for draft in [sample(), sample().hybrid()] {
        let torrent = draft.parse().unwrap();
        let edited = torrent.with_trackers(&[vec!["http://a/".into()], vec!["udp://b:1".into()]]);
        let read = Metainfo::from_bytes(edited.to_bytes(), PathRules::Unix).unwrap();
        assert!(read == edited);
        assert_eq!(edited.infohash_v2(), torrent.infohash_v2());
        assert_eq!(edited.piece_layer(2), torrent.piece_layer(2));
        assert_eq!(edited.pieces_root(0), torrent.pieces_root(0));
    }
}

#[test]
fn metadata_of_peers_makes_a_torrent_without_layers() {
    let hybrid = sample().hybrid().parse().unwrap();
    let learnt = Metainfo::from_info(hybrid.info_bytes(), &Magnet::of(&hybrid)).unwrap();
    assert_eq!(learnt.infohash(), hybrid.infohash());
    assert!(learnt.has_v1() && !learnt.has_piece_layers());
    let alone = sample().parse().unwrap();
    let learnt = Metainfo::from_info(alone.info_bytes(), &Magnet::of(&alone)).unwrap();
    assert!(!learnt.has_v1() && !learnt.has_piece_layers());
    let known = |metainfo: &Metainfo| {
        let pieces = metainfo.geometry().iter();
        pieces.filter(|piece| metainfo.expected_hash(*piece).is_some()).count() as u32
    };
    assert!(known(&learnt) < alone.geometry().pieces(), "long files have no hashes");
    let piece = (0..).map(PieceIndex).find(|piece| learnt.expected_hash(*piece).is_none());
    let node = alone.piece_hash_v2(piece.unwrap());
    let given = learnt.expected_hash_with(piece.unwrap(), node);
    assert_eq!(given, alone.expected_hash(piece.unwrap()));
    let refused = Metainfo::from_bytes(learnt.to_bytes(), PathRules::HOST);
    assert_eq!(refused, Err(MetainfoError::NoLayers), "it is no torrent file");
    assert_eq!(Metainfo::from_kept(learnt.to_bytes(), PathRules::HOST), Ok(learnt));
    let short = Draft::new(&[("a", 5), ("b", PIECE)]).parse().unwrap();
    let learnt = Metainfo::from_info(short.info_bytes(), &Magnet::of(&short)).unwrap();
    assert!(learnt.has_piece_layers());
    assert!(Metainfo::parse(&learnt.to_bytes()).is_ok());
}

#[test]
fn layers_learnt_one_by_one_make_the_torrent_whole() {
    for draft in [sample(), sample().hybrid()] {
        let whole = draft.parse().unwrap();
        let mut known = Metainfo::from_info(whole.info_bytes(), &Magnet::of(&whole)).unwrap();
        let layers: Vec<(Sha256Hash, Bytes)> = (0..whole.files().len())
            .filter_map(|file| Some((whole.pieces_root(file)?, whole.piece_layer(file)?)))
            .collect();
        assert!(layers.len() > 1);
        for (at, (root, layer)) in layers.iter().enumerate() {
            assert!(!known.has_piece_layers(), "{at}");
            let (head, tail) = layer.split_at(32);
            let wrong = known.with_layers([(*root, vec![tail, head])]);
            assert!(matches!(wrong, Err(MetainfoError::Layer { why: LayerError::Root, .. })));
            known = known.with_layers([(*root, vec![head, tail])]).unwrap();
            assert_eq!(Metainfo::from_kept(known.to_bytes(), PathRules::HOST).unwrap(), known);
        }
        assert!(known.has_piece_layers());
        let read = Metainfo::parse(&known.to_bytes()).unwrap();
        assert!(read.geometry().iter().all(|piece| {
            read.expected_hash(piece).is_some()
                && read.expected_hash(piece) == whole.expected_hash(piece)
        }));
    }
}

#[test]
fn links_lead_to_files_and_folders_of_the_torrent_only() {
    let link = |node: &mut DictWriter<'_>, target: &str| {
        node.dict("", |properties| {
            properties.bytes("attr", "l");
            let parts = target.split('/');
            properties.list("symlink path", |list| parts.for_each(|part| list.bytes(part)));
        });
    };
    let tree = encode_dict(|tree| {
        tree.dict("dir", |dir| {
            dir.dict("f", |node| node.dict("", |file| file.int("length", 0)));
            dir.dict("g", |node| link(node, "dir/f"));
        });
        let links =
            [("in", "dir/f"), ("nowhere", "dir/nothing"), ("to-dir", "dir"), ("to-link", "in")];
        links.iter().for_each(|(name, target)| tree.dict(name, |node| link(node, target)));
    });
    let draft = Draft { tree: Some(tree), ..sample() };
    let torrent = draft.parse().unwrap();
    let targets: Vec<_> = (0..torrent.files().len())
        .map(|at| (torrent.files()[at].path(), torrent.link_target(at)))
        .collect();
    let expected = [
        ("dir/f", None),
        ("dir/g", Some("dir/f")),
        ("in", Some("dir/f")),
        ("nowhere", None),
        ("to-dir", Some("dir")),
        ("to-link", Some("in")),
    ];
    assert_eq!(targets, expected);
    let spec = torrent.store_spec(Path::new(""));
    assert_eq!((spec.files.len(), spec.links.len()), (1, 4));
    let out = encode_dict(|tree| tree.dict("out", |node| link(node, "../x")));
    let refused = Draft { tree: Some(out), ..sample() }.parse();
    assert_eq!(refused, Err(MetainfoError::Link { file: 0, why: LinkError::Outside }));
}

#[test]
fn hints_at_other_torrents_count_inside_and_outside_of_info() {
    let bytes = encode_dict(|root| {
        root.dict("info", |info| {
            info.list("collections", |list| list.bytes("one"));
            info.int("length", 0);
            info.bytes("name", "a");
            info.int("piece length", 16_384);
            info.bytes("pieces", "");
            info.list("similar", |list| {
                list.bytes([1; 20]);
                list.bytes([2; 5]);
            });
        });
        root.list("collections", |list| {
            list.bytes("two\x1b");
            list.bytes("one");
        });
        root.list("similar", |list| list.bytes([3; 32]));
    });
    let torrent = Metainfo::parse(&bytes).unwrap();
    assert_eq!(torrent.similar(), [InfoHash([1; 20]), InfoHash([3; 20])]);
    assert_eq!(torrent.collections(), ["one", "two\u{fffd}"]);
}

quickcheck! {
    fn a_damaged_torrent_of_v2_never_panics_and_what_is_read_fits(
        cuts: Vec<(u16, u8)>, hybrid: bool
    ) -> bool {
        let draft = if hybrid { sample().hybrid() } else { sample() };
        let mut bytes = draft.bytes();
        for (at, byte) in cuts.into_iter().take(4) {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        let Ok(torrent) = Metainfo::parse(&bytes) else { return true };
        let pieces = torrent.geometry().pieces();
        let complete = torrent.has_piece_layers()
            && (0..pieces).all(|piece| torrent.piece_hash_v2(PieceIndex(piece)).is_some());
        torrent.layout().geometry() == torrent.geometry()
            && (torrent.has_v1() || complete)
    }
}

#[test]
fn integers_with_leading_zeros_are_refused_in_v2_and_read_in_v1() {
    for protocol in [Protocol::V1, Protocol::V2, Protocol::Hybrid] {
        let creator = Creator::single_file("a", 7).with_protocol(protocol);
        let torrent = creator.finish_with_content(b"1234567").unwrap();
        let bytes = torrent.to_bytes().to_vec();
        let at = bytes.windows(11).position(|part| part == b"6:lengthi7e").expect("a length");
        for padded in [&b"6:lengthi07e"[..], b"6:lengthi007e"] {
            let odd = [&bytes[..at], padded, &bytes[at + 11..]].concat();
            let read = Metainfo::parse(&odd);
            match protocol {
                Protocol::V1 => assert_eq!(read.unwrap().total_len(), 7),
                _ => assert_eq!(read.unwrap_err(), MetainfoError::PaddedInteger),
            }
        }
    }
}
