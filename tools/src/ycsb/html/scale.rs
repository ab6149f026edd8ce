//! Axes: round numbers to mark, and how to write them.

use crate::size::human_bytes;

/// What a figure counts, which decides how it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A plain number: a count, a rate, a ratio.
    Number,
    /// Bytes.
    Bytes,
    /// Microseconds.
    Microseconds,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// What round numbers are round in: powers of 1024 for bytes, the next one from 1000 on, as four digits find no room.
    fn base(self, highest: f64) -> f64 {
        let power = ((highest.max(1.0) * 1.024).log2() / 10.0).floor().min(4.0);
        if self == Self::Bytes { 1024_f64.powf(power) } else { 1.0 }
    }

    /// A figure for people: three digits, and the unit.
    #[must_use]
    pub fn write(self, figure: f64) -> String {
        match self {
            Self::Number => number(figure),
            Self::Bytes => human_bytes(whole(figure)),
            Self::Microseconds if figure < 1_000.0 => format!("{} us", digits(figure)),
            Self::Microseconds if figure < 1_000_000.0 => format!("{} ms", digits(figure / 1_000.0)),
            Self::Microseconds => format!("{} s", digits(figure / 1_000_000.0)),
            Self::Seconds => format!("{} s", digits(figure)),
        }
    }
}

/// An axis from `low` to `high`, and what is marked on it.
#[derive(Clone, PartialEq, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// The figures to mark, rising.
    pub marks: Vec<f64>,
}

impl Axis {
    /// From 0 to a round number not below `highest`.
    #[must_use]
    pub fn linear(highest: f64, unit: Unit) -> Self {
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let base = unit.base(highest);
        let least = if unit == Unit::Bytes { 1.0 } else { 0.0 };
        let step = (round_step(highest / base / 4.0) * base).max(least);
        let count = (highest / step).ceil();
        let marks = (0..=16).map(f64::from).take_while(|mark| *mark <= count).map(|mark| mark * step);
        Self { low: 0.0, high: count * step, logarithmic: false, marks: marks.collect() }
    }

    /// From 0 to `highest` itself, round numbers marked.
    #[must_use]
    pub fn exact(highest: f64, unit: Unit) -> Self {
        let mut axis = Self::linear(highest, unit);
        axis.high = if highest > 0.0 { highest } else { 1.0 };
        axis.marks.retain(|mark| *mark <= axis.high);
        axis
    }

    /// Whole powers of ten around `lowest` and `highest`, both above 0.
    #[must_use]
    pub fn logarithmic(lowest: f64, highest: f64) -> Self {
        let first = lowest.max(1e-3).log10().floor();
        let last = highest.max(1e-3).log10().ceil().max(first + 1.0);
        let marks = (0..=18).map(|step| first + f64::from(step)).take_while(|power| *power <= last);
        let marks = marks.map(|power| 10_f64.powf(power)).collect();
        Self { low: first, high: last, logarithmic: true, marks }
    }

    /// Where a figure lies, 0 at the low end and 1 at the high one.
    #[must_use]
    pub fn place(&self, figure: f64) -> f64 {
        let figure = if self.logarithmic { figure.max(1e-9).log10() } else { figure };
        ((figure - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= least).unwrap_or(least)
}

fn number(figure: f64) -> String {
    match figure.abs() {
        size if size >= 999_500_000.0 => format!("{} G", digits(figure / 1e9)),
        size if size >= 999_500.0 => format!("{} M", digits(figure / 1e6)),
        size if size >= 9_999.5 => format!("{} k", digits(figure / 1e3)),
        _ => digits(figure),
    }
}

/// Three digits, more for whole numbers, without zeros that say nothing.
fn digits(figure: f64) -> String {
    let text = match figure.abs() {
        size if size >= 99.95 => format!("{figure:.0}"),
        size if size >= 9.995 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; it saturates")]
fn whole(figure: f64) -> u64 {
    figure.round() as u64
}

#[cfg(test)]
mod tests {
    use super::{Axis, Unit};

    #[test]
    fn an_axis_marks_round_numbers_up_to_beyond_the_highest() {
        assert_eq!(Axis::linear(87_000.0, Unit::Number).marks, [0.0, 50_000.0, 100_000.0]);
        assert_eq!(Axis::linear(1.9, Unit::Number).marks, [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(Axis::linear(0.0, Unit::Bytes).marks, [0.0, 1.0]);
        let half = f64::from(512 << 20);
        assert_eq!(Axis::linear(1000.0 * 1048576.0, Unit::Bytes).marks, [0.0, half, 2.0 * half]);
        assert_eq!(Axis::linear(3.0 * 1048576.0, Unit::Bytes).marks, [0.0, 1048576.0, 2097152.0, 3145728.0]);
        assert_eq!(Axis::exact(87.0, Unit::Seconds).marks, [0.0, 50.0]);
        assert_eq!(Axis::logarithmic(3.0, 420.0).marks, [1.0, 10.0, 100.0, 1000.0]);
    }

    #[test]
    fn figures_lie_between_the_ends_of_their_axis() {
        let linear = Axis::linear(100.0, Unit::Number);
        assert_eq!((linear.place(0.0), linear.place(50.0), linear.place(1000.0)), (0.0, 0.5, 1.0));
        let logarithmic = Axis::logarithmic(1.0, 100.0);
        assert!((logarithmic.place(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(logarithmic.place(0.0).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn figures_are_written_with_three_digits_and_their_unit() {
        for (unit, figure, text) in [
            (Unit::Number, 0.0, "0"),
            (Unit::Number, 1.256, "1.26"),
            (Unit::Number, 9_999.0, "9999"),
            (Unit::Number, 123_456.0, "123 k"),
            (Unit::Number, 2_500_000.0, "2.5 M"),
            (Unit::Microseconds, 12.34, "12.3 us"),
            (Unit::Microseconds, 4_100.0, "4.1 ms"),
            (Unit::Microseconds, 2e6, "2 s"),
            (Unit::Seconds, 90.0, "90 s"),
            (Unit::Bytes, 1_572_864.0, "1.5 MiB"),
        ] {
            assert_eq!(unit.write(figure), text);
        }
    }
}
