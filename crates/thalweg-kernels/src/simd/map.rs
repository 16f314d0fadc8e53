//! Functions of one, two or three numbers applied to whole arrays.

use thalweg_shm::{ArrayError, ArrayMut, ArrayRef, DType};

use super::isa::{Isa, Vectorized};
use super::number::Number;
use super::run::{ReadRun, WriteRun};

/// A function of one number.
pub(crate) trait Function1: Copy {
    /// What it takes.
    type A: Number;
    /// What it gives.
    type R: Number;
    /// Its value; `#[inline(always)]`.
    fn apply(self, a: Self::A) -> Self::R;
}

/// A function of two numbers.
pub(crate) trait Function2: Copy {
    /// What it takes.
    type A: Number;
    /// What it takes second.
    type B: Number;
    /// What it gives.
    type R: Number;
    /// Its value; `#[inline(always)]`.
    fn apply(self, a: Self::A, b: Self::B) -> Self::R;
}

/// A function of three numbers of one type.
pub(crate) trait Function3: Copy {
    /// What it takes and gives.
    type T: Number;
    /// Its value; `#[inline(always)]`.
    fn apply(self, a: Self::T, b: Self::T, c: Self::T) -> Self::T;
}

/// What a loop reads at each step: the next element, or the same one always.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand<'a> {
    /// As many elements as the loop has steps.
    Each(ReadRun<'a>),
    /// One element.
    Same(ReadRun<'a>),
}

impl<'a> Operand<'a> {
    /// The memory, whatever the step.
    #[inline]
    pub(crate) fn run(self) -> ReadRun<'a> {
        match self {
            Self::Each(run) | Self::Same(run) => run,
        }
    }
}

/// `out[i] = function(a[i])` for `count` elements. Runs in place are correct, but slow.
///
/// # Panics
///
/// When a run is too short or not aligned: a plan that was checked when it was made is wrong.
pub(crate) fn map1<F: Function1>(
    isa: Isa,
    function: F,
    a: Operand<'_>,
    out: WriteRun<'_>,
    count: usize,
) {
    let out = out.elements::<F::R>(count);
    match a {
        Operand::Each(a) => isa.run(Map1 {
            function,
            a: a.elements::<F::A>(count),
            out,
            count,
        }),
        Operand::Same(a) => isa.run(Fill {
            value: function.apply(a.first()),
            out,
            count,
        }),
    }
}

/// `out[i] = function(a[i], b[i])` for `count` elements. Runs in place are correct, but slow.
///
/// # Panics
///
/// As [`map1`].
pub(crate) fn map2<F: Function2>(
    isa: Isa,
    function: F,
    a: Operand<'_>,
    b: Operand<'_>,
    out: WriteRun<'_>,
    count: usize,
) {
    let out = out.elements::<F::R>(count);
    match (a, b) {
        (Operand::Each(a), Operand::Each(b)) => isa.run(Map2 {
            function,
            a: a.elements::<F::A>(count),
            b: b.elements::<F::B>(count),
            out,
            count,
        }),
        (Operand::Each(a), Operand::Same(b)) => isa.run(Map1 {
            function: WithSecond(function, b.first()),
            a: a.elements::<F::A>(count),
            out,
            count,
        }),
        (Operand::Same(a), Operand::Each(b)) => isa.run(Map1 {
            function: WithFirst(function, a.first()),
            a: b.elements::<F::B>(count),
            out,
            count,
        }),
        (Operand::Same(a), Operand::Same(b)) => isa.run(Fill {
            value: function.apply(a.first(), b.first()),
            out,
            count,
        }),
    }
}

