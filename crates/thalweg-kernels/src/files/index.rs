//! `<name>.index.npy`: what was published beside the frames of a recording.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use thalweg_shm::Publication;

use super::npy::{growing_header, read_header};

/// Type of a row, as NumPy writes it.
const DESCRIPTION: &str = "[('count', '<u8'), ('frame_id', '<u8'), ('wall_ns', '<u8'), \
                           ('publish_ns', '<u8'), ('origin_ns', '<u8')]";
const FIELDS: [&str; 5] = ["count", "frame_id", "wall_ns", "publish_ns", "origin_ns"];
const ROW_BYTES: usize = 8 * FIELDS.len();

/// Where the index of the recording at `path` lies: `frames.npy` has `frames.index.npy`.
pub fn index_path(path: &Path) -> PathBuf {
    path.with_extension("index.npy")
}

/// The index of a recording, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    rows: Vec<Publication>,
}

impl Index {
    /// Reads the index at `path`; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When there is a file of that name which is no index.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let header = read_header(&mut file)?;
        let names: Vec<(String, String)> = match header.dtype() {
            npyz::DType::Record(fields) => fields
                .iter()
                .map(|field| (field.name.clone(), field.dtype.descr()))
                .collect(),
            _ => Vec::new(),
        };
        let is_index = names.len() == FIELDS.len()
            && names
                .iter()
                .zip(FIELDS)
                .all(|((name, dtype), field)| name == field && dtype == "'<u8'");
        if !is_index {
            return Err(io::Error::other(format!(
                "it holds {}, not the index of a recording, {DESCRIPTION}",
                header.dtype().descr()
            )));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let rows = bytes.chunks_exact(ROW_BYTES).take(
            header
                .shape()
                .first()
                .map_or(0, |&rows| usize::try_from(rows).unwrap_or(usize::MAX)),
        );
        Ok(Some(Self {
            rows: rows.map(publication).collect(),
        }))
    }

    /// What was published beside frame `frame`, counted from 0.
    pub fn get(&self, frame: usize) -> Option<Publication> {
        self.rows.get(frame).copied()
    }

    /// All rows, in order.
    pub fn rows(&self) -> &[Publication] {
        &self.rows
    }
}

fn publication(row: &[u8]) -> Publication {
    let mut words = row.chunks_exact(8).map(|word| {
        word.iter()
            .rev()
            .fold(0u64, |number, &byte| number << 8 | u64::from(byte))
    });
    let mut next = || words.next().unwrap_or(0);
    Publication {
        count: next(),
        frame_id: next(),
        wall_ns: next(),
        publish_ns: next(),
        origin_ns: next(),
    }
}

/// An index that grows.
#[derive(Debug)]
pub(super) struct IndexWriter {
    file: File,
    header_bytes: u64,
    rows: u64,
}

impl IndexWriter {
    pub(super) fn new(file: File) -> io::Result<Self> {
        Self::resume(file, 0)
    }

    /// Goes on behind row `rows` of an index that has at least so many.
    pub(super) fn resume(file: File, rows: u64) -> io::Result<Self> {
        let header = growing_header(DESCRIPTION, rows, &[]);
        file.write_all_at(&header, 0)?;
        Ok(Self {
            file,
            header_bytes: header.len() as u64,
            rows,
        })
    }

    pub(super) fn append(&mut self, publication: &Publication) -> io::Result<()> {
        let words = [
            publication.count,
            publication.frame_id,
            publication.wall_ns,
            publication.publish_ns,
            publication.origin_ns,
        ];
        let row: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let at = self.header_bytes + self.rows * ROW_BYTES as u64;
        self.file.write_all_at(&row, at)?;
        self.rows += 1;
        let header = growing_header(DESCRIPTION, self.rows, &[]);
        self.file.write_all_at(&header, 0)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
