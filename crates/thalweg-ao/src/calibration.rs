//! `ao.calibration`: a source that calibrates a simulated instrument and publishes the result once.
//!
//! It does what an observer does with the star shut out: averages darks and flats, looks at a
//! bright point source through a flat mirror for the reference slopes, pushes and pulls every
//! actuator, and inverts what it saw. Slopes come from the centroid kernel the pipeline uses. Its
//! four outputs, bound by order:
//!
//! | stream | dtype, shape | content |
//! | --- | --- | --- |
//! | dark | float32 (H, W) | mean counts without light |
//! | inverse flat | float32 (H, W) | 1 / relative response; 0 in subapertures that are too dark |
//! | reconstructor | float32 (actuators, slopes) | -G, micrometres of stroke per pixel |
//! | bias | float32 (actuators) | G times the reference slopes |
//!
//! so that `reconstructor @ slopes + bias` is the correction to add to the commands:
//! `-G (slopes - reference)`. Zeros in the inverse flat make the centroids of dark subapertures
//! exactly zero; nothing downstream has to know which ones those are.

use nalgebra::{DMatrix, DVector};
use thalweg_kernels::{
    Definition, NodeBuilder, NodeError, NodeSpec, ParameterDoc, Produced, Source, SourceContext,
    SpecProblem, StreamSpec,
};
use thalweg_shm::{ArrayMut, DType};

use crate::centroids::Centroids;
use crate::detector::FULL_SCALE_COUNTS;
use crate::instrument::Instrument;
use crate::instrument_parameters::{
    INSTRUMENT_DOCS, InstrumentParameters, doc, with_instrument_docs,
};
use crate::parameter_reader::{Allowed, ParameterReader};
use crate::random::{Purpose, generator};
use crate::reconstructor::{ReconstructorError, reconstructor};

const PARAMETERS: [ParameterDoc; 10 + INSTRUMENT_DOCS.len()] = with_instrument_docs([
    doc("dark_frames", "frames averaged without light (100)"),
    doc("flat_frames", "frames averaged under even light (100)"),
    doc(
        "flat_photons_per_pixel",
        "light of a flat, photons per pixel and frame (5000)",
    ),
    doc(
        "reference_frames",
        "frames averaged for the reference slopes (50)",
    ),
    doc(
        "poke_frames",
        "frames averaged per actuator and direction (1)",
    ),
    doc("poke_um", "stroke of a poke in micrometres (0.1)"),
    doc(
        "source_photons_per_subaperture",
        "light of the calibration source, photons per fully lit subaperture and frame (50000)",
    ),
    doc(
        "minimum_flux",
        "subapertures with less than this fraction of the brightest one's light are left out (0.5)",
    ),
    doc(
        "minimum_response",
        "actuators with less than this fraction of the strongest one's response are left out (0.1)",
    ),
    doc(
        "regularisation",
        "weight of small commands against small residual slopes, relative to the mean response (0.01)",
    ),
]);

pub(crate) const DEFINITION: Definition = Definition {
    kind: "ao.calibration",
    summary: "calibrates the simulated instrument (darks, flats, pokes) and publishes dark, \
              inverse flat, reconstructor and bias once",
    parameters: &PARAMETERS,
    builder: NodeBuilder::Source(build),
    infer: None,
};

#[derive(Clone, Debug)]
struct Parameters {
    instrument: InstrumentParameters,
    dark_frames: u64,
    flat_frames: u64,
    flat_photons: f32,
    reference_frames: u64,
    poke_frames: u64,
    poke_um: f32,
    source_photons: f32,
    minimum_flux: f64,
    minimum_response: f64,
    regularisation: f64,
}

