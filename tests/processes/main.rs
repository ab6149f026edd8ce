//! Real processes on real files: killed, starved of memory and of space, kept out by each other, sent to the wrong file.
//!
//! - [`kill`]: SIGKILL while stores are written, cleaned, recovered and closed.
//! - [`making`]: SIGKILL while they are made, and several processes making one store.
//! - [`journal`]: SIGKILL after writes were acknowledged and before they were appended.
//! - [`full`]: the file system that holds the store is full.
//! - [`memory`]: no memory is left.
//! - [`finding`]: what lies at the path is in use, a copy, cut short, replaced, protected, or no store at all.
//!
//! The test program runs itself: [`child_process`] does nothing unless the environment tells it what to be. Seeds are fresh
//! in every run and printed; `ZONAL_KILL_SEED` repeats one (the moment of a kill apart, which no seed fixes), and
//! `ZONAL_KILL_ROUNDS` says how many rounds the kills take: `just kills 5000`.

mod child;
mod finding;
mod full;
mod history;
mod journal;
mod kill;
#[path = "../behaviour/loop_device.rs"]
mod loop_device;
mod making;
mod memory;
#[path = "../rules/stores.rs"]
mod stores;

/// Not a test: the entry of child processes, which returns at once when the tests are run.
#[test]
fn child_process() {
    let Some(task) = child::Task::given() else { return };
    match task.role.as_str() {
        "write" => history::write_for_ever(&task),
        "cycle" => history::write_and_close_for_ever(&task),
        "open" => kill::open_once(&task),
        "journal" => journal::write_and_wait(&task),
        "make" => making::make(&task),
        "make on device" => making::make_on_device(&task),
        "hold" => finding::hold(&task),
        "try" => finding::try_to_open(&task),
        "fill" => full::fill_file_system(&task),
        "starve" => memory::write_until_starved(&task),
        role => panic!("unknown role {role}"),
    }
}
