//! How FITS stores the elements of a stream: big-endian, unsigned integers by an offset.

use half::f16;
use thalweg_shm::DType;

/// How a dtype is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoding {
    /// Bits per element, negative for floating point.
    pub bitpix: i64,
    /// What a reader adds to the stored integers; 0 for none.
    pub zero: f64,
}

impl Encoding {
    /// How FITS stores `dtype`; `None` for complex numbers, which no FITS image holds.
    pub fn of(dtype: DType) -> Option<Self> {
        let (bitpix, zero) = match dtype {
            DType::Uint8 | DType::Bool => (8, 0.0),
            DType::Int8 => (8, -128.0),
            DType::Int16 => (16, 0.0),
            DType::Uint16 => (16, 32_768.0),
            DType::Int32 => (32, 0.0),
            DType::Uint32 => (32, 2_147_483_648.0),
            DType::Int64 => (64, 0.0),
            DType::Uint64 => (64, 9_223_372_036_854_775_808.0),
            // Every half is a single, too.
            DType::Float16 | DType::Float32 => (-32, 0.0),
            DType::Float64 => (-64, 0.0),
            DType::Complex64 | DType::Complex128 => return None,
        };
        Some(Self { bitpix, zero })
    }

    /// The dtype of elements stored like this; `None` where there is none.
    pub fn dtype(self) -> Option<DType> {
        // `bool` and `float16` are stored as what comes before them.
        let all = [DType::Uint8, DType::Float32].into_iter().chain(DType::ALL);
        all.into_iter().find(|&dtype| Self::of(dtype) == Some(self))
    }

    /// Bytes of a stored element.
    pub fn element_bytes(self) -> usize {
        self.bitpix.unsigned_abs() as usize / 8
    }
}

/// Appends the elements in `native`, in this machine's byte order, as FITS stores them.
pub fn append_stored(dtype: DType, native: &[u8], stored: &mut Vec<u8>) {
    match dtype {
        DType::Uint8 | DType::Bool => stored.extend_from_slice(native),
        // The offset of half the range is the top bit.
        DType::Int8 => stored.extend(native.iter().map(|byte| byte ^ 0x80)),
        DType::Float16 => stored.extend(
            native
                .chunks_exact(2)
                .flat_map(|half| f32::from(f16::from_ne_bytes([half[0], half[1]])).to_be_bytes()),
        ),
        _ => {
            let start = stored.len();
            stored.extend_from_slice(native);
            swap_and_shift(dtype, &mut stored[start..]);
        }
    }
}

/// Turns elements as FITS stores them, of the size of the dtype, into native ones in place.
pub(super) fn make_native(dtype: DType, bytes: &mut [u8]) {
    match dtype {
        DType::Uint8 | DType::Bool => {}
        DType::Int8 => bytes.iter_mut().for_each(|byte| *byte ^= 0x80),
        _ => {
            for element in bytes.chunks_exact_mut(dtype.size_bytes()) {
                if is_shifted(dtype) {
                    element[0] ^= 0x80;
                }
                if cfg!(target_endian = "little") {
                    element.reverse();
                }
            }
        }
    }
}

/// Appends stored single-precision numbers to halves in `native`.
pub(super) fn fill_halves(stored: &[u8], native: &mut [u8]) {
    let singles = stored.chunks_exact(4);
    for (half, single) in native.chunks_exact_mut(2).zip(singles) {
        let number = f32::from_be_bytes([single[0], single[1], single[2], single[3]]);
        half.copy_from_slice(&f16::from_f32(number).to_ne_bytes());
    }
}

fn is_shifted(dtype: DType) -> bool {
    matches!(dtype, DType::Uint16 | DType::Uint32 | DType::Uint64)
}

fn swap_and_shift(dtype: DType, bytes: &mut [u8]) {
    for element in bytes.chunks_exact_mut(dtype.size_bytes()) {
        if cfg!(target_endian = "little") {
            element.reverse();
        }
        if is_shifted(dtype) {
            element[0] ^= 0x80;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_big_endian_and_unsigned_ones_offset() {
        let stored = |dtype, native: &[u8]| {
            let mut stored = Vec::new();
            append_stored(dtype, native, &mut stored);
            if dtype != DType::Float16 {
                let mut back = stored.clone();
                make_native(dtype, &mut back);
                assert_eq!(back, native, "{dtype}");
            }
            stored
        };
        let zero = |dtype| Encoding::of(dtype).unwrap().zero;
        assert_eq!(stored(DType::Int16, &(-2i16).to_ne_bytes()), [0xff, 0xfe]);
        // The stored integer and the offset together are the element.
        assert_eq!(
            stored(DType::Uint16, &1u16.to_ne_bytes()),
            (i16::MIN + 1).to_be_bytes()
        );
        assert_eq!(zero(DType::Uint16), 32_768.0);
        let stored_u32 = (7 - 2_147_483_648i64) as i32;
        assert_eq!(
            stored(DType::Uint32, &7u32.to_ne_bytes()),
            stored_u32.to_be_bytes()
        );
        assert_eq!(
            stored(DType::Uint64, &0u64.to_ne_bytes()),
            i64::MIN.to_be_bytes()
        );
        assert_eq!(zero(DType::Uint64), 2f64.powi(63));
        assert_eq!(stored(DType::Int8, &(-128i8).to_ne_bytes()), [0]);
        assert_eq!(stored(DType::Int8, &127i8.to_ne_bytes()), [255]);
        assert_eq!(stored(DType::Bool, &[1, 0]), [1, 0]);
        let half = f16::from_f32(-0.5).to_ne_bytes();
        assert_eq!(stored(DType::Float16, &half), (-0.5f32).to_be_bytes());
        let mut halves = [0; 2];
        fill_halves(&(-0.5f32).to_be_bytes(), &mut halves);
        assert_eq!(halves, half);
        assert_eq!(
            stored(DType::Float64, &1.5f64.to_ne_bytes()),
            1.5f64.to_be_bytes()
        );
    }

    #[test]
    fn every_real_dtype_is_found_again() {
        for dtype in DType::ALL {
            let expected = match dtype {
                DType::Bool => Some(DType::Uint8),
                DType::Float16 => Some(DType::Float32),
                _ if dtype.is_complex() => None,
                _ => Some(dtype),
            };
            assert_eq!(Encoding::of(dtype).and_then(Encoding::dtype), expected);
        }
    }
}
