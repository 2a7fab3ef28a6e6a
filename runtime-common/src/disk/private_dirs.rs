//! Directories that no torrent reaches: those that keep the state of sessions (defence 48).
//!
//! What is read back from there is believed, so a torrent that wrote there would forge it. A torrent with
//! a file or link in one of them is refused when it is opened, before anything is made, and so is a move
//! there. Below a torrent's root no link is followed, so where the root really lies and the paths of the
//! torrent decide. Names are compared without case, as some file systems do.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use bitswarm_core::disk::{DiskError, DiskErrorKind, StoreSpec};

use super::error::error_at;

/// Directories with state, as they really lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrivateDirs {
    dirs: Vec<Vec<OsString>>,
}

impl PrivateDirs {
    /// A session's state directory, and with it those of the sessions beside it.
    pub(crate) fn of_session(state_dir: &Path) -> Self {
        let dir = really(state_dir);
        let mut dirs = vec![folded(&dir)];
        // `session-0` lies beside `session-1`, below the state of one data directory.
        let is_one_of_some = |name: &str| name.starts_with("session-");
        if dir.file_name().and_then(|name| name.to_str()).is_some_and(is_one_of_some) {
            dirs.extend(dir.parent().map(folded));
        }
        PrivateDirs { dirs }
    }

    /// Refuses a store any of whose files or links, if they lay below `root`, would lie in one of them.
    pub(crate) fn refuse(&self, root: &Path, spec: &StoreSpec) -> Result<(), DiskError> {
        if self.dirs.is_empty() {
            return Ok(());
        }
        let base = folded(&really(root));
        let files = spec.files.iter().map(|file| &file.path);
        let mut paths = files.chain(spec.links.iter().map(|link| &link.path));
        match paths.find(|path| self.hold(&base, path)) {
            None => Ok(()),
            Some(path) => {
                let why = "that is where sessions keep their state; choose another directory";
                Err(error_at(DiskErrorKind::Denied, &root.join(path), why))
            }
        }
    }

    /// Whether what lies at `path` below `base` lies in one of the directories, or is one.
    fn hold(&self, base: &[OsString], path: &Path) -> bool {
        self.dirs.iter().any(|dir| match dir.strip_prefix(base) {
            // Names are folded only where the directory can still be reached.
            Some(rest) => folded(path).starts_with(rest),
            None => base.starts_with(dir),
        })
    }
}

/// Where a path leads once all links are followed, as far as it exists.
fn really(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|dir| Some((dir, dir.canonicalize().ok()?)));
    match there {
        Some((dir, mut real)) => {
            // Nothing of this exists, so no link is in it.
            for component in path.strip_prefix(dir).unwrap_or(Path::new("")).components() {
                match component {
                    Component::ParentDir => _ = real.pop(),
                    name => real.push(name),
                }
            }
            real
        }
        None => path,
    }
}

/// The names of a path, without case.
fn folded(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(OsString::from(name.to_string_lossy().to_lowercase())),
        _ => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use bitswarm_core::disk::StoreFile;

    use super::*;

    fn spec(root: &Path, path: &str) -> StoreSpec {
        let file = StoreFile { path: path.into(), length: 1, executable: false };
        let (root, links) = (root.to_owned(), Vec::new());
        StoreSpec { root, files: vec![file], links, follow_top_link: true }
    }

    #[test]
    fn no_path_of_a_torrent_leads_into_the_state_of_sessions() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let state = data.join(".bitswarm/session-0");
        std::fs::create_dir_all(&state).unwrap();
        symlink(&data, dir.path().join("link")).unwrap();
        symlink(&state, dir.path().join("within")).unwrap();
        let private = PrivateDirs::of_session(&state);
        let may = |root: &str, path: &str| {
            let root = dir.path().join(root);
            private.refuse(&root, &spec(&root, path)).is_ok()
        };
        for (root, path) in [
            ("data", ".bitswarm/session-0/x.resume"),
            ("data", ".bitswarm/session-1/x.resume"),
            ("data", ".bitswarm"),
            ("data", ".BitSwarm/Session-0/x"),
            ("data/.", ".bitswarm/x"),
            ("data/../data", ".bitswarm/x"),
            ("link", ".bitswarm/x"),
            ("within", "x.resume"),
            ("within/new/../", "x.resume"),
            ("data/new/../.bitswarm", "x.resume"),
            ("data/.bitswarm", "x"),
            ("data/.bitswarm/session-0", "x"),
            ("", "data/.bitswarm/session-0/x"),
        ] {
            assert!(!may(root, path), "{path} below {root}");
        }
        for (root, path) in [
            ("data", "film"),
            ("data", ".bitswarm2/session-0/x"),
            ("data", "t/.bitswarm/session-0/x"),
            ("other", ".bitswarm/session-0/x"),
            ("link", "data/film"),
        ] {
            assert!(may(root, path), "{path} below {root}");
        }
    }

    #[test]
    fn without_state_nothing_is_refused() {
        let private = PrivateDirs::default();
        assert!(private.refuse(Path::new("/"), &spec(Path::new("/"), "any")).is_ok());
    }
}
