//! YAML-configured pipelines of processes over shared-memory streams.
