//! What the kernel has counted for this process, read from `/proc/self`.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Ticks a second in `/proc/self/stat`: the same on every architecture that Linux runs on here.
const TICKS_PER_SECOND: u64 = 100;

/// Counts that only ever grow; `None` is what the kernel does not tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Processor time of all threads, in user and kernel mode, in steps of 10 ms.
    pub cpu: Option<Duration>,
    /// Bytes that this process caused to be written to a device.
    pub written_bytes: Option<u64>,
    /// Bytes that this process caused to be read from a device.
    pub read_bytes: Option<u64>,
}

impl Usage {
    /// The counts now.
    #[must_use]
    pub fn now() -> Self {
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            cpu: cpu_time(&stat),
            written_bytes: number_after(&io, "write_bytes:"),
            read_bytes: number_after(&io, "read_bytes:"),
        }
    }
}

/// The most memory that this process has had resident so far, mapped files included.
#[must_use]
pub fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    number_after(&status, "VmHWM:").map(|kibibytes| kibibytes << 10)
}

/// What all files under a path take on disk.
#[must_use]
pub fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    const STAT_BLOCK_BYTES: u64 = 512;
    files_under(path)
        .filter_map(|file| fs::metadata(file).ok())
        .map(|file| file.blocks() * STAT_BLOCK_BYTES)
        .sum()
}

/// Writes what is dirty in all files under a path to the device and lets the page cache forget them.
pub fn forget_cached_pages(path: &Path) {
    for file in files_under(path).filter_map(|file| fs::File::open(file).ok()) {
        let _ = file.sync_all();
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

fn files_under(path: &Path) -> Box<dyn Iterator<Item = std::path::PathBuf>> {
    match fs::read_dir(path) {
        Ok(entries) => Box::new(entries.flatten().flat_map(|entry| files_under(&entry.path()))),
        Err(_) => Box::new(std::iter::once(path.to_owned())),
    }
}

/// Fields 14 and 15, counted from behind the program's name, which may hold anything.
fn cpu_time(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Usage, cpu_time, disk_bytes, number_after, peak_memory_bytes};

    #[test]
    fn processor_time_is_found_behind_any_program_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 1 0 1 1 1";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(4)));
        assert_eq!(cpu_time("7 (a) S 1"), None);
    }

    #[test]
    fn a_count_is_found_by_its_whole_name() {
        let io = "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 5\n";
        assert_eq!(number_after(io, "write_bytes:"), Some(8192));
        assert_eq!(number_after("VmHWM:\t  12 kB\n", "VmHWM:"), Some(12));
        assert_eq!(number_after(io, "bytes:"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(Usage::now().cpu.is_some());
        assert!(peak_memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        std::fs::write(directory.path().join("inner/file"), vec![1; 10_000]).unwrap();
        assert!(disk_bytes(directory.path()) >= 10_000);
    }
}
