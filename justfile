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

# The tests on zoned drives, in virtual machines: just zns 6.12, just zns zloop, just zns 6.1 crashes
zns kernel="6.1" *groups:
    tests/zns/suite.sh --kernel {{ kernel }} {{ groups }}

# Processes killed while they make, write, clean, close and open stores, about so often; ZONAL_KILL_SEED repeats a seed
kills rounds="5000":
    ZONAL_KILL_ROUNDS={{ rounds }} cargo test --locked --test processes -- kill:: making:: --nocapture

# The tests by cargo-nextest: faster, doctests apart
nextest *arguments:
    cargo nextest run --workspace --locked {{ arguments }}
    cargo test --workspace --locked --doc

# The simulation from a seed on, for some seconds, on all processors; prints the seed of a failure: just sim 1 60
sim seed seconds:
    cargo run --release --locked -p zonal-engine --features testing --example simulate -- {{ seed }} {{ seconds }}

# Whether the simulation finds every fault that can be switched on in the engine
faults:
    cargo test --release --locked -p zonal-engine --features deliberate-faults --test deliberate_faults -- --nocapture

# Write images of the present on-disk format into tests/images: just image 0.2.0
image version="":
    ZONAL_IMAGE_VERSION={{ if version == "" { `cargo pkgid --locked | sed 's/.*[#@]//'` } else { version } }} \
        cargo test --locked --test damage -- --ignored --exact images::write_images --nocapture

# The engine's threads under schedules that shuttle chooses: just models 100000
models schedules="20000":
    ZONAL_MODEL_SCHEDULES={{ schedules }} cargo test -p zonal-engine --lib --locked --features models engine::models

# All fuzz targets in turn, each for so many seconds, or one of them; needs nightly and cargo-fuzz: just fuzz 600 operations
fuzz seconds="60" *targets:
    fuzz/run.sh {{ seconds }} {{ targets }}

# The pure parts and the locks under Miri; needs nightly with the component miri
miri *filters:
    scripts/miri.sh {{ filters }}

# All benchmarks, or those whose name contains a word
bench word="":
    cargo bench --workspace --locked --bench append --bench index --bench store --bench victims -- {{ word }}

# Instructions that the hot paths take, against the figures in the tree; needs valgrind: just instructions put
instructions *filters:
    scripts/instructions.sh {{ filters }}

# The benchmark tool: just ycsb run --load --workload a --path demo.zonal
ycsb *arguments:
    cargo run --release --locked -p zonal-tools --bin ycsb -- {{ arguments }}

# Write amplification, simulated: just cleaning --published --policy sepbit,forecast
cleaning *arguments:
    cargo run --release --locked -p zonal-tools --example cleaning -- {{ arguments }}

# Write amplification of a real store beside the simulator's: just cleaning-store --directory /dev/shm zipf
cleaning-store *arguments:
    scripts/cleaning-store.sh {{ arguments }}

# How long a store opens that has no checkpoint; made where there is none: just opening /tmp/store.zonal 10000000
opening *arguments:
    cargo run --release --locked -p zonal-tools --example opening -- {{ arguments }}

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
    cargo clippy -p zonal-engine --all-targets --locked --features models,decoders -- -D warnings
    cargo clippy -p zonal-engine --all-targets --locked --features deliberate-faults -- -D warnings

# API documentation; warnings are errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Licences, banned and duplicate crates, sources; needs cargo-deny, no network
deny:
    @command -v cargo-deny > /dev/null || echo "cargo-deny is not installed: left out"
    @! command -v cargo-deny > /dev/null || cargo deny --workspace --locked check licenses bans sources

# Known vulnerabilities; fetches the advisory database
advisories:
    cargo deny --workspace --locked check advisories

# What CI runs
ci:
    .ci/run
