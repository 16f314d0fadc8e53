//! What the test patterns have to be, sample by sample.

use half::f16;
use serde_json::{Value, json};
use thalweg_shm::{DType, Element};

use super::generator::Generator;
use super::pattern::PatternSpec;
use crate::check::SpecChecker;
use crate::node::Produced;
use crate::numpy_random;
use crate::owned_array::OwnedArray;
use crate::testing::{TestContext, produce, source, spec};

fn pattern(parameters: Value) -> PatternSpec {
    let mut spec = spec("synthetic.array").build();
    spec.parameters = parameters.as_object().unwrap().clone();
    let mut check = SpecChecker::new(&spec);
    let pattern = PatternSpec::read(&mut check);
    check.finish().unwrap();
    pattern
}

/// The first `count` frames.
fn frames<T: Element>(parameters: Value, shape: &[usize], count: usize) -> Vec<Vec<T>> {
    let mut generator = Generator::new(&pattern(parameters), T::DTYPE, shape).unwrap();
    (0..count)
        .map(|_| {
            let mut frame = OwnedArray::zeros(T::DTYPE, shape).unwrap();
            generator.next_frame(&mut frame.as_array_mut());
            frame.to_vec().unwrap()
        })
        .collect()
}

#[test]
fn constant_ignores_the_amplitude() {
    let parameters = json!({"pattern": "constant", "constant": 2.75, "offset": 1, "amplitude": 9});
    assert_eq!(
        frames::<f32>(parameters.clone(), &[3], 2),
        [[3.75; 3], [3.75; 3]]
    );
    assert_eq!(frames::<u8>(parameters, &[5000], 1), [[3; 5000]]);
    let wrapped = json!({"pattern": "constant", "constant": 300});
    assert_eq!(frames::<u8>(wrapped, &[2], 1), [[44, 44]]);
}

#[test]
fn random_is_numpy_s_in_double_precision() {
    let parameters = json!({"seed": 5, "amplitude": 2, "offset": 0.5});
    let mut generator = numpy_random::Generator::new(5);
    for frame in frames::<f32>(parameters, &[30, 70], 3) {
        for element in frame {
            let expected = 0.5 + 2.0 * generator.standard_normal_f64();
            assert_eq!(element, expected as f32);
        }
    }
}

#[test]
fn ramps_move_by_one_element_per_frame() {
    let whole = json!({"pattern": "Ramp ", "period": 5, "amplitude": 8, "offset": -1});
    let fractional = json!({"pattern": "ramp", "period": 2.5, "amplitude": 3, "offset": -1});
    let long = json!({"pattern": "ramp", "period": 100_000});
    for (parameters, period, amplitude, offset) in [
        (whole, 5.0f64, 8.0, -1.0),
        (fractional, 2.5, 3.0, -1.0),
        (long, 100_000.0, 1.0, 0.0),
    ] {
        for (n, frame) in frames::<f64>(parameters, &[3, 2000], 7).iter().enumerate() {
            for (i, element) in frame.iter().enumerate() {
                let phase = ((i + n) as f64) % period;
                let expected = offset + amplitude * phase / (period - 1.0).max(1.0);
                assert_eq!(*element, expected, "{n} {i}");
            }
        }
    }
    // With a period of one the ramp is flat and does not divide by zero.
    let flat = json!({"pattern": "ramp", "period": 1, "offset": 2});
    assert_eq!(frames::<f32>(flat, &[3], 2), [[2.0; 3], [2.0; 3]]);
}

#[test]
fn sines_have_their_period() {
    for period in [8.0, 7.3] {
        let parameters = json!({"pattern": "sine", "period": period, "amplitude": 2, "offset": 1});
        for (n, frame) in frames::<f64>(parameters, &[5000], 4).iter().enumerate() {
            for (i, element) in frame.iter().enumerate() {
                let angle = std::f64::consts::TAU * ((i + n) as f64) / period;
                assert!(
                    (element - (1.0 + 2.0 * angle.sin())).abs() < 1e-11,
                    "{n} {i}"
                );
            }
        }
    }
}

#[test]
fn impulses_wander_through_the_elements() {
    let parameters =
        json!({"pattern": "impulse", "impulse_interval": 2, "offset": 1, "amplitude": 4});
    assert_eq!(
        frames::<i16>(parameters, &[1, 2], 6),
        [[5, 1], [1, 1], [1, 5], [1, 1], [5, 1], [1, 1]]
    );
}

