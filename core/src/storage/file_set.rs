//! A set of a store's files, a bit each.

use serde::{Deserialize, Serialize};

use crate::disk::FileIndex;

/// Some of the files of a store. Takes no memory while it is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FileSet(Box<[u64]>);

impl FileSet {
    /// The first `count` files: all of a store that has so many.
    pub fn all(count: u32) -> Self {
        let mut all = FileSet::default();
        all.extend((0..count).map(FileIndex));
        all
    }

    /// Whether a file is one of them.
    pub fn has(&self, file: FileIndex) -> bool {
        self.0.get(file.0 as usize / 64).is_some_and(|word| word >> (file.0 % 64) & 1 == 1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Adds a file; whether it is new.
    pub fn insert(&mut self, file: FileIndex) -> bool {
        let is_new = !self.has(file);
        self.extend([file]);
        is_new
    }

    /// Takes a file out.
    pub fn remove(&mut self, file: FileIndex) {
        if let Some(word) = self.0.get_mut(file.0 as usize / 64) {
            *word &= !(1 << (file.0 % 64));
        }
    }
}

impl Extend<FileIndex> for FileSet {
    fn extend<T: IntoIterator<Item = FileIndex>>(&mut self, files: T) {
        let mut words = std::mem::take(&mut self.0).into_vec();
        for FileIndex(file) in files {
            let word = file as usize / 64;
            if words.len() <= word {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << (file % 64);
        }
        self.0 = words.into();
    }
}

impl FromIterator<FileIndex> for FileSet {
    fn from_iter<T: IntoIterator<Item = FileIndex>>(files: T) -> Self {
        let mut set = FileSet::default();
        set.extend(files);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_in_it_and_nothing_else() {
        let mut set: FileSet = [3, 64, 700].map(FileIndex).into_iter().collect();
        assert!([3, 64, 700].map(FileIndex).into_iter().all(|file| set.has(file)));
        assert!([0, 63, 65, 701, u32::MAX].map(FileIndex).into_iter().all(|file| !set.has(file)));
        assert!(!set.insert(FileIndex(3)) && set.insert(FileIndex(4)));
        assert!(FileSet::default().is_empty() && !set.is_empty());
        set.remove(FileIndex(64));
        set.remove(FileIndex(9999));
        assert!(!set.has(FileIndex(64)) && set.has(FileIndex(700)));
        let all = FileSet::all(65);
        assert!(all.has(FileIndex(64)) && !all.has(FileIndex(65)));
    }
}
