//! `ao.telescope` keeps its contract with the runtime.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::{Value, json};
use thalweg_kernels::node::Auxiliary;
use thalweg_kernels::{
    AuxiliaryFrame, NodeBuilder, NodeError, NodeRole, NodeSpec, Produced, Registry, Source,
    SourceContext, SpecProblem, StreamSpec,
};
use thalweg_shm::{ArrayMut, DType};

const SIDE: usize = 32;
const ACTUATORS: usize = 25;

fn stream(name: &str, dtype: DType, shape: &[usize]) -> StreamSpec {
    StreamSpec {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    }
}

/// A 4 x 4 subaperture telescope with `commands` and a `reconstructor` to wait for.
fn spec(parameters: Value) -> NodeSpec {
    let mut all = json!({"instrument": {"subapertures": 4, "diameter_m": 2.0}});
    all.as_object_mut()
        .unwrap()
        .extend(parameters.as_object().unwrap().clone());
    NodeSpec {
        name: "telescope".to_owned(),
        kind: "ao.telescope".to_owned(),
        inputs: Vec::new(),
        any_trigger: false,
        auxiliary: vec![
            Auxiliary {
                alias: "reconstructor".to_owned(),
                stream: stream("matrix", DType::Float64, &[3, 2]),
            },
            Auxiliary {
                alias: "commands".to_owned(),
                stream: stream("mirror", DType::Float32, &[ACTUATORS]),
            },
        ],
        outputs: vec![stream("image", DType::Uint16, &[SIDE, SIDE])],
        operation: None,
        parameters: all.as_object().unwrap().clone(),
        base_dir: Default::default(),
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Source>, Vec<SpecProblem>> {
    let registry = Registry::empty().with(thalweg_ao::DEFINITIONS);
    let definition = registry.get(NodeRole::Source, &spec.kind).unwrap();
    match definition.builder {
        NodeBuilder::Source(build) => build(spec),
        _ => panic!("{} is a source", spec.kind),
    }
}

/// A runtime under the test's control. Time moves when the source sleeps or waits.
struct Scripted {
    calibrated: bool,
    commands: Option<(AuxiliaryFrame, [f32; ACTUATORS])>,
    stop: bool,
    now_ns: u64,
    deadlines_ns: Vec<u64>,
    waited_for: Vec<u64>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            calibrated: true,
            commands: None,
            stop: false,
            now_ns: 5_000,
            deadlines_ns: Vec::new(),
            waited_for: Vec::new(),
        }
    }
}

impl Scripted {
    fn command(&mut self, count: u64, frame_id: u64, um: f32) {
        let mut commands = [0.0; ACTUATORS];
        commands[12] = um;
        self.commands = Some((AuxiliaryFrame { count, frame_id }, commands));
    }
}

impl SourceContext for Scripted {
    fn stop_requested(&self) -> bool {
        self.stop
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn sleep_until(&mut self, deadline_ns: u64) -> bool {
        self.deadlines_ns.push(deadline_ns);
        self.now_ns = self.now_ns.max(deadline_ns);
        self.stop
    }

    fn read_auxiliary(
        &mut self,
        index: usize,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        if index == 0 {
            let frame = AuxiliaryFrame {
                count: 1,
                frame_id: 1,
            };
            return Ok(self.calibrated.then_some(frame));
        }
        let Some((frame, commands)) = &self.commands else {
            return Ok(None);
        };
        out.copy_from(commands)?;
        Ok(Some(*frame))
    }

    fn wait_auxiliary(
        &mut self,
        index: usize,
        frame_id: u64,
        timeout: Duration,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        self.waited_for.push(frame_id);
        let found = self.read_auxiliary(index, out)?;
        let found = found.filter(|frame| frame.frame_id >= frame_id && !self.stop);
        if found.is_none() {
            self.now_ns += timeout.as_nanos() as u64;
        }
        Ok(found)
    }
}

struct Run {
    source: Box<dyn Source>,
    runtime: Scripted,
    image: Vec<u16>,
}

impl Run {
    fn new(parameters: Value) -> Self {
        Self {
            source: build(&spec(parameters)).unwrap(),
            runtime: Scripted::default(),
            image: vec![0; SIDE * SIDE],
        }
    }

    fn produce(&mut self) -> Result<Produced, NodeError> {
        let mut outputs = [ArrayMut::from_slice(&mut self.image, &[SIDE, SIDE])];
        self.source.produce(&mut self.runtime, &mut outputs)
    }

