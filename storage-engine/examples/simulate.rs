//! Runs the simulation: `simulate SEED SECONDS`. Prints how much was tried, or the seed of a failure.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use zonal_engine::simulation::explore;

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).map_while(|argument| argument.parse().ok()).collect();
    let [seed, seconds] = numbers[..] else {
        eprintln!("usage: simulate SEED SECONDS");
        return ExitCode::from(2);
    };
    let thread_count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let explored = explore(seed, Duration::from_secs(seconds), thread_count);
    let time = explored.time.as_secs_f64();
    println!(
        "{} lives from seed {seed}, {} crashes recovered from, {} of them inside a recovery, {} with a checkpoint, in \
         {time:.1} s: {:.3} s a thousand",
        explored.life_count,
        explored.recovery_count,
        explored.interrupted_count,
        explored.checkpoint_count,
        time * 1000.0 / explored.recovery_count.max(1) as f64,
    );
    match explored.failure {
        None => ExitCode::SUCCESS,
        Some((seed, problem)) => {
            println!("seed {seed} fails: {problem}\nagain: just sim {seed} 1");
            ExitCode::FAILURE
        }
    }
}
