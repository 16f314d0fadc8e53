//! The native module of the thalweg Python package.
//!
//! `thalweg._native` is private: the public, typed package in `python/thalweg` wraps it.

use pyo3::prelude::*;

/// The native part of thalweg; use the package `thalweg` instead.
#[pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
