//! `create`: makes a torrent of a file or a directory, hashing on all cores.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bitswarm_core::disk::{DiskError, DiskErrorKind};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::CreateError;

use crate::args::{Create, CreationDate};
use crate::commands::info;
use crate::content::{self, Content};
use crate::exit::{Code, Failure};
use crate::hashing::hash;
use crate::output::print;
use crate::progress::Progress;
use crate::signals::Interrupt;
use crate::units::Size;

/// Scans, hashes, writes.
pub(crate) fn run(args: &Create) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let progress = Progress::new(args.reporting);
    refuse_missing_directory(&args.output)?;
    let mut content = content::scan(&args.path, &args.output)?;
    for path in &content.left_out {
        progress.say(&format!("leaving out {}: not a file or directory", path.display()));
    }
    describe(args, &mut content);
    let metainfo = hashed(&args.path, content, &progress, &interrupt)?;
    write_whole(&args.output, &metainfo.to_bytes())
        .map_err(|error| Failure::file("cannot write", &args.output, &error))?;
    report(args, &metainfo)
}

/// The metainfo of content on disk, which is read and hashed for it.
pub(crate) fn hashed(
    path: &Path,
    content: Content,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Metainfo, Failure> {
    let refused =
        |error: CreateError| Failure::new(Code::BadInput, format!("{}: {error}", path.display()));
    // Once with hashes of zeros: what can be wrong shows before minutes of hashing.
    let geometry = content.creator.geometry().map_err(refused)?;
    let mut hashes = vec![0; geometry.pieces() as usize * 20];
    content.creator.finish(&hashes).map_err(refused)?;

    let layout = content.creator.layout().map_err(refused)?;
    let results = hash("hashing", content.spec, &layout, progress, interrupt)?;
    for (place, result) in hashes.chunks_exact_mut(20).zip(results) {
        place.copy_from_slice(&result.map_err(|error| unreadable(&error))?);
    }
    content.creator.finish(&hashes).map_err(refused)
}

/// Better now than after minutes of hashing.
fn refuse_missing_directory(output: &Path) -> Result<(), Failure> {
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::read_dir(dir).map(|_| ()).map_err(|e| Failure::file("cannot write to", dir, &e))
}

/// What the user says about the torrent besides its content.
fn describe(args: &Create, content: &mut Content) {
    let creator = &mut content.creator;
    if let Some(length) = args.piece_length {
        creator.piece_length = length;
    }
    creator.trackers = args.trackers.iter().map(|url| vec![url.clone()]).collect();
    creator.private = args.private;
    creator.comment = args.comment.clone();
    creator.created_by = (args.created_by != "none").then(|| args.created_by.clone());
    creator.creation_date = match args.date {
        Some(CreationDate::Absent) => None,
        Some(CreationDate::At(seconds)) => Some(seconds),
        None => SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs()),
    };
}

fn unreadable(error: &DiskError) -> Failure {
    let advice = match error.kind {
        DiskErrorKind::Short | DiskErrorKind::NotFound => "it must not change while it is read",
        _ => "check who owns it and its mode",
    };
    Failure::new(Code::File, format!("cannot read {error}; {advice}"))
}

fn report(args: &Create, metainfo: &Metainfo) -> Result<(), Failure> {
    if args.reporting.json {
        let path = args.output.to_string_lossy();
        return info::object(metainfo).with("path", path).print();
    }
    let (path, geometry) = (args.output.display(), metainfo.geometry());
    let files = match info::listed(metainfo).count() {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    print(&format!(
        "{path}: infohash {}, {} in {files}, {} pieces of {}",
        metainfo.infohash(),
        Size(info::size_of_files(metainfo)),
        geometry.pieces(),
        Size(geometry.piece_len().into()),
    ))
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A device or a pipe is written to; a rename would replace it.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return File::options().write(true).open(path)?.write_all(bytes);
    }
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.part", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
