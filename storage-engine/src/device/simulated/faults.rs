//! Which commands a simulated device has fail, and how often.

/// Parts in 65,536 of the commands of a kind that fail. What fails is limited so that what is promised stays possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Appends that end with an error; what they were to write may be there, or part of it, or nothing.
    pub append: u32,
    /// Flushes that end with an error. What they should have covered is what it is on the media when the device is next
    /// opened.
    pub flush: u32,
    /// Reads that end with an error.
    pub read: u32,
    /// Reads that give other blocks than were asked for.
    pub misdirected: u32,
    /// Zones that cannot be made ready.
    pub prepare: u32,
}

impl Faults {
    /// Whether anything fails.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::NONE
    }

    /// None at all.
    pub const NONE: Self = Self { append: 0, flush: 0, read: 0, misdirected: 0, prepare: 0 };
}
