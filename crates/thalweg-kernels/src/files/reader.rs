//! Reading recordings.

use std::io;
use std::path::{Path, PathBuf};

use thalweg_shm::{DType, Publication};

use super::frame_file::{FrameFile, FrameFileError};
use super::index::{Index, index_path};
use crate::owned_array::{ArrayTooLarge, OwnedArray};

/// A recording cannot be read; the message names the file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The frames.
    #[error(transparent)]
    File(#[from] FrameFileError),
    /// What was published beside them.
    #[error("cannot read the index {}: {source}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no axis that counts frames.
    #[error("{} holds a single number, not frames", path.display())]
    Scalar {
        /// The file.
        path: PathBuf,
    },
    /// There is no such frame.
    #[error("there is no frame {frame} among {frames}")]
    Frame {
        /// The frame asked for, from 0.
        frame: usize,
        /// Frames there are.
        frames: usize,
    },
    /// A frame does not fit into memory.
    #[error(transparent)]
    Memory(#[from] ArrayTooLarge),
}

/// An open recording: any array in a `.npy` or FITS file, with its index where there is one.
#[derive(Debug)]
pub struct RecordingReader {
    file: FrameFile,
    index: Option<Index>,
    frame: OwnedArray,
}

impl RecordingReader {
    /// Opens the recording at `path` and reads its index.
    ///
    /// # Errors
    ///
    /// When one of the files cannot be read.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = FrameFile::open(path)?;
        let index_path = index_path(path);
        let index = Index::read(&index_path).map_err(|source| ReadError::Index {
            path: index_path,
            source,
        })?;
        let frame_shape = file.shape().get(1..).ok_or_else(|| ReadError::Scalar {
            path: path.to_owned(),
        })?;
        let frame = OwnedArray::zeros(file.dtype(), frame_shape)?;
        Ok(Self { file, index, frame })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.file.dtype()
    }

    /// Shape of one frame.
    pub fn frame_shape(&self) -> &[usize] {
        self.frame.shape()
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.file.shape().first().copied().unwrap_or(0)
    }

    /// What was published beside frame `frame`, counted from 0; `None` where nobody wrote that
    /// down.
    pub fn publication(&self, frame: usize) -> Option<Publication> {
        self.index.as_ref()?.get(frame)
    }

    /// Frame number `frame`, counted from 0; valid until the next one is read.
    ///
    /// # Errors
    ///
    /// When there is no such frame, or it cannot be read.
    pub fn read(&mut self, frame: usize) -> Result<&OwnedArray, ReadError> {
        let frames = self.frames();
        if frame >= frames {
            return Err(ReadError::Frame { frame, frames });
        }
        self.file.read_part(frame, &mut self.frame)?;
        Ok(&self.frame)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_shm::ArrayRef;

    use super::super::writer::{RecordingError, RecordingWriter};
    use super::*;

    fn publication(count: u64) -> Publication {
        Publication {
            count,
            frame_id: 7 * count,
            wall_ns: u64::MAX - count,
            publish_ns: 1000 + count,
            origin_ns: count,
        }
    }

    fn record(path: &Path, frames: u64) -> RecordingWriter {
        let mut writer =
            RecordingWriter::create(path, "caméra", DType::Uint16, &[2, 3], false).unwrap();
        for count in 1..=frames {
            let frame: Vec<u16> = (0..6)
                .map(|element| (count * 10000 + element) as u16)
                .collect();
            writer
                .append(ArrayRef::from_slice(&frame, &[2, 3]), &publication(count))
                .unwrap();
        }
        assert_eq!(writer.frames(), frames);
        writer
    }

    #[test]
    fn recordings_are_read_back_while_they_grow_and_after() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["frames.npy", "frames_too.fits", "more.FTS"] {
            let path = folder.path().join(name);
            // The writer is not finished: this is what is left when it is killed.
            let writer = record(&path, 5);
            for _round in 0..2 {
                let mut reader = RecordingReader::open(&path).unwrap();
                assert_eq!(
                    (reader.dtype(), reader.frames()),
                    (DType::Uint16, 5),
                    "{name}"
                );
                assert_eq!(reader.frame_shape(), [2, 3]);
                for frame in 0..5 {
                    let count = frame as u64 + 1;
                    assert_eq!(reader.publication(frame), Some(publication(count)));
                    let found = reader.read(frame).unwrap().to_vec::<u16>().unwrap();
                    let expected: Vec<u16> = (0..6)
                        .map(|element| (count * 10000 + element) as u16)
                        .collect();
                    assert_eq!(found, expected, "{name}");
                }
                assert_eq!(reader.publication(5), None);
                assert!(
                    reader
                        .read(5)
                        .unwrap_err()
                        .to_string()
                        .contains("no frame 5 among 5")
                );
            }
            let size = std::fs::metadata(&path).unwrap().len();
            assert!(
                name.ends_with("npy") || size.is_multiple_of(2880),
                "{name}: {size}"
            );
            writer.finish().unwrap();
        }
    }

    #[test]
    fn what_a_killed_writer_leaves_is_readable_at_every_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames.npy");
        record(&path, 2).finish().unwrap();
        let (frames, index) = (path.clone(), index_path(&path));
        let after_two = [
            std::fs::read(&frames).unwrap(),
            std::fs::read(&index).unwrap(),
        ];
        // The next frame half written, no header telling of it; then its row as well.
        let half = [&after_two[0][..], &[9; 5]].concat();
        std::fs::write(&frames, half).unwrap();
        assert_eq!(RecordingReader::open(&path).unwrap().frames(), 2);
        let row = [&after_two[1][..], &[1; 40]].concat();
        std::fs::write(&index, row).unwrap();
        let reader = RecordingReader::open(&path).unwrap();
        assert_eq!(
            (reader.publication(1), reader.publication(2)),
            (Some(publication(2)), None)
        );
    }

    #[test]
    fn recordings_are_gone_on_with_behind_their_last_whole_frame() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["frames.npy", "frames_too.fits"] {
            let path = folder.path().join(name);
            let append = || RecordingWriter::append_to(&path, "caméra", DType::Uint16, &[2, 3]);
            let frame = [7u16; 6];
            let mut writer = append().unwrap();
            writer
                .append(ArrayRef::from_slice(&frame, &[2, 3]), &publication(1))
                .unwrap();
            drop(writer);
            // Of the second one only the row and half the frame were written.
            let row = [&std::fs::read(index_path(&path)).unwrap()[..], &[1; 40]].concat();
            std::fs::write(index_path(&path), row).unwrap();
            let mut writer = append().unwrap();
            assert_eq!(writer.frames(), 1);
            let frame = [8u16; 6];
            writer
                .append(ArrayRef::from_slice(&frame, &[2, 3]), &publication(2))
                .unwrap();
            writer.finish().unwrap();
            let mut reader = RecordingReader::open(&path).unwrap();
            assert_eq!(reader.frames(), 2, "{name}");
            assert_eq!(reader.publication(1), Some(publication(2)));
            assert_eq!(reader.read(1).unwrap().to_vec::<u16>().unwrap(), [8; 6]);
            assert_eq!(reader.read(0).unwrap().to_vec::<u16>().unwrap(), [7; 6]);
            let other = RecordingWriter::append_to(&path, "caméra", DType::Uint16, &[3, 2]);
            let error = other.unwrap_err().to_string();
            assert!(
                error.contains("cannot append to") && error.contains("[3, 2]"),
                "{error}"
            );
            std::fs::remove_file(index_path(&path)).unwrap();
            let error = append().unwrap_err().to_string();
            assert!(error.contains("0 rows for the 2 frames"), "{error}");
        }
    }

    #[test]
    fn what_a_writer_left_that_was_killed_at_its_start_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["frames.npy", "frames_too.fits"] {
            let path = folder.path().join(name);
            record(&path, 0).finish().unwrap();
            let whole = [
                std::fs::read(&path).unwrap(),
                std::fs::read(index_path(&path)).unwrap(),
            ];
            let blank: &[u8] = &[];
            // `None` is no file.
            let left = [
                (Some(blank), None),
                (Some(blank), Some(blank)),
                (Some(blank), Some(&whole[1][..])),
                (Some(&whole[0]), None),
                (Some(&whole[0]), Some(blank)),
            ];
            for (step, (file, index)) in left.into_iter().enumerate() {
                for (path, bytes) in [(path.clone(), file), (index_path(&path), index)] {
                    std::fs::remove_file(&path).ok();
                    if let Some(bytes) = bytes {
                        std::fs::write(path, bytes).unwrap();
                    }
                }
                let mut writer =
                    RecordingWriter::append_to(&path, "caméra", DType::Uint16, &[2, 3]).unwrap();
                let frame = ArrayRef::from_slice(&[7u16; 6], &[2, 3]);
                writer.append(frame, &publication(1)).unwrap();
                let reader = RecordingReader::open(&path).unwrap();
                assert_eq!(reader.frames(), 1, "{name} after step {step}");
                assert_eq!(reader.publication(0), Some(publication(1)));
            }
            // An index with rows belongs to frames that somebody has moved.
            std::fs::write(&path, blank).unwrap();
            let moved = RecordingWriter::append_to(&path, "caméra", DType::Uint16, &[2, 3]);
            let error = moved.unwrap_err().to_string();
            assert!(error.contains("index.npy exists already"), "{error}");
        }
    }

    #[test]
    fn empty_recordings_and_every_dtype_work() {
        let folder = tempfile::tempdir().unwrap();
        for dtype in DType::ALL {
            for extension in ["npy", "fits"] {
                let path = folder.path().join(format!("{dtype}.{extension}"));
                let created = RecordingWriter::create(&path, "s", dtype, &[3], true);
                if extension == "fits" && dtype.is_complex() {
                    assert!(matches!(created, Err(RecordingError::Complex { .. })));
                    continue;
                }
                let mut writer = created.unwrap();
                let empty = RecordingReader::open(&path).unwrap();
                assert_eq!((empty.dtype(), empty.frames()), (dtype, 0));
                let bytes: Vec<u8> = (0..3 * dtype.size_bytes() as u8).collect();
                let mut frame = OwnedArray::zeros(dtype, &[3]).unwrap();
                let bytes = match dtype {
                    DType::Bool => vec![1, 0, 1],
                    _ => bytes,
                };
                frame.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
                writer.append(frame.as_array(), &publication(1)).unwrap();
                let mut reader = RecordingReader::open(&path).unwrap();
                assert_eq!(reader.dtype(), dtype);
                let mut found = OwnedArray::copy_of(reader.read(0).unwrap().as_array()).unwrap();
                assert_eq!(
                    found.bytes_mut()[..bytes.len()],
                    bytes,
                    "{dtype} {extension}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_recorded_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames.npy");
        let mut writer = record(&path, 1);
        let create = |name: &str| {
            RecordingWriter::create(&folder.path().join(name), "s", DType::Uint8, &[2], false)
        };
        let told = |name: &str| create(name).unwrap_err().to_string();
        assert!(told("frames.npy").contains("exists already"));
        assert!(told("frames.txt").contains("end with .npy, .fits"));
        assert!(told("missing/frames.npy").contains("cannot write"));
        // The index alone is enough to be in the way.
        std::fs::remove_file(&path).unwrap();
        assert!(told("frames.npy").contains("frames.index.npy exists already"));
        let wrong = [0u16; 4];
        let error = writer
            .append(ArrayRef::from_slice(&wrong, &[4]), &publication(2))
            .unwrap_err();
        assert!(error.to_string().contains("[4] of uint16"), "{error}");
        std::fs::write(folder.path().join("a.npy"), "text").unwrap();
        let error = RecordingReader::open(&folder.path().join("a.npy")).unwrap_err();
        assert!(
            error.to_string().contains("a.npy is no .npy file"),
            "{error}"
        );
        let lone = folder.path().join("lone.npy");
        record(&lone, 1);
        std::fs::write(index_path(&lone), std::fs::read(&lone).unwrap()).unwrap();
        let error = RecordingReader::open(&lone).unwrap_err().to_string();
        assert!(
            error.contains("lone.index.npy") && error.contains("<u2"),
            "{error}"
        );
    }
}
