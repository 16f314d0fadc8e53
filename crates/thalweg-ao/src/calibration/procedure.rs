//! The steps of a calibration: darks, flats, references, pokes, inversion.

use nalgebra::{DMatrix, DVector};
use thalweg_kernels::{NodeError, SourceContext};

use super::centroids::Centroids;
use super::parameters::Parameters;
use crate::detector::FULL_SCALE_COUNTS;
use crate::instrument::Instrument;
use crate::random::{Purpose, generator};
use crate::reconstructor::{ReconstructorError, reconstructor};

/// What a calibration finds; arrays as published.
#[derive(Debug)]
pub(super) struct CalibrationData {
    pub(super) dark: Vec<f32>,
    pub(super) inverse_flat: Vec<f32>,
    pub(super) reconstructor: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// Why a calibration ended early.
pub(super) enum Interruption {
    Stopped,
    Failed(NodeError),
}

impl From<NodeError> for Interruption {
    fn from(error: NodeError) -> Self {
        Self::Failed(error)
    }
}

impl From<String> for Interruption {
    fn from(message: String) -> Self {
        Self::Failed(NodeError::Failed(message))
    }
}

/// A calibration under way.
pub(super) struct Procedure<'a> {
    parameters: &'a Parameters,
    context: &'a dyn SourceContext,
    instrument: Instrument,
    centroids: Centroids,
    exposures: u64,
    dark: Vec<f32>,
    inverse_flat: Vec<f32>,
    /// One corrected image and its slopes.
    image: Vec<f32>,
    slopes: Vec<f32>,
}

/// What the detector is exposed to.
#[derive(Clone, Copy)]
enum Light {
    Even(f32),
    PointSource(f32),
}

impl<'a> Procedure<'a> {
    /// A calibration with `parameters` that ends early when `context` wants to stop.
    pub(super) fn new(
        parameters: &'a Parameters,
        context: &'a dyn SourceContext,
    ) -> Result<Self, Interruption> {
        let instrument = &parameters.instrument;
        let pixels = instrument.image_side_px().pow(2);
        let centroids = Centroids::new(instrument.subapertures, instrument.pixels_per_subaperture)
            .map_err(|problems| {
                let messages: Vec<String> = problems
                    .into_iter()
                    .map(|problem| problem.message)
                    .collect();
                format!("the centroid kernel refuses: {}", messages.join("; "))
            })?;
        Ok(Self {
            parameters,
            context,
            instrument: Instrument::new(instrument),
            centroids,
            exposures: 0,
            dark: vec![0.0; pixels],
            inverse_flat: vec![1.0; pixels],
            image: vec![0.0; pixels],
            slopes: vec![0.0; instrument.slope_count()],
        })
    }

    /// Calibrates.
    pub(super) fn run(mut self) -> Result<CalibrationData, Interruption> {
        let (light, frames) = (Light::Even(0.0), self.parameters.dark_frames);
        self.dark = self.mean_counts(light, frames, "dark_frames")?;
        let (light, frames) = (
            Light::Even(self.parameters.flat_photons),
            self.parameters.flat_frames,
        );
        let flat = self.mean_counts(light, frames, "flat_photons_per_pixel")?;
        self.inverse_flat = inverse_flat(&flat, &self.dark)?;

        let commands = vec![0.0; self.parameters.instrument.actuator_count()];
        self.set_mirror(&commands);
        self.leave_dark_subapertures_out()?;
        let reference = self.mean_slopes(self.parameters.reference_frames)?;
        let interaction = self.interaction_matrix(commands)?;
        let inverse = reconstructor(
            &interaction,
            self.parameters.minimum_response,
            self.parameters.regularisation,
        )
        .map_err(|error| match error {
            ReconstructorError::NoResponse => "no subaperture answers to any actuator: raise \
                parameters.poke_um or lower parameters.minimum_flux"
                .to_owned(),
            ReconstructorError::Singular => "the interaction matrix cannot be inverted: raise \
                parameters.regularisation"
                .to_owned(),
        })?;
        let bias = &inverse * reference;
        Ok(CalibrationData {
            dark: self.dark,
            inverse_flat: self.inverse_flat,
            // Stored by columns, published by rows.
            reconstructor: inverse.transpose().iter().map(|g| -*g as f32).collect(),
            bias: bias.iter().map(|b| *b as f32).collect(),
        })
    }

