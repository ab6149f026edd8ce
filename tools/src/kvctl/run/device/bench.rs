//! `device bench`: what many appends in flight to one zone are worth.
//!
//! The same appends to the same zone in several ways: all in flight that the depth allows, the device giving each its
//! place; one at a time; and on an NVMe drive by Write commands at the write pointer, one in flight, as whoever has no
//! append must. They take turns in one run, so that what else the machine does meanwhile hits all; medians count. Resets
//! are not timed.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use zonal_engine::buffer::AlignedBuffer;
use zonal_engine::conformance::written_at_pointer;
use zonal_engine::device::{
    AppendOrder, DeviceError, Geometry, Persistence, Preparation, ZoneState, ZonedDevice,
};
use zonal_engine::queue::{Completion, IoQueue, Outcome, Request, Wait, open_queue};
use zonal_engine::units::ZoneId;

use super::{failure, open_to_destroy};
use crate::kvctl::Answer;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::{Output, trimmed_lines};
use crate::kvctl::plan::Bench;
use crate::kvctl::progress::Progress;
use crate::size::{grouped, human_bytes};

const THREAD_COUNTS: [u32; 3] = [1, 2, 4];
const DEPTHS: [u32; 3] = [1, 8, 32];

/// What was measured, with the names that JSON has.
#[derive(Debug, Serialize)]
struct Measured {
    device: String,
    queue: &'static str,
    append_bytes: u64,
    appends: u32,
    rounds: usize,
    takes_one_append_at_a_time: bool,
    measurements: Vec<Cell>,
}

#[derive(Debug, Serialize)]
struct Cell {
    threads: u32,
    /// Appends in flight for each thread.
    depth: u32,
    appends_per_second: f64,
    one_at_a_time_per_second: f64,
    ratio: f64,
    /// By Write commands at the write pointer, where the drive has true appends beside them.
    written_at_pointer_per_second: Option<f64>,
    ratio_to_written_at_pointer: Option<f64>,
}

/// The rates of one combination, a round each.
#[derive(Clone, Default)]
struct Rates {
    many: Vec<f64>,
    single: Vec<f64>,
    written: Vec<f64>,
}

impl Rates {
    fn of(&mut self, way: Way) -> &mut Vec<f64> {
        match way {
            Way::InFlight(_) => &mut self.many,
            Way::OneAtATime => &mut self.single,
            Way::AtPointer => &mut self.written,
        }
    }

    fn into_cell(self, (threads, depth): (u32, u32)) -> Cell {
        let (appends_per_second, one_at_a_time_per_second) = (median(self.many), median(self.single));
        let written = (!self.written.is_empty()).then(|| median(self.written));
        Cell {
            threads,
            depth,
            appends_per_second,
            one_at_a_time_per_second,
            ratio: appends_per_second / one_at_a_time_per_second,
            written_at_pointer_per_second: written,
            ratio_to_written_at_pointer: written.map(|written| appends_per_second / written),
        }
    }
}

/// Measures, and shows the ratios.
pub(super) fn bench(plan: &Bench, output: &mut Output) -> Result<Answer, Failure> {
    let Some(device) = open_to_destroy(&plan.target)? else { return Ok(Answer::No) };
    let path = &plan.target.at.path;
    let measured = Bencher::new(path, plan, device)?.measure(path, plan)?;
    output.result(&measured, || text(path, &measured))?;
    Ok(Answer::Yes)
}

struct Bencher {
    device: Arc<dyn ZonedDevice>,
    zone: ZoneId,
    /// One for each thread; one for all where the device takes one append at a time and the queue sees to that.
    queues: Vec<Arc<dyn IoQueue>>,
    /// As many, for Write commands at the write pointer; none where those would be no other commands.
    writing_queues: Vec<Arc<dyn IoQueue>>,
    payload: Arc<AlignedBuffer>,
    append_count: u32,
}

