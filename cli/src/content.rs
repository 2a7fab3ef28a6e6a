//! What is on disk and is to become a torrent: a file, or a directory with everything below it.
//!
//! Data is never read through a symbolic link when it is shared, so a torrent of it could not be
//! seeded (defence 2): links below the path are left out with a word to the user, or put into the
//! torrent as links (BEP 47) if that is wanted and they lead to something in it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, Metadata};
use std::path::{Component, Path, PathBuf};

use bitswarm_core::disk::{StoreFile, StoreSpec};
use bitswarm_core::metainfo::create::{Creator, NewFile, dangling_links};
use globset::GlobSet;

use crate::exit::{Code, Failure};

/// A torrent to be made, and where its bytes are read.
#[derive(Debug)]
pub(crate) struct Content {
    /// Knows the files; told the rest by the caller.
    pub(crate) creator: Creator,
    /// The same files on disk, in the same order.
    pub(crate) spec: StoreSpec,
    /// What was left out.
    pub(crate) left_out: Vec<LeftOut>,
}

/// What of a directory is wanted. Patterns are matched against paths below it, with `/`.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Not part of it, wherever it lies: the file that is going to be written.
    pub(crate) output: Option<PathBuf>,
    /// If given, nothing but what matches.
    pub(crate) include: Option<GlobSet>,
    /// Nothing that matches.
    pub(crate) exclude: GlobSet,
    /// Whether names that begin with a dot are left out, with all that is below them.
    pub(crate) no_hidden: bool,
    /// Whether links are put into the torrent.
    pub(crate) symlinks: bool,
    /// Whether what has a name that begins with a dot is marked as hidden.
    pub(crate) mark_hidden: bool,
}

impl Choice {
    /// All of it, but for links.
    pub(crate) fn everything() -> Self {
        Choice {
            output: None,
            include: None,
            exclude: GlobSet::empty(),
            no_hidden: false,
            symlinks: false,
            mark_hidden: false,
        }
    }

    /// Whether a file or link is wanted, given its path.
    fn takes(&self, path: &str) -> bool {
        !self.exclude.is_match(path)
            && self.include.as_ref().is_none_or(|include| include.is_match(path))
    }
}

/// Looks at `path`.
pub(crate) fn scan(path: &Path, choice: &Choice) -> Result<Content, Failure> {
    let real = path.canonicalize().map_err(|error| Failure::file("cannot read", path, &error))?;
    let name = name(path, &real)?;
    let metadata = fs::metadata(&real).map_err(|e| Failure::file("cannot read", path, &e))?;
    if metadata.is_dir() {
        return scan_dir(&real, name, choice);
    }
    if !metadata.is_file() {
        let message = format!("{} is neither a file nor a directory", path.display());
        return Err(Failure::new(Code::File, message));
    }
    let root = real.parent().unwrap_or(&real).to_owned();
    let file = real.file_name().map(PathBuf::from).unwrap_or_default();
    let file = StoreFile { path: file, length: metadata.len(), executable: false };
    let hidden = choice.mark_hidden && is_hidden(name.as_bytes());
    let creator = Creator::single_file(name, metadata.len());
    Ok(Content {
        creator: creator.with_attributes(is_executable(&metadata), hidden),
        spec: StoreSpec { root, files: vec![file], links: Vec::new(), follow_top_link: false },
        left_out: Vec::new(),
    })
}

/// The name as the user wrote it; for paths such as `.`, as the file system has it.
fn name(path: &Path, real: &Path) -> Result<String, Failure> {
    let name = path.file_name().or_else(|| real.file_name()).ok_or_else(|| {
        Failure::new(Code::File, format!("{} has no name; share a directory in it", path.display()))
    })?;
    utf8(name.to_owned(), path)
}

fn utf8(name: OsString, place: &Path) -> Result<String, Failure> {
    name.into_string().map_err(|_| {
        let place = place.display();
        Failure::new(Code::BadInput, format!("the name of {place} is not UTF-8; rename it first"))
    })
}

