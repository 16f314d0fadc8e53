//! The loops expressions are made of, one per operation and dtype.

use std::marker::PhantomData;

use thalweg_shm::DType;

use super::parser::BinaryOperator;
use crate::simd::isa::Isa;
use crate::simd::map::{Function1, Function2, Function3, Operand, map1, map2, map3};
use crate::simd::matmul::{Extents, matmul};
use crate::simd::number::{Boolean, Float, Number, WidenTo, with_number};
use crate::simd::run::{ReadRun, WriteRun};

/// Computes `count` elements. Operations with fewer than three operands ignore the rest.
pub(crate) type BlockFunction = fn(Isa, &[Operand<'_>; 3], WriteRun<'_>, usize);

/// Two operations in one loop, which saves writing and reading the value between them. Each is
/// rounded as if it were alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fusion {
    /// `a * b + c`
    MultiplyAdd,
    /// `a * b - c`
    MultiplySubtract,
    /// `c - a * b`
    SubtractProduct,
    /// `(a + b) * c`
    AddMultiply,
    /// `(a - b) * c`
    SubtractMultiply,
    /// `(a - b) / c`
    SubtractDivide,
}

impl Fusion {
    /// The fusion of `outer` with its left operand, the result of `inner`.
    pub(crate) fn of_left(inner: BinaryOperator, outer: BinaryOperator) -> Option<Self> {
        match (inner, outer) {
            (BinaryOperator::Multiply, BinaryOperator::Add) => Some(Self::MultiplyAdd),
            (BinaryOperator::Multiply, BinaryOperator::Subtract) => Some(Self::MultiplySubtract),
            (BinaryOperator::Add, BinaryOperator::Multiply) => Some(Self::AddMultiply),
            (BinaryOperator::Subtract, BinaryOperator::Multiply) => Some(Self::SubtractMultiply),
            (BinaryOperator::Subtract, BinaryOperator::Divide) => Some(Self::SubtractDivide),
            _ => None,
        }
    }

    /// The fusion of `outer` with its right operand, the result of `inner`.
    pub(crate) fn of_right(inner: BinaryOperator, outer: BinaryOperator) -> Option<Self> {
        match (inner, outer) {
            (BinaryOperator::Multiply, BinaryOperator::Subtract) => Some(Self::SubtractProduct),
            (_, BinaryOperator::Subtract | BinaryOperator::Divide) => None,
            _ => Self::of_left(inner, outer),
        }
    }

    /// Its loop, for the dtypes where it pays.
    pub(crate) fn function(self, dtype: DType) -> Option<BlockFunction> {
        match dtype {
            DType::Float32 => Some(self.float_function::<f32>()),
            DType::Float64 => Some(self.float_function::<f64>()),
            _ => None,
        }
    }

    fn float_function<T: Float>(self) -> BlockFunction {
        match self {
            Self::MultiplyAdd => block3::<MultiplyAdd<T>>,
            Self::MultiplySubtract => block3::<MultiplySubtract<T>>,
            Self::SubtractProduct => block3::<SubtractProduct<T>>,
            Self::AddMultiply => block3::<AddMultiply<T>>,
            Self::SubtractMultiply => block3::<SubtractMultiply<T>>,
            Self::SubtractDivide => block3::<SubtractDivide<T>>,
        }
    }
}

