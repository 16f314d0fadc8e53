//! Writing recordings, and single frames.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fitsio_pure::BLOCK_SIZE;
use fitsio_pure::header::{Card, serialize_header};
use fitsio_pure::primary::build_primary_header;
use fitsio_pure::value::Value;
use thalweg_shm::{ArrayError, ArrayRef, DType, Publication};

use super::encoding::{Encoding, append_stored};
use super::frame_file::{FileFormat, FrameFile};
use super::index::{Index, IndexWriter, index_path};
use super::npy::{description, growing_header};
use crate::owned_array::{ArrayTooLarge, OwnedArray};

/// Frames could not be written; the message names the file.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The name says no format.
    #[error(
        "{} is no name for a recording: it has to end with .npy, .fits, .fit or .fts",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// FITS images hold real numbers only.
    #[error("{}: a FITS image cannot hold {dtype}, a .npy file can", path.display())]
    Complex {
        /// The file.
        path: PathBuf,
        /// Element type.
        dtype: DType,
    },
    /// There is such a file, and it is not to be overwritten.
    #[error("{} exists already: choose another name, or ask for it to be overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system says no.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be gone on with.
    #[error("cannot append to {}: {reason}", path.display())]
    Append {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The frame is not one of this recording.
    #[error("a frame of shape {found_shape:?} of {found} does not belong into {}, which holds {shape:?} of {dtype}", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// Its element type.
        dtype: DType,
        /// Shape of its frames.
        shape: Vec<usize>,
        /// Element type of the frame.
        found: DType,
        /// Shape of the frame.
        found_shape: Vec<usize>,
    },
    /// A frame does not fit into memory.
    #[error(transparent)]
    Memory(#[from] ArrayTooLarge),
    /// A frame could not be copied.
    #[error(transparent)]
    Array(#[from] ArrayError),
}

/// What the frames of a file are.
#[derive(Debug)]
struct Contents {
    path: PathBuf,
    format: FileFormat,
    dtype: DType,
    shape: Vec<usize>,
    /// Name of the stream the frames come from.
    stream: String,
    /// A private copy of one frame, and its stored form where that differs.
    copy: OwnedArray,
    stored: Vec<u8>,
}

impl Contents {
    fn new(
        path: &Path,
        stream: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Self, RecordingError> {
        let format = check_format(path, dtype)?;
        Ok(Self {
            path: path.to_owned(),
            format,
            dtype,
            shape: shape.to_vec(),
            stream: stream.to_owned(),
            copy: OwnedArray::zeros(dtype, shape)?,
            stored: Vec::new(),
        })
    }

    fn write_error(&self, source: io::Error) -> RecordingError {
        write_error(&self.path, source)
    }

    /// Bytes of one frame in the file.
    fn frame_bytes(&self) -> u64 {
        let stored_bytes = match self.format {
            FileFormat::Npy => self.dtype.size_bytes(),
            FileFormat::Fits => Encoding::of(self.dtype).map_or(0, Encoding::element_bytes),
        };
        let elements: usize = self.shape.iter().product();
        (elements * stored_bytes) as u64
    }

    /// The header of a file of `frames` frames along an axis of their own; of the same size for
    /// every number of frames.
    fn header(&self, frames: u64) -> Result<Vec<u8>, RecordingError> {
        match self.format {
            FileFormat::Npy => {
                let quoted = format!("'{}'", description(self.dtype));
                Ok(growing_header(&quoted, frames, &self.shape))
            }
            FileFormat::Fits => {
                let frames = usize::try_from(frames).unwrap_or(usize::MAX);
                let shape: Vec<usize> = [frames].iter().chain(&self.shape).copied().collect();
                self.fits_header(&shape, &[])
            }
        }
    }

    fn fits_header(
        &self,
        shape: &[usize],
        more: &[(&str, u64, &str)],
    ) -> Result<Vec<u8>, RecordingError> {
        let invalid = |error: fitsio_pure::Error| {
            self.write_error(io::Error::other(format!("no FITS header: {error}")))
        };
        let encoding = Encoding::of(self.dtype).ok_or_else(|| RecordingError::Complex {
            path: self.path.clone(),
            dtype: self.dtype,
        })?;
        let axes: Vec<usize> = shape.iter().rev().copied().collect();
        let mut cards = build_primary_header(encoding.bitpix, &axes).map_err(invalid)?;
        if encoding.zero != 0.0 {
            // The offset of 64 bits is beyond the integers of a card, but exact as a float.
            let zero = if encoding.zero < i64::MAX as f64 {
                Value::Integer(encoding.zero as i64)
            } else {
                Value::Float(encoding.zero)
            };
            cards.push(
                card(
                    "BSCALE",
                    Value::Integer(1),
                    "physical = stored * BSCALE + BZERO",
                )
                .map_err(invalid)?,
            );
            cards.push(card("BZERO", zero, "offset of stored integers").map_err(invalid)?);
        }
        let stream: String = self.stream.escape_default().take(60).collect();
        let dtype = Value::String(self.dtype.name().to_owned());
        let program = concat!("thalweg ", env!("CARGO_PKG_VERSION")).to_owned();
        for (keyword, value, comment) in [
            ("CREATOR", Value::String(program), "who wrote this file"),
            ("STREAM", Value::String(stream), "name of the stream"),
            ("DTYPE", dtype, "element type of the stream"),
        ] {
            cards.push(card(keyword, value, comment).map_err(invalid)?);
        }
        for (keyword, number, comment) in more {
            let value = i64::try_from(*number)
                .map_or_else(|_| Value::String(number.to_string()), Value::Integer);
            cards.push(card(keyword, value, comment).map_err(invalid)?);
        }
        serialize_header(&cards).map_err(invalid)
    }

    /// The bytes of `frame` as the file keeps them.
    fn stored(&mut self, frame: ArrayRef<'_>) -> Result<&[u8], RecordingError> {
        if frame.dtype() != self.dtype || frame.shape() != self.shape {
            return Err(RecordingError::Frame {
                path: self.path.clone(),
                dtype: self.dtype,
                shape: self.shape.clone(),
                found: frame.dtype(),
                found_shape: frame.shape().to_vec(),
            });
        }
        let size_bytes = frame.size_bytes();
        self.copy.as_array_mut().copy_from_array(frame)?;
        let native = &self.copy.bytes_mut()[..size_bytes];
        match self.format {
            FileFormat::Npy => Ok(native),
            FileFormat::Fits => {
                self.stored.clear();
                append_stored(self.dtype, native, &mut self.stored);
                Ok(&self.stored)
            }
        }
    }

    /// Zeros that FITS wants behind `data_bytes` bytes of data.
    fn padding(&self, data_bytes: u64) -> &'static [u8] {
        const ZEROS: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];
        match self.format {
            FileFormat::Npy => &[],
            FileFormat::Fits => {
                let over = data_bytes % BLOCK_SIZE as u64;
                let missing = if over == 0 {
                    0
                } else {
                    BLOCK_SIZE - over as usize
                };
                &ZEROS[..missing]
            }
        }
    }
}

