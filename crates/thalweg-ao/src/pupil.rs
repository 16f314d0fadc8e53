//! The telescope's pupil: where phase counts, and how much light each subaperture gets.

use crate::instrument_parameters::InstrumentParameters;

/// Samples of the phase across one subaperture. Subapertures share the samples on their common
/// edge, so that a pupil of `n` subapertures has `4 n + 1` samples across.
pub const SAMPLES_PER_SUBAPERTURE: usize = 4;

/// Points per axis at which a subaperture is tested for being lit.
const ILLUMINATION_POINTS: usize = 16;

/// An annular pupil on the sample grid of the phase.
#[derive(Clone, Debug)]
pub struct Pupil {
    samples_across: usize,
    /// First and one-past-last lit sample of each stretch, over the flat grid.
    stretches: Vec<(usize, usize)>,
    lit_samples: usize,
    illumination: Vec<f32>,
}

impl Pupil {
    /// The pupil of `instrument`.
    pub fn new(instrument: &InstrumentParameters) -> Self {
        let subapertures = instrument.subapertures;
        let samples_across = subapertures * SAMPLES_PER_SUBAPERTURE + 1;
        let annulus = Annulus {
            outer_radius: subapertures as f64 / 2.0,
            inner_radius: subapertures as f64 / 2.0 * instrument.central_obstruction,
        };
        let mut stretches: Vec<(usize, usize)> = Vec::new();
        let mut lit_samples = 0;
        for row in 0..samples_across {
            for column in 0..samples_across {
                let at = |index: usize| index as f64 / SAMPLES_PER_SUBAPERTURE as f64;
                if !annulus.contains(at(row), at(column)) {
                    continue;
                }
                lit_samples += 1;
                let index = row * samples_across + column;
                match stretches.last_mut() {
                    Some((_, end)) if *end == index => *end += 1,
                    _ => stretches.push((index, index + 1)),
                }
            }
        }
        let illumination = (0..subapertures * subapertures)
            .map(|index| annulus.lit_fraction(index / subapertures, index % subapertures))
            .collect();
        Self {
            samples_across,
            stretches,
            lit_samples,
            illumination,
        }
    }

    /// Samples of the phase across the pupil.
    pub fn samples_across(&self) -> usize {
        self.samples_across
    }

    /// Lit fraction of every subaperture, row by row, from 0 to 1.
    pub fn illumination(&self) -> &[f32] {
        &self.illumination
    }

    /// Variance of `phase` (row by row, `samples_across` squared) over the lit samples with the
    /// mean over the pupil (piston) removed; in the square of the phase's unit.
    pub fn variance(&self, phase: &[f32]) -> f64 {
        let mut sum = 0.0;
        let mut sum_of_squares = 0.0;
        for &(start, end) in &self.stretches {
            for &sample in &phase[start..end] {
                let sample = f64::from(sample);
                sum += sample;
                sum_of_squares += sample * sample;
            }
        }
        let count = self.lit_samples as f64;
        // Rounding may leave a constant phase a hair below zero.
        (sum_of_squares / count - (sum / count).powi(2)).max(0.0)
    }
}

/// Ring around the centre of the pupil; lengths in subapertures.
struct Annulus {
    outer_radius: f64,
    inner_radius: f64,
}

impl Annulus {
    fn contains(&self, row: f64, column: f64) -> bool {
        let radius = (row - self.outer_radius).hypot(column - self.outer_radius);
        // Half a millionth of a subaperture keeps the samples on the rim in.
        radius <= self.outer_radius + 5e-7 && radius >= self.inner_radius
    }

    fn lit_fraction(&self, row: usize, column: usize) -> f32 {
        let inside = |index: usize, point: usize| {
            index as f64 + (point as f64 + 0.5) / ILLUMINATION_POINTS as f64
        };
        let lit = (0..ILLUMINATION_POINTS * ILLUMINATION_POINTS)
            .filter(|point| {
                let (down, right) = (point / ILLUMINATION_POINTS, point % ILLUMINATION_POINTS);
                self.contains(inside(row, down), inside(column, right))
            })
            .count();
        lit as f32 / (ILLUMINATION_POINTS * ILLUMINATION_POINTS) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lit_area_is_that_of_the_annulus() {
        let instrument = InstrumentParameters {
            central_obstruction: 0.3,
            ..Default::default()
        };
        let pupil = Pupil::new(&instrument);
        let area: f32 = pupil.illumination().iter().sum();
        let expected = std::f32::consts::PI / 4.0 * 256.0 * (1.0 - 0.3f32.powi(2));
        assert!((area - expected).abs() < 0.005 * expected, "{area}");
        let samples = pupil.lit_samples as f32 / 16.0;
        assert!((samples - expected).abs() < 0.03 * expected, "{samples}");
    }

    #[test]
    fn variance_ignores_piston_and_what_lies_outside() {
        let pupil = Pupil::new(&InstrumentParameters::default());
        let across = pupil.samples_across();
        let mut phase = vec![3.0f32; across * across];
        assert!(pupil.variance(&phase) < 1e-9);
        phase[0] = 1e6; // a corner is dark
        assert!(pupil.variance(&phase) < 1e-9);
        // A tilt a*x over a disc of radius R has variance a^2 R^2 (1 + e^2) / 4.
        let half = (across - 1) as f32 / 2.0;
        for (index, sample) in phase.iter_mut().enumerate() {
            *sample = 10.0 + ((index % across) as f32 - half) / half;
        }
        let expected = (1.0 + 0.14f64.powi(2)) / 4.0;
        let found = pupil.variance(&phase);
        assert!((found - expected).abs() < 0.03 * expected, "{found}");
    }
}
