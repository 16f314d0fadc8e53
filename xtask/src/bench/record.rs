//! The findings as a file: everything somebody needs to believe them, or to measure again.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::environment::Environment;
use super::machine::Machine;
use super::rounds::Measured;
use super::statistics::Estimate;
use crate::cli::BenchOptions;

/// Writes the record and returns its path. Quick rounds are for trying things out: theirs does not
/// replace one that can be relied upon, nor does that of some of the tables one of all.
pub(super) fn write(
    options: &BenchOptions,
    environment: &Environment,
    machine: &Machine,
    measured: &[Measured<'_>],
) -> Result<String, String> {
    let suite = options.suite.name();
    let quick = if options.quick { " --quick" } else { "" };
    let (only, suffix) = match &options.only {
        Some(words) => (format!(" --only '{words}'"), "-only"),
        None => (String::new(), ""),
    };
    let folder = if options.quick || options.only.is_some() {
        environment.target_directory.join("bench")
    } else {
        Path::new("bench").join("results")
    };
    let record = json!({
        "command": format!("cargo xtask bench {suite}{quick}{only}"),
        "revision": environment.revision,
        "has_uncommitted_changes": environment.has_uncommitted_changes,
        "unix_time_s": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
        "machine": machine.to_json(),
        "versions": environment.versions(),
        "notes": environment.notes,
        "groups": measured.iter().map(group).collect::<Vec<_>>(),
    });
    let path = folder.join(format!("{suite}{suffix}.json"));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, format!("{record:#}\n")))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path.display().to_string())
}

fn group(measured: &Measured<'_>) -> Value {
    let group = measured.group;
    let series: Vec<Value> = group
        .series
        .iter()
        .zip(&measured.series)
        .map(|(series, outcome)| {
            let (rounds, skipped) = match outcome {
                Ok(answers) => (json!(answers), Value::Null),
                Err(reason) => (Value::Null, json!(reason)),
            };
            json!({
                "key": series.key,
                "program": format!("{:?}", series.program),
                "request": series.request,
                "rounds": rounds,
                "skipped": skipped,
            })
        })
        .collect();
    let rows: Vec<Value> = group
        .rows
        .iter()
        .map(|row| {
            let finding = measured.find(row);
            json!({
                "what": row.what,
                "is_payload_touched": row.is_payload_touched,
                "unit": row.unit,
                "ours": finding.ours.ok().map(estimate),
                "beside": finding.other.and_then(Result::ok).map(estimate),
                "which_is": row.other.map(|(_, name)| name),
                "ratio": finding.ratio.map(estimate),
                "goal": row.goal,
            })
        })
        .collect();
    let disturbances: Vec<Value> = measured
        .disturbances
        .iter()
        .map(|one| json!({"other_processes": one.others, "hypervisor": one.stolen}))
        .collect();
    json!({
        "name": group.name,
        "series": series,
        "processor_shares_of_others": disturbances,
        "rows": rows,
    })
}

fn estimate(estimate: Estimate) -> Value {
    json!({"median": estimate.median, "low": estimate.low, "high": estimate.high})
}
