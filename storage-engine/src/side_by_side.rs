//! Jobs done side by side by several threads.
//!
//! The outcome does not depend on how many threads there are, nor on which does what: results come in the order of jobs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Does the jobs `0..job_count` on as many threads, the calling one among them, and gives what each gave.
///
/// A thread has one `S` that all its jobs may use, such as memory that is not to be asked for each time. After a failure no
/// further job is begun.
pub(crate) fn each<S: Default, T: Send, E: Send>(
    thread_count: usize,
    job_count: usize,
    work: impl Fn(&mut S, usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::with_capacity(job_count));
    let some = || -> Result<(), E> {
        let mut state = S::default();
        while !failed.load(Ordering::Relaxed) {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= job_count {
                break;
            }
            let result = work(&mut state, job).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            done.lock().push((job, result));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        // Where no more threads are to be had, fewer do the same.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, some).ok();
        let threads: Vec<_> = (1..thread_count.min(job_count)).map_while(spawn).collect();
        let mine = some();
        let theirs = threads.into_iter().map(|thread| thread.join().expect("recovery does not panic"));
        theirs.fold(mine, Result::and)
    })?;
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|&(job, _)| job);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn results_come_in_the_order_of_jobs_whatever_the_threads() {
        for thread_count in [1, 2, 7] {
            let squares = each(thread_count, 100, |(): &mut (), job| Ok::<_, ()>(job * job)).unwrap();
            assert_eq!(squares, (0..100).map(|job| job * job).collect::<Vec<_>>());
        }
        assert_eq!(each(3, 0, |(): &mut (), _| Ok::<usize, ()>(1)), Ok(vec![]));
    }

    #[test]
    fn the_first_failure_ends_it() {
        let begun = std::sync::atomic::AtomicUsize::new(0);
        let result = each(1, 100, |(): &mut (), job| {
            begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if job == 3 { Err("failed") } else { Ok(job) }
        });
        assert_eq!((result, begun.into_inner()), (Err("failed"), 4));
        assert!(each(4, 100, |(): &mut (), job| if job == 70 { Err(()) } else { Ok(()) }).is_err());
    }

    #[test]
    fn a_thread_keeps_what_its_jobs_use() {
        let counts = each(1, 3, |count: &mut usize, _| {
            *count += 1;
            Ok::<_, ()>(*count)
        });
        assert_eq!(counts, Ok(vec![1, 2, 3]));
    }
}