fn card(keyword: &str, value: Value, comment: &str) -> fitsio_pure::Result<Card> {
    let mut card = Card::new(keyword, value)?;
    card.comment = Some(comment.to_owned());
    Ok(card)
}

fn write_error(path: &Path, source: io::Error) -> RecordingError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::AlreadyExists {
        RecordingError::Exists { path }
    } else {
        RecordingError::Write { path, source }
    }
}

/// The format of a file named `path` with elements of `dtype`.
pub(crate) fn check_format(path: &Path, dtype: DType) -> Result<FileFormat, RecordingError> {
    let format = FileFormat::of_path(path).ok_or_else(|| RecordingError::Format {
        path: path.to_owned(),
    })?;
    if format == FileFormat::Fits && dtype.is_complex() {
        return Err(RecordingError::Complex {
            path: path.to_owned(),
            dtype,
        });
    }
    Ok(format)
}

fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Whether there is nothing in `path`: no file, or one whose writer was killed before it wrote its
/// header.
fn is_blank(path: &Path) -> Result<bool, RecordingError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file() && metadata.len() == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(write_error(path, error)),
    }
}

/// The index at `path`, gone on with behind its row `rows` or its last one, and that row's number.
fn resume_index(path: &Path, rows: Option<u64>) -> Result<(IndexWriter, u64), RecordingError> {
    let other = |reason: String| RecordingError::Append {
        path: path.to_owned(),
        reason,
    };
    let is_blank = is_blank(path)?;
    let found = if is_blank {
        0
    } else {
        let index = Index::read(path).map_err(|error| other(error.to_string()))?;
        index.map_or(0, |index| index.rows().len() as u64)
    };
    let rows = rows.unwrap_or(found);
    if found < rows {
        return Err(other(format!(
            "it has {found} rows for the {rows} frames that are there"
        )));
    }
    let file = if is_blank {
        create(path, true)
    } else {
        open_existing(path)
    };
    let file = file.map_err(|error| write_error(path, error))?;
    let writer = IndexWriter::resume(file, rows).map_err(|error| write_error(path, error))?;
    Ok((writer, rows))
}

