//! What a torrent is about: files of reproducible pseudo-random bytes, and the comparison of a
//! download with them, byte by byte.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::{Lab, Outcome};

/// A file or a directory of files, made for a test.
#[derive(Clone, Debug)]
pub struct Content {
    root: PathBuf,
    name: String,
    files: Vec<(PathBuf, u64)>,
}

impl Content {
    /// One file of `length` bytes.
    pub fn single(lab: &Lab, name: &str, length: u64) -> Outcome<Content> {
        Content::make(lab, name, &[("", length)])
    }

    /// One file whose length is a multiple of nothing that matters: 7 MiB and a bit.
    pub fn odd_file(lab: &Lab) -> Outcome<Content> {
        Content::single(lab, "odd file.bin", 7_654_321)
    }

    /// A directory with what tends to go wrong: empty files at both ends and between, a file of
    /// one byte, files that share pieces, files of several pieces, nested directories, names
    /// outside ASCII with spaces.
    pub fn awkward_tree(lab: &Lab) -> Outcome<Content> {
        Content::make(
            lab,
            "Sammlung – 集合 é",
            &[
                ("00 leer.bin", 0),
                ("a/eins.bin", 1),
                ("a/b/c/tief unten.dat", 98_765),
                ("b/naïve 数据 🦀.bin", 1_234_567),
                ("b/Привет мир.txt", 777),
                ("b/leer dazwischen", 0),
                ("last.bin", 3 * 16_384 + 1),
                ("zz/leer", 0),
            ],
        )
    }

    /// A directory of 3,000 files in 50 folders: many empty, most shorter than a block, none longer
    /// than two.
    pub fn thousands_of_files(lab: &Lab) -> Outcome<Content> {
        let length = |n: u64| if n.is_multiple_of(7) { 0 } else { n * 37 % 20_000 };
        let path = |n: u64| format!("folder {:02}/file {n}.bin", n % 50);
        let files: Vec<(String, u64)> = (1..=3000).map(|n| (path(n), length(n))).collect();
        let files: Vec<(&str, u64)> =
            files.iter().map(|(p, length)| (p.as_str(), *length)).collect();
        Content::make(lab, "thousands", &files)
    }

    /// A directory `name` with these files (path, length); one file `name` if the path is empty.
    pub fn make(lab: &Lab, name: &str, files: &[(&str, u64)]) -> Outcome<Content> {
        let root = lab.make_dir("content")?;
        let files: Vec<(PathBuf, u64)> =
            files.iter().map(|(path, length)| (join(name, path), *length)).collect();
        for (number, (path, length)) in files.iter().enumerate() {
            let path = root.join(path);
            fs::create_dir_all(path.parent().ok_or("a path without a parent")?)?;
            write_random(&path, *length, number as u64 + 1)?;
        }
        Ok(Content { root, name: name.to_owned(), files })
    }

    /// Without the files of length 0 that `is_named` does not know: transmission-create leaves
    /// them out. That any other is missing is an error.
    pub fn only_named(mut self, is_named: impl Fn(&Path) -> bool) -> Outcome<Content> {
        let missing = |(path, _): &(PathBuf, u64)| !is_named(path);
        if let Some((path, _)) = self.files.iter().find(|file| file.1 > 0 && missing(file)) {
            return Err(format!("{}: not in the torrent", path.display()).into());
        }
        self.files.retain(|file| !missing(file));
        Ok(self)
    }

    /// The directory that contains the torrent's name.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file or directory itself.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// Its name: that of the torrent.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every file: its path below the root, which starts with the name, and its length.
    pub fn files(&self) -> &[(PathBuf, u64)] {
        &self.files
    }

    /// Bytes in all files.
    pub fn total(&self) -> u64 {
        self.files.iter().map(|(_, length)| length).sum()
    }

    /// A copy below another new directory of the lab, which is returned.
    pub fn copy(&self, lab: &Lab) -> Outcome<PathBuf> {
        let root = lab.make_dir("copy")?;
        for (path, _) in &self.files {
            let target = root.join(path);
            fs::create_dir_all(target.parent().ok_or("a path without a parent")?)?;
            fs::copy(self.root.join(path), target)?;
        }
        Ok(root)
    }

    /// Whether the same files, byte for byte, stand below `root`, and under the torrent's name
    /// nothing else does; an error says what differs.
    pub fn compare(&self, root: &Path) -> Outcome {
        self.compare_but_for(root, |_, _| false)
    }

