//! Writing out an array that broadcasting only implies.

use super::isa::{Isa, Vectorized};
use super::map::{load, store};
use super::number::Number;
use super::run::{ReadRun, WriteRun};

/// `out[i, j, ..] = source[i * strides[0] + j * strides[1] + ..]`, out being C-contiguous.
///
/// # Panics
///
/// When a run is too short: a plan that was checked when it was made is wrong.
pub(crate) fn expand<T: Number>(
    isa: Isa,
    source: ReadRun<'_>,
    strides: &[usize],
    out: WriteRun<'_>,
    extents: &[usize],
) {
    assert_eq!(strides.len(), extents.len());
    let count = extents.iter().product();
    if count == 0 {
        return;
    }
    let last = extents
        .iter()
        .zip(strides)
        .map(|(extent, stride)| (extent - 1) * stride)
        .sum::<usize>();
    isa.run(Expand::<T> {
        source: source.elements(last + 1),
        strides,
        out: out.elements(count),
        extents,
    });
}

struct Expand<'a, T> {
    source: *const T,
    strides: &'a [usize],
    out: *mut T,
    extents: &'a [usize],
}

impl<T: Number> Vectorized for Expand<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (outer, inner, stride) = match (self.extents.split_last(), self.strides.last()) {
            (Some((inner, outer)), Some(stride)) => (outer, *inner, *stride),
            _ => (&[][..], 1, 0),
        };
        for row in 0..outer.iter().product() {
            let mut rest = row;
            let mut start = 0;
            for (extent, stride) in outer.iter().zip(self.strides).rev() {
                start += rest % extent * stride;
                rest /= extent;
            }
            for index in 0..inner {
                // SAFETY: at most the sum of all last steps, which `expand` checked.
                let element = unsafe { load(self.source, start + index * stride) };
                // SAFETY: below the product of all extents, which `expand` checked.
                unsafe { store(self.out, row * inner + index, element) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_rows_and_columns() {
        let source = [1u16, 2, 3];
        let mut out = [0u16; 12];
        for isa in Isa::available() {
            // SAFETY: `out` is not touched otherwise until the function returns.
            let run = unsafe { WriteRun::from_raw(out.as_mut_ptr().cast(), 24) };
            expand::<u16>(isa, ReadRun::of_slice(&source), &[0, 1], run, &[4, 3]);
            assert_eq!(out, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
            expand::<u16>(isa, ReadRun::of_slice(&source), &[1, 0], run, &[3, 4]);
            assert_eq!(out, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
        }
    }

    #[test]
    #[should_panic(expected = "outside a run")]
    fn a_short_source_is_noticed() {
        let mut out = [0u16; 12];
        // SAFETY: `out` is not touched otherwise until the function returns.
        let run = unsafe { WriteRun::from_raw(out.as_mut_ptr().cast(), 24) };
        expand::<u16>(
            Isa::detect(),
            ReadRun::of_slice(&[1u16, 2]),
            &[1, 0],
            run,
            &[3, 4],
        );
    }
}
