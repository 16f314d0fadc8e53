//! `cpu.tomographic_controller`: from the images of eight wave-front sensors to the commands of a
//! deformable mirror, in one stage.
//!
//! One stage instead of a chain of them, because the images of eight sensors are small beside the
//! reconstructor (2 MiB beside 1 GiB in the largest use), and commands are late by every hand-off.
//! A frame takes as long as reading the reconstructor: slopes are made one row of tiles at a time
//! in the first-level cache, in double precision, and everything behind the product is a few
//! thousand numbers.

mod sensors;
mod streams;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::marker::PhantomData;

use half::f16;
use thalweg_shm::{ArrayMut, ArrayRef, DType, Element};

use self::sensors::{Sensors, ToDouble};
use self::streams::{ControlStreams, Streams};
use crate::check::SpecChecker;
use crate::matrix_vector::SimdLevel;
use crate::matrix_vector::half_storage::HalfStorage;
use crate::matrix_vector::lanes::Stored;
use crate::matrix_vector::operands::{BLAS_THREADS, MATRIX_STORAGE, check_storage, check_threads};
use crate::matrix_vector::shared_product::SharedProduct;
use crate::node::{
    Figure, FrameInputs, Kernel, NodeError, NodeSpec, Preparer, SpecProblem, StreamSpec,
};
use crate::registry::{ArraySpec, Definition, NodeBuilder, ParameterDoc};
use crate::simd::isa::Isa;
use crate::simd::map::{Function1, Operand, map1};
use crate::simd::number::Number;
use crate::simd::run::{ReadRun, WriteRun};

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[TOMOGRAPHIC_CONTROLLER];

const TOMOGRAPHIC_CONTROLLER: Definition = Definition {
    kind: "cpu.tomographic_controller",
    summary: "of eight images (R, C) or one cube (8, R, C): calibrated = (image - dark) * \
              inverse_flat; c = centroids of its tiles; s = slope_gain * c - slope_offset; r = \
              reconstructor * s + reconstructor_bias; u = leak * u + control_gain * r, from zero \
              on; output = command_gain * u - command_offset, then at least command_low, then at \
              most command_high. Auxiliary aliases: reconstructor (A, 8 * 2 * tiles), \
              reconstructor_bias, command_offset, command_low, command_high (A), and \
              wfs<i>_dark, wfs<i>_inverse_flat (R, C), wfs<i>_slope_offset (R/t, C/t, 2) for i = 0 \
              to 7, or with a cube wfs_dark, wfs_inverse_flat, wfs_slope_offset with a leading \
              axis of 8. Needs `trigger_policy: all_new`, written out for a cube",
    parameters: &[
        ParameterDoc {
            name: "tile_size",
            doc: "integer of at least 1, default 4: pixels along a side of a tile; divides both \
                  sides of an image",
        },
        ParameterDoc {
            name: "slope_gain",
            doc: "number per pixel, default 1: from centroids to slopes",
        },
        ParameterDoc {
            name: "leak",
            doc: "number, default 1: what is kept of the last state",
        },
        ParameterDoc {
            name: "control_gain",
            doc: "number, default 1: what is added of the reconstruction",
        },
        ParameterDoc {
            name: "command_gain",
            doc: "number, default 1: from states to commands",
        },
        BLAS_THREADS,
        MATRIX_STORAGE,
    ],
    builder: NodeBuilder::Kernel(|spec| build(spec, SimdLevel::best())),
    infer: Some(infer),
    warn: None,
};

const DEFAULT_TILE_SIZE: u64 = 4;

/// What the parameters say.
#[derive(Clone, Copy, Debug)]
struct Gains {
    slope: f64,
    leak: f64,
    control: f64,
    command: f64,
}

/// A controller of streams of numbers `N`, whose product is computed in `N::Real`.
struct TomographicController<N: Stored> {
    sensors: Sensors,
    control: ControlStreams,
    gains: Gains,
    product: SharedProduct,
    half: Option<HalfStorage>,
    slopes: Vec<N::Real>,
    reconstruction: Vec<N::Real>,
    commands: Commands,
    /// What the arrays of a frame have to be, triggers first.
    expected: Vec<(DType, Vec<usize>)>,
    number: PhantomData<N>,
}

