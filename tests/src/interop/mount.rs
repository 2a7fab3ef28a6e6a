//! A small file system of our own in the lab, so that a disk can be full.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Lab, Outcome};

/// A mounted tmpfs. Dropping it unmounts it. Needs [`Need::Mount`](super::Need::Mount).
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts one of `bytes` bytes on a new directory of the lab.
    pub fn mount(lab: &Lab, bytes: u64) -> Outcome<Tmpfs> {
        Tmpfs::mount_at(lab.make_dir("tmpfs")?, bytes)
    }

    /// Mounts one of `bytes` bytes on an empty directory.
    pub fn mount_at(path: PathBuf, bytes: u64) -> Outcome<Tmpfs> {
        mount(&path, &format!("size={bytes}"))?;
        Ok(Tmpfs { path })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes its size; what is on it stays.
    pub fn resize(&self, bytes: u64) -> Outcome {
        mount(&self.path, &format!("remount,size={bytes}"))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still be leaving.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

fn mount(path: &Path, options: &str) -> Outcome {
    let mut command = Command::new("mount");
    let output = command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().into()),
    }
}
