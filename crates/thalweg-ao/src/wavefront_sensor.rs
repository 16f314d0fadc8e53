//! The optics of a Shack-Hartmann sensor: a phase in, the mean photons of every pixel out.
//!
//! A lenslet turns the mean gradient of the phase over its subaperture into the place of a spot.
//! The mean of a derivative over a square is the mean over the far edge minus the mean over the
//! near edge, divided by the side, so only samples on the edges count (trapezoid rule along them).
//! The spot is a Gaussian of the given width, sampled at the pixel centres; from a full width of
//! one pixel up its centre of gravity is true to better than a hundredth of a pixel, and what
//! falls beyond the subaperture's pixels is lost, as behind a field stop. The exposure is a
//! snapshot: the phase does not move while the frame is exposed.

use rand_distr::{Distribution, StandardNormal};

use crate::instrument_parameters::InstrumentParameters;
use crate::pupil::{Pupil, SAMPLES_PER_SUBAPERTURE};
use crate::random::{Purpose, generator};

/// Lenslet array and spots.
#[derive(Clone, Debug)]
pub struct WavefrontSensor {
    subapertures: usize,
    pixels: usize,
    samples_across: usize,
    /// Pixels per radian of difference between the edge means.
    px_per_edge_difference: f32,
    /// Misalignment of every lenslet, rows then columns, in pixels.
    offsets_px: Vec<[f32; 2]>,
    /// Lit fraction of every subaperture.
    illumination: Vec<f32>,
    /// Of the Gaussian: 1 / (2 sigma^2) and 1 / (2 pi sigma^2), in pixels.
    spot_exponent: f32,
    spot_peak: f32,
}

impl WavefrontSensor {
    /// The sensor of `instrument` behind `pupil`.
    pub fn new(instrument: &InstrumentParameters, pupil: &Pupil) -> Self {
        let mut specimen = generator(instrument.seed, Purpose::Specimen, 0);
        let mut offset = || {
            let deviate: f64 = StandardNormal.sample(&mut specimen);
            (instrument.lenslet_offset_rms_px * deviate) as f32
        };
        let offsets_px = (0..instrument.subapertures.pow(2))
            .map(|_| [offset(), offset()])
            .collect();
        // Full width at half maximum = 2 sqrt(2 ln 2) sigma.
        let variance = instrument.spot_fwhm_px.powi(2) / (8.0 * std::f64::consts::LN_2);
        Self {
            subapertures: instrument.subapertures,
            pixels: instrument.pixels_per_subaperture,
            samples_across: pupil.samples_across(),
            px_per_edge_difference: (instrument.px_per_gradient() / instrument.subaperture_m())
                as f32,
            offsets_px,
            illumination: pupil.illumination().to_vec(),
            spot_exponent: (0.5 / variance) as f32,
            spot_peak: (1.0 / (std::f64::consts::TAU * variance)) as f32,
        }
    }

    /// Mean photons of every pixel, row by row, for `phase` in radians and `photons` in a fully
    /// lit subaperture.
    pub fn image_into(&self, phase: &[f32], photons: f32, image: &mut [f32]) {
        let width = self.subapertures * self.pixels;
        let mut vertical = [0.0; MAXIMUM_PIXELS];
        let mut horizontal = [0.0; MAXIMUM_PIXELS];
        for row in 0..self.subapertures {
            for column in 0..self.subapertures {
                let index = row * self.subapertures + column;
                let lit = self.illumination[index];
                let displacement = if lit > 0.0 {
                    self.displacement_px(phase, row, column)
                } else {
                    [0.0; 2]
                };
                let offset = self.offsets_px[index];
                let vertical = &mut vertical[..self.pixels];
                let horizontal = &mut horizontal[..self.pixels];
                let flux = photons * lit * self.spot_peak;
                self.profile(displacement[0] + offset[0], flux, vertical);
                self.profile(displacement[1] + offset[1], 1.0, horizontal);
                let first = row * self.pixels * width + column * self.pixels;
                for (line, &down) in vertical.iter().enumerate() {
                    let start = first + line * width;
                    let pixels = &mut image[start..start + self.pixels];
                    for (pixel, &right) in pixels.iter_mut().zip(horizontal.iter()) {
                        *pixel = down * right;
                    }
                }
            }
        }
    }

