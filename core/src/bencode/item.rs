//! The items of a parsed message: where each lies in the input.

use smallvec::SmallVec;

/// Where the items of a document lie. A short message fits without an allocation.
pub(super) type Items = SmallVec<[Item; 16]>;

/// One value, or one key of a dictionary.
#[derive(Clone, Copy)]
pub(super) struct Item {
    /// Offset of its first byte in the input.
    pub(super) start: u32,
    /// Offset after its last byte.
    pub(super) end: u32,
    pub(super) shape: Shape,
}

#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// Offset of the string's content, after the colon.
    Bytes {
        content: u32,
    },
    Int,
    /// Index of the first item after the list.
    List {
        next: u32,
    },
    /// Index of the first item after the dictionary.
    Dict {
        next: u32,
    },
}
