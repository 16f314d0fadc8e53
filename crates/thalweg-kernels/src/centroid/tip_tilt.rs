//! `cpu.tip_tilt_controller`: from the image of a spot to the two commands that centre it.

use std::marker::PhantomData;

use thalweg_shm::{ArrayMut, ArrayRef};

use super::spot::{
    BACKGROUND, THRESHOLD, WEIGHT_POWER, Weighting, check_image, check_pair_output, check_streams,
    spot, write_pair,
};
use super::unlike;
use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem};
use crate::registry::{ArraySpec, Definition, NodeBuilder, ParameterDoc};
use crate::simd::isa::Isa;
use crate::simd::number::{Number, with_number};
use crate::simd::run::ReadRun;

pub(super) const TIP_TILT_CONTROLLER: Definition = Definition {
    kind: "cpu.tip_tilt_controller",
    summary: "c = centroid as of cpu.spot_centroid; s = leak * s + control_gain * c, from zero on; \
              output = matrix * s + bias; the auxiliary streams are the matrix (2, 2) and the bias \
              (2), in this order, all of one dtype",
    parameters: &[
        BACKGROUND,
        THRESHOLD,
        WEIGHT_POWER,
        ParameterDoc {
            name: "leak",
            doc: "number, default 1: what is kept of the last state",
        },
        ParameterDoc {
            name: "control_gain",
            doc: "number, default 1: what is added of the centroid",
        },
    ],
    builder: NodeBuilder::Kernel(build),
    infer: Some(infer),
    warn: Some(super::warn_of_integers),
};

struct TipTiltController<T> {
    isa: Isa,
    shape: [usize; 2],
    weighting: Weighting,
    leak: f64,
    control_gain: f64,
    /// In double precision, whatever the dtype of the streams.
    state: [f64; 2],
    pixel: PhantomData<T>,
}

impl<T: Number> Kernel for TipTiltController<T> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let ([image], [matrix, bias], [output]) = (inputs.triggers, inputs.auxiliary, outputs)
        else {
            return Err(NodeError::Failed(
                "expected an input, two auxiliary arrays and an output".to_owned(),
            ));
        };
        check_image::<T>(*image, self.shape)?;
        let [m00, m01, m10, m11] = numbers::<T, 4>("matrix", *matrix)?;
        let [b0, b1] = numbers::<T, 2>("bias", *bias)?;
        let [rows, columns] = self.shape;
        let run = ReadRun::of_array(*image);
        let centroid = spot::<T>(self.isa, run, rows, columns, self.weighting);
        let state: [f64; 2] = std::array::from_fn(|index| {
            self.leak * self.state[index] + self.control_gain * centroid[index]
        });
        let [s0, s1] = state;
        write_pair::<T>(output, [m00 * s0 + m01 * s1 + b0, m10 * s0 + m11 * s1 + b1])?;
        self.state = state;
        Ok(())
    }
}

/// The `COUNT` elements of an array of type `T`.
fn numbers<T: Number, const COUNT: usize>(
    role: &str,
    array: ArrayRef<'_>,
) -> Result<[f64; COUNT], NodeError> {
    if array.dtype() != T::DTYPE || array.len() != COUNT {
        return Err(unlike(
            role,
            array.dtype(),
            array.shape(),
            T::DTYPE,
            &[COUNT],
        ));
    }
    let run = ReadRun::of_array(array);
    let size = size_of::<T>();
    Ok(std::array::from_fn(|index| {
        run.part(index * size, size).first::<T>().to_f64()
    }))
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let image = check_streams(&mut check);
    if let Some((input, _)) = image {
        check_pair_output(&mut check, input);
    }
    if let (Some([matrix, bias]), Some((input, _))) = (check.auxiliary(["matrix", "bias"]), image) {
        for (index, (stream, role, shape)) in
            [(matrix, "matrix", &[2, 2][..]), (bias, "bias", &[2][..])]
                .into_iter()
                .enumerate()
        {
            let path = format!("auxiliary[{index}]");
            check.same_dtype(&path, input, stream);
            if stream.shape != shape {
                check.problem(
                    SpecProblem::new(
                        path,
                        format!(
                            "{} requires a {role} of shape {shape:?}, got {:?} of shape {:?}",
                            spec.kind, stream.name, stream.shape
                        ),
                    )
                    .with_hint("the first auxiliary stream is the matrix, the second the bias"),
                );
            }
        }
    }
    let weighting = Weighting::read(&mut check);
    let leak = check.number_or("leak", 1.0);
    let control_gain = check.number_or("control_gain", 1.0);
    check.finish()?;
    let Some((input, shape)) = image else {
        return Err(Vec::new());
    };
    let isa = Isa::detect();
    with_number!(input.dtype, T => Box::new(TipTiltController::<T> {
        isa,
        shape,
        weighting,
        leak,
        control_gain,
        state: [0.0; 2],
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
