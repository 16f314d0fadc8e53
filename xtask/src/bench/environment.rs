//! Everything that has to be built or installed before the first figure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::group::{Library, Program};
use crate::cli::Suite;
use crate::command::{cargo, command, run, shell_line, succeeds, target_directory};

/// Today's libraries, in the versions the figures are about.
const PEERS: [(Library, &str); 2] = [
    (Library::Pyshmem, "pyshmem==1.4.0"),
    (Library::Shmpipeline, "shmpipeline==1.3.0"),
];

/// The measured programs and who they run with.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) target_directory: PathBuf,
    /// The commit that is measured.
    pub(super) revision: Option<String>,
    /// Whether what is measured is more than the revision says; records of earlier runs aside.
    pub(super) has_uncommitted_changes: Option<bool>,
    /// What is missing, and why.
    pub(super) notes: Vec<String>,
    executables: BTreeMap<String, PathBuf>,
    /// The program of `bench/peers/iceoryx2`, or why there is none.
    iceoryx2: Result<PathBuf, String>,
    /// The interpreter of the throw-away environment, if it could be made.
    python: Option<PathBuf>,
    missing: BTreeMap<Library, String>,
}

impl Environment {
    /// Builds optimised programs, makes the Python environment and installs thalweg and its peers
    /// into it. What cannot be had from the network is noted, and sat out.
    ///
    /// # Errors
    ///
    /// The Rust programs do not build.
    pub(super) fn prepare(suite: Suite) -> Result<Self, String> {
        let target_directory = relative(target_directory()?);
        // Before anything is built, which takes its time.
        let mut status = command("git");
        status.args(["status", "--porcelain", "--", ":!bench/results"]);
        let mut environment = Self {
            revision: first_line(command("git").args(["rev-parse", "HEAD"])),
            has_uncommitted_changes: output_of(&mut status).map(|changes| !changes.is_empty()),
            executables: build_programs()?,
            iceoryx2: Err("not measured in this suite".to_owned()),
            python: None,
            missing: BTreeMap::new(),
            notes: Vec::new(),
            target_directory,
        };
        if suite == Suite::Streams {
            environment.iceoryx2 = build_peer("iceoryx2", &environment.target_directory);
            if let Err(problem) = &environment.iceoryx2 {
                let note = format!("iceoryx2 sits this out: {problem}");
                environment.notes.push(note);
            }
        }
        let folder = environment.target_directory.join("bench-venv");
        match install_python(&folder) {
            Ok(python) => environment.install_peers(python),
            Err(problem) => environment
                .notes
                .push(format!("nothing is measured from Python: {problem}")),
        }
        Ok(environment)
    }

    fn install_peers(&mut self, python: PathBuf) {
        for (library, requirement) in PEERS {
            if let Err(problem) = run(pip(&python).args(["install", "--quiet", requirement])) {
                self.notes
                    .push(format!("{} sits this out: {problem}", library.name()));
                self.missing.insert(library, problem);
            }
        }
        self.python = Some(python);
    }

    /// The command that starts a program.
    ///
    /// # Errors
    ///
    /// Why it cannot run here.
    pub(super) fn command(&self, program: Program) -> Result<Command, String> {
        match program {
            Program::HandOff => self.executable("hand_off"),
            Program::MatrixVector => self.executable("matrix_vector"),
            Program::Iceoryx2 => match &self.iceoryx2 {
                Ok(executable) => Ok(command(executable)),
                Err(problem) => Err(problem.clone()),
            },
            Program::Tables { library } => self.tables("bench/tables.py", library),
            Program::Watched { library } => self.tables("bench/watched.py", library),
            Program::Streams { library, place } => {
                let mut command = self.script("bench/streams.py", library)?;
                command.args([library.name(), place]);
                Ok(command)
            }
            Program::Pipelines { library, .. } => {
                let mut command = self.script("bench/pipelines.py", library)?;
                command.arg(library.name());
                Ok(command)
            }
            Program::Products => {
                let mut command = self.script("bench/products.py", Library::Thalweg)?;
                // One thread beside one thread.
                command.env("OPENBLAS_NUM_THREADS", "1");
                Ok(command)
            }
        }
    }

    fn tables(&self, path: &str, library: Library) -> Result<Command, String> {
        let mut command = self.script(path, library)?;
        // One thread beside one thread.
        command.arg(library.name()).env("OPENBLAS_NUM_THREADS", "1");
        Ok(command)
    }

    fn executable(&self, name: &str) -> Result<Command, String> {
        self.executables
            .get(name)
            .map(command)
            .ok_or_else(|| format!("cargo built no benchmark `{name}`"))
    }

