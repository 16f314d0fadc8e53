//! Arrays in files: NumPy's `.npy` and FITS, read frame by frame and written while they grow.
//!
//! A recording is a file of frames along its first axis, and beside it `<name>.index.npy`, a
//! structured array with one row per frame: `count`, `frame_id`, `wall_ns`, `publish_ns` and
//! `origin_ns`, all of them `uint64`. Both are valid after every frame, because the headers, of
//! fixed size, are written again once the data they speak of are there; whoever is killed in
//! between leaves some bytes at the end that no header speaks of.

pub mod encoding;
mod fits;
mod frame_file;
mod index;
pub(crate) mod npy;
mod reader;
pub(crate) mod writer;

pub use frame_file::{FileFormat, FitsError, FrameFile, FrameFileError, NpyError};
pub use index::{Index, index_path};
pub use reader::{ReadError, RecordingReader};
pub use writer::{RecordingError, RecordingWriter};