impl<N> Kernel for TomographicController<N>
where
    N: Stored + Number,
    N::Real: Number + Element + HalfProduct,
{
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let [output] = outputs else {
            return Err(NodeError::Failed(format!(
                "expected 1 output array, got {}",
                outputs.len()
            )));
        };
        check_arrays(&self.expected, inputs, output)?;
        self.sensors.measure::<N, N::Real>(inputs, &mut self.slopes);
        match self.half.as_ref().and_then(HalfStorage::matrix) {
            Some(matrix) => N::Real::multiply_half(
                &mut self.product,
                matrix,
                &self.slopes,
                &mut self.reconstruction,
            )?,
            None => self.product.multiply::<N>(
                inputs.auxiliary[self.control.reconstructor],
                &self.slopes,
                &mut self.reconstruction,
            )?,
        }
        self.commands
            .update::<N>(inputs, &self.control, self.gains, &self.reconstruction);
        self.commands.write::<N>(output);
        Ok(())
    }

    fn preparer(&self, index: usize) -> Option<Box<dyn Preparer>> {
        let half = self.half.as_ref()?;
        (index == self.control.reconstructor).then(|| half.preparer())
    }

    fn install(&mut self, _index: usize, prepared: Box<dyn Any + Send>) {
        if let Some(half) = &mut self.half {
            half.install(prepared);
        }
    }

    fn figure_definitions(&self) -> Vec<Figure> {
        self.half.iter().map(|_| HalfStorage::figure()).collect()
    }

    fn figures(&self, values: &mut [f64]) {
        if let (Some(half), [error]) = (&self.half, values) {
            *error = half.relative_error();
        }
    }
}

/// Numbers a product with a matrix in half precision may be computed in.
trait HalfProduct: Sized {
    fn multiply_half(
        product: &mut SharedProduct,
        matrix: &crate::matrix_vector::HalfMatrix,
        slopes: &[Self],
        out: &mut [Self],
    ) -> Result<(), NodeError>;
}

impl HalfProduct for f32 {
    fn multiply_half(
        product: &mut SharedProduct,
        matrix: &crate::matrix_vector::HalfMatrix,
        slopes: &[Self],
        out: &mut [Self],
    ) -> Result<(), NodeError> {
        product.multiply_half(matrix, slopes, out)
    }
}

impl HalfProduct for f64 {
    fn multiply_half(
        _product: &mut SharedProduct,
        _matrix: &crate::matrix_vector::HalfMatrix,
        _slopes: &[Self],
        _out: &mut [Self],
    ) -> Result<(), NodeError> {
        Err(NodeError::Failed(
            "a matrix in half precision is multiplied in single precision only".to_owned(),
        ))
    }
}

/// Everything behind the product, in double precision.
#[derive(Debug)]
struct Commands {
    isa: Isa,
    state: Vec<f64>,
    commands: Vec<f64>,
    /// Of one auxiliary vector at a time.
    scratch: Vec<f64>,
}

impl Commands {
    fn new(actuators: usize) -> Self {
        Self {
            isa: Isa::detect(),
            state: vec![0.0; actuators],
            commands: vec![0.0; actuators],
            scratch: vec![0.0; actuators],
        }
    }

    /// The next state and the commands that follow from it.
    fn update<N: Number>(
        &mut self,
        inputs: &FrameInputs<'_>,
        control: &ControlStreams,
        gains: Gains,
        reconstruction: &[impl Number],
    ) {
        let read = |index: usize, scratch: &mut Vec<f64>| {
            widen::<N>(self.isa, inputs.auxiliary[index], scratch);
        };
        read(control.reconstructor_bias, &mut self.scratch);
        let state = self.state.iter_mut().zip(reconstruction);
        for ((state, number), bias) in state.zip(&self.scratch) {
            *state = gains.leak * *state + gains.control * (number.to_f64() + bias);
        }
        read(control.command_offset, &mut self.scratch);
        let commands = self.commands.iter_mut().zip(&self.state);
        for ((command, state), offset) in commands.zip(&self.scratch) {
            *command = gains.command * state - offset;
        }
        read(control.command_low, &mut self.scratch);
        for (command, low) in self.commands.iter_mut().zip(&self.scratch) {
            *command = command.larger(*low);
        }
        read(control.command_high, &mut self.scratch);
        for (command, high) in self.commands.iter_mut().zip(&self.scratch) {
            *command = command.smaller(*high);
        }
    }

    fn write<N: Number>(&self, output: &mut ArrayMut<'_>) {
        map1(
            self.isa,
            FromDouble::<N>(PhantomData),
            Operand::Each(ReadRun::of_slice(&self.commands)),
            WriteRun::of_array(output),
            self.commands.len(),
        );
    }
}

