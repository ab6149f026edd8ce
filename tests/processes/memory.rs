//! No memory: a writer whose address space or whose share of the machine's memory is used up. It may end with an error or
//! be ended; what it was told is kept is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rand::RngExt;
use zonal::Db;

use crate::child::{Child, Task, command_through, rounds, seeded, tell};
use crate::history::{History, Writer, options};

/// Taken from the store with each call, while it is to be had; then half of it, and so on.
const LARGEST_BITE_BYTES: usize = 1 << 20;
const SMALLEST_BITE_BYTES: usize = 256;
/// Far less than the machine has, and enough for the program itself.
const MEMORY_BYTES: u64 = 48 << 20;

/// Memory that nobody else can have.
struct Hoard(Mutex<Vec<Vec<u8>>>);

impl Hoard {
    fn new() -> Self {
        Self(Mutex::new(Vec::with_capacity(100_000)))
    }

    fn take_more(&self) {
        let mut bite_bytes = LARGEST_BITE_BYTES;
        while bite_bytes >= SMALLEST_BITE_BYTES {
            let mut bite = Vec::new();
            if bite.try_reserve_exact(bite_bytes).is_ok() {
                // Memory is taken when it is written to.
                bite.resize(bite_bytes, 1);
                self.0.lock().expect("nobody panics").push(bite);
                return;
            }
            bite_bytes /= 2;
        }
    }
}

/// Writes, and leaves the store less memory with every call.
pub(crate) fn write_until_starved(task: &Task) {
    let (writer, hoard) = (Writer::new(&task.argument), Hoard::new());
    let outcome = Db::open(&task.store, options()).and_then(|db| {
        tell("opened");
        writer.try_run(&db, &|_| {
            hoard.take_more();
            true
        })
    });
    if let Err(error) = outcome {
        tell(&format!("failed {:?}: {error}", error.kind()));
    }
}

/// Runs writers until memory has run out for each of them; gives what they said last.
fn starve(directory: &Path, rounds: u64, mut limited: impl FnMut() -> Command) -> Vec<String> {
    let store = directory.join("store");
    let mut history = History::default();
    let mut first = Child::start("write", &store, &history.argument());
    let mut told: Vec<String> = (0..100).map(|_| first.tells()).collect();
    told.extend(first.kill());
    history.take_down(&told);
    history.verify(&store, "before memory is short");
    let mut ends = Vec::new();
    for round in 0..rounds {
        let child = &mut command_through(limited(), "starve", &store, &history.argument());
        let (told, noise, status) = Child::run(child).end();
        assert!(!noise.contains("panicked"), "round {round}: {noise}");
        history.take_down(&told);
        history.verify(&store, &format!("round {round}"));
        let failed = told.iter().find(|line| line.starts_with("failed"));
        ends.push(format!("{} calls, {status}, {failed:?}, {noise}", told.len()));
    }
    ends
}

#[test]
fn a_writer_whose_address_space_is_used_up_loses_nothing_that_was_acknowledged() {
    let (_, mut random) = seeded();
    let directory = tempfile::tempdir().expect("a directory");
    let ends = starve(directory.path(), rounds(12), || {
        let mut shell = Command::new("sh");
        let kib = random.random_range(100_000..500_000);
        shell.args(["-c", &format!("ulimit -v {kib} && exec \"$@\""), "sh"]);
        shell
    });
    println!("{ends:#?}");
}

/// A control group with little memory, gone at the end of the test.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// In the second version of control groups or in the first one, where this process may make groups.
    fn new() -> Option<Self> {
        let versions = [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
        for (root, limit) in versions {
            let group = Path::new(root).join(format!("zonal-test-{}", std::process::id()));
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let group = Self(group);
            if group.0.join(limit).exists()
                && fs::write(group.0.join(limit), MEMORY_BYTES.to_string()).is_ok()
            {
                // Where there is swap, none of it.
                let _ = fs::write(group.0.join("memory.swap.max"), "0");
                return Some(group);
            }
        }
        eprintln!("skipped: this process may not make a control group with a limit of memory");
        None
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Whether it goes well is of no concern to the test.
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_writer_that_the_kernel_ends_for_want_of_memory_loses_nothing_that_was_acknowledged() {
    let Some(group) = MemoryGroup::new() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let ends = starve(directory.path(), rounds(4), || {
        let mut shell = Command::new("sh");
        let join = format!("echo $$ > {} && exec \"$@\"", group.0.join("cgroup.procs").display());
        shell.args(["-c", &join, "sh"]);
        shell
    });
    println!("{ends:#?}");
    assert!(ends.iter().any(|end| end.contains("signal: 9")), "nobody was killed: {ends:?}");
}
