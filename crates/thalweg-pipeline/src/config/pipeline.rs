//! The configuration as a whole, and how it is read and written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::document::{Node, Span, parse_yaml, write_yaml};
use super::entry_writer::{EntryWriter, Extent};
use super::fields::Problems;
use super::root::read_root;
use super::{
    Diagnostic, Diagnostics, KernelConfig, NodeConfig, PipelinePlacement, Positions, SinkConfig,
    SourceConfig, StreamConfig,
};

/// Everything a pipeline is built from.
///
/// Two configurations are equal when they describe the same pipeline: paths, positions and warnings
/// do not count.
#[derive(Clone, Debug, Default)]
pub struct PipelineConfig {
    /// Prefix of the streams' names in the system; see [`Self::resource_name`].
    pub namespace: Option<String>,
    /// How nodes without a placement of their own are spread over the CPUs.
    pub placement: PipelinePlacement,
    /// The streams, in declared order, at least one.
    pub streams: Vec<StreamConfig>,
    /// The kernels, in declared order.
    pub kernels: Vec<KernelConfig>,
    /// The sources, in declared order.
    pub sources: Vec<SourceConfig>,
    /// The sinks, in declared order.
    pub sinks: Vec<SinkConfig>,
    /// Folder that relative paths in parameters start from.
    pub base_path: PathBuf,
    /// The file the configuration came from.
    pub source_path: Option<PathBuf>,
    /// Where everything stands in that file.
    pub positions: Positions,
    /// What was odd about the document, in its order; see also [`super::warnings`].
    pub warnings: Vec<Diagnostic>,
}

/// What reading a document came to.
#[derive(Debug)]
pub struct Reading {
    /// The configuration, if there is no error.
    pub config: Option<PipelineConfig>,
    /// Errors and warnings in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

impl Reading {
    /// `config`, unless there is an error among `problems`.
    fn new(config: Option<PipelineConfig>, problems: Problems) -> Self {
        let Diagnostics(diagnostics) = Diagnostics::sorted(problems);
        let is_usable = !diagnostics.iter().any(Diagnostic::is_error);
        let warnings = || diagnostics.clone();
        Self {
            config: config.filter(|_| is_usable).map(|config| PipelineConfig {
                warnings: warnings(),
                ..config
            }),
            diagnostics,
        }
    }

    /// The same with every diagnostic attributed to `file`.
    fn in_file(self, file: &Path) -> Self {
        let located = |diagnostics: Vec<Diagnostic>| Diagnostics(diagnostics).in_file(file).0;
        Self {
            config: self.config.map(|config| PipelineConfig {
                warnings: located(config.warnings),
                ..config
            }),
            diagnostics: located(self.diagnostics),
        }
    }

    /// The configuration.
    ///
    /// # Errors
    ///
    /// The errors, without the warnings.
    pub fn into_result(self) -> Result<PipelineConfig, Diagnostics> {
        let errors = self.diagnostics.into_iter().filter(Diagnostic::is_error);
        self.config.ok_or_else(|| Diagnostics(errors.collect()))
    }
}

impl PartialEq for PipelineConfig {
    fn eq(&self, other: &Self) -> bool {
        self.namespace == other.namespace
            && self.placement == other.placement
            && self.streams == other.streams
            && self.kernels == other.kernels
            && self.sources == other.sources
            && self.sinks == other.sinks
    }
}

impl PipelineConfig {
    /// Reads a configuration from YAML text. `source_path` is what problems are attributed to, and
    /// its folder becomes the base path; the file itself is not touched.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text, in the order of the text.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg_pipeline::config::PipelineConfig;
    ///
    /// let text = "
    /// shared_memory:
    ///   - {name: raw, shape: [4], dtype: float32}
    ///   - {name: scaled, shape: [4], dtype: float32}
    /// kernels:
    ///   - {name: scale, kind: cpu.scale, input: raw, output: scald}
    /// ";
    /// let problems = PipelineConfig::from_yaml_str(text, "pipeline.yaml".as_ref()).unwrap_err();
    /// assert_eq!(
    ///     problems.to_string(),
    ///     "pipeline.yaml:6:56: kernels[0].output: kernel 'scale' references undefined shared \
    ///      memory: scald (hint: did you mean `scaled`?)"
    /// );
    /// ```
    pub fn from_yaml_str(text: &str, source_path: &Path) -> Result<Self, Diagnostics> {
        Self::read_yaml_str(text, source_path).into_result()
    }

