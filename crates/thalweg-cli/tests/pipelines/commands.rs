//! The verbs that look at running pipelines.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use thalweg_os::clock::{deadline_after, monotonic_ns};

use super::support::{Scratch, WATCHDOG};

const YAML: &str = "
shared_memory:
  - {name: camera, shape: [8, 8], dtype: float32}
  - {name: result, shape: [8, 8], dtype: float32}
sources:
  - {name: pattern, kind: synthetic.array, stream: camera, parameters: {rate_hz: 500}}
kernels:
  - {name: scale, kind: cpu.scale, input: camera, output: result, parameters: {factor: 2}}
sinks:
  - {name: drop, kind: null.sink, stream: result}
";

fn thalweg(scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command
        .args(arguments)
        .env("THALWEG_SHM_DIR", scratch.path())
        .stdin(Stdio::null());
    command
}

fn output(scratch: &Scratch, arguments: &[&str]) -> Output {
    thalweg(scratch, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn written(folder: &Path, yaml: &str) -> PathBuf {
    let path = folder.join("pipeline.yaml");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    path
}

/// Ends the command at the end of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        )
        .ok();
        self.0.wait().ok();
    }
}

#[test]
fn top_shows_the_stages_of_other_processes_runs() {
    let scratch = Scratch::new();
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), YAML);
    let nobody = output(&scratch, &["top", "--once"]);
    assert!(nobody.status.success());
    assert_eq!(text(&nobody.stdout), "no pipeline is running\n");
    let wrong = output(&scratch, &["top", "--once", "1"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("process 1 runs no pipeline"));

    let mut command = thalweg(&scratch, &["run", path.to_str().unwrap()]);
    let running = Running(
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let end_ns = deadline_after(WATCHDOG);
    let run = loop {
        assert!(monotonic_ns() < end_ns, "the run never showed frames");
        let shown = output(
            &scratch,
            &["top", "--json", "--interval", "0.05", "-n", "2"],
        );
        assert!(shown.status.success());
        let last: Value =
            serde_json::from_str(text(&shown.stdout).lines().last().unwrap()).unwrap();
        let run = last["runs"][0].clone();
        let is_busy = |node: &Value| node["rate_hz"].as_f64().unwrap() > 0.0;
        let nodes = run["status"]["nodes"].as_array();
        if nodes.is_some_and(|nodes| nodes.len() == 3 && nodes.iter().all(is_busy)) {
            break run;
        }
    };
    assert_eq!(run["pid"], running.0.id());
    assert_eq!(run["label"], path.to_str().unwrap());
    assert_eq!(run["status"]["state"], "running");
    let scale = &run["status"]["nodes"][1];
    assert_eq!(scale["name"], "scale");
    assert_eq!(scale["health"], "active");
    assert!(scale["latency"]["p50_ns"].as_u64().unwrap() > 0);
    assert!(!scale["latency"]["octaves"].as_array().unwrap().is_empty());

    let pid = running.0.id().to_string();
    let table = output(&scratch, &["top", "--once", &pid]);
    let table = text(&table.stdout);
    for expected in ["pattern", "scale", "drop", "latency p99", "active"] {
        assert!(table.contains(expected), "{table}");
    }
}

#[test]
fn benchmark_reports_rate_and_true_latency() {
    let scratch = Scratch::new();
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), YAML);
    let path = path.to_str().unwrap();
    let arguments = [
        "benchmark",
        path,
        "--duration",
        "0.5",
        "--warmup",
        "0.1",
        "--json",
    ];
    let done = output(&scratch, &arguments);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["output_stream"], "result");
    assert!(report["frames"].as_u64().unwrap() > 0);
    assert!(report["throughput_hz"].as_f64().unwrap() > 0.0);
    assert!(report["latency_ms"]["p99"].as_f64().unwrap() > 0.0);
    assert!(report["inter_arrival_ms"]["p50"].as_f64().unwrap() > 0.0);
    assert!(report["workers"]["scale"]["avg_exec_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn benchmark_drives_a_stream_by_itself() {
    let scratch = Scratch::new();
    let folder = tempfile::tempdir().unwrap();
    let yaml = YAML.replace(
        "  - {name: pattern, kind: synthetic.array, stream: camera, parameters: {rate_hz: 500}}\n",
        "",
    );
    let path = written(folder.path(), &yaml.replace("sources:\n", ""));
    let path = path.to_str().unwrap();
    let mut arguments = vec![
        "benchmark",
        path,
        "--duration",
        "0.3",
        "--source",
        "camera:ramp:1000",
    ];
    let done = output(&scratch, &arguments);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let lines: Vec<&str> = text(&done.stdout).lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0], "output stream: result");
    assert!(lines[3].starts_with("latency: p50 "), "{lines:?}");

    arguments[5] = "nothing:ramp";
    let failed = output(&scratch, &arguments);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("Benchmark failed: --source names"));
    arguments[5] = "camera";
    let wrong = output(&scratch, &arguments);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("STREAM:PATTERN[:RATE_HZ]"));
}

