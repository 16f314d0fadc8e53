//! `synthetic.frame_set`: several cameras that expose together, late and lossy as real ones are.

use thalweg_shm::{ArrayMut, PublishOptions};

use super::generator::Generator;
use super::pattern::{PATTERN_PARAMETERS, PatternSpec};
use super::{RATE_HZ, warn_of_integers};
use crate::check::SpecChecker;
use crate::node::{
    Figure, FigureKind, NodeError, NodeSpec, Produced, Source, SourceContext, SpecProblem,
    StreamSpec,
};
use crate::numpy_random;
use crate::pacing::Pacer;
use crate::registry::{Definition, NodeBuilder, ParameterDoc};

/// Streams whose losses are figures of their own: there is room for 16 figures.
const SINGLE_STREAMS: usize = 8;

const PARAMETERS: &[ParameterDoc] = &{
    let [a, b, c, d, e, f, g] = PATTERN_PARAMETERS;
    [
        a,
        RATE_HZ,
        ParameterDoc {
            name: "jitter_us",
            doc: "number of microseconds of at least 0, default 0: every camera is late by a time \
                  drawn from 0 to this, for itself and each generation anew",
        },
        ParameterDoc {
            name: "drop_probability",
            doc: "number from 0 (default) to 1: how often a camera loses a frame",
        },
        ParameterDoc {
            name: "assign_frame_id",
            doc: "true (default) or false: stamp all frames of a generation with its number, from 1",
        },
        b,
        c,
        d,
        e,
        f,
        g,
    ]
};

pub(super) const FRAME_SET: Definition = Definition {
    kind: "synthetic.frame_set",
    summary: "two or more cameras that expose together: generations of test patterns, stream k \
              with seed + k; each frame late by a jitter of its own, some of them lost",
    parameters: PARAMETERS,
    builder: NodeBuilder::Source(build),
    infer: None,
    warn: Some(warn_of_integers),
};

struct FrameSet {
    pattern: PatternSpec,
    streams: Vec<StreamSpec>,
    rate_hz: Option<f64>,
    pacer: Pacer,
    jitter_us: f64,
    drop_probability: f64,
    assign_frame_id: bool,
    chance: numpy_random::Generator,
    /// One for each stream, made with the first frame.
    generators: Vec<Generator>,
    /// What the cameras do in this generation, the first one first.
    exposures: Vec<Exposure>,
    generations: u64,
    writes: u64,
    drops: Vec<u64>,
    last_skew_us: f64,
    max_skew_us: f64,
}

/// What one camera does in a generation.
#[derive(Clone, Copy, Debug)]
struct Exposure {
    stream: usize,
    delay_ns: u64,
    is_lost: bool,
}

impl FrameSet {
    fn make_generators(&mut self) -> Result<(), NodeError> {
        for (index, stream) in self.streams.iter().enumerate().skip(self.generators.len()) {
            let pattern = PatternSpec {
                seed: self.pattern.seed.wrapping_add(index as u64),
                ..self.pattern.clone()
            };
            let generator = Generator::new(&pattern, stream.dtype, &stream.shape)
                .map_err(|error| NodeError::Failed(error.to_string()))?;
            self.generators.push(generator);
        }
        Ok(())
    }

    /// Draws what every camera does next.
    fn draw(&mut self) {
        self.exposures.clear();
        for stream in 0..self.streams.len() {
            let delay_us = self.chance.uniform() * self.jitter_us;
            let is_lost = self.chance.uniform() < self.drop_probability;
            self.exposures.push(Exposure {
                stream,
                delay_ns: (delay_us * 1e3) as u64,
                is_lost,
            });
        }
        self.exposures
            .sort_unstable_by_key(|exposure| (exposure.delay_ns, exposure.stream));
    }
}

impl Source for FrameSet {
    fn writes_outputs(&self) -> bool {
        true
    }

    fn open(&mut self, _context: &mut dyn SourceContext) -> Result<(), NodeError> {
        self.make_generators()
    }