    /// [`Self::from_yaml_str`], with the warnings also where there are errors.
    pub fn read_yaml_str(text: &str, source_path: &Path) -> Reading {
        let parsed = parse_yaml(text);
        let mut problems = Problems::new();
        let config = parsed.root.and_then(|root| Self::read(root, &mut problems));
        // What could not be read properly is not complained about a second time.
        let place = |problem: &Diagnostic| (problem.line, problem.column);
        let unreadable: BTreeSet<_> = parsed.problems.iter().map(place).collect();
        problems.retain(|problem| !unreadable.contains(&place(problem)));
        problems.extend(parsed.problems);
        let config = config.map(|config| Self {
            base_path: source_path.parent().unwrap_or(source_path).to_owned(),
            source_path: Some(source_path.to_owned()),
            positions: config.positions.in_file(source_path),
            ..config
        });
        Reading::new(config, problems).in_file(source_path)
    }

    /// Reads a configuration from a YAML file. Problems name the file as it was given here;
    /// `source_path` and `base_path` become absolute.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not UTF-8; everything that is wrong with its text.
    pub fn from_yaml_file(path: &Path) -> Result<Self, Diagnostics> {
        Self::read_yaml_file(path).into_result()
    }

    /// [`Self::from_yaml_file`], with the warnings also where there are errors.
    pub fn read_yaml_file(path: &Path) -> Reading {
        let text_of = || -> Result<(String, PathBuf), Diagnostic> {
            let bytes = fs::read(path).map_err(|error| {
                Diagnostic::new("", format!("cannot read the configuration: {error}"))
            })?;
            let text = String::from_utf8(bytes).map_err(|error| {
                let valid = error.utf8_error().valid_up_to();
                not_utf8(error.as_bytes().get(..valid).unwrap_or_default())
            })?;
            let absolute = std::path::absolute(path).map_err(|error| {
                let message = format!("cannot find the folder of the configuration: {error}");
                Diagnostic::new("", message)
            })?;
            Ok((text, absolute))
        };
        match text_of() {
            Ok((text, absolute)) => {
                let reading = Self::read_yaml_str(&text, path);
                let config = reading.config.map(|config| Self {
                    base_path: absolute.parent().unwrap_or(&absolute).to_owned(),
                    source_path: Some(absolute),
                    ..config
                });
                Reading { config, ..reading }
            }
            Err(problem) => Reading::new(None, vec![problem]).in_file(path),
        }
    }

    /// Reads a configuration from a JSON value, such as a Python dictionary makes. Relative paths
    /// in parameters start from `base_path`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the value; problems have a path but no line.
    pub fn from_json(json: &Json, base_path: &Path) -> Result<Self, Diagnostics> {
        Self::read_json(json, base_path).into_result()
    }

