//! Slopes of an image, by the very kernel that computes them in the pipeline.

use thalweg_kernels::{
    FrameInputs, Kernel, NodeError, NodeRole, NodeSpec, Parameters, Registry, SpecProblem,
    StreamSpec,
};
use thalweg_shm::{ArrayMut, ArrayRef, DType};

const KIND: &str = "cpu.shack_hartmann_centroid";

/// A centroid kernel for square float32 images of square subapertures.
pub(crate) struct Centroids {
    kernel: Box<dyn Kernel>,
    image_shape: [usize; 2],
    centroids_shape: [usize; 3],
}

impl Centroids {
    /// The kernel for `subapertures` across of `pixels` across each.
    pub(crate) fn new(subapertures: usize, pixels: usize) -> Result<Self, Vec<SpecProblem>> {
        let image_shape = [subapertures * pixels; 2];
        let centroids_shape = [subapertures, subapertures, 2];
        let stream = |name: &str, shape: &[usize]| StreamSpec {
            name: name.to_owned(),
            dtype: DType::Float32,
            shape: shape.to_vec(),
        };
        let mut parameters = Parameters::new();
        parameters.insert("tile_size".to_owned(), pixels.into());
        let spec = NodeSpec {
            name: "centroids".to_owned(),
            kind: KIND.to_owned(),
            inputs: vec![stream("image", &image_shape)],
            any_trigger: false,
            auxiliary: Vec::new(),
            outputs: vec![stream("centroids", &centroids_shape)],
            operation: None,
            parameters,
            base_dir: Default::default(),
        };
        let registry = Registry::builtin();
        let builder = registry
            .get(NodeRole::Kernel, KIND)
            .map(|definition| definition.builder);
        let Some(thalweg_kernels::NodeBuilder::Kernel(build)) = builder else {
            let message = format!("this program has no kernel {KIND}");
            return Err(vec![SpecProblem::new("kind", message)]);
        };
        Ok(Self {
            kernel: build(&spec)?,
            image_shape,
            centroids_shape,
        })
    }

    /// Writes the slopes of `image`: for every subaperture, row by row, the displacement along
    /// rows and the one along columns, in pixels.
    pub(crate) fn slopes_into(
        &mut self,
        image: &[f32],
        slopes: &mut [f32],
    ) -> Result<(), NodeError> {
        let inputs = FrameInputs {
            triggers: &[ArrayRef::from_slice(image, &self.image_shape)],
            auxiliary: &[],
            frame_id: 0,
        };
        let mut outputs = [ArrayMut::from_slice(slopes, &self.centroids_shape)];
        self.kernel.compute(&inputs, &mut outputs)
    }
}
