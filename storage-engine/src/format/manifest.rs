//! The manifest: what a store says of itself, kept in two zones.
//!
//! Each version of it is whole: the newest one that passes its checksum is the truth. It is appended to one manifest
//! zone and then to the other, so that one damaged copy costs nothing, and a full zone is reset only while the other
//! holds the newest version. This is the one module that uses `bincode`.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::unit::{StoreId, StreamName};
use super::{DecodeError, Fields, FieldsMut};
use crate::device::Geometry;
use crate::units::{Generation, SeqNo, ZoneId};

const MAGIC: u32 = u32::from_le_bytes(*b"ZMAN");
const STRUCTURE: &str = "manifest";
/// Magic, checksum, body length, version, the zone's reset count.
const FRAME_BYTES: usize = 24;
/// More than any manifest has; a longer one is not believed.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Which writes of earlier runs are void: a recovery cut the log there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cut {
    /// Units of runs before this one are concerned.
    pub incarnation: u32,
    /// Their records after this seqno are void.
    pub after: SeqNo,
    /// The last generation given out before the cut. What was cut lies in zones filled under this one or an earlier.
    pub generation: Generation,
}

/// How far a stream had filled its zone on stable media: claims that no later unit may have had a chance to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tail {
    /// The zone.
    pub zone: ZoneId,
    /// Its filling.
    pub generation: Generation,
    /// The first claimed unit.
    pub claim_first: u32,
    /// One past the last unit.
    pub unit_count: u32,
    /// What the stream filled before, claimed whole: generation, first claimed unit, number of units.
    pub previous: (Generation, u32, u32),
}

/// Sums over the life of a store. After a crash they lack what was counted since the last manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Keys and values handed in by users, in bytes.
    pub user_bytes_written: u64,
    /// Everything appended to the device, headers, copies, padding and manifests included, in bytes.
    pub device_bytes_written: u64,
    /// Records copied by the collector, in bytes.
    pub relocated_bytes: u64,
    /// Zones reset.
    pub zone_resets: u64,
}

/// One zone that the collector has emptied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Collection {
    /// The zone.
    pub zone: ZoneId,
    /// Which filling of it.
    pub generation: Generation,
    /// The stream that had filled it.
    pub stream: StreamName,
    /// What was written to the log since the zone was sealed, or since the store was opened, if that was later.
    pub age_bytes: u64,
    /// What was live in it.
    pub live_bytes: u64,
    /// What it can hold.
    pub capacity_bytes: u64,
    /// Records copied.
    pub moved_records: u64,
    /// Their bytes.
    pub moved_bytes: u64,
    /// How long it took.
    pub microseconds: u64,
    /// Whether it was reset and is free. Else it has worn out.
    pub is_freed: bool,
}

/// What has been written to a stream over the life of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenToStream {
    /// The stream.
    pub stream: StreamName,
    /// Bytes of units.
    pub bytes: u64,
}

/// How cleaning goes, for people to look at: nothing hangs on it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CleaningNotes {
    /// The streams that have been written to.
    pub written: Vec<WrittenToStream>,
    /// The last collections, the newest last; at most [`CleaningNotes::COLLECTIONS_KEPT`].
    pub collections: Vec<Collection>,
}

impl CleaningNotes {
    /// How many collections are remembered: together they take a few hundred bytes.
    pub const COLLECTIONS_KEPT: usize = 8;

    /// Whether there is nothing to take down.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.written.is_empty() && self.collections.is_empty()
    }

    /// Takes down a collection in the place of the oldest.
    pub fn note(&mut self, collection: Collection) {
        let excess = (self.collections.len() + 1).saturating_sub(Self::COLLECTIONS_KEPT);
        self.collections.drain(..excess);
        self.collections.push(collection);
    }
}

/// How much of the device a store is to take up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum SpaceUse {
    /// As much as there is: cleaning begins when free zones run out.
    #[default]
    Whole,
    /// In proportion to the live data: cleaning begins as well when there is more garbage than that allows.
    Proportional,
}

