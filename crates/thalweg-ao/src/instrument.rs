//! The simulated instrument: everything behind the atmosphere, with the buffers of one frame.

use crate::deformable_mirror::DeformableMirror;
use crate::detector::Detector;
use crate::instrument_parameters::InstrumentParameters;
use crate::pupil::Pupil;
use crate::random::Generator;
use crate::wavefront_sensor::WavefrontSensor;

/// Pupil, deformable mirror, Shack-Hartmann sensor and detector of one specimen.
#[derive(Clone, Debug)]
pub struct Instrument {
    pupil: Pupil,
    mirror: DeformableMirror,
    sensor: WavefrontSensor,
    detector: Detector,
    phase: Vec<f32>,
    photons: Vec<f32>,
    counts: Vec<f32>,
}

impl Instrument {
    /// Builds the specimen that `parameters` describe.
    pub fn new(parameters: &InstrumentParameters) -> Self {
        let pupil = Pupil::new(parameters);
        let pixels = parameters.image_side_px().pow(2);
        Self {
            mirror: DeformableMirror::new(parameters),
            sensor: WavefrontSensor::new(parameters, &pupil),
            detector: Detector::new(parameters),
            phase: vec![0.0; pupil.samples_across().pow(2)],
            photons: vec![0.0; pixels],
            counts: vec![0.0; pixels],
            pupil,
        }
    }

    /// The pupil.
    pub fn pupil(&self) -> &Pupil {
        &self.pupil
    }

    /// The phase that enters the instrument: radians, row by row, `samples_across` squared. To be
    /// written before [`Instrument::correct`].
    pub fn phase_mut(&mut self) -> &mut [f32] {
        &mut self.phase
    }

    /// Lets the mirror, at `commands_um`, act on the phase.
    pub fn correct(&mut self, commands_um: &[f32]) {
        self.mirror.correct(commands_um, &mut self.phase);
    }

    /// Variance of the phase over the pupil without piston, in rad^2.
    pub fn variance_rad2(&self) -> f64 {
        self.pupil.variance(&self.phase)
    }

    /// Counts of the newest exposure.
    pub(crate) fn counts(&self) -> &[f32] {
        &self.counts
    }

    /// Counts of the sensor looking at the phase with `photons` in a fully lit subaperture.
    pub(crate) fn observe(&mut self, photons: f32, noise: &mut Generator) -> &[f32] {
        self.sensor
            .image_into(&self.phase, photons, &mut self.photons);
        self.detector.expose(&self.photons, noise, &mut self.counts);
        &self.counts
    }

    /// Counts of the detector under even light of `photons` per pixel; 0 for a dark.
    pub(crate) fn expose_evenly(&mut self, photons: f32, noise: &mut Generator) -> &[f32] {
        self.photons.fill(photons);
        self.detector.expose(&self.photons, noise, &mut self.counts);
        &self.counts
    }
}
