//! A file of an array, whatever its format.

use std::path::Path;

use thalweg_shm::DType;

use super::fits::FitsFile;
use super::npy::NpyFile;
use crate::owned_array::OwnedArray;

pub use super::fits::FitsError;
pub use super::npy::NpyError;

/// Formats arrays are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// NumPy's `.npy`.
    Npy,
    /// A FITS image.
    Fits,
}

impl FileFormat {
    /// The format that the extension of `path` stands for: `.npy`, or `.fits`, `.fit` and `.fts`.
    pub fn of_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "npy" => Some(Self::Npy),
            "fits" | "fit" | "fts" => Some(Self::Fits),
            _ => None,
        }
    }
}

/// A file of an array cannot be used; the message names it.
#[derive(Debug, thiserror::Error)]
pub enum FrameFileError {
    /// As a `.npy` file.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// As a FITS file.
    #[error(transparent)]
    Fits(#[from] FitsError),
}

/// An open file whose header was read and understood.
#[derive(Debug)]
pub struct FrameFile(Kind);

#[derive(Debug)]
enum Kind {
    Npy(NpyFile),
    Fits(FitsFile),
}

impl FrameFile {
    /// Opens the file at `path`, a `.npy` file unless the extension says FITS; reads no data.
    ///
    /// # Errors
    ///
    /// When it is not such a file, or holds what no stream can carry.
    pub fn open(path: &Path) -> Result<Self, FrameFileError> {
        Ok(Self(match FileFormat::of_path(path) {
            Some(FileFormat::Fits) => Kind::Fits(FitsFile::open(path)?),
            Some(FileFormat::Npy) | None => Kind::Npy(NpyFile::open(path)?),
        }))
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match &self.0 {
            Kind::Npy(file) => file.dtype(),
            Kind::Fits(file) => file.dtype(),
        }
    }

    /// Extent of every axis, slowest first.
    pub fn shape(&self) -> &[usize] {
        match &self.0 {
            Kind::Npy(file) => file.shape(),
            Kind::Fits(file) => file.shape(),
        }
    }

    /// Reads part number `index` of the file, in parts of the size of `part`, which has the file's
    /// dtype.
    ///
    /// # Errors
    ///
    /// When it cannot be read, as where the file has become shorter.
    pub fn read_part(&mut self, index: usize, part: &mut OwnedArray) -> Result<(), FrameFileError> {
        match &mut self.0 {
            Kind::Npy(file) => file.read_part(index, part)?,
            Kind::Fits(file) => file.read_part(index, part)?,
        }
        Ok(())
    }
}