    /// [`Self::from_json`], with the warnings also where there are errors.
    pub fn read_json(json: &Json, base_path: &Path) -> Reading {
        let mut problems = Problems::new();
        let config = match Node::from_json(json) {
            Ok(root) => Self::read(root, &mut problems),
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        let config = config.map(|config| Self {
            base_path: base_path.to_owned(),
            ..config
        });
        Reading::new(config, problems)
    }

    /// The configuration as a JSON value that [`Self::from_json`] reads back without any loss. Keys
    /// whose value is the default are left out, but for each stream's dtype.
    pub fn to_json(&self) -> Json {
        self.write(Extent::Brief)
    }

    /// [`Self::to_json`] with every default filled in: what a program reads that wants to know
    /// instead of to infer. Streams are always listed (`inputs`, `outputs`, `streams`) and
    /// auxiliary streams always mapped by alias; what is not set is null. Only `synchronization`
    /// is left out where there is none.
    pub fn to_json_complete(&self) -> Json {
        self.write(Extent::Complete)
    }

    fn write(&self, extent: Extent) -> Json {
        let mut root = EntryWriter::new(extent);
        root.put_option("namespace", self.namespace.as_deref());
        let placement = self.placement.to_json(extent);
        root.put_unless(
            self.placement == PipelinePlacement::default(),
            "placement",
            placement,
        );
        let streams = self.streams.iter();
        let streams: Vec<Json> = streams.map(|stream| stream.to_json(extent)).collect();
        root.put("shared_memory", streams);
        let sources = self.sources.iter();
        let sources: Vec<Json> = sources.map(|source| source.to_json(extent)).collect();
        root.put_unless(sources.is_empty(), "sources", sources);
        let kernels = self.kernels.iter();
        let kernels: Vec<Json> = kernels.map(|kernel| kernel.to_json(extent)).collect();
        root.put_unless(kernels.is_empty(), "kernels", kernels);
        let sinks = self.sinks.iter();
        let sinks: Vec<Json> = sinks.map(|sink| sink.to_json(extent)).collect();
        root.put_unless(sinks.is_empty(), "sinks", sinks);
        root.finish()
    }

    /// The configuration as YAML text that [`Self::from_yaml_str`] reads back without any loss.
    ///
    /// # Errors
    ///
    /// The YAML writer's; no configuration is known that makes it fail.
    pub fn to_yaml(&self) -> Result<String, Diagnostic> {
        write_yaml(&self.to_json()).map_err(|error| {
            Diagnostic::new(
                "",
                format!("cannot write the configuration as YAML: {error}"),
            )
        })
    }

    /// The stream `name`.
    pub fn stream(&self, name: &str) -> Option<&StreamConfig> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// All sources, kernels and sinks, in this order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeConfig<'_>> {
        let sources = self.sources.iter().map(NodeConfig::Source);
        let kernels = self.kernels.iter().map(NodeConfig::Kernel);
        let sinks = self.sinks.iter().map(NodeConfig::Sink);
        sources.chain(kernels).chain(sinks)
    }

    /// All sources, kernels and sinks as by [`Self::nodes`], each with its path in the document,
    /// such as `kernels[1]`.
    pub fn nodes_with_paths(&self) -> impl Iterator<Item = (String, NodeConfig<'_>)> {
        let counts = [
            ("sources", self.sources.len()),
            ("kernels", self.kernels.len()),
            ("sinks", self.sinks.len()),
        ];
        let paths = counts
            .into_iter()
            .flat_map(|(key, count)| (0..count).map(move |index| format!("{key}[{index}]")));
        paths.zip(self.nodes())
    }

    /// The name by which the system knows this pipeline's stream `name`:
    /// `<namespace>.<name>`, or the name itself without a namespace. Everybody who touches a stream
    /// has to ask here.
    pub fn resource_name(&self, name: &str) -> String {
        resource_name(self.namespace.as_deref(), name)
    }

    /// The configuration in the tree, without paths; `None` when not even a part of it makes sense.
    fn read(root: Node, problems: &mut Problems) -> Option<Self> {
        let config = read_root(&root, problems)?;
        Some(Self {
            positions: Positions::of(root),
            ..config
        })
    }
}

/// See [`PipelineConfig::resource_name`].
pub(super) fn resource_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}.{name}"),
        None => name.to_owned(),
    }
}

fn not_utf8(valid: &[u8]) -> Diagnostic {
    let text = String::from_utf8_lossy(valid);
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let clamp = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let span = Span {
        line: clamp(line),
        column: clamp(column),
    };
    Diagnostic::new("", format!("line {line} is not UTF-8 text"))
        .at(Some(span))
        .with_hint("save the file as UTF-8")
}
