//! Half precision to and from wider floats without branches, so that loops vectorise.
//!
//! Rounding is to nearest, ties to even, in one step from the source type. NaN stays NaN, without
//! its payload.

use half::f16;

/// Exact.
#[inline(always)]
pub(crate) fn half_to_f32(value: f16) -> f32 {
    let bits = value.to_bits();
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // The exponent biases differ by 112; the multiplication also normalises subnormals.
    let scaled = (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits();
    let infinite_or_nan = bits & 0x7c00 == 0x7c00;
    let scaled = if infinite_or_nan {
        scaled | 0x7f80_0000
    } else {
        scaled
    };
    f32::from_bits(scaled | u32::from(bits & 0x8000) << 16)
}

/// Rounds to nearest, ties to even.
#[inline(always)]
pub(crate) fn f32_to_half(value: f32) -> f16 {
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_add(0xfff + odd).wrapping_sub(112 << 23) >> 13;
    // One unit of 0.5 is the smallest half-precision step, so the addition rounds to it.
    let subnormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0.5f32.to_bits());
    let mut half = if magnitude < 0x3880_0000 {
        subnormal
    } else {
        normal
    };
    half = if magnitude >= 65520f32.to_bits() {
        0x7c00
    } else {
        half
    };
    half = if magnitude > 0x7f80_0000 {
        0x7e00
    } else {
        half
    };
    f16::from_bits((half | (bits >> 16 & 0x8000)) as u16)
}

/// Rounds to nearest, ties to even, in one step.
#[inline(always)]
pub(crate) fn f64_to_half(value: f64) -> f16 {
    const STEP_ALIGNED: f64 = (1u64 << 28) as f64;
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff_ffff_ffff;
    let odd = (magnitude >> 42) & 1;
    let normal = magnitude
        .wrapping_add((1 << 41) - 1 + odd)
        .wrapping_sub(1008 << 52)
        >> 42;
    let subnormal = (f64::from_bits(magnitude) + STEP_ALIGNED)
        .to_bits()
        .wrapping_sub(STEP_ALIGNED.to_bits());
    let mut half = if magnitude < 1009 << 52 {
        subnormal
    } else {
        normal
    };
    half = if magnitude >= 65520f64.to_bits() {
        0x7c00
    } else {
        half
    };
    half = if magnitude > 0x7ff << 52 {
        0x7e00
    } else {
        half
    };
    f16::from_bits((half | (bits >> 48 & 0x8000)) as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all_halves() -> impl Iterator<Item = f16> {
        (0..=u16::MAX).map(f16::from_bits)
    }

    #[test]
    fn every_half_survives_the_way_there_and_back() {
        for half in all_halves() {
            let wide = half_to_f32(half);
            if half.is_nan() {
                assert!(wide.is_nan());
                assert!(f32_to_half(wide).is_nan() && f64_to_half(wide.into()).is_nan());
            } else {
                assert_eq!(wide.to_bits(), half.to_f32().to_bits());
                assert_eq!(f32_to_half(wide).to_bits(), half.to_bits());
                assert_eq!(f64_to_half(wide.into()).to_bits(), half.to_bits());
            }
        }
    }

    #[test]
    fn ties_and_their_neighbours_round_to_even() {
        for half in all_halves().filter(|half| half.is_finite()) {
            let next = f16::from_bits(half.to_bits() + 1);
            // Beyond the largest half lies 65536 as far as rounding is concerned.
            let next_value = if next.is_infinite() {
                f64::from(half_to_f32(half)).signum() * 65536.0
            } else {
                half_to_f32(next).into()
            };
            let tie = (f64::from(half_to_f32(half)) + next_value) / 2.0;
            let even = if half.to_bits() & 1 == 0 { half } else { next };
            assert_eq!(f64_to_half(tie).to_bits(), even.to_bits(), "{tie}");
            assert_eq!(f32_to_half(tie as f32).to_bits(), even.to_bits(), "{tie}");
            let inward = f64::from_bits(tie.to_bits() - 1);
            let outward = f64::from_bits(tie.to_bits() + 1);
            assert_eq!(f64_to_half(inward).to_bits(), half.to_bits(), "{inward}");
            assert_eq!(f64_to_half(outward).to_bits(), next.to_bits(), "{outward}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_half_crate(single: u32) {
            let single = f32::from_bits(single);
            let expected = f16::from_f32(single);
            prop_assert!(
                f32_to_half(single).to_bits() == expected.to_bits()
                    || expected.is_nan() && f32_to_half(single).is_nan()
            );
            let double = f64::from(single);
            prop_assert!(
                f64_to_half(double).to_bits() == expected.to_bits()
                    || expected.is_nan() && f64_to_half(double).is_nan()
            );
        }
    }
}
