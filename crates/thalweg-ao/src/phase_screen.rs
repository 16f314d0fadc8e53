//! A frozen screen of von Karman turbulence that the wind carries across the pupil.
//!
//! The screen is the real part of the discrete Fourier transform of complex white noise filtered
//! by the square root of the von Karman power spectrum of the phase,
//!
//! ```text
//! W(f) = 0.0229 r0^(-5/3) (f^2 + 1/L0^2)^(-11/6)       [rad^2 m^2, f in cycles per metre]
//! ```
//!
//! (J.-M. Conan, "Modelisation des effets de l'echelle externe de coherence spatiale du front
//! d'onde", 2000; the Fourier method: B. McGlamery, 1976). Such a screen is periodic, which is
//! what a wind that never ends needs, but lacks what is coarser than its side: Lane, Glindemann &
//! Dainty (1992) add sub-harmonics for that, which would break the period. Here the side is at
//! least four outer scales instead. There the spectrum is flat already, and the missing zero
//! frequency holds 1.7 % of the variance, nearly all of it piston, which no sensor sees.
//!
//! Values between samples are interpolated by cubic convolution (R. Keys, 1981), which at
//! sub-sample offsets keeps more of the fine structure than linear interpolation does. All points of the pupil share
//! one offset, so the weights are computed once per frame.

use rand_distr::{Distribution, StandardNormal};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex32;

use crate::random::{Purpose, generator};

/// Largest side of a screen: 64 MiB of samples, 128 MiB more while it is made.
pub(crate) const LARGEST_SIDE_SAMPLES: usize = 4096;

/// Samples beyond the window that cubic interpolation touches.
const CUBIC_MARGIN: usize = 3;

/// A periodic square of phase in radians.
#[derive(Clone, Debug)]
pub struct PhaseScreen {
    side: usize,
    window: usize,
    /// Row pitch of `samples`: the side plus its first columns again, so that a window never wraps.
    pitch: usize,
    samples: Vec<f32>,
    /// Rows of the window after interpolation along the rows.
    rows: Vec<f32>,
}

/// Side of a screen in samples, a power of two, for pupils of `diameter_m`.
pub(crate) fn side_samples(outer_scale_m: f64, diameter_m: f64, spacing_m: f64) -> usize {
    let needed = (4.0 * outer_scale_m.max(diameter_m) / spacing_m).ceil();
    // The conversion saturates; the limit on the side then reports it.
    (needed.min(1e9) as usize).next_power_of_two()
}

impl PhaseScreen {
    /// A screen of `side` x `side` samples `spacing_m` apart, for windows of `window` samples
    /// across. `side` is a power of two and at least `window`; `r0_m` and `outer_scale_m` in
    /// metres; equal seeds give equal screens.
    pub fn new(
        r0_m: f64,
        outer_scale_m: f64,
        spacing_m: f64,
        side: usize,
        window: usize,
        seed: u64,
    ) -> Self {
        assert!(side.is_power_of_two() && window <= side, "{window} {side}");
        let spectrum = filtered_noise(r0_m, outer_scale_m, spacing_m, side, seed);
        let phase = transform(spectrum, side);
        let margin = window + CUBIC_MARGIN;
        let pitch = side + margin;
        let mut samples = vec![0.0; side * pitch];
        for (padded, row) in samples
            .chunks_exact_mut(pitch)
            .zip(phase.chunks_exact(side))
        {
            for (column, sample) in padded.iter_mut().enumerate() {
                *sample = row[column % side].re;
            }
        }
        Self {
            side,
            window,
            pitch,
            samples,
            rows: vec![0.0; margin * window],
        }
    }

    /// Samples across the screen.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Sample at `row` and `column` modulo the side, in radians.
    pub fn sample(&self, row: usize, column: usize) -> f32 {
        self.samples[row % self.side * self.pitch + column % self.side]
    }

