//! A loop device: the block device that nearly every machine has for tests.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A loop device over a file of its own, gone at the end of the test.
pub(crate) struct LoopDevice {
    pub(crate) node: PathBuf,
    _directory: TempDir,
}

impl LoopDevice {
    /// `None`, and a word why, where no loop device can be had.
    pub(crate) fn new(length_bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("medium");
        let made = std::fs::File::create(&file).and_then(|file| file.set_len(length_bytes));
        made.expect("a file");
        match Command::new("losetup").args(["--find", "--show"]).arg(&file).output() {
            Ok(output) if output.status.success() => {
                let node = String::from_utf8(output.stdout).expect("a path").trim_end().into();
                Some(Self { node, _directory: directory })
            }
            answer => {
                eprintln!("skipped: no loop device can be had here ({answer:?})");
                None
            }
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // Whether it goes well is of no concern to the test.
        let _ = Command::new("losetup").arg("--detach").arg(&self.node).status();
    }
}
