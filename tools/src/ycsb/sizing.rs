//! How large a new store is made, where that is asked for by the share of it that the records are to fill.
//!
//! A store holds a number of zones back: with few zones they are a large share. So zones are made small enough for there to
//! be many, and what cannot be reached is refused before anything is loaded.

use zonal::CleaningPolicy;
use zonal_engine::engine::GeometryWishes;

use super::usage::UsageError;
use crate::size::human_bytes;

/// So many zones at least, where their size is left to us: what a store holds back is a small share of them then.
const ENOUGH_ZONES: u32 = 256;
/// No smaller zones than this are chosen; the store itself takes little less.
const LEAST_ZONE_BYTES: u64 = 128 << 10;

/// Sizes of a store that is created; `None` leaves one to the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// What all zones together hold.
    pub capacity_bytes: Option<u64>,
    /// From one zone start to the next.
    pub zone_size_bytes: Option<u64>,
}

/// The share of a new store that is to be filled, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Filling {
    /// Live bytes by what all zones hold.
    pub share: f64,
    /// What the loaded records take.
    pub data_bytes: u64,
    /// It decides how many zones are being filled at a time, and those hold little.
    pub policy: CleaningPolicy,
}

impl Filling {
    /// Sizes of a store that is filled so far, in zones of the given size or of one that is chosen.
    ///
    /// # Errors
    ///
    /// When no such store takes the records.
    pub fn sizes(&self, zone_size_bytes: Option<u64>) -> Result<Sizes, UsageError> {
        let capacity_bytes = scaled(self.data_bytes, 1.0 / self.share);
        let mut wishes = GeometryWishes {
            capacity_bytes: Some(capacity_bytes),
            zone_size_bytes,
            ..GeometryWishes::default()
        };
        loop {
            let geometry = wishes.emulated().map_err(|error| UsageError::new(error.to_string()))?;
            let zone_bytes = geometry.zone_size_bytes;
            // Too few zones for a store take nothing.
            let limit_bytes = wishes.emulated_with_live_limit(self.policy).map_or(0, |(_, limit)| limit);
            let is_reached = self.data_bytes <= limit_bytes;
            let is_smallest = zone_size_bytes.is_some() || zone_bytes / 2 < LEAST_ZONE_BYTES;
            if is_reached && (is_smallest || geometry.zone_count >= ENOUGH_ZONES) {
                let capacity_bytes = Some(capacity_bytes);
                return Ok(Sizes { capacity_bytes, zone_size_bytes: Some(zone_bytes) });
            }
            if is_smallest {
                let most = limit_bytes as f64 / geometry.capacity_bytes() as f64;
                return Err(self.refusal(zone_size_bytes, geometry.zone_count, zone_bytes, most));
            }
            wishes.zone_size_bytes = Some(zone_bytes / 2);
        }
    }

    fn refusal(&self, asked: Option<u64>, zone_count: u32, zone_bytes: u64, most: f64) -> UsageError {
        let zones = format!("{zone_count} zones of {}", human_bytes(zone_bytes));
        let remedy = match asked {
            Some(_) => "use a smaller --zone-size, or none, load more records, or ask for less",
            None => "load more records, or ask for less",
        };
        // Rounded down: what is told must be possible.
        let most = (most * 100.0).floor() / 100.0;
        UsageError::new(format!(
            "--utilisation {} cannot be reached: the records make {zones}, of which live data can fill {most:.2}, the \
             rest being held in reserve; {remedy}",
            self.share
        ))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; it saturates")]
fn scaled(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor).ceil() as u64
}

#[cfg(test)]
mod tests {
    use zonal::CleaningPolicy;

    use super::{Filling, LEAST_ZONE_BYTES};

    const MIB: u64 = 1 << 20;

    fn filling(share: f64, data_mib: u64) -> Filling {
        Filling { share, data_bytes: data_mib * MIB, policy: CleaningPolicy::default() }
    }

    #[test]
    fn zones_are_halved_until_there_are_enough_of_them() {
        let chosen = |data_mib| filling(0.5, data_mib).sizes(None).unwrap().zone_size_bytes.unwrap();
        assert_eq!(chosen(2048), 16 * MIB, "256 zones of the store's own size");
        assert_eq!(chosen(2040), 8 * MIB);
        assert_eq!(chosen(200), MIB);
        assert_eq!(chosen(10), LEAST_ZONE_BYTES, "no smaller");
    }

    #[test]
    fn more_zones_are_made_where_fewer_would_not_take_so_much() {
        let sizes = filling(0.9, 3687).sizes(None).unwrap();
        assert_eq!(sizes.zone_size_bytes, Some(8 * MIB), "256 zones take 0.87");
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_what_can() {
        let refused =
            |share, zone_size_bytes| filling(share, 512).sizes(zone_size_bytes).unwrap_err().to_string();
        let by_zone_size = refused(0.8, Some(16 * MIB));
        assert!(
            by_zone_size.contains("40 zones of 16.0 MiB") && by_zone_size.contains("smaller --zone-size")
        );
        let outright = refused(0.95, None);
        assert!(outright.contains("load more records") && !outright.contains("--zone-size"), "{outright}");
        let too_few = refused(0.8, Some(512 * MIB));
        assert!(too_few.contains("2 zones of 512.0 MiB"), "{too_few}");
        assert!(filling(0.8, 512).sizes(Some(0)).unwrap_err().to_string().contains("0 bytes"));
    }
}
