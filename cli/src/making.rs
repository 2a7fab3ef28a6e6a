//! The torrent of content on disk, which is read and hashed for it.

use std::path::Path;

use bitswarm_core::disk::{DiskError, DiskErrorKind};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::{CreateError, Creator, PieceHashes};

use crate::content::Content;
use crate::exit::{Code, Failure};
use crate::hashing::hash;
use crate::progress::Progress;
use crate::signals::Interrupt;

/// The metainfo of content on disk, which is read and hashed for it.
pub(crate) fn hashed(
    path: &Path,
    content: Content,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Metainfo, Failure> {
    let creator = content.creator;
    let refused = |error| refused(path, &error);
    check(&creator).map_err(refused)?;
    let (layout, protocol) = (creator.layout().map_err(refused)?, creator.protocol());
    let results = hash("hashing", content.spec, &layout, protocol, progress, interrupt)?;
    let mut hashes = PieceHashes::default();
    for result in results {
        let hash = result.map_err(|error| unreadable(&error))?;
        hashes.v1.extend(hash.v1.into_iter().flatten());
        hashes.v2.extend(hash.v2.into_iter().flatten());
    }
    creator.finish_with_hashes(&hashes).map_err(refused)
}

/// Makes it once with hashes that mean nothing: what can be wrong shows before minutes of hashing.
pub(crate) fn check(creator: &Creator) -> Result<Metainfo, CreateError> {
    let placeholders = PieceHashes::placeholders(creator.protocol(), &creator.geometry()?);
    creator.finish_with_hashes(&placeholders)
}

pub(crate) fn refused(path: &Path, error: &CreateError) -> Failure {
    Failure::new(Code::BadInput, format!("{}: {error}", path.display()))
}

fn unreadable(error: &DiskError) -> Failure {
    let advice = match error.kind {
        DiskErrorKind::Short | DiskErrorKind::NotFound => "it must not change while it is read",
        _ => "check who owns it and its mode",
    };
    Failure::new(Code::File, format!("cannot read {error}; {advice}"))
}
