//! A whole device as a picture in text. Pure.
//!
//! A column is a zone, or as many zones as it takes for the picture to fit a screen. Under each other in a column stand
//! what the zones are used for (a letter), how far they are written and how much of them is live (bars on one scale, so
//! that the difference is what the collector can gain).

use std::fmt::Write;

use zonal::{Zone, ZoneRole, ZoneState};

use crate::size::grouped;

/// Room for the names of the lines.
const LABEL_COLUMNS: usize = 6;
/// A zone number stands over every so many columns.
const RULER_COLUMNS: usize = 16;
/// More bands than this do not fit a screen with their legend.
const MAX_BANDS: usize = 8;
/// Bars by eighths; nothing at all is a dot, so that columns can be counted.
const BARS: [char; 9] = ['.', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const LEGEND: &str = "\
use   . free  U users' data  R copies by the collector  u, r the same, open for appends
      M the store's manifest  K a checkpoint of the index  x can only be read  X offline  C conventional, left alone
      several zones a column: the rarest use
fill  how much of the zone is written, ▁ to █; a dot is nothing
live  how much of the zone is live data; what fill has more can be collected
";

/// What a zone is used for. The rarer a use, the further down; a column shows the rarest of its zones, and of the first
/// three the most frequent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Use {
    Free,
    User,
    Relocation,
    Conventional,
    Manifest,
    Checkpoint,
    OpenUser,
    OpenRelocation,
    ReadOnly,
    Offline,
}

impl Use {
    const COMMON: [Self; 3] = [Self::Free, Self::User, Self::Relocation];

    const fn letter(self) -> char {
        match self {
            Self::Free => '.',
            Self::User => 'U',
            Self::Relocation => 'R',
            Self::Conventional => 'C',
            Self::Manifest => 'M',
            Self::Checkpoint => 'K',
            Self::OpenUser => 'u',
            Self::OpenRelocation => 'r',
            Self::ReadOnly => 'x',
            Self::Offline => 'X',
        }
    }
}

/// What the picture shows of a zone.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Plot {
    pub(crate) used_for: Use,
    /// Bytes written.
    pub(crate) written_bytes: u64,
    /// Bytes of live records.
    pub(crate) live_bytes: u64,
    /// Bytes that it can hold.
    pub(crate) capacity_bytes: u64,
}

impl From<&Zone> for Plot {
    fn from(zone: &Zone) -> Self {
        let used_for = match (zone.state, zone.role) {
            (ZoneState::Offline, _) => Use::Offline,
            (ZoneState::ReadOnly, _) | (_, ZoneRole::Lost) => Use::ReadOnly,
            (_, ZoneRole::Conventional) => Use::Conventional,
            (_, ZoneRole::Manifest) => Use::Manifest,
            (_, ZoneRole::Checkpoint) => Use::Checkpoint,
            (_, ZoneRole::Free) => Use::Free,
            (_, ZoneRole::User) if zone.open => Use::OpenUser,
            (_, ZoneRole::User) => Use::User,
            (_, ZoneRole::Relocation) if zone.open => Use::OpenRelocation,
            (_, ZoneRole::Relocation) => Use::Relocation,
        };
        Self {
            used_for,
            written_bytes: zone.write_pointer,
            live_bytes: zone.live_bytes,
            capacity_bytes: zone.capacity_bytes,
        }
    }
}

/// Draws zones in lines of at most `width` characters (but of 22 at least).
pub(crate) fn picture(heading: &str, zones: &[Plot], width: usize) -> String {
    let columns = columns_within(width);
    let zones_a_column = zones_a_column(zones.len(), columns);
    let scale = match zones_a_column {
        1 => "one zone a column".to_owned(),
        several => format!("{} zones a column", grouped(several as u64)),
    };
    let mut text = format!("{heading}, {scale}\n{}\n", summary(zones));
    for (band, of_band) in zones.chunks(columns * zones_a_column).enumerate() {
        text.push('\n');
        write_band(&mut text, band * columns * zones_a_column, of_band, zones_a_column);
    }
    text.push('\n');
    text.push_str(LEGEND);
    text
}

/// A power of two, so that zone numbers are round.
fn columns_within(width: usize) -> usize {
    let room = width.saturating_sub(LABEL_COLUMNS).max(RULER_COLUMNS);
    1 << room.ilog2()
}

/// A power of two, so that the bands are few.
fn zones_a_column(zone_count: usize, columns: usize) -> usize {
    zone_count.div_ceil(columns * MAX_BANDS).max(1).next_power_of_two()
}

fn summary(zones: &[Plot]) -> String {
    let free = zones.iter().filter(|zone| zone.used_for == Use::Free).count();
    let sum = |bytes: fn(&Plot) -> u64| zones.iter().map(bytes).sum::<u64>();
    let share = |part: u64| part as f64 / sum(|zone| zone.capacity_bytes).max(1) as f64 * 100.0;
    format!(
        "{} zones free, {:.0} % of the device written, {:.0} % live",
        grouped(free as u64),
        share(sum(|zone| zone.written_bytes)),
        share(sum(|zone| zone.live_bytes))
    )
}

fn write_band(text: &mut String, first_zone: usize, zones: &[Plot], zones_a_column: usize) {
    let columns: Vec<&[Plot]> = zones.chunks(zones_a_column).collect();
    let mut ruler = String::new();
    for column in (0..columns.len()).step_by(RULER_COLUMNS) {
        let zone = first_zone + column * zones_a_column;
        // Writing to a string does not fail.
        let _ = write!(ruler, "{zone:<RULER_COLUMNS$}");
    }
    let mut line = |label: &str, cells: &str| {
        let _ = writeln!(text, "{label:<LABEL_COLUMNS$}{}", cells.trim_end());
    };
    line("zone", &ruler);
    line("use", &columns.iter().map(|zones| use_of(zones).letter()).collect::<String>());
    line("fill", &columns.iter().map(|zones| bar(zones, |zone| zone.written_bytes)).collect::<String>());
    line("live", &columns.iter().map(|zones| bar(zones, |zone| zone.live_bytes)).collect::<String>());
}

