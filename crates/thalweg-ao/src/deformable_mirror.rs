//! A continuous deformable mirror with Gaussian influence functions in Fried geometry.
//!
//! An actuator sits at every corner of a subaperture (D. Fried, 1977). Pushing one by `c` raises
//! the surface at distance `r` by `c * coupling^((r / pitch)^2)`: the actuator's own height at its
//! place, `coupling` times it at the nearest neighbours. The exponent is a sum over the axes, so
//! the surface is a product `P C P^T` of the command grid C with one-dimensional profiles P, which
//! costs a few microseconds where a sum over influence functions would cost milliseconds.
//!
//! Light meets the surface twice: a stroke s turns the phase by `2 * 2 pi / wavelength * s`.

use crate::instrument_parameters::InstrumentParameters;
use crate::pupil::SAMPLES_PER_SUBAPERTURE;

/// The mirror, on the sample grid of the phase.
#[derive(Clone, Debug)]
pub struct DeformableMirror {
    actuators_across: usize,
    samples_across: usize,
    /// Height at every sample of a row under every actuator of the row: samples x actuators.
    profiles: Vec<f32>,
    /// The same, transposed.
    profiles_by_actuator: Vec<f32>,
    radians_per_um: f32,
    /// Commands after the first product: actuator rows x samples.
    rows: Vec<f32>,
}

impl DeformableMirror {
    /// The mirror of `instrument`.
    pub fn new(instrument: &InstrumentParameters) -> Self {
        let actuators_across = instrument.actuators_across();
        let samples_across = instrument.subapertures * SAMPLES_PER_SUBAPERTURE + 1;
        let mut profiles = vec![0.0; samples_across * actuators_across];
        let mut profiles_by_actuator = profiles.clone();
        for sample in 0..samples_across {
            for actuator in 0..actuators_across {
                let distance = sample as f64 / SAMPLES_PER_SUBAPERTURE as f64 - actuator as f64;
                let height = instrument.actuator_coupling.powf(distance * distance) as f32;
                profiles[sample * actuators_across + actuator] = height;
                profiles_by_actuator[actuator * samples_across + sample] = height;
            }
        }
        let radians_per_um = 2.0 * std::f64::consts::TAU * 1e-6 / instrument.wavelength_m();
        Self {
            actuators_across,
            samples_across,
            profiles,
            profiles_by_actuator,
            radians_per_um: radians_per_um as f32,
            rows: vec![0.0; actuators_across * samples_across],
        }
    }

    /// Takes the phase the mirror adds at `commands_um` (stroke of every actuator in micrometres,
    /// row by row) away from `phase` (radians, row by row).
    pub fn correct(&mut self, commands_um: &[f32], phase: &mut [f32]) {
        let commands = commands_um.chunks_exact(self.actuators_across);
        for (row, commands) in self
            .rows
            .chunks_exact_mut(self.samples_across)
            .zip(commands)
        {
            row.fill(0.0);
            let profiles = self.profiles_by_actuator.chunks_exact(self.samples_across);
            for (&command, profile) in commands.iter().zip(profiles) {
                accumulate(row, command * self.radians_per_um, profile);
            }
        }
        let weights = self.profiles.chunks_exact(self.actuators_across);
        for (phase, weights) in phase.chunks_exact_mut(self.samples_across).zip(weights) {
            for (&weight, row) in weights
                .iter()
                .zip(self.rows.chunks_exact(self.samples_across))
            {
                accumulate(phase, -weight, row);
            }
        }
    }
}

/// `sum += factor * values`.
fn accumulate(sum: &mut [f32], factor: f32, values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn surface(commands_um: &[f32]) -> Vec<f32> {
        let instrument = InstrumentParameters {
            subapertures: 4,
            ..Default::default()
        };
        let mut phase = vec![0.0; 17 * 17];
        DeformableMirror::new(&instrument).correct(commands_um, &mut phase);
        phase
    }

    #[test]
    fn one_actuator_raises_a_gaussian() {
        let mut commands = [0.0; 25];
        commands[5 + 3] = 0.1; // row 1, column 3
        let phase = surface(&commands);
        // 0.1 um of stroke at 800 nm: a quarter of a wave, pi / 2, taken away.
        let peak = -std::f64::consts::FRAC_PI_2;
        for (index, &found) in phase.iter().enumerate() {
            let (row, column) = (index / 17, index % 17);
            let squared = (row as f64 / 4.0 - 1.0).powi(2) + (column as f64 / 4.0 - 3.0).powi(2);
            let expected = peak * 0.25f64.powf(squared);
            assert!((f64::from(found) - expected).abs() < 1e-6, "{row} {column}");
        }
    }

    proptest! {
        #[test]
        fn the_mirror_is_linear(
            first in proptest::collection::vec(-5.0f32..5.0, 25),
            second in proptest::collection::vec(-5.0f32..5.0, 25),
            factor in -3.0f32..3.0,
        ) {
            let mixed: Vec<f32> = first.iter().zip(&second).map(|(a, b)| a + factor * b).collect();
            let expected = surface(&first);
            let (second, mixed) = (surface(&second), surface(&mixed));
            for (index, found) in mixed.iter().enumerate() {
                let expected = expected[index] + factor * second[index];
                prop_assert!((found - expected).abs() < 2e-3, "{found} {expected}");
            }
        }
    }
}
