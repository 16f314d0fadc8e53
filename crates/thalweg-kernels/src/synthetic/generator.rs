//! The frames of a test pattern.
//!
//! With frame number n from 0, flat element index i, and g_k the coordinate along axis k:
//!
//! | pattern | element |
//! | --- | --- |
//! | constant | offset + constant |
//! | random | offset + amplitude * z, z being `default_rng(seed).standard_normal` in double precision, frame after frame |
//! | ramp | offset + amplitude * ((i + n) mod period) / max(period - 1, 1) |
//! | sine | offset + amplitude * sin(2 pi (i + n) / period) |
//! | impulse | offset; in every impulse_interval-th frame one element more is offset + amplitude, the next one each time |
//! | checkerboard | offset + amplitude * parity, parity = (floor((g_0 + n) / t) + sum of floor(g_k / t)) mod 2, t = max(period, 1) |
//!
//! Everything is computed in double precision from exact integers and then converted as C does.

use std::f64::consts::TAU;

use thalweg_shm::array::element_count;
use thalweg_shm::{ArrayMut, DType};

use super::pattern::{Pattern, PatternSpec};
use crate::numpy_random;
use crate::owned_array::{ArrayTooLarge, OwnedArray};
use crate::simd::isa::Isa;
use crate::simd::map::{Function1, Operand, map1};
use crate::simd::number::{Number, with_number};
use crate::simd::run::{ReadRun, WriteRun};

/// Elements computed at a time.
const BLOCK: usize = 512;
/// A table is at least this long, so that frames are copied in large pieces.
const SHORTEST_TABLE: usize = 4096;
/// Longer periods are computed instead of tabulated.
const LONGEST_PERIOD: f64 = 65536.0;

/// Makes frame after frame.
pub(super) struct Generator {
    frames: Frames,
    frame: u64,
    isa: Isa,
}

enum Frames {
    /// Element i of frame n is element (i + n) mod `period` of the table, whose length is a
    /// multiple of the period.
    Periodic { table: OwnedArray, period: u64 },
    /// Element i of frame n is a function of i + n.
    Shifted(Box<dyn Fn(f64) -> f64 + Send>),
    Random {
        generator: numpy_random::Generator,
        amplitude: f64,
        offset: f64,
    },
    Impulse {
        /// Repeated.
        rest: OwnedArray,
        /// One element.
        impulse: OwnedArray,
        interval: u64,
    },
    /// One row along axis 0 for either parity.
    Checkerboard { rows: [OwnedArray; 2], tile: f64 },
}