    /// Displacement of the spot of a subaperture by `phase`, along rows and columns, in pixels.
    fn displacement_px(&self, phase: &[f32], row: usize, column: usize) -> [f32; 2] {
        const STEPS: usize = SAMPLES_PER_SUBAPERTURE;
        let across = self.samples_across;
        let first = row * STEPS * across + column * STEPS;
        let edge_mean = |start: usize, step: usize| {
            let inner: f32 = (1..STEPS).map(|index| phase[start + index * step]).sum();
            (0.5 * (phase[start] + phase[start + STEPS * step]) + inner) / STEPS as f32
        };
        let down = edge_mean(first + STEPS * across, 1) - edge_mean(first, 1);
        let right = edge_mean(first + STEPS, across) - edge_mean(first, across);
        [
            down * self.px_per_edge_difference,
            right * self.px_per_edge_difference,
        ]
    }

    /// `peak` times the Gaussian centred `displacement_px` from the middle of the pixels.
    fn profile(&self, displacement_px: f32, peak: f32, values: &mut [f32]) {
        let centre = displacement_px + (self.pixels as f32 - 1.0) / 2.0;
        for (index, value) in values.iter_mut().enumerate() {
            let distance = index as f32 - centre;
            *value = peak * (-self.spot_exponent * distance * distance).exp();
        }
    }
}

/// Most pixels across one subaperture.
const MAXIMUM_PIXELS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn sensor() -> (InstrumentParameters, WavefrontSensor) {
        let instrument = InstrumentParameters {
            central_obstruction: 0.0,
            lenslet_offset_rms_px: 0.0,
            ..Default::default()
        };
        let pupil = Pupil::new(&instrument);
        let sensor = WavefrontSensor::new(&instrument, &pupil);
        (instrument, sensor)
    }

    /// Flux and centre of gravity, from the middle, of a subaperture's pixels.
    fn centroid(image: &[f32], row: usize, column: usize) -> [f32; 3] {
        let (mut sum, mut down, mut right) = (0.0, 0.0, 0.0);
        for line in 0..8 {
            for pixel in 0..8 {
                let value = image[(row * 8 + line) * 128 + column * 8 + pixel];
                sum += value;
                down += value * (line as f32 - 3.5);
                right += value * (pixel as f32 - 3.5);
            }
        }
        [sum, down / sum, right / sum]
    }

    #[test]
    fn a_tilt_moves_every_spot_by_the_optics_law() {
        let (instrument, sensor) = sensor();
        let across = sensor.samples_across;
        // 1.2 rad per metre along columns, -2 rad per metre along rows.
        let phase: Vec<f32> = (0..across * across)
            .map(|index| {
                let at = |index: usize| index as f64 * instrument.sample_spacing_m();
                (1.2 * at(index % across) - 2.0 * at(index / across)) as f32
            })
            .collect();
        let mut image = vec![0.0; 128 * 128];
        sensor.image_into(&phase, 1000.0, &mut image);
        let [flux, down, right] = centroid(&image, 8, 5);
        let scale = instrument.px_per_gradient() as f32;
        assert!((flux - 1000.0).abs() < 2.0, "{flux}");
        assert!((down + 2.0 * scale).abs() < 2e-3, "{down}");
        assert!((right - 1.2 * scale).abs() < 2e-3, "{right}");
        let [dark, ..] = centroid(&image, 0, 0);
        assert_eq!(dark, 0.0, "the corner lies outside the pupil");
    }

    #[test]
    fn displacement_is_linear_in_the_phase() {
        let (_, sensor) = sensor();
        let across = sensor.samples_across;
        let bumps: Vec<f32> = (0..across * across)
            .map(|index| (index as f32 * 0.37).sin())
            .collect();
        let doubled: Vec<f32> = bumps.iter().map(|phase| 2.0 * phase).collect();
        for (row, column) in [(0, 3), (7, 7), (15, 9)] {
            let once = sensor.displacement_px(&bumps, row, column);
            let twice = sensor.displacement_px(&doubled, row, column);
            for axis in 0..2 {
                assert!((twice[axis] - 2.0 * once[axis]).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_spot_beyond_the_field_stop_leaves_no_light_and_no_nan() {
        let (_, sensor) = sensor();
        let across = sensor.samples_across;
        let phase: Vec<f32> = (0..across * across)
            .map(|index| (index % across) as f32 * 1e4)
            .collect();
        let mut image = vec![f32::NAN; 128 * 128];
        sensor.image_into(&phase, 1000.0, &mut image);
        assert!(image.iter().all(|photons| *photons == 0.0));
    }
}
