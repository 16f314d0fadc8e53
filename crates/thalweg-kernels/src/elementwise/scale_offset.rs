//! `cpu.scale_offset`: a gain and one offset per element.

use std::marker::PhantomData;

use thalweg_shm::ArrayMut;

use super::{built, check_like_input, single};
use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem};
use crate::registry::{Definition, NodeBuilder, ParameterDoc};
use crate::simd::isa::Isa;
use crate::simd::map::{Function2, map2_array};
use crate::simd::number::{Number, with_number};

pub(super) const SCALE_OFFSET: Definition = Definition {
    kind: "cpu.scale_offset",
    summary: "output = gain * input - offset, the offset being the auxiliary stream",
    parameters: &[ParameterDoc {
        name: "gain",
        doc: "number, required: what every element is multiplied by, in double precision",
    }],
    builder: NodeBuilder::Kernel(build),
    infer: None,
    warn: Some(super::warn_of_fractions),
};

#[derive(Clone, Copy)]
struct ScaleOffset<T> {
    gain: f64,
    element: PhantomData<T>,
}

impl<T: Number> Function2 for ScaleOffset<T> {
    type A = T;
    type B = T;
    type R = T;

    #[inline(always)]
    fn apply(self, a: T, b: T) -> T {
        T::from_f64(self.gain * a.to_f64() - b.to_f64())
    }
}

struct ScaleOffsetKernel<T> {
    isa: Isa,
    function: ScaleOffset<T>,
}

impl<T: Number> Kernel for ScaleOffsetKernel<T> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let (input, output) = single(inputs, outputs)?;
        let [offset] = inputs.auxiliary else {
            return Err(NodeError::Failed(format!(
                "expected 1 auxiliary array, got {}",
                inputs.auxiliary.len()
            )));
        };
        map2_array(self.isa, self.function, input, *offset, output)?;
        Ok(())
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let dtype = check_like_input(&mut check);
    if let (Some([offset]), [input]) = (check.auxiliary(["offset"]), spec.inputs.as_slice()) {
        check.same_shape("auxiliary", input, offset);
        check.same_dtype("auxiliary", input, offset);
    }
    let gain = check.number("gain");
    check.finish()?;
    let isa = Isa::detect();
    let kernel = with_number!(dtype, T => Box::new(ScaleOffsetKernel::<T> {
        isa,
        function: ScaleOffset { gain, element: PhantomData },
    }) as Box<dyn Kernel>);
    built(kernel, spec)
}