/// `out[i] = function(a[i], b[i], c[i])` for `count` elements. Runs in place are correct, but slow.
///
/// # Panics
///
/// As [`map1`].
pub(crate) fn map3<F: Function3>(
    isa: Isa,
    function: F,
    [a, b, c]: [Operand<'_>; 3],
    out: WriteRun<'_>,
    count: usize,
) {
    match (a, b, c) {
        (_, _, Operand::Same(c)) => map2(isa, WithThird(function, c.first()), a, b, out, count),
        (_, Operand::Same(b), _) => map2(isa, WithMiddle(function, b.first()), a, c, out, count),
        (Operand::Same(a), _, _) => map2(isa, WithFirstOf3(function, a.first()), b, c, out, count),
        (Operand::Each(a), Operand::Each(b), Operand::Each(c)) => isa.run(Map3 {
            function,
            a: a.elements::<F::T>(count),
            b: b.elements::<F::T>(count),
            c: c.elements::<F::T>(count),
            out: out.elements::<F::T>(count),
            count,
        }),
    }
}

/// [`map1`] on whole arrays of equal length and the function's dtypes.
pub(crate) fn map1_array<F: Function1>(
    isa: Isa,
    function: F,
    a: ArrayRef<'_>,
    out: &mut ArrayMut<'_>,
) -> Result<(), ArrayError> {
    expect::<F::A>(a.dtype(), a.len(), out.len())?;
    expect::<F::R>(out.dtype(), out.len(), a.len())?;
    let count = a.len();
    map1(
        isa,
        function,
        Operand::Each(ReadRun::of_array(a)),
        WriteRun::of_array(out),
        count,
    );
    Ok(())
}

/// [`map2`] on whole arrays of equal length and the function's dtypes.
pub(crate) fn map2_array<F: Function2>(
    isa: Isa,
    function: F,
    a: ArrayRef<'_>,
    b: ArrayRef<'_>,
    out: &mut ArrayMut<'_>,
) -> Result<(), ArrayError> {
    expect::<F::A>(a.dtype(), a.len(), out.len())?;
    expect::<F::B>(b.dtype(), b.len(), out.len())?;
    expect::<F::R>(out.dtype(), out.len(), a.len())?;
    let count = a.len();
    map2(
        isa,
        function,
        Operand::Each(ReadRun::of_array(a)),
        Operand::Each(ReadRun::of_array(b)),
        WriteRun::of_array(out),
        count,
    );
    Ok(())
}

fn expect<T: Number>(found: DType, len: usize, needed: usize) -> Result<(), ArrayError> {
    if found != T::DTYPE {
        return Err(ArrayError::DType {
            expected: T::DTYPE,
            found,
        });
    }
    if len < needed {
        return Err(ArrayError::Range {
            start: 0,
            end: needed,
            len,
        });
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct WithFirst<F: Function2>(F, F::A);

impl<F: Function2> Function1 for WithFirst<F> {
    type A = F::B;
    type R = F::R;

    #[inline(always)]
    fn apply(self, a: F::B) -> F::R {
        self.0.apply(self.1, a)
    }
}

#[derive(Clone, Copy)]
struct WithSecond<F: Function2>(F, F::B);

impl<F: Function2> Function1 for WithSecond<F> {
    type A = F::A;
    type R = F::R;

    #[inline(always)]
    fn apply(self, a: F::A) -> F::R {
        self.0.apply(a, self.1)
    }
}

macro_rules! with_one_of_three {
    ($($name:ident: |$own:ident, $first:ident, $second:ident| $a:ident, $b:ident, $c:ident;)*) => {
        $(
            #[derive(Clone, Copy)]
            struct $name<F: Function3>(F, F::T);

            impl<F: Function3> Function2 for $name<F> {
                type A = F::T;
                type B = F::T;
                type R = F::T;

                #[inline(always)]
                fn apply(self, $first: F::T, $second: F::T) -> F::T {
                    let $own = self.1;
                    self.0.apply($a, $b, $c)
                }
            }
        )*
    };
}

with_one_of_three! {
    WithFirstOf3: |own, b, c| own, b, c;
    WithMiddle: |own, a, c| a, own, c;
    WithThird: |own, a, b| a, b, own;
}

struct Map1<F: Function1> {
    function: F,
    a: *const F::A,
    out: *mut F::R,
    count: usize,
}

impl<F: Function1> Vectorized for Map1<F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for index in 0..self.count {
            // SAFETY: `map1` checked that `a` is aligned and readable for `count` elements.
            let a = unsafe { load(self.a, index) };
            // SAFETY: `map1` checked that `out` is aligned and writable for `count` elements.
            unsafe { store(self.out, index, self.function.apply(a)) };
        }
    }
}

struct Map2<F: Function2> {
    function: F,
    a: *const F::A,
    b: *const F::B,
    out: *mut F::R,
    count: usize,
}

impl<F: Function2> Vectorized for Map2<F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for index in 0..self.count {
            // SAFETY: `map2` checked that `a` is aligned and readable for `count` elements.
            let a = unsafe { load(self.a, index) };
            // SAFETY: `map2` checked that `b` is aligned and readable for `count` elements.
            let b = unsafe { load(self.b, index) };
            // SAFETY: `map2` checked that `out` is aligned and writable for `count` elements.
            unsafe { store(self.out, index, self.function.apply(a, b)) };
        }
    }
}

struct Map3<F: Function3> {
    function: F,
    a: *const F::T,
    b: *const F::T,
    c: *const F::T,
    out: *mut F::T,
    count: usize,
}

impl<F: Function3> Vectorized for Map3<F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for index in 0..self.count {
            // SAFETY: `map3` checked that `a` is aligned and readable for `count` elements.
            let a = unsafe { load(self.a, index) };
            // SAFETY: `map3` checked that `b` is aligned and readable for `count` elements.
            let b = unsafe { load(self.b, index) };
            // SAFETY: `map3` checked that `c` is aligned and readable for `count` elements.
            let c = unsafe { load(self.c, index) };
            // SAFETY: `map3` checked that `out` is aligned and writable for `count` elements.
            unsafe { store(self.out, index, self.function.apply(a, b, c)) };
        }
    }
}

struct Fill<R: Number> {
    value: R,
    out: *mut R,
    count: usize,
}

