//! `--ip-filter`: lists of addresses that there is nothing to do with, read at the start and again when
//! the user says so.

use std::path::PathBuf;
use std::sync::Arc;

use bitswarm_core::ip_filter::IpFilter;
use bitswarm_runtime_common::ip_filter::{LeftOut, LoadError, load};

use crate::exit::{Code, Failure};
use crate::output::Object;
use crate::progress::Progress;
use crate::units::counted;

/// The files that the user named.
#[derive(Clone, Debug)]
pub(crate) struct IpLists {
    paths: Vec<PathBuf>,
    json: bool,
}

impl IpLists {
    pub(crate) fn new(paths: &[PathBuf], json: bool) -> Self {
        IpLists { paths: paths.to_vec(), json }
    }

    /// Whether none is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// What they say, if there are any; and tells so, with the lines that say nothing.
    pub(crate) fn load(&self, progress: &Progress) -> Result<Option<Arc<IpFilter>>, Failure> {
        if self.is_empty() {
            return Ok(None);
        }
        let loaded = load(&self.paths).map_err(|error| failure(&error))?;
        let bad_lines: u64 = loaded.left_out.iter().map(|left_out| left_out.lines).sum();
        for LeftOut { path, first, lines } in &loaded.left_out {
            let path = path.display();
            for bad in first {
                let (line, why) = (bad.line, bad.why);
                progress.say(&format!("{path}: line {line}: {why}; left out"));
            }
            let more = lines.saturating_sub(first.len() as u64);
            if more > 0 {
                progress.say(&format!("{path}: {more} more such lines left out"));
            }
        }
        let ranges = loaded.filter.len();
        progress.say(&format!("IP filter: {}", counted(ranges, "range", "ranges")));
        if self.json {
            let object = Object::event("ip_filter");
            object.with("ranges", ranges).with("bad_lines", bad_lines).print()?;
        }
        Ok(Some(Arc::new(loaded.filter)))
    }
}

fn failure(error: &LoadError) -> Failure {
    match error {
        LoadError::Io(path, error) => Failure::file("cannot read", path, error),
        LoadError::List(path, error) => {
            let path = path.display();
            let message = format!("--ip-filter {path}: {error}; name a list of addresses");
            Failure::new(Code::BadInput, message)
        }
    }
}
