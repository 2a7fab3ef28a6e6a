//! `edit`: changes what a torrent file says beside its content.
//!
//! Nothing but `--source` and `--private` is part of the infohash; when an edit changes it, that is
//! said, because peers of the old torrent are not found with the new one.

use std::path::PathBuf;

use bitswarm_core::metainfo::{self, Metainfo};

use crate::args::{CreationDate, Edit, Tier};
use crate::describe;
use crate::exit::{Code, Failure};
use crate::input;
use crate::output::{print, print_raw};
use crate::replace::{self, Existing};

/// Changes, writes, says what became of the infohash.
pub(crate) fn run(args: &Edit) -> Result<(), Failure> {
    if args.output.is_none() && !input::is_file(&args.torrent) {
        let message = "there is no file to change in place; -o FILE says where to write";
        return Err(Failure::new(Code::Usage, message));
    }
    let torrent = input::load(&args.torrent)?;
    let edit = edit(args, &torrent)?;
    if edit == metainfo::Edit::default() {
        let message = "nothing to change; say what, such as --tracker URL (see --help)";
        return Err(Failure::new(Code::Usage, message));
    }
    let changed = torrent.edited(&edit).map_err(|error| {
        let path = input::shown(&args.torrent);
        Failure::new(Code::BadInput, format!("{path} cannot be changed like this: {error}"))
    })?;
    let output = args.output.as_ref().unwrap_or(&args.torrent);
    if output.as_os_str() == "-" {
        return print_raw(&changed.to_bytes());
    }
    replace::write(output, &changed.to_bytes(), existing(args))?;
    let same = changed.info_bytes() == torrent.info_bytes();
    let verdict = if same {
        "the infohash is the same"
    } else {
        "the infohash is another: this is a new torrent, which peers of the old one do not know"
    };
    print(&format!("{}: {}; {verdict}", output.display(), describe::infohashes(&changed)))
}

/// The torrent that is edited is meant to be replaced, another file is not.
fn existing(args: &Edit) -> Existing {
    let is_same = |output: &PathBuf| {
        let real = |path: &PathBuf| path.canonicalize().ok();
        real(output).is_some_and(|output| real(&args.torrent) == Some(output))
    };
    Existing::by_force(args.force || args.output.as_ref().is_none_or(is_same))
}

fn edit(args: &Edit, torrent: &Metainfo) -> Result<metainfo::Edit, Failure> {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let nodes = args.nodes.iter().map(|node| (node.host.clone(), node.port)).collect();
    let similar = input::similar(&args.similar)?;
    let collections = &args.collections;
    Ok(metainfo::Edit {
        trackers: trackers(args, torrent)?,
        web_seeds: replaced(&args.web_seeds, args.no_web_seeds).then(|| args.web_seeds.clone()),
        nodes: replaced(&args.nodes, args.no_nodes).then_some(nodes),
        similar: replaced(&similar, args.no_similar).then_some(similar),
        collections: replaced(collections, args.no_collections).then(|| collections.clone()),
        comment: args.comment.as_ref().map(text),
        created_by: args.created_by.as_ref().map(|by| text(by).filter(|by| by != "none")),
        creation_date: args.date.map(|date| match date {
            CreationDate::Absent => None,
            CreationDate::At(seconds) => i64::try_from(seconds).ok(),
        }),
        source: args.source.as_ref().map(text),
        private: args.private,
    })
}

fn replaced<T>(new: &[T], removed: bool) -> bool {
    removed || !new.is_empty()
}

/// The tiers, if they are to change. Removing one that is not there is an error: it stands there in
/// another form, or was taken for another.
fn trackers(args: &Edit, torrent: &Metainfo) -> Result<Option<Vec<Vec<String>>>, Failure> {
    let has_new = replaced(&args.trackers, args.no_trackers);
    if !has_new && args.add_trackers.is_empty() && args.remove_trackers.is_empty() {
        return Ok(None);
    }
    let tiers = |tiers: &[Tier]| tiers.iter().map(|tier| tier.0.clone()).collect::<Vec<_>>();
    let mut all = if has_new { tiers(&args.trackers) } else { torrent.trackers().to_vec() };
    all.extend(tiers(&args.add_trackers));
    for unwanted in &args.remove_trackers {
        let count = all.iter().flatten().count();
        all.iter_mut().for_each(|tier| tier.retain(|url| url != unwanted));
        let left: Vec<&String> = all.iter().flatten().collect();
        if left.len() == count {
            return Err(no_such_tracker(args, unwanted, &left));
        }
    }
    Ok(Some(all))
}

fn no_such_tracker(args: &Edit, unwanted: &str, there: &[&String]) -> Failure {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = there.iter().take(SHOWN).map(|url| url.as_str()).collect();
    let there = match there.len() {
        0 => "it has none".to_owned(),
        count if count > SHOWN => format!("it has {} and others", shown.join(", ")),
        _ => format!("it has {}", shown.join(", ")),
    };
    let path = input::shown(&args.torrent);
    Failure::new(Code::Usage, format!("{path} has no tracker {unwanted} to remove; {there}"))
}
