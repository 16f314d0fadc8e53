//! Frame sets, recordings of them, and what is played again.

use std::path::Path;
use std::time::Duration;

use thalweg::kernels::files::RecordingReader;
use thalweg::pipeline::runtime::{Health, Pipeline};

use super::support::{Scratch, WATCHDOG, kill, node, read_after, wait_until, write};

/// Two cameras of which every fourth frame is lost, each recorded.
fn two_cameras(folder: &Path, limit: &str) -> String {
    let folder = folder.display();
    format!(
        "
shared_memory:
  - {{name: left, shape: [4], dtype: float32}}
  - {{name: right, shape: [2, 3], dtype: float32}}
sources:
  - name: cameras
    kind: synthetic.frame_set
    streams: [left, right]
    parameters: {{pattern: ramp, period: 1000000, amplitude: 999999, rate_hz: 300, jitter_us: 500, drop_probability: 0.25}}
sinks:
  - {{name: keep_left, kind: file.sink, stream: left, parameters: {{path: {folder}/left.npy, limit: {limit}}}}}
  - {{name: keep_right, kind: file.sink, stream: right, parameters: {{path: {folder}/right.fits, limit: {limit}}}}}
"
    )
}

fn figure(pipeline: &mut Pipeline, name: &str, figure: &str) -> f64 {
    let node = node(pipeline, name);
    let found = node.figures.iter().find(|one| one.name == figure);
    found.map_or(0.0, |one| one.value)
}

/// Every frame is that of the generation its id says.
fn check_frames(path: &Path) -> Vec<u64> {
    let mut reader = RecordingReader::open(path).unwrap();
    let mut ids = Vec::new();
    for frame in 0..reader.frames() {
        let publication = reader.publication(frame).unwrap();
        assert!(publication.origin_ns > 0 && publication.publish_ns >= publication.origin_ns);
        assert!(publication.wall_ns > 0);
        let elements = reader.read(frame).unwrap().to_vec::<f32>().unwrap();
        let first = (publication.frame_id - 1) as f32;
        for (index, element) in elements.iter().enumerate() {
            assert_eq!(
                *element,
                first + index as f32,
                "frame {frame} of {}",
                path.display()
            );
        }
        ids.push(publication.frame_id);
    }
    assert!(
        ids.is_sorted() && ids.windows(2).all(|two| two[0] < two[1]),
        "{ids:?}"
    );
    ids
}

#[test]
fn a_recording_is_played_again_step_by_step_with_its_ids() {
    let scratch = Scratch::new();
    let files = tempfile::tempdir().unwrap();
    let mut pipeline = scratch.pipeline(&two_cameras(files.path(), "25"));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    wait_until(&mut pipeline, "25 frames in both files", |pipeline| {
        ["keep_left", "keep_right"].map(|sink| figure(pipeline, sink, "written")) == [25.0; 2]
    });
    assert!(figure(&mut pipeline, "cameras", "drops_left") > 0.0);
    assert!(figure(&mut pipeline, "cameras", "max_skew_us") > 0.0);
    pipeline.stop(WATCHDOG).unwrap();
    pipeline.shutdown(true, false);
    let ids = check_frames(&files.path().join("left.npy"));
    let right = check_frames(&files.path().join("right.fits"));
    assert_eq!((ids.len(), right.len()), (25, 25));
    // Lost frames leave gaps; both cameras saw some generations.
    assert!(ids.iter().any(|id| right.contains(id)));

    let again = format!(
        "
shared_memory:
  - {{name: clock, shape: [1], dtype: float32}}
  - {{name: frames, shape: [4], dtype: float32}}
sources:
  - name: player
    kind: replay.file
    stream: frames
    auxiliary: {{step: clock}}
    parameters: {{path: {}/left.npy}}
",
        files.path().display()
    );
    let mut pipeline = scratch.pipeline(&again);
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let clock = pipeline.stream("clock").unwrap();
    let frames = pipeline.stream("frames").unwrap();
    for (index, &id) in ids.iter().enumerate() {
        assert_eq!(frames.count(), index as u64, "no frame without a step");
        write(&clock, &[0.0], None);
        let (elements, frame_id) = read_after(&frames, index as u64);
        assert_eq!((frame_id, elements[0]), (id, (id - 1) as f32));
    }
    wait_until(&mut pipeline, "the end of the recording", |pipeline| {
        node(pipeline, "player").health == Health::Finished
    });
    pipeline.shutdown(true, false);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn what_a_killed_sink_leaves_is_readable() {
    let scratch = Scratch::new();
    let files = tempfile::tempdir().unwrap();
    let mut pipeline = scratch.pipeline(&two_cameras(files.path(), "null"));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    for sink in ["keep_left", "keep_right"] {
        wait_until(&mut pipeline, "some frames", |pipeline| {
            figure(pipeline, sink, "written") > 5.0
        });
        kill(&mut pipeline, sink);
        wait_until(&mut pipeline, "the end of the sink", |pipeline| {
            node(pipeline, sink).health == Health::Failed
        });
    }
    pipeline.shutdown(true, false);
    for name in ["left.npy", "right.fits"] {
        assert!(check_frames(&files.path().join(name)).len() > 5);
    }
}

#[test]
fn a_file_in_the_way_ends_the_start() {
    let scratch = Scratch::new();
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("left.npy"), "mine").unwrap();
    let mut pipeline = scratch.pipeline(&two_cameras(files.path(), "null"));
    pipeline.build().unwrap();
    let error = pipeline.start().unwrap_err().to_string();
    assert!(error.contains("left.npy exists already"), "{error}");
    assert_eq!(
        std::fs::read(files.path().join("left.npy")).unwrap(),
        b"mine"
    );
    pipeline.stop(Duration::from_secs(60)).ok();
    pipeline.shutdown(true, false);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}