/// The sizes of the device that a store was made on. They do not change while its data live.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceSizes {
    /// The smallest unit of reading and appending.
    pub block_bytes: u32,
    /// From one zone start to the next.
    pub zone_size_bytes: u64,
    /// What can be written in a zone.
    pub zone_capacity_bytes: u64,
    /// How many zones there are.
    pub zone_count: u32,
}

impl DeviceSizes {
    /// The sizes of a geometry; limits may change between openings.
    #[must_use]
    pub const fn of(geometry: &Geometry) -> Self {
        let Geometry { block_bytes, zone_size_bytes, zone_capacity_bytes, zone_count, .. } = *geometry;
        Self { block_bytes, zone_size_bytes, zone_capacity_bytes, zone_count }
    }
}

/// A checkpoint of the index that recovery may choose.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CheckpointName {
    /// Which checkpoint of the store: later ones have higher numbers.
    pub number: u64,
    /// All writes up to this one, and no others, can be in what it holds or stands for; they were durable before it was named.
    pub covered: SeqNo,
    /// The zones that hold it, in order, with the device's reset counts of them.
    pub zones: Vec<(ZoneId, u32)>,
    /// How many blocks it has.
    pub block_count: u32,
    /// Bytes of its blocks, padding included.
    pub byte_count: u64,
    /// How many entries it has.
    pub entry_count: u64,
}

impl fmt::Display for DeviceSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_bytes, zone_size_bytes, zone_capacity_bytes, zone_count } = self;
        write!(
            f,
            "{zone_count} zones of {zone_size_bytes} bytes that hold {zone_capacity_bytes} each, in blocks of \
             {block_bytes}"
        )
    }
}

/// What a store says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Counts the versions of the manifest.
    pub version: u64,
    /// Tells this store from every other.
    pub store: StoreId,
    /// The run of the store that wrote this version.
    pub incarnation: u32,
    /// What earlier recoveries cut off and could still be found on the device.
    pub cuts: Vec<Cut>,
    /// All writes up to this one are on stable media, or were superseded by ones that are.
    pub watermark: SeqNo,
    /// No zone has been opened with a later generation when this version was written.
    pub generation: Generation,
    /// No unit of an earlier generation counts: no zone held any when this version was written.
    pub oldest_generation: Generation,
    /// How far streams had filled their zones on stable media.
    pub tails: Vec<Tail>,
    /// Whether the store was closed in order: then nothing was in flight.
    pub clean: bool,
    /// How much of the device the store is to take up.
    pub space_use: SpaceUse,
    /// Sums over the life of the store.
    pub counters: Counters,
    /// The device's sizes. They lie behind the rest, and a version written before there were any has none.
    #[serde(skip)]
    pub device: Option<DeviceSizes>,
    /// Checkpoints, the newest last. They and the number below lie behind the device's sizes, and are left out before
    /// there is the first one.
    #[serde(skip)]
    pub checkpoints: Vec<CheckpointName>,
    /// The number of the checkpoint that was begun last.
    #[serde(skip)]
    pub last_checkpoint: u64,
    /// Zones that the manifest is kept in since others have worn out, in the order in which they were taken. They lie behind
    /// the checkpoints, and are left out where there are none and nothing follows.
    #[serde(skip)]
    pub substitutes: Vec<ZoneId>,
    /// How cleaning goes. It lies behind the substitutes, and is left out before there is anything to tell.
    #[serde(skip)]
    pub cleaning: CleaningNotes,
}

