//! Adaptive-optics kernels and a simulated telescope for thalweg pipelines.
