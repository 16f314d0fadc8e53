//! How arrays of several shapes are walked together.

/// Loop extents and, per array, how many elements each step along an axis moves on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Extents, slowest first; no ones, and axes that can be walked as one are one.
    pub(crate) extents: Vec<usize>,
    /// Strides in elements per array and axis; 0 where the array repeats.
    pub(crate) strides: Vec<Vec<usize>>,
}

impl Layout {
    /// The way to walk arrays of `shapes`, broadcast to `shape`.
    pub(crate) fn new(shape: &[usize], shapes: &[&[usize]]) -> Self {
        let full: Vec<Vec<usize>> = shapes
            .iter()
            .map(|own| broadcast_strides(own, shape))
            .collect();
        let mut extents: Vec<usize> = Vec::new();
        let mut strides: Vec<Vec<usize>> = vec![Vec::new(); shapes.len()];
        for (axis, &extent) in shape.iter().enumerate() {
            if extent == 1 {
                continue;
            }
            // The axis before continues into this one when, in every array, one step along it is
            // as far as all steps along this one.
            let continues = !extents.is_empty()
                && strides
                    .iter()
                    .zip(&full)
                    .all(|(merged, own)| merged.last().copied() == Some(own[axis] * extent));
            if continues {
                if let Some(last) = extents.last_mut() {
                    *last *= extent;
                }
                for (merged, own) in strides.iter_mut().zip(&full) {
                    if let Some(last) = merged.last_mut() {
                        *last = own[axis];
                    }
                }
            } else {
                extents.push(extent);
                for (merged, own) in strides.iter_mut().zip(&full) {
                    merged.push(own[axis]);
                }
            }
        }
        Self { extents, strides }
    }

    /// Steps of the innermost loop.
    pub(crate) fn inner(&self) -> usize {
        self.extents.last().copied().unwrap_or(1)
    }

    /// Times the innermost loop runs.
    pub(crate) fn rows(&self) -> usize {
        let outer = self.extents.len().saturating_sub(1);
        self.extents[..outer].iter().product()
    }

    /// True when array `index` repeats along some axis.
    pub(crate) fn repeats(&self, index: usize) -> bool {
        self.strides[index].contains(&0)
    }

    /// True when array `index` has one element for the whole innermost loop.
    pub(crate) fn constant_inside(&self, index: usize) -> bool {
        self.strides[index].last() == Some(&0)
    }

    /// The first element of array `index` in the innermost loop number `row`.
    pub(crate) fn row_start(&self, index: usize, row: usize) -> usize {
        let outer = self.extents.len().saturating_sub(1);
        let mut rest = row;
        let mut start = 0;
        for axis in (0..outer).rev() {
            start += rest % self.extents[axis] * self.strides[index][axis];
            rest /= self.extents[axis];
        }
        start
    }
}

/// Elements to move on in a C-contiguous array of shape `own` per step along each axis of `shape`.
fn broadcast_strides(own: &[usize], shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for (axis, &extent) in own.iter().enumerate().rev() {
        if extent != 1 {
            strides[axis + shape.len() - own.len()] = stride;
        }
        stride *= extent;
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shapes_are_one_loop() {
        let layout = Layout::new(&[4, 5, 6], &[&[4, 5, 6], &[4, 5, 6]]);
        assert_eq!(layout.extents, [120]);
        assert_eq!(layout.strides, [[1], [1]]);
        assert_eq!((layout.rows(), layout.inner()), (1, 120));
    }

    #[test]
    fn one_element_repeats_in_one_loop() {
        let layout = Layout::new(&[4, 5], &[&[4, 5], &[1], &[]]);
        assert_eq!(layout.extents, [20]);
        assert!(!layout.repeats(0) && layout.constant_inside(1) && layout.constant_inside(2));
    }

    #[test]
    fn repeated_axes_split_the_loop() {
        let layout = Layout::new(&[2, 3, 4, 5], &[&[2, 3, 4, 5], &[3, 1, 5], &[2, 1, 1, 1]]);
        assert_eq!(layout.extents, [2, 3, 4, 5]);
        assert_eq!(layout.strides[1], [0, 5, 0, 1]);
        assert_eq!(layout.strides[2], [1, 0, 0, 0]);
        assert_eq!(layout.row_start(0, 23), 115);
        assert_eq!(layout.row_start(1, 4 + 12), 5);
        assert_eq!(layout.row_start(2, 12), 1);

        let layout = Layout::new(&[2, 3, 4, 5], &[&[2, 3, 4, 5], &[4, 5]]);
        assert_eq!(layout.extents, [6, 20]);
        assert_eq!(layout.strides, [[20, 1], [0, 1]]);
    }

    #[test]
    fn axes_of_one_do_not_count() {
        let layout = Layout::new(&[1, 3, 1], &[&[3, 1], &[1, 1, 1]]);
        assert_eq!(layout.extents, [3]);
        assert_eq!(layout.strides, [[1], [0]]);
        let layout = Layout::new(&[1, 1], &[&[1]]);
        assert_eq!((layout.rows(), layout.inner()), (1, 1));
        assert!(!layout.repeats(0) && !layout.constant_inside(0));
    }
}
