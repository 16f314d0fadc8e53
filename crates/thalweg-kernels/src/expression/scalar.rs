//! Numbers in expressions: weak ones, as Python has them, and those of a dtype.

use std::fmt;

use thalweg_shm::DType;

use super::parser::BinaryOperator;
use crate::simd::half_float::f64_to_half;
use crate::simd::number::Number;

/// A number that has no dtype yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Constant {
    Integer(i128),
    Float(f64),
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
        }
    }
}

impl Constant {
    fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// `None` beyond 127 bits.
    pub(crate) fn negative(self) -> Option<Self> {
        match self {
            Self::Integer(value) => value.checked_neg().map(Self::Integer),
            Self::Float(value) => Some(Self::Float(-value)),
        }
    }

    /// `None` beyond 127 bits.
    pub(crate) fn absolute(self) -> Option<Self> {
        match self {
            Self::Integer(value) => value.checked_abs().map(Self::Integer),
            Self::Float(value) => Some(Self::Float(value.abs())),
        }
    }

    /// Integers stay exact integers but for the quotient; `1 / 0` is infinite. `None` beyond 127
    /// bits.
    pub(crate) fn combine(operator: BinaryOperator, a: Self, b: Self) -> Option<Self> {
        if let (Self::Integer(a), Self::Integer(b)) = (a, b) {
            let exact = match operator {
                BinaryOperator::Add => a.checked_add(b),
                BinaryOperator::Subtract => a.checked_sub(b),
                BinaryOperator::Multiply => a.checked_mul(b),
                BinaryOperator::Minimum => Some(a.min(b)),
                BinaryOperator::Maximum => Some(a.max(b)),
                BinaryOperator::Divide => {
                    return Some(Self::Float(a as f64 / b as f64));
                }
            };
            return exact.map(Self::Integer);
        }
        let (a, b) = (a.as_f64(), b.as_f64());
        Some(Self::Float(match operator {
            BinaryOperator::Add => a + b,
            BinaryOperator::Subtract => a - b,
            BinaryOperator::Multiply => a * b,
            BinaryOperator::Divide => a / b,
            BinaryOperator::Minimum => a.smaller(b),
            BinaryOperator::Maximum => a.larger(b),
        }))
    }
}

/// One number of a dtype, as the bytes it has in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scalar {
    pub(crate) dtype: DType,
    pub(crate) bytes: [u8; 8],
}

impl Scalar {
    /// `constant` in `dtype`; `None` when an integer does not fit, or a float is no integer.
    pub(crate) fn new(constant: Constant, dtype: DType) -> Option<Self> {
        let mut bytes = [0; 8];
        match (Self::integer_range(dtype), constant) {
            (Some((least, most)), Constant::Integer(value)) => {
                if value < least || value > most {
                    return None;
                }
                // The low bytes of two's complement are the number in every narrower type.
                let size = dtype.size_bytes();
                if cfg!(target_endian = "little") {
                    bytes[..size].copy_from_slice(&value.to_le_bytes()[..size]);
                } else {
                    bytes[..size].copy_from_slice(&value.to_be_bytes()[16 - size..]);
                }
            }
            (Some(_), Constant::Float(_)) => return None,
            (None, constant) => {
                let value = constant.as_f64();
                match dtype {
                    DType::Float16 => {
                        bytes[..2].copy_from_slice(&f64_to_half(value).to_bits().to_ne_bytes());
                    }
                    DType::Float32 => bytes[..4].copy_from_slice(&(value as f32).to_ne_bytes()),
                    DType::Float64 => bytes.copy_from_slice(&value.to_ne_bytes()),
                    _ => return None,
                }
            }
        }
        Some(Self { dtype, bytes })
    }

    /// The smallest and the largest value of an integer dtype.
    pub(crate) fn integer_range(dtype: DType) -> Option<(i128, i128)> {
        Some(match dtype {
            DType::Int8 => (i8::MIN.into(), i8::MAX.into()),
            DType::Int16 => (i16::MIN.into(), i16::MAX.into()),
            DType::Int32 => (i32::MIN.into(), i32::MAX.into()),
            DType::Int64 => (i64::MIN.into(), i64::MAX.into()),
            DType::Uint8 => (0, u8::MAX.into()),
            DType::Uint16 => (0, u16::MAX.into()),
            DType::Uint32 => (0, u32::MAX.into()),
            DType::Uint64 => (0, u64::MAX.into()),
            _ => return None,
        })
    }
}