#[test]
fn a_recording_comes_back_with_its_ids() {
    let scratch = Scratch::new();
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), YAML);
    let mut command = thalweg(&scratch, &["run", path.to_str().unwrap()]);
    let running = Running(
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let end_ns = deadline_after(WATCHDOG);
    while scratch.directory().open("result").is_err() {
        assert!(monotonic_ns() < end_ns, "the run never made its streams");
        std::thread::yield_now();
    }
    let file = folder.path().join("result.fits");
    let file = file.to_str().unwrap();
    let recorded = output(
        &scratch,
        &[
            "record",
            "result",
            "-o",
            file,
            "--frames",
            "20",
            "--lossless",
        ],
    );
    assert!(recorded.status.success(), "{}", text(&recorded.stderr));
    assert!(text(&recorded.stderr).starts_with("recorded 20 frames"));
    let again = output(&scratch, &["record", "result", "-o", file, "--frames", "1"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("exists already"));
    drop(running);

    let mut reader = thalweg::kernels::files::RecordingReader::open(Path::new(file)).unwrap();
    assert_eq!((reader.frames(), reader.frame_shape()), (20, &[8, 8][..]));
    let first = reader.publication(0).unwrap();
    let last = reader.publication(19).unwrap();
    assert_eq!(last.count, first.count + 19, "no frame is missing");
    let recorded_frame: Vec<f32> = reader.read(7).unwrap().to_vec().unwrap();

    // Step by step, so that every frame can be looked at.
    let mut replay = thalweg(&scratch, &["replay", file, "again", "--step"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = replay.stdin.take().unwrap();
    while scratch.directory().open("again").is_err() {
        assert!(monotonic_ns() < end_ns, "the replay never made its stream");
        std::thread::yield_now();
    }
    let stream = scratch.directory().open("again").unwrap();
    for _ in 0..8 {
        lines.write_all(b"\n").unwrap();
    }
    stream
        .wait_after(7, thalweg::WaitPolicy::Park, super::support::soon())
        .unwrap();
    let frame = stream.borrow().unwrap();
    assert_eq!(
        frame.publication().frame_id,
        reader.publication(7).unwrap().frame_id
    );
    assert_eq!(frame.array().to_vec::<f32>().unwrap(), recorded_frame);
    drop(frame);
    for _ in 8..20 {
        lines.write_all(b"\n").unwrap();
    }
    assert!(replay.wait().unwrap().success());
}

#[test]
fn one_slow_frame_is_waited_for() {
    let scratch = Scratch::new();
    let folder = tempfile::tempdir().unwrap();
    let yaml = "
shared_memory:
  - {name: camera, shape: [8, 8], dtype: float32}
sources:
  - {name: pattern, kind: replay.file, stream: camera, parameters: {path: one.npy}}
sinks:
  - {name: actuator, kind: null.sink, stream: camera, parameters: {device_delay_s: 1.5}}
";
    let path = written(folder.path(), yaml);
    let mut recording = thalweg::kernels::files::RecordingWriter::create(
        &folder.path().join("one.npy"),
        "camera",
        thalweg::shm::DType::Float32,
        &[8, 8],
        false,
    )
    .unwrap();
    let frame = thalweg::ArrayRef::from_slice(&[1.0f32; 64], &[8, 8]);
    recording
        .append(frame, &thalweg::Publication::default())
        .unwrap();
    recording.finish().unwrap();
    let done = output(&scratch, &["run", path.to_str().unwrap(), "--json"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let status: Value = serde_json::from_slice(&done.stdout).unwrap();
    let nodes = status["nodes"].as_array().unwrap();
    let actuator = nodes
        .iter()
        .find(|node| node["name"] == "actuator")
        .unwrap();
    assert_eq!(actuator["frames"], 1, "{actuator}");
}

#[test]
fn children_that_nobody_may_wait_for_are_watched_all_the_same() {
    let scratch = Scratch::new();
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), YAML);
    // The disposition of SIGCHLD survives exec.
    let program = env!("CARGO_BIN_EXE_thalweg");
    let script = format!(
        "import signal, os; signal.signal(signal.SIGCHLD, signal.SIG_IGN); \
         os.execv('{program}', ['thalweg', 'run', '{}', '--duration', '0.3'])",
        path.display()
    );
    let began_ns = monotonic_ns();
    let done = Command::new("python3")
        .args(["-c", &script])
        .env("THALWEG_SHM_DIR", scratch.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    // Without it every end is only found out after the longest time that a kill may take.
    assert!(
        monotonic_ns() - began_ns < 10_000_000_000,
        "ends were overlooked"
    );
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}
