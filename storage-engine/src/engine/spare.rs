//! Looks at what nothing hangs on as long as it is the only damage: older and second copies of the manifest, padding of
//! units and of checkpoints.
//!
//! A crash may leave holes among the manifest's versions, and old bytes in whole sectors behind a unit's last record. What is
//! reported here is only what no crash leaves.

use crate::buffer::AlignedBuffer;
use crate::checkpoint::loader::Loader;
use crate::device::{ZoneDescriptor, ZoneState, ZonedDevice};
use crate::error::EngineResult;
use crate::format::DecodeError;
use crate::format::manifest::Manifest;
use crate::format::unit::StoreId;
use crate::log::manifest_log::{is_written_in_turn, manifest_zones};
use crate::log::scanner::{Found, Scanner};
use crate::recovery::Damage;
use crate::units::{SECTOR_BYTES, ZoneId, ZoneOffset};

/// A version of the manifest, or blocks that are none.
enum Piece {
    Version(Box<Manifest>),
    Gap(ZoneOffset, DecodeError),
}

/// Versions of the manifest that must be there and cannot be read, or are not in order.
///
/// Zones that have worn out are not asked: the last version in one may have been torn when it did.
pub(super) fn manifest_flaws(device: &dyn ZonedDevice, manifest: &Manifest) -> EngineResult<Vec<Damage>> {
    let (mut zones, mut has_worn) = (Vec::new(), false);
    for zone in manifest_zones(device, manifest)? {
        let descriptor = device.report(zone)?;
        if descriptor.state.is_worn() {
            has_worn = true;
        } else {
            zones.push((zone, pieces(device, &descriptor)?));
        }
    }
    let newest =
        zones.iter().filter_map(|(_, pieces)| newest(pieces)).max_by_key(|manifest| manifest.version);
    let versions: Vec<u64> = zones.iter().flat_map(|(_, pieces)| versions(pieces)).collect();
    // A process killed while it closed the store has left the last version in one place only.
    let closed_with = newest.filter(|newest| newest.clean && device.was_closed_in_order());
    let closed_with = closed_with.map(|newest| newest.version);
    let in_turn = is_written_in_turn(device);
    let flaws = zones.iter().flat_map(|(zone, pieces)| {
        let holds_newest = self::newest(pieces).map(|manifest| manifest.version) == closed_with;
        let order = Order {
            versions: &versions,
            jump: device.geometry().zone_capacity_bytes / u64::from(device.geometry().block_bytes),
            // Where zones are written in turn, the other one ended before, and has been finished.
            ends_with: closed_with.filter(|_| holds_newest || !in_turn),
            ends_twice: in_turn,
            may_repeat: in_turn || has_worn,
        };
        flaws_in_zone(*zone, pieces, &order)
    });
    Ok(flaws.collect())
}

/// What the versions in a zone must be like.
struct Order<'a> {
    /// All that there are, in any zone.
    versions: &'a [u64],
    /// By how many numbers they go on after a crash.
    jump: u64,
    /// The last one, where it must be there.
    ends_with: Option<u64>,
    /// Whether that one is there twice.
    ends_twice: bool,
    /// Whether one may be there twice: both copies are in one zone, or were when there was no other.
    may_repeat: bool,
}

fn versions(pieces: &[Piece]) -> impl Iterator<Item = u64> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Version(manifest) => Some(manifest.version),
        Piece::Gap(..) => None,
    })
}

fn newest(pieces: &[Piece]) -> Option<&Manifest> {
    let versions = pieces.iter().filter_map(|piece| match piece {
        Piece::Version(manifest) => Some(&**manifest),
        Piece::Gap(..) => None,
    });
    versions.max_by_key(|manifest| manifest.version)
}

fn pieces(device: &dyn ZonedDevice, zone: &ZoneDescriptor) -> EngineResult<Vec<Piece>> {
    let geometry = device.geometry();
    let len = usize::try_from(zone.write_pointer.get()).unwrap_or(usize::MAX);
    let mut bytes = AlignedBuffer::zeroed(len);
    if len > 0 {
        device.read(zone.zone, ZoneOffset::START, &mut bytes)?;
    }
    let block = geometry.block_bytes as usize;
    let (mut pieces, mut at) = (Vec::new(), 0);
    while at < len {
        match Manifest::decode(&bytes[at..], zone.reset_count) {
            Ok((manifest, used)) => {
                pieces.push(Piece::Version(Box::new(manifest)));
                at += used.next_multiple_of(block);
            }
            Err(error) => {
                if !matches!(pieces.last(), Some(Piece::Gap(..))) {
                    pieces.push(Piece::Gap(ZoneOffset::new(at as u64), error));
                }
                at += block;
            }
        }
    }
    Ok(pieces)
}

