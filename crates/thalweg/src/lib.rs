//! Shared-memory arrays and real-time compute pipelines.
//!
//! One crate to depend on: [`shm`] has named streams of arrays, [`kernels`] what stages of a
//! pipeline compute, [`ao`] kinds for adaptive optics, [`pipeline`] configurations and their runs.
//! The types most programs need are here at the top.
//!
//! ```
//! use thalweg::{ArrayRef, DType, Patience, PublishOptions, Stream, StreamOptions, WaitPolicy};
//!
//! # let name = format!("doc-facade-{}", std::process::id());
//! // In one process.
//! let camera = Stream::create(&name, &StreamOptions::new(DType::Float32, &[480, 640]))?;
//! // In another.
//! let display = Stream::open(&name)?;
//!
//! let image = vec![1.0f32; 480 * 640];
//! camera.write(
//!     ArrayRef::from_slice(&image, &[480, 640]),
//!     PublishOptions::default(),
//!     Patience::ENDLESS,
//! )?;
//!
//! display.wait_after(0, WaitPolicy::Adaptive, Patience::ENDLESS)?;
//! let frame = display.borrow()?; // no copy: the writer leaves the frame alone meanwhile
//! assert_eq!(frame.publication().count, 1);
//! assert_eq!(frame.array().to_vec::<f32>()?, image);
//! camera.unlink()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Kernels also run outside a pipeline:
//!
//! ```
//! use thalweg::kernels::run::run;
//! use thalweg::{ArrayRef, Parameters};
//!
//! let parameters: Parameters = serde_json::from_str(r#"{"factor": 2.0}"#)?;
//! let input = [1.0f32, 2.0, 3.0];
//! let inputs = [ArrayRef::from_slice(&input, &[3])];
//! let outputs = run(&thalweg::registry(), "cpu.scale", &inputs, &[], None, &parameters, None)?;
//! assert_eq!(outputs[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub use thalweg_ao as ao;
pub use thalweg_kernels as kernels;
pub use thalweg_kernels::{Definition, Kernel, Parameters, Registry, Sink, Source};
pub use thalweg_pipeline as pipeline;
pub use thalweg_shm as shm;
pub use thalweg_shm::{
    AnyAfter, ArrayMut, ArrayRef, DType, Element, Frame, HistoryFrame, LentMemory, Loan,
    LosslessFrame, LosslessReader, LosslessStat, NextAfter, NextRows, Opening, Patience,
    Publication, PublishOptions, Purged, RowProgress, Stream, StreamDirectory, StreamOptions,
    StreamStat, WaitPolicy, WriteLock,
};

/// Every kind this crate brings: those of [`kernels`] and those of [`ao`].
///
/// Add your own with [`Registry::with`].
pub fn registry() -> Registry {
    Registry::builtin().with(ao::DEFINITIONS)
}