fn scan_dir(root: &Path, name: String, choice: &Choice) -> Result<Content, Failure> {
    let output = choice.output.as_deref().and_then(real_place);
    let mut walk = Walk { root, choice, output, files: Vec::new(), left_out: Vec::new() };
    // Directories still to be read, with the components of their paths below the root.
    let mut waiting = vec![(root.to_owned(), Vec::new())];
    while let Some((dir, components)) = waiting.pop() {
        walk.read(&dir, &components, &mut waiting)?;
    }
    walk.leave_out_dangling_links();
    let creator = Creator::folder(name, walk.files);
    let file = |file: &NewFile| StoreFile {
        path: file.path.iter().collect(),
        length: file.length,
        executable: false,
    };
    let files = creator.files().iter().filter(|file| file.link.is_none()).map(file).collect();
    let spec =
        StoreSpec { root: root.to_owned(), files, links: Vec::new(), follow_top_link: false };
    walk.left_out.sort();
    Ok(Content { creator, spec, left_out: walk.left_out })
}

/// Where a file lies, or will lie, without links on the way.
fn real_place(path: &Path) -> Option<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
    Some(dir.join(path.file_name()?))
}

struct Walk<'a> {
    root: &'a Path,
    choice: &'a Choice,
    output: Option<PathBuf>,
    files: Vec<NewFile>,
    left_out: Vec<LeftOut>,
}

/// Something that is found beside files and is not in the torrent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct LeftOut {
    pub(crate) path: PathBuf,
    pub(crate) why: WhyNot,
}

/// Why it is left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum WhyNot {
    /// A symbolic link, and links are not wanted.
    Link,
    /// A symbolic link that leads out of the torrent, or to nothing in it.
    LeadsNowhere,
    /// A socket, a device, a pipe.
    Special,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            WhyNot::Link => "a symbolic link",
            WhyNot::LeadsNowhere => "a symbolic link to nothing in the torrent",
            WhyNot::Special => "not a file or directory",
        };
        write!(f, "{}: {why}", self.path.display())
    }
}

impl Walk<'_> {
    /// Takes the files of one directory; its directories are added to those waiting.
    fn read(
        &mut self,
        dir: &Path,
        components: &[String],
        waiting: &mut Vec<(PathBuf, Vec<String>)>,
    ) -> Result<(), Failure> {
        let failure = |error| Failure::file("cannot read", dir, &error);
        for entry in fs::read_dir(dir).map_err(failure)? {
            let entry = entry.map_err(failure)?;
            let path = entry.path();
            let is_hidden = is_hidden(entry.file_name().as_encoded_bytes());
            if self.output.as_ref() == Some(&path) || (self.choice.no_hidden && is_hidden) {
                continue;
            }
            // Of the entry itself: links are not followed.
            let metadata = entry.metadata().map_err(|e| Failure::file("cannot read", &path, &e))?;
            let link = self.link_target(&path, &metadata);
            if !metadata.is_dir() && !metadata.is_file() && link.is_none() {
                let why = match metadata.is_symlink() {
                    true if self.choice.symlinks => WhyNot::LeadsNowhere,
                    true => WhyNot::Link,
                    false => WhyNot::Special,
                };
                self.left_out.push(LeftOut { path, why });
                continue;
            }
            let mut components = components.to_vec();
            components.push(utf8(entry.file_name(), &path)?);
            if metadata.is_dir() {
                waiting.push((path, components));
            } else if self.choice.takes(&components.join("/")) {
                let length = if link.is_some() { 0 } else { metadata.len() };
                let executable = is_executable(&metadata);
                let hidden = is_hidden && self.choice.mark_hidden;
                let file = NewFile::new(components, length);
                self.files.push(NewFile { executable, hidden, link, ..file });
            }
        }
        Ok(())
    }

    /// Where a link leads that is to be kept: the components of its target below the root.
    fn link_target(&self, path: &Path, metadata: &Metadata) -> Option<Vec<String>> {
        if !self.choice.symlinks || !metadata.is_symlink() {
            return None;
        }
        target_below(self.root, path)
    }

    /// A link stays only if it leads to a file of the torrent, or a directory with one in it.
    fn leave_out_dangling_links(&mut self) {
        for index in dangling_links(&self.files).into_iter().rev() {
            let file = self.files.remove(index);
            let path = self.root.join(file.path.iter().collect::<PathBuf>());
            self.left_out.push(LeftOut { path, why: WhyNot::LeadsNowhere });
        }
    }
}

