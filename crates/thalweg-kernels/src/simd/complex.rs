//! Products and quotients of complex numbers, as NumPy keeps and computes them.

use thalweg_shm::{ArrayError, ArrayMut, ArrayRef, DType};

use super::isa::{Isa, Vectorized};
use super::map::{load, store};
use super::number::Float;
use super::run::{ReadRun, WriteRun};

/// What is done with two complex numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComplexFunction {
    /// The plain formula.
    Product,
    /// By Smith's method, which does not overflow where the result does not.
    Quotient,
}

/// `out[i] = function(a[i], b[i])` for arrays of `dtype`, a complex one with parts of type `R`.
pub(crate) fn map2_complex<R: Float>(
    isa: Isa,
    function: ComplexFunction,
    dtype: DType,
    [a, b]: [ArrayRef<'_>; 2],
    out: &mut ArrayMut<'_>,
) -> Result<(), ArrayError> {
    let count = out.len();
    for (found, len) in [
        (a.dtype(), a.len()),
        (b.dtype(), b.len()),
        (out.dtype(), count),
    ] {
        if found != dtype {
            return Err(ArrayError::DType {
                expected: dtype,
                found,
            });
        }
        if len != count {
            return Err(ArrayError::Range {
                start: 0,
                end: count,
                len,
            });
        }
    }
    isa.run(Map {
        function,
        a: ReadRun::of_array(a).elements::<R>(2 * count),
        b: ReadRun::of_array(b).elements::<R>(2 * count),
        out: WriteRun::of_array(out).elements::<R>(2 * count),
        count,
    });
    Ok(())
}

struct Map<R> {
    function: ComplexFunction,
    a: *const R,
    b: *const R,
    out: *mut R,
    count: usize,
}

impl<R: Float> Vectorized for Map<R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for index in 0..self.count {
            let part = |from: *const R, offset: usize| {
                // SAFETY: `map2_complex` checked that both parts of `count` numbers are there.
                unsafe { load(from, 2 * index + offset) }
            };
            let a = [part(self.a, 0), part(self.a, 1)];
            let b = [part(self.b, 0), part(self.b, 1)];
            let result = match self.function {
                ComplexFunction::Product => product(a, b),
                ComplexFunction::Quotient => quotient(a, b),
            };
            for (offset, part) in result.into_iter().enumerate() {
                // SAFETY: `map2_complex` checked that both parts of `count` numbers are there.
                unsafe { store(self.out, 2 * index + offset, part) };
            }
        }
    }
}

#[inline(always)]
fn product<R: Float>([ar, ai]: [R; 2], [br, bi]: [R; 2]) -> [R; 2] {
    [
        ar.times(br).minus(ai.times(bi)),
        ar.times(bi).plus(ai.times(br)),
    ]
}

#[inline(always)]
fn quotient<R: Float>([ar, ai]: [R; 2], [br, bi]: [R; 2]) -> [R; 2] {
    let (real_size, imaginary_size) = (br.magnitude().to_f64(), bi.magnitude().to_f64());
    if real_size >= imaginary_size {
        if real_size == 0.0 {
            return [ar.divided_by(br.magnitude()), ai.divided_by(br.magnitude())];
        }
        let ratio = bi.divided_by(br);
        let scale = R::from_f64(1.0).divided_by(br.plus(bi.times(ratio)));
        [
            ar.plus(ai.times(ratio)).times(scale),
            ai.minus(ar.times(ratio)).times(scale),
        ]
    } else {
        let ratio = br.divided_by(bi);
        let scale = R::from_f64(1.0).divided_by(bi.plus(br.times(ratio)));
        [
            ar.times(ratio).plus(ai).times(scale),
            ai.times(ratio).minus(ar).times(scale),
        ]
    }
}
