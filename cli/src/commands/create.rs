//! `create`: makes a torrent of a file or a directory, hashing on all cores.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bitswarm_core::disk::{DiskError, DiskErrorKind};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::{CreateError, Creator, PieceHashes, Protocol};
use bitswarm_core::piece::{InfoHash, InfoHashV2};
use clap::{Args, ValueEnum};

use crate::args::{PeerName, Reporting, parse_hex, parse_tracker};
use crate::commands::info;
use crate::content::{self, Choice, Content, WhyNot};
use crate::exit::{Code, Failure};
use crate::globs;
use crate::hashing::hash;
use crate::input;
use crate::output::{Object, print, print_raw};
use crate::progress::Progress;
use crate::replace::{self, Existing};
use crate::signals::Interrupt;
use crate::units::{Size, counted, parse_size, refuse_negative};

/// Which program is named as the maker unless the user says otherwise.
const CREATED_BY: &str = concat!("bitswarm ", env!("CARGO_PKG_VERSION"));

/// `bitswarm create`
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The file or directory to share
    pub(crate) path: PathBuf,
    /// Where to write the torrent; - is stdout [default: the name with .torrent, here]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Which versions of BitTorrent it is for; Transmission 3 and aria2 1.36 cannot use hybrids, make
    /// v1 for those
    #[arg(long, value_enum, default_value_t = Version::Hybrid)]
    pub(crate) protocol: Version,
    /// A tracker to announce to (may be repeated; each is a tier of its own, URL,URL is one tier)
    #[arg(short, long = "tracker", value_name = "URL", value_parser = parse_tier)]
    pub(crate) trackers: Vec<Tier>,
    /// A web server that has the content too (may be repeated)
    #[arg(short, long = "web-seed", value_name = "URL", value_parser = parse_web_seed)]
    pub(crate) web_seeds: Vec<String>,
    /// A DHT node to begin with (may be repeated)
    #[arg(long = "node", value_name = "HOST:PORT", value_parser = PeerName::parse)]
    pub(crate) nodes: Vec<PeerName>,
    /// Length of a piece, a power of two from 16KiB on [default: by the size of the content]
    #[arg(short = 'l', long, value_name = "SIZE", value_parser = parse_piece_length)]
    pub(crate) piece_length: Option<u32>,
    /// Let peers be found by the trackers only
    #[arg(short, long)]
    pub(crate) private: bool,
    /// What sets it apart from the same content elsewhere
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) source: Option<String>,
    /// A torrent that may have files of this one: its infohash or torrent file (may be repeated)
    #[arg(long, value_name = "TORRENT")]
    pub(crate) similar: Vec<PathBuf>,
    /// A collection that it belongs to, such as com.example.series (may be repeated)
    #[arg(long = "collection", value_name = "NAME")]
    pub(crate) collections: Vec<String>,
    /// A comment
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Which program to name as the maker, or none
    #[arg(long, value_name = "TEXT", default_value = CREATED_BY)]
    pub(crate) created_by: String,
    /// Date of creation in seconds since 1970, or none [default: SOURCE_DATE_EPOCH, or now]
    #[arg(long, value_name = "UNIX", value_parser = parse_date)]
    pub(crate) date: Option<CreationDate>,
    /// Nothing but what matches, such as *.flac or disc1/** (may be repeated)
    #[arg(long, value_name = "GLOB", value_parser = globs::parse)]
    pub(crate) include: Vec<globs::Pattern>,
    /// Nothing that matches (may be repeated)
    #[arg(long, value_name = "GLOB", value_parser = globs::parse)]
    pub(crate) exclude: Vec<globs::Pattern>,
    /// Leave out what has a name that begins with a dot
    #[arg(long)]
    pub(crate) no_hidden: bool,
    /// Keep symbolic links that lead to something in the torrent
    #[arg(long)]
    pub(crate) symlinks: bool,
    /// Mark what has a name that begins with a dot as hidden
    #[arg(long, conflicts_with = "no_hidden")]
    pub(crate) mark_hidden: bool,
    /// Say what would be made, hash and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Replace the torrent file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// Versions of BitTorrent.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    // No doc comments: they would turn the whole help into its long form.
    V1,
    V2,
    Hybrid,
}

impl From<Version> for Protocol {
    fn from(version: Version) -> Self {
        match version {
            Version::V1 => Protocol::V1,
            Version::V2 => Protocol::V2,
            Version::Hybrid => Protocol::Hybrid,
        }
    }
}

/// Trackers that are asked before those of the next tier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tier(pub(crate) Vec<String>);

/// Which date a torrent bears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CreationDate {
    /// None at all.
    Absent,
    /// Seconds since 1970.
    At(u64),
}