    /// Counts of the next exposure.
    fn expose(&mut self, light: Light) -> Result<&[f32], Interruption> {
        if self.context.stop_requested() {
            return Err(Interruption::Stopped);
        }
        self.exposures += 1;
        let seed = self.parameters.instrument.seed;
        let mut noise = generator(seed, Purpose::CalibrationNoise, self.exposures);
        Ok(match light {
            Light::Even(photons) => self.instrument.expose_evenly(photons, &mut noise),
            Light::PointSource(photons) => self.instrument.observe(photons, &mut noise),
        })
    }

    fn mean_counts(
        &mut self,
        light: Light,
        frames: u64,
        parameter: &str,
    ) -> Result<Vec<f32>, Interruption> {
        let mut sums = vec![0.0f64; self.dark.len()];
        for _ in 0..frames {
            for (sum, &counts) in sums.iter_mut().zip(self.expose(light)?) {
                if counts >= FULL_SCALE_COUNTS {
                    return Err(saturated(parameter).into());
                }
                *sum += f64::from(counts);
            }
        }
        Ok(sums
            .iter()
            .map(|sum| (sum / frames as f64) as f32)
            .collect())
    }

    /// Exposes to the calibration source and corrects for dark and flat, into `image`.
    fn corrected_image(&mut self) -> Result<(), Interruption> {
        self.expose(Light::PointSource(self.parameters.source_photons))?;
        let corrections = self.dark.iter().zip(&self.inverse_flat);
        let counts = self.instrument.counts().iter();
        for ((image, &counts), (&dark, &inverse_flat)) in
            self.image.iter_mut().zip(counts).zip(corrections)
        {
            if counts >= FULL_SCALE_COUNTS {
                return Err(saturated("source_photons_per_subaperture").into());
            }
            *image = (counts - dark) * inverse_flat;
        }
        Ok(())
    }

    /// Zeroes the inverse flat of every subaperture that gets too little light.
    fn leave_dark_subapertures_out(&mut self) -> Result<(), Interruption> {
        self.corrected_image()?;
        let across = self.parameters.instrument.subapertures;
        let pixels = self.parameters.instrument.pixels_per_subaperture;
        let subaperture_of = |pixel: usize| {
            (pixel / (across * pixels) / pixels) * across + pixel % (across * pixels) / pixels
        };
        let mut flux = vec![0.0f64; across * across];
        for (pixel, &level) in self.image.iter().enumerate() {
            flux[subaperture_of(pixel)] += f64::from(level);
        }
        let threshold = self.parameters.minimum_flux * flux.iter().copied().fold(0.0, f64::max);
        for (pixel, inverse_flat) in self.inverse_flat.iter_mut().enumerate() {
            if flux[subaperture_of(pixel)] < threshold {
                *inverse_flat = 0.0;
            }
        }
        Ok(())
    }

    fn set_mirror(&mut self, commands_um: &[f32]) {
        self.instrument.phase_mut().fill(0.0);
        self.instrument.correct(commands_um);
    }

    fn mean_slopes(&mut self, frames: u64) -> Result<DVector<f64>, Interruption> {
        let mut sums = DVector::zeros(self.slopes.len());
        for _ in 0..frames {
            self.corrected_image()?;
            self.centroids.slopes_into(&self.image, &mut self.slopes)?;
            for (sum, &slope) in sums.iter_mut().zip(&self.slopes) {
                *sum += f64::from(slope);
            }
        }
        Ok(sums / frames as f64)
    }

