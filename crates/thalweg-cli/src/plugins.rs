//! Kinds that installed Python packages offer: asks an interpreter, and only when there is something
//! to ask.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};
use thalweg::kernels::{NodeRole, Registry};
use thalweg::pipeline::config::{Diagnostic, Diagnostics, PipelineConfig, validate_hosted};
use thalweg::pipeline::runtime::{NodeHost, WorkerProgram};

/// Names the interpreter that has the plugins.
const INTERPRETER_VARIABLE: &str = "THALWEG_PYTHON";
const NAMES: [&str; 2] = ["python3", "python"];
const WORKER_ARGUMENTS: [&str; 2] = ["-m", "thalweg.worker"];

/// The plugins that a configuration uses.
#[derive(Debug, Default)]
pub(crate) struct Plugins {
    /// Who runs the nodes with kinds of plugins, by name.
    pub(crate) hosts: BTreeMap<String, NodeHost>,
    /// What plugins, or the search for them, have found wrong.
    pub(crate) problems: Vec<Diagnostic>,
}

/// A kind that an installed package offers.
#[derive(Debug, Deserialize)]
pub(crate) struct PluginKind {
    /// Name of the kind.
    pub(crate) kind: String,
    /// `kernel`, `source` or `sink`.
    pub(crate) role: String,
    /// The first line of its documentation.
    pub(crate) summary: String,
    /// The package and its version.
    pub(crate) distribution: String,
    /// Why it cannot be loaded.
    pub(crate) problem: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Answer {
    version: String,
    #[serde(default)]
    kinds: Vec<PluginKind>,
    #[serde(default)]
    nodes: BTreeMap<String, NodeAnswer>,
    #[serde(default)]
    problems: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct NodeAnswer {
    plugin: Option<Value>,
    #[serde(default)]
    problems: Vec<String>,
}

/// The plugins that `config` uses. Without kinds that `registry` does not know, no interpreter is
/// started.
pub(crate) fn find(config: &PipelineConfig, registry: &Registry) -> Plugins {
    let unknown: Vec<(String, &str)> = config
        .nodes_with_paths()
        .filter(|(_, node)| {
            // Kinds of GPU streams have a diagnostic of their own.
            registry.get(node.role(), node.kind()).is_none() && !node.kind().starts_with("gpu.")
        })
        .map(|(path, node)| (path, node.name()))
        .collect();
    let Some((first_path, _)) = unknown.first() else {
        return Plugins::default();
    };
    let names: Vec<&str> = unknown.iter().map(|(_, name)| *name).collect();
    let question = json!({
        "config": config.to_json(),
        "base_path": config.base_path,
        "nodes": names,
    });
    let located = |path: &str, message: String| {
        let problem = Diagnostic::new(format!("{path}.kind"), message);
        config.positions.locate(problem)
    };
    let (interpreter, mut answer) = match interpreter().and_then(|found| ask(found, &question)) {
        Ok(answered) => answered,
        // A name like those of built-in kinds is a mistyped one, most likely.
        Err(_)
            if unknown
                .iter()
                .all(|(path, _)| is_like_built_in(config, registry, path)) =>
        {
            return Plugins::default();
        }
        Err(reason) => {
            let message = format!("kinds of plugins were not looked for: {reason}");
            let problem = located(first_path, message).with_hint(format!(
                "let {INTERPRETER_VARIABLE} name the interpreter that has the plugins"
            ));
            return Plugins {
                hosts: BTreeMap::new(),
                problems: vec![problem],
            };
        }
    };
    let mut plugins = Plugins::default();
    for (path, name) in unknown {
        let about = answer.nodes.remove(name).unwrap_or_default();
        // A node that its plugin does not accept has its diagnostics, too.
        if about.plugin.is_some() || !about.problems.is_empty() {
            let host = NodeHost::Program {
                program: WorkerProgram {
                    program: interpreter.clone(),
                    arguments: WORKER_ARGUMENTS.map(str::to_owned).to_vec(),
                },
                plugin: about.plugin.unwrap_or_default(),
            };
            plugins.hosts.insert(name.to_owned(), host);
        }
        let problems = about.problems.into_iter();
        plugins
            .problems
            .extend(problems.map(|message| located(&path, message)));
    }
    let about_all = answer.problems.into_iter();
    plugins
        .problems
        .extend(about_all.map(|message| Diagnostic::new("sources", message)));
    plugins
}

/// Who runs the nodes of `config` whose kinds plugins offer.
///
/// # Errors
///
/// Everything that is wrong with `config`, if plugins have found something.
pub(crate) fn hosts(
    config: &PipelineConfig,
    registry: &Registry,
) -> Result<BTreeMap<String, NodeHost>, Diagnostics> {
    let Plugins { hosts, problems } = find(config, registry);
    if problems.is_empty() {
        // Whoever makes the pipeline checks the rest.
        return Ok(hosts);
    }
    let mut all = validate_hosted(config, registry, &|name| hosts.contains_key(name));
    all.extend(problems);
    Err(Diagnostics(all))
}

/// All kinds that installed packages offer in the role `role`. Where there is no interpreter with this package, there
/// are none; that is only worth telling if somebody named one.
pub(crate) fn installed(role: &str) -> Vec<PluginKind> {
    let asked = interpreter().and_then(|found| ask(found, &json!({"kinds": true})));
    match asked {
        Ok((_, answer)) => {
            let kinds = answer.kinds.into_iter();
            kinds.filter(|found| found.role == role).collect()
        }
        Err(reason) => {
            if std::env::var_os(INTERPRETER_VARIABLE).is_some() {
                eprintln!("warning: kinds of plugins are not listed: {reason}");
            }
            Vec::new()
        }
    }
}

impl PluginKind {
    /// What it does and whose it is, or why it cannot be loaded.
    pub(crate) fn about(&self) -> String {
        let about = match &self.problem {
            Some(problem) => format!("cannot be loaded: {problem}"),
            None => self.summary.clone(),
        };
        format!("{about} ({})", self.distribution)
    }
}

fn is_like_built_in(config: &PipelineConfig, registry: &Registry, path: &str) -> bool {
    let family = |kind: &str| kind.split('.').next().map(str::to_owned);
    let node = config.nodes_with_paths().find(|(known, _)| known == path);
    let own = node.and_then(|(_, node)| family(node.kind()));
    let roles = [NodeRole::Kernel, NodeRole::Source, NodeRole::Sink];
    let mut built_in = roles.iter().flat_map(|&role| registry.kinds(role));
    built_in.any(|definition| family(definition.kind) == own)
}

/// The interpreter whose packages count: the one the environment names, the one beside this program,
/// or the first on the search path.
fn interpreter() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(INTERPRETER_VARIABLE).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(named)
        } else {
            Err(format!(
                "{INTERPRETER_VARIABLE} names `{}`, which is not a file",
                named.display()
            ))
        };
    }
    let beside = std::env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside
        .into_iter()
        .chain(std::env::split_paths(&search_path));
    folders
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| "there is no Python interpreter beside this command nor on PATH".to_owned())
}

fn ask(interpreter: PathBuf, question: &Value) -> Result<(PathBuf, Answer), String> {
    let shown = interpreter.display().to_string();
    let failed = |reason: String| format!("the interpreter `{shown}` {reason}");
    let mut child = Command::new(&interpreter)
        .args(WORKER_ARGUMENTS)
        .arg("--describe")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    if let Some(mut input) = child.stdin.take() {
        // It reads all of it before it says anything. If it has ended, its status says so.
        input.write_all(question.to_string().as_bytes()).ok();
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(format!("cannot be asked: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        let said = last.unwrap_or("nothing on standard error");
        return Err(failed(format!("ended with {}: {said}", output.status)));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|error| failed(format!("gave no readable answer: {error}")))?;
    let own = env!("CARGO_PKG_VERSION");
    if answer.version != own {
        return Err(failed(format!(
            "has thalweg {}, and this command is of version {own}",
            answer.version
        )));
    }
    // What packages print while they are loaded is for whoever has to mend them.
    std::io::stderr().write_all(&output.stderr).ok();
    Ok((interpreter, answer))
}
