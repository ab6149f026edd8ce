//! From what was typed to what will be done: layers the settings, fills in defaults, and refuses what cannot be.
//!
//! Nothing here touches a store or a file. What comes out is complete but for two things that only the store knows:
//! how many records it holds, and with that how many operations "as many as there are records" is.

use std::path::PathBuf;
use std::time::Duration;

use super::command_line::{Arguments, CoreWorkload};
use super::keys::{KEY_BYTES, KeyOrder};
use super::properties::Properties;
use super::report::ReportFormat;
use super::settings::{Index, StoreSettings};
use super::sizing::{Filling, Sizes};
use super::usage::UsageError;
use super::workload::{Distribution, Extent, Hotspot, Mix, OperationKind, ScanLengths, Workload};
use super::zipfian::YCSB_CONSTANT;
use super::zonal_store::stored_record_bytes;

const DEFAULT_RECORDS: u64 = 100_000;
const SHORTEST_WINDOW: Duration = Duration::from_millis(10);
const LONGEST_WINDOW: Duration = Duration::from_secs(3600);
const MAX_THREADS: usize = 1024;
const MAX_VALUE_BYTES: u64 = 1 << 30;
const MAX_SCAN_RECORDS: u64 = 1 << 40;

/// Properties that change what is done. Kinds' shares are in [`OperationKind::property`].
const PROPERTIES: [&str; 15] = [
    "recordcount",
    "operationcount",
    "maxexecutiontime",
    "threadcount",
    "fieldcount",
    "fieldlength",
    "requestdistribution",
    "minscanlength",
    "maxscanlength",
    "scanlengthdistribution",
    "insertorder",
    "zipfianconstant",
    "hotspotdatafraction",
    "hotspotopnfraction",
    "fieldlengthdistribution",
];

/// Properties of YCSB that are taken without a word: values are one blob, always read, written and checked whole.
const PROPERTIES_WITHOUT_EFFECT: [&str; 9] = [
    "workload",
    "table",
    "db",
    "fieldnameprefix",
    "readallfields",
    "readallfieldsbyname",
    "writeallfields",
    "dataintegrity",
    "zeropadding",
];

/// Which phases were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// `ycsb load`.
    Load,
    /// `ycsb run`.
    Run,
    /// `ycsb run --load`.
    LoadAndRun,
}

/// Everything that a session needs to know.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The command, as reports name it.
    pub command: &'static str,
    /// The store.
    pub store: StoreSettings,
    /// The loading phase, if there is one, and the records that it inserts.
    pub load: Option<(Workload, u64)>,
    /// The phases that run on what is loaded.
    pub phases: Vec<Workload>,
    /// Records that the store holds before the phases; `None` asks the store.
    pub records: Option<u64>,
    /// What all random choices follow from.
    pub seed: u64,
    /// How results are written.
    pub format: ReportFormat,
    /// Where the page with charts is written to, if it is asked for.
    pub report: Option<PathBuf>,
    /// The length of the time series' windows.
    pub window_length: Duration,
    /// Whether to show progress where stderr is no terminal.
    pub show_progress: bool,
    /// What to tell the user before beginning.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Tells the user, on stderr, what there is to tell before beginning.
    pub fn tell_warnings(&self) {
        for warning in &self.warnings {
            eprintln!("ycsb: {warning}");
        }
    }
}

/// Makes a plan of the command line and the properties given with it (files in order, then `-p`).
///
/// # Errors
///
/// What is wrong with them, in a sentence that names the option or property.
pub fn resolve(task: Task, arguments: &Arguments, given: &Properties) -> Result<Plan, UsageError> {
    let workloads = workloads(arguments, given)?;
    check_scans(task, arguments, &workloads)?;
    let records = setting(arguments.records, given, "recordcount")?;
    at_least_one("records", records)?;
    let load =
        (task != Task::Run).then(|| (loading(task, &workloads[0]), records.unwrap_or(DEFAULT_RECORDS)));
    let sizes = sizes(arguments, load.as_ref())?;
    Ok(Plan {
        command: if task == Task::Load { "load" } else { "run" },
        store: store_settings(task, arguments, sizes),
        load,
        phases: if task == Task::Load { Vec::new() } else { workloads },
        records,
        seed: arguments.seed,
        format: arguments.format,
        report: arguments.report.clone(),
        window_length: window_length(arguments.interval)?,
        show_progress: arguments.progress,
        warnings: unknown_properties(given),
    })
}