    /// Pixels of every slope per micrometre of every actuator, by pushing and pulling each.
    fn interaction_matrix(&mut self, mut commands: Vec<f32>) -> Result<DMatrix<f64>, Interruption> {
        let Parameters {
            poke_um,
            poke_frames,
            ..
        } = *self.parameters;
        let mut interaction = DMatrix::zeros(self.slopes.len(), commands.len());
        for actuator in 0..commands.len() {
            commands[actuator] = poke_um;
            self.set_mirror(&commands);
            let pushed = self.mean_slopes(poke_frames)?;
            commands[actuator] = -poke_um;
            self.set_mirror(&commands);
            let pulled = self.mean_slopes(poke_frames)?;
            commands[actuator] = 0.0;
            let response = (pushed - pulled) / (2.0 * f64::from(poke_um));
            interaction.set_column(actuator, &response);
        }
        Ok(interaction)
    }
}

fn saturated(parameter: &str) -> String {
    format!(
        "the detector saturates at {FULL_SCALE_COUNTS} counts: lower parameters.{parameter} or \
         parameters.instrument.counts_per_electron"
    )
}

/// Mean response divided by each pixel's own; 0 for a pixel that does not answer to light.
fn inverse_flat(flat: &[f32], dark: &[f32]) -> Result<Vec<f32>, Interruption> {
    let light: Vec<f64> = flat
        .iter()
        .zip(dark)
        .map(|(flat, dark)| f64::from(*flat) - f64::from(*dark))
        .collect();
    let mean = light.iter().sum::<f64>() / light.len() as f64;
    if mean <= 0.0 {
        let message = "flats are no brighter than darks: raise parameters.flat_photons_per_pixel";
        return Err(message.to_owned().into());
    }
    Ok(light
        .iter()
        .map(|&light| {
            if light > 0.0 {
                (mean / light) as f32
            } else {
                0.0
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::Alone;
    use super::*;
    use serde_json::{Value, json};

    fn parameters(value: Value) -> Parameters {
        let (parameters, problems) = Parameters::read(value.as_object().unwrap());
        assert_eq!(problems, []);
        parameters
    }

    fn small_telescope() -> Parameters {
        parameters(json!({
            "instrument": {"subapertures": 8, "diameter_m": 4.0, "central_obstruction": 0.0}
        }))
    }

    fn calibrate(parameters: &Parameters) -> CalibrationData {
        match Procedure::new(parameters, &Alone { stop: false }).and_then(|p| p.run()) {
            Ok(data) => data,
            Err(Interruption::Stopped) => panic!("stopped"),
            Err(Interruption::Failed(error)) => panic!("{error}"),
        }
    }

    /// `reconstructor @ slopes + bias` for the mean slopes at `commands`, as the pipeline has it.
    fn correction(parameters: &Parameters, data: &CalibrationData, commands: &[f32]) -> Vec<f64> {
        let context = Alone { stop: false };
        let mut procedure = Procedure::new(parameters, &context).ok().unwrap();
        procedure.dark.clone_from(&data.dark);
        procedure.inverse_flat.clone_from(&data.inverse_flat);
        procedure.exposures = 1 << 40; // noise the calibration has not seen
        procedure.set_mirror(commands);
        let slopes = procedure.mean_slopes(20).ok().unwrap();
        let rows = data.reconstructor.chunks_exact(slopes.len());
        rows.zip(&data.bias)
            .map(|(row, bias)| {
                let product: f64 = row
                    .iter()
                    .zip(slopes.iter())
                    .map(|(r, s)| f64::from(*r) * s)
                    .sum();
                product + f64::from(*bias)
            })
            .collect()
    }

    #[test]
    fn pixels_come_out_even_and_dark() {
        let parameters = small_telescope();
        let data = calibrate(&parameters);
        let mut instrument = Instrument::new(&parameters.instrument);
        let mut sums = vec![0.0f64; data.dark.len()];
        for frame in 0..400 {
            let mut noise = generator(99, Purpose::CalibrationNoise, frame);
            for (sum, counts) in sums
                .iter_mut()
                .zip(instrument.expose_evenly(1000.0, &mut noise))
            {
                *sum += f64::from(*counts) / 400.0;
            }
        }
        // 1000 photons make 2000 counts; of 5 % pixel response some 0.3 % of noise remain.
        let mut lit = 0;
        for ((mean, dark), inverse_flat) in sums.iter().zip(&data.dark).zip(&data.inverse_flat) {
            let corrected = (mean - f64::from(*dark)) * f64::from(*inverse_flat);
            if *inverse_flat == 0.0 {
                continue;
            }
            lit += 1;
            assert!((corrected - 2000.0).abs() < 30.0, "{corrected}");
        }
        // A disc of 8 subapertures' diameter; the corners are left out.
        assert!((40 * 64..=60 * 64).contains(&lit), "{lit}");
        assert_eq!(data.inverse_flat[0], 0.0);
    }

    #[test]
    fn a_flat_mirror_needs_no_correction() {
        let parameters = small_telescope();
        let data = calibrate(&parameters);
        // Lenslets are misaligned, so without the bias this would not hold.
        assert!(
            data.bias.iter().any(|um| um.abs() > 0.01),
            "{:?}",
            data.bias
        );
        for um in correction(&parameters, &data, &[0.0; 81]) {
            assert!(um.abs() < 2e-3, "{um}");
        }
    }

    #[test]
    fn smooth_shapes_of_the_mirror_are_found_again() {
        let parameters = small_telescope();
        let data = calibrate(&parameters);
        let mut instrument = Instrument::new(&parameters.instrument);
        let mut surface_rms = |commands: &[f32]| {
            instrument.phase_mut().fill(0.0);
            instrument.correct(commands);
            instrument.variance_rad2().sqrt()
        };
        type Shape = fn(f32, f32) -> f32;
        let shapes: [(&str, Shape); 5] = [
            ("tip", |row, _| row),
            ("tilt", |_, column| column),
            ("focus", |row, column| row * row + column * column),
            ("astigmatism", |row, column| row * column),
            ("coma", |row, column| row * (row * row + column * column)),
        ];
        for (name, shape) in shapes {
            // Only actuators that take part can be found; the others stay flat.
            let slopes = parameters.instrument.slope_count();
            let takes_part = |actuator: usize| {
                let row = &data.reconstructor[actuator * slopes..][..slopes];
                row.iter().any(|element| *element != 0.0)
            };
            let mut commands: Vec<f32> = (0..81)
                .map(|actuator| {
                    let at = |index: usize| index as f32 / 4.0 - 1.0;
                    let um = 0.15 * shape(at(actuator / 9), at(actuator % 9));
                    if takes_part(actuator) { um } else { 0.0 }
                })
                .collect();
            let before = surface_rms(&commands);
            let mut relative = [0.0; 4];
            for relative in &mut relative {
                let found = correction(&parameters, &data, &commands);
                for (command, found) in commands.iter_mut().zip(found) {
                    *command += found as f32;
                }
                *relative = surface_rms(&commands) / before;
            }
            println!("{name}: {before:.2} rad rms, left after each correction: {relative:.3?}");
            // One correction leaves what the regularisation holds back; more remove that, too.
            assert!(relative[0] < 0.4, "{name}: {relative:?}");
            assert!(relative[3] < 0.1, "{name}: {relative:?}");
        }
    }

    #[test]
    fn a_detector_driven_into_saturation_is_reported() {
        for key in ["flat_photons_per_pixel", "source_photons_per_subaperture"] {
            let mut values = json!({"instrument": {"subapertures": 2, "diameter_m": 1.0}});
            values[key] = json!(1e8);
            let parameters = parameters(values);
            let context = Alone { stop: false };
            let Err(Interruption::Failed(error)) =
                Procedure::new(&parameters, &context).and_then(|p| p.run())
            else {
                panic!("{key} went unnoticed");
            };
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
