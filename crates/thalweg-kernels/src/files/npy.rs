//! Files of arrays in NumPy's `.npy` format.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use npyz::{DType as NpyDType, Endianness, NpyHeader, Order};
use thalweg_shm::DType;
use thalweg_shm::array::element_count;

use crate::owned_array::OwnedArray;

/// An open `.npy` file whose header was read and understood.
#[derive(Debug)]
pub(crate) struct NpyFile {
    path: PathBuf,
    file: File,
    dtype: DType,
    shape: Vec<usize>,
    /// True when the file has the other byte order than this machine.
    swapped: bool,
    data_start: u64,
}

/// A `.npy` file cannot be used; the message names it.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// It cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no .npy file: {source}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// Its elements are none of a stream's.
    #[error("{} holds {found}, which no stream can carry", path.display())]
    DType {
        /// The file.
        path: PathBuf,
        /// Its dtype.
        found: String,
    },
    /// The fastest axis comes first.
    #[error(
        "{} is in Fortran order, shape {shape:?}: save `numpy.ascontiguousarray(array)` instead",
        path.display()
    )]
    FortranOrder {
        /// The file.
        path: PathBuf,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// It is shorter than its header says.
    #[error(
        "{} is cut off: shape {shape:?} of {dtype} needs {needed} bytes, there are {found}",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Shape in the header.
        shape: Vec<u64>,
        /// Element type.
        dtype: DType,
        /// Bytes of the data.
        needed: u128,
        /// Bytes there are.
        found: u64,
    },
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl NpyFile {
    /// Opens the file at `path` and reads its header; no data.
    pub(crate) fn open(path: &Path) -> Result<Self, NpyError> {
        let path = path.to_owned();
        let open = |source| NpyError::Open {
            path: path.clone(),
            source,
        };
        let mut file = File::open(&path).map_err(open)?;
        let metadata = file.metadata().map_err(open)?;
        if metadata.is_dir() {
            return Err(open(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let header = NpyHeader::from_reader(&mut file).map_err(|source| NpyError::Header {
            path: path.clone(),
            source,
        })?;
        let (dtype, swapped) = dtype_of(&header.dtype()).ok_or_else(|| NpyError::DType {
            path: path.clone(),
            found: header.dtype().descr(),
        })?;
        let long_axes = header.shape().iter().filter(|&&extent| extent > 1).count();
        if header.order() == Order::Fortran && long_axes > 1 {
            return Err(NpyError::FortranOrder {
                path,
                shape: header.shape().to_vec(),
            });
        }
        let data_start = file.stream_position().map_err(|source| NpyError::Read {
            path: path.clone(),
            source,
        })?;
        let needed = header
            .shape()
            .iter()
            .fold(dtype.size_bytes() as u128, |size, &extent| {
                size.saturating_mul(extent.into())
            });
        let found = metadata.len().saturating_sub(data_start);
        let shape: Option<Vec<usize>> = header
            .shape()
            .iter()
            .map(|&extent| usize::try_from(extent).ok())
            .collect();
        match shape {
            Some(shape) if u128::from(found) >= needed => Ok(Self {
                path,
                file,
                dtype,
                shape,
                swapped,
                data_start,
            }),
            _ => Err(NpyError::Truncated {
                path,
                shape: header.shape().to_vec(),
                dtype,
                needed,
                found,
            }),
        }
    }

    /// Element type.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extent of every axis, slowest first.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Reads part number `index` of the file, in parts of the size of `part`, which has the file's
    /// dtype.
    pub(crate) fn read_part(
        &mut self,
        index: usize,
        part: &mut OwnedArray,
    ) -> Result<(), NpyError> {
        let size_bytes = element_count(part.shape()) * part.dtype().size_bytes();
        let start = self.data_start + index as u64 * size_bytes as u64;
        let bytes = &mut part.bytes_mut()[..size_bytes];
        self.file
            .seek(SeekFrom::Start(start))
            .and_then(|_position| self.file.read_exact(bytes))
            .map_err(|source| NpyError::Read {
                path: self.path.clone(),
                source,
            })?;
        if self.swapped {
            let number_bytes = match self.dtype {
                DType::Complex64 | DType::Complex128 => self.dtype.size_bytes() / 2,
                _ => self.dtype.size_bytes(),
            };
            for number in bytes.chunks_exact_mut(number_bytes) {
                number.reverse();
            }
        }
        Ok(())
    }
}

/// NumPy's description of `dtype` in this machine's byte order, such as `<f4`.
pub(super) fn description(dtype: DType) -> String {
    let kind = match dtype {
        DType::Bool => 'b',
        _ if dtype.is_float() => 'f',
        _ if dtype.is_complex() => 'c',
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => 'i',
        _ => 'u',
    };
    let order = match dtype.size_bytes() {
        1 => '|',
        _ if cfg!(target_endian = "little") => '<',
        _ => '>',
    };
    format!("{order}{kind}{}", dtype.size_bytes())
}

/// The header of an array of `frames` times `frame_shape` elements, of the same size whatever the
/// number of frames. `description` is the dtype, as NumPy writes it.
pub(super) fn growing_header(description: &str, frames: u64, frame_shape: &[usize]) -> Vec<u8> {
    const PREFIX_BYTES: usize = 10;
    let rest: String = frame_shape
        .iter()
        .map(|extent| format!("{extent}, "))
        .collect();
    let text = |frames: u64| {
        format!(
            "{{'descr': {description}, 'fortran_order': False, 'shape': ({frames}, {}), }}",
            rest.trim_end()
        )
    };
    // As long as with the largest number, on a multiple of 64, with the line feed.
    let size = (PREFIX_BYTES + text(u64::MAX).len() + 1).next_multiple_of(64);
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    let text_bytes = u16::try_from(size - PREFIX_BYTES).unwrap_or(u16::MAX);
    header.extend(text_bytes.to_le_bytes());
    header.extend(text(frames).as_bytes());
    header.resize(size - 1, b' ');
    header.push(b'\n');
    header
}

/// The dtype and whether its bytes have to be swapped.
fn dtype_of(dtype: &NpyDType) -> Option<(DType, bool)> {
    let NpyDType::Plain(plain) = dtype else {
        return None;
    };
    let text = plain.to_string();
    let found = text.get(1..)?.parse().ok()?;
    let swapped = match plain.endianness() {
        Endianness::Irrelevant => false,
        order => order != Endianness::of_machine(),
    };
    Some((found, swapped))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The bytes of a `.npy` file.
    pub(crate) fn npy_bytes(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let fortran = if fortran { "True" } else { "False" };
        let mut header =
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn opened(bytes: &[u8]) -> Result<NpyFile, NpyError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("array.npy");
        std::fs::write(&path, bytes).unwrap();
        NpyFile::open(&path)
    }

    #[test]
    fn every_dtype_of_a_stream_is_known() {
        for (descr, dtype) in [
            ("|b1", DType::Bool),
            ("|i1", DType::Int8),
            ("<i2", DType::Int16),
            ("<i4", DType::Int32),
            ("<i8", DType::Int64),
            ("|u1", DType::Uint8),
            ("<u2", DType::Uint16),
            ("<u4", DType::Uint32),
            ("<u8", DType::Uint64),
            ("<f2", DType::Float16),
            ("<f4", DType::Float32),
            ("<f8", DType::Float64),
            ("<c8", DType::Complex64),
            ("<c16", DType::Complex128),
        ] {
            let file = opened(&npy_bytes(descr, false, "(2, 3)", &[0; 96])).unwrap();
            assert_eq!(
                (file.dtype(), file.shape()),
                (dtype, &[2, 3][..]),
                "{descr}"
            );
        }
    }

    #[test]
    fn growing_headers_keep_their_size_and_are_understood() {
        for dtype in DType::ALL {
            let quoted = format!("'{}'", description(dtype));
            let size = growing_header(&quoted, 0, &[2, 3]).len();
            for frames in [0u64, 1, 99, 100] {
                let mut bytes = growing_header(&quoted, frames, &[2, 3]);
                assert_eq!(bytes.len(), size);
                bytes.resize(size + 100 * 6 * dtype.size_bytes(), 0);
                let file = opened(&bytes).unwrap();
                assert_eq!(
                    (file.dtype(), file.shape()),
                    (dtype, &[frames as usize, 2, 3][..])
                );
            }
            assert_eq!(growing_header(&quoted, u64::MAX, &[2, 3]).len(), size);
            let plain = growing_header(&quoted, 7, &[]);
            assert_eq!(plain.len() % 64, 0);
            assert!(String::from_utf8_lossy(&plain).contains("(7, ), }"));
        }
    }

    #[test]
    fn bytes_of_the_other_order_are_swapped() {
        let data = [0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0];
        let mut file = opened(&npy_bytes(">f4", false, "(2,)", &data)).unwrap();
        let mut array = OwnedArray::zeros(DType::Float32, &[2]).unwrap();
        file.read_part(0, &mut array).unwrap();
        assert_eq!(array.to_vec::<f32>().unwrap(), [1.0, -2.0]);
        let mut file = opened(&npy_bytes(">c8", false, "(1,)", &data)).unwrap();
        let mut array = OwnedArray::zeros(DType::Complex64, &[1]).unwrap();
        file.read_part(0, &mut array).unwrap();
        assert_eq!(array.bytes_mut(), [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
    }

    #[test]
    fn unusable_files_say_why() {
        for (bytes, fragment) in [
            (b"something else".to_vec(), "is no .npy file"),
            (Vec::new(), "is no .npy file"),
            (
                npy_bytes("<f4", false, "(2, 3)", &[0; 20]),
                "is cut off: shape [2, 3] of float32 needs 24 bytes, there are 20",
            ),
            (
                npy_bytes("<f4", false, "(9000000000, 9000000)", &[0; 20]),
                "is cut off",
            ),
            (npy_bytes("<f4", true, "(2, 3)", &[0; 24]), "Fortran order"),
            (
                npy_bytes("<U4", false, "(2,)", &[0; 32]),
                "no stream can carry",
            ),
            (
                npy_bytes("<M8[ns]", false, "(2,)", &[0; 32]),
                "no stream can carry",
            ),
            (
                npy_bytes("|O", false, "(2,)", &[0; 32]),
                "no stream can carry",
            ),
        ] {
            let error = opened(&bytes).unwrap_err().to_string();
            assert!(
                error.contains(fragment) && error.contains("array.npy"),
                "{error}"
            );
        }
        let missing = NpyFile::open(Path::new("/nonexistent/frames.npy")).unwrap_err();
        assert!(
            missing
                .to_string()
                .starts_with("cannot open /nonexistent/frames.npy")
        );
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            NpyFile::open(folder.path()),
            Err(NpyError::Open { .. })
        ));
        // One long axis has the same order either way.
        assert!(opened(&npy_bytes("<f4", true, "(6,)", &[0; 24])).is_ok());
    }
}
