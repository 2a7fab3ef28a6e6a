mod outer;

use quickcheck::quickcheck;

use super::*;
use crate::bencode::{DictWriter, Document, Limits, encode_dict};
use crate::disk::{FileIndex, StoreFile};

/// A file of the torrents made here: its path with `/`, its length, its `attr`.
type Entry<'a> = (&'a str, i64, &'a str);

/// The keys of an info dictionary that every torrent has, for content of `total` bytes.
fn common(info: &mut DictWriter<'_>, name: &[u8], total: i64) {
    let pieces = usize::try_from(total).unwrap_or(0).div_ceil(16_384);
    info.bytes("name", name);
    info.int("piece length", 16_384);
    info.bytes("pieces", (0..pieces).flat_map(|piece| [piece as u8; 20]).collect::<Vec<_>>());
}

fn single(name: &[u8], length: i64) -> Vec<u8> {
    encode_dict(|root| {
        root.dict("info", |info| {
            common(info, name, length);
            info.int("length", length);
        });
    })
}

fn multi_file(name: &str, files: &[Entry<'_>]) -> Vec<u8> {
    encode_dict(|root| {
        root.dict("info", |info| {
            common(info, name.as_bytes(), files.iter().map(|file| file.1).sum());
            info.list("files", |list| {
                for (path, length, attr) in files {
                    list.dict(|file| {
                        file.int("length", *length);
                        file.list("path", |list| path.split('/').for_each(|part| list.bytes(part)));
                        if !attr.is_empty() {
                            file.bytes("attr", attr);
                        }
                        if attr.contains('l') {
                            let target = files[0].0.split('/');
                            file.list("symlink path", |list| target.for_each(|p| list.bytes(p)));
                        }
                    });
                }
            });
        });
    })
}

fn paths(torrent: &Metainfo) -> Vec<&str> {
    torrent.files().iter().map(File::path).collect()
}

#[test]
fn a_torrent_of_one_file_is_read() {
    let bytes = single(b"file.bin", 40_000);
    let torrent = Metainfo::parse(&bytes).unwrap();
    assert_eq!(torrent.name(), "file.bin");
    assert!(!torrent.is_multi_file());
    assert_eq!(torrent.total_len(), 40_000);
    assert_eq!(*torrent.geometry(), Geometry::new(40_000, 16_384).unwrap());
    assert_eq!(torrent.piece_hash(PieceIndex(0)), Some([0; 20]));
    assert_eq!(torrent.piece_hash(PieceIndex(2)), Some([2; 20]));
    assert_eq!(torrent.piece_hash(PieceIndex(3)), None);
    assert_eq!(torrent.piece_hash(PieceIndex(u32::MAX)), None);
    assert_eq!(paths(&torrent), ["file.bin"]);
    assert_eq!(torrent.info_bytes(), bytes[7..bytes.len() - 1]);
    let spec = torrent.store_spec(Path::new("/data"));
    let file = StoreFile { path: "file.bin".into(), length: 40_000, executable: false };
    assert_eq!(
        spec,
        StoreSpec {
            root: "/data".into(),
            files: vec![file],
            links: vec![],
            follow_top_link: false
        }
    );
}

#[test]
fn of_a_single_file_only_attributes_that_make_sense_count() {
    let bytes = with_info(5, |info| {
        info.int("length", 5);
        info.bytes("attr", "?lpxh");
    });
    let torrent = Metainfo::parse(&bytes).unwrap();
    let expected = Attributes { executable: true, hidden: true, ..Attributes::default() };
    assert_eq!(torrent.files()[0].attributes(), expected);
    assert!(torrent.store_spec(Path::new("")).files[0].executable);
}

#[test]
fn errors_say_what_and_the_way_out() {
    assert_eq!(
        error(b"<html>").to_string(),
        "not a torrent file: not bencoding at byte 0: no value begins with this byte"
    );
    assert_eq!(
        MetainfoError::PieceCount { hashes: 2, pieces: 1 }.to_string(),
        "piece hashes of 2 pieces for content of 1 piece"
    );
    let hybrid = MetainfoError::Hybrid { file: 3, why: HybridError::Length };
    assert!(hybrid.to_string().contains("the lengths differ, at file 3"));
}

#[test]
fn a_torrent_of_many_files_is_read() {
    let files = [("a/b.txt", 5, ""), ("empty", 0, "x"), (".pad/3", 3, "p"), ("c", 16_384, "h")];
    let torrent = Metainfo::parse(&multi_file("top", &files)).unwrap();
    assert!(torrent.is_multi_file());
    assert_eq!(torrent.total_len(), 16_392);
    assert_eq!(paths(&torrent), ["a/b.txt", "empty", ".pad/3", "c"]);
    let offsets: Vec<_> = torrent.files().iter().map(|f| (f.offset(), f.length())).collect();
    assert_eq!(offsets, [(0, 5), (5, 0), (5, 3), (8, 16_384)]);
    assert!(torrent.files()[2].attributes().pad);
    assert!(torrent.files()[3].attributes().hidden);
    let stored = torrent.store_spec(Path::new("/data")).files;
    let stored: Vec<_> = stored.iter().map(|f| (f.path.to_str().unwrap(), f.executable)).collect();
    assert_eq!(stored, [("top/a/b.txt", false), ("top/empty", true), ("top/c", false)]);
}

/// A torrent whose info dictionary is made by `fill` on top of the common keys.
fn with_info(total: i64, fill: impl FnOnce(&mut DictWriter<'_>)) -> Vec<u8> {
    encode_dict(|root| {
        root.dict("info", |info| {
            common(info, b"name", total);
            fill(info);
        });
    })
}

/// A torrent of 5 bytes with more keys beside its info dictionary.
fn with_outer(fill: impl FnOnce(&mut DictWriter<'_>)) -> Metainfo {
    let bytes = encode_dict(|root| {
        root.dict("info", |info| {
            common(info, b"name", 5);
            info.int("length", 5);
        });
        fill(root);
    });
    Metainfo::parse(&bytes).unwrap()
}

fn error(bytes: &[u8]) -> MetainfoError {
    Metainfo::parse(bytes).unwrap_err()
}

fn tiers<'a>(tiers: impl IntoIterator<Item = &'a [&'a str]>) -> Vec<Vec<String>> {
    tiers.into_iter().map(|tier| tier.iter().map(ToString::to_string).collect()).collect()
}

#[test]
fn the_infohash_is_that_of_the_bytes_received() {
    // SHA-1 by another program of the info dictionary as it stands here: keys unsorted, a length
    // with a leading zero.
    let info = b"d6:lengthi05e12:piece lengthi16384e4:name1:a6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let torrent = Metainfo::parse(&[b"d4:info", &info[..], b"e"].concat()).unwrap();
    assert_eq!(torrent.infohash().to_string(), "283bdafa39c32e5033ff7049a27975b19b0a12f5");
    assert_eq!(torrent.info_bytes(), info[..]);
    assert_eq!(torrent.total_len(), 5);
}

#[test]
fn bytes_after_the_torrent_are_ignored_and_kept() {
    let bytes = [single(b"a", 5), b"\n".to_vec()].concat();
    let torrent = Metainfo::parse(&bytes).unwrap();
    assert_eq!(torrent.to_bytes(), bytes);
    assert_eq!(torrent.infohash(), Metainfo::parse(&single(b"a", 5)).unwrap().infohash());
}

#[test]
fn what_is_no_torrent_is_refused_by_name() {
    assert!(matches!(error(b""), MetainfoError::Bencode(_)));
    assert!(matches!(error(b"<html>"), MetainfoError::Bencode(_)));
    let whole = single(b"a", 5);
    for len in 0..whole.len() {
        assert!(matches!(error(&whole[..len]), MetainfoError::Bencode(_)));
    }
    assert_eq!(error(b"le"), MetainfoError::NotADictionary);
    assert_eq!(error(b"de"), MetainfoError::Missing("info"));
    assert_eq!(error(b"d4:info1:xe"), MetainfoError::WrongType("info"));
    let len = MAX_METAINFO_LEN + 1;
    let long = Bytes::from(vec![b'l'; len]);
    let refused = Metainfo::from_bytes(long, PathRules::HOST).unwrap_err();
    assert_eq!(refused, MetainfoError::TooLong { len });
}

#[test]
fn a_key_that_is_missing_or_wrong_is_named() {
    let of = |info: &[u8]| error(&[b"d4:infod", info, b"ee"].concat());
    assert_eq!(of(b""), MetainfoError::Missing("info.name"));
    assert_eq!(of(b"4:namei1e"), MetainfoError::WrongType("info.name"));
    assert_eq!(of(b"4:name1:a"), MetainfoError::LengthOrFiles);
    assert_eq!(of(b"6:lengthi1e4:name1:a"), MetainfoError::Missing("info.piece length"));
    assert_eq!(
        of(b"6:lengthi1e4:name1:a12:piece length1:x"),
        MetainfoError::WrongType("info.piece length")
    );
    let rest = b"6:lengthi1e4:name1:a12:piece lengthi16384e";
    assert_eq!(of(rest), MetainfoError::Missing("info.pieces"));
    assert_eq!(of(&[rest, &b"6:piecesi1e"[..]].concat()), MetainfoError::WrongType("info.pieces"));
    assert_eq!(of(b"5:filesi1e4:name1:a"), MetainfoError::WrongType("info.files"));
}

#[test]
fn piece_lengths_that_are_not_plausible_are_refused() {
    let of = |len: &str| {
        let info =
            format!("6:lengthi5e4:name1:a12:piece lengthi{len}e6:pieces20:aaaaaaaaaaaaaaaaaaaa");
        Metainfo::parse(format!("d4:infod{info}ee").as_bytes()).map(|t| t.geometry().piece_len())
    };
    assert_eq!(of("0"), Err(MetainfoError::PieceLength(0)));
    assert_eq!(of("-1"), Err(MetainfoError::PieceLength(-1)));
    assert_eq!(of("268435457"), Err(MetainfoError::PieceLength(268_435_457)));
    assert_eq!(of("4294983680"), Err(MetainfoError::PieceLength(4_294_983_680)));
    assert_eq!(of("99999999999999999999"), Err(MetainfoError::WrongType("info.piece length")));
    assert_eq!(of("268435456"), Ok(268_435_456));
    // Odd, but BEP 3 forbids no length.
    assert_eq!(of("7"), Ok(7));
}

#[test]
fn hashes_must_be_whole_and_as_many_as_pieces() {
    let of = |hashes: usize, length: i64| {
        let bytes = with_info(0, |info| {
            info.bytes("pieces", vec![1; hashes]);
            info.int("length", length);
        });
        Metainfo::parse(&bytes).map(|torrent| torrent.geometry().pieces())
    };
    assert_eq!(of(20, 16_384), Ok(1));
    assert_eq!(of(40, 16_385), Ok(2));
    assert_eq!(of(0, 0), Ok(0));
    assert_eq!(of(19, 5), Err(MetainfoError::PieceHashes { len: 19 }));
    assert_eq!(of(20, 16_385), Err(MetainfoError::PieceCount { hashes: 1, pieces: 2 }));
    assert_eq!(of(40, 16_384), Err(MetainfoError::PieceCount { hashes: 2, pieces: 1 }));
    assert_eq!(of(0, 1), Err(MetainfoError::PieceCount { hashes: 0, pieces: 1 }));
    let pieces = (i64::MAX as u64).div_ceil(16_384);
    assert_eq!(of(20, i64::MAX), Err(MetainfoError::TooManyPieces { pieces }));
}

#[test]
fn lengths_that_are_negative_or_overflow_are_refused() {
    assert_eq!(error(&single(b"a", -1)), MetainfoError::FileLength { file: 0 });
    let refused = |files: &[Entry<'_>]| {
        let list = |info: &mut DictWriter<'_>| {
            info.list("files", |list| {
                for (path, length, _) in files {
                    list.dict(|file| {
                        file.int("length", *length);
                        file.list("path", |list| list.bytes(path));
                    });
                }
            });
        };
        error(&with_info(0, list))
    };
    assert_eq!(refused(&[("a", 1, ""), ("b", -1, "")]), MetainfoError::FileLength { file: 1 });
    assert_eq!(refused(&[("a", i64::MAX, ""), ("b", 1, "")]), MetainfoError::TotalOverflow);
    let three = [("a", i64::MAX, ""), ("b", i64::MAX, ""), ("c", i64::MAX, "")];
    assert_eq!(refused(&three), MetainfoError::TotalOverflow);
    assert_eq!(refused(&[]), MetainfoError::NoFiles);
}

#[test]
fn length_and_files_together_are_refused() {
    let both = with_info(5, |info| {
        info.int("length", 5);
        info.list("files", |_| ());
    });
    assert_eq!(error(&both), MetainfoError::LengthOrFiles);
}

#[test]
fn a_file_without_a_usable_path_is_refused() {
    let of = |path: &[u8]| {
        let file = [b"ld6:lengthi0e4:path", path, b"ee"].concat();
        Metainfo::parse(&with_info(0, |info| info.raw("files", &file)))
            .map(|t| t.files[0].path.clone())
    };
    let refused = Err(MetainfoError::FilePath { file: 0 });
    assert_eq!(of(b"le"), refused);
    assert_eq!(of(b"1:a"), refused);
    assert_eq!(of(b"li1ee"), refused);
    assert_eq!(of(b"l2:..2:..3:etce"), Ok("_/_/etc".to_owned()));
    assert_eq!(of(b"l0:1:ae"), Ok("_/a".to_owned()));
    assert_eq!(of(b"l11:/etc/passwde"), Ok("etcpasswd".to_owned()));
    let deep = [&b"l"[..], &b"1:d".repeat(2049), b"e"].concat();
    assert_eq!(of(&deep), Err(MetainfoError::PathTooLong { file: 0 }));
}

#[test]
fn too_many_files_are_refused() {
    let list = [&b"l"[..], &b"d6:lengthi0e4:pathl1:aee".repeat(MAX_FILES + 1), b"e"].concat();
    assert_eq!(error(&with_info(0, |info| info.raw("files", &list))), MetainfoError::TooManyFiles);
}

#[test]
fn utf_8_versions_of_names_are_preferred() {
    let file = b"ld6:lengthi5e4:pathl1:\xe4e10:path.utf-8l2:\xc3\xa4eee";
    let bytes = with_info(5, |info| {
        info.bytes("name", b"\xe4");
        info.bytes("name.utf-8", "ä");
        info.raw("files", file);
    });
    let torrent = Metainfo::parse(&bytes).unwrap();
    assert_eq!(torrent.name(), "ä");
    assert_eq!(paths(&torrent), ["ä"]);
}

#[test]
fn a_name_that_comes_to_nothing_is_the_infohash() {
    for name in [&b".."[..], b"", b"/", b"."] {
        let torrent = Metainfo::parse(&single(name, 5)).unwrap();
        assert_eq!(torrent.name(), torrent.infohash().to_string());
        assert_eq!(paths(&torrent), [torrent.name()]);
    }
}

#[test]
fn no_path_of_the_store_leaves_the_root() {
    let bytes = multi_file("../../etc", &[("../x", 1, ""), ("/", 1, ""), ("a/../..", 1, "")]);
    let torrent = Metainfo::parse(&bytes).unwrap();
    for file in torrent.store_spec(Path::new("/data")).files {
        let is_plain = |part| matches!(part, std::path::Component::Normal(_));
        assert!(file.path.components().all(is_plain), "{}", file.path.display());
    }
}

#[test]
fn pad_files_may_share_a_path_and_displace_nobody() {
    let files = [(".pad/5", 5, ""), (".pad/5", 5, "p"), ("b", 1, ""), (".pad/5", 5, "p")];
    let torrent = Metainfo::parse(&multi_file("top", &files)).unwrap();
    assert_eq!(paths(&torrent), [".pad/5", ".pad/5", "b", ".pad/5"]);
    assert_eq!(torrent.store_spec(Path::new("")).files.len(), 2);
}

#[test]
fn a_pad_file_needs_no_path() {
    let list = b"ld6:lengthi5e4:pathl1:aeed4:attr1:p6:lengthi11eee";
    let torrent = Metainfo::parse(&with_info(16, |info| info.raw("files", list))).unwrap();
    assert_eq!(paths(&torrent), ["a", ".pad/11"]);
}

#[test]
fn a_link_has_no_content_and_is_not_stored() {
    let list = b"ld6:lengthi5e4:pathl1:aeed4:attr1:l4:pathl1:be12:symlink pathl1:aeed4:attr1:l6:lengthi9e4:pathl1:ce12:symlink pathl1:beee";
    let torrent = Metainfo::parse(&with_info(5, |info| info.raw("files", list))).unwrap();
    assert_eq!(paths(&torrent), ["a", "b", "c"]);
    assert!(torrent.files()[1..].iter().all(|file| file.length() == 0 && !file.is_stored()));
    assert_eq!(torrent.store_spec(Path::new("")).files.len(), 1);
}

#[test]
fn a_link_that_must_not_be_made_makes_the_torrent_useless() {
    let refused = |path: &str, target: &str| {
        let link = format!("d4:attr1:l4:pathl{path}e{target}e");
        let list = format!("ld6:lengthi5e4:pathl1:d1:aee{link}e");
        let torrent = Metainfo::parse(&with_info(5, |info| info.raw("files", list.as_bytes())));
        match torrent {
            Err(MetainfoError::Link { file: 1, why }) => Some(why),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    };
    let to_file = "12:symlink pathl1:d1:ae";
    for (path, target, expected) in [
        ("1:l", to_file, None),
        ("1:l", "12:symlink pathl1:xe", None),
        ("1:l", "", Some(LinkError::NoTarget)),
        ("1:l", "12:symlink pathle", Some(LinkError::NoTarget)),
        ("1:l", "12:symlink pathli1ee", Some(LinkError::NoTarget)),
        ("1:l", "12:symlink path2:..", Some(LinkError::NoTarget)),
        ("1:l", "12:symlink pathl2:..3:etce", Some(LinkError::Outside)),
        ("1:l", "12:symlink pathl1:d2:..2:..e", Some(LinkError::Outside)),
        ("1:l", "12:symlink pathl4:/etce", Some(LinkError::Outside)),
        ("1:l", "12:symlink pathl0:3:etce", Some(LinkError::Outside)),
        // As a file of that name it would lie inside; there is none.
        ("1:l", "12:symlink pathl5:..\\\\xe", None),
        ("1:d", to_file, Some(LinkError::Taken)),
        ("1:D", to_file, Some(LinkError::Taken)),
        ("1:d1:a", to_file, Some(LinkError::Taken)),
        ("1:d1:a1:l", to_file, Some(LinkError::Taken)),
    ] {
        assert_eq!(refused(path, target), expected, "{path} {target}");
    }
}

#[test]
fn two_links_in_one_place_or_one_beneath_the_other_are_refused() {
    for (one, other) in [("l", "l"), ("l", "L"), ("l", "l/m"), ("l/m", "l")] {
        let files = [("a", 5, ""), (one, 0, "l"), (other, 0, "l")];
        let refused = Metainfo::parse(&multi_file("top", &files));
        let why = LinkError::Taken;
        assert_eq!(refused, Err(MetainfoError::Link { file: 2, why }), "{one} {other}");
    }
}

#[test]
fn a_link_to_a_file_whose_name_is_changed_leads_to_it() {
    let bytes = b"d4:infod5:filesld6:lengthi5e4:pathl3:a\\beed4:attr1:l6:lengthi0e4:pathl1:le\
        12:symlink pathl3:a\\beee4:name3:top12:piece lengthi16384e6:pieces20:01234567890123456789ee";
    let torrent = Metainfo::parse(bytes).unwrap();
    let spec = torrent.store_spec(Path::new("/root"));
    assert_eq!(spec.files[0].path, Path::new("top/ab"));
    assert_eq!(spec.links, [StoreLink { path: "top/l".into(), target: "ab".into() }]);
}

#[test]
fn links_of_the_store_lead_from_their_folder() {
    let files = [("d/a", 5, ""), ("d/l", 0, "l"), ("e/f/l", 0, "l")];
    let torrent = Metainfo::parse(&multi_file("top", &files)).unwrap();
    let link = |path: &str, target: &str| StoreLink { path: path.into(), target: target.into() };
    let expected = [link("top/d/l", "a"), link("top/e/f/l", "../../d/a")];
    assert_eq!(torrent.store_spec(Path::new("/root")).links, expected);
}

#[test]
fn the_layout_agrees_with_the_store() {
    let files = [("a", 5, ""), ("b", 0, "l"), ("c", 11, "p"), ("d", 0, ""), ("e", 7, "")];
    let torrent = Metainfo::parse(&multi_file("top", &files)).unwrap();
    let layout = torrent.layout();
    let store = torrent.store_spec(Path::new("")).files;
    assert_eq!(layout.stored_files(), store.len());
    for (at, file) in store.iter().enumerate() {
        let index = layout.file_of_store(FileIndex(at as u32)).unwrap();
        let listed = &torrent.files()[index];
        assert_eq!(file.path, Path::new("top").join(listed.path()));
        assert_eq!(file.length, listed.length());
    }
}

#[test]
fn private_is_any_number_but_zero() {
    let private = |value: i64| {
        let bytes = with_info(5, |info| {
            info.int("length", 5);
            info.int("private", value);
        });
        Metainfo::parse(&bytes).unwrap().is_private()
    };
    assert!(private(1) && private(2) && !private(0));
    // Outside of info it does not bind anybody: it could be taken away.
    assert!(!with_outer(|root| root.int("private", 1)).is_private());
}

quickcheck! {
    fn a_torrent_with_any_bytes_changed_is_consistent_or_refused(
        changes: Vec<(u16, u8)>, cut: Option<u16>
    ) -> bool {
        let files = [("a/b", 5, ""), ("c", 7, "p"), ("d", 0, "l"), ("A/B", 16_384, "")];
        let mut bytes = multi_file("top", &files);
        let len = bytes.len();
        for (at, with) in changes.into_iter().take(3) {
            // Digits and marks more often than others.
            let with = if with < 128 { b"0123456789:ilde-"[usize::from(with % 16)] } else { with };
            bytes[usize::from(at) % len] = with;
        }
        bytes.truncate(cut.map_or(len, |cut| usize::from(cut) % (len * 4)));
        let Ok(torrent) = Metainfo::parse(&bytes) else { return true };
        let total: u64 = torrent.files().iter().map(File::length).sum();
        let pieces = torrent.geometry().pieces();
        let edited = torrent.with_trackers(&tiers([&["http://t/"][..]]));
        total == torrent.total_len()
            && (0..pieces).all(|piece| torrent.piece_hash(PieceIndex(piece)).is_some())
            && torrent.piece_hash(PieceIndex(pieces)).is_none()
            && torrent.to_bytes() == bytes
            && edited.info_bytes() == torrent.info_bytes()
            && torrent.layout().geometry() == torrent.geometry()
    }

    fn no_bytes_make_it_panic(bytes: Vec<u8>) -> bool {
        Metainfo::parse(&bytes).is_err()
            && Metainfo::parse(&[b"d4:infod", &bytes[..], b"ee"].concat()).is_err()
    }
}
