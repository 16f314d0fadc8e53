//! Where the light of an image lies: of every tile (`cpu.shack_hartmann_centroid`), of the one spot
//! (`cpu.spot_centroid`), and what centres that (`cpu.tip_tilt_controller`).

#![expect(unsafe_code, reason = "hands raw array memory to the loops")]

pub(crate) mod pixels;
mod spot;
#[cfg(test)]
mod spot_tests;
#[cfg(test)]
mod tests;
pub(crate) mod tiles;
mod tip_tilt;

use std::marker::PhantomData;

use thalweg_shm::{ArrayMut, DType};

use self::pixels::Pixel;
use self::tiles::{Geometry, Tiles};
use crate::check::SpecChecker;
use crate::matrix_vector::SimdLevel;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem, StreamSpec};
use crate::registry::{ArraySpec, Definition, NodeBuilder, ParameterDoc};
use crate::simd::number::with_number;

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[
    SHACK_HARTMANN_CENTROID,
    Definition {
        kind: "cpu.centroid",
        ..SHACK_HARTMANN_CENTROID
    },
    spot::SPOT_CENTROID,
    tip_tilt::TIP_TILT_CONTROLLER,
];

/// Tells that positions are fractions of a pixel, which integers cut off.
fn warn_of_integers(spec: &NodeSpec) -> Vec<SpecProblem> {
    let outputs = spec
        .outputs
        .iter()
        .filter(|output| !output.dtype.is_float());
    outputs
        .map(|output| {
            SpecProblem::new(
                "output",
                format!(
                    "{}: {:?} is {}, so fractions of a pixel are cut off",
                    spec.kind, output.name, output.dtype
                ),
            )
            .with_hint("make the streams float32")
        })
        .collect()
}

const SHACK_HARTMANN_CENTROID: Definition = Definition {
    kind: "cpu.shack_hartmann_centroid",
    summary: "output[r, c] = (row, column) of the flux-weighted mean of tile (r, c) of the input, \
              from the centre of the tile in pixels; (0, 0) where the flux is not above 0",
    parameters: &[ParameterDoc {
        name: "tile_size",
        doc: "integer of at least 1, required: pixels along a side of a tile; divides both sides \
              of the image",
    }],
    builder: NodeBuilder::Kernel(|spec| build(spec, SimdLevel::best())),
    infer: Some(infer),
    warn: Some(warn_of_integers),
};

fn infer(spec: &NodeSpec) -> Result<Vec<ArraySpec>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let input = check_input(&mut check, spec);
    check.finish()?;
    let outputs = input.iter().map(|(input, geometry)| ArraySpec {
        dtype: input.dtype,
        shape: geometry.centroids_shape().to_vec(),
    });
    Ok(outputs.collect())
}

fn build(spec: &NodeSpec, level: SimdLevel) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let input = check_input(&mut check, spec);
    if let (Some((input, geometry)), Some(output)) = (&input, check.output()) {
        check.same_dtype("output", input, output);
        let expected = geometry.centroids_shape();
        if output.shape != expected {
            let message = format!(
                "{} requires an output of shape {expected:?}, one (row, column) per tile, got {:?} \
                 of shape {:?}",
                spec.kind, output.name, output.shape
            );
            check.problem(SpecProblem::new("output", message));
        }
    }
    check.finish()?;
    // Without a problem there is an input, of real numbers.
    let Some((input, geometry)) = input else {
        return Err(Vec::new());
    };
    let level = tiles::level_for(geometry.tile_size, level);
    with_number!(input.dtype, T => Box::new(Centroid::<T> {
        level,
        geometry,
        pixel: PhantomData,
    }) as Box<dyn Kernel>)
    .ok_or_else(Vec::new)
}

/// The input and its geometry; everything wrong with it and with the parameters is recorded.
fn check_input<'a>(
    check: &mut SpecChecker<'a>,
    spec: &'a NodeSpec,
) -> Option<(&'a StreamSpec, Geometry)> {
    let tile_size = check_tile_size(check, spec);
    check.auxiliary([]);
    let input = check.input()?;
    check.real("input", input);
    let &[rows, columns] = input.shape.as_slice() else {
        let message = format!(
            "{} requires a 2-D image, got {:?} of shape {:?}",
            spec.kind, input.name, input.shape
        );
        check.problem(SpecProblem::new("input", message));
        return None;
    };
    let tile_size = tile_size?;
    if !rows.is_multiple_of(tile_size) || !columns.is_multiple_of(tile_size) {
        let message = format!(
            "{} requires an image whose sides are multiples of 'tile_size' {tile_size}, got {:?} \
             of shape {:?}",
            spec.kind, input.name, input.shape
        );
        check.problem(SpecProblem::new("input", message));
        return None;
    }
    let geometry = Geometry::new(rows / tile_size, columns / tile_size, tile_size);
    Some((input, geometry))
}

/// Parameter `tile_size`.
fn check_tile_size(check: &mut SpecChecker<'_>, spec: &NodeSpec) -> Option<usize> {
    let name = "tile_size";
    let Some(value) = spec.parameters.get(name) else {
        let message = format!(
            "{} requires integer parameter '{name}', which is missing",
            spec.kind
        );
        let hint = "add `tile_size: <pixels>` under `parameters`";
        check.problem(SpecProblem::new(format!("parameters.{name}"), message).with_hint(hint));
        return None;
    };
    let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
    let size = size.filter(|&size| size > 0);
    if size.is_none() {
        check.parameter_problem(name, "a positive integer", value);
    }
    size
}

/// Centroids of images of one shape, with pixels of type `T`.
#[derive(Debug)]
struct Centroid<T> {
    level: SimdLevel,
    geometry: Geometry,
    pixel: PhantomData<T>,
}

impl<T: Pixel> Kernel for Centroid<T> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let ([image], [centroids]) = (inputs.triggers, outputs) else {
            return Err(NodeError::Failed(
                "expected one input and one output array".to_owned(),
            ));
        };
        let expected = self.geometry.image_shape();
        if image.dtype() != T::DTYPE || image.shape() != expected {
            return Err(unlike(
                "input",
                image.dtype(),
                image.shape(),
                T::DTYPE,
                &expected,
            ));
        }
        let expected = self.geometry.centroids_shape();
        if centroids.dtype() != T::DTYPE || centroids.shape() != expected {
            return Err(unlike(
                "output",
                centroids.dtype(),
                centroids.shape(),
                T::DTYPE,
                &expected,
            ));
        }
        let first_pixel = image.as_bytes_ptr().cast();
        let first_centroid = centroids.as_bytes_mut_ptr().cast();
        // SAFETY: both arrays have the dtype and shape of the geometry and outlive this call;
        // the output is exclusive.
        let tiles = unsafe { Tiles::<T>::new(&self.geometry, first_pixel, first_centroid) };
        T::centroids(self.level, tiles);
        Ok(())
    }
}

fn unlike(
    role: &str,
    dtype: DType,
    shape: &[usize],
    expected_dtype: DType,
    expected_shape: &[usize],
) -> NodeError {
    NodeError::Failed(format!(
        "{role} is {dtype} of shape {shape:?}, expected {expected_dtype} of shape \
         {expected_shape:?}"
    ))
}