/// Scans, hashes, writes.
pub(crate) fn run(args: &Create) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let progress = Progress::new(args.reporting);
    // What is only foretold replaces nothing.
    let existing = Existing::by_force(args.force || args.dry_run);
    let output = Output::of(place(args)?, args.reporting.json, existing)?;
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
        Output::Stdout => print_raw(&bytes),
        Output::File(path) => {
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

/// Where a torrent goes.
#[derive(Debug)]
pub(crate) enum Output {
    Stdout,
    File(PathBuf),
}

impl Output {
    /// `-` is stdout. That a file cannot be there, or stdout is wanted for two things, is said now
    /// and not after minutes of hashing or of asking peers.
    pub(crate) fn of(path: PathBuf, json: bool, existing: Existing) -> Result<Self, Failure> {
        if path.as_os_str() != "-" {
            refuse_missing_directory(&path)?;
            replace::refuse_existing(&path, existing)?;
            return Ok(Output::File(path));
        }
        if json {
            let message = "-o - and --json would both write to stdout; give one of them";
            return Err(Failure::new(Code::Usage, message));
        }
        Ok(Output::Stdout)
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Output::Stdout => None,
            Output::File(path) => Some(path),
        }
    }
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
fn check(creator: &Creator) -> Result<Metainfo, CreateError> {
    let placeholders = PieceHashes::placeholders(creator.protocol(), &creator.geometry()?);
    creator.finish_with_hashes(&placeholders)
}

fn refused(path: &Path, error: &CreateError) -> Failure {
    Failure::new(Code::BadInput, format!("{}: {error}", path.display()))
}

fn refuse_missing_directory(output: &Path) -> Result<(), Failure> {
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::read_dir(dir).map(|_| ()).map_err(|error| Failure::file("cannot write", output, &error))
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
    creator.similar = similar(&args.similar)?;
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

/// Torrents that the user names by infohash or torrent file.
pub(crate) fn similar(names: &[PathBuf]) -> Result<Vec<InfoHash>, Failure> {
    let named = |name: &PathBuf| {
        let text = name.to_str().unwrap_or_default();
        if let Ok(hash) = parse_hex(text) {
            return Ok(InfoHash(hash));
        }
        // BEP 38 knows 20 bytes: of v2 alone the first, by which it is known to peers.
        match parse_hex(text) {
            Ok(hash) => Ok(InfoHashV2(hash).truncated()),
            Err(_) => input::infohash(name),
        }
    };
    names.iter().map(named).collect()
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

fn unreadable(error: &DiskError) -> Failure {
    let advice = match error.kind {
        DiskErrorKind::Short | DiskErrorKind::NotFound => "it must not change while it is read",
        _ => "check who owns it and its mode",
    };
    Failure::new(Code::File, format!("cannot read {error}; {advice}"))
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
            .with("total_size", info::size_of_files(&metainfo))
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
    let (size, piece) = (info::size_of_files(metainfo), geometry.piece_len().into());
    format!("{} in {files}, {pieces} of {}", Size(size), Size(piece))
}

fn report(args: &Create, metainfo: &Metainfo, path: &Path) -> Result<(), Failure> {
    if args.reporting.json {
        return info::object(metainfo).with("path", path.to_string_lossy()).print();
    }
    let path = path.display();
    print(&format!("{path}: {}, {}", info::infohashes(metainfo), extent(metainfo)))
}

/// `URL` or `URL,URL`. A comma in a URL is written as %2C.
pub(crate) fn parse_tier(text: &str) -> Result<Tier, String> {
    text.split(',').map(parse_tracker).collect::<Result<_, _>>().map(Tier)
}

pub(crate) fn parse_web_seed(text: &str) -> Result<String, String> {
    let known = ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && text.len() > scheme.len()
    });
    match known && text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => {
            Err("write a URL such as https://HOST/PATH (percent-encode what is not ASCII)"
                .to_owned())
        }
    }
}

fn parse_piece_length(text: &str) -> Result<u32, String> {
    let advice = "write a power of two from 16KiB to 256MiB";
    match u32::try_from(parse_size(text)?) {
        Ok(length) if length.is_power_of_two() && (1 << 14..=1 << 28).contains(&length) => {
            Ok(length)
        }
        _ => Err(advice.to_owned()),
    }
}

pub(crate) fn parse_date(text: &str) -> Result<CreationDate, String> {
    refuse_negative(text)?;
    match (text, text.parse()) {
        ("none", _) => Ok(CreationDate::Absent),
        (_, Ok(seconds)) => Ok(CreationDate::At(seconds)),
        _ => Err("write seconds since 1970, or none".to_owned()),
    }
}
