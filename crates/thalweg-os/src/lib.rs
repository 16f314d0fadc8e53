//! The operating system as thalweg needs it: shared-memory files, mappings, futexes, process identity.