/// The source; see the module's page.
#[derive(Debug)]
struct Calibration {
    name: String,
    parameters: Parameters,
    published: bool,
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Source>, Vec<SpecProblem>> {
    let mut reader = ParameterReader::new("parameters", &spec.parameters);
    let frames =
        |reader: &mut ParameterReader<'_>, name, default| reader.count(name, default, 1, 1_000_000);
    let (dark_frames, flat_frames) = (
        frames(&mut reader, "dark_frames", 100),
        frames(&mut reader, "flat_frames", 100),
    );
    let flat_photons = reader.number("flat_photons_per_pixel", 5000.0, Allowed::Positive);
    let (reference_frames, poke_frames) = (
        frames(&mut reader, "reference_frames", 50),
        frames(&mut reader, "poke_frames", 1),
    );
    let poke_um = reader.number("poke_um", 0.1, Allowed::Positive);
    let source_photons = reader.number(
        "source_photons_per_subaperture",
        50_000.0,
        Allowed::Positive,
    );
    let minimum_flux = reader.number("minimum_flux", 0.5, Allowed::Between(0.0, 1.0));
    let minimum_response = reader.number("minimum_response", 0.1, Allowed::Between(0.0, 1.0));
    let regularisation = reader.number("regularisation", 0.01, Allowed::Between(1e-9, 1e3));
    let (instrument, mut problems) = InstrumentParameters::read(&mut reader);
    problems.extend(reader.finish());
    if problems.is_empty() {
        check_streams(spec, &instrument, &mut problems);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Box::new(Calibration {
        name: spec.name.clone(),
        parameters: Parameters {
            instrument,
            dark_frames,
            flat_frames,
            flat_photons: flat_photons as f32,
            reference_frames,
            poke_frames,
            poke_um: poke_um as f32,
            source_photons: source_photons as f32,
            minimum_flux,
            minimum_response,
            regularisation,
        },
        published: false,
    }))
}

fn check_streams(
    spec: &NodeSpec,
    instrument: &InstrumentParameters,
    problems: &mut Vec<SpecProblem>,
) {
    let side = instrument.image_side_px();
    let (actuators, slopes) = (instrument.actuator_count(), instrument.slope_count());
    let expected: [(&str, Vec<usize>); 4] = [
        ("dark", vec![side, side]),
        ("inverse flat", vec![side, side]),
        ("reconstructor", vec![actuators, slopes]),
        ("bias", vec![actuators]),
    ];
    if spec.outputs.len() != expected.len() {
        let message = format!(
            "expected four streams in this order: dark, inverse flat, reconstructor, bias; found {}",
            spec.outputs.len()
        );
        problems.push(SpecProblem::new("streams", message));
        return;
    }
    for (index, ((role, shape), stream)) in expected.iter().zip(&spec.outputs).enumerate() {
        let StreamSpec { name, dtype, .. } = stream;
        if *dtype != DType::Float32 || stream.shape != *shape {
            let message = format!(
                "expected the {role} as float32 of shape {shape:?}, stream {name:?} is {dtype} of \
                 shape {:?}",
                stream.shape
            );
            let hint = "streams are bound by order: dark, inverse flat, reconstructor, bias";
            problems.push(SpecProblem::new(format!("streams[{index}]"), message).with_hint(hint));
        }
    }
}

/// What a calibration finds; arrays as published.
#[derive(Debug)]
struct CalibrationData {
    dark: Vec<f32>,
    inverse_flat: Vec<f32>,
    reconstructor: Vec<f32>,
    bias: Vec<f32>,
}

/// Why a calibration ended early.
enum Interruption {
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
struct Procedure<'a> {
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
    fn new(
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

    fn run(mut self) -> Result<CalibrationData, Interruption> {
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

impl Source for Calibration {
    fn produce(
        &mut self,
        context: &mut dyn SourceContext,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError> {
        if self.published {
            return Ok(Produced::Finished);
        }
        let calibrated =
            Procedure::new(&self.parameters, context).and_then(|procedure| procedure.run());
        let data = match calibrated {
            Ok(data) => data,
            Err(Interruption::Stopped) => return Ok(Produced::Nothing),
            Err(Interruption::Failed(error)) => {
                return Err(NodeError::Failed(format!(
                    "source {:?}: {error}",
                    self.name
                )));
            }
        };
        let arrays = [
            &data.dark,
            &data.inverse_flat,
            &data.reconstructor,
            &data.bias,
        ];
        for (output, array) in outputs.iter_mut().zip(arrays) {
            output.copy_from(array)?;
        }
        self.published = true;
        Ok(Produced::Frame { frame_id: Some(1) })
    }
}
