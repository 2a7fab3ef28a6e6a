//! Symbolic links of a torrent (BEP 47, "symlinks"): where each of them leads.
//!
//! A link may only lead to something of the same torrent, and only from a place where nothing else
//! is (defence 2): one that leads out, or lies where a file or a folder has to be, makes the torrent
//! useless ([`LinkError`]). One that leads to nothing is listed and never made. Links may lead to
//! links, as those of shared libraries and frameworks do; whether there is something at the end is
//! found out with bounded work, by name alone.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::MetainfoError;
use super::fields::attributes;
use super::file::File;
use super::limits::MAX_PATH_LEN;
use super::part_error::LinkError;
use super::path::{self, PathRules, folded};
use super::tree::walk;
use crate::bencode::Value;

/// Most links followed from one to the next: as Linux has it (`path_resolution(7)`).
const MAX_HOPS: usize = 40;

/// Most names looked up for all links of a torrent together (chosen); links after that lead nowhere.
const MAX_STEPS: usize = 4_000_000;

/// The targets of the links that lead somewhere, by their index in `files`, in its order. Targets
/// are paths inside the torrent, as those of files.
pub(super) fn links(
    info: Value<'_>,
    tree: Option<Value<'_>>,
    files: &[File],
    rules: PathRules,
) -> Result<Vec<(u32, String)>, MetainfoError> {
    let links: Vec<(usize, &File)> =
        files.iter().enumerate().filter(|(_, f)| f.is_link()).collect();
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let targets = targets(info, tree, rules);
    let mut places = Places::default();
    for file in files.iter().filter(|file| file.is_stored()) {
        places.add(&file.path, Kind::File);
    }
    let mut found = Vec::with_capacity(links.len());
    for ((index, link), target) in links.into_iter().zip(targets) {
        let error = |why| MetainfoError::Link { file: index, why };
        let target = target.map_err(error)?;
        if !places.add(&link.path, Kind::Link(target.clone())) {
            return Err(error(LinkError::Taken));
        }
        found.push((u32::try_from(index).map_err(|_| MetainfoError::TooManyFiles)?, target));
    }
    found.retain(|(_, target)| places.leads_somewhere(target));
    Ok(found)
}

/// The target of every link in the order of the files, as it would be called here.
fn targets(
    info: Value<'_>,
    tree: Option<Value<'_>>,
    rules: PathRules,
) -> Vec<Result<String, LinkError>> {
    let is_link = |entry: Value<'_>| attributes(entry).is_link();
    let mut targets = Vec::new();
    match (info.get("files").and_then(Value::as_list), tree) {
        (Some(list), _) if info.get("pieces").is_some() => {
            targets.extend(list.filter(|entry| is_link(*entry)).map(|entry| target(entry, rules)));
        }
        (_, Some(tree)) => {
            // That the tree can be walked was seen before.
            let _ = walk(tree, |_, _, properties| {
                if is_link(properties) {
                    targets.push(target(properties, rules));
                }
                Ok(())
            });
        }
        _ => {}
    }
    targets
}

fn target(entry: Value<'_>, rules: PathRules) -> Result<String, LinkError> {
    let parts = entry.get("symlink path").and_then(Value::as_list).ok_or(LinkError::NoTarget)?;
    let mut target = String::new();
    for part in parts {
        let part = part.as_bytes().ok_or(LinkError::NoTarget)?;
        // What separates names only elsewhere is dropped, as it is from the files' names.
        if matches!(part, b"" | b"." | b"..") || part.contains(&b'/') {
            return Err(LinkError::Outside);
        }
        if !target.is_empty() {
            target.push('/');
        }
        target.push_str(&path::component(part, rules));
        if target.len() > MAX_PATH_LEN {
            return Err(LinkError::NoTarget);
        }
    }
    if target.is_empty() { Err(LinkError::NoTarget) } else { Ok(target) }
}

/// What a link has to say to lead from its place to its target, both paths inside the torrent: a
/// path relative to the link's folder.
pub(super) fn relative(link: &str, target: &str) -> PathBuf {
    let folder: Vec<&str> =
        link.rsplit_once('/').map_or(Vec::new(), |(f, _)| f.split('/').collect());
    let target: Vec<&str> = target.split('/').collect();
    let shared = folder.iter().zip(&target).take_while(|(a, b)| a == b).count();
    let up = folder.iter().skip(shared).map(|_| "..");
    let path: PathBuf = up.chain(target.iter().skip(shared).copied()).collect();
    if path.as_os_str().is_empty() { Path::new(".").to_owned() } else { path }
}

/// What a torrent has in which place. Case does not count, as everywhere among paths.
#[derive(Default)]
pub(super) struct Places {
    /// A place by its folder (0 is the torrent's) and folded name: its number is one more than its
    /// index in `kinds`.
    numbers: BTreeMap<(u32, String), u32>,
    kinds: Vec<Kind>,
    steps: Cell<usize>,
}

