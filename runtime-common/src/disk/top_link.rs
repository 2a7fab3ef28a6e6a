//! A torrent's file or folder that lies elsewhere, behind a symbolic link of the user's own.
//!
//! Such a link is the user's word, as the root is. It is followed once, when the store is opened: from
//! then on the store lies where it leads, and nothing below is reached through a link (defence 2).

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bitswarm_core::disk::StoreSpec;

/// The store as it lies on disk: as it is, unless its top is a link that may be followed and leads to
/// what should be there.
pub fn follow_top_link(spec: Arc<StoreSpec>) -> Arc<StoreSpec> {
    match lies_elsewhere(&spec) {
        Some(elsewhere) => elsewhere.into(),
        None => spec,
    }
}

fn lies_elsewhere(spec: &StoreSpec) -> Option<StoreSpec> {
    if !spec.follow_top_link {
        return None;
    }
    let mut paths =
        spec.files.iter().map(|file| &file.path).chain(spec.links.iter().map(|l| &l.path));
    let first = paths.next()?;
    let Some(Component::Normal(top)) = first.components().next() else { return None };
    let link = spec.root.join(top);
    if !fs::symlink_metadata(&link).ok()?.is_symlink() {
        return None;
    }
    let place = link.canonicalize().ok()?;
    let is_folder = first.components().count() > 1;
    if fs::metadata(&place).ok()?.is_dir() != is_folder {
        return None;
    }
    let (root, name) = (place.parent()?, place.file_name()?);
    let moved = |path: &Path| -> Option<PathBuf> {
        let rest = path.strip_prefix(top).ok()?;
        // Joining nothing would add a separator.
        Some(if rest.as_os_str().is_empty() { name.into() } else { Path::new(name).join(rest) })
    };
    let mut elsewhere = StoreSpec { root: root.to_owned(), ..spec.clone() };
    for file in &mut elsewhere.files {
        file.path = moved(&file.path)?;
    }
    for link in &mut elsewhere.links {
        link.path = moved(&link.path)?;
    }
    Some(elsewhere)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use bitswarm_core::disk::{StoreFile, StoreLink};

    use super::*;

    fn spec(root: &Path, paths: &[&str]) -> Arc<StoreSpec> {
        let file = |path: &&str| StoreFile { path: path.into(), length: 1, executable: false };
        let files = paths.iter().map(file).collect();
        let links = vec![StoreLink { path: "album/l".into(), target: "a".into() }];
        let links = if paths.len() > 1 { links } else { Vec::new() };
        Arc::new(StoreSpec { root: root.to_owned(), files, links, follow_top_link: true })
    }

    fn places(spec: &StoreSpec) -> Vec<PathBuf> {
        spec.files.iter().map(|file| spec.root.join(&file.path)).collect()
    }

    #[test]
    fn a_folder_behind_a_link_is_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("big/music")).unwrap();
        fs::create_dir(dir.join("d")).unwrap();
        symlink("../big/music", dir.join("d/album")).unwrap();
        let before = spec(&dir.join("d"), &["album/a", "album/cd/b"]);
        let after = follow_top_link(before.clone());
        assert_eq!(places(&after), [dir.join("big/music/a"), dir.join("big/music/cd/b")]);
        assert_eq!(after.links[0].path, Path::new("music/l"));
        let refused = Arc::new(StoreSpec { follow_top_link: false, ..(*before).clone() });
        assert_eq!(follow_top_link(refused.clone()), refused);
    }

    #[test]
    fn a_file_behind_a_link_is_where_it_leads_and_of_the_right_kind() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::write(dir.join("real"), "x").unwrap();
        symlink("real", dir.join("film")).unwrap();
        let film = spec(&dir, &["film"]);
        assert_eq!(places(&follow_top_link(film.clone())), [dir.join("real")]);
        let folder = spec(&dir, &["film/a"]);
        assert_eq!(follow_top_link(folder.clone()), folder, "a file is no folder");
        fs::remove_file(dir.join("real")).unwrap();
        assert_eq!(follow_top_link(film.clone()), film, "it leads to nothing");
        fs::write(dir.join("plain"), "x").unwrap();
        let plain = spec(&dir, &["plain"]);
        assert_eq!(follow_top_link(plain.clone()), plain);
    }
}
