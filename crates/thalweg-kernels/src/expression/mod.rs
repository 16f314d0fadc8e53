//! `cpu.custom_operation`: an arithmetic expression over the input and the auxiliary streams.
//!
//! Text becomes tokens ([`lexer`]), a syntax tree ([`parser`]), a graph with a dtype and a shape
//! for every value ([`graph`]), a plan of stages ([`plan`]) and at last loops over blocks
//! ([`evaluate`], [`functions`]). Nothing is computed before the first frame: dtypes and shapes
//! follow from rules, not from samples.
//!
//! Names are compared as written, without Unicode normalisation.

mod error;
mod evaluate;
mod functions;
mod graph;
mod kernel;
mod layout;
mod lexer;
mod parser;
mod plan;
mod promotion;
mod scalar;
#[cfg(test)]
mod tests;

pub(crate) use kernel::DEFINITIONS;
