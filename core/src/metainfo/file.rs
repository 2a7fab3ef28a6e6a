//! One file of a torrent.

use std::num::NonZeroU32;
use std::path::PathBuf;

/// One file of a torrent, as the metainfo lists it but with a safe path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    pub(super) path: String,
    pub(super) length: u64,
    pub(super) offset: u64,
    pub(super) attributes: Attributes,
    /// Where its pieces root lies, from the beginning of `info`: it is not the first byte.
    pub(super) root: Option<NonZeroU32>,
    /// Where its piece layer lies, from the beginning of `piece layers`.
    pub(super) layer: Option<NonZeroU32>,
}

/// What a file is besides its content (BEP 47, `attr`). Unknown attributes are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// `p`: zeros that let the next file begin with a piece. Never on disk, never displaced by or
    /// displacing another file; its path may be that of another pad file.
    pub pad: bool,
    /// `l`: a symbolic link, which counts as a file of no bytes. It is no file of the store; it is
    /// made if it leads to something of the torrent: see
    /// [`Metainfo::link_target`](super::Metainfo::link_target).
    pub symlink: bool,
    /// `x`: to be made executable.
    pub executable: bool,
    /// `h`: to be hidden, where the system knows how: on Unix that is in the name.
    pub hidden: bool,
}

impl Attributes {
    /// Whether it is that of a symbolic link: padding is none, whatever else it says.
    pub(super) fn is_link(self) -> bool {
        self.symlink && !self.pad
    }
}

impl File {
    /// Its path inside the torrent with `/` between the components; for a torrent of one file, the
    /// torrent's name. Sanitised: see [`Metainfo`](super::Metainfo), "Names and paths".
    pub fn path(&self) -> &str {
        &self.path
    }

    /// [`File::path`] as the host writes it, relative.
    pub fn to_path_buf(&self) -> PathBuf {
        self.path.split('/').collect()
    }

    /// Length in bytes; 0 for a symbolic link.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where it begins in the torrent's content, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its attributes.
    pub fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// Padding of `length` bytes, under the name that BEP 47 recommends.
    pub(super) fn padding(offset: u64, length: u64) -> Self {
        let attributes = Attributes { pad: true, ..Attributes::default() };
        let path = format!(".pad/{length}");
        File { path, length, offset, attributes, root: None, layer: None }
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.attributes.is_link()
    }

    /// Whether it lies on disk as a file: everything but pad files and symbolic links.
    pub fn is_stored(&self) -> bool {
        !self.attributes.pad && !self.attributes.symlink
    }
}

impl Attributes {
    /// From the letters of `attr`.
    pub(super) fn from_letters(letters: &[u8]) -> Self {
        let has = |letter| letters.contains(&letter);
        Attributes { pad: has(b'p'), symlink: has(b'l'), executable: has(b'x'), hidden: has(b'h') }
    }

    /// As the letters of `attr`, in the order of BEP 47's example, which libtorrent keeps too.
    pub(super) fn to_letters(self) -> String {
        let letters =
            [(self.pad, 'p'), (self.hidden, 'h'), (self.executable, 'x'), (self.symlink, 'l')];
        letters.iter().filter_map(|&(is, letter)| is.then_some(letter)).collect()
    }
}
