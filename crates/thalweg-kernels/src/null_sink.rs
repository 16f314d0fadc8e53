//! `null.sink`: takes every frame and drops it, as a device that takes its time.

use std::time::{Duration, Instant};

use crate::check::SpecChecker;
use crate::node::{Figure, FigureKind, NodeError, NodeSpec, Sink, SinkFrame, SpecProblem};
use crate::registry::{Definition, NodeBuilder, ParameterDoc};

const DEFAULT_SAMPLE_WINDOW: u64 = 8192;
/// Quantiles are computed anew this often, and for each of the first frames.
const REFRESH_INTERVAL: Duration = Duration::from_millis(250);
const REFRESHED_FRAMES: u64 = 64;
/// A device slower than that is a mistake in the unit.
const LONGEST_DELAY_S: f64 = 3600.0;

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[Definition {
    kind: "null.sink",
    summary: "drops every frame, optionally after the time a device would take",
    parameters: &[
        ParameterDoc {
            name: "device_delay_s",
            doc: "number of seconds from 0 (default) to 3600: sleep per frame",
        },
        ParameterDoc {
            name: "sample_window",
            doc: "integer of at least 1, default 8192: frames the consume_* figures cover",
        },
    ],
    builder: NodeBuilder::Sink(build),
    infer: None,
    warn: None,
}];

const QUANTILES: [(&str, f64); 5] = [
    ("consume_p50_us", 0.5),
    ("consume_p90_us", 0.9),
    ("consume_p99_us", 0.99),
    ("consume_p99_9_us", 0.999),
    ("consume_max_us", 1.0),
];

struct NullSink {
    delay: Duration,
    window: usize,
    consumed: u64,
    /// The last `window` durations, the oldest at `consumed % window` once there are that many.
    samples_us: Vec<f64>,
    sorted_us: Vec<f64>,
    quantiles_us: [f64; QUANTILES.len()],
    refreshed: Option<Instant>,
}

impl NullSink {
    fn record(&mut self, duration_us: f64) {
        if self.samples_us.len() < self.window {
            self.samples_us.push(duration_us);
        } else {
            let oldest = (self.consumed % self.window as u64) as usize;
            self.samples_us[oldest] = duration_us;
        }
        self.consumed += 1;
    }

    fn refresh(&mut self) {
        self.sorted_us.clone_from(&self.samples_us);
        self.sorted_us.sort_unstable_by(f64::total_cmp);
        for (quantile, (_, fraction)) in self.quantiles_us.iter_mut().zip(QUANTILES) {
            *quantile = interpolated(&self.sorted_us, fraction);
        }
    }
}

