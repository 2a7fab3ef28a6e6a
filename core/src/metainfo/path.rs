//! Names and paths that a stranger chose, made safe to use on this host (defences 1 to 4).
//!
//! [`component`] turns any bytes into one harmless component: never empty, `.` or `..`, without
//! separators, NUL or control characters, at most 255 bytes. Paths are such components joined with
//! `/`, so they cannot leave their root. [`make_distinct`] then renames files whose paths are equal
//! to another's but for case, or to a directory's, with work bounded by the size of the input.
//! Both are idempotent, and choose the names that libtorrent chooses in the common cases, so that
//! what one client has downloaded the other finds.
//!
//! Case is folded character by character. Unicode normalisation forms are not compared: two names
//! that differ only in that meet on file systems that normalise (Apple's).

use std::collections::{BTreeMap, BTreeSet};

use sha1::{Digest, Sha1};

use super::text::{Harm, harm};

/// Longest component, in bytes: NAME_MAX of every common system.
const MAX_COMPONENT_LEN: usize = 255;

/// Longest extension that is kept when a name is cut, in bytes with its dot (chosen).
const MAX_EXTENSION_LEN: usize = 17;

/// Which names the file system takes. Case never distinguishes files, whatever the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathRules {
    /// Anything but separators and control characters; `aux.c`, `what?` and `etc.` are fine.
    Unix,
    /// Besides: none of `<>:"|?*`, no dot or space at the end, no device names (`CON`, `aux.txt`).
    Windows,
}

impl PathRules {
    /// Those of the system this is compiled for.
    pub const HOST: PathRules = if cfg!(windows) { PathRules::Windows } else { PathRules::Unix };
}

/// A harmless component that looks like `raw`. Separators and invisible controls are dropped;
/// control characters, bytes that are not UTF-8 and what the rules forbid become `_`.
pub(super) fn component(raw: &[u8], rules: PathRules) -> String {
    let mut name = String::new();
    for chunk in raw.utf8_chunks() {
        name.extend(chunk.valid().chars().filter_map(|c| safe_char(c, rules)));
        if !chunk.invalid().is_empty() {
            name.push('_');
        }
    }
    if rules == PathRules::Windows {
        name.truncate(name.trim_end_matches(['.', ' ']).len());
    }
    if matches!(name.as_str(), "" | "." | "..") {
        return "_".to_owned();
    }
    if rules == PathRules::Windows && is_device(&name) {
        name.insert(0, '_');
    }
    if name.len() > MAX_COMPONENT_LEN { shortened(&name) } else { name }
}

fn safe_char(c: char, rules: PathRules) -> Option<char> {
    match (c, harm(c)) {
        ('/' | '\\', _) | (_, Harm::Invisible) => None,
        (_, Harm::Control) => Some('_'),
        ('<' | '>' | ':' | '"' | '|' | '?' | '*', _) if rules == PathRules::Windows => Some('_'),
        _ => Some(c),
    }
}

/// Whether Windows takes the name for a device, with any extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ').to_ascii_uppercase();
    let is_numbered = |stem: &str| {
        let mut number = stem.chars();
        matches!(number.next(), Some('0'..='9' | '¹' | '²' | '³')) && number.next().is_none()
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || stem.strip_prefix("COM").is_some_and(is_numbered)
        || stem.strip_prefix("LPT").is_some_and(is_numbered)
}

/// An over-long name cut to the limit: its beginning, eight digits of its own hash so that it
/// stays different from others with that beginning, and its extension.
fn shortened(name: &str) -> String {
    let hash: [u8; 20] = Sha1::digest(name.as_bytes()).into();
    let [a, b, c, d, ..] = hash;
    let (stem, extension) = split_extension(name);
    let tail = format!("~{a:02x}{b:02x}{c:02x}{d:02x}{extension}");
    cut(stem, MAX_COMPONENT_LEN - tail.len()).to_owned() + &tail
}

/// The longest beginning of `text` that has at most `len` bytes.
fn cut(text: &str, len: usize) -> &str {
    let end = (0..=len.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// The name before its extension, and the extension with its dot. A dot at the very beginning
/// begins none, and what is too long to be kept is none.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= MAX_EXTENSION_LEN => name.split_at(dot),
        _ => (name, ""),
    }
}

/// Renames files until all paths differ, even where case does not count, and no file has the path
/// of a directory that another lies in. Directories keep their names; of files with one path the
/// first keeps it, the others become `stem.1.ext` and so on.
///
/// Each path is components from [`component`] joined with `/`.
pub(super) fn make_distinct<'a>(paths: impl IntoIterator<Item = &'a mut String>) {
    let mut tree = Tree::default();
    let placed: Vec<(u32, &mut String)> =
        paths.into_iter().map(|path| (tree.directory_of(path), path)).collect();
    let taken: Vec<_> = placed
        .into_iter()
        .filter(|(directory, path)| !tree.take(*directory, name_of(path)))
        .collect();
    for (directory, path) in taken {
        let name = tree.take_variant(directory, name_of(path));
        path.truncate(path.len() - name_of(path).len());
        path.push_str(&name);
    }
}

/// The last component of a path.
fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// A name as a file system sees it that does not tell case apart. Upper case first, because some
/// letters have more than one lower case.
fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Directories and the names in them. A directory is known by a number, so that paths cost what
/// they are long, however deep.
#[derive(Default)]
struct Tree {
    /// A directory by its parent (0 is the root) and folded name.
    directories: BTreeMap<(u32, String), u32>,
    /// Files by their directory and folded name.
    files: BTreeSet<(u32, String)>,
    /// The last number tried for a stem: no number is tried twice, so that all renaming together
    /// takes no more tries than there are files.
    numbers: BTreeMap<(u32, String), u32>,
}

impl Tree {
    /// The directory in which `path` lies, made if it is new.
    fn directory_of(&mut self, path: &str) -> u32 {
        let Some((parents, _)) = path.rsplit_once('/') else { return 0 };
        parents.split('/').fold(0, |parent, name| {
            let number = self.directories.len() as u32 + 1;
            *self.directories.entry((parent, folded(name))).or_insert(number)
        })
    }

    /// Takes a name for a file; whether it was free.
    fn take(&mut self, directory: u32, name: &str) -> bool {
        let key = (directory, folded(name));
        !self.directories.contains_key(&key) && self.files.insert(key)
    }

    /// Takes the first free name of the form `stem.1.ext`.
    fn take_variant(&mut self, directory: u32, name: &str) -> String {
        // Room for the longest number, so that the stem does not depend on the number.
        const ROOM: usize = ".4294967295".len();
        let (stem, extension) = split_extension(name);
        let stem = cut(stem, MAX_COMPONENT_LEN - ROOM - extension.len());
        loop {
            let number = self.numbers.entry((directory, folded(stem))).or_default();
            *number += 1;
            let variant = format!("{stem}.{number}{extension}");
            if self.take(directory, &variant) {
                return variant;
            }
        }
    }
}
