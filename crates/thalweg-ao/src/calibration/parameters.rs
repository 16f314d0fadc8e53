//! Parameters of `ao.calibration`.

use thalweg_kernels::{ParameterDoc, SpecProblem};

use crate::instrument_parameters::{
    INSTRUMENT_DOCS, InstrumentParameters, doc, with_instrument_docs,
};
use crate::parameter_reader::{Allowed, ParameterReader};

/// Documentation of every parameter.
pub(super) const PARAMETERS: [ParameterDoc; 10 + INSTRUMENT_DOCS.len()] = with_instrument_docs([
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

/// Most frames one average may take.
const MOST_FRAMES: u64 = 1_000_000;

/// How to calibrate which instrument.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    pub(super) instrument: InstrumentParameters,
    pub(super) dark_frames: u64,
    pub(super) flat_frames: u64,
    pub(super) flat_photons: f32,
    pub(super) reference_frames: u64,
    pub(super) poke_frames: u64,
    pub(super) poke_um: f32,
    pub(super) source_photons: f32,
    pub(super) minimum_flux: f64,
    pub(super) minimum_response: f64,
    pub(super) regularisation: f64,
}

impl Parameters {
    /// Reads a node's parameters; what is wrong comes with the defaults in its place.
    pub(super) fn read(values: &thalweg_kernels::Parameters) -> (Self, Vec<SpecProblem>) {
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