fn use_of(zones: &[Plot]) -> Use {
    let uses = || zones.iter().map(|zone| zone.used_for);
    let rarest = uses().max().filter(|rarest| !Use::COMMON.contains(rarest));
    let most_frequent =
        || Use::COMMON.into_iter().max_by_key(|common| uses().filter(|used| used == common).count());
    rarest.or_else(most_frequent).unwrap_or(Use::Free)
}

/// Anything at all shows; only what is full to the last eighth shows as full.
fn bar(zones: &[Plot], bytes: impl Fn(&Plot) -> u64) -> char {
    let eighths = BARS.len() as u64 - 1;
    let part: u64 = zones.iter().map(bytes).sum();
    let whole: u64 = zones.iter().map(|zone| zone.capacity_bytes).sum();
    let level = (u128::from(part) * u128::from(eighths)).div_ceil(u128::from(whole.max(1)));
    BARS[usize::try_from(level).map_or(BARS.len() - 1, |level| level.min(BARS.len() - 1))]
}

#[cfg(test)]
mod tests {
    use super::{Plot, Use, picture, use_of};

    const CAPACITY: u64 = 800;

    fn plot(used_for: Use, written_bytes: u64, live_bytes: u64) -> Plot {
        Plot { used_for, written_bytes, live_bytes, capacity_bytes: CAPACITY }
    }

    /// Manifests, data that get older from left to right, open zones, one that is lost, and the rest free.
    fn device(zone_count: usize) -> Vec<Plot> {
        let mut zones = vec![plot(Use::Manifest, 8, 0); 2];
        let data = zone_count as u64 / 2;
        zones.extend((0..data).map(|zone| plot(Use::User, CAPACITY, CAPACITY - CAPACITY * zone / data)));
        zones.extend((0..data / 4).map(|_| plot(Use::Relocation, CAPACITY, CAPACITY / 2)));
        zones.extend([
            plot(Use::OpenUser, 300, 300),
            plot(Use::OpenRelocation, 1, 1),
            plot(Use::Offline, 0, 0),
        ]);
        zones.resize(zone_count, plot(Use::Free, 0, 0));
        zones
    }

    fn lines<'text>(text: &'text str, label: &str) -> Vec<&'text str> {
        let label = format!("{label:<6}");
        let of_bands = text.lines().take_while(|line| !line.starts_with("use   . free"));
        of_bands.filter_map(|line| line.strip_prefix(label.as_str())).collect()
    }

    #[test]
    fn sixty_four_zones_are_one_band_with_a_column_each() {
        let text = picture("x", &device(64), 80);
        assert!(text.starts_with("x, one zone a column\n"), "{text}");
        assert_eq!(lines(&text, "zone"), ["0               16              32              48"]);
        let used_for = format!("MM{}{}ur{}{}", "U".repeat(32), "R".repeat(8), "X", ".".repeat(19));
        assert_eq!(lines(&text, "use"), [used_for]);
        let fill = format!("▁▁{}▃▁{}", "█".repeat(40), ".".repeat(20));
        assert_eq!(lines(&text, "fill"), [fill]);
        let falling = "████▇▇▇▇▆▆▆▆▅▅▅▅▄▄▄▄▃▃▃▃▂▂▂▂▁▁▁▁";
        let falling: String = "█".chars().chain(falling.chars().skip(1)).collect();
        assert_eq!(lines(&text, "live"), [format!("..{falling}{}▃▁{}", "▄".repeat(8), ".".repeat(20))]);
    }

    #[test]
    fn thousands_of_zones_share_columns_and_fit_a_screen() {
        for (width, zones_a_column) in [(80, "8 zones a column"), (140, "4 zones a column"), (22, "32 zones")]
        {
            let text = picture("x", &device(4096), width);
            assert!(text.lines().next().unwrap().contains(zones_a_column), "{text}");
            let columns: usize = lines(&text, "use").iter().map(|line| line.len()).sum();
            assert!(lines(&text, "use").len() <= 8, "{text}");
            assert!(columns * 4 * 8 >= 4096, "{text}");
            let bands = text.lines().take_while(|line| !line.starts_with("use   . free")).skip(2);
            assert!(bands.clone().all(|line| line.chars().count() <= width), "{text}");
            assert!(bands.count() <= 42, "{text}");
        }
    }

    #[test]
    fn a_column_of_several_zones_shows_the_rarest_use_else_the_most_frequent() {
        let of = |uses: &[Use]| use_of(&uses.iter().map(|used| plot(*used, 0, 0)).collect::<Vec<_>>());
        assert_eq!(of(&[Use::User, Use::User, Use::Free]), Use::User);
        assert_eq!(of(&[Use::Free, Use::Free, Use::Relocation]), Use::Free);
        assert_eq!(of(&[Use::Free, Use::OpenUser, Use::User]), Use::OpenUser);
        assert_eq!(of(&[Use::OpenRelocation, Use::Offline, Use::Manifest]), Use::Offline);
    }

    #[test]
    fn a_picture_says_how_full_the_device_is() {
        let zones = [plot(Use::User, 800, 400), plot(Use::Free, 0, 0)];
        let text = picture("x", &zones, 80);
        assert!(text.contains("1 zones free, 50 % of the device written, 25 % live"), "{text}");
    }
}
