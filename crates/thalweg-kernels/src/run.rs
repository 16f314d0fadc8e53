//! Evaluates one kernel once on arrays, outside any pipeline.