/// The value below which `fraction` of the sorted values lie, between neighbours linearly.
fn interpolated(sorted: &[f64], fraction: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let position = fraction * last as f64;
    let lower = position as usize;
    let upper = (lower + 1).min(last);
    let weight = position - lower as f64;
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

impl Sink for NullSink {
    fn consume(&mut self, _frame: &SinkFrame<'_>) -> Result<(), NodeError> {
        let start = Instant::now();
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        self.record(start.elapsed().as_secs_f64() * 1e6);
        let due = self
            .refreshed
            .is_none_or(|refreshed| start.duration_since(refreshed) >= REFRESH_INTERVAL);
        if due || self.consumed <= REFRESHED_FRAMES {
            self.refresh();
            self.refreshed = Some(start);
        }
        Ok(())
    }

    fn figure_definitions(&self) -> Vec<Figure> {
        let gauge = |name: &str| Figure {
            name: name.to_owned(),
            kind: FigureKind::Gauge,
        };
        let mut figures = vec![
            Figure {
                name: "consumed".to_owned(),
                kind: FigureKind::Counter,
            },
            gauge("device_delay_us"),
        ];
        figures.extend(QUANTILES.map(|(name, _)| gauge(name)));
        figures
    }

    fn figures(&self, values: &mut [f64]) {
        let own = [self.consumed as f64, self.delay.as_secs_f64() * 1e6];
        for (value, figure) in values.iter_mut().zip(own.iter().chain(&self.quantiles_us)) {
            *value = *figure;
        }
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Sink>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    check.input();
    let delay_s = check
        .optional_number(
            "device_delay_s",
            "a non-negative number of seconds, at most 3600",
            |delay_s| (0.0..=LONGEST_DELAY_S).contains(&delay_s),
        )
        .unwrap_or(0.0);
    let window = check.integer_or("sample_window", 1, DEFAULT_SAMPLE_WINDOW);
    check.finish()?;
    Ok(Box::new(NullSink {
        delay: Duration::from_secs_f64(delay_s),
        window: usize::try_from(window).unwrap_or(usize::MAX),
        consumed: 0,
        samples_us: Vec::new(),
        sorted_us: Vec::new(),
        quantiles_us: [0.0; QUANTILES.len()],
        refreshed: None,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use thalweg_shm::{ArrayRef, DType, Publication};

    use super::*;
    use crate::testing::spec;

    fn consume(sink: &mut dyn Sink, count: u64) {
        let elements = [0f32; 2];
        for count in 1..=count {
            let publication = Publication {
                count,
                ..Publication::default()
            };
            let frame = SinkFrame::new(ArrayRef::from_slice(&elements, &[2]), publication, 0);
            sink.consume(&frame).unwrap();
        }
    }

    #[test]
    fn counts_and_measures() {
        let spec = spec("null.sink")
            .input(DType::Float32, &[2])
            .parameter("device_delay_s", json!(0.001))
            .build();
        let mut sink = build(&spec).unwrap();
        consume(&mut *sink, 3);
        let definitions = sink.figure_definitions();
        let mut values = vec![f64::NAN; definitions.len()];
        sink.figures(&mut values);
        assert_eq!(definitions[0].name, "consumed");
        assert_eq!(definitions[0].kind, FigureKind::Counter);
        assert_eq!(values[..2], [3.0, 1000.0]);
        assert!(values[2..].iter().all(|&us| us >= 1000.0), "{values:?}");
        assert!(values[2..].is_sorted(), "{values:?}");
    }

    #[test]
    fn the_window_forgets() {
        let spec = spec("null.sink")
            .input(DType::Float32, &[2])
            .parameter("sample_window", json!(4))
            .build();
        assert!(build(&spec).is_ok());
        let mut sink = NullSink {
            delay: Duration::ZERO,
            window: 4,
            consumed: 0,
            samples_us: Vec::new(),
            sorted_us: Vec::new(),
            quantiles_us: [0.0; 5],
            refreshed: None,
        };
        for duration_us in [100.0, 1.0, 2.0, 3.0, 4.0] {
            sink.record(duration_us);
        }
        sink.refresh();
        assert_eq!(sink.quantiles_us[0], 2.5);
        assert_eq!(sink.quantiles_us[4], 4.0);
        assert_eq!(sink.consumed, 5);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(interpolated(&[], 0.5), 0.0);
        assert_eq!(interpolated(&[7.0], 0.999), 7.0);
        assert_eq!(interpolated(&[0.0, 10.0], 0.9), 9.0);
        assert_eq!(interpolated(&[0.0, 10.0, 20.0], 1.0), 20.0);
    }

    #[test]
    fn wrong_parameters_are_told() {
        let spec = spec("null.sink")
            .parameter("device_delay_s", json!(-1))
            .parameter("sample_window", json!(0))
            .build();
        let problems = build(&spec).err().unwrap();
        let paths: Vec<_> = problems
            .iter()
            .map(|problem| problem.path.as_str())
            .collect();
        assert_eq!(
            paths,
            [
                "input",
                "parameters.device_delay_s",
                "parameters.sample_window"
            ]
        );
    }
}
