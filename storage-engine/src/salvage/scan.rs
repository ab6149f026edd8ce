//! Finds every record that can be read, whatever is wrong around it.
//!
//! A zone is read block by block. Where a unit's header is whole, its records are taken one after another; behind a record
//! that is not whole, the next one is searched for byte by byte. Where there is no header, records are looked for behind the
//! place of one, and then anywhere. Every record has checksums of its own, so that what is found is what was written at some
//! time; whether it belongs to the present filling of its zone is noted as its [`Proof`].

use std::ops::Range;

use super::mending::TornRecord;
use super::records::{Encoded, Missing, UnitBody, looks_like_a_record};
use super::source::{Source, Unreadable, Window};
use crate::format::DecodeError;
use crate::format::record::{DecodedRecord, Group, Record, RecordKind};
use crate::format::unit::{ContentsChecksum, StoreId, StreamKind, UNIT_HEADER_BYTES, UnitHeader};
use crate::index::MAX_UNIT_BYTES;
use crate::units::{Generation, SeqNo, ZoneId};

/// How sure it is that a record counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// Its unit says so.
    Proven,
    /// It lies where its unit's header does not tell: it may be left over from an earlier filling of the zone.
    Likely,
}

/// A record that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version {
    pub(super) seqno: SeqNo,
    pub(super) kind: RecordKind,
    pub(super) group: Option<Group>,
    pub(super) zone: ZoneId,
    /// Where the record begins, in bytes from the zone's start.
    pub(super) offset: u64,
    pub(super) value_at: u64,
    pub(super) value_len: u32,
    pub(super) value_crc: u32,
    pub(super) value_flaw: Option<DecodeError>,
    pub(super) proof: Proof,
    pub(super) incarnation: u32,
    key_start: usize,
    key_len: u16,
}

/// A unit whose header is whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub(super) offset: u64,
    pub(super) header: UnitHeader,
    pub(super) is_whole: bool,
}

/// Bytes between records or units that are none.
#[derive(Debug)]
pub(super) struct Hole {
    pub(super) offset: u64,
    pub(super) len_bytes: u64,
    pub(super) error: String,
    /// The seqnos of the records that were there, where the unit tells.
    pub(super) seqnos: Option<(SeqNo, SeqNo)>,
    /// No record that was there is newer.
    pub(super) at_most: SeqNo,
    pub(super) torn: Option<TornRecord>,
    /// The unit that it is in.
    pub(super) header: UnitHeader,
}

/// Blocks that are no unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    pub(super) offset: u64,
    pub(super) len_bytes: u64,
    pub(super) error: DecodeError,
    /// Where the first records in it begin and end.
    pub(super) chain: Option<(u64, u64)>,
    /// Their seqnos.
    pub(super) found: Option<(SeqNo, SeqNo)>,
    /// Of how many units there are records in it, if it holds nothing but whole records that end as units do: then nothing
    /// else was there.
    pub(super) complete_units: Option<usize>,
}

/// Records that follow one another without a header before them.
#[derive(Debug, Clone, Copy)]
struct Chain {
    /// Where the header would be, or the first record where that is not known.
    start: u64,
    end: u64,
    /// Whether nothing but zeros follows up to the end of the block.
    is_closed: bool,
}

/// What was found in one zone.
#[derive(Debug)]
pub(super) struct ZoneFound {
    pub(super) zone: ZoneId,
    pub(super) generation: Generation,
    pub(super) store: Option<StoreId>,
    pub(super) stream: Option<StreamKind>,
    pub(super) units: Vec<Unit>,
    pub(super) gaps: Vec<Gap>,
    pub(super) holes: Vec<Hole>,
    pub(super) versions: Vec<Version>,
    keys: Vec<u8>,
    pub(super) mended_count: u64,
    /// Where the records of the present gap lie.
    chains: Vec<Chain>,
    /// Whether the present gap has blocks that are neither zeros nor records.
    has_unknown_blocks: bool,
}

