//! What a node of a pipeline is built from, and the three traits: kernel, source, sink.

use std::any::Any;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_shm::{ArrayError, ArrayMut, ArrayRef, DType, Publication, PublishOptions};

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
    /// Whether one new frame on any trigger stream starts the kernel (`trigger_policy: any_new`);
    /// otherwise every trigger has to have a new one (`all_new`).
    #[serde(default)]
    pub any_trigger: bool,
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

/// Writes a lent slot, which has undefined contents, completely.
pub type FillOutput<'f> = &'f mut dyn FnMut(&mut ArrayMut<'_>) -> Result<(), NodeError>;

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

    /// Waits until auxiliary stream `index` has more than `after_count` publications, and returns
    /// the newest one's facts. `None` on time-out or stop. With a `timeout` of zero it only looks.
    fn wait_publication(
        &mut self,
        index: usize,
        after_count: u64,
        timeout: Duration,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        let _unused = (after_count, timeout);
        Err(NodeError::Failed(format!(
            "this runtime cannot wait for a publication of auxiliary stream {index}"
        )))
    }

    /// Lends a fresh slot of output `index`, has `fill` write it and publishes it at once. Only
    /// for sources that say [`Source::writes_outputs`].
    fn write_output(
        &mut self,
        index: usize,
        options: PublishOptions,
        fill: FillOutput<'_>,
    ) -> Result<Publication, NodeError> {
        let _unused = (options, fill);
        Err(NodeError::Failed(format!(
            "this runtime lends slots only, it cannot write output {index} by itself"
        )))
    }
}

/// Where frames come from: a camera, a file, a simulation.
pub trait Source: Send {
    /// Opens devices and files, before the pipeline counts as started; an error ends the start.
    fn open(&mut self, context: &mut dyn SourceContext) -> Result<(), NodeError> {
        let _unused = context;
        Ok(())
    }

    /// Whether the source writes its outputs by itself, each when it wants to, through
    /// [`SourceContext::write_output`]. `produce` then gets no slots, nothing is held while it
    /// sleeps, and [`Produced::Frame`] counts one generation, whatever was written of it.
    fn writes_outputs(&self) -> bool {
        false
    }

    /// Produces one frame into `outputs` (fresh slots, undefined contents), pacing itself.
    /// Must return within about 100 ms after a stop was requested.
    fn produce(
        &mut self,
        context: &mut dyn SourceContext,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError>;

    /// Closes what was opened: the last call, at the end of the source, of the run or after an
    /// error.
    fn close(&mut self) -> Result<(), NodeError> {
        Ok(())
    }

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
    /// Wall time of publication in ns since 1970.
    pub wall_ns: u64,
    /// Monotonic time of publication in ns.
    pub publish_ns: u64,
    /// Monotonic time in ns at which the data entered the system.
    pub origin_ns: u64,
    /// Publications skipped since the last frame this sink consumed.
    pub missed: u64,
}

impl<'a> SinkFrame<'a> {
    /// The frame published with `publication`, after `missed` others.
    pub fn new(array: ArrayRef<'a>, publication: Publication, missed: u64) -> Self {
        Self {
            array,
            count: publication.count,
            frame_id: publication.frame_id,
            wall_ns: publication.wall_ns,
            publish_ns: publication.publish_ns,
            origin_ns: publication.origin_ns,
            missed,
        }
    }

    /// What was published beside the payload.
    pub fn publication(&self) -> Publication {
        Publication {
            count: self.count,
            frame_id: self.frame_id,
            wall_ns: self.wall_ns,
            publish_ns: self.publish_ns,
            origin_ns: self.origin_ns,
        }
    }
}

/// What the runtime offers a sink while it consumes.
pub trait SinkContext {
    /// True once the pipeline wants to stop.
    fn stop_requested(&self) -> bool;

    /// True if the sink was at work in this run of the pipeline before, and is started again now: what
    /// it finds where it writes is its own.
    fn is_restart(&self) -> bool {
        false
    }

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

    /// Lends a fresh slot of output `index`, has `fill` write it and publishes it at once. Without
    /// an origin time in `options` it is that of the frame being consumed.
    fn write_output(
        &mut self,
        index: usize,
        options: PublishOptions,
        fill: FillOutput<'_>,
    ) -> Result<Publication, NodeError>;
}

/// Where frames go to: an actuator, a file, a display. Implement one of [`Sink::consume`] and
/// [`Sink::consume_with`].
pub trait Sink: Send {
    /// Opens devices and files, before the pipeline counts as started; an error ends the start.
    fn open(&mut self, context: &mut dyn SinkContext) -> Result<(), NodeError> {
        let _unused = context;
        Ok(())
    }

    /// Consumes one frame.
    fn consume(&mut self, frame: &SinkFrame<'_>) -> Result<(), NodeError> {
        let _unused = frame;
        Err(NodeError::Failed(
            "this sink consumes frames only with a context".to_owned(),
        ))
    }

    /// Consumes one frame; may read auxiliary streams and write the sink's outputs.
    fn consume_with(
        &mut self,
        frame: &SinkFrame<'_>,
        context: &mut dyn SinkContext,
    ) -> Result<(), NodeError> {
        let _unused = context;
        self.consume(frame)
    }

    /// Closes what was opened: the last call, at the end of the run or after an error.
    fn close(&mut self) -> Result<(), NodeError> {
        Ok(())
    }

    /// As [`Kernel::figure_definitions`].
    fn figure_definitions(&self) -> Vec<Figure> {
        Vec::new()
    }

    /// As [`Kernel::figures`].
    fn figures(&self, values: &mut [f64]) {
        let _unused = values;
    }
}