    /// Interpolates the window whose first sample lies at (`row`, `column`), in samples and modulo
    /// the side, into `phase`: row by row, window x window.
    pub fn window_into(&mut self, row: f64, column: f64, phase: &mut [f32]) {
        let (first_row, row_weights) = self.split(row);
        let (first_column, column_weights) = self.split(column);
        for (index, out) in self.rows.chunks_exact_mut(self.window).enumerate() {
            let start = (first_row + index) % self.side * self.pitch + first_column;
            let source = &self.samples[start..start + self.window + CUBIC_MARGIN];
            combine(source, 1, column_weights, out);
        }
        for (index, out) in phase.chunks_exact_mut(self.window).enumerate() {
            combine(
                &self.rows[index * self.window..],
                self.window,
                row_weights,
                out,
            );
        }
    }

    /// First of the four samples around `position`, modulo the side, and their weights.
    fn split(&self, position: f64) -> (usize, [f32; 4]) {
        let wrapped = position.rem_euclid(self.side as f64);
        let whole = wrapped.floor();
        let weights = cubic_weights(wrapped - whole);
        let first = (whole as usize + self.side - 1) % self.side;
        (first, weights)
    }
}

/// `out[i]` = weighted sum of `source` at i, i + step, i + 2 step, i + 3 step.
fn combine(source: &[f32], step: usize, weights: [f32; 4], out: &mut [f32]) {
    let count = out.len();
    let taps: [&[f32]; 4] = std::array::from_fn(|tap| &source[tap * step..tap * step + count]);
    for (index, value) in out.iter_mut().enumerate() {
        *value = weights[0] * taps[0][index]
            + weights[1] * taps[1][index]
            + weights[2] * taps[2][index]
            + weights[3] * taps[3][index];
    }
}

/// Weights of the samples at -1, 0, 1, 2 for a value at `t` in 0..1: Keys' kernel with a = -1/2.
fn cubic_weights(t: f64) -> [f32; 4] {
    [
        (t * (-0.5 + t * (1.0 - 0.5 * t))) as f32,
        (1.0 + t * t * (-2.5 + 1.5 * t)) as f32,
        (t * (0.5 + t * (2.0 - 1.5 * t))) as f32,
        (t * t * (-0.5 + 0.5 * t)) as f32,
    ]
}

/// Amplitudes of every spatial frequency; zero frequency first, negative ones in the upper half.
fn filtered_noise(
    r0_m: f64,
    outer_scale_m: f64,
    spacing_m: f64,
    side: usize,
    seed: u64,
) -> Vec<Complex32> {
    let mut noise = generator(seed, Purpose::Turbulence, 0);
    let step = 1.0 / (side as f64 * spacing_m);
    let frequency = |index: usize| {
        let signed = if index < side / 2 {
            index as f64
        } else {
            index as f64 - side as f64
        };
        signed * step
    };
    let floor = outer_scale_m.powi(-2);
    let scale = (0.0229 * r0_m.powf(-5.0 / 3.0)).sqrt() * step;
    let mut amplitudes = Vec::with_capacity(side * side);
    for row in 0..side {
        let row_squared = frequency(row).powi(2);
        for column in 0..side {
            let squared = row_squared + frequency(column).powi(2);
            let deviation = scale * (squared + floor).powf(-11.0 / 12.0);
            let (re, im): (f64, f64) = (
                StandardNormal.sample(&mut noise),
                StandardNormal.sample(&mut noise),
            );
            amplitudes.push(Complex32::new(
                (deviation * re) as f32,
                (deviation * im) as f32,
            ));
        }
    }
    amplitudes[0] = Complex32::default();
    amplitudes
}

