//! What a torrent or a magnet link says, in words and in JSON: for every command that shows one.

use bitswarm_core::metainfo::{File, Magnet, Metainfo};
use bitswarm_core::piece::InfoHashV2;
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output::{Object, print};
use crate::units::Size;

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

/// What `--json` prints of a magnet link.
pub(crate) fn magnet_object(magnet: &Magnet) -> Object {
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

/// Prints what a magnet link says by itself.
pub(crate) fn magnet_rows(magnet: &Magnet) -> Vec<(&'static str, String)> {
    let v1 = (!magnet.is_v2_only()).then(|| ("infohash", magnet.infohash.to_string()));
    let mut rows: Vec<_> = v1.into_iter().collect();
    rows.extend(magnet.v2.map(|v2| ("infohash v2", v2.to_string())));
    let name = magnet.name.iter().map(|name| ("name", name.clone()));
    let trackers = magnet.trackers.iter().map(|url| ("tracker", url.clone()));
    let seeds = magnet.web_seeds.iter().map(|url| ("web seed", url.clone()));
    let peers = magnet.peers.iter().map(|peer| ("peer", peer.to_string()));
    let files = magnet.select.iter().map(|files| {
        // As `--files` counts them.
        ("only files", format!("{} (so={files})", files.from_one()))
    });
    rows.extend(name.chain(trackers).chain(seeds).chain(peers).chain(files));
    rows
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

pub(crate) fn protocol(metainfo: &Metainfo) -> &'static str {
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