/// The properties of a core workload, from the very file that users can read and change.
fn core_properties(workload: CoreWorkload) -> Properties {
    let (name, text) = match workload {
        CoreWorkload::A => ("workloada", include_str!("../../workloads/workloada")),
        CoreWorkload::B => ("workloadb", include_str!("../../workloads/workloadb")),
        CoreWorkload::C => ("workloadc", include_str!("../../workloads/workloadc")),
        CoreWorkload::D => ("workloadd", include_str!("../../workloads/workloadd")),
        CoreWorkload::E => ("workloade", include_str!("../../workloads/workloade")),
        CoreWorkload::F => ("workloadf", include_str!("../../workloads/workloadf")),
    };
    Properties::parse(text, name)
}

fn core_name(workload: CoreWorkload) -> &'static str {
    match workload {
        CoreWorkload::A => "a",
        CoreWorkload::B => "b",
        CoreWorkload::C => "c",
        CoreWorkload::D => "d",
        CoreWorkload::E => "e",
        CoreWorkload::F => "f",
    }
}

/// One workload for each that was named; else the one that properties and options describe; else A.
fn workloads(arguments: &Arguments, given: &Properties) -> Result<Vec<Workload>, UsageError> {
    if arguments.workload.is_empty() && describes_a_mix(arguments, given) {
        return Ok(vec![workload(custom_name(arguments), arguments, given)?]);
    }
    let core = if arguments.workload.is_empty() { &[CoreWorkload::A][..] } else { &arguments.workload };
    core.iter()
        .map(|core| {
            let mut properties = core_properties(*core);
            properties.overlay(given);
            workload(core_name(*core).to_owned(), arguments, &properties)
        })
        .collect()
}

/// Whether options or properties give shares of operations themselves.
#[must_use]
pub fn describes_a_mix(arguments: &Arguments, given: &Properties) -> bool {
    OperationKind::ALL
        .into_iter()
        .any(|kind| given.contains(kind.property()) || proportion_option(arguments, kind).is_some())
}

