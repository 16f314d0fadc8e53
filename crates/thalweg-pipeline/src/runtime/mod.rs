//! Running a pipeline: streams, one process per node, and somebody who watches them.
//!
//! [`Plan`] says what is to be made; [`Pipeline`] makes it, starts the workers, watches and ends
//! them; [`worker_main`] is the whole life of a worker process. Supervisor and workers share three
//! things: the order on the worker's standard input, its reports on standard output, and the run's
//! counters, through which commands go one way and measurements the other.

mod endpoint;
mod input;
mod kernel_loop;
mod message;
mod pipeline;
mod plan;
mod sink_loop;
mod source_loop;
mod status;
mod streams;
mod supervisor;
mod worker;

pub use endpoint::{Endpoint, EndpointFrame, Wanted};
pub use message::Role;
pub use pipeline::{NodeHost, Pipeline, PipelineError, RunOptions};
pub use plan::{NodePlan, Plan, StreamPlan};
pub use status::{Durations, FigureValue, Health, NodeStatus, PipelineState, Status};
pub use streams::StreamsError;
pub use supervisor::{Failure, WorkerProgram};
pub use worker::{BuiltNode, worker_main, worker_main_with};
