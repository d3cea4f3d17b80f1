//! Seeded values that are the same on every machine and for ever: blake2b-256 of (seed, counter).

use parity_scale_codec::Encode as _;
use sp_core::H256;
use sp_runtime::traits::{BlakeTwo256, Hash as _};

/// A stream of values behind a seed.
pub struct Random {
    seed: u64,
    count: u64,
}

impl Random {
    /// Every test begins with one of these, with `suri::theirs` or with `vectors::judge`: what it makes of the values goes by
    /// the family's tables, which have to be there first.
    pub fn new(seed: u64) -> Self {
        signonce_substrate::install();
        Self { seed, count: 0 }
    }

    pub fn block(&mut self) -> [u8; 32] {
        self.count += 1;
        BlakeTwo256::hash(&(self.seed, self.count).encode()).0
    }

    pub fn hash(&mut self) -> H256 {
        H256(self.block())
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 32);
        while out.len() < len {
            out.extend_from_slice(&self.block());
        }
        out.truncate(len);
        out
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(*self.block().first_chunk().expect("32 bytes hold 8"))
    }

    /// A number of any magnitude, its edges more often than chance has them.
    pub fn number(&mut self, max: u64) -> u64 {
        let value = match self.below(8) {
            0 => 0,
            1 => max,
            _ => self.u64() >> self.below(64),
        };
        value.min(max)
    }

    pub fn u32(&mut self) -> u32 {
        self.number(u32::MAX.into()) as u32
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.u64() % end
    }

    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
