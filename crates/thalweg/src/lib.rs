//! Shared-memory arrays and real-time compute pipelines.
