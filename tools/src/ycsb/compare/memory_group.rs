//! A cgroup that bounds the memory of one process, page cache included.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::usage::UsageError;

/// Where the kernel keeps memory cgroups, in its second version and in its first, with the files that bound memory.
const HIERARCHIES: [(&str, &str, &str); 2] = [
    ("/sys/fs/cgroup", "memory.max", "memory.swap.max"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
];

/// A cgroup of our own; removed when dropped, which works once its process is gone.
pub struct MemoryGroup {
    directory: PathBuf,
}

impl MemoryGroup {
    /// Makes a cgroup whose processes get so much memory together and no swap.
    ///
    /// # Errors
    ///
    /// When no memory controller can be written to, with what was tried.
    pub fn create(limit_bytes: u64) -> Result<Self, UsageError> {
        let mut refusals = Vec::new();
        for (root, limit_file, swap_file) in HIERARCHIES {
            let directory = Path::new(root).join(format!("zonal-ycsb-{}", std::process::id()));
            match Self::create_in(directory, limit_bytes, limit_file, swap_file) {
                Ok(group) => return Ok(group),
                Err(error) => refusals.push(format!("{root}: {error}")),
            }
        }
        Err(UsageError::new(format!(
            "--memory needs a memory cgroup that can be written to (as root, outside containers), and there is none: {}",
            refusals.join("; ")
        )))
    }

    fn create_in(
        directory: PathBuf,
        limit_bytes: u64,
        limit_file: &str,
        swap_file: &str,
    ) -> io::Result<Self> {
        // In the second version a controller must be switched on for the children first; it may be already.
        if let Some(root) = directory.parent() {
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        }
        fs::create_dir(&directory)?;
        let group = Self { directory };
        fs::write(group.directory.join(limit_file), limit_bytes.to_string())?;
        let swap = if swap_file.contains("memsw") { limit_bytes } else { 0 };
        // Kernels without swap accounting have no such file.
        let _ = fs::write(group.directory.join(swap_file), swap.to_string());
        Ok(group)
    }

    /// The cgroup's directory, for [`enter`].
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Moves this process into a cgroup. What it has allocated before stays counted where it was.
///
/// # Errors
///
/// When the cgroup cannot be written to.
pub fn enter(directory: &Path) -> Result<(), UsageError> {
    fs::write(directory.join("cgroup.procs"), "0")
        .map_err(|error| UsageError::new(format!("cannot enter the cgroup {}: {error}", directory.display())))
}
