//! Element types of arrays: the fourteen native NumPy dtypes a stream can carry.

use std::fmt;
use std::str::FromStr;

use half::f16;
use serde::{Deserialize, Serialize};

/// Element type of an array in shared memory.
///
/// The discriminant is the code written into segment headers; it never changes meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u16)]
pub enum DType {
    /// Signed 8-bit integer.
    Int8 = 0,
    /// Signed 16-bit integer.
    Int16 = 1,
    /// Signed 32-bit integer.
    Int32 = 2,
    /// Signed 64-bit integer.
    Int64 = 3,
    /// Unsigned 8-bit integer.
    Uint8 = 4,
    /// Unsigned 16-bit integer.
    Uint16 = 5,
    /// Unsigned 32-bit integer.
    Uint32 = 6,
    /// Unsigned 64-bit integer.
    Uint64 = 7,
    /// IEEE 754 half precision.
    Float16 = 8,
    /// IEEE 754 single precision.
    Float32 = 9,
    /// IEEE 754 double precision.
    Float64 = 10,
    /// One byte, 0 or 1.
    Bool = 11,
    /// Two `Float32`: real, imaginary.
    Complex64 = 12,
    /// Two `Float64`: real, imaginary.
    Complex128 = 13,
}

impl DType {
    /// Every dtype, in the order of the header codes.
    pub const ALL: [Self; 14] = [
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Float16,
        Self::Float32,
        Self::Float64,
        Self::Bool,
        Self::Complex64,
        Self::Complex128,
    ];

    /// The dtype whose header code is `code`.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The code written into segment headers.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::Int8 | Self::Uint8 | Self::Bool => 1,
            Self::Int16 | Self::Uint16 | Self::Float16 => 2,
            Self::Int32 | Self::Uint32 | Self::Float32 => 4,
            Self::Int64 | Self::Uint64 | Self::Float64 | Self::Complex64 => 8,
            Self::Complex128 => 16,
        }
    }

    /// NumPy's name of the dtype, such as `float32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Bool => "bool",
            Self::Complex64 => "complex64",
            Self::Complex128 => "complex128",
        }
    }

    /// Format character of the Python buffer protocol (`struct` module, native size).
    pub fn buffer_format(self) -> &'static std::ffi::CStr {
        match self {
            Self::Int8 => c"b",
            Self::Int16 => c"h",
            Self::Int32 => c"i",
            Self::Int64 => c"q",
            Self::Uint8 => c"B",
            Self::Uint16 => c"H",
            Self::Uint32 => c"I",
            Self::Uint64 => c"Q",
            Self::Float16 => c"e",
            Self::Float32 => c"f",
            Self::Float64 => c"d",
            Self::Bool => c"?",
            Self::Complex64 => c"Zf",
            Self::Complex128 => c"Zd",
        }
    }

    /// True for `float16`, `float32` and `float64`.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Float32 | Self::Float64)
    }

    /// True for the signed and unsigned integers, not for `bool`.
    pub fn is_integer(self) -> bool {
        self.code() < Self::Float16.code()
    }

    /// True for `complex64` and `complex128`.
    pub fn is_complex(self) -> bool {
        matches!(self, Self::Complex64 | Self::Complex128)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no supported dtype.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unsupported dtype {name:?}: expected one of int8, int16, int32, int64, uint8, uint16, uint32, \
     uint64, float16, float32, float64, bool, complex64, complex128"
)]
pub struct UnsupportedDType {
    /// The name that was given.
    pub name: String,
}

impl FromStr for DType {
    type Err = UnsupportedDType;

    /// Accepts NumPy's names, its common aliases (`float`, `double`, `int`, ...) and the
    /// `typestr` forms for native byte order (`<f4`, `=u2`, `|b1`, `f8`).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let trimmed = name.trim();
        let bare = trimmed.trim_start_matches(['=', '|', '<']);
        if let Some(dtype) = Self::ALL.into_iter().find(|dtype| dtype.name() == bare) {
            return Ok(dtype);
        }
        Ok(match bare {
            "i1" | "byte" => Self::Int8,
            "i2" | "short" => Self::Int16,
            "i4" | "intc" => Self::Int32,
            "i8" | "int" | "int_" | "intp" | "long" | "longlong" => Self::Int64,
            "u1" | "ubyte" => Self::Uint8,
            "u2" | "ushort" => Self::Uint16,
            "u4" | "uintc" => Self::Uint32,
            "u8" | "uint" | "uintp" | "ulong" | "ulonglong" => Self::Uint64,
            "f2" | "half" => Self::Float16,
            "f4" | "single" => Self::Float32,
            "f8" | "float" | "double" => Self::Float64,
            "b1" | "?" | "bool_" => Self::Bool,
            "c8" | "csingle" => Self::Complex64,
            "c16" | "complex" | "cdouble" => Self::Complex128,
            _ => {
                return Err(UnsupportedDType {
                    name: name.to_owned(),
                });
            }
        })
    }
}

/// A Rust type that is the element of some [`DType`].
///
/// # Safety
///
/// `Self` has the size of `DTYPE`, no padding, and every bit pattern is a valid value; arrays of
/// it are read from memory other processes write.
pub unsafe trait Element: Copy + Default + Send + Sync + 'static {
    /// The dtype whose elements are `Self`.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),* $(,)?) => {
        $(
            // SAFETY: a plain number of exactly the dtype's size; every bit pattern is a number.
            unsafe impl Element for $rust {
                const DTYPE: DType = DType::$dtype;
            }
        )*
    };
}

elements! {
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64,
    f16 => Float16, f32 => Float32, f64 => Float64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_round_trip() {
        for dtype in DType::ALL {
            assert_eq!(DType::from_code(dtype.code()), Some(dtype));
            assert_eq!(dtype.name().parse::<DType>(), Ok(dtype));
        }
        assert_eq!(DType::from_code(14), None);
    }

    #[test]
    fn aliases_are_numpy_s() {
        assert_eq!("<f4".parse(), Ok(DType::Float32));
        assert_eq!(" double ".parse(), Ok(DType::Float64));
        assert!(">f4".parse::<DType>().is_err(), "big-endian is refused");
        assert!("object".parse::<DType>().is_err());
    }
}