    fn script(&self, path: &str, library: Library) -> Result<Command, String> {
        if let Some(problem) = self.missing.get(&library) {
            return Err(problem.clone());
        }
        let python = self.python.as_ref().ok_or("no Python environment")?;
        let mut command = command(python);
        command.arg(path);
        Ok(command)
    }

    /// Versions of everything that took part.
    pub(super) fn versions(&self) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::new();
        let mut add = |name: &str, version: Option<String>| {
            if let Some(version) = version {
                versions.insert(name.to_owned(), version);
            }
        };
        if self.iceoryx2.is_ok() {
            let lock = std::fs::read_to_string("bench/peers/iceoryx2/Cargo.lock");
            add(
                "iceoryx2",
                lock.ok().and_then(|lock| locked_version(&lock, "iceoryx2")),
            );
        }
        add("rustc", first_line(command("rustc").arg("--version")));
        if let Some(python) = &self.python {
            add("python", first_line(command(python).arg("--version")));
            for package in ["thalweg", "numpy", "numba", "pyshmem", "shmpipeline"] {
                let script = "import importlib.metadata, sys; \
                              print(importlib.metadata.version(sys.argv[1]))";
                let version = first_line(command(python).args(["-c", script, package]));
                add(package, version);
            }
        }
        versions
    }
}

/// The version of a package in a lock file.
fn locked_version(lock: &str, package: &str) -> Option<String> {
    let entry = lock.split("[[package]]").find(|entry| {
        entry
            .lines()
            .any(|line| line == format!("name = \"{package}\""))
    })?;
    let version = entry
        .lines()
        .find_map(|line| line.strip_prefix("version = "))?;
    Some(version.trim_matches('"').to_owned())
}

/// The path as seen from the root of the repository, where it lies in it: records of one machine
/// should read like those of another.
pub(super) fn relative(path: PathBuf) -> PathBuf {
    std::env::current_dir()
        .ok()
        .and_then(|root| path.strip_prefix(root).ok().map(Path::to_owned))
        .unwrap_or(path)
}

/// The first line a command prints, if it succeeds.
fn first_line(command: &mut Command) -> Option<String> {
    Some(output_of(command)?.lines().next()?.trim().to_owned())
}

/// Everything a command prints, if it succeeds.
fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

/// Builds the measured Rust programs; where they are, by name.
fn build_programs() -> Result<BTreeMap<String, PathBuf>, String> {
    eprintln!("building the measured programs");
    build(cargo([
        "build",
        "--release",
        "--package=thalweg-shm",
        "--package=thalweg",
        "--bench=hand_off",
        "--bench=matrix_vector",
        "--message-format=json-render-diagnostics",
    ]))
}

/// Builds `bench/peers/NAME` in the versions its lock file names; its executable. It is no member
/// of the workspace, and builds into a folder of its own: nobody else has to.
fn build_peer(name: &str, target_directory: &Path) -> Result<PathBuf, String> {
    eprintln!("building the peer {name}, for some minutes when it is the first time");
    let mut command = cargo([
        "build",
        "--release",
        "--locked",
        "--message-format=json-render-diagnostics",
        "--manifest-path",
    ]);
    command.arg(format!("bench/peers/{name}/Cargo.toml"));
    command
        .arg("--target-dir")
        .arg(target_directory.join("bench-peers"));
    let package = format!("{name}-peer");
    build(command)?
        .remove(&package)
        .ok_or_else(|| format!("cargo built no `{package}`"))
}

/// Runs a build that tells in JSON what it has built; the executables by name.
fn build(mut command: Command) -> Result<BTreeMap<String, PathBuf>, String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "`{}` ended with {}",
            shell_line(&command),
            output.status
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?;
            let executable = message["executable"].as_str()?;
            Some((name.to_owned(), PathBuf::from(executable)))
        })
        .collect())
}

/// Makes the environment once, and installs this working tree into it; its interpreter.
fn install_python(folder: &Path) -> Result<PathBuf, String> {
    let python = python_environment(folder)?;
    run(pip(&python).args(["install", "--quiet", "."]))?;
    Ok(python)
}

/// A virtual environment, made when it is first asked for; its interpreter.
pub(super) fn python_environment(folder: &Path) -> Result<PathBuf, String> {
    let python = folder.join("bin").join("python");
    if !succeeds(pip(&python).arg("--version")) {
        run(command("python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder))?;
    }
    Ok(python)
}

/// `pip` of an environment.
pub(super) fn pip(python: &Path) -> Command {
    let mut command = command(python);
    command.args(["-m", "pip", "--disable-pip-version-check"]);
    command
}
