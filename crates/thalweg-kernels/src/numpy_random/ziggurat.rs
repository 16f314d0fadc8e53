//! Normally distributed numbers by the ziggurat method.
//!
//! The area under exp(-x^2 / 2) is covered by 256 layers of equal area; a point in a layer is
//! accepted at once where the next layer lies inside the curve, by comparison with the curve in
//! the rest of the layer (the wedge), and the lowest layer has a tail that is drawn separately.

use std::sync::LazyLock;

use super::pcg64::Pcg64;

const LAYERS: usize = 256;
/// Where the tail begins.
const TAIL_START: f64 = 3.654_152_885_361_009;
const TAIL_START_INVERSE: f64 = 0.273_661_237_329_758_3;
/// Area of one layer, as NumPy's tables have it: three units in the last place below the exact one.
const AREA: f64 = 0.004_928_673_233_974_652;
/// Bits of a double's position in its layer.
const BITS_F64: u32 = 52;
/// Bits of a single's position in its layer.
const BITS_F32: u32 = 23;

/// Layers of the ziggurat: 0 is the lowest, with the tail; 1 the highest.
struct Tables {
    accept_f64: [u64; LAYERS],
    width_f64: [f64; LAYERS],
    height_f64: [f64; LAYERS],
    accept_f32: [u32; LAYERS],
    width_f32: [f32; LAYERS],
    height_f32: [f32; LAYERS],
}

static TABLES: LazyLock<Tables> = LazyLock::new(Tables::new);

impl Tables {
    /// NumPy's tables hold the rounding errors of the double precision they were made in; this
    /// repeats them. The tests compare with NumPy's numbers.
    fn new() -> Self {
        let curve = |x: f64| (-0.5 * x * x).exp();
        // Right end of each layer, curve there, and the share of the layer below that is inside.
        let mut ends = [0.0; LAYERS];
        let mut heights = [0.0; LAYERS];
        let mut shares = [0.0; LAYERS];
        ends[LAYERS - 1] = TAIL_START;
        heights[LAYERS - 1] = curve(TAIL_START);
        ends[0] = AREA / heights[LAYERS - 1];
        heights[0] = 1.0;
        shares[0] = TAIL_START * heights[LAYERS - 1] / AREA;
        for layer in (1..LAYERS - 1).rev() {
            let below = layer + 1;
            ends[layer] = (-2.0 * (AREA / ends[below] + heights[below]).ln()).sqrt();
            shares[below] = ends[layer] / ends[below];
            heights[layer] = curve(ends[layer]);
            if layer == 38 {
                // The one value NumPy's table does not round to nearest.
                heights[layer] = heights[layer].next_up();
            }
        }
        let scale = |bits: u32| (1u64 << bits) as f64;
        let accept = |bits| shares.map(|share: f64| (share * scale(bits)).round_ties_even() as u64);
        Self {
            accept_f64: accept(BITS_F64),
            width_f64: ends.map(|end| end / scale(BITS_F64)),
            height_f64: heights,
            accept_f32: accept(BITS_F32).map(|threshold| threshold as u32),
            width_f32: ends.map(|end| (end / scale(BITS_F32)) as f32),
            height_f32: heights.map(|height| height as f32),
        }
    }
}

pub(super) fn normal_f64(bits: &mut Pcg64) -> f64 {
    let tables = &*TABLES;
    loop {
        let random = bits.next_u64();
        let layer = (random & 0xff) as usize;
        let negative = random >> 8 & 1 == 1;
        let position = random >> 9 & ((1 << BITS_F64) - 1);
        let magnitude = position as f64 * tables.width_f64[layer];
        let x = if negative { -magnitude } else { magnitude };
        if position < tables.accept_f64[layer] {
            return x;
        }
        if layer == 0 {
            loop {
                let beyond = -TAIL_START_INVERSE * (-bits.next_f64()).ln_1p();
                let height = -(-bits.next_f64()).ln_1p();
                if height + height > beyond * beyond {
                    let x = TAIL_START + beyond;
                    return if position >> 8 & 1 == 1 { -x } else { x };
                }
            }
        }
        let (above, below) = (tables.height_f64[layer - 1], tables.height_f64[layer]);
        if (above - below) * bits.next_f64() + below < (-0.5 * x * x).exp() {
            return x;
        }
    }
}

pub(super) fn normal_f32(bits: &mut Pcg64) -> f32 {
    let tables = &*TABLES;
    loop {
        let random = bits.next_u32();
        let layer = (random & 0xff) as usize;
        let negative = random >> 8 & 1 == 1;
        let position = random >> 9 & ((1 << BITS_F32) - 1);
        let magnitude = position as f32 * tables.width_f32[layer];
        let x = if negative { -magnitude } else { magnitude };
        if position < tables.accept_f32[layer] {
            return x;
        }
        if layer == 0 {
            loop {
                let beyond = -(TAIL_START_INVERSE as f32) * (-bits.next_f32()).ln_1p();
                let height = -(-bits.next_f32()).ln_1p();
                if height + height > beyond * beyond {
                    let x = TAIL_START as f32 + beyond;
                    return if position >> 8 & 1 == 1 { -x } else { x };
                }
            }
        }
        let (above, below) = (tables.height_f32[layer - 1], tables.height_f32[layer]);
        let curve = (-0.5 * f64::from(x) * f64::from(x)).exp() as f32;
        if (above - below) * bits.next_f32() + below < curve {
            return x;
        }
    }
}
