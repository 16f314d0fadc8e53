//! What lies where in a segment, from dtype, shape and slot count alone.

use crate::dtype::DType;
use crate::protocol::control::{Control, SlotHeader};
use crate::protocol::words::{MAX_SLOTS, MIN_SLOTS};

/// Most axes of an array.
pub const MAX_AXES: usize = 32;
/// Payloads from this size on start on pages of their own.
const PAGE_ALIGNED_FROM_BYTES: usize = 64 * 1024;
const PAGE_BYTES: usize = 4096;
const LINE_BYTES: usize = 64;

/// A dtype, shape and slot count that cannot make a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// No axes.
    #[error("shape must have at least one dimension")]
    NoAxes,
    /// Too many axes.
    #[error("shape has {axes} dimensions, at most {MAX_AXES} are supported")]
    TooManyAxes {
        /// How many.
        axes: usize,
    },
    /// An axis of extent 0.
    #[error("shape {shape:?} is not valid: every dimension must be positive")]
    EmptyAxis {
        /// The shape.
        shape: Vec<usize>,
    },
    /// More bytes than can be addressed.
    #[error("shape {shape:?} of {dtype} with {slots} slots is too large to address")]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
        /// The dtype.
        dtype: DType,
        /// The slots.
        slots: usize,
    },
    /// More rows than a progressive stream can count.
    #[error(
        "a progressive stream can have up to {most} rows along its first dimension, found {rows}: reshape it, or create it without progressive"
    )]
    TooManyRows {
        /// How many.
        rows: usize,
        /// The highest number.
        most: usize,
    },
    /// Too few or too many slots.
    #[error("slots must be between {MIN_SLOTS} and {MAX_SLOTS}, found {slots}")]
    Slots {
        /// How many.
        slots: usize,
    },
}

/// Layout of one segment: identity and control words, slot headers, payload slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Element type.
    pub dtype: DType,
    /// Extent of every axis, slowest first.
    pub shape: Vec<usize>,
    /// Number of slots.
    pub slots: usize,
    /// Bytes of one payload.
    pub payload_bytes: usize,
    /// Bytes from one payload to the next.
    pub slot_stride_bytes: usize,
    /// Offset of the first slot header.
    pub headers_offset: usize,
    /// Offset of the first payload.
    pub payload_offset: usize,
    /// Bytes of the whole segment.
    pub file_bytes: usize,
}

impl Geometry {
    /// Lays out a stream.
    pub fn new(dtype: DType, shape: &[usize], slots: usize) -> Result<Self, GeometryError> {
        if shape.is_empty() {
            return Err(GeometryError::NoAxes);
        }
        if shape.len() > MAX_AXES {
            return Err(GeometryError::TooManyAxes { axes: shape.len() });
        }
        if shape.contains(&0) {
            return Err(GeometryError::EmptyAxis {
                shape: shape.to_owned(),
            });
        }
        if !(MIN_SLOTS..=MAX_SLOTS).contains(&slots) {
            return Err(GeometryError::Slots { slots });
        }
        Self::lay_out(dtype, shape, slots).ok_or_else(|| GeometryError::TooLarge {
            shape: shape.to_owned(),
            dtype,
            slots,
        })
    }

    fn lay_out(dtype: DType, shape: &[usize], slots: usize) -> Option<Self> {
        let payload_bytes = shape
            .iter()
            .try_fold(dtype.size_bytes(), |bytes, &extent| {
                bytes.checked_mul(extent)
            })?;
        let alignment = if payload_bytes >= PAGE_ALIGNED_FROM_BYTES {
            PAGE_BYTES
        } else {
            LINE_BYTES
        };
        let slot_stride_bytes = payload_bytes.checked_next_multiple_of(alignment)?;
        let headers_offset = Control::REGION_BYTES;
        let payload_offset = (headers_offset + slots * size_of::<SlotHeader>())
            .checked_next_multiple_of(alignment)?;
        let file_bytes = slot_stride_bytes
            .checked_mul(slots)?
            .checked_add(payload_offset)?
            .checked_next_multiple_of(PAGE_BYTES)?;
        // Offsets are signed in the kernel and in pointer arithmetic.
        isize::try_from(file_bytes).ok()?;
        Some(Self {
            dtype,
            shape: shape.to_owned(),
            slots,
            payload_bytes,
            slot_stride_bytes,
            headers_offset,
            payload_offset,
            file_bytes,
        })
    }

    /// Offset of the payload of `slot`, which is below `slots`.
    pub fn payload_offset_of(&self, slot: usize) -> usize {
        debug_assert!(slot < self.slots);
        self.payload_offset + slot * self.slot_stride_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_payloads_share_pages_and_large_ones_do_not() {
        let small = Geometry::new(DType::Float32, &[100], 4).unwrap();
        assert_eq!((small.payload_bytes, small.slot_stride_bytes), (400, 448));
        assert_eq!(small.payload_offset_of(1) % 64, 0);
        let large = Geometry::new(DType::Uint8, &[64 * 1024 + 1], 3).unwrap();
        assert_eq!(large.payload_offset_of(2) % 4096, 0);
        assert!(large.payload_offset_of(2) + large.payload_bytes <= large.file_bytes);
    }

    #[test]
    fn impossible_streams_are_refused() {
        let check =
            |shape: &[usize], slots| Geometry::new(DType::Float64, shape, slots).unwrap_err();
        assert_eq!(check(&[], 4), GeometryError::NoAxes);
        assert_eq!(check(&[1; 33], 4), GeometryError::TooManyAxes { axes: 33 });
        assert!(matches!(check(&[3, 0], 4), GeometryError::EmptyAxis { .. }));
        assert_eq!(check(&[3], 1), GeometryError::Slots { slots: 1 });
        assert_eq!(check(&[3], 128), GeometryError::Slots { slots: 128 });
        assert!(matches!(
            check(&[usize::MAX, 2], 4),
            GeometryError::TooLarge { .. }
        ));
        assert!(matches!(
            check(&[usize::MAX / 64], 9),
            GeometryError::TooLarge { .. }
        ));
    }
}
