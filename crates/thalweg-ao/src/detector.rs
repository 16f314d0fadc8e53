//! A camera: photons in, counts out, with what makes calibration necessary.
//!
//! `counts = bias + gain * (Poisson(response * photons) + read noise)`, rounded and limited to 16
//! bits. Bias (a level, a pattern of columns and one of pixels) and response differ from pixel to
//! pixel and belong to the specimen.

use rand_distr::{Distribution, StandardNormal};

use crate::instrument_parameters::InstrumentParameters;
use crate::random::{Generator, Purpose, generator, poisson};

/// Counts at which the converter is full.
pub const FULL_SCALE_COUNTS: f32 = 65_535.0;

/// A detector of one specimen.
#[derive(Clone, Debug)]
pub struct Detector {
    bias_counts: Vec<f32>,
    response: Vec<f32>,
    read_noise_electrons: f32,
    counts_per_electron: f32,
}

impl Detector {
    /// The detector of `instrument`.
    pub fn new(instrument: &InstrumentParameters) -> Self {
        let side = instrument.image_side_px();
        let mut specimen = generator(instrument.seed, Purpose::Specimen, 1);
        let mut deviate = || -> f64 { StandardNormal.sample(&mut specimen) };
        // Read-out amplifiers belong to columns: half of the pattern's variance is theirs.
        let pattern = instrument.bias_pattern_rms_counts * std::f64::consts::FRAC_1_SQRT_2;
        let columns: Vec<f64> = (0..side).map(|_| pattern * deviate()).collect();
        let bias_counts = (0..side * side)
            .map(|index| {
                let bias = instrument.bias_counts + columns[index % side] + pattern * deviate();
                bias.max(0.0) as f32
            })
            .collect();
        let response = (0..side * side)
            // A pixel without response could not be calibrated.
            .map(|_| (1.0 + instrument.pixel_response_rms * deviate()).max(0.1) as f32)
            .collect();
        Self {
            bias_counts,
            response,
            read_noise_electrons: instrument.read_noise_electrons as f32,
            counts_per_electron: instrument.counts_per_electron as f32,
        }
    }

    /// Exposes to `photons` (mean per pixel) and reads `counts` out; whole numbers from 0 to
    /// [`FULL_SCALE_COUNTS`].
    pub(crate) fn expose(&self, photons: &[f32], noise: &mut Generator, counts: &mut [f32]) {
        // One pass for each kind of number is faster than one pass for all: the branches of the
        // two random distributions stay out of each other's way.
        for level in counts.iter_mut() {
            let read_noise: f32 = StandardNormal.sample(noise);
            *level = self.read_noise_electrons * read_noise;
        }
        for ((level, &photons), &response) in counts.iter_mut().zip(photons).zip(&self.response) {
            *level += poisson(noise, photons * response);
        }
        for (level, &bias) in counts.iter_mut().zip(&self.bias_counts) {
            let analog = (bias + self.counts_per_electron * *level).clamp(0.0, FULL_SCALE_COUNTS);
            // Truncation of a number that is not negative: rounding without a library call.
            *level = f32::from((analog + 0.5) as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_variance_follow_the_photon_transfer_curve() {
        let instrument = InstrumentParameters {
            subapertures: 2,
            ..Default::default()
        };
        let detector = Detector::new(&instrument);
        let pixels = 16 * 16;
        let frames = 4000;
        for photons in [0.0f32, 5.0, 100.0] {
            let mut sums = vec![0.0f64; pixels];
            let mut squares = vec![0.0f64; pixels];
            let mut counts = vec![0.0f32; pixels];
            for frame in 0..frames {
                let mut noise = generator(5, Purpose::ObservingNoise, frame);
                detector.expose(&vec![photons; pixels], &mut noise, &mut counts);
                for (index, &level) in counts.iter().enumerate() {
                    sums[index] += f64::from(level);
                    squares[index] += f64::from(level).powi(2);
                }
            }
            let mut ratio = 0.0;
            for index in 0..pixels {
                let mean = sums[index] / frames as f64;
                let variance = squares[index] / frames as f64 - mean * mean;
                let electrons = f64::from(photons * detector.response[index]);
                let expected = f64::from(detector.bias_counts[index]) + 2.0 * electrons;
                // Gain 2: 4 counts^2 per electron^2, plus 1/12 of rounding.
                let expected_variance = 4.0 * (electrons + 1.0) + 1.0 / 12.0;
                let error = 6.0 * (expected_variance / frames as f64).sqrt();
                assert!((mean - expected).abs() < error, "{mean} {expected}");
                ratio += variance / expected_variance / pixels as f64;
            }
            assert!((ratio - 1.0).abs() < 0.01, "{photons}: {ratio}");
        }
    }

    #[test]
    fn the_converter_saturates() {
        let instrument = InstrumentParameters {
            subapertures: 2,
            ..Default::default()
        };
        let mut counts = vec![0.0; 256];
        let mut noise = generator(5, Purpose::ObservingNoise, 0);
        Detector::new(&instrument).expose(&[1e6; 256], &mut noise, &mut counts);
        assert!(counts.iter().all(|level| *level == FULL_SCALE_COUNTS));
    }
}