fn create(path: &Path, overwrite: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    if overwrite {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path)
}

/// A recording that grows frame by frame, and can be read at any moment.
///
/// ```
/// use thalweg_kernels::files::{RecordingReader, RecordingWriter};
/// use thalweg_shm::{ArrayRef, DType, Publication};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("camera.npy");
/// let mut writer = RecordingWriter::create(&path, "camera", DType::Uint16, &[2], false)?;
/// for count in 1..=3u64 {
///     let frame = [count as u16, 0];
///     let publication = Publication { count, frame_id: 10 * count, ..Publication::default() };
///     writer.append(ArrayRef::from_slice(&frame, &[2]), &publication)?;
/// }
/// writer.finish()?;
///
/// let mut reader = RecordingReader::open(&path)?;
/// assert_eq!((reader.frames(), reader.frame_shape()), (3, &[2][..]));
/// assert_eq!(reader.publication(2).map(|one| one.frame_id), Some(30));
/// assert_eq!(reader.read(1)?.to_vec::<u16>()?, [2, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RecordingWriter {
    contents: Contents,
    file: File,
    header_bytes: u64,
    frame_bytes: u64,
    frames: u64,
    index: IndexWriter,
}

impl RecordingWriter {
    /// Makes an empty recording of frames of stream `stream` at `path`, and its index beside it;
    /// the extension says the format. Existing files are an error unless `overwrite` is set.
    ///
    /// # Errors
    ///
    /// When the files cannot be made, or the format cannot hold the dtype.
    pub fn create(
        path: &Path,
        stream: &str,
        dtype: DType,
        frame_shape: &[usize],
        overwrite: bool,
    ) -> Result<Self, RecordingError> {
        let contents = Contents::new(path, stream, dtype, frame_shape)?;
        let header = contents.header(0)?;
        let index_path = index_path(path);
        if !overwrite && index_path.exists() {
            return Err(RecordingError::Exists { path: index_path });
        }
        let file = create(path, overwrite).map_err(|error| contents.write_error(error))?;
        let index = create(&index_path, overwrite)
            .and_then(IndexWriter::new)
            .map_err(|error| write_error(&index_path, error))?;
        file.write_all_at(&header, 0)
            .map_err(|error| contents.write_error(error))?;
        Ok(Self {
            file,
            header_bytes: header.len() as u64,
            frame_bytes: contents.frame_bytes(),
            frames: 0,
            index,
            contents,
        })
    }

    /// Goes on with the recording at `path` behind its last frame, or begins it where there is
    /// none.
    ///
    /// # Errors
    ///
    /// When what exists is another recording than [`RecordingWriter::create`] makes with these
    /// arguments, or has no complete index.
    pub fn append_to(
        path: &Path,
        stream: &str,
        dtype: DType,
        frame_shape: &[usize],
    ) -> Result<Self, RecordingError> {
        if is_blank(path)? {
            let index_path = index_path(path);
            // What is no index is in the way, and so is one with rows.
            let is_free = is_blank(&index_path)?
                || matches!(Index::read(&index_path), Ok(Some(index)) if index.rows().is_empty());
            // The header is the last thing that a start writes: whatever it left is begun anew.
            return Self::create(path, stream, dtype, frame_shape, is_free);
        }
        let contents = Contents::new(path, stream, dtype, frame_shape)?;
        let other = |reason: String| RecordingError::Append {
            path: path.to_owned(),
            reason,
        };
        let found = FrameFile::open(path).map_err(|error| other(error.to_string()))?;
        let frames = found.shape().first().map_or(0, |&frames| frames as u64);
        let header = contents.header(frames)?;
        let mut existing = vec![0; header.len()];
        let file = open_existing(path).map_err(|error| contents.write_error(error))?;
        file.read_exact_at(&mut existing, 0)
            .map_err(|error| other(error.to_string()))?;
        if existing != header {
            return Err(other(format!(
                "it is no recording of stream {stream:?}, frames of shape {frame_shape:?} of \
                 {dtype}, by this version"
            )));
        }
        Ok(Self {
            file,
            header_bytes: header.len() as u64,
            frame_bytes: contents.frame_bytes(),
            frames,
            index: resume_index(&index_path(path), Some(frames))?.0,
            contents,
        })
    }