/// Two-dimensional Fourier transform, transposed; the spectrum and the noise do not mind.
fn transform(mut data: Vec<Complex32>, side: usize) -> Vec<Complex32> {
    let fft = FftPlanner::new().plan_fft_inverse(side);
    fft.process(&mut data);
    for row in 0..side {
        for column in row + 1..side {
            data.swap(row * side + column, column * side + row);
        }
    }
    fft.process(&mut data);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACING_M: f64 = 0.1;
    const R0_M: f64 = 0.2;
    const OUTER_SCALE_M: f64 = 12.8;
    const SIDE: usize = 512;

    fn screen(seed: u64) -> PhaseScreen {
        PhaseScreen::new(R0_M, OUTER_SCALE_M, SPACING_M, SIDE, 33, seed)
    }

    /// Mean squared phase difference at `shift` samples along both axes.
    fn structure_function(screen: &PhaseScreen, shift: usize) -> f64 {
        let mut sum = 0.0;
        for row in 0..SIDE {
            for column in 0..SIDE {
                let here = screen.sample(row, column);
                sum += f64::from(screen.sample(row + shift, column) - here).powi(2);
                sum += f64::from(screen.sample(row, column + shift) - here).powi(2);
            }
        }
        sum / (2 * SIDE * SIDE) as f64
    }

    /// Modified Bessel function of the second kind, from its integral over exp(-x cosh t).
    fn bessel_k(order: f64, x: f64) -> f64 {
        let step = 1e-3;
        (0..20_000)
            .map(|index| (f64::from(index) + 0.5) * step)
            .map(|t| (-x * t.cosh()).exp() * (order * t).cosh() * step)
            .sum()
    }

    /// Von Karman structure function of the phase (Conan 2000; Assemat & Wilson 2006):
    /// twice the variance minus twice the covariance, from the same spectrum in closed form.
    fn von_karman(distance_m: f64) -> f64 {
        // Gamma(11/6), Gamma(5/6), Gamma(6/5)
        let (gamma_11_6, gamma_5_6, gamma_6_5): (f64, f64, f64) =
            (0.940_655_858_253, 1.128_787_029_908, 0.918_168_742_400);
        let scale = (OUTER_SCALE_M / R0_M).powf(5.0 / 3.0) * 2.0f64.powf(1.0 / 6.0) * gamma_11_6
            / std::f64::consts::PI.powf(8.0 / 3.0)
            * (24.0 / 5.0 * gamma_6_5).powf(5.0 / 6.0);
        let x = std::f64::consts::TAU * distance_m / OUTER_SCALE_M;
        scale * (gamma_5_6 / 2.0f64.powf(1.0 / 6.0) - x.powf(5.0 / 6.0) * bessel_k(5.0 / 6.0, x))
    }

    #[test]
    fn structure_function_is_von_karman_s() {
        // Ten separations within the pupil and beyond the outer scale; the mean over screens
        // because one screen holds only some 16 independent patches of the coarse scales.
        let screens: Vec<PhaseScreen> = (0..6).map(screen).collect();
        for shift in [2, 4, 8, 16, 32, 64, 128] {
            let found = screens
                .iter()
                .map(|screen| structure_function(screen, shift))
                .sum::<f64>()
                / screens.len() as f64;
            let expected = von_karman(shift as f64 * SPACING_M);
            let ratio = found / expected;
            println!("shift {shift}: {found:.2} of {expected:.2} rad^2, ratio {ratio:.3}");
            assert!((0.94..1.06).contains(&ratio), "shift {shift}: {ratio}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_screens() {
        assert_eq!(screen(3).samples, screen(3).samples);
        assert_ne!(screen(3).samples, screen(4).samples);
    }

    #[test]
    fn whole_offsets_are_the_samples_across_the_seam_too() {
        let mut screen = screen(1);
        let mut phase = vec![0.0; 33 * 33];
        screen.window_into(-5.0, 500.0, &mut phase);
        for (index, value) in phase.iter().enumerate() {
            let (row, column) = (SIDE - 5 + index / 33, 500 + index % 33);
            assert_eq!(*value, screen.sample(row, column));
        }
        let mut again = vec![0.0; 33 * 33];
        screen.window_into(-5.0 + 4.0 * SIDE as f64, 500.0 - SIDE as f64, &mut again);
        assert_eq!(phase, again);
    }

    #[test]
    fn interpolation_is_exact_for_a_parabola() {
        // Keys' kernel reproduces polynomials up to the second degree.
        for t in [0.0, 0.25, 0.5, 0.9] {
            let weights = cubic_weights(t);
            for power in 0..=2 {
                let sum: f64 = [-1.0f64, 0.0, 1.0, 2.0]
                    .iter()
                    .zip(weights)
                    .map(|(x, weight)| f64::from(weight) * x.powi(power))
                    .sum();
                assert!((sum - t.powi(power)).abs() < 1e-6, "{t} {power} {sum}");
            }
        }
    }
}
