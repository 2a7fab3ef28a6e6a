//! What is on disk and is to become a torrent: a file, or a directory with everything below it.
//!
//! Symbolic links below the path are left out, with a word to the user: data is never read through
//! a link when it is shared, so a torrent of it could not be seeded (defence 2).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use bitswarm_core::disk::{StoreFile, StoreSpec};
use bitswarm_core::metainfo::create::{Creator, NewFile};

use crate::exit::{Code, Failure};

/// A torrent to be made, and where its bytes are read.
#[derive(Debug)]
pub(crate) struct Content {
    /// Knows the files; told the rest by the caller.
    pub(crate) creator: Creator,
    /// The same files on disk, in the same order.
    pub(crate) spec: StoreSpec,
    /// What was left out.
    pub(crate) left_out: Vec<PathBuf>,
}

/// Looks at `path`; `output` is not part of it, wherever it lies.
pub(crate) fn scan(path: &Path, output: &Path) -> Result<Content, Failure> {
    let real = path.canonicalize().map_err(|error| Failure::file("cannot read", path, &error))?;
    let name = name(path, &real)?;
    let metadata = fs::metadata(&real).map_err(|e| Failure::file("cannot read", path, &e))?;
    if metadata.is_dir() {
        return scan_dir(&real, name, output);
    }
    if !metadata.is_file() {
        let message = format!("{} is neither a file nor a directory", path.display());
        return Err(Failure::new(Code::File, message));
    }
    let root = real.parent().unwrap_or(&real).to_owned();
    let file = real.file_name().map(PathBuf::from).unwrap_or_default();
    let file = StoreFile { path: file, length: metadata.len(), executable: false };
    Ok(Content {
        creator: Creator::single_file(name, metadata.len()),
        spec: StoreSpec { root, files: vec![file] },
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

fn scan_dir(root: &Path, name: String, output: &Path) -> Result<Content, Failure> {
    let mut walk = Walk { output: real_place(output), files: Vec::new(), left_out: Vec::new() };
    // Directories still to be read, with the components of their paths below the root.
    let mut waiting = vec![(root.to_owned(), Vec::new())];
    while let Some((dir, components)) = waiting.pop() {
        walk.read(&dir, &components, &mut waiting)?;
    }
    let creator = Creator::folder(name, walk.files);
    let file = |file: &NewFile| StoreFile {
        path: file.path.iter().collect(),
        length: file.length,
        executable: false,
    };
    let files = creator.files().iter().map(file).collect();
    let spec = StoreSpec { root: root.to_owned(), files };
    walk.left_out.sort();
    Ok(Content { creator, spec, left_out: walk.left_out })
}

/// Where a file lies, or will lie, without links on the way.
fn real_place(path: &Path) -> Option<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
    Some(dir.join(path.file_name()?))
}

struct Walk {
    output: Option<PathBuf>,
    files: Vec<NewFile>,
    left_out: Vec<PathBuf>,
}

impl Walk {
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
            if self.output.as_ref() == Some(&path) {
                continue;
            }
            // Of the entry itself: links are not followed.
            let metadata = entry.metadata().map_err(|e| Failure::file("cannot read", &path, &e))?;
            if !metadata.is_dir() && !metadata.is_file() {
                self.left_out.push(path);
                continue;
            }
            let mut components = components.to_vec();
            components.push(utf8(entry.file_name(), &path)?);
            if metadata.is_dir() {
                waiting.push((path, components));
            } else {
                self.files.push(NewFile::new(components, metadata.len()));
            }
        }
        Ok(())
    }
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

        let content = scan(&root, &root.join("out.torrent")).unwrap();
        let paths: Vec<String> =
            content.creator.files().iter().map(|file| file.path.join("/")).collect();
        assert_eq!(paths, ["b/c/x", "b/empty", "z"]);
        let lengths: Vec<u64> = content.spec.files.iter().map(|file| file.length).collect();
        assert_eq!(lengths, [1, 0, 2]);
        #[cfg(unix)]
        assert_eq!(content.left_out, [content.spec.root.join("link")]);
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
