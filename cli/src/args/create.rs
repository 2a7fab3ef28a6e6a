//! The options of create and edit.

use std::path::PathBuf;

use clap::Args;

use super::reporting::{Painting, Reporting};
use super::values::{
    CreationDate, PeerName, Tier, Version, parse_choice, parse_date, parse_piece_length,
    parse_tier, parse_tracker, parse_web_seed,
};
use crate::globs;

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
    #[command(flatten)]
    pub(crate) painting: Painting,
}

/// `bitswarm edit`
#[derive(Args, Debug)]
pub(crate) struct Edit {
    /// A torrent file
    pub(crate) torrent: PathBuf,
    /// Where to write the changed torrent; - is stdout [default: in place of the old one]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the file that --output names if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Trackers instead of those it has (may be repeated; each is a tier, URL,URL is one tier)
    #[arg(short, long = "tracker", value_name = "URL", value_parser = parse_tier,
          conflicts_with = "no_trackers")]
    pub(crate) trackers: Vec<Tier>,
    /// A tracker besides those it has, as a tier of its own (may be repeated)
    #[arg(long = "add-tracker", value_name = "URL", value_parser = parse_tier)]
    pub(crate) add_trackers: Vec<Tier>,
    /// A tracker to remove (may be repeated)
    #[arg(long = "remove-tracker", value_name = "URL", value_parser = parse_tracker)]
    pub(crate) remove_trackers: Vec<String>,
    /// Remove all trackers
    #[arg(long)]
    pub(crate) no_trackers: bool,
    /// Web seeds instead of those it has (may be repeated)
    #[arg(short, long = "web-seed", value_name = "URL", value_parser = parse_web_seed,
          conflicts_with = "no_web_seeds")]
    pub(crate) web_seeds: Vec<String>,
    /// Remove all web seeds
    #[arg(long)]
    pub(crate) no_web_seeds: bool,
    /// DHT nodes instead of those it has (may be repeated)
    #[arg(long = "node", value_name = "HOST:PORT", value_parser = PeerName::parse,
          conflicts_with = "no_nodes")]
    pub(crate) nodes: Vec<PeerName>,
    /// Remove all DHT nodes
    #[arg(long)]
    pub(crate) no_nodes: bool,
    /// Torrents that may have files of this one, instead of those named beside its info: an infohash
    /// or a torrent file (may be repeated)
    #[arg(long, value_name = "TORRENT", conflicts_with = "no_similar")]
    pub(crate) similar: Vec<PathBuf>,
    /// Remove them
    #[arg(long)]
    pub(crate) no_similar: bool,
    /// Collections that it belongs to, instead of those named beside its info (may be repeated)
    #[arg(long = "collection", value_name = "NAME", conflicts_with = "no_collections")]
    pub(crate) collections: Vec<String>,
    /// Remove them
    #[arg(long)]
    pub(crate) no_collections: bool,
    /// The comment; an empty one removes it
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Which program to name as the maker, or none
    #[arg(long, value_name = "TEXT")]
    pub(crate) created_by: Option<String>,
    /// Date of creation in seconds since 1970, or none
    #[arg(long, value_name = "UNIX", value_parser = parse_date)]
    pub(crate) date: Option<CreationDate>,
    /// What sets it apart from the same content elsewhere; changes the infohash, an empty one
    /// removes it
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) source: Option<String>,
    /// Whether peers may be found by the trackers only; changes the infohash
    #[arg(short, long, value_name = "YES|NO", value_parser = parse_choice)]
    pub(crate) private: Option<bool>,
}
