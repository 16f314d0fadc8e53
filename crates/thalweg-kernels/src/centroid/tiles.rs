//! The centroid of every tile of an image.
//!
//! A register holds a part of one pixel row of a tile. The rows of a tile are added up, once as
//! they are and once weighted with their distance from the centre of the tile; the column sums
//! that result are weighted with the distances of the columns only then. Eight tiles are finished
//! together, so that the sums over lanes and the divisions come eight at a time.
//!
//! All sums are in double precision: for `float32` images that costs half the speed of single
//! precision, and makes the result independent of the flux and of how much of it cancels.

#![expect(unsafe_code, reason = "loads from raw memory other processes own")]

use std::marker::PhantomData;

use super::pixels::{BLOCK, Pixel, Pixels};
use crate::matrix_vector::level::{SimdLevel, Vectorised};

/// The geometry of an image of square tiles.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    /// Rows of tiles.
    pub(super) tile_rows: usize,
    /// Tiles in a row.
    pub(super) tile_columns: usize,
    /// Pixels along a side of a tile.
    pub(super) tile_size: usize,
    /// Distance of each pixel of a row from the centre of its tile, in pixels.
    distances: Vec<f64>,
}

impl Geometry {
    /// `tile_rows` times `tile_columns` tiles.
    pub(crate) fn new(tile_rows: usize, tile_columns: usize, tile_size: usize) -> Self {
        let centre = (tile_size as f64 - 1.0) / 2.0;
        // Without tiles, their size may be anything.
        let pixels = tile_size * usize::from(tile_rows > 0 && tile_columns > 0);
        Self {
            tile_rows,
            tile_columns,
            tile_size,
            distances: (0..pixels).map(|pixel| pixel as f64 - centre).collect(),
        }
    }

    /// Shape of the image.
    pub(super) fn image_shape(&self) -> [usize; 2] {
        [
            self.tile_rows * self.tile_size,
            self.tile_columns * self.tile_size,
        ]
    }

    /// Shape of the centroids.
    pub(super) fn centroids_shape(&self) -> [usize; 3] {
        [self.tile_rows, self.tile_columns, 2]
    }
}

/// The centroids, row and column for each tile, of an image in private memory.
///
/// # Panics
///
/// When the slices do not have the sizes of the geometry.
pub(crate) fn centroids_of(
    level: SimdLevel,
    geometry: &Geometry,
    image: &[f64],
    centroids: &mut [f64],
) {
    let [rows, columns] = geometry.image_shape();
    assert_eq!(image.len(), rows * columns, "pixels");
    let tiles = geometry.tile_rows * geometry.tile_columns;
    assert_eq!(centroids.len(), tiles * 2, "centroids");
    // SAFETY: both slices have the sizes of the geometry; the centroids are borrowed exclusively.
    let tiles = unsafe { Tiles::new(geometry, image.as_ptr(), centroids.as_mut_ptr()) };
    f64::centroids(level, tiles);
}

/// The level that is fastest for tiles of `tile_size`, of those up to `level`: registers of eight
/// would stay half empty with small tiles, three times slower than full registers of four.
pub(crate) fn level_for(tile_size: usize, level: SimdLevel) -> SimdLevel {
    match tile_size {
        1..=4 => level.min(SimdLevel::Avx2),
        _ => level,
    }
}

/// An image and where its centroids go.
#[derive(Debug)]
pub(super) struct Tiles<'a, T> {
    geometry: &'a Geometry,
    image: *const T,
    centroids: *mut T,
    memory: PhantomData<&'a mut [T]>,
}

impl<'a, T: Pixel> Tiles<'a, T> {
    /// # Safety
    ///
    /// During `'a`, `image` is readable and `centroids` writable for the elements of their shapes
    /// in `geometry`; both are aligned, and nobody else touches them.
    pub(super) unsafe fn new(geometry: &'a Geometry, image: *const T, centroids: *mut T) -> Self {
        Self {
            geometry,
            image,
            centroids,
            memory: PhantomData,
        }
    }

