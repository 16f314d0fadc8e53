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
//! exactly zero; nothing downstream has to know which ones those are. Actuators outside the pupil
//! answer weakly, through the flanks of their influence; left in, they wander off to strokes that
//! throw spots out of their subapertures. `minimum_response` takes them out.

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
        "actuators with less than this fraction of the strongest one's response are left out (0.4)",
    ),
    doc(
        "regularisation",
        "weight of small commands against small residual slopes, relative to the mean response (0.1)",
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

/// Most frames one average may take.
const MOST_FRAMES: u64 = 1_000_000;

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
    let (parameters, mut problems) = Parameters::read(&spec.parameters);
    if problems.is_empty() {
        // Without sound parameters the expected shapes would mislead.
        check_streams(spec, &parameters.instrument, &mut problems);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Box::new(Calibration {
        name: spec.name.clone(),
        parameters,
        published: false,
    }))
}

impl Parameters {
    fn read(values: &thalweg_kernels::Parameters) -> (Self, Vec<SpecProblem>) {
        let mut reader = ParameterReader::new("parameters", values);
        let fraction = Allowed::Between(0.0, 1.0);
        let (instrument, mut problems) = InstrumentParameters::read(&mut reader);
        let parameters = Self {
            instrument,
            dark_frames: reader.count("dark_frames", 100, 1, MOST_FRAMES),
            flat_frames: reader.count("flat_frames", 100, 1, MOST_FRAMES),
            flat_photons: reader.number("flat_photons_per_pixel", 5000.0, Allowed::Positive) as f32,
            reference_frames: reader.count("reference_frames", 50, 1, MOST_FRAMES),
            poke_frames: reader.count("poke_frames", 1, 1, MOST_FRAMES),
            poke_um: reader.number("poke_um", 0.1, Allowed::Positive) as f32,
            source_photons: reader.number(
                "source_photons_per_subaperture",
                50_000.0,
                Allowed::Positive,
            ) as f32,
            minimum_flux: reader.number("minimum_flux", 0.5, fraction),
            minimum_response: reader.number("minimum_response", 0.4, fraction),
            regularisation: reader.number("regularisation", 0.1, Allowed::Between(1e-9, 1e3)),
        };
        problems.extend(reader.finish());
        (parameters, problems)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;
    use thalweg_kernels::AuxiliaryFrame;

    /// A runtime without streams.
    struct Alone {
        stop: bool,
    }

    impl SourceContext for Alone {
        fn stop_requested(&self) -> bool {
            self.stop
        }

        fn now_ns(&self) -> u64 {
            0
        }

        fn sleep_until(&mut self, _deadline_ns: u64) -> bool {
            self.stop
        }

        fn read_auxiliary(
            &mut self,
            _index: usize,
            _out: &mut ArrayMut<'_>,
        ) -> Result<Option<AuxiliaryFrame>, NodeError> {
            Ok(None)
        }

        fn wait_auxiliary(
            &mut self,
            _index: usize,
            _frame_id: u64,
            _timeout: Duration,
            _out: &mut ArrayMut<'_>,
        ) -> Result<Option<AuxiliaryFrame>, NodeError> {
            Ok(None)
        }
    }

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

    #[test]
    fn a_stop_interrupts() {
        let parameters = small_telescope();
        let mut source = Calibration {
            name: "calibration".to_owned(),
            parameters,
            published: false,
        };
        let produced = source.produce(&mut Alone { stop: true }, &mut []).unwrap();
        assert_eq!(produced, Produced::Nothing);
    }

    #[test]
    fn wrong_streams_are_named_by_their_role() {
        let stream = |name: &str, shape: &[usize]| StreamSpec {
            name: name.to_owned(),
            dtype: DType::Float32,
            shape: shape.to_vec(),
        };
        let spec = NodeSpec {
            name: "calibration".to_owned(),
            kind: "ao.calibration".to_owned(),
            inputs: Vec::new(),
            auxiliary: Vec::new(),
            outputs: vec![
                stream("dark", &[128, 128]),
                stream("flat", &[128, 128]),
                stream("matrix", &[512, 289]),
                stream("bias", &[289]),
            ],
            operation: None,
            parameters: Default::default(),
            base_dir: Default::default(),
        };
        let problems = build(&spec).err().unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, "streams[2]");
        assert!(problems[0].message.contains("[289, 512]"), "{problems:?}");
    }
}
