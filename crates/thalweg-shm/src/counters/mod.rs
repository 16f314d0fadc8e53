//! The counters of one pipeline run: a small segment that workers write with plain stores and
//! anybody reads. Observing costs the loop nothing, and nothing blocks when nobody reads.

mod histogram;
mod node;
mod text;

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use thalweg_os::file::{self, Access, BuildError, FileFacts, UnpublishedFile};
use thalweg_os::mapping::{Mapping, Protection};
use thalweg_os::process::{Liveness, ProcessIdentity, boot_id};
use thalweg_os::random::random_id;

pub use histogram::{Histogram, HistogramSnapshot};
pub use node::{NodeCounters, command};
pub use text::Text;

/// Prefix of every counters file.
const PREFIX: &str = "thalweg-counters.";
const MAGIC: u64 = u64::from_le_bytes(*b"THALWCNT");
const VERSION: u64 = 2;
/// Most nodes of one run: far more processes than a machine should have to carry.
pub const MAX_NODES: usize = 4096;
/// Most measurements a node publishes about itself.
pub const MAX_FIGURES: usize = 16;

/// First page: who this belongs to.
#[repr(C, align(4096))]
struct RunHeader {
    magic: AtomicU64,
    version: AtomicU64,
    nodes: AtomicU64,
    creator_pid: AtomicU64,
    creator_start_ticks: AtomicU64,
    creator_namespace: AtomicU64,
    boot: [AtomicU64; 2],
    /// State of the run, as its owner numbers it.
    state: AtomicU32,
    _reserved: AtomicU32,
    /// Monotonic time in ns of the last start; 0 before it.
    started_ns: AtomicU64,
    /// What this is a run of.
    label: Text<LABEL_WORDS>,
}

/// Longest label, in words of eight bytes.
const LABEL_WORDS: usize = 128;

