//! Random numbers that a seed decides, the same ones with every version of every library: a seed found today must give
//! the same run in a year. (SplitMix64 by Steele, Lea and Flood.)

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number below `bound`; 0 where there is none.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.number() % bound }
    }

    /// An index into something of this length.
    #[expect(clippy::cast_possible_truncation, reason = "below a usize")]
    pub const fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True `parts` times in `of`.
    pub const fn chance(&mut self, parts: u64, of: u64) -> bool {
        self.below(of) < parts
    }

    /// Another stream, which goes its own way.
    #[must_use]
    pub const fn fork(&mut self) -> Self {
        Self(self.number())
    }
}

/// A number in which every bit depends on every bit of `number`.
#[must_use]
pub const fn mixed(number: u64) -> u64 {
    let mut mixed = number;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
