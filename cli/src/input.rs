//! What the user names as INPUT: a torrent file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bitswarm_core::metainfo::{MAX_METAINFO_LEN, Metainfo};

use crate::exit::{Code, Failure};

/// Reads and parses a torrent file.
pub(crate) fn load(path: &Path) -> Result<Metainfo, Failure> {
    refuse_what_is_no_file(path)?;
    let bytes = read(path).map_err(|error| Failure::file("cannot read", path, &error))?;
    Metainfo::parse(&bytes)
        .map_err(|error| Failure::new(Code::BadInput, format!("{}: {error}", path.display())))
}

fn refuse_what_is_no_file(path: &Path) -> Result<(), Failure> {
    let text = path.to_string_lossy().to_ascii_lowercase();
    let what = if text.starts_with("magnet:") {
        "magnet links are"
    } else if text.starts_with("http://") || text.starts_with("https://") {
        "addresses on the web are"
    } else {
        return Ok(());
    };
    let message = format!("{what} not supported yet; give the path of a torrent file");
    Err(Failure::new(Code::BadInput, message))
}

/// The whole file; of a file that is too long for a torrent, no more than shows that it is.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_METAINFO_LEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