    /// Appends a frame and what was published beside it. Once this returns, both files hold it,
    /// and stay readable whenever this process ends.
    ///
    /// # Errors
    ///
    /// When the frame is another than those of the recording, or cannot be written; the recording
    /// then holds the frames before.
    pub fn append(
        &mut self,
        frame: ArrayRef<'_>,
        publication: &Publication,
    ) -> Result<(), RecordingError> {
        let data_bytes = self.frames * self.frame_bytes;
        let padding = self.contents.padding(data_bytes + self.frame_bytes);
        let header = self.contents.header(self.frames + 1)?;
        let path = self.contents.path.clone();
        let stored = self.contents.stored(frame)?;
        let at = self.header_bytes + data_bytes;
        let outcome = self
            .file
            .write_all_at(stored, at)
            .and_then(|()| self.file.write_all_at(padding, at + self.frame_bytes))
            .and_then(|()| self.index.append(publication))
            // Last: what the header speaks of is there.
            .and_then(|()| self.file.write_all_at(&header, 0));
        outcome.map_err(|error| write_error(&path, error))?;
        self.frames += 1;
        Ok(())
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Has the system write what it still keeps in memory.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub fn finish(self) -> Result<(), RecordingError> {
        self.file
            .sync_data()
            .and_then(|()| self.index.sync())
            .map_err(|error| self.contents.write_error(error))
    }
}

/// Writes one file for each frame, all of one dtype and shape.
#[derive(Debug)]
pub(crate) struct SingleWriter {
    contents: Contents,
    index: IndexWriter,
}

impl SingleWriter {
    /// A writer of files whose extension is that of `example`; what was published beside them goes
    /// to `index_path`.
    pub(crate) fn create(
        example: &Path,
        index_path: &Path,
        stream: &str,
        dtype: DType,
        shape: &[usize],
        overwrite: bool,
    ) -> Result<Self, RecordingError> {
        let contents = Contents::new(example, stream, dtype, shape)?;
        let index = create(index_path, overwrite)
            .and_then(IndexWriter::new)
            .map_err(|error| write_error(index_path, error))?;
        Ok(Self { contents, index })
    }

    /// As [`SingleWriter::create`], going on with the index where there is one; also returns how
    /// many frames it tells of.
    pub(crate) fn append_to(
        example: &Path,
        index_path: &Path,
        stream: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<(Self, u64), RecordingError> {
        if is_blank(index_path)? {
            let writer = Self::create(example, index_path, stream, dtype, shape, true)?;
            return Ok((writer, 0));
        }
        let contents = Contents::new(example, stream, dtype, shape)?;
        let (index, rows) = resume_index(index_path, None)?;
        Ok((Self { contents, index }, rows))
    }

    /// Writes `frame` to `path`, which holds either all of it or nothing new.
    pub(crate) fn write(
        &mut self,
        path: &Path,
        frame: ArrayRef<'_>,
        publication: &Publication,
        overwrite: bool,
    ) -> Result<(), RecordingError> {
        self.contents.path = path.to_owned();
        let header = match self.contents.format {
            FileFormat::Npy => {
                let quoted = format!("'{}'", description(frame.dtype()));
                match frame.shape().split_first() {
                    Some((&first, rest)) => growing_header(&quoted, first as u64, rest),
                    None => growing_header(&quoted, 1, &[]),
                }
            }
            FileFormat::Fits => self.contents.fits_header(
                frame.shape(),
                &[
                    ("COUNT", publication.count, "number of the frame"),
                    ("FRAMEID", publication.frame_id, "id its writer stamped"),
                    (
                        "WALLNS",
                        publication.wall_ns,
                        "[ns] when it was published, since 1970",
                    ),
                ],
            )?,
        };
        if !overwrite && path.exists() {
            return Err(RecordingError::Exists {
                path: path.to_owned(),
            });
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let stored = self.contents.stored(frame)?;
        let stored_bytes = stored.len() as u64;
        let written = create(&part, true).and_then(|file| {
            file.write_all_at(&header, 0)?;
            file.write_all_at(stored, header.len() as u64)?;
            Ok(file)
        });
        let padding = self.contents.padding(stored_bytes);
        written
            .and_then(|file| file.write_all_at(padding, header.len() as u64 + stored_bytes))
            .and_then(|()| std::fs::rename(&part, path))
            .and_then(|()| self.index.append(publication))
            .map_err(|error| write_error(path, error))
    }

    /// Has the system write what it still keeps in memory.
    pub(crate) fn finish(self) -> Result<(), RecordingError> {
        let synced = self.index.sync();
        synced.map_err(|error| self.contents.write_error(error))
    }
}
