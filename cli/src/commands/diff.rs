//! `diff`: says in what two torrent files differ.

use std::collections::BTreeMap;

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::piece::InfoHashV2;
use serde_json::{Value, json};

use crate::args::Diff;
use crate::describe;
use crate::exit::{Code, Failure};
use crate::input;
use crate::output::{Object, print};
use crate::units::counted;

/// One line a difference; any of them ends it with code 13.
pub(crate) fn run(args: &Diff) -> Result<(), Failure> {
    let (a, b) = (input::load(&args.a)?, input::load(&args.b)?);
    let (fields, files) = (fields(&a, &b), files(&a, &b));
    if args.json {
        let field = |(name, a, b): &(&str, Value, Value)| json!({ "field": name, "a": a, "b": b });
        let file = |file: &FileDiff| json!({ "path": file.path, "difference": file.word });
        Object::new()
            .with("same", fields.is_empty() && files.is_empty())
            .with("same_content", files.is_empty())
            .with("fields", fields.iter().map(field).collect::<Vec<_>>())
            .with("files", files.iter().map(file).collect::<Vec<_>>())
            .print()?;
    } else {
        for (name, a, b) in &fields {
            print(&format!("{name}: {} / {}", shown(a), shown(b)))?;
        }
        for file in &files {
            print(&format!("{}: {}", file.path, file.words))?;
        }
    }
    if fields.is_empty() && files.is_empty() {
        return Ok(());
    }
    let (a, b) = (input::shown(&args.a), input::shown(&args.b));
    let fields = counted(fields.len(), "field", "fields");
    let files = counted(files.len(), "file", "files");
    let message = format!("{a} and {b} differ in {fields} and {files}");
    Err(Failure::verdict(Code::Mismatch, message))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

/// The fields of `info --json` but the files, as far as they differ.
fn fields(a: &Metainfo, b: &Metainfo) -> Vec<(&'static str, Value, Value)> {
    let sides = [a, b].map(described);
    let [a, b] = sides;
    a.into_iter()
        .zip(b)
        .filter(|((_, a), (_, b))| a != b)
        .map(|((name, a), (_, b))| (name, a, b))
        .collect()
}

fn described(torrent: &Metainfo) -> Vec<(&'static str, Value)> {
    let geometry = torrent.geometry();
    vec![
        ("infohash", json!(torrent.infohash_v1().map(|hash| hash.to_string()))),
        ("infohash v2", json!(torrent.infohash_v2().map(|hash| hash.to_string()))),
        ("name", json!(torrent.name())),
        ("size", json!(describe::size_of_files(torrent))),
        ("piece length", json!(geometry.piece_len())),
        ("pieces", json!(geometry.pieces())),
        ("private", json!(torrent.is_private())),
        ("source", json!(torrent.source())),
        ("trackers", json!(torrent.trackers())),
        ("web seeds", json!(torrent.web_seeds())),
        ("DHT nodes", json!(torrent.nodes())),
        ("comment", json!(torrent.comment())),
        ("created by", json!(torrent.created_by())),
        ("creation date", json!(torrent.creation_date())),
        ("collections", json!(torrent.collections())),
    ]
}

/// A file that is not the same in both.
struct FileDiff {
    path: String,
    /// For programs.
    word: &'static str,
    /// For people.
    words: String,
}

/// A file, or a symbolic link, as far as the torrent tells it from others.
#[derive(Clone, PartialEq, Eq)]
struct Known {
    length: u64,
    root: Option<InfoHashV2>,
    executable: bool,
    hidden: bool,
    /// Of a link, where it leads, if to something in the torrent.
    link: Option<Option<String>>,
}

fn files(a: &Metainfo, b: &Metainfo) -> Vec<FileDiff> {
    let (a, b) = (known(a), known(b));
    let mut paths: Vec<&String> = a.keys().chain(b.keys()).collect();
    paths.sort();
    paths.dedup();
    paths.into_iter().filter_map(|path| compare(path, a.get(path), b.get(path))).collect()
}

fn known(torrent: &Metainfo) -> BTreeMap<String, Known> {
    let files = torrent.files().iter().enumerate();
    let files = files.filter(|(_, file)| file.is_stored() || file.is_link());
    files
        .map(|(index, file)| {
            let target = || torrent.link_target(index).map(str::to_owned);
            let known = Known {
                length: file.length(),
                root: torrent.pieces_root(index).map(InfoHashV2),
                executable: file.attributes().executable,
                hidden: file.attributes().hidden,
                link: file.is_link().then(target),
            };
            (file.path().to_owned(), known)
        })
        .collect()
}

fn compare(path: &str, a: Option<&Known>, b: Option<&Known>) -> Option<FileDiff> {
    let (word, words) = match (a, b) {
        (Some(_), None) => ("only_in_a", "only in the first".to_owned()),
        (None, Some(_)) => ("only_in_b", "only in the second".to_owned()),
        (Some(a), Some(b)) if a.link != b.link => {
            let leads = |link: &Option<Option<String>>| match link {
                Some(Some(target)) => format!("a link to {target}"),
                Some(None) => "a link to nothing".to_owned(),
                None => "a file".to_owned(),
            };
            ("link", format!("{} / {}", leads(&a.link), leads(&b.link)))
        }
        (Some(a), Some(b)) if a.length != b.length => {
            let bytes = |known: &Known| counted(known.length, "byte", "bytes");
            ("length", format!("{} / {}", bytes(a), bytes(b)))
        }
        // Only v2 has a hash of the file; without one on either side nothing is known.
        (Some(Known { root: Some(a), .. }), Some(Known { root: Some(b), .. })) if a != b => {
            ("content", "other content".to_owned())
        }
        (Some(a), Some(b)) if a.executable != b.executable => {
            ("executable", "executable in one only".to_owned())
        }
        (Some(a), Some(b)) if a.hidden != b.hidden => ("hidden", "hidden in one only".to_owned()),
        _ => return None,
    };
    Some(FileDiff { path: path.to_owned(), word, words })
}