#[test]
fn checkerboards_slide_along_the_first_axis() {
    let parameters = json!({"pattern": "checkerboard", "period": 2, "amplitude": 7, "offset": 1});
    for shape in [&[5][..], &[5, 4], &[3, 4, 5]] {
        for (n, frame) in frames::<u8>(parameters.clone(), shape, 5)
            .iter()
            .enumerate()
        {
            for (index, element) in frame.iter().enumerate() {
                let mut rest = index;
                let mut sum = 0;
                for (axis, extent) in shape.iter().enumerate().rev() {
                    sum += (rest % extent + if axis == 0 { n } else { 0 }) / 2;
                    rest /= extent;
                }
                assert_eq!(
                    *element,
                    if sum % 2 == 1 { 8 } else { 1 },
                    "{shape:?} {n} {index}"
                );
            }
        }
    }
}

#[test]
fn every_dtype_has_patterns() {
    let parameters = pattern(json!({"pattern": "ramp", "period": 4, "amplitude": 3}));
    for dtype in DType::ALL {
        let mut generator = Generator::new(&parameters, dtype, &[3]).unwrap();
        let mut frame = OwnedArray::zeros(dtype, &[3]).unwrap();
        generator.next_frame(&mut frame.as_array_mut());
        let size = dtype.size_bytes();
        let second = frame.bytes_mut()[size..2 * size].to_vec();
        let one: Vec<u8> = match dtype {
            DType::Float16 => f16::ONE.to_ne_bytes().to_vec(),
            DType::Float32 => 1f32.to_ne_bytes().to_vec(),
            DType::Float64 => 1f64.to_ne_bytes().to_vec(),
            DType::Complex64 => [1f32, 0.0].map(f32::to_ne_bytes).concat(),
            DType::Complex128 => [1f64, 0.0].map(f64::to_ne_bytes).concat(),
            _ => 1u64.to_le_bytes()[..size].to_vec(),
        };
        assert_eq!(second, one, "{dtype}");
    }
}

#[test]
fn the_source_paces_itself_and_stamps_nothing() {
    let spec = spec("synthetic.array")
        .output(DType::Float32, &[4])
        .parameter("pattern", json!("ramp"))
        .parameter("rate_hz", json!(1000))
        .build();
    let mut source = source(&spec).unwrap();
    let mut context = TestContext::at(50);
    for n in 0..3u64 {
        let (produced, frame) = produce(&mut *source, &mut context, DType::Float32, &[4]).unwrap();
        assert_eq!(produced, Produced::Frame { frame_id: None });
        assert_eq!(frame.to_vec::<f32>().unwrap()[0], n as f32 / 63.0);
        assert_eq!(context.now_ns, 50 + n * 1_000_000);
    }
    context.stop = true;
    let (produced, _) = produce(&mut *source, &mut context, DType::Float32, &[4]).unwrap();
    assert_eq!(produced, Produced::Nothing);
}

#[test]
fn wrong_parameters_are_all_told() {
    let spec = spec("synthetic.array")
        .output(DType::Float32, &[4])
        .parameter("pattern", json!("noise"))
        .parameter("rate_hz", json!(0))
        .parameter("period", json!(-1))
        .parameter("impulse_interval", json!(1.5))
        .parameter("seed", json!(-1))
        .parameter("amplitude", json!("1"))
        .build();
    let problems = source(&spec).err().unwrap();
    let paths: Vec<&str> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "parameters.pattern",
            "parameters.seed",
            "parameters.amplitude",
            "parameters.period",
            "parameters.impulse_interval",
            "parameters.rate_hz"
        ]
    );
}

#[test]
fn fractions_that_a_dtype_cuts_off_are_told_before_the_start() {
    let registry = crate::registry::Registry::builtin();
    let told = |kind: &str, pattern: &str, dtype| {
        let spec = spec(kind)
            .output(dtype, &[3])
            .output(DType::Float32, &[3])
            .parameter("pattern", json!(pattern))
            .build();
        let role = crate::registry::NodeRole::Source;
        let warnings = registry.get(role, kind).unwrap().warnings(&spec);
        warnings
            .into_iter()
            .map(|one| (one.path, one.message))
            .collect::<Vec<_>>()
    };
    for kind in ["synthetic.array", "synthetic.frame_set"] {
        for pattern in ["random", "ramp", "sine"] {
            let told = told(kind, pattern, DType::Uint16);
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].0, "streams[0]");
            assert!(told[0].1.contains(&format!("'{pattern}'")), "{told:?}");
        }
        assert_eq!(told(kind, "checkerboard", DType::Bool), []);
        assert_eq!(told(kind, "sine", DType::Float16), []);
    }
}
