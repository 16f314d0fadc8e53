//! Workers run where their configuration says, as far as the system allows.

use thalweg::pipeline::runtime::PipelineError;
use thalweg_os::affinity::allowed_cpus;

use super::support::{Scratch, node, read_after, write};

fn yaml(root: &str, kernel: &str) -> String {
    format!(
        "
{root}
shared_memory:
  - {{name: in, shape: [2], dtype: float32}}
  - {{name: out, shape: [2], dtype: float32}}
kernels:
  - {{name: copy, kind: cpu.copy, input: in, output: out{kernel}}}
"
    )
}

/// The CPUs that the process may use, as the system lists them.
fn cpus_of(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("Cpus_allowed_list:"));
    line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_kernel_stays_on_its_cpu() {
    let scratch = Scratch::new();
    let last = *allowed_cpus().unwrap().last().unwrap();
    let mut pipeline = scratch.pipeline(&yaml("", &format!(", placement: {{cpus: {last}}}")));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let copy = node(&mut pipeline, "copy");
    assert_eq!(copy.placement.cpus, [last]);
    assert!(copy.placement.refused.is_empty());
    assert_eq!(cpus_of(copy.pid.unwrap()), last.to_string());
}

#[test]
fn nobody_is_placed_without_a_policy() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(&yaml("placement: {policy: none}", ""));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let copy = node(&mut pipeline, "copy");
    assert!(copy.placement.cpus.is_empty());
    assert_eq!(cpus_of(copy.pid.unwrap()), cpus_of(std::process::id()));
}

#[test]
fn what_the_system_refuses_is_shown_or_is_a_failure() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(&yaml("", ", placement: {cpus: 1000}"));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let refused = node(&mut pipeline, "copy").placement.refused;
    assert!(refused[0].contains("1000"), "{refused:?}");
    write(&pipeline.stream("in").unwrap(), &[1.0, 2.0], None);
    assert_eq!(
        read_after(&pipeline.stream("out").unwrap(), 0).0,
        [1.0, 2.0]
    );
    pipeline.shutdown(true, false);

    let strict = yaml("", ", placement: {cpus: 1000, strict: true}");
    let mut pipeline = scratch.pipeline(&strict);
    pipeline.build().unwrap();
    let error = pipeline.start().unwrap_err();
    assert!(matches!(error, PipelineError::Worker(_)), "{error}");
    assert!(error.to_string().contains("strict"), "{error}");
}
