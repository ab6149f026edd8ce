//! Sizes in bytes as people write and read them: `4096`, `16MiB`, `1 GiB`.

/// What each name of a unit stands for. A bare letter means the power of 1024, as `dd` has it.
const UNITS: [(&[&str], u64); 10] = [
    (&["tib", "t"], 1 << 40),
    (&["tb"], 1_000_000_000_000),
    (&["gib", "g"], 1 << 30),
    (&["gb"], 1_000_000_000),
    (&["mib", "m"], 1 << 20),
    (&["mb"], 1_000_000),
    (&["kib", "k"], 1 << 10),
    (&["kb"], 1_000),
    (&["b"], 1),
    (&[""], 1),
];

/// Reads a size: digits, then nothing for bytes, `KiB`, `MiB`, `GiB`, `TiB` (or their first letter) for powers of
/// 1024, `kB`, `MB`, `GB`, `TB` for powers of 1000. Case does not matter, and `_` may group digits.
///
/// # Errors
///
/// A sentence that says what was wrong, for a command line to show.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let unit = unit.trim().to_ascii_lowercase();
    let number: u64 = digits.replace('_', "").parse().map_err(|_| {
        format!("'{text}' is not a size; write bytes, or a whole number with KiB, MiB or GiB")
    })?;
    let scale =
        UNITS.iter().find(|(names, _)| names.contains(&unit.as_str())).map(|(_, bytes)| *bytes).ok_or_else(
            || format!("'{unit}' is not a unit of size; use KiB, MiB, GiB, TiB, kB, MB, GB or TB"),
        )?;
    number.checked_mul(scale).ok_or_else(|| format!("'{text}' does not fit 64 bits"))
}

/// Writes a size for people: three digits or so, in powers of 1024.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const NAMED: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match NAMED.iter().find(|(_, scale)| bytes >= *scale) {
        Some((name, scale)) => format!("{:.1} {name}", bytes as f64 / *scale as f64),
        None => format!("{bytes} B"),
    }
}

/// Writes a count for people, its digits in groups of three.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{grouped, human_bytes, parse_bytes};

    #[test]
    fn a_size_is_read_in_every_unit() {
        for (text, bytes) in [
            ("4096", 4096),
            ("4k", 4096),
            ("16MiB", 16 << 20),
            ("16 mib", 16 << 20),
            ("1GB", 1_000_000_000),
            ("2T", 2 << 40),
            ("1_000", 1000),
            ("7B", 7),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused_with_its_own_text() {
        for text in ["", "MiB", "12 parsecs", "-1", "1.5GiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        assert!(parse_bytes("99999999999TiB").unwrap_err().contains("64 bits"));
    }

    #[test]
    fn sizes_and_counts_are_printed_for_people() {
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(3 << 30), "3.0 GiB");
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
