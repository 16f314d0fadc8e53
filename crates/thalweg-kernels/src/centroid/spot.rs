//! `cpu.spot_centroid`: where the one spot of an image lies.

#![expect(unsafe_code, reason = "loads from raw memory other processes own")]

use std::marker::PhantomData;

use thalweg_shm::{ArrayMut, ArrayRef};

use super::unlike;
use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem, StreamSpec};
use crate::registry::{ArraySpec, Definition, NodeBuilder, ParameterDoc};
use crate::simd::isa::{Isa, Vectorized};
use crate::simd::map::load;
use crate::simd::number::{Number, with_number};
use crate::simd::run::{ReadRun, WriteRun};

/// Partial sums side by side.
const LANES: usize = 8;

pub(super) const SPOT_CENTROID: Definition = Definition {
    kind: "cpu.spot_centroid",
    summary: "output, two elements, = (row, column) of the weighted mean of the image, from its \
              centre in pixels; a weight is (pixel - background) ^ weight_power where pixel - \
              background is above the threshold, else 0; (0, 0) where the weights sum up to 0 or \
              less",
    parameters: &[BACKGROUND, THRESHOLD, WEIGHT_POWER],
    builder: NodeBuilder::Kernel(build),
    infer: Some(infer),
    warn: Some(super::warn_of_integers),
};

pub(super) const BACKGROUND: ParameterDoc = ParameterDoc {
    name: "background",
    doc: "number in units of the image, default 0: taken off every pixel",
};

pub(super) const THRESHOLD: ParameterDoc = ParameterDoc {
    name: "threshold",
    doc: "number in units of the image, default 0: what a pixel without background has to exceed",
};

pub(super) const WEIGHT_POWER: ParameterDoc = ParameterDoc {
    name: "weight_power",
    doc: "positive number, default 1: power of the pixels that are the weights",
};

/// How pixels become weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighting {
    background: f64,
    threshold: f64,
    power: f64,
}

impl Weighting {
    /// The parameters.
    pub(super) fn read(check: &mut SpecChecker<'_>) -> Self {
        let power = check
            .optional_number("weight_power", "a positive number", |power| power > 0.0)
            .unwrap_or(1.0);
        Self {
            background: check.number_or("background", 0.0),
            threshold: check.number_or("threshold", 0.0),
            power,
        }
    }
}

/// Where the spot of an image lies, from its centre.
pub(super) fn spot<T: Number>(
    isa: Isa,
    image: ReadRun<'_>,
    rows: usize,
    columns: usize,
    weighting: Weighting,
) -> [f64; 2] {
    let pixels = image.elements::<T>(rows * columns);
    let Moments {
        weight,
        row,
        column,
    } = if weighting.power == 1.0 {
        isa.run(Spot {
            pixels,
            rows,
            columns,
            weighting,
            power: |weight: f64| weight,
        })
    } else {
        isa.run(Spot {
            pixels,
            rows,
            columns,
            weighting,
            power: |weight: f64| weight.powf(weighting.power),
        })
    };
    // NaN is not below zero, and stays.
    if weight <= 0.0 {
        return [0.0; 2];
    }
    [row / weight, column / weight]
}

#[derive(Clone, Copy)]
struct Moments {
    weight: f64,
    row: f64,
    column: f64,
}

struct Spot<T, P> {
    pixels: *const T,
    rows: usize,
    columns: usize,
    weighting: Weighting,
    power: P,
}

impl<T: Number, P: Fn(f64) -> f64> Vectorized for Spot<T, P> {
    type Output = Moments;

    #[inline(always)]
    fn run(self) -> Moments {
        let Weighting {
            background,
            threshold,
            ..
        } = self.weighting;
        let centre = |extent: usize| (extent as f64 - 1.0) / 2.0;
        let (row_centre, column_centre) = (centre(self.rows), centre(self.columns));
        let mut moments = Moments {
            weight: 0.0,
            row: 0.0,
            column: 0.0,
        };
        let whole = self.columns / LANES * LANES;
        for row in 0..self.rows {
            let weight = |column: usize| {
                // SAFETY: `spot` checked that all rows and columns are there.
                let pixel = unsafe { load(self.pixels, row * self.columns + column) };
                let above = pixel.to_f64() - background;
                if above > threshold {
                    (self.power)(above)
                } else {
                    0.0
                }
            };
            let mut sums = [0.0; LANES];
            let mut column_sums = [0.0; LANES];
            for start in (0..whole).step_by(LANES) {
                for lane in 0..LANES {
                    let weight = weight(start + lane);
                    sums[lane] += weight;
                    column_sums[lane] += weight * ((start + lane) as f64 - column_centre);
                }
            }
            for column in whole..self.columns {
                let weight = weight(column);
                sums[column - whole] += weight;
                column_sums[column - whole] += weight * (column as f64 - column_centre);
            }
            let sum = total(sums);
            moments.weight += sum;
            moments.row += sum * (row as f64 - row_centre);
            moments.column += total(column_sums);
        }
        moments
    }
}