impl ZoneFound {
    fn new(zone: ZoneId) -> Self {
        Self {
            zone,
            generation: Generation::default(),
            store: None,
            stream: None,
            units: Vec::new(),
            gaps: Vec::new(),
            holes: Vec::new(),
            versions: Vec::new(),
            keys: Vec::new(),
            mended_count: 0,
            chains: Vec::new(),
            has_unknown_blocks: false,
        }
    }

    pub(super) fn key(&self, version: &Version) -> &[u8] {
        &self.keys[version.key_start..version.key_start + usize::from(version.key_len)]
    }

    /// Goes over to a later filling of the zone, and forgets what an earlier one has left. What lies before the first header
    /// may belong to any.
    fn begin(&mut self, header: &UnitHeader, gap: &mut Option<(u64, DecodeError)>) {
        if self.generation > Generation::default() {
            *self = Self::new(self.zone);
            *gap = None;
        }
        self.generation = header.generation;
        self.store = Some(header.store);
        self.stream = Some(header.stream);
    }

    /// Whether a header that the records behind it do not confirm tells of another filling than records do.
    fn contradicts(&self, header: &UnitHeader) -> bool {
        header.generation > self.generation && self.units.iter().any(|unit| unit.is_whole)
    }

    /// Takes the headers found so far for those of other places, if none is confirmed by its records, and an earlier filling
    /// is by its own.
    fn distrust_headers_alone(&mut self, earlier: Generation) {
        if self.units.iter().any(|unit| unit.is_whole) {
            return;
        }
        for unit in std::mem::take(&mut self.units) {
            self.miss_writes_of(unit.offset, &unit.header);
            let len_bytes = unit.header.unit_bytes();
            let error = refused("generation", unit.header.generation.get());
            let found = self.seqnos_in((unit.offset, unit.offset + len_bytes));
            self.gaps.push(Gap {
                offset: unit.offset,
                len_bytes,
                error,
                chain: Some((unit.offset, unit.offset + len_bytes)),
                found,
                complete_units: None,
            });
        }
        self.versions.iter_mut().for_each(|version| version.proof = Proof::Likely);
        self.generation = earlier;
    }

    /// The lowest and the highest seqno of the records that begin in a range of the zone.
    fn seqnos_in(&self, (start, end): (u64, u64)) -> Option<(SeqNo, SeqNo)> {
        let is_inside = |version: &&Version| (start..end).contains(&version.offset);
        let seqnos = || self.versions.iter().filter(is_inside).map(|version| version.seqno);
        seqnos().min().zip(seqnos().max())
    }

    /// Takes a record. `incarnation` is the run that wrote its unit, as far as that is known.
    pub(super) fn add(&mut self, record: &Encoded<'_>, proof: Proof, incarnation: u32) {
        let DecodedRecord { record: found, value_check, encoded_bytes } = record.decoded;
        let key_start = self.keys.len();
        self.keys.extend_from_slice(found.key);
        let head_bytes = (encoded_bytes - found.value.len()) as u64;
        self.versions.push(Version {
            seqno: found.seqno,
            kind: found.kind,
            group: found.group,
            zone: self.zone,
            offset: record.offset,
            value_at: record.offset + head_bytes,
            value_len: u32::try_from(found.value.len()).unwrap_or(u32::MAX),
            value_crc: record.value_crc,
            value_flaw: value_check.err(),
            proof,
            // Records in groups tell their run themselves.
            incarnation: found.group.map_or(incarnation, |group| group.incarnation),
            key_start,
            key_len: u16::try_from(found.key.len()).unwrap_or(u16::MAX),
        });
    }
}