/// The elements of `array`, as doubles.
fn widen<N: Number>(isa: Isa, array: ArrayRef<'_>, out: &mut [f64]) {
    let shape = [out.len()];
    let mut out = ArrayMut::from_slice(out, &shape);
    map1(
        isa,
        ToDouble::<N>(PhantomData),
        Operand::Each(ReadRun::of_array(array)),
        WriteRun::of_array(&mut out),
        shape[0],
    );
}

#[derive(Clone, Copy)]
struct FromDouble<T>(PhantomData<T>);

impl<T: Number> Function1 for FromDouble<T> {
    type A = f64;
    type R = T;

    #[inline(always)]
    fn apply(self, a: f64) -> T {
        T::from_f64(a)
    }
}

/// Refuses arrays other than those the kernel was built for.
fn check_arrays(
    expected: &[(DType, Vec<usize>)],
    inputs: &FrameInputs<'_>,
    output: &ArrayMut<'_>,
) -> Result<(), NodeError> {
    let read = inputs.triggers.iter().chain(inputs.auxiliary);
    let found = read
        .map(|array| (array.dtype(), array.shape()))
        .chain([(output.dtype(), output.shape())]);
    let fits = found
        .map(Some)
        .chain(std::iter::repeat(None))
        .zip(expected)
        .all(|(found, (dtype, shape))| found == Some((*dtype, shape.as_slice())));
    if fits && inputs.triggers.len() + inputs.auxiliary.len() + 1 == expected.len() {
        return Ok(());
    }
    Err(NodeError::Failed(
        "the arrays of this frame are not those the kernel was built for".to_owned(),
    ))
}

fn build(spec: &NodeSpec, level: SimdLevel) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let streams = check_streams(&mut check);
    let gains = Gains {
        slope: check.number_or("slope_gain", 1.0),
        leak: check.number_or("leak", 1.0),
        control: check.number_or("control_gain", 1.0),
        command: check.number_or("command_gain", 1.0),
    };
    let threads = check_threads(&mut check, spec);
    let format = streams
        .as_ref()
        .and_then(|streams| check_storage(&mut check, spec, streams.reconstructor));
    check.finish()?;
    let Some(streams) = streams else {
        return Err(Vec::new());
    };
    let (rows, columns) = (streams.actuators, streams.slopes());
    let half = format.map(|format| HalfStorage::new(rows, columns, format));
    Ok(match streams.number {
        DType::Float16 => controller::<f16>(spec, &streams, gains, threads, half, level),
        DType::Float32 => controller::<f32>(spec, &streams, gains, threads, half, level),
        _ => controller::<f64>(spec, &streams, gains, threads, half, level),
    })
}

fn controller<N>(
    spec: &NodeSpec,
    streams: &Streams<'_>,
    gains: Gains,
    threads: usize,
    half: Option<HalfStorage>,
    level: SimdLevel,
) -> Box<dyn Kernel>
where
    N: Stored + Number,
    N::Real: Number + Element + HalfProduct,
{
    let shape = [streams.actuators, streams.slopes()];
    let described = |stream: &StreamSpec| (stream.dtype, stream.shape.clone());
    let read = spec
        .inputs
        .iter()
        .chain(spec.auxiliary.iter().map(|one| &one.stream));
    Box::new(TomographicController::<N> {
        sensors: Sensors::new(streams, level, gains.slope),
        control: streams.control,
        gains,
        product: SharedProduct::new(level, shape, size_of::<N>(), threads),
        half,
        slopes: vec![N::Real::default(); shape[1]],
        reconstruction: vec![N::Real::default(); shape[0]],
        commands: Commands::new(shape[0]),
        expected: read.chain(&spec.outputs).map(described).collect(),
        number: PhantomData,
    })
}

/// The streams, as far as they can be told; everything wrong with them is recorded.
fn check_streams<'a>(check: &mut SpecChecker<'a>) -> Option<Streams<'a>> {
    let tile_size = check.integer_or("tile_size", 1, DEFAULT_TILE_SIZE);
    streams::check(check, usize::try_from(tile_size).unwrap_or(usize::MAX))
}

/// One command per row of the reconstructor, of its dtype.
fn infer(spec: &NodeSpec) -> Result<Vec<ArraySpec>, Vec<SpecProblem>> {
    let mut auxiliary = spec.auxiliary.iter();
    match auxiliary.find(|one| one.alias == "reconstructor") {
        Some(one) if !one.stream.shape.is_empty() => Ok(vec![ArraySpec {
            dtype: one.stream.dtype,
            shape: vec![one.stream.shape[0]],
        }]),
        _ => Err(vec![SpecProblem::new(
            "auxiliary",
            format!("{} requires an auxiliary 'reconstructor'", spec.kind),
        )]),
    }
}