    /// All centroids. `tile_size` is that of the geometry; where it is known when compiling, the
    /// loops over a tile unroll.
    #[inline(always)]
    fn all<I: Pixels<T>>(&self, simd: I, tile_size: usize) {
        let Geometry {
            tile_rows,
            tile_columns,
            ..
        } = *self.geometry;
        let width = tile_columns * tile_size;
        for tile_row in 0..tile_rows {
            let pixels = self.image.wrapping_add(tile_row * tile_size * width);
            let out = self.centroids.wrapping_add(tile_row * tile_columns * 2);
            let mut tile = 0;
            while tile + BLOCK <= tile_columns {
                let centroids = self.block(simd, tile_size, pixels, tile, BLOCK);
                for (index, centroid) in centroids.into_iter().enumerate() {
                    // SAFETY: the row has centroids for all tiles of the block.
                    unsafe { out.wrapping_add(tile * 2 + index).write(centroid) };
                }
                tile += BLOCK;
            }
            let rest = tile_columns - tile;
            if rest > 0 {
                let centroids = self.block(simd, tile_size, pixels, tile, rest);
                for (index, centroid) in centroids.into_iter().enumerate().take(rest * 2) {
                    // SAFETY: the row has centroids for the rest of the tiles.
                    unsafe { out.wrapping_add(tile * 2 + index).write(centroid) };
                }
            }
        }
    }

    /// The centroids of `count` tiles from `tile` on, of the row of tiles whose first pixel is at
    /// `pixels`: row and column of the first, of the second and so on.
    #[inline(always)]
    fn block<I: Pixels<T>>(
        &self,
        simd: I,
        tile_size: usize,
        pixels: *const T,
        tile: usize,
        count: usize,
    ) -> [T; 2 * BLOCK] {
        let mut flux = [simd.zero(); BLOCK];
        let mut row_moments = flux;
        let mut column_moments = flux;
        for index in 0..count {
            let first = pixels.wrapping_add((tile + index) * tile_size);
            (flux[index], row_moments[index], column_moments[index]) =
                self.tile(simd, tile_size, first);
        }
        let flux = simd.sums(flux);
        let row_moments = simd.sums(row_moments);
        let column_moments = simd.sums(column_moments);
        // NaN is not below zero, and stays.
        let centroid = |moment, flux| if flux <= 0.0 { 0.0 } else { moment / flux };
        std::array::from_fn(|index| {
            let moments = [&row_moments, &column_moments][index % 2];
            T::from_f64(centroid(moments[index / 2], flux[index / 2]))
        })
    }

    /// Flux and moments of the tile whose first pixel is at `first`, spread over lanes.
    #[inline(always)]
    fn tile<I: Pixels<T>>(
        &self,
        simd: I,
        tile_size: usize,
        first: *const T,
    ) -> (I::Register, I::Register, I::Register) {
        let width = self.geometry.tile_columns * tile_size;
        let distances = &self.geometry.distances[..tile_size];
        let mut flux = simd.zero();
        let mut row_moment = simd.zero();
        let mut column_moment = simd.zero();
        let mut column = 0;
        while column < tile_size {
            let count = I::WIDTH.min(tile_size - column);
            let mut column_sums = simd.zero();
            for (row, &distance) in distances.iter().enumerate() {
                let from = first.wrapping_add(row * width + column);
                let pixels = if count == I::WIDTH {
                    // SAFETY: the row of the tile has a whole register from `column` on.
                    unsafe { simd.pixels(from) }
                } else {
                    // SAFETY: the row of the tile has `count` pixels from `column` on.
                    unsafe { simd.pixels_part(from, count) }
                };
                column_sums = simd.add(column_sums, pixels);
                row_moment = simd.multiply_add(pixels, simd.splat(distance), row_moment);
            }
            // SAFETY: `column + count <= tile_size`, the number of distances.
            let distances =
                unsafe { simd.load_part(distances.as_ptr().wrapping_add(column), count) };
            flux = simd.add(flux, column_sums);
            column_moment = simd.multiply_add(column_sums, distances, column_moment);
            column += count;
        }
        (flux, row_moment, column_moment)
    }
}

impl<T: Pixel, I: Pixels<T>> Vectorised<I> for Tiles<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self, simd: I) {
        match self.geometry.tile_size {
            4 => self.all(simd, 4),
            8 => self.all(simd, 8),
            tile_size => self.all(simd, tile_size),
        }
    }
}
