//! Pipeline configurations: documents in, typed values or a list of problems out.
//!
//! A document (YAML text, or a JSON value made from Python dictionaries) becomes a tree whose
//! values know their line ([`document`]). Reading the tree checks everything that can be told
//! without knowing kernels: types, names, references, sizes. What depends on kinds is checked by
//! [`validate`], which builds every node once and throws it away. Both report all problems at once.
//!
//! Documents may come from anybody: nesting, aliases and sizes are bounded, and nothing of a
//! stream's size is ever allocated here.

mod diagnostic;
pub mod document;
mod endpoint;
mod entry_writer;
mod execution;
mod fields;
mod grammar;
mod initial;
mod json_schema;
mod kernel;
mod node;
mod normalize;
mod pipeline;
mod placement;
mod positions;
mod restart;
mod root;
mod seconds;
mod stream;
mod suggestion;
mod validate;
mod warnings;
mod wiring;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use endpoint::{SinkConfig, SourceConfig};
pub use execution::{EndpointProcess, wait_policy_name};
pub use grammar::reference_tables;
pub use json_schema::{Strictness, json_schema};
pub use kernel::{KernelConfig, SkewPolicy, Synchronization, SynchronizationMode, TriggerPolicy};
pub use node::{NodeConfig, UndefinedStream, node_spec};
pub use normalize::normalize_entry;
pub use pipeline::{PipelineConfig, Reading};
pub use placement::{PipelinePlacement, Placement, PlacementPolicy, Scheduler};
pub use positions::Positions;
pub use restart::{Restart, RestartPolicy};
pub use seconds::Seconds;
pub use stream::{DEFAULT_SLOTS, Storage, StreamConfig, StreamMode};
pub use validate::{check, check_hosted, validate, validate_hosted};
pub use warnings::warnings;
pub use wiring::AuxiliaryBinding;
