//! Names and paths that a stranger chose, made safe to use on this host (defences 1 to 4).
//!
//! `component` turns any bytes into one harmless component: never empty, `.` or `..`, without
//! separators, NUL or control characters, at most 255 bytes. Paths are such components joined with
//! `/`, so they cannot leave their root. `make_distinct` then renames files whose paths are equal
//! to another's but for case, or to a directory's, with work bounded by the size of the input.
//! Both are idempotent, and choose the names that libtorrent chooses in the common cases, so that
//! what one client has downloaded the other finds.
//!
//! Case is folded character by character. Unicode normalisation forms are not compared: two names
//! that differ only in that meet on file systems that normalise (Apple's).

use std::collections::{BTreeMap, BTreeSet};

use sha1::{Digest, Sha1};

use super::text::{Harm, harm, turns_text};

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

/// A harmless component that looks like `raw`. Separators and marks that turn text are dropped;
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
        ('/' | '\\', _) => None,
        // What only shows nothing is as good on disk as any other letter.
        (_, Harm::Invisible) if turns_text(c) => None,
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
pub(super) fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
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

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::PathRules::{Unix, Windows};
    use super::*;

    fn unix(raw: &str) -> String {
        component(raw.as_bytes(), Unix)
    }

    fn windows(raw: &str) -> String {
        component(raw.as_bytes(), Windows)
    }

    fn distinct(paths: &[&str]) -> Vec<String> {
        let mut paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
        make_distinct(&mut paths);
        paths
    }

    #[test]
    fn ordinary_names_stay() {
        for name in ["a", "a.b.c", ".hidden", "...", " a", "äöü ß", "日本語.txt", "👩\u{200d}🚀"]
        {
            assert_eq!(unix(name), name);
        }
        assert_eq!(windows("日本語 (1).txt"), "日本語 (1).txt");
    }

    #[test]
    fn names_that_mean_a_directory_or_nothing_are_replaced() {
        for name in ["", ".", "..", "/", "\\", "../", "./", "\u{200e}", ".\u{202e}.", "/../"] {
            assert!(matches!(unix(name).as_str(), "_"), "{name:?} became {:?}", unix(name));
            assert_eq!(windows(name), "_");
        }
    }

    #[test]
    fn separators_of_both_kinds_are_dropped() {
        assert_eq!(unix("/etc/passwd"), "etcpasswd");
        assert_eq!(unix("..\\..\\boot.ini"), "....boot.ini");
        assert_eq!(unix("../../x"), "....x");
    }

    #[test]
    fn drive_and_unc_forms_are_plain_names() {
        assert_eq!(windows("C:"), "C_");
        assert_eq!(windows("C:\\Windows"), "C_Windows");
        assert_eq!(windows("\\\\server\\share"), "servershare");
        assert_eq!(windows("\\\\?\\C:\\x"), "_C_x");
        assert_eq!(windows("file.txt:stream"), "file.txt_stream");
        // On Unix a colon is a letter like any other.
        assert_eq!(unix("C:"), "C:");
        assert_eq!(std::path::Path::new(&unix("C:\\x")).components().count(), 1);
    }

    #[test]
    fn control_characters_become_visible_and_invisible_ones_go() {
        assert_eq!(unix("a\0b\nc\x1bd\u{85}e\u{7f}f\u{2028}g"), "a_b_c_d_e_f_g");
        assert_eq!(unix("exe.\u{202e}gpj"), "exe.gpj");
        assert_eq!(unix("a\u{200e}\u{61c}\u{2066}b"), "ab");
        assert_eq!(unix("a\u{200b}\u{feff}b"), "a\u{200b}\u{feff}b", "they only show nothing");
    }

    #[test]
    fn bytes_that_are_not_utf_8_become_underscores() {
        assert_eq!(component(b"caf\xe9.txt", Unix), "caf_.txt");
        assert_eq!(component(b"\xff\xfe", Unix), "__");
        // An overlong encoding of `/` is no `/` and no valid character.
        assert_eq!(component(b"\xc0\xaf", Unix), "__");
    }

    #[test]
    fn device_names_are_replaced_on_windows_with_any_extension() {
        for name in ["CON", "nul", "Aux.txt", "COM1", "lpt9.tar.gz", "COM¹", "CONIN$", "con .x"] {
            assert_eq!(windows(name), format!("_{name}"));
            assert_eq!(unix(name), name);
        }
        for name in ["CONSOLE", "COM", "COM10", "AUXILIARY.txt", "x.con", "LPT"] {
            assert_eq!(windows(name), name);
        }
    }

    #[test]
    fn what_windows_takes_away_at_the_end_is_taken_away() {
        assert_eq!(windows("a."), "a");
        assert_eq!(windows("a . ."), "a");
        assert_eq!(windows(".. "), "_");
        assert_eq!(windows("a<b>c:d\"e|f?g*h"), "a_b_c_d_e_f_g_h");
        assert_eq!(unix("etc. "), "etc. ");
    }

    #[test]
    fn over_long_names_are_cut_keeping_their_extension_and_staying_different() {
        let long = |last: &str| "ü".repeat(200) + last + ".tar";
        let (a, b) = (unix(&long("a")), unix(&long("b")));
        assert!(a.len() <= 255 && a.len() > 250);
        assert!(a.ends_with(".tar") && a.starts_with("üü"));
        assert_ne!(a, b);
        assert_eq!(unix(&"x".repeat(255)), "x".repeat(255));
        assert_eq!(unix(&"x".repeat(256)).len(), 255);
        // What follows the last dot of this one is no extension worth keeping.
        assert_eq!(unix(&format!("a.{}", "x".repeat(300))).len(), 255);
    }

    #[test]
    fn of_equal_paths_the_first_keeps_its_name() {
        assert_eq!(distinct(&["a.txt", "a.txt", "a.txt"]), ["a.txt", "a.1.txt", "a.2.txt"]);
        assert_eq!(distinct(&["d/a", "e/a", "d/a"]), ["d/a", "e/a", "d/a.1"]);
        assert_eq!(distinct(&[".rc", ".rc"]), [".rc", ".rc.1"]);
    }

    #[test]
    fn paths_that_differ_in_case_only_are_equal() {
        assert_eq!(distinct(&["README", "readme"]), ["README", "readme.1"]);
        assert_eq!(distinct(&["D/a", "d/A", "d/b"]), ["D/a", "d/A.1", "d/b"]);
        assert_eq!(distinct(&["straße", "STRASSE"]), ["straße", "STRASSE.1"]);
        assert_eq!(distinct(&["ΣΑΣ", "σας"]), ["ΣΑΣ", "σας.1"]);
    }

    #[test]
    fn a_file_yields_to_a_directory_of_its_name() {
        assert_eq!(distinct(&["a", "a/b"]), ["a.1", "a/b"]);
        assert_eq!(distinct(&["a/b", "A"]), ["a/b", "A.1"]);
        assert_eq!(distinct(&["a/b/c", "a/b", "a/b.1/x"]), ["a/b/c", "a/b.2", "a/b.1/x"]);
    }

    #[test]
    fn a_name_that_somebody_has_is_not_given_to_another() {
        assert_eq!(distinct(&["a.1", "a", "a", "a.2"]), ["a.1", "a", "a.3", "a.2"]);
        assert_eq!(distinct(&["a", "a", "a.1"]), ["a", "a.2", "a.1"]);
    }

    #[test]
    fn a_variant_of_an_over_long_name_is_not_longer() {
        let name = "x".repeat(251) + ".txt";
        let paths = distinct(&[&name, &name]);
        assert!(paths[1].len() <= 255 && paths[1].ends_with(".1.txt"));
    }

    #[test]
    fn renaming_is_bounded_though_every_variant_is_taken() {
        // Each of 20,000 equal names, and as many of the names they would get first.
        let taken = (1..=20_000).map(|number| format!("a.{number}"));
        let mut paths: Vec<String> = taken.chain((0..20_000).map(|_| "a".to_owned())).collect();
        make_distinct(&mut paths);
        assert_eq!(paths[20_000], "a");
        assert_eq!(paths[39_999], "a.39999");
    }

    #[test]
    fn deep_paths_cost_what_they_are_long() {
        let mut paths: Vec<String> =
            (0..1000).map(|number| "d/".repeat(2000) + &number.to_string()).collect();
        let before = paths.clone();
        make_distinct(&mut paths);
        assert_eq!(paths, before);
    }

    /// Bytes that are names with something wrong, more often than random ones are.
    fn nasty(bytes: &[u8]) -> Vec<u8> {
        const PARTS: [&[u8]; 20] = [
            b".",
            b"..",
            b"/",
            b"\\",
            b":",
            b"a",
            b"A",
            b"b",
            b"con",
            b"NUL",
            b" ",
            b"\0",
            b"\xff",
            b"~1",
            b".1",
            b"\xe2\x80\xae",
            b"\xc3\x9f",
            b"ss",
            b"",
            b"\xe2\x80\x8b",
        ];
        bytes.iter().flat_map(|b| PARTS[usize::from(*b) % PARTS.len()]).copied().collect()
    }

    fn is_safe(name: &str, rules: PathRules) -> bool {
        let is_one_component = std::path::Path::new(name).components().count() == 1
            && matches!(
                std::path::Path::new(name).components().next(),
                Some(std::path::Component::Normal(_))
            );
        let windows_agrees =
            rules == Unix || !(name.ends_with(['.', ' ']) || name.contains(':') || is_device(name));
        is_one_component
            && name.len() <= 255
            && !name.contains(['/', '\\', '\0'])
            && !name.chars().any(|c| harm(c) == Harm::Control || turns_text(c))
            && windows_agrees
    }

    /// Sanitised paths of up to three components.
    fn paths(raw: &[Vec<u8>], rules: PathRules) -> Vec<String> {
        raw.iter()
            .map(|path| {
                let parts = path.chunks(path.len() / 3 + 1).map(|p| component(&nasty(p), rules));
                let parts: Vec<_> = parts.collect();
                if parts.is_empty() { "_".to_owned() } else { parts.join("/") }
            })
            .collect()
    }

    quickcheck! {
        fn a_component_is_safe_and_making_it_safe_again_changes_nothing(
            raw: Vec<u8>, windows: bool, times: u8
        ) -> bool {
            let rules = if windows { Windows } else { Unix };
            [raw.clone(), nasty(&raw), raw.repeat(times.into()), nasty(&raw.repeat(times.into()))]
                .iter()
                .all(|raw| {
                    let once = component(raw, rules);
                    is_safe(&once, rules) && component(once.as_bytes(), rules) == once
                })
        }

        fn paths_stay_under_the_root_and_are_pairwise_distinct(
            raw: Vec<Vec<u8>>, windows: bool
        ) -> bool {
            let rules = if windows { Windows } else { Unix };
            let mut paths = paths(&raw, rules);
            make_distinct(&mut paths);
            let folded: BTreeSet<String> = paths.iter().map(|path| folded(path)).collect();
            let is_parent = |path: &String| {
                folded.range(format!("{path}/")..).next().is_some_and(|next| {
                    next.starts_with(&format!("{path}/"))
                })
            };
            folded.len() == paths.len()
                && !folded.iter().any(is_parent)
                && paths.iter().all(|path| path.split('/').all(|name| is_safe(name, rules)))
        }

        fn making_distinct_paths_distinct_changes_nothing(raw: Vec<Vec<u8>>) -> bool {
            let mut once = paths(&raw, Windows);
            make_distinct(&mut once);
            let mut twice = once.clone();
            make_distinct(&mut twice);
            once == twice
        }
    }
}