/// What is in a place.
pub(super) enum Kind {
    Folder,
    File,
    /// With its target's path.
    Link(String),
}

impl Places {
    /// Puts something in a place, with the folders that it needs; whether the place was free, and
    /// nothing but folders on the way to it.
    pub(super) fn add(&mut self, path: &str, kind: Kind) -> bool {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = 0;
        for name in folders.split('/').filter(|name| !name.is_empty()) {
            folder = self.put(folder, name, Kind::Folder);
            if !matches!(self.kind(folder), Some(Kind::Folder)) {
                return false;
            }
        }
        let places = self.kinds.len();
        self.put(folder, name, kind);
        self.kinds.len() > places
    }

    /// The number of a place, where something new is put only if there is nothing.
    fn put(&mut self, folder: u32, name: &str, kind: Kind) -> u32 {
        let next = self.kinds.len() as u32 + 1;
        let number = *self.numbers.entry((folder, folded(name))).or_insert(next);
        if number == next {
            self.kinds.push(kind);
        }
        number
    }

    fn kind(&self, number: u32) -> Option<&Kind> {
        self.kinds.get(number.checked_sub(1)? as usize)
    }

    /// Whether there is a file or a folder at a path, or at the end of the links that are there.
    pub(super) fn leads_somewhere(&self, path: &str) -> bool {
        let mut path = path.to_owned();
        for _ in 0..MAX_HOPS {
            match self.look_up(&path) {
                Found::Nothing => return false,
                Found::Something => return true,
                Found::Link(next) if next.len() <= MAX_PATH_LEN => path = next,
                Found::Link(_) => return false,
            }
        }
        false
    }

    fn look_up(&self, path: &str) -> Found {
        let mut place = 0;
        let mut rest = path;
        loop {
            let (name, after) = rest.split_once('/').unwrap_or((rest, ""));
            self.steps.set(self.steps.get() + 1);
            let number = self.numbers.get(&(place, folded(name)));
            let found = number.and_then(|&number| Some((number, self.kind(number)?)));
            match found {
                _ if self.steps.get() > MAX_STEPS => return Found::Nothing,
                Some((_, Kind::Link(target))) if after.is_empty() => {
                    return Found::Link(target.clone());
                }
                Some((_, Kind::Link(target))) => return Found::Link(format!("{target}/{after}")),
                Some(_) if after.is_empty() => return Found::Something,
                Some((number, Kind::Folder)) => (place, rest) = (number, after),
                Some((_, Kind::File)) | None => return Found::Nothing,
            }
        }
    }
}

/// What is at a path.
enum Found {
    Nothing,
    Something,
    /// A link on the way: where the path leads by it.
    Link(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_says_how_to_get_from_its_folder_to_its_target() {
        for (link, target, said) in [
            ("l", "f", "f"),
            ("l", "d/f", "d/f"),
            ("d/l", "f", "../f"),
            ("d/l", "d/f", "f"),
            ("d/e/l", "d/f", "../f"),
            ("d/l", "d", "."),
            ("d/e/l", "d", ".."),
            ("d/l", "dd/f", "../dd/f"),
        ] {
            assert_eq!(relative(link, target), Path::new(said), "{link} to {target}");
        }
    }

    #[test]
    fn links_to_links_lead_as_far_as_there_is_something() {
        let mut places = Places::default();
        assert!(places.add("lib/x.so.1.2", Kind::File));
        for (link, target) in [
            ("lib/x.so.1", "lib/x.so.1.2"),
            ("lib/x.so", "lib/x.so.1"),
            ("current", "lib"),
            ("a", "b"),
            ("b", "a"),
            ("self", "self/x"),
        ] {
            assert!(places.add(link, Kind::Link(target.into())), "{link}");
        }
        for path in ["lib", "lib/x.so", "current", "current/x.so", "LIB/x.so.1"] {
            assert!(places.leads_somewhere(path), "{path}");
        }
        for path in ["a", "b", "self", "current/y", "lib/x.so/y", "nothing"] {
            assert!(!places.leads_somewhere(path), "{path}");
        }
    }

    #[test]
    fn a_place_is_given_once_and_nothing_lies_beneath_a_link() {
        let mut places = Places::default();
        assert!(places.add("d/f", Kind::File));
        let link = || Kind::Link("d".into());
        for taken in ["d", "D", "d/f", "d/F/x"] {
            assert!(!places.add(taken, link()), "{taken}");
        }
        assert!(places.add("l", link()));
        assert!(!places.add("l", link()) && !places.add("l/m", link()));
    }

    #[test]
    fn links_that_fan_out_cost_bounded_work() {
        let mut places = Places::default();
        let place = |number: u32| "d/".repeat(1_000) + &number.to_string();
        for number in 0..200 {
            assert!(places.add(&place(number), Kind::Link(place(number + 1))));
        }
        assert!((0..200).all(|number| !places.leads_somewhere(&place(number))));
        assert!((MAX_STEPS..MAX_STEPS + 200).contains(&places.steps.get()));
    }
}