#[inline(always)]
fn total([a, b, c, d, e, f, g, h]: [f64; LANES]) -> f64 {
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

struct SpotCentroid<T> {
    isa: Isa,
    shape: [usize; 2],
    weighting: Weighting,
    pixel: PhantomData<T>,
}

impl<T: Number> Kernel for SpotCentroid<T> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let ([image], [output]) = (inputs.triggers, outputs) else {
            return Err(NodeError::Failed(
                "expected one input and one output array".to_owned(),
            ));
        };
        check_image::<T>(*image, self.shape)?;
        let [rows, columns] = self.shape;
        let run = ReadRun::of_array(*image);
        let spot = spot::<T>(self.isa, run, rows, columns, self.weighting);
        write_pair::<T>(output, spot)
    }
}

/// Refuses an image that is not of type `T` and of shape `shape`.
pub(super) fn check_image<T: Number>(
    image: ArrayRef<'_>,
    shape: [usize; 2],
) -> Result<(), NodeError> {
    if image.dtype() == T::DTYPE && image.shape() == shape {
        return Ok(());
    }
    Err(unlike(
        "input",
        image.dtype(),
        image.shape(),
        T::DTYPE,
        &shape,
    ))
}

/// Writes two numbers as elements of type `T`.
pub(super) fn write_pair<T: Number>(
    output: &mut ArrayMut<'_>,
    pair: [f64; 2],
) -> Result<(), NodeError> {
    if output.dtype() != T::DTYPE || output.len() != 2 {
        return Err(unlike(
            "output",
            output.dtype(),
            output.shape(),
            T::DTYPE,
            &[2],
        ));
    }
    WriteRun::of_array(output).copy_from(ReadRun::of_slice(&pair.map(T::from_f64)));
    Ok(())
}

/// The image and its shape; everything wrong with it and with the output is recorded.
pub(super) fn check_streams<'a>(
    check: &mut SpecChecker<'a>,
) -> Option<(&'a StreamSpec, [usize; 2])> {
    let kind = &check.spec().kind;
    let input = check.input()?;
    check.real("input", input);
    let &[rows, columns] = input.shape.as_slice() else {
        check.problem(SpecProblem::new(
            "input",
            format!(
                "{kind} requires a 2-D image, got {:?} of shape {:?}",
                input.name, input.shape
            ),
        ));
        return None;
    };
    Some((input, [rows, columns]))
}

/// Records what is wrong with an output of one (row, column) like the image `input`.
pub(super) fn check_pair_output(check: &mut SpecChecker<'_>, input: &StreamSpec) {
    let kind = &check.spec().kind;
    if let Some(output) = check.output() {
        check.same_dtype("output", input, output);
        if output.shape != [2] {
            check.problem(SpecProblem::new(
                "output",
                format!(
                    "{kind} requires an output stream of shape [2], one (row, column), got {:?} of \
                     shape {:?}",
                    output.name, output.shape
                ),
            ));
        }
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let image = check_streams(&mut check);
    if let Some((input, _)) = image {
        check_pair_output(&mut check, input);
    }
    check.auxiliary([]);
    let weighting = Weighting::read(&mut check);
    check.finish()?;
    let Some((input, shape)) = image else {
        return Err(Vec::new());
    };
    let isa = Isa::detect();
    with_number!(input.dtype, T => Box::new(SpotCentroid::<T> {
        isa,
        shape,
        weighting,
        pixel: PhantomData,
    }) as Box<dyn Kernel>)
    .ok_or_else(Vec::new)
}

fn infer(spec: &NodeSpec) -> Result<Vec<ArraySpec>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let outputs = check_streams(&mut check).map(|(input, _)| ArraySpec {
        dtype: input.dtype,
        shape: vec![2],
    });
    check.finish()?;
    Ok(outputs.into_iter().collect())
}
