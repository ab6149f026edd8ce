//! The real binary on a store in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Bench {
    directory: TempDir,
    sizes: &'static [&'static str],
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { sizes: &["--capacity", "256MiB", "--zone-size", "4MiB"], ..Self::without_sizes() }
    }

    /// A store whose capacity and zone size are the options' part.
    pub(crate) fn without_sizes() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), sizes: &[] }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("bench.zonal")
    }

    pub(crate) fn ycsb(&self, command: &str, options: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ycsb"))
            .arg(command)
            .arg("--path")
            .arg(self.store())
            .args(self.sizes)
            .args(options)
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed with nothing on stderr, and gives what it printed as JSON.
    pub(crate) fn json(&self, command: &str, options: &[&str]) -> Value {
        let output = self.ycsb(command, &[&["--format", "json"], options].concat());
        assert_eq!(output.status.code(), Some(0), "{options:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{options:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn assert_sound(phase: &Value, operations: u64) {
    assert_eq!(phase["operations"], operations, "{phase}");
    assert!(phase["seconds"].as_f64().unwrap() > 0.0, "{phase}");
    assert!(phase["ops_per_second"].as_f64().unwrap() > 0.0, "{phase}");
    assert!(phase["store"]["write_amplification"].is_number(), "{phase}");
    let latencies = phase["latency_us"].as_object().unwrap();
    assert_eq!(latencies.values().map(|latency| latency["count"].as_u64().unwrap()).sum::<u64>(), operations);
    for latency in latencies.values() {
        let of = |name: &str| latency[name].as_f64().unwrap();
        assert!(of("p50") <= of("p95") && of("p99") <= of("p999") && of("p999") <= of("max"), "{latency}");
    }
}