impl Bencher {
    fn new(path: &Path, plan: &Bench, device: Arc<dyn ZonedDevice>) -> Result<Self, Failure> {
        let append_count = append_count(device.geometry(), plan)?;
        let zone = usable_zone(&*device).map_err(failure(path))?;
        let zone = zone.ok_or_else(|| Failure::Usage(format!("{} has no zone to write", path.display())))?;
        let queue_count = match device.append_order() {
            AppendOrder::Concurrent => THREAD_COUNTS.into_iter().max().unwrap_or(1),
            AppendOrder::OneAtATime => 1,
        };
        let entries = DEPTHS.into_iter().max().unwrap_or(1);
        let open = |device: &Arc<dyn ZonedDevice>| {
            let queue =
                |_| open_queue(Arc::clone(device), entries, plan.target.at.queue).map_err(Failure::Queue);
            (0..queue_count).map(queue).collect::<Result<Vec<_>, _>>()
        };
        let queues = open(&device)?;
        let writing = written_at_pointer(Arc::clone(&device));
        let writing_queues = writing.as_ref().map_or_else(|| Ok(Vec::new()), open)?;
        let device = writing.unwrap_or(device);
        let len_bytes = usize::try_from(plan.append_bytes).unwrap_or(usize::MAX);
        let payload = Arc::new(AlignedBuffer::zeroed(len_bytes));
        Ok(Self { device, zone, queues, writing_queues, payload, append_count })
    }

    fn measure(&self, path: &Path, plan: &Bench) -> Result<Measured, Failure> {
        let combinations = THREAD_COUNTS.into_iter().flat_map(|threads| DEPTHS.map(|depth| (threads, depth)));
        let combinations: Vec<_> = combinations.collect();
        let mut rates = vec![Rates::default(); combinations.len()];
        let progress = Progress::of_checks("measuring", (plan.round_count * combinations.len()) as u64);
        for round in 0..plan.round_count {
            for (&(threads, depth), rates) in combinations.iter().zip(&mut rates) {
                let mut ways = vec![Way::InFlight(depth), Way::OneAtATime];
                ways.extend((!self.writing_queues.is_empty()).then_some(Way::AtPointer));
                // Whichever comes first may be at a disadvantage.
                if round % 2 == 1 {
                    ways.reverse();
                }
                for way in ways {
                    let rate = self.rate(threads, way).map_err(failure(path))?;
                    rates.of(way).push(rate);
                }
                progress.advance(1);
            }
        }
        self.device.reset(self.zone).map_err(failure(path))?;
        Ok(Measured {
            device: self.device.kind().to_owned(),
            queue: self.queues[0].kind(),
            append_bytes: plan.append_bytes,
            appends: self.append_count,
            rounds: plan.round_count,
            takes_one_append_at_a_time: self.takes_one_append_at_a_time(),
            measurements: rates
                .into_iter()
                .zip(combinations)
                .map(|(rates, at)| rates.into_cell(at))
                .collect(),
        })
    }

    /// Whether the device can do no other.
    fn takes_one_append_at_a_time(&self) -> bool {
        self.writing_queues.is_empty() && self.device.append_order() == AppendOrder::OneAtATime
    }