/// Computes one matrix product.
pub(crate) type MatMulFunction = fn(Isa, ReadRun<'_>, ReadRun<'_>, WriteRun<'_>, Extents);

macro_rules! functions1 {
    ($($name:ident: $bound:ident, |$a:ident| $value:expr;)*) => {
        $(
            #[derive(Clone, Copy, Default)]
            struct $name<T>(PhantomData<T>);

            impl<T: $bound> Function1 for $name<T> {
                type A = T;
                type R = T;

                #[inline(always)]
                fn apply(self, $a: T) -> T {
                    $value
                }
            }
        )*
    };
}

macro_rules! functions2 {
    ($($name:ident: $bound:ident, |$a:ident, $b:ident| $value:expr;)*) => {
        $(
            #[derive(Clone, Copy, Default)]
            struct $name<T>(PhantomData<T>);

            impl<T: $bound> Function2 for $name<T> {
                type A = T;
                type B = T;
                type R = T;

                #[inline(always)]
                fn apply(self, $a: T, $b: T) -> T {
                    $value
                }
            }
        )*
    };
}

functions1! {
    Absolute: Number, |a| a.magnitude();
    Negative: Number, |a| a.opposite();
    Same: Number, |a| a;
}

functions2! {
    Add: Number, |a, b| a.plus(b);
    Subtract: Number, |a, b| a.minus(b);
    Multiply: Number, |a, b| a.times(b);
    Minimum: Number, |a, b| a.smaller(b);
    Maximum: Number, |a, b| a.larger(b);
    Divide: Float, |a, b| a.divided_by(b);
}

macro_rules! functions3 {
    ($($name:ident: |$a:ident, $b:ident, $c:ident| $value:expr;)*) => {
        $(
            #[derive(Clone, Copy, Default)]
            struct $name<T>(PhantomData<T>);

            impl<T: Float> Function3 for $name<T> {
                type T = T;

                #[inline(always)]
                fn apply(self, $a: T, $b: T, $c: T) -> T {
                    $value
                }
            }
        )*
    };
}

functions3! {
    MultiplyAdd: |a, b, c| a.times(b).plus(c);
    MultiplySubtract: |a, b, c| a.times(b).minus(c);
    SubtractProduct: |a, b, c| c.minus(a.times(b));
    AddMultiply: |a, b, c| a.plus(b).times(c);
    SubtractMultiply: |a, b, c| a.minus(b).times(c);
    SubtractDivide: |a, b, c| a.minus(b).divided_by(c);
}

#[derive(Clone, Copy, Default)]
struct Widen<A, R>(PhantomData<(A, R)>);

impl<A: Number + WidenTo<R>, R: Number> Function1 for Widen<A, R> {
    type A = A;
    type R = R;

    #[inline(always)]
    fn apply(self, a: A) -> R {
        a.widen()
    }
}

/// For bounds that are not NaN.
#[derive(Clone, Copy)]
struct Clip<T> {
    low: T,
    high: T,
}

impl<T: Number> Function1 for Clip<T> {
    type A = T;
    type R = T;

    #[inline(always)]
    fn apply(self, a: T) -> T {
        a.at_least(self.low).at_most(self.high)
    }
}

fn block1<F: Function1 + Default>(
    isa: Isa,
    [a, ..]: &[Operand<'_>; 3],
    out: WriteRun<'_>,
    count: usize,
) {
    map1(isa, F::default(), *a, out, count);
}

fn block2<F: Function2 + Default>(
    isa: Isa,
    [a, b, _]: &[Operand<'_>; 3],
    out: WriteRun<'_>,
    count: usize,
) {
    map2(isa, F::default(), *a, *b, out, count);
}

fn block3<F: Function3 + Default>(
    isa: Isa,
    operands: &[Operand<'_>; 3],
    out: WriteRun<'_>,
    count: usize,
) {
    map3(isa, F::default(), *operands, out, count);
}

fn block_clip<T: Number>(
    isa: Isa,
    [a, low, high]: &[Operand<'_>; 3],
    out: WriteRun<'_>,
    count: usize,
) {
    let [low_value, high_value]: [T; 2] = [low.run().first(), high.run().first()];
    let clip = Clip {
        low: low_value,
        high: high_value,
    };
    // A bound of NaN makes everything NaN.
    let nan = [(low, low_value), (high, high_value)]
        .into_iter()
        .find(|(_, value)| value.to_f64().is_nan());
    match nan {
        Some((bound, _)) => map1(
            isa,
            Same::<T>::default(),
            Operand::Same(bound.run()),
            out,
            count,
        ),
        None => map1(isa, clip, *a, out, count),
    }
}

/// Copies elements of `dtype`.
pub(crate) fn copy(dtype: DType) -> Option<BlockFunction> {
    with_number!(dtype, T => block1::<Same<T>> as BlockFunction)
}

/// `-a`.
pub(crate) fn negative(dtype: DType) -> Option<BlockFunction> {
    with_number!(dtype, T => block1::<Negative<T>> as BlockFunction)
}

/// `abs(a)`.
pub(crate) fn absolute(dtype: DType) -> Option<BlockFunction> {
    with_number!(dtype, T => block1::<Absolute<T>> as BlockFunction)
}

/// `clip(a, low, high)` with one value for each bound.
pub(crate) fn clip(dtype: DType) -> Option<BlockFunction> {
    with_number!(dtype, T => block_clip::<T> as BlockFunction)
}

/// `a` and `b` combined; there is a quotient for floats only.
pub(crate) fn binary(operator: BinaryOperator, dtype: DType) -> Option<BlockFunction> {
    match operator {
        BinaryOperator::Add => with_number!(dtype, T => block2::<Add<T>> as BlockFunction),
        BinaryOperator::Subtract => {
            with_number!(dtype, T => block2::<Subtract<T>> as BlockFunction)
        }
        BinaryOperator::Multiply => {
            with_number!(dtype, T => block2::<Multiply<T>> as BlockFunction)
        }
        BinaryOperator::Minimum => with_number!(dtype, T => block2::<Minimum<T>> as BlockFunction),
        BinaryOperator::Maximum => with_number!(dtype, T => block2::<Maximum<T>> as BlockFunction),
        BinaryOperator::Divide => match dtype {
            DType::Float16 => Some(block2::<Divide<half::f16>>),
            DType::Float32 => Some(block2::<Divide<f32>>),
            DType::Float64 => Some(block2::<Divide<f64>>),
            _ => None,
        },
    }
}

/// `(rows, inner) @ (inner, columns)`.
pub(crate) fn matrix_product(dtype: DType) -> Option<MatMulFunction> {
    with_number!(dtype, T => matmul::<T> as MatMulFunction)
}

macro_rules! casts {
    ($from:expr, $to:expr; $($to_name:ident $to_type:ty: $($from_name:ident $from_type:ty),*;)*) => {
        match ($from, $to) {
            $($(
                (DType::$from_name, DType::$to_name) => {
                    Some(block1::<Widen<$from_type, $to_type>> as BlockFunction)
                }
            )*)*
            _ => None,
        }
    };
}

/// Elements of `from` as elements of `to`, a dtype that promotion of `from` can lead to.
pub(crate) fn cast(from: DType, to: DType) -> Option<BlockFunction> {
    casts! {
        from, to;
        Int8 i8: Bool Boolean;
        Int16 i16: Bool Boolean, Int8 i8, Uint8 u8;
        Int32 i32: Bool Boolean, Int8 i8, Int16 i16, Uint8 u8, Uint16 u16;
        Int64 i64: Bool Boolean, Int8 i8, Int16 i16, Int32 i32, Uint8 u8, Uint16 u16, Uint32 u32;
        Uint8 u8: Bool Boolean;
        Uint16 u16: Bool Boolean, Uint8 u8;
        Uint32 u32: Bool Boolean, Uint8 u8, Uint16 u16;
        Uint64 u64: Bool Boolean, Uint8 u8, Uint16 u16, Uint32 u32;
        Float16 half::f16: Bool Boolean, Int8 i8, Uint8 u8;
        Float32 f32: Bool Boolean, Int8 i8, Int16 i16, Uint8 u8, Uint16 u16, Float16 half::f16;
        Float64 f64: Bool Boolean, Int8 i8, Int16 i16, Int32 i32, Int64 i64,
            Uint8 u8, Uint16 u16, Uint32 u32, Uint64 u64, Float16 half::f16, Float32 f32;
    }
}

#[cfg(test)]
mod tests {
    use super::super::promotion::promote;
    use super::*;

    #[test]
    fn every_cast_promotion_asks_for_exists() {
        let real = || DType::ALL.into_iter().filter(|dtype| !dtype.is_complex());
        for a in real() {
            for b in real() {
                let to = promote(a, b);
                assert!(a == to || cast(a, to).is_some(), "{a} to {to}");
            }
            assert!(copy(a).is_some() && clip(a).is_some() && matrix_product(a).is_some());
            // Quotients of integers are computed in double precision.
            assert!(a.is_float() || cast(a, DType::Float64).is_some());
        }
        assert!(copy(DType::Complex64).is_none());
    }
}
