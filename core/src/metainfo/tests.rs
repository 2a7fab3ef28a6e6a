use quickcheck::quickcheck;

use super::*;
use crate::bencode::{DictWriter, encode_dict};
use crate::disk::StoreFile;

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
    assert_eq!(torrent.geometry(), Geometry::new(40_000, 16_384).unwrap());
    assert_eq!(torrent.piece_hash(PieceIndex(0)), Some([0; 20]));
    assert_eq!(torrent.piece_hash(PieceIndex(2)), Some([2; 20]));
    assert_eq!(torrent.piece_hash(PieceIndex(3)), None);
    assert_eq!(torrent.piece_hash(PieceIndex(u32::MAX)), None);
    assert_eq!(paths(&torrent), ["file.bin"]);
    assert_eq!(torrent.info_bytes(), bytes[7..bytes.len() - 1]);
    let spec = torrent.store_spec(Path::new("/data"));
    let file = StoreFile { path: "file.bin".into(), length: 40_000, executable: false };
    assert_eq!(spec, StoreSpec { root: "/data".into(), files: vec![file] });
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

quickcheck! {
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at: u16, with: u8) -> bool {
        let mut torrent = multi_file("top", &[("a/b", 5, ""), ("c", 7, "p"), ("d", 0, "l")]);
        let at = usize::from(at) % torrent.len();
        torrent[at] = with;
        Metainfo::parse(&bytes).is_err() && Metainfo::parse(&torrent).is_ok() | true
    }
}