fn custom_name(arguments: &Arguments) -> String {
    let stem = arguments.property_files.last().and_then(|file| file.file_stem());
    stem.map_or_else(|| "custom".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn workload(name: String, arguments: &Arguments, properties: &Properties) -> Result<Workload, UsageError> {
    require_core_workload(properties)?;
    Ok(Workload {
        name,
        mix: mix(arguments, properties)?,
        distribution: distribution(arguments, properties)?,
        zipfian_constant: zipfian_constant(properties)?,
        hotspot: hotspot(properties)?,
        scan_lengths: scan_lengths(properties)?,
        key_order: key_order(properties)?,
        value_bytes: value_bytes(arguments, properties)?,
        threads: threads(arguments, properties)?,
        warmup_operations: arguments.warmup_operations.unwrap_or(0),
        extent: extent(arguments, properties)?,
    })
}

/// The phase that fills the store for `workload`: as it is, but for what is done.
fn loading(task: Task, workload: &Workload) -> Workload {
    let time_limit = if task == Task::Load { workload.extent.time_limit } else { None };
    Workload {
        name: "load".to_owned(),
        mix: Mix::only(OperationKind::Insert),
        warmup_operations: 0,
        extent: Extent { operations: None, time_limit },
        ..workload.clone()
    }
}

/// The sizes asked for, outright or by the share of the store that the loaded records are to fill.
fn sizes(arguments: &Arguments, load: Option<&(Workload, u64)>) -> Result<Sizes, UsageError> {
    let zone_size_bytes = arguments.zone_size;
    let Some(share) = arguments.utilisation else {
        return Ok(Sizes { capacity_bytes: arguments.capacity, zone_size_bytes });
    };
    let Some((workload, records)) = load else {
        return Err(UsageError::new(
            "--utilisation says how large a new store is: use it with `load` or `run --load`",
        ));
    };
    if !(share > 0.0 && share < 1.0) {
        return Err(UsageError::new(format!(
            "a utilisation of {share} is impossible; it lies between 0 and 1"
        )));
    }
    let data_bytes = records.saturating_mul(stored_record_bytes(KEY_BYTES, workload.value_bytes));
    Filling { share, data_bytes, policy: arguments.cleaning_policy }.sizes(zone_size_bytes)
}

fn window_length(seconds: f64) -> Result<Duration, UsageError> {
    let length = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    if (SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&length) {
        Ok(length)
    } else {
        Err(UsageError::new(format!("an interval of {seconds} seconds is impossible; 0.01 to 3600 is")))
    }
}

/// An index without keys has none to go on to from the first one of a scan.
fn check_scans(task: Task, arguments: &Arguments, workloads: &[Workload]) -> Result<(), UsageError> {
    let scans = |workload: &&Workload| workload.mix.share(OperationKind::Scan) > 0.0;
    match workloads.iter().find(scans) {
        Some(workload) if task != Task::Load && arguments.index == Index::Hash => Err(UsageError::new(
            format!("workload {} scans, which --index hash cannot: use --index ordered", workload.name),
        )),
        _ => Ok(()),
    }
}

fn store_settings(task: Task, arguments: &Arguments, sizes: Sizes) -> StoreSettings {
    StoreSettings {
        path: arguments.path.clone(),
        create_if_missing: task != Task::Run,
        durability: arguments.durability,
        index: arguments.index,
        queue: arguments.queue.into(),
        cleaning_policy: arguments.cleaning_policy,
        cache_bytes: arguments.cache,
        capacity_bytes: sizes.capacity_bytes,
        zone_size_bytes: sizes.zone_size_bytes,
    }
}

/// An option, or else the property of the same meaning.
fn setting(option: Option<u64>, properties: &Properties, name: &str) -> Result<Option<u64>, UsageError> {
    if option.is_some() { Ok(option) } else { properties.parsed(name) }
}

fn at_least_one(what: &str, number: Option<u64>) -> Result<(), UsageError> {
    if number == Some(0) {
        Err(UsageError::new(format!("the number of {what} must be at least 1")))
    } else {
        Ok(())
    }
}

fn proportion_option(arguments: &Arguments, kind: OperationKind) -> Option<f64> {
    match kind {
        OperationKind::Read => arguments.read_proportion,
        OperationKind::Update => arguments.update_proportion,
        OperationKind::Insert => arguments.insert_proportion,
        OperationKind::Scan => arguments.scan_proportion,
        OperationKind::ReadModifyWrite => arguments.rmw_proportion,
    }
}

/// Shares that nobody named are 0.
fn mix(arguments: &Arguments, properties: &Properties) -> Result<Mix, UsageError> {
    let mut shares = [0.0; 5];
    for kind in OperationKind::ALL {
        let share = match proportion_option(arguments, kind) {
            Some(share) => Some(share),
            None => properties.parsed(kind.property())?,
        };
        shares[kind.index()] = share.unwrap_or(0.0);
    }
    Mix::new(shares)
}

fn distribution(arguments: &Arguments, properties: &Properties) -> Result<Distribution, UsageError> {
    let all = [
        ("uniform", Distribution::Uniform),
        ("zipfian", Distribution::Zipfian),
        ("latest", Distribution::Latest),
        ("hotspot", Distribution::Hotspot),
        ("zipfian-exact", Distribution::ZipfianExact),
    ];
    let from_properties = choice(properties, "requestdistribution", &all)?;
    Ok(arguments.distribution.or(from_properties).unwrap_or(Distribution::Uniform))
}

/// The value that a property's text stands for.
fn choice<T: Copy>(properties: &Properties, name: &str, all: &[(&str, T)]) -> Result<Option<T>, UsageError> {
    let Some(text) = properties.text(name) else { return Ok(None) };
    match all.iter().find(|(known, _)| known.eq_ignore_ascii_case(text)) {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let known: Vec<_> = all.iter().map(|(known, _)| *known).collect();
            Err(properties.wrong(name, format!("only {} is known here", known.join(", "))))
        }
    }
}

fn zipfian_constant(properties: &Properties) -> Result<f64, UsageError> {
    let constant = properties.parsed("zipfianconstant")?.unwrap_or(YCSB_CONSTANT);
    if (0.0..1.0).contains(&constant) {
        Ok(constant)
    } else {
        Err(properties.wrong("zipfianconstant", "it must be at least 0 and below 1"))
    }
}

fn hotspot(properties: &Properties) -> Result<Hotspot, UsageError> {
    let share = |name, standard| {
        let share = properties.parsed(name)?.unwrap_or(standard);
        let possible = (0.0..=1.0).contains(&share);
        if possible { Ok(share) } else { Err(properties.wrong(name, "it must be 0 to 1")) }
    };
    let Hotspot { record_share, request_share } = Hotspot::default();
    Ok(Hotspot {
        record_share: share("hotspotdatafraction", record_share)?,
        request_share: share("hotspotopnfraction", request_share)?,
    })
}

fn scan_lengths(properties: &Properties) -> Result<ScanLengths, UsageError> {
    let min_records = properties.parsed("minscanlength")?.unwrap_or(1);
    let max_records = properties.parsed("maxscanlength")?.unwrap_or(1000);
    let favour_short =
        choice(properties, "scanlengthdistribution", &[("uniform", false), ("zipfian", true)])?;
    if min_records < 1 || max_records < min_records || max_records > MAX_SCAN_RECORDS {
        return Err(UsageError::new(format!(
            "scans of {min_records} to {max_records} records make no sense: minscanlength must be at least 1, and \
             maxscanlength no less"
        )));
    }
    Ok(ScanLengths { min_records, max_records, favour_short: favour_short.unwrap_or(false) })
}

fn key_order(properties: &Properties) -> Result<KeyOrder, UsageError> {
    let all = [("hashed", KeyOrder::Hashed), ("ordered", KeyOrder::Ordered)];
    Ok(choice(properties, "insertorder", &all)?.unwrap_or_default())
}

fn value_bytes(arguments: &Arguments, properties: &Properties) -> Result<usize, UsageError> {
    choice(properties, "fieldlengthdistribution", &[("constant", ())])?;
    let field_count: u64 = properties.parsed("fieldcount")?.unwrap_or(10);
    let field_bytes: u64 = properties.parsed("fieldlength")?.unwrap_or(100);
    let bytes = arguments.value_bytes.unwrap_or_else(|| field_count.saturating_mul(field_bytes));
    match usize::try_from(bytes) {
        Ok(value_bytes) if (1..=MAX_VALUE_BYTES).contains(&bytes) => Ok(value_bytes),
        _ => Err(UsageError::new(format!("values of {bytes} bytes are impossible; 1 byte to 1 GiB is"))),
    }
}

fn threads(arguments: &Arguments, properties: &Properties) -> Result<usize, UsageError> {
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => properties.parsed("threadcount")?.unwrap_or(1),
    };
    if (1..=MAX_THREADS).contains(&threads) {
        Ok(threads)
    } else {
        Err(UsageError::new(format!("{threads} threads are impossible; 1 to {MAX_THREADS} are")))
    }
}

