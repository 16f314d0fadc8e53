//! What is measured side by side, as data.

/// A program that answers requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Program {
    /// Two Rust processes handing frames to each other: `crates/thalweg-shm/benches/hand_off`.
    HandOff,
    /// The matrix-vector product: `crates/thalweg/benches/matrix_vector.rs`.
    MatrixVector,
    /// Streams from Python: `bench/streams.py`.
    Streams {
        library: Library,
        /// `pinned`, each process to a CPU of its own, or `free`.
        place: &'static str,
    },
    /// The same hand-offs carried by iceoryx2: `bench/peers/iceoryx2`.
    Iceoryx2,
    /// Frames written and read in one Python process: `bench/tables.py`.
    Tables { library: Library },
    /// Python readers of one writer: `bench/watched.py`.
    Watched { library: Library },
    /// Pipelines from Python: `bench/pipelines.py`.
    Pipelines {
        library: Library,
        /// Tells processes with different pipelines apart.
        instance: u8,
    },
    /// NumPy's matrix-vector product: `bench/products.py`.
    Products,
}

/// A Python library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Library {
    Thalweg,
    Pyshmem,
    Shmpipeline,
}

impl Library {
    /// Its name, to import and to install.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Thalweg => "thalweg",
            Self::Pyshmem => "pyshmem",
            Self::Shmpipeline => "shmpipeline",
        }
    }
}

/// Things that are measured in the same rounds.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) rounds: usize,
    /// Requests before the first round. If one fails, its program sits this group out.
    pub(super) setup: Vec<(Program, String)>,
    pub(super) series: Vec<Series>,
    /// Requests after the last round.
    pub(super) teardown: Vec<(Program, String)>,
    pub(super) rows: Vec<Row>,
}

/// One request, made once in every round.
#[derive(Debug)]
pub(super) struct Series {
    /// How rows refer to it.
    pub(super) key: &'static str,
    pub(super) program: Program,
    pub(super) request: String,
}

/// One field of the answers of a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) key: &'static str,
    pub(super) field: &'static str,
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) what: &'static str,
    /// Whether the receiver looks at the payload; none where nothing is received.
    pub(super) is_payload_touched: Option<bool>,
    pub(super) unit: &'static str,
    pub(super) ours: Value,
    /// What it stands beside, and its name.
    pub(super) other: Option<(Value, &'static str)>,
    /// What the design asks for: a ratio, or a value with its unit.
    pub(super) goal: &'static str,
}