/// Reads a zone. `store` is the store's name where it is known, `resets` how often the zone was reset.
pub(super) fn scan_zone(
    source: &Source,
    zone: ZoneId,
    store: Option<StoreId>,
    resets: Option<u32>,
    unreadable: &mut Unreadable,
) -> ZoneFound {
    let block = u64::from(source.sizes.block_bytes);
    let mut found = ZoneFound::new(zone);
    let mut window = Window::new(source, zone);
    let written = source.written_bytes(zone).unwrap_or(window.end);
    let mut gap: Option<(u64, DecodeError)> = None;
    let mut at = 0;
    while at < window.end {
        let bytes = window.from(at, MAX_UNIT_BYTES as usize);
        match whole_header(bytes, store, block) {
            Ok((header, unit_bytes)) => {
                let is_whole = header.records(&bytes[UNIT_HEADER_BYTES..unit_bytes]).is_some();
                let is_reset = resets.is_some_and(|resets| header.reset_count < resets);
                if is_whole && !is_reset && header.generation < found.generation {
                    found.distrust_headers_alone(header.generation);
                }
                let is_past = is_reset || header.generation < found.generation;
                let is_others =
                    !is_whole && (is_past || found.contradicts(&header) || is_foreign(&header, bytes, block));
                let unit = bytes[..if is_others { bytes.len() } else { unit_bytes }].to_vec();
                let used = if is_others {
                    if !is_past {
                        found.miss_writes_of(at, &header);
                    }
                    gap.get_or_insert((at, refused("place", header.unit.into())));
                    found.add_headless(at, &unit, block_len(block))
                } else if is_past {
                    gap.get_or_insert((at, refused("generation", header.generation.get())));
                    unit_bytes as u64
                } else {
                    if header.generation > found.generation {
                        found.begin(&header, &mut gap);
                    }
                    found.close_gap(gap.take(), at, block);
                    found.add_unit(at, &header, &unit);
                    unit_bytes as u64
                };
                at = (at + used).next_multiple_of(block);
            }
            Err(error) => {
                gap.get_or_insert((at, error));
                // Behind the write pointer there may be the rest of what an earlier filling has left.
                at = if at < written {
                    skip_block(&mut window, &mut found, at, block)
                } else {
                    window.next_data(at + block)
                };
            }
        }
    }
    found.close_gap(gap, window.end, block);
    unreadable.add(&window);
    found
}

const fn refused(field: &'static str, found: u64) -> DecodeError {
    DecodeError::Field { structure: "unit header", field, found }
}

/// Whether a header cannot be that of the records behind it: they go on over what it says is their end, or end before it, or
/// none of them is one of the writes that it tells of.
///
/// Only records that are whole count: a damaged one may look longer than it is.
fn is_foreign(header: &UnitHeader, bytes: &[u8], block: u64) -> bool {
    let body_end = UNIT_HEADER_BYTES + header.body_bytes as usize;
    let (mut position, mut count, mut told_count) = (UNIT_HEADER_BYTES, 0, 0);
    while let Some(rest) = bytes.get(position..)
        && let Ok(decoded) = Record::decode(rest)
        && decoded.value_check.is_ok()
    {
        (position, count) = (position + decoded.encoded_bytes, count + 1);
        told_count += u32::from((header.first_seqno..=header.last_seqno()).contains(&decoded.record.seqno));
    }
    if count == 0 {
        return false;
    }
    let block = usize::try_from(block).unwrap_or(1);
    let next = position.next_multiple_of(block);
    let ends_early =
        next < body_end && bytes.get(next..).is_some_and(|next| UnitHeader::decode(next).is_ok());
    let are_others = header.stream == StreamKind::User && told_count == 0;
    position > body_end || count > header.record_count || ends_early || are_others
}

/// Looks for records in a block that begins with no header, and gives where to go on.
fn skip_block(window: &mut Window<'_>, found: &mut ZoneFound, at: u64, block: u64) -> u64 {
    let next_data = window.next_data(at);
    if next_data > at {
        return next_data.next_multiple_of(block).min(window.end).max(at + block);
    }
    let bytes = window.from(at, MAX_UNIT_BYTES as usize);
    let block_len = block_len(block).min(bytes.len());
    if is_zero(&bytes[..block_len]) {
        return at + block;
    }
    let bytes = bytes[..bytes.len().min(MAX_UNIT_BYTES as usize)].to_vec();
    (at + found.add_headless(at, &bytes, block_len)).next_multiple_of(block)
}

