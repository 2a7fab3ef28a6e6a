//! Whether something is wanted of a torrent that is to be added.

use super::AddTorrentError;
use crate::torrent::{AddTorrent, selection};

/// Refuses priorities that are not one for each file, and a choice of which nothing is left. Of a magnet
/// link that shows when the torrent is known.
pub(super) fn check(add: &AddTorrent) -> Result<(), AddTorrentError> {
    if add.share_only {
        return Ok(());
    }
    let files = add.source.metainfo().map(|metainfo| metainfo.file_count());
    if !add.files.is_empty() {
        return match files {
            Some(files) if add.files.len() != files => {
                Err(AddTorrentError::WrongFileCount { given: add.files.len(), files })
            }
            _ if selection::skips_all(&add.files) => {
                Err(AddTorrentError::NothingSelected { files })
            }
            _ => Ok(()),
        };
    }
    match (files, &add.only) {
        (Some(count), Some(only)) if selection::priorities(count, only).is_err() => {
            Err(AddTorrentError::NothingSelected { files })
        }
        _ => Ok(()),
    }
}
