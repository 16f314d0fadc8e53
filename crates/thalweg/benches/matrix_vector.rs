//! How fast `cpu.affine_transform` multiplies, beside how fast one core can read.
//!
//! Reads requests from standard input, one per line, and answers each with a line `ok name=value …`
//! or `error: …`. The matrix is the newest frame of a stream, so that others can multiply the very
//! same memory. `cargo xtask bench pipeline` asks.
//!
//! ```text
//! create STREAM ROWS COLUMNS    make the stream and its matrix
//! read ROUNDS                   the best of several ways to read as much private memory
//! multiply STORAGE COUNT        one thread; STORAGE is source, float16 or bfloat16
//! close                         remove the stream
//! ```
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use thalweg::kernels::matrix_vector::read_limit;
use thalweg::kernels::node::{Auxiliary, FrameInputs, NodeSpec, StreamSpec};
use thalweg::kernels::registry::{NodeBuilder, NodeRole};
use thalweg::{
    ArrayMut, ArrayRef, DType, Frame, Kernel, Parameters, Patience, PublishOptions, Stream,
    StreamOptions,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const KIND: &str = "cpu.affine_transform";

fn main() -> ExitCode {
    match answer_requests() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "matrix_vector: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn answer_requests() -> io::Result<()> {
    let mut subject = None;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let answer = match answer(&mut subject, &line) {
            Ok(answer) => format!("ok {answer}"),
            Err(error) => format!("error: {error}").replace('\n', "; "),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(subject: &mut Option<Subject>, line: &str) -> Outcome<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let ["create", stream, rows, columns] = words[..] {
        *subject = None;
        *subject = Some(Subject::create(stream, rows.parse()?, columns.parse()?)?);
        return Ok(String::new());
    }
    let made = subject.as_mut().ok_or("`create` comes first")?;
    match words[..] {
        ["read", rounds] => Ok(made.read(rounds.parse()?)),
        ["multiply", storage, count] => made.multiply(storage, count.parse()?),
        ["close"] => {
            *subject = None;
            Ok(String::new())
        }
        _ => Err(format!("unknown request `{line}`").into()),
    }
}

/// A matrix in a stream, and the same numbers in private memory.
struct Subject {
    stream: Stream,
    frame: Frame,
    numbers: Vec<f32>,
    rows: usize,
    columns: usize,
    /// The kernel of the storage that was asked for last.
    kernel: Option<(String, Box<dyn Kernel>)>,
}

impl Subject {
    fn create(name: &str, rows: usize, columns: usize) -> Outcome<Self> {
        let options = StreamOptions {
            ends_with_creator: true,
            ..StreamOptions::new(DType::Float32, &[rows, columns])
        };
        let stream = Stream::create(name, &options)?;
        let numbers: Vec<f32> = (0..rows * columns).map(number).collect();
        let array = ArrayRef::from_slice(&numbers, stream.shape());
        stream.write(array, PublishOptions::default(), Patience::ENDLESS)?;
        let frame = stream.borrow()?;
        Ok(Self {
            stream,
            frame,
            numbers,
            rows,
            columns,
            kernel: None,
        })
    }

    fn read(&self, rounds: usize) -> String {
        let limit = read_limit(&self.numbers, self.columns, rounds);
        format!(
            "p50_us={:.3} gb_per_s={:.3} per_s={:.1} streams={}",
            limit.pass.as_secs_f64() * 1e6,
            limit.bytes_per_second * 1e-9,
            1.0 / limit.pass.as_secs_f64(),
            limit.streams
        )
    }

    fn multiply(&mut self, storage: &str, count: usize) -> Outcome<String> {
        let kernel = match self.kernel.take() {
            Some((known, kernel)) if known == storage => kernel,
            _ => self.build(storage)?,
        };
        let (_, kernel) = self.kernel.insert((storage.to_owned(), kernel));

        let vector: Vec<f32> = (0..self.columns).map(number).collect();
        let bias = vec![0.0f32; self.rows];
        let mut product = vec![0.0f32; self.rows];
        let (columns, rows) = ([self.columns], [self.rows]);
        let triggers = [ArrayRef::from_slice(&vector, &columns)];
        let auxiliary = [self.frame.array(), ArrayRef::from_slice(&bias, &rows)];
        let inputs = FrameInputs {
            triggers: &triggers,
            auxiliary: &auxiliary,
            frame_id: 0,
        };
        let mut outputs = [ArrayMut::from_slice(&mut product, &rows)];
        let mut durations = Vec::with_capacity(count);
        for _ in 0..(count / 10).max(1) {
            kernel.compute(&inputs, &mut outputs)?;
        }
        for _ in 0..count.max(1) {
            let began = Instant::now();
            kernel.compute(&inputs, &mut outputs)?;
            durations.push(began.elapsed());
        }
        durations.sort_unstable();
        let median_s = durations[durations.len() / 2].as_secs_f64();
        Ok(format!(
            "p50_us={:.3} gb_per_s={:.3}",
            median_s * 1e6,
            size_of_val(&self.numbers[..]) as f64 * 1e-9 / median_s
        ))
    }

    fn build(&self, storage: &str) -> Outcome<Box<dyn Kernel>> {
        let registry = thalweg::registry();
        let definition = registry.get(NodeRole::Kernel, KIND);
        let Some(NodeBuilder::Kernel(build)) = definition.map(|found| &found.builder) else {
            return Err(format!("{KIND} is no kernel").into());
        };
        let stream = |name: &str, shape: &[usize]| StreamSpec {
            name: name.to_owned(),
            dtype: DType::Float32,
            shape: shape.to_owned(),
        };
        let auxiliary = |name: &str, shape: &[usize]| Auxiliary {
            alias: name.to_owned(),
            stream: stream(name, shape),
        };
        let spec = NodeSpec {
            name: "product".to_owned(),
            kind: KIND.to_owned(),
            inputs: vec![stream("vector", &[self.columns])],
            any_trigger: false,
            auxiliary: vec![
                auxiliary("matrix", &[self.rows, self.columns]),
                auxiliary("bias", &[self.rows]),
            ],
            outputs: vec![stream("product", &[self.rows])],
            operation: None,
            parameters: Parameters::from_iter([("matrix_storage".to_owned(), storage.into())]),
            base_dir: std::path::PathBuf::new(),
        };
        let mut kernel = build(&spec).map_err(|problems| {
            let messages = problems.into_iter().map(|problem| problem.message);
            messages.collect::<Vec<_>>().join("; ")
        })?;
        if let Some(mut preparer) = kernel.preparer(0) {
            kernel.install(0, preparer.prepare(self.frame.array())?);
        }
        Ok(kernel)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // What cannot be removed now is debris for the next purge.
        self.stream.unlink().ok();
    }
}

/// Numbers between -1 and 1 that follow no pattern (splitmix64).
fn number(index: usize) -> f32 {
    let mut word = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((word >> 40) as f32 / (1u32 << 23) as f32) - 1.0
}
