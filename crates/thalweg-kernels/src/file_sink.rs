//! `file.sink`: frames into files, one for all of them or one each.

use std::path::{Path, PathBuf};

use thalweg_shm::DType;

use crate::check::SpecChecker;
use crate::files::writer::{SingleWriter, check_format};
use crate::files::{RecordingError, RecordingWriter};
use crate::node::{
    Figure, FigureKind, NodeError, NodeSpec, Sink, SinkContext, SinkFrame, SpecProblem, StreamSpec,
};
use crate::registry::{Definition, NodeBuilder, ParameterDoc};

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[Definition {
    kind: "file.sink",
    summary: "frames into a .npy or FITS file that is readable at any moment, or into one file \
              each; beside it <name>.index.npy with count, frame_id, wall_ns, publish_ns and \
              origin_ns of every frame. replay.file plays it again",
    parameters: &[
        ParameterDoc {
            name: "path",
            doc: "text, required: the file, relative to the configuration's folder, ending with \
                  .npy, .fits, .fit or .fts; missing folders are made. With {index}, {count} or \
                  {frame_id} in the name, or {index:06} with zeros, every frame becomes a file of \
                  its own",
        },
        ParameterDoc {
            name: "every",
            doc: "integer of at least 1, default 1: write the first of so many frames",
        },
        ParameterDoc {
            name: "limit",
            doc: "integer of at least 1 or null (default): frames to write; those after are dropped",
        },
        ParameterDoc {
            name: "overwrite",
            doc: "true or false (default): replace files that exist when a run starts; otherwise \
                  they are an error. A sink that is started again during a run goes on with its \
                  recording",
        },
        ParameterDoc {
            name: "append",
            doc: "true or false (default): go on with the recording that exists also when a run \
                  starts",
        },
    ],
    builder: NodeBuilder::Sink(build),
    infer: None,
    warn: None,
}];

struct FileSink {
    stream: StreamSpec,
    name: FileName,
    every: u64,
    limit: Option<u64>,
    overwrite: bool,
    append: bool,
    /// Whether the sink is started again during a run: what exists is its own.
    is_restart: bool,
    /// Opened with the start; none again once the limit is reached.
    writer: Option<Writer>,
    consumed: u64,
    written: u64,
}

enum Writer {
    All(Box<RecordingWriter>),
    Each(Box<SingleWriter>),
}

/// The number that a file name is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// Of the file, from 0.
    Index,
    Count,
    FrameId,
}

/// Where frames go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum FileName {
    /// One file.
    Fixed(PathBuf),
    /// One file for each frame, named `before`, a number of at least `digits` digits, `after`.
    Numbered {
        folder: PathBuf,
        before: String,
        number: Number,
        digits: usize,
        after: String,
    },
}

