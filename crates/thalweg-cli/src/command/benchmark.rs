//! `thalweg benchmark`: how fast and how late frames come out of a pipeline.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use thalweg::pipeline::config::{PipelineConfig, SourceConfig};
use thalweg::pipeline::runtime::{
    Distribution, PipelineState, Role, Status, StreamMeasurement, measure,
};
use thalweg::shm::Interrupt;
use thalweg_os::signal::StopSignals;

use super::run::{options, start};
use super::{Failed, load, tell};
use crate::cli::{BenchmarkArguments, ConfigArgument, SyntheticSource};
use crate::table::rate;

pub(crate) fn benchmark(arguments: &BenchmarkArguments) -> Result<(), Failed> {
    // Before any thread exists, so that every thread has the signals blocked.
    let signals = StopSignals::block().map_err(Failed::because)?;
    match run(arguments, &signals) {
        Err(Failed {
            message: Some(message),
            status,
        }) => Err(Failed {
            message: Some(format!("Benchmark failed: {message}")),
            status,
        }),
        other => other,
    }
}

fn run(arguments: &BenchmarkArguments, signals: &StopSignals) -> Result<(), Failed> {
    let mut config = load(&ConfigArgument {
        config: arguments.config.clone(),
    })
    .map_err(Failed::because)?;
    if let Some(source) = &arguments.source {
        add_source(&mut config, source)?;
    }
    let output = output_of(&config, arguments.output_stream.as_deref())?;
    let options = options(&config)?;
    let mut pipeline = start(config, options)?;
    let stream = pipeline.stream(&output).ok_or_else(|| {
        // It was looked up in the configuration just before.
        Failed::because(format!("the pipeline has no stream {output:?}"))
    })?;
    let interrupted = std::cell::Cell::new(false);
    let interrupt = || {
        interrupted.set(interrupted.get() || signals.take().is_some());
        interrupted.get()
    };
    let measured = measure(
        &stream,
        Duration::from_secs_f64(arguments.warmup),
        Duration::from_secs_f64(arguments.duration),
        &interrupt as Interrupt<'_>,
    );
    let status = pipeline.status();
    let failed = pipeline.state() == PipelineState::Failed;
    let failures: Vec<String> = pipeline
        .failures()
        .iter()
        .map(ToString::to_string)
        .collect();
    pipeline.shutdown(true, false);
    if interrupted.get() {
        return Err(Failed::silently(Failed::INTERRUPTED));
    }
    if failed {
        return Err(Failed::because(failures.join("\n")));
    }
    let measured = measured.map_err(Failed::because)?;
    if arguments.json {
        tell(format_args!("{:#}", report(&output, &measured, &status)))
    } else {
        tell(text(&output, &measured))
    }
}

/// Has a test pattern written to a stream that nobody else writes.
fn add_source(config: &mut PipelineConfig, source: &SyntheticSource) -> Result<(), Failed> {
    let SyntheticSource {
        stream,
        pattern,
        rate_hz,
    } = source;
    if config.stream(stream).is_none() {
        let known: Vec<&str> = config.streams.iter().map(|one| one.name.as_str()).collect();
        return Err(Failed::because(format!(
            "--source names the stream `{stream}`, which the pipeline does not have; it has {}",
            known.join(", ")
        )));
    }
    let mut source = SourceConfig::new(
        format!("synthetic:{stream}"),
        "synthetic.array",
        [stream.as_str()],
    );
    source
        .parameters
        .insert("pattern".to_owned(), json!(pattern));
    if let Some(rate_hz) = rate_hz {
        source
            .parameters
            .insert("rate_hz".to_owned(), json!(rate_hz));
    }
    config.sources.push(source);
    Ok(())
}

/// Where to look: where the pipeline ends, if that is one place.
fn output_of(config: &PipelineConfig, wanted: Option<&str>) -> Result<String, Failed> {
    if let Some(wanted) = wanted {
        if config.stream(wanted).is_some() {
            return Ok(wanted.to_owned());
        }
        let known: Vec<&str> = config.streams.iter().map(|one| one.name.as_str()).collect();
        return Err(Failed::because(format!(
            "--output-stream names `{wanted}`, which the pipeline does not have; it has {}",
            known.join(", ")
        )));
    }
    let read: BTreeSet<&str> = config
        .kernels
        .iter()
        .flat_map(|kernel| {
            let auxiliary = kernel.auxiliary.iter().map(|binding| &binding.stream);
            kernel.inputs.iter().chain(auxiliary)
        })
        .map(String::as_str)
        .collect();
    let consumed: BTreeSet<&str> = config
        .sinks
        .iter()
        .map(|sink| sink.stream.as_str())
        .collect();
    let written: Vec<&str> = config
        .kernels
        .iter()
        .filter_map(|kernel| kernel.outputs.first())
        .map(String::as_str)
        .collect();
    let is_end = |stream: &&&str| !read.contains(**stream) && !consumed.contains(**stream);
    let mut ends: Vec<&str> = written.iter().filter(is_end).copied().collect();
    if ends.is_empty() {
        // A pipeline that ends in sinks is measured where its last stages write.
        ends = written
            .iter()
            .filter(|stream| consumed.contains(**stream))
            .copied()
            .collect();
    }
    if ends.is_empty() {
        ends = consumed.into_iter().collect();
    }
    match ends.as_slice() {
        [end] => Ok((*end).to_owned()),
        [] => Err(Failed::because(
            "nothing comes out of this pipeline; name a stream with --output-stream",
        )),
        many => Err(Failed::because(format!(
            "the pipeline ends in {} streams, {}; choose one with --output-stream",
            many.len(),
            many.join(", ")
        ))),
    }
}

fn report(output: &str, measured: &StreamMeasurement, status: &Status) -> Json {
    let workers: Map<String, Json> = status
        .nodes
        .iter()
        .filter(|node| node.role == Role::Kernel)
        .map(|node| {
            let entry = json!({
                "avg_exec_ms": node.execution.mean_ns.map(|mean_ns| mean_ns * 1e-6),
                "p50_exec_ms": node.execution.p50_ns.map(|p50_ns| p50_ns as f64 * 1e-6),
                "p99_exec_ms": node.execution.p99_ns.map(|p99_ns| p99_ns as f64 * 1e-6),
                "throughput_hz": node.rate_hz,
                "missed_inputs": node.missed,
            });
            (node.name.clone(), entry)
        })
        .collect();
    json!({
        "output_stream": output,
        "duration_s": measured.elapsed_s,
        "frames": measured.frames,
        "throughput_hz": throughput_hz(measured),
        "inter_arrival_ms": measured.interval_ms,
        "latency_ms": measured.latency_ms,
        "workers": workers,
    })
}

fn throughput_hz(measured: &StreamMeasurement) -> f64 {
    measured.frames as f64 / measured.elapsed_s
}

fn text(output: &str, measured: &StreamMeasurement) -> String {
    let in_words = |distribution: &Distribution| match distribution.values {
        Some(values) => format!(
            "p50 {:.4} ms, p90 {:.4} ms, p99 {:.4} ms, max {:.4} ms",
            values.p50, values.p90, values.p99, values.max
        ),
        None => "unknown".to_owned(),
    };
    format!(
        "output stream: {output}\nframes: {} in {:.2} s, {}\ninterval: {}\nlatency: {}",
        measured.frames,
        measured.elapsed_s,
        rate(throughput_hz(measured)),
        in_words(&measured.interval_ms),
        in_words(&measured.latency_ms),
    )
}