/// Where the link at `path` leads, if that is below `root`: the components of its target's path.
/// By name alone: nothing is followed, and nothing leads out.
pub(crate) fn target_below(root: &Path, path: &Path) -> Option<Vec<String>> {
    let target = fs::read_link(path).ok()?;
    let from = path.parent()?.strip_prefix(root).ok()?;
    let name = |name: &OsStr| Some(name.to_str()?.to_owned());
    let mut components: Vec<String> =
        from.components().map(|component| name(component.as_os_str())).collect::<Option<_>>()?;
    let mut is_going_up = true;
    for component in target.components() {
        match component {
            Component::Normal(part) => {
                is_going_up = false;
                components.push(name(part)?);
            }
            // What is above a name may be elsewhere, if that name is a link.
            Component::ParentDir if is_going_up => drop(components.pop()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!components.is_empty()).then_some(components)
}

/// Whether a name is that of something hidden, as Unix has it.
fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b".")
}

/// Whether its owner may execute it: what BEP 47 keeps, and what is the same on any machine.
fn is_executable(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::mode(metadata) & 0o100 != 0;
    #[cfg(not(unix))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_all_its_files_in_order_without_links_and_the_output() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("files");
        fs::create_dir_all(root.join("b/c")).unwrap();
        fs::write(root.join("z"), "zz").unwrap();
        fs::write(root.join("b/c/x"), "x").unwrap();
        fs::write(root.join("b/empty"), "").unwrap();
        fs::write(root.join("out.torrent"), "old").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();

        let choice = Choice { output: Some(root.join("out.torrent")), ..Choice::everything() };
        let content = scan(&root, &choice).unwrap();
        let paths: Vec<String> =
            content.creator.files().iter().map(|file| file.path.join("/")).collect();
        assert_eq!(paths, ["b/c/x", "b/empty", "z"]);
        let lengths: Vec<u64> = content.spec.files.iter().map(|file| file.length).collect();
        assert_eq!(lengths, [1, 0, 2]);
        #[cfg(unix)]
        let link = LeftOut { path: content.spec.root.join("link"), why: WhyNot::Link };
        assert_eq!(content.left_out, [link]);
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_only_if_they_lead_to_something_of_the_torrent() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("files");
        fs::create_dir_all(root.join("b/empty")).unwrap();
        fs::write(root.join("b/x"), "x").unwrap();
        let links = [
            ("b/self", "../b/x"),
            ("dir", "b"),
            ("gone", "b/y"),
            ("hollow", "b/empty"),
            ("out", "../files/b/x"),
            ("root", "/b/x"),
            ("to-link", "dir"),
            ("winding", "dir/../b"),
        ];
        links.iter().for_each(|(link, target)| symlink(target, root.join(link)).unwrap());
        let choice = Choice { symlinks: true, ..Choice::everything() };
        let content = scan(&root, &choice).unwrap();
        let kept: Vec<_> = content.creator.files().iter().filter(|f| f.link.is_some()).collect();
        let kept: Vec<_> = kept
            .iter()
            .map(|f| f.path.join("/") + " -> " + &f.link.as_ref().unwrap().join("/"))
            .collect();
        assert_eq!(kept, ["b/self -> b/x", "dir -> b", "to-link -> dir"]);
        assert_eq!(content.left_out.len(), 5, "{:?}", content.left_out);
        assert!(content.left_out.iter().all(|left| left.why == WhyNot::LeadsNowhere));
        assert_eq!(content.spec.files.len(), 1);
    }

    #[test]
    fn a_path_without_a_name_gets_that_of_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        fs::create_dir_all(sub.join("inner")).unwrap();
        let real = sub.canonicalize().unwrap();
        assert_eq!(name(&sub.join("inner/.."), &real).unwrap(), "sub");
        assert_eq!(name(Path::new("a/b/"), Path::new("/x")).unwrap(), "b");
        assert_eq!(name(Path::new("/"), Path::new("/")).unwrap_err().code, Code::File);
    }
}
