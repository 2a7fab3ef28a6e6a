//! `create`: makes a torrent of a file or a directory, hashing on all cores.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;

use crate::args::{Create, CreationDate};
use crate::content::{self, Choice, WhyNot};
use crate::describe;
use crate::destination::Destination;
use crate::exit::{Code, Failure};
use crate::globs;
use crate::input;
use crate::making::{check, hashed, refused};
use crate::output::{Object, print, print_raw};
use crate::progress::Progress;
use crate::replace::{self, Existing};
use crate::signals::Interrupt;
use crate::units::{Size, counted};

/// Scans, hashes, writes.
pub(crate) fn run(args: &Create) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let progress = Progress::new(args.reporting, args.painting);
    // What is only foretold replaces nothing.
    let existing = Existing::by_force(args.force || args.dry_run);
    let output = Destination::of(place(args)?, args.reporting.json, existing)?;
    let choice = Choice {
        output: output.path().map(Path::to_owned),
        include: (!args.include.is_empty()).then(|| globs::set(&args.include)).transpose()?,
        exclude: globs::set(&args.exclude)?,
        no_hidden: args.no_hidden,
        symlinks: args.symlinks,
        mark_hidden: args.mark_hidden,
    };
    let mut content = content::scan(&args.path, &choice)?;
    for left in &content.left_out {
        let hint = if left.why == WhyNot::Link { " (--symlinks records it)" } else { "" };
        progress.say(&format!("leaving out {left}{hint}"));
    }
    content.creator = described(args, content.creator)?;
    if args.dry_run {
        return foretell(args, &content.creator);
    }
    let metainfo = hashed(&args.path, content, &progress, &interrupt)?;
    let bytes = metainfo.to_bytes();
    match &output {
        Destination::Stdout => print_raw(&bytes),
        Destination::File(path) => {
            replace::write(path, &bytes, Existing::by_force(args.force))?;
            report(args, &metainfo, path)
        }
    }
}

/// The file that the user names, or one beside nothing that has the content's name.
fn place(args: &Create) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.output {
        return Ok(path.clone());
    }
    let real = args.path.canonicalize();
    let real = real.map_err(|error| Failure::file("cannot read", &args.path, &error))?;
    let name = args.path.file_name().or_else(|| real.file_name()).unwrap_or_default();
    let mut name = name.to_owned();
    name.push(".torrent");
    Ok(fitting(name))
}

/// A name made of another, no longer than file systems allow.
fn fitting(name: OsString) -> PathBuf {
    const NAME_MAX: usize = 255;
    const END: &str = ".torrent";
    match name.to_str() {
        Some(text) if text.len() > NAME_MAX => {
            let most = NAME_MAX - END.len();
            let end = (0..=most).rev().find(|&end| text.is_char_boundary(end));
            PathBuf::from(format!("{}{END}", &text[..end.unwrap_or_default()]))
        }
        _ => PathBuf::from(name),
    }
}

/// The torrent with what the user says about it besides its content.
fn described(args: &Create, creator: Creator) -> Result<Creator, Failure> {
    let mut creator = creator.with_protocol(args.protocol.into());
    if let Some(length) = args.piece_length {
        creator.piece_length = length;
    }
    creator.trackers = args.trackers.iter().map(|tier| tier.0.clone()).collect();
    creator.web_seeds.clone_from(&args.web_seeds);
    creator.nodes = args.nodes.iter().map(|node| (node.host.clone(), node.port)).collect();
    creator.private = args.private;
    creator.source.clone_from(&args.source);
    creator.similar = input::similar(&args.similar)?;
    creator.collections.clone_from(&args.collections);
    creator.comment.clone_from(&args.comment);
    creator.created_by = (args.created_by != "none").then(|| args.created_by.clone());
    creator.creation_date = match args.date {
        Some(CreationDate::Absent) => None,
        Some(CreationDate::At(seconds)) => Some(seconds),
        None => date_of_sources()?
            .or_else(|| Some(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs())),
    };
    Ok(creator)
}

/// The date that builds are to bear so that they can be repeated (reproducible-builds.org).
fn date_of_sources() -> Result<Option<u64>, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => text.parse().map(Some).map_err(|_| {
            let message =
                "SOURCE_DATE_EPOCH in the environment is not seconds since 1970; unset it";
            Failure::new(Code::Usage, message)
        }),
        _ => Ok(None),
    }
}

/// What `--dry-run` says.
fn foretell(args: &Create, creator: &Creator) -> Result<(), Failure> {
    let metainfo = check(creator).map_err(|error| refused(&args.path, &error))?;
    if args.reporting.json {
        let files = creator
            .files()
            .iter()
            .map(|file| serde_json::json!({ "path": file.path.join("/"), "length": file.length }));
        return Object::new()
            .with("name", creator.name())
            .with("piece_length", creator.piece_length)
            .with("pieces", metainfo.geometry().pieces())
            .with("total_size", describe::size_of_files(&metainfo))
            .with("files", files.collect::<Vec<_>>())
            .print();
    }
    for file in creator.files() {
        print(&format!("{:>10}  {}", Size(file.length), file.path.join("/")))?;
    }
    print(&format!("{}: {}", creator.name(), extent(&metainfo)))
}

/// How much it is, in words.
fn extent(metainfo: &Metainfo) -> String {
    let geometry = metainfo.geometry();
    let files = counted(metainfo.file_count(), "file", "files");
    let pieces = counted(geometry.pieces(), "piece", "pieces");
    let (size, piece) = (describe::size_of_files(metainfo), geometry.piece_len().into());
    format!("{} in {files}, {pieces} of {}", Size(size), Size(piece))
}

fn report(args: &Create, metainfo: &Metainfo, path: &Path) -> Result<(), Failure> {
    if args.reporting.json {
        return describe::object(metainfo).with("path", path.to_string_lossy()).print();
    }
    let path = path.display();
    print(&format!("{path}: {}, {}", describe::infohashes(metainfo), extent(metainfo)))
}
