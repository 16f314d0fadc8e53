//! How NumPy spreads a small seed over the state of a generator.

const WORDS: usize = 4;

/// A word whitened with a constant that changes from call to call.
struct Hash {
    constant: u32,
    multiplier: u32,
}

impl Hash {
    fn mix_in(&mut self, word: u32) -> u32 {
        let word = word ^ self.constant;
        self.constant = self.constant.wrapping_mul(self.multiplier);
        let word = word.wrapping_mul(self.constant);
        word ^ word >> 16
    }
}

fn combine(x: u32, y: u32) -> u32 {
    let word = 0xca01_f9ddu32
        .wrapping_mul(x)
        .wrapping_sub(0x4973_f715u32.wrapping_mul(y));
    word ^ word >> 16
}

/// `SeedSequence(seed).generate_state(4, uint64)`.
pub(super) fn pcg64_seed(seed: u64) -> [u64; 4] {
    // Seeds of one and two words fill up to the pool's four with zeros.
    let entropy = [seed as u32, (seed >> 32) as u32, 0, 0];
    let mut hash = Hash {
        constant: 0x43b0_d7e5,
        multiplier: 0x931e_8875,
    };
    let mut pool = entropy.map(|word| hash.mix_in(word));
    for source in 0..WORDS {
        for target in (0..WORDS).filter(|&target| target != source) {
            pool[target] = combine(pool[target], hash.mix_in(pool[source]));
        }
    }

    let mut hash = Hash {
        constant: 0x8b51_f9dd,
        multiplier: 0x58f3_8ded,
    };
    let mut words = (0..2 * WORDS).map(|index| u64::from(hash.mix_in(pool[index % WORDS])));
    std::array::from_fn(|_| {
        let low = words.next().unwrap_or(0);
        let high = words.next().unwrap_or(0);
        high << 32 | low
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SeedSequence(seed).generate_state(4, uint64)` of NumPy 2.4.
    #[test]
    fn spreads_like_numpy() {
        assert_eq!(
            pcg64_seed(0),
            [
                0xdb2c_d7e7_b0f4_78be,
                0xabf4_641a_2c71_ba49,
                0x20c6_ed6d_9d7b_8d41,
                0x2c40_99de_223c_39d4
            ]
        );
        assert_eq!(
            pcg64_seed(1099511627779),
            [
                0x5418_c9b7_a646_74f4,
                0x6b87_af38_305b_b452,
                0x67a7_79a8_6253_d291,
                0x35c1_4f1e_d476_091f
            ]
        );
    }
}
