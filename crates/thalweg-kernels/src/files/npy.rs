//! Files of arrays in NumPy's `.npy` format.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use npyz::{DType as NpyDType, Endianness, NpyHeader, Order};
use py_literal::Value;
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
        let header = read_header(&mut file).map_err(|source| NpyError::Header {
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

/// What every `.npy` file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// Before the length of the header: the above and the version.
const VERSIONED_BYTES: u64 = 8;
/// Far longer than any header of arrays that a stream could hold.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Reads the header of the `.npy` file that `file` is at the beginning of. Whatever is in it, this
/// takes little memory and no product of extents overflows.
pub(super) fn read_header(file: &mut File) -> io::Result<NpyHeader> {
    let mut bytes = Vec::new();
    let mut read_more = |bytes: &mut Vec<u8>, count: u64| {
        let read = file.by_ref().take(count).read_to_end(bytes);
        read.map(drop)
    };
    read_more(&mut bytes, VERSIONED_BYTES)?;
    if bytes.starts_with(MAGIC) {
        let is_first_version = bytes.get(MAGIC.len()) == Some(&1);
        read_more(&mut bytes, if is_first_version { 2 } else { 4 })?;
        let length_at = VERSIONED_BYTES as usize;
        let length = bytes.get(length_at..).unwrap_or_default().iter().rev();
        let length = length.fold(0, |length, &byte| length << 8 | u64::from(byte));
        if length > MAX_HEADER_BYTES {
            return Err(io::Error::other(format!(
                "its header has {length} bytes, no array needs more than {MAX_HEADER_BYTES}"
            )));
        }
        let text_at = bytes.len();
        read_more(&mut bytes, length)?;
        check_extents(bytes.get(text_at..).unwrap_or_default())?;
    }
    // It also says what is wrong with everything that was passed over here.
    NpyHeader::from_reader(bytes.as_slice())
}

/// An error if the number of elements of any axes together is beyond 64 bits, which NumPy refuses,
/// too.
fn check_extents(header: &[u8]) -> io::Result<()> {
    let Some(Value::Dict(entries)) = std::str::from_utf8(header)
        .ok()
        .and_then(|text| text.trim_end_matches('\n').parse().ok())
    else {
        return Ok(());
    };
    for (key, value) in entries {
        let (Some("shape"), Value::Tuple(extents) | Value::List(extents)) =
            (key.as_string().map(String::as_str), &value)
        else {
            continue;
        };
        let elements = extents.iter().try_fold(1u64, |elements, extent| {
            let digits = extent.as_integer().map(|extent| extent.to_u64_digits().1);
            let extent = digits.and_then(|digits| digits.first().copied());
            // An axis without elements does not make the others shorter.
            elements.checked_mul(extent.unwrap_or(0).max(1))
        });
        if elements.is_none() {
            return Err(io::Error::other(format!(
                "shape {value} is too large for any file"
            )));
        }
    }
    Ok(())
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
            (
                npy_bytes(
                    "<f4",
                    false,
                    "(0, 18446744073709551615, 0xffffffffffffffff)",
                    &[],
                ),
                "is too large for any file",
            ),
            (
                npy_bytes("<f4", true, "[18446744073709551615, 2, 0]", &[]),
                "is too large for any file",
            ),
            (
                npy_bytes("<f4", false, "(18446744073709551616, 2)", &[]),
                "larger than u64",
            ),
            (npy_bytes("<f4", false, "(-1, 2)", &[]), "negative"),
            (
                b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec(),
                "its header has 4294967295 bytes",
            ),
            (b"\x93NUMPY\x01".to_vec(), "is no .npy file"),
            (
                npy_bytes("<f4", false, "(2, 3)", &[])[..40].to_vec(),
                "is no .npy file",
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
