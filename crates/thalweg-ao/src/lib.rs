//! Adaptive optics for thalweg pipelines: a simulated telescope, and the calibration of it.
//!
//! This crate registers its kinds exactly as one outside this repository would: it implements the
//! traits of `thalweg-kernels` and offers a list of [`DEFINITIONS`] that a program adds to its
//! registry. Nothing above or below knows the kinds by name.
//!
//! The room plan, in the order light takes: [`phase_screen`] (atmosphere), [`pupil`] (telescope),
//! [`deformable_mirror`], [`wavefront_sensor`], [`detector`]; [`instrument`] puts them together as
//! [`instrument_parameters`] say. Two sources use the instrument: `telescope` (`ao.telescope`)
//! observes with it, `calibration` (`ao.calibration`) measures it, with [`reconstructor`] for the
//! algebra.
//!
//! Arrays are square, row by row. Rows grow downwards; slopes come as (row, column) pairs.
#![forbid(unsafe_code)]

mod calibration;
pub mod deformable_mirror;
pub mod detector;
pub mod instrument;
pub mod instrument_parameters;
mod parameter_reader;
pub mod phase_screen;
pub mod pupil;
mod random;
pub mod reconstructor;
mod telescope;
pub mod wavefront_sensor;

use thalweg_kernels::Definition;

/// The kinds of this crate, for [`thalweg_kernels::Registry::with`].
pub const DEFINITIONS: &[Definition] = &[telescope::DEFINITION, calibration::DEFINITION];
