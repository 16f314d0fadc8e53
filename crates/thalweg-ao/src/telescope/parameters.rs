//! Parameters of `ao.telescope`, and the streams that fit them.

use std::time::Duration;

use thalweg_kernels::{NodeSpec, ParameterDoc, SpecProblem};
use thalweg_shm::DType;

use super::COMMANDS;
use crate::instrument_parameters::{
    INSTRUMENT_DOCS, InstrumentParameters, doc, with_instrument_docs,
};
use crate::parameter_reader::{Allowed, ParameterReader};

/// Documentation of every parameter.
pub(super) const PARAMETERS: [ParameterDoc; 4 + INSTRUMENT_DOCS.len()] = with_instrument_docs([
    doc(
        "rate_hz",
        "frames per second of wall-clock time, not waiting for commands (default: wait, no pacing)",
    ),
    doc(
        "frames",
        "come to the end after so many frames (default: never)",
    ),
    doc(
        "command_timeout_s",
        "longest wait for the commands of the frame before, in seconds (5)",
    ),
    doc(
        "calibration_timeout_s",
        "longest wait for each auxiliary stream other than commands, in seconds (60)",
    ),
]);

/// What to look at, and how to pace it.
#[derive(Debug)]
pub(super) struct Parameters {
    pub(super) instrument: InstrumentParameters,
    pub(super) period_ns: Option<u64>,
    pub(super) frames: Option<u64>,
    pub(super) command_timeout: Duration,
    pub(super) calibration_timeout: Duration,
}

impl Parameters {
    /// Reads a node's parameters; what is wrong comes with the defaults in its place.
    pub(super) fn read(values: &thalweg_kernels::Parameters) -> (Self, Vec<SpecProblem>) {
        let mut reader = ParameterReader::new("parameters", values);
        let (instrument, mut problems) = InstrumentParameters::read(&mut reader);
        let seconds = Allowed::Between(1e-3, 1e6);
        let parameters = Self {
            instrument,
            period_ns: reader
                .optional_number("rate_hz", Allowed::Between(1e-3, 1e9))
                .map(|rate_hz| (1e9 / rate_hz) as u64),
            frames: reader.optional_count("frames", 1, u64::MAX),
            command_timeout: Duration::from_secs_f64(reader.number(
                "command_timeout_s",
                5.0,
                seconds,
            )),
            calibration_timeout: Duration::from_secs_f64(reader.number(
                "calibration_timeout_s",
                60.0,
                seconds,
            )),
        };
        problems.extend(reader.finish());
        (parameters, problems)
    }
}

/// Adds what is wrong with the streams of `spec` for `instrument`.
pub(super) fn check_streams(
    spec: &NodeSpec,
    instrument: &InstrumentParameters,
    problems: &mut Vec<SpecProblem>,
) {
    let side = instrument.image_side_px();
    match spec.outputs.as_slice() {
        [image] => {
            if !matches!(image.dtype, DType::Uint16 | DType::Float32) {
                let message = format!(
                    "expected an image of uint16 or float32, stream {:?} is {}",
                    image.name, image.dtype
                );
                problems.push(SpecProblem::new("stream", message));
            }
            if image.shape != [side, side] {
                let message = format!(
                    "expected an image of shape [{side}, {side}] ({} subapertures of {} pixels), \
                     stream {:?} has shape {:?}",
                    instrument.subapertures,
                    instrument.pixels_per_subaperture,
                    image.name,
                    image.shape
                );
                let hint = "change the stream's shape, or instrument.subapertures and \
                            instrument.pixels_per_subaperture";
                problems.push(SpecProblem::new("stream", message).with_hint(hint));
            }
        }
        others => {
            let message = format!("expected one stream, the image, found {}", others.len());
            problems.push(SpecProblem::new("streams", message));
        }
    }
    for auxiliary in &spec.auxiliary {
        let (path, stream) = (format!("auxiliary.{}", auxiliary.alias), &auxiliary.stream);
        if auxiliary.alias != COMMANDS {
            if stream.dtype.is_complex() {
                let message = format!(
                    "cannot wait for stream {:?} of complex numbers",
                    stream.name
                );
                problems.push(SpecProblem::new(path, message));
            }
            continue;
        }
        let (across, count) = (instrument.actuators_across(), instrument.actuator_count());
        let fits = stream.shape == [count] || stream.shape == [across, across];
        if stream.dtype != DType::Float32 || !fits {
            let message = format!(
                "expected mirror commands of float32 and shape [{count}] or [{across}, {across}] \
                 (one actuator at every corner of a subaperture), stream {:?} is {} of shape {:?}",
                stream.name, stream.dtype, stream.shape
            );
            problems.push(SpecProblem::new(path, message));
        }
    }
}
