//! Seeded random numbers: generators that do not depend on each other, and Poisson deviates.

use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

/// The generator of all random numbers here.
pub(crate) type Generator = Pcg64Mcg;

/// What a generator is for; each purpose has numbers of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The phase screen.
    Turbulence = 1,
    /// Lenslets and pixels of this specimen.
    Specimen = 2,
    /// Photon and read noise while observing.
    ObservingNoise = 3,
    /// Photon and read noise while calibrating.
    CalibrationNoise = 4,
}

/// The generator for `purpose` and `frame`. Noise of a frame depends on seed and frame only, not
/// on how many numbers earlier frames took.
pub(crate) fn generator(seed: u64, purpose: Purpose, frame: u64) -> Generator {
    let mixed = mix(mix(mix(seed) ^ purpose as u64) ^ frame);
    Generator::seed_from_u64(mixed)
}

/// Finaliser of splitmix64 (Steele, Lea & Flood, 2014): a bijection that spreads every bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// From this mean on, [`poisson`] approximates.
const LARGE_MEAN: f64 = 32.0;

/// Reciprocals of 1, 2, 3, ... for the inversion; it never gets this far below [`LARGE_MEAN`].
const RECIPROCALS: [f64; 256] = {
    let mut table = [0.0; 256];
    let mut index = 0;
    while index < 256 {
        table[index] = 1.0 / (index + 1) as f64;
        index += 1;
    }
    table
};

/// A Poisson deviate of `mean`; 0 for a mean that is not positive.
///
/// Below a mean of 32 by inversion of the distribution function: exact up to the 53 bits of the
/// uniform deviate. From 32 on the normal deviate z with the skewness put back (Cornish & Fisher,
/// 1937), `round(mean + sqrt(mean) z + (z^2 - 1) / 6)`: mean, variance and skewness are right to
/// order 1/mean, and the distribution function deviates by 0.0004 at 32 and by less above.
#[inline]
pub(crate) fn poisson(generator: &mut Generator, mean: f32) -> f32 {
    let mean = f64::from(mean);
    if mean >= LARGE_MEAN {
        let z: f64 = StandardNormal.sample(generator);
        let deviate = mean + mean.sqrt() * z + (z * z - 1.0) / 6.0;
        // Truncation of a number that is not negative: rounding without a library call.
        return (deviate.max(0.0) + 0.5) as u64 as f32;
    }
    if mean.is_nan() || mean <= 0.0 {
        return 0.0;
    }
    let uniform: f64 = generator.random();
    // 1 - mean <= exp(-mean): most pixels are dark, and need no exponential to stay so.
    if uniform <= 1.0 - mean {
        return 0.0;
    }
    let mut probability = (-mean).exp();
    let mut cumulative = probability;
    let mut count = 0;
    while uniform > cumulative && count < RECIPROCALS.len() {
        probability *= mean * RECIPROCALS[count];
        cumulative += probability;
        count += 1;
    }
    count as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest difference of the empirical and the true distribution function, and the number of
    /// deviates it comes from.
    fn largest_deviation(mean: f64) -> (f64, usize) {
        let draws = 400_000;
        let mut generator = generator(11, Purpose::ObservingNoise, mean.to_bits());
        let mut histogram = vec![0usize; (mean + 20.0 * mean.sqrt() + 20.0) as usize];
        for _ in 0..draws {
            histogram[poisson(&mut generator, mean as f32) as usize] += 1;
        }
        let mean = f64::from(mean as f32);
        let mut log_probability = -mean;
        let (mut expected, mut found, mut largest) = (0.0, 0.0, 0.0f64);
        for (count, &occurrences) in histogram.iter().enumerate() {
            if count > 0 {
                log_probability += (mean / count as f64).ln();
            }
            expected += log_probability.exp();
            found += occurrences as f64 / draws as f64;
            largest = largest.max((found - expected).abs());
        }
        (largest, draws)
    }

    #[test]
    fn distribution_is_poisson_s() {
        for mean in [0.003, 0.2, 0.9, 3.7, 12.0, 31.9] {
            let (deviation, draws) = largest_deviation(mean);
            // Kolmogorov's statistic stays below 2 / sqrt(n) in all but 7 of 10,000 runs; the
            // seed is fixed.
            let bound = 2.0 / (draws as f64).sqrt();
            assert!(deviation < bound, "mean {mean}: {deviation} >= {bound}");
        }
        for mean in [32.0, 50.0, 200.0, 4000.0] {
            let (deviation, draws) = largest_deviation(mean);
            let bound = 0.0005 + 2.0 / (draws as f64).sqrt();
            println!("mean {mean}: distribution function within {deviation:.5}");
            assert!(deviation < bound, "mean {mean}: {deviation} >= {bound}");
        }
    }

    #[test]
    fn means_without_meaning_give_no_photons() {
        let mut generator = generator(1, Purpose::ObservingNoise, 0);
        for mean in [0.0, -3.0, f32::NAN, f32::NEG_INFINITY] {
            assert_eq!(poisson(&mut generator, mean), 0.0);
        }
    }

    #[test]
    fn generators_differ_by_seed_purpose_and_frame() {
        let first = |seed, purpose, frame| -> u64 { generator(seed, purpose, frame).random() };
        let numbers = [
            first(1, Purpose::ObservingNoise, 1),
            first(2, Purpose::ObservingNoise, 1),
            first(1, Purpose::CalibrationNoise, 1),
            first(1, Purpose::ObservingNoise, 2),
        ];
        for (index, number) in numbers.iter().enumerate() {
            assert!(!numbers[..index].contains(number));
        }
        assert_eq!(numbers[0], first(1, Purpose::ObservingNoise, 1));
    }
}
