//! IP filters from files. Reading a long list takes up to a second, so it is done on the caller's thread
//! and not on the event loop's; what comes out goes in with [`Client::set_ip_filter`](crate::Client) or in
//! the configuration.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bitswarm_core::ip_filter::IpFilter;
use bitswarm_core::ip_filter::file::{self, BadLine, List, ListError, MAX_UNPACKED};

/// What files say together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loaded {
    /// Which addresses are refused.
    pub filter: IpFilter,
    /// What was left out, of each file in which something was.
    pub left_out: Vec<LeftOut>,
}

/// Lines of a file that are none of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOut {
    /// The file.
    pub path: PathBuf,
    /// The first of them.
    pub first: Vec<BadLine>,
    /// How many there are.
    pub lines: u64,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    Io(PathBuf, io::Error),
    /// It is no list.
    List(PathBuf, ListError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Io(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            LoadError::List(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for LoadError {}

/// Reads lists and joins them. All of them must be usable: one that is not would let through what it
/// refuses.
pub fn load<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Loaded, LoadError> {
    let (mut filters, mut left_out) = (Vec::new(), Vec::new());
    for path in paths {
        let path = path.as_ref();
        let List { filter, bad, bad_lines } = load_one(path)?;
        filters.push(filter);
        if bad_lines > 0 {
            left_out.push(LeftOut { path: path.to_owned(), first: bad, lines: bad_lines });
        }
    }
    Ok(Loaded { filter: IpFilter::union(filters), left_out })
}

fn load_one(path: &Path) -> Result<List, LoadError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_UNPACKED + 1).read_to_end(&mut bytes))
        .map_err(|error| LoadError::Io(path.to_owned(), error))?;
    file::read(&bytes).map_err(|error| LoadError::List(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn several_files_are_one_filter_and_one_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (a, b) = (file("a", "1.1.1.1\n?\n"), file("b", "x:2.2.2.2-2.2.2.3\n"));
        let loaded = load([&a, &b]).unwrap();
        let refuses = |ip: &str| loaded.filter.refuses(ip.parse().unwrap());
        assert!(refuses("1.1.1.1") && refuses("2.2.2.3") && !refuses("3.3.3.3"));
        let [LeftOut { path, first, lines: 1 }] = &loaded.left_out[..] else { panic!() };
        assert_eq!((path, first[0].line), (&a, 2));
        let c = file("c", "<html>");
        let error = load([&a, &c]).unwrap_err().to_string();
        assert!(error.contains("c: line 1: no address"), "{error}");
        let missing = load([dir.path().join("d")]).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read "), "{missing}");
    }
}
