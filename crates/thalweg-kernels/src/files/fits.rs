//! Images in FITS files: the first one of a file, read frame by frame.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fitsio_pure::BLOCK_SIZE;
use fitsio_pure::header::{Card, parse_header_blocks};
use fitsio_pure::value::Value;
use thalweg_shm::DType;

use super::encoding::{Encoding, fill_halves, make_native};
use crate::owned_array::OwnedArray;

/// Headers longer than this are not meant to be read as such.
const LONGEST_HEADER_BYTES: u64 = 1 << 24;

/// An open FITS file whose first image was found and understood.
#[derive(Debug)]
pub(super) struct FitsFile {
    path: PathBuf,
    file: File,
    dtype: DType,
    encoding: Encoding,
    shape: Vec<usize>,
    data_start: u64,
}

/// A FITS file cannot be used; the message names it.
#[derive(Debug, thiserror::Error)]
pub enum FitsError {
    /// It cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else, or damaged.
    #[error("{} is no FITS file with an image: {reason}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Its numbers are none of a stream's.
    #[error(
        "{} holds numbers that no stream can carry as they are: {found}; convert it first",
        path.display()
    )]
    Numbers {
        /// The file.
        path: PathBuf,
        /// How they are stored.
        found: String,
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
        shape: Vec<usize>,
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

impl FitsFile {
    /// Opens the file at `path` and reads headers up to the first image; no data.
    pub(super) fn open(path: &Path) -> Result<Self, FitsError> {
        let path = path.to_owned();
        let open = |source| FitsError::Open {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(open)?;
        let metadata = file.metadata().map_err(open)?;
        if metadata.is_dir() {
            return Err(open(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let file_bytes = metadata.len();
        let wrong = |reason: &str| FitsError::Header {
            path: path.clone(),
            reason: reason.to_owned(),
        };
        let mut start = 0;
        loop {
            if start >= file_bytes {
                return Err(wrong("there is no image in it"));
            }
            let (cards, data_start) =
                read_header(&file, start, file_bytes).map_err(|reason| wrong(&reason))?;
            let (shape, data_bytes) = described(&cards).ok_or_else(|| wrong("its axes"))?;
            let is_image = match card(&cards, "XTENSION") {
                Some(Value::String(kind)) => kind.trim() == "IMAGE",
                _ => card(&cards, "SIMPLE").is_some(),
            };
            if matches!(card(&cards, "ZIMAGE"), Some(Value::Logical(true))) {
                return Err(wrong("its image is compressed; unpack it first"));
            }
            if is_image && !shape.is_empty() {
                let (dtype, encoding) = numbers(&cards).map_err(|found| FitsError::Numbers {
                    path: path.clone(),
                    found,
                })?;
                let found = file_bytes.saturating_sub(data_start);
                if data_bytes > u128::from(found) {
                    return Err(FitsError::Truncated {
                        path,
                        shape,
                        dtype,
                        needed: data_bytes,
                        found,
                    });
                }
                return Ok(Self {
                    path,
                    file,
                    dtype,
                    encoding,
                    shape,
                    data_start,
                });
            }
            let padded = data_bytes.next_multiple_of(BLOCK_SIZE as u128);
            start = u64::try_from(u128::from(data_start) + padded).unwrap_or(u64::MAX);
        }
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Reads part number `index` of the image, in parts of the size of `part`, which has the
    /// file's dtype.
    pub(super) fn read_part(&self, index: usize, part: &mut OwnedArray) -> Result<(), FitsError> {
        let count = part.as_array().len();
        let stored_bytes = count * self.encoding.element_bytes();
        let start = self.data_start + index as u64 * stored_bytes as u64;
        let dtype = self.dtype;
        let native_bytes = count * dtype.size_bytes();
        let native = &mut part.bytes_mut()[..native_bytes];
        let outcome = if dtype == DType::Float16 {
            let mut stored = vec![0; stored_bytes];
            let outcome = self.file.read_exact_at(&mut stored, start);
            fill_halves(&stored, native);
            outcome
        } else {
            let outcome = self.file.read_exact_at(native, start);
            make_native(dtype, native);
            outcome
        };
        outcome.map_err(|source| FitsError::Read {
            path: self.path.clone(),
            source,
        })
    }
}

/// The cards of the header at `start`, and where its data begin.
fn read_header(file: &File, start: u64, file_bytes: u64) -> Result<(Vec<Card>, u64), String> {
    let mut header = Vec::new();
    loop {
        let at = start + header.len() as u64;
        if at + BLOCK_SIZE as u64 > file_bytes || header.len() as u64 > LONGEST_HEADER_BYTES {
            return Err("its header has no end".to_owned());
        }
        let mut block = [0; BLOCK_SIZE];
        file.read_exact_at(&mut block, at)
            .map_err(|error| error.to_string())?;
        if header.is_empty() && !block.starts_with(b"SIMPLE  =") && !block.starts_with(b"XTENSION")
        {
            return Err("it does not begin with SIMPLE or XTENSION".to_owned());
        }
        let has_end = block
            .chunks_exact(80)
            .any(|card| card.starts_with(b"END") && card[3..].iter().all(|&byte| byte == b' '));
        header.extend_from_slice(&block);
        if has_end {
            break;
        }
    }
    let cards = parse_header_blocks(&header).map_err(|error| error.to_string())?;
    Ok((cards, start + header.len() as u64))
}

fn card<'a>(cards: &'a [Card], keyword: &str) -> Option<&'a Value> {
    let found = cards.iter().find(|card| card.keyword_str() == keyword)?;
    found.value.as_ref()
}

fn integer(cards: &[Card], keyword: &str) -> Option<i64> {
    match card(cards, keyword)? {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

fn number(cards: &[Card], keyword: &str) -> Option<f64> {
    match card(cards, keyword)? {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

/// Shape, slowest axis first, and bytes of the data of a header.
fn described(cards: &[Card]) -> Option<(Vec<usize>, u128)> {
    let axes = integer(cards, "NAXIS").filter(|axes| (0..=999).contains(axes))?;
    let mut shape = Vec::new();
    for axis in (1..=axes).rev() {
        shape.push(usize::try_from(integer(cards, &format!("NAXIS{axis}"))?).ok()?);
    }
    let element_bytes = u128::from(integer(cards, "BITPIX")?.unsigned_abs() / 8);
    let parameters = integer(cards, "PCOUNT").unwrap_or(0).unsigned_abs();
    let groups = integer(cards, "GCOUNT").unwrap_or(1).unsigned_abs();
    let elements = if shape.is_empty() {
        0
    } else {
        shape
            .iter()
            .fold(1u128, |count, &extent| count.saturating_mul(extent as u128))
    };
    let bytes = elements
        .saturating_add(parameters.into())
        .saturating_mul(groups.into())
        .saturating_mul(element_bytes);
    Some((shape, bytes))
}

/// The dtype of the elements, or how they are stored.
fn numbers(cards: &[Card]) -> Result<(DType, Encoding), String> {
    let bitpix = integer(cards, "BITPIX").unwrap_or(0);
    let zero = number(cards, "BZERO").unwrap_or(0.0);
    let scale = number(cards, "BSCALE").unwrap_or(1.0);
    let encoding = Encoding { bitpix, zero };
    let dtype = encoding.dtype().filter(|_| scale == 1.0);
    let Some(dtype) = dtype else {
        return Err(format!("BITPIX {bitpix}, BSCALE {scale}, BZERO {zero}"));
    };
    // The recorder says which dtype a stream had that FITS stores like another one.
    let told = match card(cards, "DTYPE") {
        Some(Value::String(name)) => name.trim().parse().ok(),
        _ => None,
    };
    let told = told.filter(|&told| Encoding::of(told) == Some(encoding));
    Ok((told.unwrap_or(dtype), encoding))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(headers: &[&[&str]], data: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = Vec::new();
        for cards in headers {
            for card in cards.iter().chain(&["END"]) {
                bytes.extend(format!("{card:<80}").as_bytes());
            }
            let padded = bytes.len().next_multiple_of(BLOCK_SIZE);
            bytes.resize(padded, b' ');
        }
        bytes.extend(data);
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn an_image_in_an_extension_is_found() {
        let data: Vec<u8> = (0..6i16)
            .flat_map(|number| (number - 3).to_be_bytes())
            .collect();
        let file = file_of(
            &[
                &[
                    "SIMPLE  =                    T",
                    "BITPIX  =                    8",
                    "NAXIS   =                    0",
                ],
                &[
                    "XTENSION= 'IMAGE   '",
                    "BITPIX  =                   16",
                    "NAXIS   =                    2",
                    "NAXIS1  =                    2",
                    "NAXIS2  =                    3",
                    "PCOUNT  =                    0",
                    "GCOUNT  =                    1",
                ],
            ],
            &data,
        );
        let fits = FitsFile::open(file.path()).unwrap();
        assert_eq!((fits.dtype(), fits.shape()), (DType::Int16, &[3, 2][..]));
        let mut part = OwnedArray::zeros(DType::Int16, &[2]).unwrap();
        fits.read_part(2, &mut part).unwrap();
        assert_eq!(part.to_vec::<i16>().unwrap(), [1, 2]);
    }

    #[test]
    fn unusable_files_say_why() {
        let image = |cards: &[&'static str], data: &[u8]| {
            let mut all = vec!["SIMPLE  =                    T"];
            all.extend(cards);
            file_of(&[&all], data)
        };
        let one_axis = [
            "NAXIS   =                    1",
            "NAXIS1  =                    4",
        ];
        let with = |bitpix: &'static str, more: &[&'static str], data: &[u8]| {
            let cards: Vec<&'static str> = [bitpix]
                .into_iter()
                .chain(one_axis)
                .chain(more.iter().copied())
                .collect();
            image(&cards, data)
        };
        let bytes = "BITPIX  =                    8";
        for (file, fragment) in [
            (
                with("BITPIX  =                   32", &[], &[0; 15]),
                "needs 16 bytes, there are 15",
            ),
            (
                with(bytes, &["BSCALE  =                  0.5"], &[0; 4]),
                "BSCALE 0.5",
            ),
            (
                with("BITPIX  =                   24", &[], &[0; 12]),
                "BITPIX 24",
            ),
            (
                image(&[bytes, "NAXIS   =                    0"], &[]),
                "no image",
            ),
            (image(&[bytes], &[]), "its axes"),
            (
                image(
                    &[
                        bytes,
                        "NAXIS   =                    1",
                        "NAXIS1  =                   -4",
                    ],
                    &[],
                ),
                "its axes",
            ),
        ] {
            let error = FitsFile::open(file.path()).unwrap_err().to_string();
            assert!(error.contains(fragment), "{error}");
        }
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), vec![b'x'; 5000]).unwrap();
        let error = FitsFile::open(text.path()).unwrap_err().to_string();
        assert!(error.contains("does not begin with SIMPLE"), "{error}");
        let missing = FitsFile::open(Path::new("/nonexistent/frames.fits")).unwrap_err();
        assert!(missing.to_string().starts_with("cannot open /nonexistent"));
    }
}