impl FileName {
    /// Understands `path`; a text tells what is wrong.
    fn parse(path: &Path) -> Result<Self, String> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        let Some((before, rest)) = name.split_once('{') else {
            return Ok(Self::Fixed(path.to_owned()));
        };
        let Some((field, after)) = rest.split_once('}') else {
            return Err(format!("there is no '}}' after '{{' in {name:?}"));
        };
        let (number, digits) = match field.split_once(':') {
            Some((number, digits)) => (number, digits),
            None => (field, ""),
        };
        let number = match number {
            "index" => Number::Index,
            "count" => Number::Count,
            "frame_id" => Number::FrameId,
            other => {
                return Err(format!(
                    "{{{other}}} in {name:?} is none of {{index}}, {{count}} and {{frame_id}}"
                ));
            }
        };
        let width = digits.strip_prefix('0').unwrap_or(digits);
        let digits = match width {
            "" if digits.is_empty() => 1,
            _ => width
                .parse()
                .ok()
                .filter(|digits| (1..=20).contains(digits) && width.len() < 3)
                .ok_or_else(|| {
                    format!("{digits:?} in {name:?} is no number of digits, such as 06")
                })?,
        };
        if after.contains(['{', '}']) || before.contains('}') {
            return Err(format!("{name:?} has more braces than one number needs"));
        }
        Ok(Self::Numbered {
            folder: path.parent().map(Path::to_owned).unwrap_or_default(),
            before: before.to_owned(),
            number,
            digits,
            after: after.to_owned(),
        })
    }

    /// The file of a frame, and of all of them with a fixed name.
    fn file(&self, index: u64, frame: Option<&SinkFrame<'_>>) -> PathBuf {
        match self {
            Self::Fixed(path) => path.clone(),
            Self::Numbered {
                folder,
                before,
                number,
                digits,
                after,
            } => {
                let number = match number {
                    Number::Index => index,
                    Number::Count => frame.map_or(0, |frame| frame.count),
                    Number::FrameId => frame.map_or(0, |frame| frame.frame_id),
                };
                folder.join(format!("{before}{number:0digits$}{after}"))
            }
        }
    }

    /// The index of all numbered files: their name without the number.
    fn index(&self) -> PathBuf {
        match self {
            Self::Fixed(path) => crate::files::index_path(path),
            Self::Numbered { folder, before, .. } => {
                let stem = before.trim_end_matches(['_', '-', '.']);
                let stem = if stem.is_empty() { "frames" } else { stem };
                folder.join(format!("{stem}.index.npy"))
            }
        }
    }
}

fn failed(error: &RecordingError) -> NodeError {
    NodeError::Failed(error.to_string())
}

impl FileSink {
    fn open_writer(&mut self) -> Result<(), NodeError> {
        let example = self.name.file(0, None);
        if let Some(folder) = example.parent() {
            std::fs::create_dir_all(folder).map_err(|error| {
                NodeError::Failed(format!("cannot make {}: {error}", folder.display()))
            })?;
        }
        let appends = self.append || self.is_restart;
        let StreamSpec { name, dtype, shape } = &self.stream;
        let writer = match &self.name {
            FileName::Fixed(path) if appends => {
                RecordingWriter::append_to(path, name, *dtype, shape)
                    .map(|writer| (writer.frames(), Writer::All(Box::new(writer))))
            }
            FileName::Fixed(path) => {
                RecordingWriter::create(path, name, *dtype, shape, self.overwrite)
                    .map(|writer| (0, Writer::All(Box::new(writer))))
            }
            FileName::Numbered { .. } if appends => {
                SingleWriter::append_to(&example, &self.name.index(), name, *dtype, shape)
                    .map(|(writer, rows)| (rows, Writer::Each(Box::new(writer))))
            }
            FileName::Numbered { .. } => SingleWriter::create(
                &example,
                &self.name.index(),
                name,
                *dtype,
                shape,
                self.overwrite,
            )
            .map(|writer| (0, Writer::Each(Box::new(writer)))),
        };
        let (written, writer) = writer.map_err(|error| failed(&error))?;
        self.written = written;
        self.writer = Some(writer);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), NodeError> {
        match self.writer.take() {
            Some(Writer::All(writer)) => writer.finish(),
            Some(Writer::Each(writer)) => writer.finish(),
            None => Ok(()),
        }
        .map_err(|error| failed(&error))
    }
}

impl Sink for FileSink {
    fn open(&mut self, context: &mut dyn SinkContext) -> Result<(), NodeError> {
        self.is_restart = context.is_restart();
        self.open_writer()
    }

