//! What a killed process had journaled: newer than anything in the zones, or the same. Pure.

use std::collections::BTreeMap;

use super::choose::{Chosen, Kept, KeptValue};
use crate::format::journal::groups;
use crate::format::record::RecordKind;
use crate::format::unit::StoreId;
use crate::units::SeqNo;

/// The newest write of a key in the journal.
struct Journaled {
    seqno: SeqNo,
    /// `None` for a delete.
    value: Option<Box<[u8]>>,
}

/// Puts what the journal has in the place of what is older; says of how many keys.
pub(super) fn take(area: &[u8], store: StoreId, chosen: &mut Chosen) -> usize {
    let mut newest: BTreeMap<Box<[u8]>, Journaled> = BTreeMap::new();
    for record in groups(area, store).iter().flatten() {
        let value = (record.kind != RecordKind::Delete).then(|| record.value.into());
        // A frame cut off by the kill may show the record of an earlier lap.
        if newest.get(record.key).is_none_or(|it| it.seqno < record.seqno) {
            newest.insert(record.key.into(), Journaled { seqno: record.seqno, value });
        }
    }
    newest.retain(|key, journaled| journaled.seqno > logged(chosen, key));
    let is_older = |key: &[u8], seqno: SeqNo| newest.get(key).is_some_and(|it| it.seqno >= seqno);
    chosen.lost.retain(|lost| !is_older(&lost.key, lost.seqno));
    chosen.doubtful.retain(|doubtful| !is_older(&doubtful.key, doubtful.seqno));
    chosen.kept.retain(|kept| !newest.contains_key(&kept.key));
    let count = newest.len();
    let written = newest.into_iter().filter_map(|(key, Journaled { value, .. })| Some((key, value?)));
    chosen.kept.extend(written.map(|(key, value)| Kept { key, value: KeptValue::Journaled(value) }));
    chosen.kept.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    count
}

/// The newest write of a key in the zones that is whole.
fn logged(chosen: &Chosen, key: &[u8]) -> SeqNo {
    let deleted = chosen.deleted.binary_search_by(|(deleted, _)| (**deleted).cmp(key));
    if let Ok(at) = deleted {
        return chosen.deleted[at].1;
    }
    let kept = chosen.kept.binary_search_by(|kept| (*kept.key).cmp(key));
    match kept.map(|at| &chosen.kept[at].value) {
        Ok(KeptValue::Logged(pieces)) => pieces.last().map_or(SeqNo::ZERO, |piece| piece.seqno),
        _ => SeqNo::ZERO,
    }
}
