//! The payload of a block on its way from the socket to the disk, or back, never copied.
//!
//! A block is cut out of the reads it arrived in, so it is a short run of [`Bytes`]: one if a read
//! held all of it, two if it straddled a read's end, more only when a peer sends in small portions.
//! Two of these are equal when their bytes are, however they are cut.

use bytes::Bytes;
use smallvec::SmallVec;

/// Bytes of a block in order, by reference.
#[derive(Clone, Default)]
pub struct BlockData(SmallVec<[Bytes; 2]>);

impl BlockData {
    /// No bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The runs in order, none of them empty.
    pub fn chunks(&self) -> &[Bytes] {
        &self.0
    }

    /// Appends a run; an empty one is left out.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.0.push(chunk);
        }
    }

    /// The bytes in one run: free if there is one already, else a copy.
    pub fn contiguous(self) -> Bytes {
        match self.0.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            several => several.concat().into(),
        }
    }
}

impl From<Bytes> for BlockData {
    fn from(bytes: Bytes) -> Self {
        let mut data = BlockData::new();
        data.push(bytes);
        data
    }
}

impl FromIterator<Bytes> for BlockData {
    fn from_iter<I: IntoIterator<Item = Bytes>>(chunks: I) -> Self {
        BlockData(chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect())
    }
}

impl IntoIterator for BlockData {
    type Item = Bytes;
    type IntoIter = smallvec::IntoIter<[Bytes; 2]>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl PartialEq for BlockData {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.0.iter().flatten().eq(other.0.iter().flatten())
    }
}

impl Eq for BlockData {}

impl std::fmt::Debug for BlockData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockData({} bytes in {})", self.len(), self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cut_differently_is_equal_and_other_bytes_are_not() {
        let whole = BlockData::from(Bytes::from_static(b"abcdef"));
        let cut: BlockData =
            [&b"ab"[..], b"", b"cde", b"f"].into_iter().map(Bytes::from_static).collect();
        assert_eq!(cut.chunks().len(), 3);
        assert_eq!(whole, cut);
        assert_eq!(cut.contiguous(), &b"abcdef"[..]);
        assert_ne!(whole, BlockData::from(Bytes::from_static(b"abcdeX")));
    }
}