    fn consume(&mut self, frame: &SinkFrame<'_>) -> Result<(), NodeError> {
        let is_due = self.consumed.is_multiple_of(self.every);
        self.consumed += 1;
        if !is_due || self.limit.is_some_and(|limit| self.written >= limit) {
            return Ok(());
        }
        if self.writer.is_none() {
            self.open_writer()?;
        }
        let outcome = match &mut self.writer {
            Some(Writer::All(writer)) => writer.append(frame.array, &frame.publication()),
            Some(Writer::Each(writer)) => {
                let path = self.name.file(self.written, Some(frame));
                writer.write(&path, frame.array, &frame.publication(), self.overwrite)
            }
            None => Ok(()),
        };
        outcome.map_err(|error| failed(&error))?;
        self.written += 1;
        if self.limit == Some(self.written) {
            self.finish()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), NodeError> {
        self.finish()
    }

    fn figure_definitions(&self) -> Vec<Figure> {
        ["consumed", "written"]
            .map(|name| Figure {
                name: name.to_owned(),
                kind: FigureKind::Counter,
            })
            .into()
    }

    fn figures(&self, values: &mut [f64]) {
        for (value, figure) in values.iter_mut().zip([self.consumed, self.written]) {
            *value = figure as f64;
        }
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Sink>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let input = check.input();
    let text = check.text_or("path", None);
    let name = match FileName::parse(&spec.base_dir.join(&text)) {
        Ok(name) => name,
        Err(message) => {
            check.problem(SpecProblem::new(
                "parameters.path",
                format!("file.sink: {message}"),
            ));
            FileName::Fixed(PathBuf::from("frames.npy"))
        }
    };
    if !text.is_empty() {
        let dtype = input.map_or(DType::Float64, |input| input.dtype);
        if let Err(error) = check_format(&name.file(0, None), dtype) {
            check.problem(SpecProblem::new("parameters.path", error.to_string()));
        }
    }
    let every = check.integer_or("every", 1, 1);
    let limit = match spec.parameters.get("limit") {
        None | Some(serde_json::Value::Null) => None,
        Some(_) => Some(check.integer_or("limit", 1, 1)),
    };
    let overwrite = check.boolean_or("overwrite", false);
    let append = check.boolean_or("append", false);
    if overwrite && append {
        check.problem(SpecProblem::new(
            "parameters.append",
            "file.sink can either go on with what exists ('append') or replace it ('overwrite')",
        ));
    }
    check.finish()?;
    let stream = input.ok_or_else(|| vec![SpecProblem::new("stream", "there is no stream")])?;
    Ok(Box::new(FileSink {
        stream: stream.clone(),
        name,
        every,
        limit,
        overwrite,
        append,
        is_restart: false,
        writer: None,
        consumed: 0,
        written: 0,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use thalweg_shm::{ArrayMut, ArrayRef, Publication, PublishOptions};

    use super::*;
    use crate::files::{FrameFile, Index, RecordingReader};
    use crate::node::{AuxiliaryFrame, FillOutput};
    use crate::owned_array::OwnedArray;
    use crate::registry::{NodeRole, Registry};
    use crate::testing::spec;

    fn sink(
        folder: &Path,
        parameters: serde_json::Value,
    ) -> Result<Box<dyn Sink>, Vec<SpecProblem>> {
        let mut spec = spec("file.sink").input(DType::Int16, &[2]).build();
        spec.parameters = parameters.as_object().unwrap().clone();
        spec.base_dir = folder.to_owned();
        let registry = Registry::builtin();
        match registry.get(NodeRole::Sink, "file.sink").unwrap().builder {
            NodeBuilder::Sink(build) => build(&spec),
            other => panic!("{other:?}"),
        }
    }

    fn consume(
        sink: &mut dyn Sink,
        counts: std::ops::RangeInclusive<u64>,
    ) -> Result<(), NodeError> {
        for count in counts {
            let elements = [count as i16, -1];
            let publication = Publication {
                count,
                frame_id: 100 + count,
                wall_ns: 5,
                publish_ns: 6,
                origin_ns: 7,
            };
            let array = ArrayRef::from_slice(&elements, &[2]);
            sink.consume(&SinkFrame::new(array, publication, 0))?;
        }
        Ok(())
    }

    #[test]
    fn every_third_frame_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let parameters = json!({"path": "deep/er/frames.fits", "every": 3, "limit": 2});
        let mut sink = sink(folder.path(), parameters).unwrap();
        consume(&mut *sink, 1..=20).unwrap();
        let mut values = [0.0; 2];
        sink.figures(&mut values);
        assert_eq!(values, [20.0, 2.0]);
        sink.close().unwrap();
        let path = folder.path().join("deep/er/frames.fits");
        let mut reader = RecordingReader::open(&path).unwrap();
        assert_eq!(reader.frames(), 2);
        assert_eq!(reader.read(1).unwrap().to_vec::<i16>().unwrap(), [4, -1]);
        let publication = reader.publication(1).unwrap();
        assert_eq!((publication.count, publication.frame_id), (4, 104));
        assert_eq!((publication.wall_ns, publication.origin_ns), (5, 7));
    }

    #[test]
    fn one_file_for_each_frame() {
        let folder = tempfile::tempdir().unwrap();
        for (pattern, first, index) in [
            ("a_{index:04}.npy", "a_0000.npy", "a.index.npy"),
            ("b-{count}.npy", "b-9.npy", "b.index.npy"),
            ("{frame_id:6}.fits", "000109.fits", "frames.index.npy"),
        ] {
            let mut sink = sink(folder.path(), json!({"path": pattern})).unwrap();
            consume(&mut *sink, 9..=11).unwrap();
            sink.close().unwrap();
            let mut file = FrameFile::open(&folder.path().join(first)).unwrap();
            assert_eq!((file.dtype(), file.shape()), (DType::Int16, &[2][..]));
            let mut frame = OwnedArray::zeros(DType::Int16, &[2]).unwrap();
            file.read_part(0, &mut frame).unwrap();
            assert_eq!(frame.to_vec::<i16>().unwrap(), [9, -1], "{pattern}");
            let rows = Index::read(&folder.path().join(index)).unwrap().unwrap();
            let counts: Vec<u64> = rows.rows().iter().map(|row| row.count).collect();
            assert_eq!(counts, [9, 10, 11]);
        }
        let parts = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(
            parts,
            3 * 4,
            "three frames and an index each, nothing unfinished"
        );
    }

    #[test]
    fn what_exists_is_kept_unless_told_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let parameters = json!({"path": "frames.npy"});
        let mut first = sink(folder.path(), parameters.clone()).unwrap();
        consume(&mut *first, 1..=1).unwrap();
        first.close().unwrap();
        let mut second = sink(folder.path(), parameters).unwrap();
        let error = consume(&mut *second, 2..=2).unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
        let mut third = sink(
            folder.path(),
            json!({"path": "frames.npy", "overwrite": true}),
        )
        .unwrap();
        consume(&mut *third, 3..=3).unwrap();
        let mut reader = RecordingReader::open(&folder.path().join("frames.npy")).unwrap();
        assert_eq!(reader.read(0).unwrap().to_vec::<i16>().unwrap(), [3, -1]);
        let mut same = sink(folder.path(), json!({"path": "x{frame_id}.npy"})).unwrap();
        consume(&mut *same, 1..=1).unwrap();
        let error = consume(&mut *same, 1..=1).unwrap_err().to_string();
        assert!(error.contains("x101.npy exists already"), "{error}");
    }

    #[test]
    fn a_sink_that_starts_again_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["frames.fits", "each_{index:03}.npy"] {
            let parameters = json!({"path": path, "append": true, "limit": 5});
            for (first, last) in [(1, 3), (4, 9)] {
                let mut sink = sink(folder.path(), parameters.clone()).unwrap();
                consume(&mut *sink, first..=last).unwrap();
            }
        }
        let reader = RecordingReader::open(&folder.path().join("frames.fits")).unwrap();
        assert_eq!(reader.frames(), 5);
        let rows = Index::read(&folder.path().join("each.index.npy"))
            .unwrap()
            .unwrap();
        let counts: Vec<u64> = rows.rows().iter().map(|row| row.count).collect();
        assert_eq!(counts, [1, 2, 3, 4, 5]);
        assert!(folder.path().join("each_004.npy").exists());
        let both = json!({"path": "a.npy", "append": true, "overwrite": true});
        let problems = sink(folder.path(), both).err().unwrap();
        assert_eq!(problems[0].path, "parameters.append");
    }

    /// The context of a sink that is, or is not, started again.
    struct Context {
        is_restart: bool,
    }

    impl SinkContext for Context {
        fn stop_requested(&self) -> bool {
            false
        }

        fn is_restart(&self) -> bool {
            self.is_restart
        }

        fn now_ns(&self) -> u64 {
            0
        }

        fn sleep_until(&mut self, _deadline_ns: u64) -> bool {
            false
        }

        fn read_auxiliary(
            &mut self,
            _index: usize,
            _out: &mut ArrayMut<'_>,
        ) -> Result<Option<AuxiliaryFrame>, NodeError> {
            Ok(None)
        }

        fn write_output(
            &mut self,
            _index: usize,
            _options: PublishOptions,
            _fill: FillOutput<'_>,
        ) -> Result<Publication, NodeError> {
            Ok(Publication::default())
        }
    }

    /// Consumes `counts` after an open, and ends as if killed.
    fn run(
        folder: &Path,
        parameters: &serde_json::Value,
        is_restart: bool,
        counts: std::ops::RangeInclusive<u64>,
    ) -> Result<(), NodeError> {
        let mut sink = sink(folder, parameters.clone()).unwrap();
        sink.open(&mut Context { is_restart })?;
        consume(&mut *sink, counts)
    }

    #[test]
    fn a_restart_during_a_run_keeps_the_recording_whatever_a_start_does() {
        let folder = tempfile::tempdir().unwrap();
        let index = |name: &str| {
            let index = Index::read(&folder.path().join(name)).unwrap().unwrap();
            let rows = index.rows().iter();
            rows.map(|row| row.count).collect::<Vec<_>>()
        };
        for overwrite in [true, false] {
            for (path, found) in [
                (format!("all_{overwrite}.npy"), format!("all_{overwrite}")),
                (format!("{overwrite}_{{index}}.npy"), format!("{overwrite}")),
            ] {
                let found = format!("{found}.index.npy");
                let parameters = json!({"path": path, "overwrite": overwrite});
                let run = |is_restart, counts| run(folder.path(), &parameters, is_restart, counts);
                run(false, 1..=3).unwrap();
                run(true, 4..=5).unwrap();
                assert_eq!(index(&found), [1, 2, 3, 4, 5], "{path}");
                // Another run.
                let again = run(false, 6..=7);
                if overwrite {
                    again.unwrap();
                    assert_eq!(index(&found), [6, 7], "{path}");
                } else {
                    let error = again.unwrap_err().to_string();
                    assert!(error.contains("exists already"), "{error}");
                    assert_eq!(index(&found).len(), 5, "{path}");
                }
            }
        }
    }

    #[test]
    fn an_index_without_a_header_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("each.index.npy"), "").unwrap();
        run(
            folder.path(),
            &json!({"path": "each_{index}.npy"}),
            true,
            1..=2,
        )
        .unwrap();
        let index = Index::read(&folder.path().join("each.index.npy"));
        assert_eq!(index.unwrap().unwrap().rows().len(), 2);
    }

    #[test]
    fn wrong_parameters_are_all_told() {
        let told = |parameters| {
            let problems = sink(Path::new("/"), parameters).err().unwrap();
            problems
                .iter()
                .map(|one| format!("{}: {}", one.path, one.message))
                .collect::<Vec<_>>()
        };
        let all = told(json!({"path": "a.txt", "every": 0, "limit": -1, "overwrite": 1}));
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(all[0].contains("end with .npy, .fits"), "{all:?}");
        assert!(told(json!({}))[0].contains("'path'"));
        for (path, fragment) in [
            ("a{number}.npy", "none of {index}, {count} and {frame_id}"),
            ("a{index.npy", "no '}'"),
            ("a{index:x}.npy", "no number of digits"),
            ("a{index:99}.npy", "no number of digits"),
            ("a{index}{count}.npy", "more braces"),
        ] {
            let all = told(json!({ "path": path }));
            assert!(all[0].contains(fragment), "{path}: {all:?}");
        }
    }
}
