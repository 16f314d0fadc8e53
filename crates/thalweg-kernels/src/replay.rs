//! `replay.file`: the frames of a `.npy` or FITS file, one after the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg_shm::ArrayMut;

use crate::check::SpecChecker;
use crate::files::{FrameFile, RecordingReader};
use crate::node::{NodeError, NodeSpec, Produced, Source, SourceContext, SpecProblem, StreamSpec};
use crate::pacing::Pacer;
use crate::registry::{Definition, NodeBuilder, ParameterDoc};

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[Definition {
    kind: "replay.file",
    summary: "the frames of a .npy or FITS file, along its first axis; stamps the frame ids of the \
              recording's index, or counts from 1 without one. With an auxiliary stream `step` \
              every publication there releases one frame",
    parameters: &[
        ParameterDoc {
            name: "path",
            doc: "text, required: the file, relative to the configuration's folder; FITS with the \
                  extensions .fits, .fit and .fts",
        },
        ParameterDoc {
            name: "rate_hz",
            doc: "positive number of frames per second or null (default): null is unthrottled",
        },
        ParameterDoc {
            name: "timing",
            doc: "fixed (default): as `rate_hz` says; recorded: at the distances in time with which \
                  the frames were published, which needs an index; after a pause it goes on, without \
                  catching up",
        },
        ParameterDoc {
            name: "loop",
            doc: "true or false (default): begin again after the last frame, frame ids going on",
        },
    ],
    builder: NodeBuilder::Source(build),
    infer: None,
    warn: None,
}];

/// The alias of the stream whose publications release frames.
const STEP: &str = "step";
/// A recording that is later than this, after a pause or because nobody took its frames, goes on from
/// where it is: a burst of all that was missed would be nothing like what was recorded.
const MOST_LATE_NS: u64 = 100_000_000;
/// How long one wait for a step takes before a stop is looked for.
const STEP_SLICE: Duration = Duration::from_millis(50);

/// When the next frame is due.
#[derive(Debug)]
enum Timing {
    Fixed(Pacer),
    /// As recorded.
    Recorded(Option<Anchor>),
    /// With every publication of an auxiliary stream.
    Stepped {
        stream: usize,
        /// Its publications that released a frame, or came before the start.
        used: u64,
    },
}

/// Where in time a pass through the recording began, or was gone on with.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    now_ns: u64,
    recorded_ns: u64,
}

impl Anchor {
    /// When a frame is due that was recorded at `recorded_ns`, not before the anchor.
    fn due_ns(&self, recorded_ns: u64) -> u64 {
        let since_ns = recorded_ns.saturating_sub(self.recorded_ns);
        self.now_ns.saturating_add(since_ns)
    }
}

struct Replay {
    path: PathBuf,
    stream: StreamSpec,
    repeat: bool,
    timing: Timing,
    /// Opened with the start.
    recording: Option<RecordingReader>,
    /// Frames produced so far.
    produced: u64,
}

impl Replay {
    fn recording(&mut self) -> Result<&mut RecordingReader, NodeError> {
        match &mut self.recording {
            Some(recording) => Ok(recording),
            closed => Ok(closed.insert(open(&self.path, &self.stream)?)),
        }
    }

