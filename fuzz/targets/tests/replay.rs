//! Every fuzz target on any toolchain: with the corpus in `fuzz/corpus`, with what is near it, and with random bytes.
//!
//! What libFuzzer finds goes into the corpus, and so becomes a test here: `just fuzz` says how.

use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use proptest::test_runner::Config;
use zonal_fuzz_targets::{TARGETS, Target, operations};

fn corpus_of(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("list the corpus").path()).collect();
    paths.sort_unstable();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("read the corpus"))).collect()
}

fn decoders() -> impl Iterator<Item = (&'static str, Target)> {
    TARGETS.into_iter().filter(|(name, _)| *name != "operations")
}

/// Names the file that a target was at when it panicked.
struct At<'a>(&'a Path);

impl Drop for At<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("at {}", self.0.display());
        }
    }
}

#[test]
fn no_target_finds_anything_in_its_corpus() {
    for (name, target) in TARGETS {
        let corpus = corpus_of(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for (path, bytes) in corpus {
            let _at = At(&path);
            target(&bytes);
        }
    }
}

#[test]
fn no_decoder_finds_anything_in_its_corpus_with_any_byte_changed_or_cut_off() {
    const MOST_BYTES: usize = 512;
    for (name, target) in decoders() {
        for (path, bytes) in corpus_of(name) {
            let _at = At(&path);
            for at in 0..bytes.len().min(MOST_BYTES) {
                for change in [0x01, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= change;
                    target(&changed);
                }
                target(&bytes[..at]);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_decoder_finds_anything_in_random_bytes(bytes in vec(any::<u8>(), 0..4200)) {
        decoders().for_each(|(_, target)| target(&bytes));
    }
}

proptest! {
    #![proptest_config(Config::with_cases(24))]

    #[test]
    fn a_store_does_what_the_model_does_through_random_operations_and_crashes(bytes in vec(any::<u8>(), 0..160)) {
        operations::run(&bytes);
    }
}
