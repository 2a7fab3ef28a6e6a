//! `forget`: removes what earlier runs kept of torrents, so that the next begins anew. Data stays.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::TorrentSource;

use crate::args::Forget;
use crate::exit::{Code, Failure};
use crate::fetch::Reach;
use crate::input;
use crate::left_out::LeftOut;
use crate::output::{Object, print};
use crate::state::State;
use crate::torrent_lock::Gate;
use crate::units::counted;

/// Removes what is kept of each torrent. One that another process works on is left out.
pub(crate) fn run(args: &Forget) -> Result<(), Failure> {
    let Some(state) = State::find(args.state_dir.as_deref(), &args.data) else {
        return Err(nothing(args, "any torrent"));
    };
    let gate = Gate::enter(&state)?;
    if args.all {
        return forget_all(args, &state, &gate);
    }
    let mut left_out = LeftOut::default();
    for input in &args.inputs {
        let source = input::load_any_within(input, &Reach::default());
        let forgotten = source.and_then(|source| forget(args, &state, &gate, &source));
        left_out.keep(forgotten);
    }
    left_out.verdict()
}

fn forget(
    args: &Forget,
    state: &State,
    gate: &Gate,
    source: &TorrentSource,
) -> Result<(), Failure> {
    let name = source.shown_name();
    let infohashes: BTreeSet<InfoHash> = source.infohashes().short().collect();
    if infohashes.iter().any(|infohash| gate.is_worked_on(infohash)) {
        return Err(in_use(&name));
    }
    let names = infohashes
        .iter()
        .flat_map(|infohash| ["resume", "metadata"].map(|kind| format!("{infohash}.{kind}")));
    let names: Vec<String> = names.collect();
    let mut removed = 0;
    for path in state.sessions().flat_map(|dir| names.iter().map(move |name| dir.join(name))) {
        removed += u32::from(remove(&path)?);
    }
    if removed == 0 {
        let is_v2_only = matches!(source, TorrentSource::Magnet(magnet) if magnet.is_v2_only());
        let name = match is_v2_only {
            true => format!("{name} by its infohash of v2 (a hybrid goes by that of v1)"),
            false => name,
        };
        return Err(nothing(args, &name));
    }
    if args.json {
        return Object::new()
            .with("name", name)
            .with("infohash_v1", source.infohash().to_string())
            .with("forgotten", removed)
            .print();
    }
    print(&format!("{name}: forgotten ({} in {})", files(removed), state.dir().display()))
}

/// Removes every file of every session. None of them may be at work.
fn forget_all(args: &Forget, state: &State, gate: &Gate) -> Result<(), Failure> {
    if gate.is_anybody_at_work() {
        return Err(in_use("one of its torrents"));
    }
    let mut removed = 0;
    for dir in state.sessions() {
        let failed = |error| Failure::file("cannot read", &dir, &error);
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            removed += u32::from(path.is_file() && is_kept(&path) && remove(&path)?);
        }
    }
    if args.json {
        return Object::new().with("forgotten", removed).print();
    }
    print(&format!("forgotten: {} in {}", files(removed), state.dir().display()))
}

/// Whether the file is something that a session keeps, and not one of the user's in a directory that
/// `--state-dir` names.
fn is_kept(path: &Path) -> bool {
    path.extension()
        .is_some_and(|kind| ["resume", "metadata", "nodes"].iter().any(|it| kind == *it))
}

/// Whether it was there.
fn remove(path: &Path) -> Result<bool, Failure> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::file("cannot remove", path, &error)),
    }
}

fn files(count: u32) -> String {
    counted(count, "file", "files")
}

fn in_use(what: &str) -> Failure {
    let message = format!("another bitswarm is working on {what}; stop it first");
    Failure::new(Code::File, message)
}

fn nothing(args: &Forget, what: &str) -> Failure {
    let data = args.data.display();
    let message = format!(
        "nothing is kept of {what} for {data}; name the directory with --data, or the state's with \
         --state-dir"
    );
    Failure::new(Code::File, message)
}
