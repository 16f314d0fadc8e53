//! Kinds and their definitions: what `kind: cpu.scale` in a configuration stands for.

use std::collections::BTreeMap;
use std::fmt;

use thalweg_shm::DType;

use crate::centroid;
use crate::elementwise;
use crate::expression;
use crate::file_sink;
use crate::matrix_vector;
use crate::node::{Kernel, NodeSpec, Sink, Source, SpecProblem};
use crate::null_sink;
use crate::raise_error;
use crate::reduce;
use crate::replay;
use crate::synthetic;
use crate::tomographic;

/// Builds a kernel from its specification, or tells everything that is wrong with it.
pub type BuildKernel = fn(&NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>>;
/// Builds a source from its specification, or tells everything that is wrong with it.
pub type BuildSource = fn(&NodeSpec) -> Result<Box<dyn Source>, Vec<SpecProblem>>;
/// Builds a sink from its specification, or tells everything that is wrong with it.
pub type BuildSink = fn(&NodeSpec) -> Result<Box<dyn Sink>, Vec<SpecProblem>>;

/// Element type and shape of an array that has no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArraySpec {
    /// Element type.
    pub dtype: DType,
    /// Extent of every axis, slowest first.
    pub shape: Vec<usize>,
}

/// The outputs a kernel kind makes of its inputs, for callers that do not name them. The
/// specification it gets is complete but for `outputs`, which is empty.
pub type InferOutputs = fn(&NodeSpec) -> Result<Vec<ArraySpec>, Vec<SpecProblem>>;

/// What about a specification that can be built is probably not what was meant, such as fractions
/// on a stream of integers.
pub type Warn = fn(&NodeSpec) -> Vec<SpecProblem>;

/// The build function of a kind. Building must be cheap and free of side effects: validation
/// builds every node and drops it. Open files and allocate large memory with the first frame.
#[derive(Clone, Copy)]
pub enum NodeBuilder {
    /// A kernel kind.
    Kernel(BuildKernel),
    /// A source kind.
    Source(BuildSource),
    /// A sink kind.
    Sink(BuildSink),
}

/// The three roles a node can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeRole {
    /// Arrays in, arrays out.
    Kernel,
    /// Arrays out.
    Source,
    /// Arrays in.
    Sink,
}

impl NodeBuilder {
    /// The role of what it builds.
    pub fn role(&self) -> NodeRole {
        match self {
            Self::Kernel(_) => NodeRole::Kernel,
            Self::Source(_) => NodeRole::Source,
            Self::Sink(_) => NodeRole::Sink,
        }
    }
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeBuilder({:?})", self.role())
    }
}

/// One parameter of a kind, for help texts and documentation.
#[derive(Clone, Copy, Debug)]
pub struct ParameterDoc {
    /// Key in `parameters`.
    pub name: &'static str,
    /// Type, unit, default and meaning in one line.
    pub doc: &'static str,
}

/// A kind: its name, its documentation and how to build a node of it.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Kind, such as `cpu.scale`.
    pub kind: &'static str,
    /// One line: what it computes.
    pub summary: &'static str,
    /// Its parameters.
    pub parameters: &'static [ParameterDoc],
    /// How to build it.
    pub builder: NodeBuilder,
    /// What a kernel's outputs are when nobody says; `None` stands for one output like the first
    /// input, and for sources and sinks.
    pub infer: Option<InferOutputs>,
    /// What it has to say about a specification that can be built; `None` stands for nothing.
    pub warn: Option<Warn>,
}

impl Definition {
    /// What about `spec`, which can be built, is probably not what was meant.
    pub fn warnings(&self, spec: &NodeSpec) -> Vec<SpecProblem> {
        self.warn.map_or_else(Vec::new, |warn| warn(spec))
    }

    /// The outputs a kernel of this kind has on the inputs of `spec`, whose own outputs are ignored.
    ///
    /// # Errors
    ///
    /// What is wrong with the specification as far as its outputs depend on it.
    pub fn infer_outputs(&self, spec: &NodeSpec) -> Result<Vec<ArraySpec>, Vec<SpecProblem>> {
        let spec = NodeSpec {
            outputs: Vec::new(),
            ..spec.clone()
        };
        if let Some(infer) = self.infer {
            return infer(&spec);
        }
        match spec.inputs.first() {
            Some(input) => Ok(vec![ArraySpec {
                dtype: input.dtype,
                shape: input.shape.clone(),
            }]),
            None => Err(vec![SpecProblem::new(
                "input",
                format!("{} needs at least one input, none was given", self.kind),
            )]),
        }
    }
}

/// The definitions of each module of this crate.
const BUILTIN: &[&[Definition]] = &[
    centroid::DEFINITIONS,
    elementwise::DEFINITIONS,
    expression::DEFINITIONS,
    file_sink::DEFINITIONS,
    null_sink::DEFINITIONS,
    raise_error::DEFINITIONS,
    reduce::DEFINITIONS,
    replay::DEFINITIONS,
    synthetic::DEFINITIONS,
    tomographic::DEFINITIONS,
    matrix_vector::DEFINITIONS,
];

/// All kinds known to a program.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    definitions: BTreeMap<(NodeRole, &'static str), Definition>,
}

impl Registry {
    /// Every kind of this crate.
    pub fn builtin() -> Self {
        BUILTIN.iter().fold(Self::empty(), |registry, definitions| {
            registry.with(definitions)
        })
    }

    /// A registry without any kind.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds `definitions`; a later definition of the same role and kind replaces an earlier one.
    #[must_use]
    pub fn with(mut self, definitions: &[Definition]) -> Self {
        for definition in definitions {
            let key = (definition.builder.role(), definition.kind);
            self.definitions.insert(key, *definition);
        }
        self
    }

    /// The definition of `kind` in `role`.
    pub fn get(&self, role: NodeRole, kind: &str) -> Option<&Definition> {
        self.definitions
            .iter()
            .find(|((known_role, known_kind), _)| *known_role == role && *known_kind == kind)
            .map(|(_, definition)| definition)
    }

    /// All definitions of `role`, sorted by kind.
    pub fn kinds(&self, role: NodeRole) -> impl Iterator<Item = &Definition> {
        self.definitions
            .values()
            .filter(move |definition| definition.builder.role() == role)
    }
}