impl<R: Number> Vectorized for Fill<R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for index in 0..self.count {
            // SAFETY: the caller checked that `out` is aligned and writable for `count` elements.
            unsafe { store(self.out, index, self.value) };
        }
    }
}

/// Element `index` of the array at `first`.
///
/// # Safety
///
/// `first` is aligned for `T` and readable for more than `index` elements.
#[inline(always)]
pub(crate) unsafe fn load<T: Number>(first: *const T, index: usize) -> T {
    // SAFETY: inside the array, as the caller promises.
    let element = unsafe { first.add(index) };
    // SAFETY: readable and aligned, as the caller promises; every bit pattern is a `T`.
    unsafe { element.read() }
}

/// Overwrites element `index` of the array at `first`.
///
/// # Safety
///
/// `first` is aligned for `T` and writable for more than `index` elements.
#[inline(always)]
pub(super) unsafe fn store<T: Number>(first: *mut T, index: usize, value: T) {
    // SAFETY: inside the array, as the caller promises.
    let element = unsafe { first.add(index) };
    // SAFETY: writable and aligned, as the caller promises.
    unsafe { element.write(value) };
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::super::number::Float;
    use super::*;

    /// A function whose operations vectorise differently: product, sum, quotient, conversions.
    #[derive(Clone, Copy)]
    struct Mixed<T>(T);

    impl<T: Float> Function2 for Mixed<T> {
        type A = T;
        type B = T;
        type R = T;

        #[inline(always)]
        fn apply(self, a: T, b: T) -> T {
            let sum = a.times(b).plus(self.0).divided_by(a.minus(b));
            T::from_f64(sum.larger(self.0).smaller(b).to_f64() * 1.1)
        }
    }

    #[derive(Clone, Copy)]
    struct Wrapped<T>(T);

    impl<T: Number> Function2 for Wrapped<T> {
        type A = T;
        type B = T;
        type R = T;

        #[inline(always)]
        fn apply(self, a: T, b: T) -> T {
            let sum = a.times(b).plus(self.0).minus(b.opposite().magnitude());
            T::from_f64(sum.to_f64() * 3.3)
        }
    }

    /// Every instruction set, every length and every kind of operand gives the same bytes.
    fn compare<F: Function2<A = T, B = T, R = T>, T: Number>(function: F, a: &[T], b: &[T]) {
        let size = size_of::<T>();
        fn operand<T: Number>(elements: &[T], same: bool) -> Operand<'_> {
            let run = ReadRun::of_slice(elements);
            if same {
                Operand::Same(run)
            } else {
                Operand::Each(run)
            }
        }
        let place = |index: usize, same: bool| if same { 0 } else { index };
        for count in 1..=a.len() {
            for (same_a, same_b) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut results: Vec<Vec<u64>> = Vec::new();
                for isa in Isa::available() {
                    let mut out = vec![0u64; count * size / 8 + 1];
                    let shape = [out.len()];
                    let mut array = ArrayMut::from_slice(&mut out, &shape);
                    let run = WriteRun::of_array(&mut array);
                    map2(
                        isa,
                        function,
                        operand(a, same_a),
                        operand(b, same_b),
                        run,
                        count,
                    );
                    results.push(out);
                }
                let mut expected = vec![0u64; results[0].len()];
                let shape = [expected.len()];
                let mut array = ArrayMut::from_slice(&mut expected, &shape);
                let run = WriteRun::of_array(&mut array);
                for index in 0..count {
                    let value = function.apply(a[place(index, same_a)], b[place(index, same_b)]);
                    run.part(index * size, size)
                        .copy_from(ReadRun::of_slice(&[value]));
                }
                for result in results {
                    assert_eq!(result, expected, "{count} {same_a} {same_b}");
                }
            }
        }
    }

    macro_rules! any_isa {
        ($($name:ident: $function:ident, $type:ty, $strategy:expr, $parameter:expr;)*) => {
            proptest! {
                #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]
                $(
                    #[test]
                    fn $name(pairs in prop::collection::vec(($strategy, $strategy), 70..150)) {
                        let (a, b): (Vec<$type>, Vec<$type>) = pairs.into_iter().unzip();
                        compare($function::<$type>($parameter), &a, &b);
                    }
                )*
            }
        };
    }

    any_isa! {
        float16: Mixed, f16, (-1e3..1e3f32).prop_map(f16::from_f32), f16::from_f32(0.7);
        float32: Mixed, f32, -1e3..1e3f32, 0.7;
        float64: Mixed, f64, -1e3..1e3f64, 0.7;
        int8: Wrapped, i8, any::<i8>(), 3;
        int16: Wrapped, i16, any::<i16>(), 3;
        int32: Wrapped, i32, any::<i32>(), 3;
        int64: Wrapped, i64, any::<i64>(), 3;
        uint8: Wrapped, u8, any::<u8>(), 3;
        uint16: Wrapped, u16, any::<u16>(), 3;
        uint32: Wrapped, u32, any::<u32>(), 3;
        uint64: Wrapped, u64, any::<u64>(), 3;
    }
}
