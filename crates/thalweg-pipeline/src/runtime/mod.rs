//! Running a pipeline: streams, one process per node, and somebody who watches them.
//!
//! [`Plan`] says what is to be made; [`Pipeline`] makes it, starts the workers, watches and ends
//! them; [`worker_main`] is the whole life of a worker process. Supervisor and workers share three
//! things: the order on the worker's standard input, its reports on standard output, and the run's
//! counters, through which commands go one way and measurements the other.

mod beside;
mod change;
mod endpoint;
mod error;
mod hosted_document;
mod input;
mod launch;
mod measure;
mod message;
mod observe;
mod options;
mod pipeline;
mod pipes;
mod placement;
mod plan;
mod plugin_output;
mod sink_loop;
mod skew;
mod source_loop;
mod stage;
mod status;
mod streams;
mod supervisor;
mod worker;

pub use endpoint::{Commands, Endpoint, EndpointFrame, Wanted};
pub use error::PipelineError;
pub use measure::{Distribution, DistributionValues, StreamMeasurement, measure};
pub use message::{Matching, PlacementReport, RealTime, Role};
pub use observe::ObservedRun;
pub use options::{NodeHost, RunOptions};
pub use pipeline::Pipeline;
pub use pipes::{report_failure, report_metrics};
pub use plan::{NodePlan, Plan, StreamPlan};
pub use plugin_output::PluginOutput;
pub use status::{Durations, FigureValue, Health, NodeStatus, Octave, PipelineState, Status};
pub use streams::StreamsError;
pub use supervisor::{Event, EventKind, Failure, WorkerProgram};
pub use worker::{Assignment, BuiltNode, worker_main, worker_main_with};