/// A gap is damage when the versions around it show that no crash came between: numbers go on one by one, and jump over as
/// many as a zone has blocks after a crash.
fn flaws_in_zone(zone: ZoneId, pieces: &[Piece], order: &Order<'_>) -> Vec<Damage> {
    let &Order { versions, jump, ends_with, may_repeat, .. } = order;
    let end_is_whole = self::versions(pieces).filter(|version| Some(*version) == ends_with).count()
        > usize::from(order.ends_twice);
    let mut damages = Vec::new();
    let mut note = |offset, what: String| damages.push(Damage { zone, offset, what, confined: false });
    let mut before: Option<u64> = None;
    for (index, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Version(manifest) => {
                let least = before.map_or(0, |before| before + u64::from(!may_repeat));
                if manifest.version < least {
                    let what =
                        format!("version {} of the manifest is not where it was written", manifest.version);
                    note(ZoneOffset::START, what);
                }
                before = Some(manifest.version);
            }
            Piece::Gap(offset, error) => {
                let after = pieces[index + 1..].iter().find_map(|piece| match piece {
                    Piece::Version(manifest) => Some(manifest.version),
                    Piece::Gap(..) => None,
                });
                let is_damage = match (before, after) {
                    (_, Some(after)) if Some(after) == ends_with && !end_is_whole => true,
                    // Between neighbours none is missing: a process was killed while it appended the later one.
                    (Some(before), Some(after)) => (2..jump).contains(&after.saturating_sub(before)),
                    // The first version in a zone: the other zone tells what came before the next one.
                    (None, Some(after)) => {
                        let before = versions.iter().filter(|&&version| version < after).max();
                        before.is_some_and(|before| after - before < jump)
                    }
                    (_, None) => ends_with.is_some(),
                };
                if is_damage {
                    note(*offset, format!("a version of the manifest: {error}"));
                }
            }
        }
    }
    damages
}

/// Bytes behind the last record of a unit, up to the end of its sector, that are not zero.
pub(super) fn padding_flaws(device: &dyn ZonedDevice, manifest: &Manifest) -> EngineResult<Vec<Damage>> {
    let for_manifest = manifest_zones(device, manifest)?;
    let mut damages = Vec::new();
    for zone in device.geometry().zones().filter(|zone| !for_manifest.contains(zone)) {
        let descriptor = device.report(zone)?;
        if matches!(descriptor.state, ZoneState::Offline | ZoneState::NotWritePointer) {
            continue;
        }
        for end in unit_ends(device, manifest.store, &descriptor)? {
            let padding = (end, end.next_multiple_of(SECTOR_BYTES));
            if let Some(offset) = first_byte_of_padding_that_is_not_zero(device, zone, padding)? {
                let what = "a unit is not filled up with zeros".to_owned();
                damages.push(Damage { zone, offset, what, confined: true });
            }
        }
    }
    Ok(damages)
}

/// Bytes behind the items of a checkpoint's blocks that are not zero. A checkpoint that is named was on stable media whole.
pub(super) fn checkpoint_padding_flaws(
    device: &dyn ZonedDevice,
    manifest: &Manifest,
) -> EngineResult<Vec<Damage>> {
    let mut damages = Vec::new();
    for name in &manifest.checkpoints {
        for (zone, end, block_end) in (Loader { device, store: manifest.store, name }).block_ends() {
            if let Some(offset) = first_byte_of_padding_that_is_not_zero(device, zone, (end, block_end))? {
                let what = format!("a block of checkpoint {} is not filled up with zeros", name.number);
                damages.push(Damage { zone, offset, what, confined: true });
            }
        }
    }
    Ok(damages)
}

fn unit_ends(device: &dyn ZonedDevice, store: StoreId, zone: &ZoneDescriptor) -> EngineResult<Vec<u64>> {
    let mut scanner = Scanner::new(device, store, zone);
    let mut ends = Vec::new();
    while let Some(found) = scanner.advance()? {
        if let Found::Unit { offset, header, body } = found
            // The sector that the last record ends in is new then, whatever a crash has torn.
            && header.is_whole(body)
        {
            ends.push(offset.forward(header.unit_bytes()).get());
        }
    }
    Ok(ends)
}

fn first_byte_of_padding_that_is_not_zero(
    device: &dyn ZonedDevice,
    zone: ZoneId,
    (end, padding_end): (u64, u64),
) -> EngineResult<Option<ZoneOffset>> {
    let block_start = device.geometry().round_down_to_block(end);
    if end == padding_end {
        return Ok(None);
    }
    let mut block = AlignedBuffer::zeroed(device.geometry().block_bytes as usize);
    device.read(zone, ZoneOffset::new(block_start), &mut block)?;
    let from = usize::try_from(end - block_start).expect("below a block");
    let to = usize::try_from(padding_end - block_start).expect("a block at most");
    let found = block[from..to].iter().position(|&byte| byte != 0);
    Ok(found.map(|place| ZoneOffset::new(end + place as u64)))
}