    /// The same for a client that makes no files of length 0 (aria2 and Transmission).
    pub fn compare_but_for_empty_files(&self, root: &Path) -> Outcome {
        self.compare_but_for(root, |path, length| length == 0 && !path.exists())
    }

    fn compare_but_for(&self, root: &Path, excused: impl Fn(&Path, u64) -> bool) -> Outcome {
        let mut expected = Vec::new();
        for (path, length) in &self.files {
            if !excused(&root.join(path), *length) {
                compare_files(&self.root.join(path), &root.join(path))?;
                expected.push(path.clone());
            }
        }
        let mut found = files_below(root, &root.join(&self.name))?;
        expected.sort();
        found.sort();
        match found == expected {
            true => Ok(()),
            false => Err(format!("files differ: expected {expected:?}, found {found:?}").into()),
        }
    }
}

/// Compares two files byte by byte; an error says where they differ.
pub fn compare_files(expected: &Path, found: &Path) -> Outcome {
    const STEP: usize = 1 << 20;
    let named = |error| format!("{}: {error}", found.display());
    let (left_length, right_length) =
        (fs::metadata(expected)?.len(), fs::metadata(found).map_err(named)?.len());
    if left_length != right_length {
        let found = found.display();
        return Err(format!("{found}: {right_length} bytes instead of {left_length}").into());
    }
    let (mut left, mut right) = (File::open(expected)?, File::open(found).map_err(named)?);
    let (mut left_bytes, mut right_bytes) = (vec![0; STEP], vec![0; STEP]);
    let mut at = 0;
    while at < left_length {
        let step = usize::try_from((left_length - at).min(STEP as u64))?;
        left.read_exact(&mut left_bytes[..step])?;
        right.read_exact(&mut right_bytes[..step])?;
        if left_bytes[..step] != right_bytes[..step] {
            let pairs = left_bytes.iter().zip(&right_bytes);
            let offset = at + pairs.take_while(|(left, right)| left == right).count() as u64;
            return Err(format!("{}: differs at byte {offset}", found.display()).into());
        }
        at += step as u64;
    }
    Ok(())
}

/// Every file at or below `path`, relative to `root`.
pub fn files_below(root: &Path, path: &Path) -> Outcome<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.strip_prefix(root)?.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        files.append(&mut files_below(root, &entry?.path())?);
    }
    Ok(files)
}

fn join(name: &str, path: &str) -> PathBuf {
    match path.is_empty() {
        true => PathBuf::from(name),
        false => Path::new(name).join(path),
    }
}

/// Fills a file with the output of xorshift64*, a generator with no repetition that matters here.
fn write_random(path: &Path, length: u64, seed: u64) -> Outcome {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut left = length;
    while left > 0 {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        let step = left.min(8);
        out.write_all(&word[..usize::try_from(step)?])?;
        left -= step;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compare_tells_changed_missing_short_and_extra_files() {
        let lab = Lab::new(0).unwrap();
        let content = Content::awkward_tree(&lab).unwrap();
        let copy = content.copy(&lab).unwrap();
        content.compare(&copy).unwrap();

        let changed = copy.join(&content.files()[3].0);
        let original = fs::read(&changed).unwrap();
        let mut bytes = original.clone();
        bytes[1_100_000] ^= 1;
        fs::write(&changed, &bytes).unwrap();
        let error = content.compare(&copy).unwrap_err().to_string();
        assert!(error.ends_with("differs at byte 1100000"), "{error}");

        fs::write(&changed, &original[..1000]).unwrap();
        assert!(content.compare(&copy).is_err());
        fs::write(&changed, &original).unwrap();
        content.compare(&copy).unwrap();

        fs::write(copy.join(content.name()).join("extra"), b"").unwrap();
        assert!(content.compare(&copy).is_err());
        fs::remove_file(copy.join(content.name()).join("extra")).unwrap();

        fs::remove_file(copy.join(&content.files()[0].0)).unwrap();
        assert!(content.compare(&copy).is_err());
        content.compare_but_for_empty_files(&copy).unwrap();
        fs::remove_file(copy.join(&content.files()[1].0)).unwrap();
        assert!(content.compare_but_for_empty_files(&copy).is_err());
    }
}
