# The daily verbs. `just` alone lists them.

_default:
    @just --list --unsorted

# Compile everything, tests and benches included
build:
    cargo build --workspace --all-targets --locked

# What must hold before a commit: format, lints, documentation, dependencies
check: fmt-check clippy doc deny

# The tests, as README's second command runs them
test:
    scripts/test.sh

# The tests on zoned drives, in virtual machines: just zns 6.12, just zns 6.1 crashes
zns kernel="6.1" *groups:
    tests/zns/suite.sh --kernel {{ kernel }} {{ groups }}

# The tests by cargo-nextest: faster, doctests apart
nextest *arguments:
    cargo nextest run --workspace --locked {{ arguments }}
    cargo test --workspace --locked --doc

# All benchmarks, or those whose name contains a word
bench word="":
    cargo bench --workspace --locked --bench '*' -- {{ word }}

# The benchmark tool: just ycsb run --load --workload a --path demo.zonal
ycsb *arguments:
    cargo run --release --locked -p zonal-tools --bin ycsb -- {{ arguments }}

# Write amplification, simulated: just cleaning --published --policy sepbit,forecast
cleaning *arguments:
    cargo run --release --locked -p zonal-engine --example cleaning -- {{ arguments }}

# The admin tool: just kvctl info demo.zonal
kvctl *arguments:
    cargo run --release --locked -p zonal-tools --bin kvctl -- {{ arguments }}

# Format all code
fmt:
    cargo fmt --all

fmt-check:
    cargo fmt --all --check

# Lints; warnings are errors
clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# API documentation; warnings are errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Licences, banned and duplicate crates, sources; needs cargo-deny, no network
deny:
    @command -v cargo-deny > /dev/null || echo "cargo-deny is not installed: left out"
    @! command -v cargo-deny > /dev/null || cargo deny --locked check licenses bans sources

# Known vulnerabilities; fetches the advisory database
advisories:
    cargo deny --locked check advisories

# What CI runs
ci:
    .ci/run