    fn produce(
        &mut self,
        context: &mut dyn SourceContext,
        _outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError> {
        self.make_generators()?;
        if self.pacer.wait(context) {
            return Ok(Produced::Nothing);
        }
        self.draw();
        let exposed_ns = context.now_ns();
        let frame_id = self.assign_frame_id.then_some(self.generations + 1);
        let (mut first_ns, mut last_ns) = (None, 0);
        for index in 0..self.exposures.len() {
            let exposure = self.exposures[index];
            let generator = &mut self.generators[exposure.stream];
            if exposure.is_lost {
                let stream = &self.streams[exposure.stream];
                generator.skip_frame(stream.shape.iter().product());
                self.drops[exposure.stream] += 1;
                continue;
            }
            let due_ns = exposed_ns + exposure.delay_ns;
            if due_ns > context.now_ns() && context.sleep_until(due_ns) {
                // What is left of this generation is not written any more.
                break;
            }
            let options = PublishOptions {
                frame_id,
                // When all of them exposed.
                origin_ns: Some(exposed_ns),
            };
            let published = context.write_output(exposure.stream, options, &mut |output| {
                generator.next_frame(output);
                Ok(())
            })?;
            first_ns.get_or_insert(published.publish_ns);
            last_ns = published.publish_ns;
            self.writes += 1;
        }
        if let Some(first_ns) = first_ns {
            self.last_skew_us = last_ns.saturating_sub(first_ns) as f64 / 1e3;
            self.max_skew_us = self.max_skew_us.max(self.last_skew_us);
        }
        self.generations += 1;
        Ok(Produced::Frame { frame_id })
    }

    fn figure_definitions(&self) -> Vec<Figure> {
        let figure = |name: &str, kind| Figure {
            name: name.to_owned(),
            kind,
        };
        let mut figures: Vec<Figure> = ["generations", "writes", "drops"]
            .map(|name| figure(name, FigureKind::Counter))
            .into();
        figures.extend(
            [
                "last_skew_us",
                "max_skew_us",
                "requested_rate_hz",
                "jitter_us",
                "drop_probability",
            ]
            .map(|name| figure(name, FigureKind::Gauge)),
        );
        let single = self.streams.iter().take(SINGLE_STREAMS);
        figures.extend(
            single.map(|stream| figure(&format!("drops_{}", stream.name), FigureKind::Counter)),
        );
        figures
    }

    fn figures(&self, values: &mut [f64]) {
        let drops: u64 = self.drops.iter().sum();
        let own = [
            self.generations as f64,
            self.writes as f64,
            drops as f64,
            self.last_skew_us,
            self.max_skew_us,
            self.rate_hz.unwrap_or(0.0),
            self.jitter_us,
            self.drop_probability,
        ];
        let single = self.drops.iter().take(SINGLE_STREAMS);
        let all = own.into_iter().chain(single.map(|drops| *drops as f64));
        for (value, figure) in values.iter_mut().zip(all) {
            *value = figure;
        }
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Source>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    if spec.outputs.len() < 2 {
        check.problem(
            SpecProblem::new(
                "streams",
                format!(
                    "synthetic.frame_set requires at least two output streams, got {}",
                    spec.outputs.len()
                ),
            )
            .with_hint("list them under `streams`, or use synthetic.array"),
        );
    }
    let pattern = PatternSpec::read(&mut check);
    let rate_hz = super::check_rate(&mut check);
    let jitter_us = check
        .optional_number("jitter_us", "a number of at least 0", |jitter| {
            (0.0..=1e9).contains(&jitter)
        })
        .unwrap_or(0.0);
    let drop_probability = check
        .optional_number("drop_probability", "a number from 0 to 1", |probability| {
            (0.0..=1.0).contains(&probability)
        })
        .unwrap_or(0.0);
    let assign_frame_id = check.boolean_or("assign_frame_id", true);
    check.finish()?;
    let count = spec.outputs.len();
    Ok(Box::new(FrameSet {
        // A seed that no stream has.
        chance: numpy_random::Generator::new(pattern.seed.wrapping_add(count as u64)),
        pattern,
        streams: spec.outputs.clone(),
        rate_hz,
        pacer: Pacer::new(rate_hz),
        jitter_us,
        drop_probability,
        assign_frame_id,
        generators: Vec::new(),
        exposures: Vec::with_capacity(count),
        generations: 0,
        writes: 0,
        drops: vec![0; count],
        last_skew_us: 0.0,
        max_skew_us: 0.0,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use thalweg_shm::DType;

    use super::*;
    use crate::testing::{TestContext, source, spec};

    fn three_cameras(parameters: serde_json::Value) -> NodeSpec {
        let mut spec = spec("synthetic.frame_set")
            .output(DType::Float64, &[2])
            .output(DType::Float64, &[3])
            .output(DType::Float64, &[1])
            .build();
        spec.parameters = parameters.as_object().unwrap().clone();
        spec
    }

    fn run(spec: &NodeSpec, generations: usize) -> (Box<dyn Source>, TestContext) {
        let mut source = source(spec).unwrap();
        let mut context = TestContext::at(1_000_000);
        context.outputs = spec.outputs.clone();
        assert!(source.writes_outputs());
        for _generation in 0..generations {
            let produced = source.produce(&mut context, &mut []).unwrap();
            assert!(matches!(produced, Produced::Frame { .. }));
        }
        (source, context)
    }

    fn figure(source: &dyn Source, name: &str) -> f64 {
        let definitions = source.figure_definitions();
        let mut values = vec![f64::NAN; definitions.len()];
        source.figures(&mut values);
        let place = definitions.iter().position(|one| one.name == name).unwrap();
        values[place]
    }

    #[test]
    fn generations_share_their_number_and_each_camera_has_its_own_late_time() {
        let parameters = json!({"rate_hz": 1000, "jitter_us": 200, "seed": 3});
        let (source, context) = run(&three_cameras(parameters), 50);
        assert_eq!(context.written.len(), 150);
        let mut orders = std::collections::BTreeSet::new();
        let mut largest_us = 0.0f64;
        for (generation, written) in context.written.chunks(3).enumerate() {
            let start_ns = 1_000_000 * (generation as u64 + 1);
            let mut streams: Vec<usize> = written.iter().map(|one| one.0).collect();
            orders.insert(streams.clone());
            streams.sort_unstable();
            assert_eq!(streams, [0, 1, 2]);
            for (_, frame_id, at_ns, _) in written {
                assert_eq!(*frame_id, Some(generation as u64 + 1));
                assert!((start_ns..start_ns + 200_000).contains(at_ns), "{at_ns}");
            }
            largest_us = largest_us.max((written[2].2 - written[0].2) as f64 / 1e3);
        }
        assert!(orders.len() > 3, "any camera may be first");
        assert_eq!(figure(&*source, "max_skew_us"), largest_us);
        assert_eq!(figure(&*source, "generations"), 50.0);
        assert_eq!(figure(&*source, "requested_rate_hz"), 1000.0);
    }

    #[test]
    fn lost_frames_are_counted_and_do_not_shift_the_pattern() {
        let whole = run(&three_cameras(json!({"seed": 9})), 40).1;
        let lossy = json!({"seed": 9, "drop_probability": 0.5, "assign_frame_id": true});
        let (source, lossy) = run(&three_cameras(lossy), 40);
        let lost = 120 - lossy.written.len();
        assert!((20..100).contains(&lost), "{lost} of 120");
        assert_eq!(figure(&*source, "drops"), lost as f64);
        assert_eq!(figure(&*source, "writes"), lossy.written.len() as f64);
        let of_one = figure(&*source, "drops_output_1");
        let ones = lossy.written.iter().filter(|one| one.0 == 1).count();
        assert_eq!(of_one, (40 - ones) as f64);
        for (stream, frame_id, _, array) in &lossy.written {
            let same = whole
                .written
                .iter()
                .find(|one| one.0 == *stream && one.1 == *frame_id)
                .unwrap();
            assert_eq!(
                array.to_vec::<f64>().unwrap(),
                same.3.to_vec::<f64>().unwrap()
            );
        }
        let (source, none) = run(&three_cameras(json!({"drop_probability": 1})), 5);
        assert_eq!(
            (none.written.len(), figure(&*source, "generations")),
            (0, 5.0)
        );
    }

    #[test]
    fn streams_have_seeds_of_their_own() {
        let (_, context) = run(&three_cameras(json!({"seed": 20})), 1);
        for (stream, _, _, array) in &context.written {
            let mut expected = numpy_random::Generator::new(20 + *stream as u64);
            for number in array.to_vec::<f64>().unwrap() {
                assert_eq!(number, expected.standard_normal_f64());
            }
        }
        let (_, context) = run(&three_cameras(json!({"assign_frame_id": false})), 1);
        assert!(context.written.iter().all(|one| one.1.is_none()));
    }

    #[test]
    fn wrong_parameters_are_all_told() {
        let mut spec = three_cameras(json!({
            "jitter_us": -1, "drop_probability": 1.5, "assign_frame_id": 1, "rate_hz": 0
        }));
        spec.outputs.truncate(1);
        let problems = source(&spec).err().unwrap();
        let paths: Vec<_> = problems.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "streams",
                "parameters.rate_hz",
                "parameters.jitter_us",
                "parameters.drop_probability",
                "parameters.assign_frame_id"
            ]
        );
        assert!(problems[0].message.contains("at least two"));
    }
}
