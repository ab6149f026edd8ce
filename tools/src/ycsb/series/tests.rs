//! Which window an operation counts in, and which windows there are.

use std::time::{Duration, Instant};

use super::super::latency::LatencyRecorder;
use super::super::store::StoreWindow;
use super::super::workload::{Mix, OperationKind};
use super::{Position, Recording, Series};

const LENGTH: Duration = Duration::from_secs(1);
const READ: OperationKind = OperationKind::Read;

/// Workers that do what they are told, at instants of their own making.
struct Stage {
    recording: Recording,
    workers: Vec<(Position, LatencyRecorder)>,
    last_ends: Vec<Instant>,
}

impl Stage {
    fn with_workers(workers: usize) -> Self {
        let recording = Recording::new(LENGTH, &Mix::only(READ), workers);
        let began = recording.began();
        let new_worker = |number| (recording.enter(number), LatencyRecorder::new(&Mix::only(READ)));
        let workers: Vec<_> = (0..workers).map(new_worker).collect();
        let last_ends = vec![began; workers.len()];
        Self { recording, workers, last_ends }
    }

    /// An operation of a worker that ends so many milliseconds after the beginning and took as many microseconds.
    fn operation(&mut self, worker: usize, ends_ms: u64) {
        let ended = self.recording.began() + Duration::from_millis(ends_ms);
        let (position, latency) = &mut self.workers[worker];
        if ended >= position.ends {
            *position = self.recording.turn(*position, latency, ended);
        }
        latency.record(READ, Duration::from_micros(ends_ms.max(1)));
        self.last_ends[worker] = ended;
    }

    fn operations(&mut self, worker: usize, end_at_ms: &[u64]) {
        end_at_ms.iter().for_each(|ends_ms| self.operation(worker, *ends_ms));
    }

    fn finish(mut self, samples: Vec<StoreWindow>) -> Series {
        for (position, latency) in &mut self.workers {
            self.recording.leave(*position, latency);
        }
        let (first, last) = (self.last_ends.iter().min(), self.last_ends.iter().max());
        self.recording.finish(*first.unwrap(), *last.unwrap(), samples)
    }
}

fn counts(series: &Series) -> Vec<u64> {
    series.windows.iter().map(|window| window.done.operations).collect()
}

#[test]
fn an_operation_counts_in_the_window_in_which_it_ends() {
    let mut stage = Stage::with_workers(1);
    stage.operations(0, &[10, 999, 1000, 1500, 2999]);
    let series = stage.finish(Vec::new());
    assert_eq!(counts(&series), [2, 2, 1]);
    let (kind, summary) = series.windows[1].done.latency[0];
    assert_eq!((kind, summary.count), (READ, 2));
    assert!((summary.max / 1500.0 - 1.0).abs() < 0.002, "{summary:?}");
}

#[test]
fn the_windows_together_hold_what_the_whole_phase_holds() {
    let mut stage = Stage::with_workers(3);
    for step in 0..3000 {
        stage.operation(step % 3, step as u64);
        if step % 500 == 0 {
            stage.recording.close_windows();
        }
    }
    let series = stage.finish(Vec::new());
    assert_eq!(counts(&series), [1000, 1000, 1000]);
    assert_eq!(series.total.summaries().map(|(_, summary)| summary.count).sum::<u64>(), 3000);
}

#[test]
fn a_window_in_which_nothing_ended_is_there_and_empty() {
    let mut stage = Stage::with_workers(2);
    for worker in 0..2 {
        stage.operations(worker, &[100, 3100, 4100]);
    }
    stage.recording.close_windows();
    let series = stage.finish(Vec::new());
    assert_eq!(counts(&series), [2, 0, 0, 2, 2]);
    assert!(series.windows[1].complete && series.windows[1].done.latency.is_empty());
}

#[test]
fn a_window_stays_open_until_the_slowest_worker_has_left_it() {
    let mut stage = Stage::with_workers(2);
    stage.operations(0, &[100, 1100, 2100, 3100]);
    stage.recording.close_windows();
    stage.operation(1, 200);
    stage.recording.close_windows();
    stage.operation(1, 3200);
    let series = stage.finish(Vec::new());
    assert_eq!(counts(&series), [2, 1, 1, 2]);
}

#[test]
fn only_windows_of_full_length_with_every_worker_at_work_are_complete() {
    let mut stage = Stage::with_workers(2);
    stage.operations(0, &[500, 1500, 2500, 3250]);
    stage.operations(1, &[600, 1700]);
    let series = stage.finish(Vec::new());
    let complete: Vec<_> = series.windows.iter().map(|window| window.complete).collect();
    assert_eq!(complete, [true, false, false, false], "the second worker ended in the second window");
    let last = series.windows.last().unwrap();
    assert_eq!((last.length, last.ended_after), (Duration::from_millis(250), Duration::from_millis(3250)));
}

#[test]
fn what_the_store_did_stands_beside_what_was_done_in_the_same_window() {
    let mut stage = Stage::with_workers(1);
    stage.operations(0, &[500, 1500, 2500]);
    let sample = |zones| StoreWindow { free_zones: Some(zones), ..StoreWindow::default() };
    let series = stage.finish(vec![sample(9), sample(8)]);
    let free: Vec<_> = series.windows.iter().map(|window| window.store.free_zones).collect();
    assert_eq!(free, [Some(9), Some(8), None]);
}