    /// Produces frame `frame_id` and returns its image.
    fn frame(&mut self, frame_id: u64) -> Vec<u16> {
        let frame_id = Some(frame_id);
        assert_eq!(self.produce().unwrap(), Produced::Frame { frame_id });
        self.image.clone()
    }
}

#[test]
fn a_frame_depends_on_seed_number_and_commands_only() {
    // The first two runs differ in the commands of frame 2 alone.
    let images = |second_um: f32, seed: u64| {
        let mut run = Run::new(json!({
            "instrument": {"subapertures": 4, "diameter_m": 2.0, "seed": seed}
        }));
        let first = run.frame(1);
        run.runtime.command(1, 1, second_um);
        let second = run.frame(2);
        run.runtime.command(2, 2, 0.1);
        [first, second, run.frame(3)]
    };
    let (one, other, reseeded) = (images(0.2, 1), images(-0.2, 1), images(0.2, 2));
    assert_eq!(one, images(0.2, 1));
    assert_eq!(one[0], other[0]);
    assert_ne!(one[1], other[1], "the mirror shows");
    assert_eq!(one[2], other[2]);
    assert_ne!(one[0], reseeded[0]);
}

#[test]
fn frame_k_waits_for_the_commands_of_frame_k_minus_1() {
    let mut run = Run::new(json!({"command_timeout_s": 0.25}));
    run.frame(1);
    run.runtime.command(1, 1, 0.1);
    run.frame(2);
    // Nothing new: frame 3 waits for id 2, then gives up and says what to look at.
    let error = run.produce().unwrap_err().to_string();
    assert_eq!(run.runtime.waited_for, [0, 1, 2]);
    for part in [
        "\"telescope\"",
        "0.25 s",
        "frame id 2",
        "\"mirror\"",
        "newest frame id is 1",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    for hint in ["propagate_frame_id: true", "command_timeout_s", "rate_hz"] {
        assert!(error.contains(hint), "{hint} is missing in: {error}");
    }
}

#[test]
fn frame_ids_go_on_where_the_command_stream_left_off() {
    let mut run = Run::new(json!({}));
    // Left by an earlier run of the source: not what frame 1 may see.
    run.runtime.command(700, 650, 3.0);
    let image = run.frame(651);
    assert_eq!(image, Run::new(json!({})).frame(1), "the mirror is flat");
    run.runtime.command(701, 651, 0.1);
    run.frame(652);
}

#[test]
fn nothing_is_produced_before_the_calibration() {
    let mut run = Run::new(json!({"calibration_timeout_s": 2.5}));
    run.runtime.calibrated = false;
    let error = run.produce().unwrap_err().to_string();
    for part in ["2.5 s", "\"matrix\"", "calibration_timeout_s"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    run.runtime.calibrated = true;
    run.frame(1);
}

#[test]
fn a_stop_ends_every_wait_without_an_error() {
    let mut run = Run::new(json!({}));
    run.runtime.calibrated = false;
    run.runtime.stop = true;
    assert_eq!(run.produce().unwrap(), Produced::Nothing);
    run.runtime.calibrated = true;
    run.runtime.stop = false;
    run.frame(1);
    run.runtime.stop = true;
    assert_eq!(run.produce().unwrap(), Produced::Nothing);
    let mut paced = Run::new(json!({"rate_hz": 100}));
    paced.runtime.stop = true;
    assert_eq!(paced.produce().unwrap(), Produced::Nothing);
}

#[test]
fn a_rate_means_deadlines_and_the_newest_commands() {
    let mut run = Run::new(json!({"rate_hz": 1000}));
    let flat = run.frame(1);
    run.frame(2); // no commands yet, no waiting
    run.runtime.command(1, 1, 0.2);
    run.frame(3);
    assert_eq!(run.runtime.deadlines_ns, [5_000, 1_005_000, 2_005_000]);
    assert_eq!(run.runtime.waited_for, [0], "only for the calibration");
    // A frame that is late stays late.
    run.runtime.now_ns = 10_000_000;
    run.frame(4);
    run.frame(5);
    assert_eq!(run.runtime.deadlines_ns[3..], [3_005_000, 11_000_000]);
    assert_eq!(flat, Run::new(json!({})).frame(1), "the same physics");
}

#[test]
fn the_source_ends_after_the_frames_asked_for() {
    let mut run = Run::new(json!({"frames": 2, "rate_hz": 1e6}));
    run.frame(1);
    run.frame(2);
    assert_eq!(run.produce().unwrap(), Produced::Finished);
    assert_eq!(run.produce().unwrap(), Produced::Finished);
    let mut figures = [0.0; 3];
    run.source.figures(&mut figures);
    assert_eq!(figures[0], 2.0);
    assert_eq!(figures[1], figures[2], "an idle mirror corrects nothing");
    assert!(figures[1] > 0.0);
}

#[test]
fn commands_that_are_no_numbers_are_refused() {
    let mut run = Run::new(json!({}));
    run.frame(1);
    run.runtime.command(1, 1, f32::NAN);
    let error = run.produce().unwrap_err().to_string();
    for part in ["actuator 12", "\"mirror\"", "NaN", "frame 2"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn float32_images_hold_the_same_counts() {
    let counts = Run::new(json!({})).frame(1);
    let mut spec = spec(json!({}));
    spec.outputs[0].dtype = DType::Float32;
    let mut image = vec![0.0f32; SIDE * SIDE];
    let mut outputs = [ArrayMut::from_slice(&mut image, &[SIDE, SIDE])];
    let mut source = build(&spec).unwrap();
    source
        .produce(&mut Scripted::default(), &mut outputs)
        .unwrap();
    let as_floats: Vec<f32> = counts.into_iter().map(f32::from).collect();
    assert_eq!(image, as_floats);
}

#[test]
fn wrong_streams_are_named_with_what_was_expected() {
    let mut wrong = spec(json!({}));
    wrong.outputs[0].shape = vec![64, 64];
    wrong.auxiliary[1].stream.shape = vec![16];
    let Err(problems) = build(&wrong) else {
        panic!("accepted");
    };
    let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["stream", "auxiliary.commands"]);
    assert!(problems[0].message.contains("[32, 32]"), "{problems:?}");
    assert!(problems[1].message.contains("[25]"), "{problems:?}");

    let Err(problems) = build(&spec(json!({"rate_hz": 0, "rate": 5}))) else {
        panic!("accepted");
    };
    let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["parameters.rate_hz", "parameters.rate"]);
}