fn extent(arguments: &Arguments, properties: &Properties) -> Result<Extent, UsageError> {
    let operations = setting(arguments.operations, properties, "operationcount")?;
    at_least_one("operations", operations)?;
    // In YCSB a limit of 0 is no limit.
    let property = properties.parsed("maxexecutiontime")?.filter(|seconds: &f64| *seconds != 0.0);
    let time_limit = match arguments.seconds.or(property) {
        None => None,
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(limit) if !limit.is_zero() => Some(limit),
            _ => return Err(UsageError::new(format!("a time limit of {seconds} seconds is impossible"))),
        },
    };
    Ok(Extent { operations, time_limit })
}

/// Another workload class than the core one would do something else than what is asked for.
fn require_core_workload(properties: &Properties) -> Result<(), UsageError> {
    match properties.text("workload") {
        Some(class) if !class.ends_with("CoreWorkload") => {
            Err(properties.wrong("workload", "only YCSB's CoreWorkload is known here"))
        }
        _ => Ok(()),
    }
}

fn unknown_properties(given: &Properties) -> Vec<String> {
    let known = |name: &str| {
        PROPERTIES.contains(&name)
            || PROPERTIES_WITHOUT_EFFECT.contains(&name)
            || OperationKind::ALL.iter().any(|kind| kind.property() == name)
    };
    given
        .origins()
        .filter(|(name, _)| !known(name))
        .map(|(name, origin)| format!("property {name} ({origin}) is not known here and has no effect"))
        .collect()
}

#[cfg(test)]
mod tests;