    /// Appends per second into the zone, emptied before.
    fn rate(&self, thread_count: u32, way: Way) -> Result<f64, DeviceError> {
        self.device.reset(self.zone)?;
        // A file's zones are allocated by their first writing, which is not what is measured.
        self.device.prepare(self.zone, Preparation::DurableAppends)?;
        let count = self.append_count / thread_count;
        let turn = Mutex::new(());
        let begin = Instant::now();
        thread::scope(|scope| {
            let spawn = |number: u32| {
                let queues = if way == Way::AtPointer { &self.writing_queues } else { &self.queues };
                let queue = &*queues[number as usize % queues.len()];
                let turn = &turn;
                scope.spawn(move || match way {
                    Way::InFlight(depth) => {
                        self.append_in_flight(queue, count, depth * self.sharers(thread_count))
                    }
                    Way::OneAtATime | Way::AtPointer => self.append_one_at_a_time(queue, count, turn),
                })
            };
            let threads: Vec<_> = (0..thread_count).map(spawn).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        Ok(f64::from(count * thread_count) / begin.elapsed().as_secs_f64())
    }

    /// How many threads share a queue, whose count of what is in flight is of all of them.
    fn sharers(&self, thread_count: u32) -> u32 {
        if self.queues.len() == 1 { thread_count } else { 1 }
    }

    fn append_in_flight(&self, queue: &dyn IoQueue, count: u32, depth: u32) -> Result<(), DeviceError> {
        let mut completions = Vec::new();
        for _ in 0..count {
            while queue.in_flight_count() >= depth as usize {
                reap(queue, &mut completions)?;
            }
            self.submit(queue)?;
        }
        while queue.in_flight_count() > 0 {
            reap(queue, &mut completions)?;
        }
        Ok(())
    }

    fn append_one_at_a_time(
        &self,
        queue: &dyn IoQueue,
        count: u32,
        turn: &Mutex<()>,
    ) -> Result<(), DeviceError> {
        let mut completions = Vec::new();
        for _ in 0..count {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            self.submit(queue)?;
            while queue.in_flight_count() > 0 {
                reap(queue, &mut completions)?;
            }
        }
        Ok(())
    }

    fn submit(&self, queue: &dyn IoQueue) -> Result<(), DeviceError> {
        let request = Request::Append {
            zone_start: self.device.geometry().zone_start(self.zone),
            payload: Arc::clone(&self.payload),
            persistence: Persistence::Volatile,
            user_data: 0,
        };
        queue.submit(request).map_err(|refused| refused.error)
    }
}

/// How appends are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    InFlight(u32),
    OneAtATime,
    /// By Write commands, one at a time.
    AtPointer,
}

fn reap(queue: &dyn IoQueue, completions: &mut Vec<Completion>) -> Result<(), DeviceError> {
    let waited = queue.reap(Wait::ForOne, completions);
    waited.map_err(|source| DeviceError::Io { action: "waiting for appends".to_owned(), source })?;
    completions.drain(..).try_for_each(|completion| match completion.outcome {
        Outcome::Append(place) => place.map(drop),
        Outcome::Read { result, .. } => result,
    })
}

/// As many as asked for, as far as a zone has room, and as many for each thread.
fn append_count(geometry: &Geometry, plan: &Bench) -> Result<u32, Failure> {
    let bytes = plan.append_bytes;
    let limit_bytes = u64::from(geometry.append_limit_bytes).min(geometry.zone_capacity_bytes);
    if bytes == 0 || !geometry.is_whole_blocks(bytes) || bytes > limit_bytes {
        let block = geometry.block_bytes;
        let message = format!(
            "--append-bytes: {bytes}; this device takes whole blocks of {block} bytes, up to {limit_bytes} bytes"
        );
        return Err(Failure::Usage(message));
    }
    let room_count = u32::try_from(geometry.zone_capacity_bytes / bytes).unwrap_or(u32::MAX);
    let most_threads = THREAD_COUNTS.into_iter().max().unwrap_or(1);
    let count = plan.append_count.min(room_count) / most_threads * most_threads;
    if count == 0 {
        let message =
            format!("--appends, --append-bytes: it takes at least {most_threads} appends that fit a zone");
        return Err(Failure::Usage(message));
    }
    Ok(count)
}

fn usable_zone(device: &dyn ZonedDevice) -> Result<Option<ZoneId>, DeviceError> {
    for zone in device.geometry().zones() {
        let state = device.report(zone)?.state;
        if state.is_active() || matches!(state, ZoneState::Empty | ZoneState::Full) {
            return Ok(Some(zone));
        }
    }
    Ok(None)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    let middle = rates.len() / 2;
    if rates.len().is_multiple_of(2) {
        f64::midpoint(rates[middle - 1], rates[middle])
    } else {
        rates[middle]
    }
}

fn text(path: &Path, measured: &Measured) -> String {
    let Measured { device, queue, append_bytes, appends, rounds, takes_one_append_at_a_time, measurements } =
        measured;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["threads", "depth", "appends/s", "one at a time/s", "ratio"];
    let writes = measurements.iter().any(|cell| cell.written_at_pointer_per_second.is_some());
    header.extend(["writes at pointer/s", "ratio"].into_iter().filter(|_| writes));
    table.set_header(header);
    for cell in measurements {
        table.add_row(row(cell));
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let note = if *takes_one_append_at_a_time {
        "\nThis device takes one append to a zone at a time, whatever is in flight: the two columns do the same.\n"
    } else {
        ""
    };
    format!(
        "{}: {device}, {queue}\n  appends of {} into one zone, {} in each measurement, medians of {rounds}\n\n{}{note}",
        path.display(),
        human_bytes(*append_bytes),
        grouped((*appends).into()),
        trimmed_lines(&table.to_string())
    )
}

fn row(cell: &Cell) -> Vec<String> {
    let mut row = vec![
        cell.threads.to_string(),
        cell.depth.to_string(),
        per_second(cell.appends_per_second),
        per_second(cell.one_at_a_time_per_second),
        format!("{:.2}", cell.ratio),
    ];
    row.extend(cell.written_at_pointer_per_second.map(per_second));
    row.extend(cell.ratio_to_written_at_pointer.map(|ratio| format!("{ratio:.2}")));
    row
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive, and its fraction is noise"
)]
fn per_second(rate: f64) -> String {
    grouped(rate as u64)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
    }
}