/// A counters segment could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// No file of that size could be made.
    #[error("cannot create the counters of a run: {0}")]
    Build(#[from] BuildError),
    /// The system refused.
    #[error("cannot use the counters of a run: {source} ({})", path.display())]
    System {
        /// What it said.
        source: io::Error,
        /// The file, or the folder it was to be in.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not a counters segment of this version", path.display())]
    NotCounters {
        /// The file.
        path: PathBuf,
    },
}

/// The mapped counters of one run.
#[derive(Debug)]
pub struct Counters {
    mapping: Mapping,
    path: PathBuf,
    nodes: usize,
}

impl Counters {
    /// Makes the counters of a run with room for `nodes` nodes, at most [`MAX_NODES`], in `directory`.
    pub fn create(directory: &Path, nodes: usize) -> Result<Self, CountersError> {
        let system = |source| CountersError::System {
            source,
            path: directory.to_owned(),
        };
        let nodes = nodes.min(MAX_NODES);
        let size_bytes = size_of::<RunHeader>() + nodes * size_of::<NodeCounters>();
        let mut file = UnpublishedFile::new(directory, size_bytes as u64, 0o600, None)?;
        let mapping = Mapping::new(file.descriptor(), 0, size_bytes, Protection::ReadWrite)
            .map_err(system)?;
        let id = random_id().map_err(system)?;
        let name = format!("{PREFIX}{:032x}", u128::from_ne_bytes(id));
        let counters = Self {
            mapping,
            path: directory.join(&name),
            nodes,
        };
        let creator = ProcessIdentity::current().map_err(system)?;
        let header = counters.header();
        let (boot_low, boot_high) = boot_words();
        for (word, value) in [
            (&header.magic, MAGIC),
            (&header.version, VERSION),
            (&header.nodes, nodes as u64),
            (&header.creator_pid, u64::from(creator.pid)),
            (&header.creator_start_ticks, creator.start_ticks),
            (&header.creator_namespace, creator.pid_namespace),
            (&header.boot[0], boot_low),
            (&header.boot[1], boot_high),
        ] {
            word.store(value, Ordering::Relaxed);
        }
        file.publish(&name).map_err(system)?;
        Ok(counters)
    }

    /// Maps existing counters.
    pub fn open(path: &Path) -> Result<Self, CountersError> {
        let system = |source| CountersError::System {
            source,
            path: path.to_owned(),
        };
        let not_counters = || CountersError::NotCounters {
            path: path.to_owned(),
        };
        let file = file::open(path, Access::ReadWrite).map_err(system)?;
        let size_bytes = FileFacts::of(&file).map_err(system)?.size_bytes;
        let nodes = (size_bytes as usize)
            .checked_sub(size_of::<RunHeader>())
            .map(|bytes| bytes / size_of::<NodeCounters>())
            .filter(|&nodes| nodes <= MAX_NODES)
            .ok_or_else(not_counters)?;
        let mapped_bytes = size_of::<RunHeader>() + nodes * size_of::<NodeCounters>();
        let mapping =
            Mapping::new(file.as_fd(), 0, mapped_bytes, Protection::ReadWrite).map_err(system)?;
        let counters = Self {
            mapping,
            path: path.to_owned(),
            nodes,
        };
        let header = counters.header();
        let is_known = header.magic.load(Ordering::Relaxed) == MAGIC
            && header.version.load(Ordering::Relaxed) == VERSION
            && header.nodes.load(Ordering::Relaxed) == nodes as u64;
        if is_known {
            Ok(counters)
        } else {
            Err(not_counters())
        }
    }

    fn header(&self) -> &RunHeader {
        // SAFETY: the mapping begins with a RunHeader, page aligned, and lives as long as self;
        // atomics accept any bits and changes by other processes.
        unsafe { self.mapping.address().cast().as_ref() }
    }

    /// State of the run, as its owner numbers it. Written by the owner.
    pub fn state(&self) -> &AtomicU32 {
        &self.header().state
    }

    /// Monotonic time in ns of the last start; 0 before it. Written by the owner.
    pub fn started_ns(&self) -> &AtomicU64 {
        &self.header().started_ns
    }

    /// What this is a run of, for people. Written by the owner.
    pub fn label(&self) -> &Text<LABEL_WORDS> {
        &self.header().label
    }

    /// Pid of the process that runs the pipeline.
    pub fn creator_pid(&self) -> u32 {
        self.header().creator_pid.load(Ordering::Relaxed) as u32
    }

    /// The counters of every run in `directory` whose process is alive, and that this user may look
    /// at.
    pub fn running(directory: &Path) -> io::Result<Vec<Self>> {
        let mut running = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let is_counters = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(PREFIX));
            // A run that ends meanwhile is none.
            if is_counters
                && let Ok(counters) = Self::open(&entry.path())
                && counters.creator_liveness() != Liveness::Dead
            {
                running.push(counters);
            }
        }
        running.sort_by_key(Self::creator_pid);
        Ok(running)
    }

    /// Number of nodes there is room for.
    pub fn node_count(&self) -> usize {
        self.nodes
    }

    /// Counters of node `index`.
    ///
    /// # Panics
    ///
    /// When the run has no such node.
    pub fn node(&self, index: usize) -> &NodeCounters {
        assert!(index < self.nodes, "node {index} of {}", self.nodes);
        let offset = size_of::<RunHeader>() + index * size_of::<NodeCounters>();
        let address = self.mapping.address().as_ptr().wrapping_add(offset);
        // SAFETY: inside the mapping as `index` was checked, page aligned, living as long as self;
        // atomics accept any bits and changes by other processes.
        unsafe { &*address.cast::<NodeCounters>() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file. Mapped counters stay usable.
    pub fn remove(&self) -> io::Result<()> {
        match file::remove(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn creator_liveness(&self) -> Liveness {
        let header = self.header();
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        if (word(&header.boot[0]), word(&header.boot[1])) != boot_words() {
            return Liveness::Dead;
        }
        ProcessIdentity {
            pid: word(&header.creator_pid) as u32,
            start_ticks: word(&header.creator_start_ticks),
            pid_namespace: word(&header.creator_namespace),
        }
        .liveness()
    }

    /// Removes the counters of runs whose process has ended; returns how many.
    pub fn remove_abandoned(directory: &Path) -> io::Result<usize> {
        let mut removed = 0;
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_str().is_some_and(|name| name.starts_with(PREFIX)) {
                continue;
            }
            if let Ok(counters) = Self::open(&entry.path())
                && counters.creator_liveness() == Liveness::Dead
            {
                counters.remove()?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn boot_words() -> (u64, u64) {
    let id = u128::from_le_bytes(boot_id());
    (id as u64, (id >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_show_the_same_counters() {
        let folder = tempfile::tempdir().unwrap();
        let counters = Counters::create(folder.path(), 3).unwrap();
        let other = Counters::open(counters.path()).unwrap();
        assert_eq!(other.node_count(), 3);
        counters.node(2).frames.store(7, Ordering::Relaxed);
        counters.node(2).execution.record(1000);
        counters.node(2).set_figures(&[1.5, -2.0]);
        assert_eq!(other.node(2).frames.load(Ordering::Relaxed), 7);
        assert_eq!(other.node(2).execution.snapshot().count(), 1);
        assert_eq!(other.node(2).figures(2), Some(vec![1.5, -2.0]));
        other.node(2).clear();
        assert_eq!(counters.node(2).figures(2), Some(vec![0.0, 0.0]));
        assert_eq!(
            Counters::remove_abandoned(folder.path()).unwrap(),
            0,
            "its creator lives"
        );
        counters.remove().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![0u8; 2 * size_of::<RunHeader>()]).unwrap();
        assert!(matches!(
            Counters::open(&path),
            Err(CountersError::NotCounters { .. })
        ));
    }
}
