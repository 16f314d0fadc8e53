//! The random numbers of NumPy's `default_rng(seed)`, bit for bit: a pipeline's data can be made
//! again, and checked, from Python.
//!
//! `SeedSequence` spreads the seed, PCG64 (O'Neill 2014: a 128-bit linear congruential generator
//! with permuted output) makes bits, and the ziggurat method (Marsaglia & Tsang 2000, with 256
//! layers) makes normally distributed numbers of them.

mod pcg64;
mod seed_sequence;
mod ziggurat;

use pcg64::Pcg64;

/// What `numpy.random.default_rng(seed)` returns.
#[derive(Clone, Debug)]
pub struct Generator {
    bits: Pcg64,
}

impl Generator {
    /// The generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            bits: Pcg64::new(seed_sequence::pcg64_seed(seed)),
        }
    }

    /// As `random()`: evenly distributed from 0 up to, but not including, 1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits.next_u64() >> 11) as f64 * 2f64.powi(-53)
    }

    /// As `standard_normal(dtype=float64)`: mean 0, variance 1.
    pub fn standard_normal_f64(&mut self) -> f64 {
        ziggurat::normal_f64(&mut self.bits)
    }

    /// As `standard_normal(dtype=float32)`: mean 0, variance 1. Not the rounded double: these
    /// numbers take half the bits.
    pub fn standard_normal_f32(&mut self) -> f32 {
        ziggurat::normal_f32(&mut self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One number for a sequence of bits (FNV-1a over 64-bit words).
    fn digest(words: impl Iterator<Item = u64>) -> u64 {
        words.fold(0xcbf2_9ce4_8422_2325, |hash, word| {
            (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// `default_rng(0).standard_normal(4)` of NumPy 2.4.
    #[test]
    fn begins_like_numpy() {
        let mut generator = Generator::new(0);
        let doubles: Vec<f64> = (0..4).map(|_| generator.standard_normal_f64()).collect();
        assert_eq!(
            doubles,
            [
                0.1257302210933933,
                -0.1321048632913019,
                0.6404226504432821,
                0.10490011715303971
            ]
        );
        let mut generator = Generator::new(0);
        let singles: Vec<f32> = (0..4).map(|_| generator.standard_normal_f32()).collect();
        assert_eq!(Generator::new(0).uniform(), 0.6369616873214543);
        assert_eq!(singles, [1.117622, -1.3871249, -0.4265716, -0.80358726]);
    }

    /// A million numbers each, of `standard_normal(1_000_000, dtype)` of NumPy 2.4: layers, wedges
    /// and tails all occur.
    #[test]
    fn continues_like_numpy() {
        for (seed, doubles, singles) in [
            (0, 0x3426_3581_aeed_4943, 0x6a34_5d00_ebf6_9093),
            (1, 0xd162_458c_9a73_046b, 0xedde_de51_334a_df34),
            (12345, 0x26d6_1913_08ce_b2a4, 0x7902_7885_5ec0_041f),
            (4294967303, 0x590a_c68c_c68b_f0e1, 0x5329_7ead_1cfa_6993),
            (
                18446744073709551615,
                0x6539_be7e_f9b8_bdce,
                0x6319_56aa_eea0_16fe,
            ),
        ] {
            let mut generator = Generator::new(seed);
            let found = digest((0..1_000_000).map(|_| generator.standard_normal_f64().to_bits()));
            assert_eq!(found, doubles, "doubles of seed {seed}");
            let mut generator = Generator::new(seed);
            let found =
                digest((0..1_000_000).map(|_| generator.standard_normal_f32().to_bits().into()));
            assert_eq!(found, singles, "singles of seed {seed}");
        }
    }
}
