//! YAML-configured pipelines of processes over shared-memory streams.
//!
//! The room plan: [`config`] turns a document into a [`config::PipelineConfig`] and reports
//! everything that is wrong with it, each problem at its line; [`graph`] derives who feeds whom.
//! Neither of them touches a stream, a process or, but for
//! [`config::PipelineConfig::from_yaml_file`], a file. [`runtime`] does: it makes the streams,
//! starts the workers and watches them.

#![forbid(unsafe_code)]

pub mod config;
pub mod graph;
pub mod runtime;
