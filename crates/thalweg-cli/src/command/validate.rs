//! `thalweg validate`: every problem of a configuration, without making anything.

use serde_json::json;
use thalweg::pipeline::config::{self, Diagnostic};
use thalweg::pipeline::runtime::Plan;

use super::{Failed, read, tell};
use crate::cli::ValidateArguments;
use crate::plugins;

pub(crate) fn validate(arguments: &ValidateArguments) -> Result<(), Failed> {
    let reading = read(&arguments.config);
    let registry = thalweg::registry();
    let plugins = reading
        .config
        .as_ref()
        .map(|config| plugins::find(config, &registry));
    let plugins = plugins.unwrap_or_default();
    let is_hosted = |name: &str| plugins.hosts.contains_key(name);
    let mut diagnostics = config::check_hosted(&reading, &registry, &is_hosted);
    diagnostics.extend(plugins.problems);
    if let Some(config) = &reading.config {
        diagnostics.extend(Plan::new(config).err().into_iter().flatten());
    }
    let is_bad = |it: &Diagnostic| arguments.strict || it.is_error();
    let is_valid = !diagnostics.iter().any(is_bad);
    let config = arguments.config.config.as_ref();
    let subject = config.map_or_else(
        || "the built-in pipeline".to_owned(),
        |path| path.display().to_string(),
    );
    if arguments.json {
        let report = json!({
            "valid": is_valid,
            "config": subject,
            "diagnostics": diagnostics,
        });
        tell(format_args!("{report:#}"))?;
    } else {
        let verdict = if is_valid { "passed" } else { "failed" };
        let lines = diagnostics.iter().map(|it| format!("\n- {it}"));
        let lines: String = lines.collect();
        tell(format_args!("Validation {verdict}: {subject}{lines}"))?;
    }
    if is_valid {
        Ok(())
    } else {
        Err(Failed::silently(1))
    }
}
