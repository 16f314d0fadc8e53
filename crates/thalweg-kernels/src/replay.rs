//! `replay.file`: the frames of a `.npy` file, one after the other.

use std::path::{Path, PathBuf};

use thalweg_shm::ArrayMut;

use crate::check::SpecChecker;
use crate::node::{NodeError, NodeSpec, Produced, Source, SourceContext, SpecProblem, StreamSpec};
use crate::npy::NpyFile;
use crate::owned_array::OwnedArray;
use crate::pacing::Pacer;
use crate::registry::{Definition, NodeBuilder, ParameterDoc};

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[Definition {
    kind: "replay.file",
    summary: "the frames of a .npy file, whose first axis counts them; stamps frame ids from 1",
    parameters: &[
        ParameterDoc {
            name: "path",
            doc: "text, required: the file, relative to the configuration's folder",
        },
        ParameterDoc {
            name: "rate_hz",
            doc: "positive number or null (default): frames per second; null is unthrottled",
        },
        ParameterDoc {
            name: "loop",
            doc: "true or false (default): begin again after the last frame",
        },
    ],
    builder: NodeBuilder::Source(build),
    infer: None,
    warn: None,
}];

struct Replay {
    path: PathBuf,
    stream: StreamSpec,
    repeat: bool,
    pacer: Pacer,
    /// Opened with the first frame.
    open: Option<Open>,
    /// Frames produced so far.
    produced: u64,
}

struct Open {
    file: NpyFile,
    frame: OwnedArray,
}

impl Open {
    fn new(path: &Path, stream: &StreamSpec) -> Result<Self, NodeError> {
        let failed = |error: &dyn std::error::Error| NodeError::Failed(error.to_string());
        let file = NpyFile::open(path).map_err(|error| failed(&error))?;
        // The file may have changed since the configuration was checked.
        if let Some(mismatch) = mismatch(&file, stream) {
            return Err(NodeError::Failed(format!("{}: {mismatch}", path.display())));
        }
        let frame =
            OwnedArray::zeros(stream.dtype, &stream.shape).map_err(|error| failed(&error))?;
        Ok(Self { file, frame })
    }
}

impl Source for Replay {
    fn produce(
        &mut self,
        context: &mut dyn SourceContext,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError> {
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(Open::new(&self.path, &self.stream)?),
        };
        let frames = open.file.shape().first().copied().unwrap_or(0) as u64;
        if frames == 0 || self.produced >= frames && !self.repeat {
            return Ok(Produced::Finished);
        }
        if self.pacer.wait(context) {
            return Ok(Produced::Nothing);
        }
        let index = (self.produced % frames) as usize;
        open.file
            .read_part(index, &mut open.frame)
            .map_err(|error| NodeError::Failed(error.to_string()))?;
        for output in outputs {
            output.copy_from_array(open.frame.as_array())?;
        }
        self.produced += 1;
        Ok(Produced::Frame {
            frame_id: Some(self.produced),
        })
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Source>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let output = check.output();
    let path = spec.base_dir.join(check.text_or("path", None));
    let rate_hz = check.optional_number("rate_hz", "a positive number or null", |rate| rate > 0.0);
    let repeat = check.boolean_or("loop", false);
    if let (Some(stream), true) = (
        output,
        spec.parameters
            .get("path")
            .is_some_and(|path| path.is_string()),
    ) {
        match NpyFile::open(&path) {
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
    Ok(Box::new(Replay {
        path,
        stream: stream.clone(),
        repeat,
        pacer: Pacer::new(rate_hz),
        open: None,
        produced: 0,
    }))
}

/// Why the file's frames do not fit the stream.
fn mismatch(file: &NpyFile, stream: &StreamSpec) -> Option<String> {
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
    use thalweg_shm::DType;

    use super::*;
    use crate::npy::tests::npy_bytes;
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
}