impl Manifest {
    /// The bytes to append to a zone that has been reset `reset_count` times: padded to whole blocks.
    ///
    /// # Panics
    /// When the manifest exceeds 16 MiB, which no store reaches.
    #[must_use]
    pub fn encode(&self, block_bytes: usize, reset_count: u32) -> Vec<u8> {
        let mut body = encode_body(self);
        body.extend(self.device.iter().flat_map(encode_body));
        let ends_with_cleaning = !self.cleaning.is_empty();
        let has_substitutes = !self.substitutes.is_empty() || ends_with_cleaning;
        if self.last_checkpoint > 0 || has_substitutes {
            assert!(self.device.is_some(), "the device's sizes come first");
            body.extend(encode_body(&(&self.checkpoints, self.last_checkpoint)));
        }
        if has_substitutes {
            body.extend(encode_body(&self.substitutes));
        }
        if ends_with_cleaning {
            body.extend(encode_body(&self.cleaning));
        }
        assert!(body.len() <= MAX_BODY_BYTES, "a manifest of {} bytes", body.len());
        let mut bytes = vec![0; (FRAME_BYTES + body.len()).next_multiple_of(block_bytes)];
        let body_len = u32::try_from(body.len()).expect("checked above");
        let mut fields = FieldsMut::new(&mut bytes);
        fields.u32(MAGIC);
        fields.u32(0);
        fields.u32(body_len);
        fields.u64(self.version);
        fields.u32(reset_count);
        fields.bytes(&body);
        let crc = crc32fast::hash(&bytes[8..FRAME_BYTES + body.len()]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the manifest at the start of `from`, which lies in a zone that has been reset `reset_count` times; also
    /// gives its length in bytes before padding.
    ///
    /// In a hole that a power cut has left there may be versions of an earlier filling: these are not believed.
    ///
    /// # Errors
    /// [`DecodeError`], whatever the bytes are.
    pub fn decode(from: &[u8], reset_count: u32) -> Result<(Self, usize), DecodeError> {
        let cut_short = |needed_bytes| DecodeError::CutShort {
            structure: STRUCTURE,
            needed_bytes,
            found_bytes: from.len(),
        };
        let mut fields = Fields::new(from.get(..FRAME_BYTES).ok_or(cut_short(FRAME_BYTES))?);
        if fields.u32() != MAGIC {
            return Err(DecodeError::Magic { structure: STRUCTURE });
        }
        let (expected, body_len, version) = (fields.u32(), fields.u32() as usize, fields.u64());
        if body_len > MAX_BODY_BYTES {
            return Err(DecodeError::Field { structure: STRUCTURE, field: "length", found: body_len as u64 });
        }
        let framed = from.get(8..FRAME_BYTES + body_len).ok_or(cut_short(FRAME_BYTES + body_len))?;
        let found = crc32fast::hash(framed);
        if found != expected {
            return Err(DecodeError::Checksum { structure: STRUCTURE, found, expected });
        }
        let written_after = fields.u32();
        if written_after != reset_count {
            let found = u64::from(written_after);
            return Err(DecodeError::Field { structure: STRUCTURE, field: "reset count", found });
        }
        let undecodable = DecodeError::Field { structure: STRUCTURE, field: "body", found: body_len as u64 };
        let body = &from[FRAME_BYTES..FRAME_BYTES + body_len];
        let mut rest = body;
        let mut manifest: Self = decode_part(&mut rest).ok_or(undecodable)?;
        if !rest.is_empty() {
            manifest.device = Some(decode_part(&mut rest).ok_or(undecodable)?);
        }
        if !rest.is_empty() {
            (manifest.checkpoints, manifest.last_checkpoint) = decode_part(&mut rest).ok_or(undecodable)?;
            // Before there is one it is left out, but for what follows; none is named that was not begun.
            let newest = manifest.checkpoints.iter().map(|name| name.number).max();
            let is_void = manifest.last_checkpoint == 0 && rest.is_empty();
            if is_void || newest > Some(manifest.last_checkpoint) {
                return Err(undecodable);
            }
        }
        if !rest.is_empty() {
            manifest.substitutes = decode_part(&mut rest).ok_or(undecodable)?;
            if manifest.substitutes.is_empty() && rest.is_empty() {
                return Err(undecodable);
            }
        }
        if !rest.is_empty() {
            manifest.cleaning = decode_part(&mut rest).ok_or(undecodable)?;
            if manifest.cleaning.is_empty() {
                return Err(undecodable);
            }
        }
        if !rest.is_empty() || manifest.version != version {
            return Err(undecodable);
        }
        Ok((manifest, FRAME_BYTES + body_len))
    }
}

fn encode_body(part: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(part, bincode::config::standard())
        .expect("a manifest has no value that bincode cannot encode")
}

fn decode_part<T: DeserializeOwned>(rest: &mut &[u8]) -> Option<T> {
    let (part, used) = bincode::serde::decode_from_slice(rest, bincode::config::standard()).ok()?;
    *rest = &rest[used..];
    Some(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::unit::StreamKind;

    fn any_cleaning(bytes: u64) -> CleaningNotes {
        let mut notes = CleaningNotes::default();
        for number in 0..bytes % 12 {
            let stream = StreamName { kind: StreamKind::Relocation, class: 3 };
            notes.written.push(WrittenToStream { stream, bytes });
            notes.note(Collection {
                zone: ZoneId::new(7),
                generation: Generation::new(number),
                stream,
                age_bytes: bytes,
                live_bytes: 1,
                capacity_bytes: 9,
                moved_records: 2,
                moved_bytes: bytes,
                microseconds: number,
                is_freed: number % 2 == 0,
            });
        }
        notes
    }

    #[test]
    fn of_many_collections_the_last_ones_are_remembered() {
        let generations: Vec<u64> =
            any_cleaning(11).collections.iter().map(|it| it.generation.get()).collect();
        assert_eq!(generations, (3..11).collect::<Vec<_>>());
    }

    prop_compose! {
        fn any_manifest()(
            version in any::<u64>(), store in any::<[u8; 16]>(), incarnation in any::<u32>(),
            cuts in proptest::collection::vec((any::<u32>(), any::<u64>(), any::<u64>()), 0..20),
            watermark in any::<u64>(), generation in any::<u64>(), clean in any::<bool>(), bytes in any::<u64>(),
        ) -> Manifest {
            let tail = Tail {
                zone: ZoneId::new(incarnation), generation: Generation::new(generation), claim_first: 1, unit_count: 9,
                previous: (Generation::new(3), 2, 1),
            };
            Manifest {
                version, store, incarnation, watermark: SeqNo::new(watermark), generation: Generation::new(generation),
                cuts: cuts.into_iter().map(|(incarnation, after, generation)| Cut {
                    incarnation, after: SeqNo::new(after), generation: Generation::new(generation),
                }).collect(),
                oldest_generation: Generation::new(bytes),
                tails: vec![tail; 3],
                clean,
                space_use: if clean { SpaceUse::Whole } else { SpaceUse::Proportional },
                counters: Counters { user_bytes_written: bytes, ..Counters::default() },
                device: clean.then_some(DeviceSizes {
                    block_bytes: 512, zone_size_bytes: bytes, zone_capacity_bytes: bytes, zone_count: incarnation,
                }),
                checkpoints: if clean && version > 0 && bytes % 2 == 0 { vec![CheckpointName {
                    number: version, covered: SeqNo::new(watermark), zones: vec![(ZoneId::new(incarnation), 3); 2],
                    block_count: 7, byte_count: bytes, entry_count: version,
                }] } else { Vec::new() },
                last_checkpoint: if clean { version } else { 0 },
                substitutes: vec![ZoneId::new(incarnation); if clean { usize::from(store[0] % 3) } else { 0 }],
                cleaning: if clean && store[1] % 2 == 0 { any_cleaning(bytes) } else { CleaningNotes::default() },
            }
        }
    }

    proptest! {
        #[test]
        fn a_manifest_survives_the_round_trip(manifest in any_manifest()) {
            let bytes = manifest.encode(4096, 7);
            prop_assert_eq!(bytes.len() % 4096, 0);
            let (decoded, used) = Manifest::decode(&bytes, 7).unwrap();
            prop_assert_eq!(decoded, manifest);
            prop_assert!(bytes[used..].iter().all(|&byte| byte == 0));
            prop_assert!(Manifest::decode(&bytes, 8).is_err(), "a version of an earlier filling is believed");
        }

        #[test]
        fn any_flipped_bit_before_the_padding_is_noticed(manifest in any_manifest(), place in any::<prop::sample::Index>()) {
            let mut bytes = manifest.encode(512, 0);
            let (_, used) = Manifest::decode(&bytes, 0).unwrap();
            let bit = place.index(used * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Manifest::decode(&bytes, 0).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::decode(&bytes, 0);
        }
    }
}