fn block_len(block: u64) -> usize {
    usize::try_from(block).unwrap_or(usize::MAX)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// A header of the store that is looked for, and the length of its unit in whole blocks.
fn whole_header(
    bytes: &[u8],
    store: Option<StoreId>,
    block: u64,
) -> Result<(UnitHeader, usize), DecodeError> {
    let header = UnitHeader::decode(bytes)?;
    if store.is_some_and(|store| store != header.store) {
        return Err(refused("store id", 0));
    }
    let unit_bytes = usize::try_from(header.unit_bytes().next_multiple_of(block)).unwrap_or(usize::MAX);
    if unit_bytes > MAX_UNIT_BYTES as usize || unit_bytes > bytes.len() {
        return Err(refused("body length", u64::from(header.body_bytes)));
    }
    Ok((header, unit_bytes))
}

impl ZoneFound {
    fn close_gap(&mut self, gap: Option<(u64, DecodeError)>, end: u64, block: u64) {
        let chains = std::mem::take(&mut self.chains);
        let has_unknown_blocks = std::mem::take(&mut self.has_unknown_blocks);
        let Some((offset, error)) = gap else { return };
        let chain = chains.first().map(|first| (first.start, first.end));
        let found = chain.and_then(|chain| self.seqnos_in(chain));
        // One after the other, each from where a unit may begin to where it may end.
        let mut next = offset;
        let follow = chains.iter().all(|chain| {
            let follows = chain.start == next && chain.is_closed;
            next = chain.end.next_multiple_of(block);
            follows
        });
        let is_complete = !chains.is_empty() && follow && !has_unknown_blocks;
        let complete_units = is_complete.then_some(chains.len());
        self.gaps.push(Gap { offset, len_bytes: end - offset, error, chain, found, complete_units });
    }

    fn add_unit(&mut self, at: u64, header: &UnitHeader, unit: &[u8]) {
        let body_end = UNIT_HEADER_BYTES + header.body_bytes as usize;
        let body = UnitBody { header, at, bytes: &unit[..body_end.min(unit.len())] };
        let (records, holes) = body.records();
        let mut contents = ContentsChecksum::default();
        records.iter().for_each(|record| contents.add(&record.head_crc.to_le_bytes()));
        let contents_crc = contents.finish();
        let is_whole = holes.is_empty() && contents_crc == header.contents_crc;
        // Where no record is missing and yet they are not the unit's, it cannot be told which of them is another's.
        let proof = if is_whole || !holes.is_empty() { Proof::Proven } else { Proof::Likely };
        records.iter().for_each(|record| self.add(record, proof, header.incarnation));
        if !is_whole && holes.is_empty() {
            let error = DecodeError::Checksum {
                structure: "unit contents",
                found: contents_crc,
                expected: header.contents_crc,
            };
            self.holes.push(Hole {
                offset: at,
                len_bytes: header.unit_bytes(),
                error: format!("a record in it is not the one that was written: {error}"),
                seqnos: None,
                at_most: header.watermark.max(header.last_seqno()),
                torn: None,
                header: *header,
            });
        }
        let mut unmended = 0;
        for hole in &holes {
            if !self.mend(&body, hole, &records, holes.len() == 1) {
                unmended += 1;
            }
        }
        self.units.push(Unit {
            offset: at,
            header: *header,
            is_whole: is_whole || unmended == 0 && !holes.is_empty(),
        });
    }

    /// Puts a record right that is not whole, or notes it as a hole.
    fn mend(&mut self, body: &UnitBody<'_>, gap: &Missing, records: &[Encoded<'_>], is_only: bool) -> bool {
        let header = body.header;
        let heads: Vec<u32> = records.iter().map(|record| record.head_crc).collect();
        let start = body.at + gap.from as u64;
        let before = records.iter().take_while(|record| record.offset < start).count();
        let missing = u64::from(header.record_count).saturating_sub(records.len() as u64);
        // Where seqnos of other streams lie between, that of a record does not follow from its number.
        let in_order = header.stream == StreamKind::User && header.foreign_count == 0;
        let seqnos = (in_order && gap.index < gap.next_index).then(|| {
            (header.first_seqno.forward(gap.index), header.first_seqno.forward(gap.next_index).back(1))
        });
        let torn = (is_only && missing == 1).then(|| {
            let bytes = body.bytes[gap.from..gap.to].to_vec();
            let seqno = seqnos.map(|(first, _)| first);
            TornRecord::new(bytes, (&heads[..before], &heads[before..]), header.contents_crc, seqno)
        });
        let torn = torn.flatten();
        if let Some(mended) = torn.as_ref().and_then(TornRecord::mend)
            && let Ok(record) = Encoded::decode(&mended, start)
        {
            self.add(&record, Proof::Proven, header.incarnation);
            self.mended_count += 1;
            return true;
        }
        self.holes.push(Hole {
            offset: start,
            len_bytes: (gap.to - gap.from) as u64,
            error: gap.error.to_string(),
            seqnos,
            at_most: seqnos.map_or(header.watermark.max(header.last_seqno()), |(_, last)| last),
            torn,
            header: *header,
        });
        false
    }

    /// Notes the writes that a header tells of, though other records lie behind it: they must be somewhere.
    fn miss_writes_of(&mut self, at: u64, header: &UnitHeader) {
        if header.stream == StreamKind::User && header.record_count > 0 {
            self.holes.push(Hole {
                offset: at,
                len_bytes: header.unit_bytes(),
                error: "the unit's header is not that of the records behind it".to_owned(),
                seqnos: (header.foreign_count == 0).then(|| (header.first_seqno, header.last_seqno())),
                at_most: header.last_seqno(),
                torn: None,
                header: *header,
            });
        }
    }

    /// Takes a record that was put right after all.
    pub(super) fn add_mended(&mut self, mended: &[u8], offset: u64, incarnation: u32) -> bool {
        let Ok(record) = Encoded::decode(mended, offset) else { return false };
        self.add(&record, Proof::Proven, incarnation);
        self.mended_count += 1;
        true
    }

    /// Takes records that follow the place of a header, or begin anywhere in its block; gives how many bytes they take, up to
    /// the end of a block.
    fn add_headless(&mut self, at: u64, bytes: &[u8], block_len: usize) -> u64 {
        let mut position = self.add_chain(at, bytes, (0, UNIT_HEADER_BYTES));
        loop {
            let block_end = position.max(1).next_multiple_of(block_len).min(bytes.len());
            if position > 0 && is_zero(&bytes[position..block_end]) {
                if let Some(last) = self.chains.last_mut() {
                    last.is_closed = true;
                }
                return block_end as u64;
            }
            match self.add_anywhere(at, bytes, position..block_end) {
                Some(end) => position = end,
                None => {
                    self.has_unknown_blocks = true;
                    return block_end as u64;
                }
            }
        }
    }

    /// Takes records that follow one another from a place on, for a chain that begins at another; gives where they end, 0
    /// where there are none.
    fn add_chain(&mut self, at: u64, bytes: &[u8], (start, from): (usize, usize)) -> usize {
        let mut position = from;
        let incarnation = self.units.last().map_or(u32::MAX, |unit| unit.header.incarnation);
        while let Some(rest) = bytes.get(position..)
            && let Ok(record) = Encoded::decode(rest, at + position as u64)
        {
            self.add(&record, Proof::Likely, incarnation);
            position += record.decoded.encoded_bytes;
        }
        if position == from {
            return 0;
        }
        self.chains.push(Chain { start: at + start as u64, end: at + position as u64, is_closed: false });
        position
    }

    /// Takes the records from the first place on at which there is one; gives where they end.
    fn add_anywhere(&mut self, at: u64, bytes: &[u8], within: Range<usize>) -> Option<usize> {
        let mut starts = within.filter(|&start| looks_like_a_record(&bytes[start..]));
        starts.find_map(|start| Some(self.add_chain(at, bytes, (start, start))).filter(|&end| end > 0))
    }
}