impl Generator {
    pub(super) fn new(
        spec: &PatternSpec,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Self, ArrayTooLarge> {
        let isa = Isa::detect();
        let table = |values: Vec<f64>| converted(isa, &values, dtype);
        let repeated = |value: f64| table(vec![value; SHORTEST_TABLE]);
        let PatternSpec {
            amplitude,
            offset,
            period,
            ..
        } = *spec;
        let ramp_end = (period - 1.0).max(1.0);
        let ramp = move |phase: f64| offset + amplitude * phase / ramp_end;
        let sine = move |phase: f64| offset + amplitude * (TAU * (phase / period)).sin();
        let frames = match spec.pattern {
            Pattern::Constant => Frames::Periodic {
                table: repeated(offset + spec.constant)?,
                period: 1,
            },
            Pattern::Random => Frames::Random {
                generator: numpy_random::Generator::new(spec.seed),
                amplitude,
                offset,
            },
            Pattern::Ramp => shifted(period, ramp, &table)?,
            Pattern::Sine => shifted(period, sine, &table)?,
            Pattern::Impulse => Frames::Impulse {
                rest: repeated(offset)?,
                impulse: table(vec![offset + amplitude])?,
                interval: spec.impulse_interval,
            },
            Pattern::Checkerboard => {
                let tile = period.max(1.0);
                let row_shape = shape.get(1..).unwrap_or(&[]);
                let row = |flipped: bool| {
                    let values = parities(row_shape, tile)
                        .map(|odd| offset + amplitude * f64::from(u8::from(odd != flipped)));
                    table(values.collect())
                };
                Frames::Checkerboard {
                    rows: [row(false)?, row(true)?],
                    tile,
                }
            }
        };
        Ok(Self {
            frames,
            frame: 0,
            isa,
        })
    }

    /// Leaves out the next frame, of `count` elements.
    pub(super) fn skip_frame(&mut self, count: usize) {
        self.frame += 1;
        if let Frames::Random { generator, .. } = &mut self.frames {
            for _element in 0..count {
                generator.standard_normal_f64();
            }
        }
    }

    /// Writes the next frame into `out`, which has the dtype and shape the generator was made for.
    pub(super) fn next_frame(&mut self, out: &mut ArrayMut<'_>) {
        let frame = self.frame;
        self.frame += 1;
        let dtype = out.dtype();
        let count = out.len();
        let size = dtype.size_bytes();
        let first_axis = out.shape().first().copied().unwrap_or(1);
        let run = WriteRun::of_array(out);
        match &mut self.frames {
            Frames::Periodic { table, period } => {
                let start = (frame % *period) as usize;
                run.repeat(ReadRun::of_array(table.as_array()), start * size);
            }
            Frames::Shifted(function) => {
                let mut next = frame;
                blocks(self.isa, run, dtype, count, |values| {
                    for value in values {
                        *value = function(next as f64);
                        next += 1;
                    }
                });
            }
            Frames::Random {
                generator,
                amplitude,
                offset,
            } => {
                let (amplitude, offset) = (*amplitude, *offset);
                blocks(self.isa, run, dtype, count, |values| {
                    for value in values {
                        *value = offset + amplitude * generator.standard_normal_f64();
                    }
                });
            }
            Frames::Impulse {
                rest,
                impulse,
                interval,
            } => {
                run.repeat(ReadRun::of_array(rest.as_array()), 0);
                if frame.is_multiple_of(*interval) && count > 0 {
                    let index = (frame / *interval % count as u64) as usize;
                    run.part(index * size, size)
                        .copy_from(ReadRun::of_array(impulse.as_array()));
                }
            }
            Frames::Checkerboard { rows, tile } => {
                let row_bytes = count / first_axis.max(1) * size;
                for coordinate in 0..first_axis {
                    let shifted = (coordinate as u64 + frame) as f64;
                    let odd = (shifted / *tile).floor() % 2.0 != 0.0;
                    let row = &rows[usize::from(odd)];
                    run.part(coordinate * row_bytes, row_bytes)
                        .copy_from(ReadRun::of_array(row.as_array()));
                }
            }
        }
    }
}

/// A function of (i + n) mod `period`, tabulated where the period allows.
fn shifted(
    period: f64,
    function: impl Fn(f64) -> f64 + Send + 'static,
    table: &impl Fn(Vec<f64>) -> Result<OwnedArray, ArrayTooLarge>,
) -> Result<Frames, ArrayTooLarge> {
    if period.fract() != 0.0 || period > LONGEST_PERIOD {
        return Ok(Frames::Shifted(Box::new(move |index| {
            function(index % period)
        })));
    }
    let whole = period as usize;
    let length = whole * SHORTEST_TABLE.div_ceil(whole);
    let values = (0..length).map(|index| function((index % whole) as f64));
    Ok(Frames::Periodic {
        table: table(values.collect())?,
        period: whole as u64,
    })
}

/// Whether the sum of floor(g_k / tile) over all axes is odd, for each element in C order.
fn parities(shape: &[usize], tile: f64) -> impl Iterator<Item = bool> + use<'_> {
    (0..element_count(shape)).map(move |index| {
        let mut rest = index;
        let mut odd = false;
        for extent in shape.iter().rev() {
            let coordinate = (rest % extent) as f64;
            odd ^= (coordinate / tile).floor() % 2.0 != 0.0;
            rest /= extent;
        }
        odd
    })
}

/// `values` as an array with one axis, converted as C does; complex numbers are real ones.
fn converted(isa: Isa, values: &[f64], dtype: DType) -> Result<OwnedArray, ArrayTooLarge> {
    let mut array = OwnedArray::zeros(dtype, &[values.len()])?;
    let mut view = array.as_array_mut();
    let run = WriteRun::of_array(&mut view);
    let size = dtype.size_bytes();
    for (index, block) in values.chunks(BLOCK).enumerate() {
        let start = index * BLOCK;
        store(
            isa,
            block,
            run.part(start * size, block.len() * size),
            dtype,
        );
    }
    Ok(array)
}

/// Fills `out`, `count` elements of `dtype`, with what `compute` writes into block after block.
fn blocks(
    isa: Isa,
    out: WriteRun<'_>,
    dtype: DType,
    count: usize,
    mut compute: impl FnMut(&mut [f64]),
) {
    let mut values = [0.0; BLOCK];
    let size = dtype.size_bytes();
    let mut start = 0;
    while start < count {
        let values = &mut values[..BLOCK.min(count - start)];
        compute(values);
        store(
            isa,
            values,
            out.part(start * size, values.len() * size),
            dtype,
        );
        start += values.len();
    }
}

#[derive(Clone, Copy, Default)]
struct FromDouble<T>(std::marker::PhantomData<T>);

impl<T: Number> Function1 for FromDouble<T> {
    type A = f64;
    type R = T;

    #[inline(always)]
    fn apply(self, a: f64) -> T {
        T::from_f64(a)
    }
}

/// Writes at most [`BLOCK`] values as elements of `dtype`.
fn store(isa: Isa, values: &[f64], out: WriteRun<'_>, dtype: DType) {
    let count = values.len();
    let from = Operand::Each(ReadRun::of_slice(values));
    let real = with_number!(dtype, T => map1(isa, FromDouble::<T>::default(), from, out, count));
    if real.is_some() {
        return;
    }
    let mut parts = [0.0; 2 * BLOCK];
    for (pair, value) in parts.chunks_exact_mut(2).zip(values) {
        pair[0] = *value;
    }
    let from = Operand::Each(ReadRun::of_slice(&parts[..2 * count]));
    match dtype {
        DType::Complex64 => map1(isa, FromDouble::<f32>::default(), from, out, 2 * count),
        _ => map1(isa, FromDouble::<f64>::default(), from, out, 2 * count),
    }
}
