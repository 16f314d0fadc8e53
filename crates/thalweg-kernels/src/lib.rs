//! Compute kernels, sources and sinks on shared-memory arrays, with run-time SIMD dispatch.
//!
//! The room plan: [`node`] holds what every node of a pipeline is built from and the three traits
//! (kernel, source, sink); [`registry`] maps a kind such as `cpu.scale` to its definition;
//! [`run`] evaluates one kernel once on arrays; [`check`] and [`pacing`] are what kinds, here and
//! in other crates, are written with; [`initial`] fills streams before anybody writes them, with
//! [`numpy_random`] where they hold noise.
//!
//! The kinds themselves: `elementwise` (copy, flatten, concatenate, scale, add, integrate),
//! `reduce`, `expression` (custom operations), [`matrix_vector`], `centroid`, `tomographic`,
//! `raise_error`, `synthetic` and `replay` (sources), `null_sink` and `file_sink`. [`files`] reads
//! and writes the arrays and recordings that sources and sinks deal with. `simd` is the floor they
//! compute on, and the only place with unsafe code beside the SIMD modules of the matrix product
//! and the centroids.

mod centroid;
pub mod check;
mod elementwise;
mod expression;
mod file_sink;
pub mod files;
pub mod initial;
pub mod matrix_vector;
pub mod node;
mod null_sink;
pub mod numpy_random;
mod owned_array;
pub mod pacing;
mod raise_error;
mod reduce;
pub mod registry;
mod replay;
pub mod run;
mod simd;
mod synthetic;
#[cfg(test)]
mod testing;
mod tomographic;

pub use node::{
    AuxiliaryFrame, Figure, FigureKind, FillOutput, FrameInputs, Kernel, NodeError, NodeSpec,
    Parameters, Preparer, Produced, Sink, SinkContext, SinkFrame, Source, SourceContext,
    SpecProblem, StreamSpec,
};
pub use owned_array::{ArrayTooLarge, OwnedArray};
pub use registry::{
    ArraySpec, Definition, InferOutputs, NodeBuilder, NodeRole, ParameterDoc, Registry, Warn,
};
