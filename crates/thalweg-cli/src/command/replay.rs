//! `thalweg replay`: a recording into a stream, with the ids it was recorded with.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use thalweg::kernels::files::RecordingReader;
use thalweg::pipeline::config::PipelineConfig;
use thalweg::pipeline::runtime::{Pipeline, PipelineState};
use thalweg::{ArrayRef, Patience, PublishOptions, Stream};
use thalweg_os::signal::StopSignals;

use super::Failed;
use super::run::{options, start};
use crate::cli::ReplayArguments;

/// How often the end is looked for, if nothing happens to the worker.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) fn replay(arguments: &ReplayArguments) -> Result<(), Failed> {
    let signals = StopSignals::block().map_err(Failed::because)?;
    let recording = RecordingReader::open(&arguments.file).map_err(Failed::because)?;
    let config = configuration(arguments, &recording)?;
    let options = options(&config)?;
    let mut pipeline = start(config, options)?;
    if arguments.step
        && let Some(step) = pipeline.stream(&step_name(&arguments.stream))
    {
        release_by_lines(step)?;
    }
    let end = until_end(&mut pipeline, &signals);
    let frames = pipeline.status().completed_frames();
    pipeline.shutdown(true, false);
    eprintln!(
        "replayed {frames} frames of {} into {:?}",
        arguments.file.display(),
        arguments.stream
    );
    end
}

/// A pipeline of one source.
fn configuration(
    arguments: &ReplayArguments,
    recording: &RecordingReader,
) -> Result<PipelineConfig, Failed> {
    // Relative to where the user is.
    let path = std::path::absolute(&arguments.file).map_err(Failed::because)?;
    let mut parameters = json!({"path": path.display().to_string(), "loop": arguments.repeat});
    let mut streams = vec![json!({
        "name": arguments.stream,
        "shape": recording.frame_shape(),
        "dtype": recording.dtype().name(),
    })];
    let mut source = json!({
        "name": "replay",
        "kind": "replay.file",
        "stream": arguments.stream,
    });
    if arguments.step {
        let step = step_name(&arguments.stream);
        source["auxiliary"] = json!({"step": step});
        streams.push(json!({"name": step, "shape": [1], "dtype": "uint8"}));
    } else if let Some(rate_hz) = arguments.rate {
        parameters["rate_hz"] = json!(rate_hz);
    } else if !arguments.fast && recording.publication(0).is_some() {
        parameters["timing"] = json!("recorded");
    }
    source["parameters"] = parameters;
    let document: Json = json!({"shared_memory": streams, "sources": [source]});
    PipelineConfig::from_json(&document, Path::new("/")).map_err(Failed::because)
}

fn step_name(stream: &str) -> String {
    format!("{stream}.step")
}

/// Every line on standard input releases a frame.
fn release_by_lines(step: Arc<Stream>) -> Result<(), Failed> {
    eprintln!("every line on standard input releases a frame");
    let release = move || {
        for line in std::io::stdin().lock().lines() {
            let released = line.is_ok_and(|_line| {
                let element = ArrayRef::from_slice(&[1u8], &[1]);
                // Fails when the replay is over.
                step.write(element, PublishOptions::default(), Patience::ENDLESS)
                    .is_ok()
            });
            if !released {
                return;
            }
        }
    };
    // Ends with the process: a read of a terminal has nobody else to end it.
    std::thread::Builder::new()
        .name("steps".to_owned())
        .spawn(release)
        .map(drop)
        .map_err(Failed::because)
}

fn until_end(pipeline: &mut Pipeline, signals: &StopSignals) -> Result<(), Failed> {
    loop {
        if signals.take().is_some() {
            return Err(Failed::silently(Failed::INTERRUPTED));
        }
        if pipeline.state() == PipelineState::Failed {
            let failures = pipeline.failures().iter().map(ToString::to_string);
            return Err(Failed::because(failures.collect::<Vec<_>>().join("\n")));
        }
        if pipeline.is_drained() {
            return Ok(());
        }
        pipeline.wait_for_change(LOOK);
    }
}
