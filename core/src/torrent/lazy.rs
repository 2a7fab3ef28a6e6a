//! What most torrents never need: not there until it is.
//!
//! Thousands of torrents sit idle, and room for all that one may ever need is memory in each.

/// A value that is made, as its default, when it is first needed.
#[derive(Clone, Debug)]
pub(super) struct Lazy<T>(Option<Box<T>>);

impl<T> Default for Lazy<T> {
    fn default() -> Self {
        Lazy(None)
    }
}

impl<T: Default> Lazy<T> {
    /// The value, made now if it was not there.
    pub(super) fn make(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }

    /// The value if it was ever needed.
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_deref()
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}
