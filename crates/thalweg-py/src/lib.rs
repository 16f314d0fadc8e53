//! The native module of the thalweg Python package.