    /// Waits until frame `index` of the recording is due; true when the pipeline wants to stop.
    fn wait(&mut self, context: &mut dyn SourceContext, index: usize) -> Result<bool, NodeError> {
        let recorded_ns = self
            .recording()?
            .publication(index)
            .map(|one| one.publish_ns);
        match &mut self.timing {
            Timing::Fixed(pacer) => Ok(pacer.wait(context)),
            Timing::Recorded(anchor) => {
                let recorded_ns = recorded_ns.ok_or_else(|| {
                    NodeError::Failed(format!(
                        "frame {index} of {} has no recorded time",
                        self.path.display()
                    ))
                })?;
                let now_ns = context.now_ns();
                // Another pass, or a recording made across a restart, begins anew.
                let kept = anchor
                    .filter(|anchor| index > 0 && recorded_ns >= anchor.recorded_ns)
                    .filter(|anchor| {
                        now_ns.saturating_sub(anchor.due_ns(recorded_ns)) <= MOST_LATE_NS
                    });
                let current = kept.unwrap_or(Anchor {
                    now_ns,
                    recorded_ns,
                });
                let due_ns = current.due_ns(recorded_ns);
                let is_interrupted = if due_ns > now_ns {
                    context.sleep_until(due_ns)
                } else {
                    context.stop_requested()
                };
                // Nobody knows how long an interruption takes: what follows it is due at once.
                *anchor = Some(current).filter(|_| !is_interrupted);
                Ok(is_interrupted)
            }
            Timing::Stepped { stream, used } => {
                while !context.stop_requested() {
                    if context
                        .wait_publication(*stream, *used, STEP_SLICE)?
                        .is_some()
                    {
                        *used += 1;
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

/// Opens the recording, which may have changed since the configuration was checked.
fn open(path: &Path, stream: &StreamSpec) -> Result<RecordingReader, NodeError> {
    let failed = |error: &dyn std::error::Error| NodeError::Failed(error.to_string());
    let file = FrameFile::open(path).map_err(|error| failed(&error))?;
    if let Some(mismatch) = mismatch(&file, stream) {
        return Err(NodeError::Failed(format!("{}: {mismatch}", path.display())));
    }
    RecordingReader::open(path).map_err(|error| failed(&error))
}

impl Source for Replay {
    fn open(&mut self, context: &mut dyn SourceContext) -> Result<(), NodeError> {
        self.recording()?;
        if let Timing::Stepped { stream, used } = &mut self.timing {
            // What was published before the start is no step.
            let newest = context.wait_publication(*stream, 0, Duration::ZERO)?;
            *used = newest.map_or(0, |newest| newest.count);
        }
        Ok(())
    }

    fn produce(
        &mut self,
        context: &mut dyn SourceContext,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError> {
        let recording = self.recording()?;
        let frames = recording.frames() as u64;
        let last_id = recording.publication(recording.frames().saturating_sub(1));
        if frames == 0 || self.produced >= frames && !self.repeat {
            return Ok(Produced::Finished);
        }
        let index = (self.produced % frames) as usize;
        if self.wait(context, index)? {
            return Ok(Produced::Nothing);
        }
        let produced = self.produced;
        let passes = produced / frames;
        let recording = self.recording()?;
        let frame_id = match recording.publication(index).map(|one| one.frame_id) {
            None => Some(produced + 1),
            // Nobody stamped them, so nobody does now.
            Some(0) => None,
            // The ids of the next pass go on where those of the last one ended. An index may hold
            // anything.
            Some(id) => {
                let ids_each = last_id.map_or(frames, |last| last.frame_id);
                Some(id.saturating_add(passes.saturating_mul(ids_each)))
            }
        };
        let frame = recording
            .read(index)
            .map_err(|error| NodeError::Failed(error.to_string()))?;
        for output in outputs {
            output.copy_from_array(frame.as_array())?;
        }
        self.produced += 1;
        Ok(Produced::Frame { frame_id })
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Source>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let output = check.output();
    let path = spec.base_dir.join(check.text_or("path", None));
    let rate_hz = check.optional_number("rate_hz", "a positive number or null", |rate| rate > 0.0);
    let is_recorded = match check.text_or("timing", Some("fixed")).trim() {
        "recorded" => true,
        "fixed" | "" => false,
        other => {
            check.parameter_problem("timing", "fixed or recorded", &other.into());
            false
        }
    };
    let repeat = check.boolean_or("loop", false);
    let step = check_auxiliary(&mut check);
    let sources = [rate_hz.is_some(), is_recorded, step.is_some()];
    if sources.iter().filter(|&&given| given).count() > 1 {
        check.problem(SpecProblem::new(
            "parameters",
            "replay.file can go by one of 'rate_hz', 'timing: recorded' and an auxiliary 'step' \
             only",
        ));
    }
    if let (Some(stream), true) = (
        output,
        spec.parameters
            .get("path")
            .is_some_and(|path| path.is_string()),
    ) {
        match FrameFile::open(&path) {
            Err(error) => check.problem(SpecProblem::new("parameters.path", error.to_string())),
            Ok(file) => {
                if let Some(mismatch) = mismatch(&file, stream) {
                    check.problem(
                        SpecProblem::new(
                            "parameters.path",
                            format!("{}: {mismatch}", path.display()),
                        )
                        .with_hint(format!(
                            "give {:?} the dtype {} and the shape of one frame, or convert the file",
                            stream.name,
                            file.dtype()
                        )),
                    );
                }
            }
        }
    }
    check.finish()?;
    let stream = output.ok_or_else(|| vec![SpecProblem::new("output", "there is no output")])?;
    let timing = match step {
        Some(stream) => Timing::Stepped { stream, used: 0 },
        None if is_recorded => Timing::Recorded(None),
        None => Timing::Fixed(Pacer::new(rate_hz)),
    };
    Ok(Box::new(Replay {
        path,
        stream: stream.clone(),
        repeat,
        timing,
        recording: None,
        produced: 0,
    }))
}

/// The position of the auxiliary stream `step`; others mean nothing.
fn check_auxiliary(check: &mut SpecChecker<'_>) -> Option<usize> {
    let mut step = None;
    for (index, auxiliary) in check.spec().auxiliary.iter().enumerate() {
        if auxiliary.alias == STEP {
            step = Some(index);
        } else {
            check.problem(
                SpecProblem::new(
                    format!("auxiliary.{}", auxiliary.alias),
                    format!(
                        "replay.file knows the auxiliary alias '{STEP}' only, got {:?}",
                        auxiliary.alias
                    ),
                )
                .with_hint("map the stream to it: `auxiliary: {step: <stream>}`"),
            );
        }
    }
    step
}

/// Why the file's frames do not fit the stream.
fn mismatch(file: &FrameFile, stream: &StreamSpec) -> Option<String> {
    let fits = file.dtype() == stream.dtype
        && matches!(file.shape(), [frames, rest @ ..] if *frames > 0 && rest == stream.shape);
    if fits {
        return None;
    }
    Some(format!(
        "the file holds {:?} of {}, but stream {:?} needs (frames, {}) of {} with at least one frame",
        file.shape(),
        file.dtype(),
        stream.name,
        stream
            .shape
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        stream.dtype
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use thalweg_shm::{ArrayRef, DType, Publication};

    use super::*;
    use crate::files::RecordingWriter;
    use crate::files::npy::tests::npy_bytes;
    use crate::testing::{TestContext, produce, source, spec};

    fn three_frames() -> Vec<u8> {
        let data: Vec<u8> = (0..6u16).flat_map(u16::to_le_bytes).collect();
        npy_bytes("<u2", false, "(3, 2)", &data)
    }

    fn replay(bytes: &[u8], parameters: serde_json::Value) -> (tempfile::TempDir, NodeSpec) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("frames.npy"), bytes).unwrap();
        let mut spec = spec("replay.file").output(DType::Uint16, &[2]).build();
        spec.parameters = parameters.as_object().unwrap().clone();
        spec.parameters
            .insert("path".to_owned(), json!("frames.npy"));
        spec.base_dir = folder.path().to_owned();
        (folder, spec)
    }

    #[test]
    fn frames_come_in_order_and_end() {
        let (_folder, spec) = replay(&three_frames(), json!({"rate_hz": 100}));
        let mut source = source(&spec).unwrap();
        let mut context = TestContext::at(0);
        for frame_id in 1..=3 {
            let (produced, frame) =
                produce(&mut *source, &mut context, DType::Uint16, &[2]).unwrap();
            assert_eq!(
                produced,
                Produced::Frame {
                    frame_id: Some(frame_id)
                }
            );
            let first = 2 * (frame_id as u16 - 1);
            assert_eq!(frame.to_vec::<u16>().unwrap(), [first, first + 1]);
            assert_eq!(context.now_ns, (frame_id - 1) * 10_000_000);
        }
        let (produced, _) = produce(&mut *source, &mut context, DType::Uint16, &[2]).unwrap();
        assert_eq!(produced, Produced::Finished);
        assert_eq!(context.now_ns, 20_000_000, "the end is not waited for");
    }

    #[test]
    fn a_loop_goes_on_counting() {
        let (_folder, spec) = replay(&three_frames(), json!({"loop": true}));
        let mut source = source(&spec).unwrap();
        let mut context = TestContext::at(0);
        for frame_id in 1..=7u64 {
            let (produced, frame) =
                produce(&mut *source, &mut context, DType::Uint16, &[2]).unwrap();
            assert_eq!(
                produced,
                Produced::Frame {
                    frame_id: Some(frame_id)
                }
            );
            let expected = 2 * ((frame_id - 1) % 3) as u16;
            assert_eq!(frame.to_vec::<u16>().unwrap()[0], expected);
        }
    }

    #[test]
    fn what_does_not_fit_is_told_before_the_start() {
        for (bytes, fragment) in [
            (
                npy_bytes("<f4", false, "(3, 2)", &[0; 24]),
                "[3, 2] of float32",
            ),
            (
                npy_bytes("<u2", false, "(3, 3)", &[0; 18]),
                "[3, 3] of uint16",
            ),
            (
                npy_bytes("<u2", false, "(2,)", &[0; 4]),
                "needs (frames, 2) of uint16",
            ),
            (npy_bytes("<u2", false, "(0, 2)", &[]), "at least one frame"),
            (npy_bytes("<u2", false, "(3, 2)", &[0; 6]), "is cut off"),
            (b"no array".to_vec(), "is no .npy file"),
        ] {
            let (_folder, spec) = replay(&bytes, json!({}));
            let problems = source(&spec).err().unwrap();
            assert_eq!(problems[0].path, "parameters.path");
            assert!(problems[0].message.contains(fragment), "{problems:?}");
            assert!(problems[0].message.contains("frames.npy"), "{problems:?}");
        }
        let (folder, spec) = replay(&three_frames(), json!({"loop": "yes", "rate_hz": -1}));
        std::fs::remove_file(folder.path().join("frames.npy")).unwrap();
        let paths: Vec<_> = source(&spec)
            .err()
            .unwrap()
            .into_iter()
            .map(|problem| problem.path)
            .collect();
        assert_eq!(
            paths,
            ["parameters.rate_hz", "parameters.loop", "parameters.path"]
        );
        let (_folder, mut spec) = replay(&three_frames(), json!({}));
        spec.parameters.remove("path");
        assert_eq!(source(&spec).err().unwrap()[0].path, "parameters.path");
    }

    #[test]
    fn a_file_that_changed_since_is_an_error_and_not_garbage() {
        let (folder, spec) = replay(&three_frames(), json!({}));
        let mut source = source(&spec).unwrap();
        std::fs::write(
            folder.path().join("frames.npy"),
            npy_bytes("<u2", false, "(3, 3)", &[0; 18]),
        )
        .unwrap();
        let mut context = TestContext::at(0);
        let error = produce(&mut *source, &mut context, DType::Uint16, &[2]).unwrap_err();
        assert!(error.to_string().contains("[3, 3] of uint16"), "{error}");
    }

    /// A FITS recording of three frames with ids 5, 6 and 9, published 1 and 3 ms apart.
    fn recorded(parameters: serde_json::Value) -> (tempfile::TempDir, NodeSpec) {
        let (folder, mut spec) = replay(&three_frames(), parameters);
        let path = folder.path().join("frames.fits");
        let mut writer =
            RecordingWriter::create(&path, "camera", DType::Uint16, &[2], false).unwrap();
        for (count, frame_id, publish_ns) in
            [(1, 5, 70_000_000), (2, 6, 71_000_000), (3, 9, 74_000_000)]
        {
            let publication = Publication {
                count,
                frame_id,
                publish_ns,
                ..Publication::default()
            };
            let frame = [frame_id as u16, 0];
            writer
                .append(ArrayRef::from_slice(&frame, &[2]), &publication)
                .unwrap();
        }
        spec.parameters
            .insert("path".to_owned(), json!("frames.fits"));
        (folder, spec)
    }

    fn next(source: &mut dyn Source, context: &mut TestContext) -> (Produced, u16) {
        let (produced, frame) = produce(source, context, DType::Uint16, &[2]).unwrap();
        (produced, frame.to_vec::<u16>().unwrap()[0])
    }

    #[test]
    fn recorded_ids_and_times_come_again() {
        let (_folder, spec) = recorded(json!({"timing": "recorded", "loop": true}));
        let mut source = source(&spec).unwrap();
        let mut context = TestContext::at(1_000);
        let mut seen = Vec::new();
        for _frame in 0..5 {
            let (produced, first) = next(&mut *source, &mut context);
            let Produced::Frame { frame_id } = produced else {
                panic!("{produced:?}");
            };
            seen.push((
                frame_id.unwrap(),
                first,
                (context.now_ns - 1_000) / 1_000_000,
            ));
        }
        // The second pass begins at once, and its ids go on.
        assert_eq!(
            seen,
            [(5, 5, 0), (6, 6, 1), (9, 9, 4), (14, 5, 4), (15, 6, 5)]
        );
    }

    fn produced_id(source: &mut dyn Source, context: &mut TestContext) -> Option<u64> {
        match next(source, context).0 {
            Produced::Frame { frame_id } => frame_id,
            Produced::Nothing | Produced::Finished => None,
        }
    }

    #[test]
    fn recorded_times_go_on_after_a_pause_without_a_burst() {
        let (_folder, spec) = recorded(json!({"timing": "recorded"}));
        let mut source = source(&spec).unwrap();
        let mut context = TestContext::at(0);
        assert_eq!(produced_id(&mut *source, &mut context), Some(5));
        // A pause, in the wait for the second frame.
        context.stop = true;
        assert_eq!(next(&mut *source, &mut context).0, Produced::Nothing);
        context.stop = false;
        context.now_ns = 50_000_000;
        assert_eq!(produced_id(&mut *source, &mut context), Some(6));
        assert_eq!(context.now_ns, 50_000_000, "due at once");
        assert_eq!(produced_id(&mut *source, &mut context), Some(9));
        assert_eq!(context.now_ns, 53_000_000, "3 ms later, as recorded");
    }

    #[test]
    fn recorded_times_catch_up_with_little_and_not_with_much() {
        for (late_ns, third_ns) in [(2_000_000, 4_000_000), (500_000_000, 503_000_000)] {
            let (_folder, spec) = recorded(json!({"timing": "recorded"}));
            let mut source = source(&spec).unwrap();
            let mut context = TestContext::at(0);
            assert_eq!(produced_id(&mut *source, &mut context), Some(5));
            context.now_ns = late_ns;
            assert_eq!(produced_id(&mut *source, &mut context), Some(6));
            assert_eq!(context.now_ns, late_ns, "due at once");
            assert_eq!(produced_id(&mut *source, &mut context), Some(9));
            assert_eq!(context.now_ns, third_ns);
        }
    }

    #[test]
    fn an_index_may_hold_anything() {
        let (folder, mut spec) = replay(&three_frames(), json!({"timing": "recorded"}));
        let path = folder.path().join("odd.npy");
        let mut writer =
            RecordingWriter::create(&path, "camera", DType::Uint16, &[2], false).unwrap();
        for publish_ns in [0, u64::MAX] {
            let publication = Publication {
                frame_id: u64::MAX - 1,
                publish_ns,
                ..Publication::default()
            };
            let frame = ArrayRef::from_slice(&[1u16, 2], &[2]);
            writer.append(frame, &publication).unwrap();
        }
        for (name, value) in [("path", json!("odd.npy")), ("loop", json!(true))] {
            spec.parameters.insert(name.to_owned(), value);
        }
        let mut source = source(&spec).unwrap();
        let mut context = TestContext::at(1_000);
        let ids: Vec<Option<u64>> = (0..4)
            .map(|_| produced_id(&mut *source, &mut context))
            .collect();
        let first = Some(u64::MAX - 1);
        assert_eq!(ids, [first, first, Some(u64::MAX), Some(u64::MAX)]);
        assert_eq!(context.now_ns, u64::MAX);
    }

    #[test]
    fn steps_release_one_frame_each_and_none_is_lost() {
        let (_folder, mut spec) = recorded(json!({}));
        spec.auxiliary.push(crate::node::Auxiliary {
            alias: "step".to_owned(),
            stream: StreamSpec {
                name: "clock".to_owned(),
                dtype: DType::Float32,
                shape: vec![1],
            },
        });
        let mut source = source(&spec).unwrap();
        let mut context = TestContext::at(0);
        // Two publications before the start release nothing.
        context.publications = 2;
        source.open(&mut context).unwrap();
        context.stop_after_waits = 3;
        assert_eq!(next(&mut *source, &mut context).0, Produced::Nothing);
        context.stop = false;
        context.stop_after_waits = 0;
        // Two at once release two.
        context.publications = 4;
        let id = |frame_id| Produced::Frame {
            frame_id: Some(frame_id),
        };
        assert_eq!(next(&mut *source, &mut context), (id(5), 5));
        assert_eq!(next(&mut *source, &mut context), (id(6), 6));
        context.stop_after_waits = 3;
        assert_eq!(next(&mut *source, &mut context).0, Produced::Nothing);
    }

    #[test]
    fn only_one_thing_can_release_frames() {
        let (_folder, mut spec) = recorded(json!({"timing": "recorded", "rate_hz": 3}));
        let told = |spec: &NodeSpec| source(spec).err().unwrap()[0].message.clone();
        assert!(told(&spec).contains("one of 'rate_hz', 'timing: recorded'"));
        spec.parameters = json!({"path": "frames.fits", "timing": "later"})
            .as_object()
            .unwrap()
            .clone();
        assert!(told(&spec).contains("'timing' to be fixed or recorded"));
        spec.parameters.remove("timing");
        spec.auxiliary.push(crate::node::Auxiliary {
            alias: "clock".to_owned(),
            stream: spec.outputs[0].clone(),
        });
        assert!(told(&spec).contains("alias 'step' only"));
    }
}
