//! From the images of all sensors to their slopes, one row of tiles at a time.

use std::marker::PhantomData;

use thalweg_shm::{ArrayMut, ArrayRef};

use super::streams::{Plane, SensorPlanes, Streams};
use crate::centroid::tiles::{Geometry, centroids_of, level_for};
use crate::matrix_vector::SimdLevel;
use crate::node::FrameInputs;
use crate::simd::isa::Isa;
use crate::simd::map::{Function1, Function2, Operand, map1, map2};
use crate::simd::number::{Number, with_number};
use crate::simd::run::{ReadRun, WriteRun};

/// Calibrates images and measures their tiles, in double precision.
#[derive(Debug)]
pub(super) struct Sensors {
    isa: Isa,
    level: SimdLevel,
    sensors: Vec<SensorPlanes>,
    /// Of one row of tiles.
    geometry: Geometry,
    tile_rows: usize,
    slope_gain: f64,
    /// Pixels of one row of tiles, twice: loops never write what they read.
    strips: [Vec<f64>; 2],
    centroids: Vec<f64>,
}

impl Sensors {
    pub(super) fn new(streams: &Streams<'_>, level: SimdLevel, slope_gain: f64) -> Self {
        let [tile_rows, tile_columns] = streams.tiles;
        let [rows, columns] = streams.image;
        let tile_size = rows.checked_div(tile_rows).unwrap_or(0);
        let pixels = tile_size * columns;
        Self {
            isa: Isa::detect(),
            level: level_for(tile_size, level),
            sensors: streams.sensors.clone(),
            geometry: Geometry::new(1, tile_columns, tile_size),
            tile_rows,
            slope_gain,
            strips: [vec![0.0; pixels], vec![0.0; pixels]],
            centroids: vec![0.0; 2 * tile_columns],
        }
    }

    /// Writes the slopes of all sensors, in order, for streams of numbers `N` and slopes of type
    /// `R`. The arrays were checked to be what the kernel was built for.
    pub(super) fn measure<N: Number, R: Number + thalweg_shm::Element>(
        &mut self,
        inputs: &FrameInputs<'_>,
        slopes: &mut [R],
    ) {
        let mut rows = slopes.chunks_exact_mut(self.centroids.len().max(1));
        let strip = self.strips[0].len();
        let per_row = self.centroids.len();
        for sensor in 0..self.sensors.len() {
            let planes = self.sensors[sensor];
            for (row, slopes) in rows.by_ref().take(self.tile_rows).enumerate() {
                let image = inputs.triggers[planes.image.array];
                self.widen(part(image, planes.image, row * strip, strip), image);
                self.calibrate::<N>(
                    part(
                        inputs.auxiliary[planes.dark.array],
                        planes.dark,
                        row * strip,
                        strip,
                    ),
                    part(
                        inputs.auxiliary[planes.inverse_flat.array],
                        planes.inverse_flat,
                        row * strip,
                        strip,
                    ),
                );
                centroids_of(
                    self.level,
                    &self.geometry,
                    &self.strips[0],
                    &mut self.centroids,
                );
                let offsets = part(
                    inputs.auxiliary[planes.slope_offset.array],
                    planes.slope_offset,
                    row * per_row,
                    per_row,
                );
                let shape = [per_row];
                let mut slopes = ArrayMut::from_slice(slopes, &shape);
                map2(
                    self.isa,
                    Slope::<N, R>(self.slope_gain, PhantomData),
                    Operand::Each(ReadRun::of_slice(&self.centroids)),
                    Operand::Each(offsets),
                    WriteRun::of_array(&mut slopes),
                    per_row,
                );
            }
        }
    }

    /// Pixels of `image`'s dtype into the first strip.
    fn widen(&mut self, pixels: ReadRun<'_>, image: ArrayRef<'_>) {
        let [strip, _] = &mut self.strips;
        let shape = [strip.len()];
        let mut strip = ArrayMut::from_slice(strip, &shape);
        let run = WriteRun::of_array(&mut strip);
        let isa = self.isa;
        let real = with_number!(image.dtype(), T => {
            map1(isa, ToDouble::<T>(PhantomData), Operand::Each(pixels), run, shape[0]);
        });
        debug_assert!(real.is_some(), "images of complex numbers are refused");
    }

    /// Takes the dark image off the first strip and multiplies it with the inverse flat field.
    fn calibrate<N: Number>(&mut self, dark: ReadRun<'_>, inverse_flat: ReadRun<'_>) {
        let [raw, difference] = &mut self.strips;
        let count = raw.len();
        let shape = [count];
        let mut out = ArrayMut::from_slice(difference.as_mut_slice(), &shape);
        map2(
            self.isa,
            Difference::<N>(PhantomData),
            Operand::Each(ReadRun::of_slice(raw)),
            Operand::Each(dark),
            WriteRun::of_array(&mut out),
            count,
        );
        let mut out = ArrayMut::from_slice(raw.as_mut_slice(), &shape);
        map2(
            self.isa,
            Product::<N>(PhantomData),
            Operand::Each(ReadRun::of_slice(difference)),
            Operand::Each(inverse_flat),
            WriteRun::of_array(&mut out),
            count,
        );
    }
}

/// `count` elements of a plane, from its element `start` on.
fn part<'a>(array: ArrayRef<'a>, plane: Plane, start: usize, count: usize) -> ReadRun<'a> {
    let size = array.dtype().size_bytes();
    ReadRun::of_array(array).part((plane.first + start) * size, count * size)
}

#[derive(Clone, Copy)]
pub(super) struct ToDouble<T>(pub(super) PhantomData<T>);

impl<T: Number> Function1 for ToDouble<T> {
    type A = T;
    type R = f64;

    #[inline(always)]
    fn apply(self, a: T) -> f64 {
        a.to_f64()
    }
}

#[derive(Clone, Copy)]
struct Difference<N>(PhantomData<N>);

impl<N: Number> Function2 for Difference<N> {
    type A = f64;
    type B = N;
    type R = f64;

    #[inline(always)]
    fn apply(self, pixel: f64, dark: N) -> f64 {
        pixel - dark.to_f64()
    }
}

#[derive(Clone, Copy)]
struct Product<N>(PhantomData<N>);

impl<N: Number> Function2 for Product<N> {
    type A = f64;
    type B = N;
    type R = f64;

    #[inline(always)]
    fn apply(self, difference: f64, inverse_flat: N) -> f64 {
        difference * inverse_flat.to_f64()
    }
}

/// Gain times centroid minus offset.
#[derive(Clone, Copy)]
struct Slope<N, R>(f64, PhantomData<(N, R)>);

impl<N: Number, R: Number> Function2 for Slope<N, R> {
    type A = f64;
    type B = N;
    type R = R;

    #[inline(always)]
    fn apply(self, centroid: f64, offset: N) -> R {
        R::from_f64(self.0 * centroid - offset.to_f64())
    }
}
