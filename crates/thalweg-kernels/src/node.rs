//! What a node of a pipeline is built from, and the three traits: kernel, source, sink.

use std::any::Any;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_shm::{ArrayError, ArrayMut, ArrayRef, DType};

/// Parameters of a node, as the configuration gives them.
pub type Parameters = serde_json::Map<String, serde_json::Value>;

/// Name, dtype and shape of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSpec {
    /// Name in the configuration, without namespace.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extent of every axis, slowest first; at least one axis.
    pub shape: Vec<usize>,
}

/// An auxiliary stream and the name the node knows it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auxiliary {
    /// The node's own name of the stream; equals the stream's name unless the configuration maps it.
    pub alias: String,
    /// The stream.
    pub stream: StreamSpec,
}

/// Everything a kernel, source or sink is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Name in the configuration.
    pub name: String,
    /// Kind, such as `cpu.scale`.
    pub kind: String,
    /// Trigger streams in declared order; a sink has exactly one, a source none.
    pub inputs: Vec<StreamSpec>,
    /// Auxiliary streams in declared order.
    pub auxiliary: Vec<Auxiliary>,
    /// Output streams in declared order.
    pub outputs: Vec<StreamSpec>,
    /// The expression of `cpu.custom_operation`.
    pub operation: Option<String>,
    /// Parameters; never checked for unknown keys by the configuration itself.
    pub parameters: Parameters,
    /// Folder that relative paths in parameters start from.
    pub base_dir: PathBuf,
}

/// Something wrong with a [`NodeSpec`], in terms of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecProblem {
    /// Where: a path inside the node's entry, such as `parameters.factor` or `input`.
    pub path: String,
    /// What: expected and found.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl SpecProblem {
    /// A problem without a hint.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            hint: None,
        }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A frame could not be computed, produced or consumed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The node's own complaint.
    #[error("{0}")]
    Failed(String),
    /// An exception of the language the node is written in.
    #[error("{message}")]
    Raised {
        /// Its type and text.
        message: String,
        /// Where it was raised, as that language prints it.
        traceback: String,
    },
    /// A view does not have the dtype or size the node was built for.
    #[error(transparent)]
    Array(#[from] ArrayError),
}

/// Inputs of one frame. Valid only during the call; the writer does not touch them meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct FrameInputs<'a> {
    /// One array per trigger stream, in declared order.
    pub triggers: &'a [ArrayRef<'a>],
    /// One array per auxiliary stream, in declared order; zeros until first written.
    pub auxiliary: &'a [ArrayRef<'a>],
    /// Frame id of the (newest) trigger; 0 when nobody stamped it.
    pub frame_id: u64,
}

/// One stage of a pipeline: arrays in, arrays out.
pub trait Kernel: Send {
    /// Computes one frame. `outputs` are fresh slots with undefined contents, one per output
    /// stream; every element has to be written. Must not allocate, lock or call the system.
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError>;

    /// Work on auxiliary stream `index` that is too slow for the frame path, such as repacking a
    /// matrix. The runtime calls the preparer on another thread for every new publication of that
    /// stream (and once before the first frame) and hands its result to [`Kernel::install`]
    /// between two frames.
    fn preparer(&self, index: usize) -> Option<Box<dyn Preparer>> {
        let _unused = index;
        None
    }

    /// Takes over what [`Preparer::prepare`] made of auxiliary stream `index`.
    fn install(&mut self, index: usize, prepared: Box<dyn Any + Send>) {
        let _unused = (index, prepared);
    }

    /// The node's own measurements, fixed in number; `figures` returns them in the same order.
    fn figure_definitions(&self) -> Vec<Figure> {
        Vec::new()
    }

    /// Current values of [`Kernel::figure_definitions`]. Called after every frame: must be cheap.
    fn figures(&self, values: &mut [f64]) {
        let _unused = values;
    }
}

/// The off-frame-path half of a kernel; see [`Kernel::preparer`].
pub trait Preparer: Send {
    /// Makes of `array` what the kernel wants to compute with.
    fn prepare(&mut self, array: ArrayRef<'_>) -> Result<Box<dyn Any + Send>, NodeError>;
}

/// Definition of one measurement a node publishes about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// Name with its unit as suffix, such as `residual_variance_rad2`.
    pub name: String,
    /// Whether values add up or replace each other.
    pub kind: FigureKind,
}

/// How the values of a [`Figure`] relate over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FigureKind {
    /// A sum since the start; the difference of two snapshots is what happened between them.
    Counter,
    /// The newest value.
    Gauge,
}

/// What a source did in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Produced {
    /// Every output was written completely; publish it under this frame id, or leave the streams'
    /// id unchanged.
    Frame {
        /// The id to stamp, at least 1.
        frame_id: Option<u64>,
    },
    /// Nothing to publish now; call again.
    Nothing,
    /// The source has come to its end; do not call again.
    Finished,
}

/// A publication of an auxiliary stream, as a source sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuxiliaryFrame {
    /// Number of the publication, from 1.
    pub count: u64,
    /// Id its writer stamped; 0 when nobody did.
    pub frame_id: u64,
}

/// What the runtime offers a source while it produces.
pub trait SourceContext {
    /// True once the pipeline wants to stop; return [`Produced::Nothing`] soon.
    fn stop_requested(&self) -> bool;

    /// Monotonic time in nanoseconds, the clock of all deadlines.
    fn now_ns(&self) -> u64;

    /// Sleeps until `deadline_ns` (monotonic) or until a stop is requested; true in the latter case.
    fn sleep_until(&mut self, deadline_ns: u64) -> bool;

    /// Copies the newest publication of auxiliary stream `index` into `out`; `None` before the first.
    fn read_auxiliary(
        &mut self,
        index: usize,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError>;

    /// Waits until auxiliary stream `index` has a publication whose frame id is at least
    /// `frame_id` (any publication when 0), then copies it into `out`. `None` on time-out or stop.
    fn wait_auxiliary(
        &mut self,
        index: usize,
        frame_id: u64,
        timeout: Duration,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError>;
}

/// Where frames come from: a camera, a file, a simulation.
pub trait Source: Send {
    /// Produces one frame into `outputs` (fresh slots, undefined contents), pacing itself.
    /// Must return within about 100 ms after a stop was requested.
    fn produce(
        &mut self,
        context: &mut dyn SourceContext,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError>;

    /// As [`Kernel::figure_definitions`].
    fn figure_definitions(&self) -> Vec<Figure> {
        Vec::new()
    }

    /// As [`Kernel::figures`].
    fn figures(&self, values: &mut [f64]) {
        let _unused = values;
    }
}

/// One publication, as a sink gets it.
#[derive(Clone, Copy, Debug)]
pub struct SinkFrame<'a> {
    /// The payload; valid only during the call.
    pub array: ArrayRef<'a>,
    /// Number of the publication, from 1.
    pub count: u64,
    /// Id its writer stamped; 0 when nobody did.
    pub frame_id: u64,
    /// Publications skipped since the last frame this sink consumed.
    pub missed: u64,
}

/// Where frames go to: an actuator, a file, a display.
pub trait Sink: Send {
    /// Consumes one frame.
    fn consume(&mut self, frame: &SinkFrame<'_>) -> Result<(), NodeError>;

    /// As [`Kernel::figure_definitions`].
    fn figure_definitions(&self) -> Vec<Figure> {
        Vec::new()
    }

    /// As [`Kernel::figures`].
    fn figures(&self, values: &mut [f64]) {
        let _unused = values;
    }
}
