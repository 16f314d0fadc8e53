//! `thalweg validate`: every problem of a configuration, without making anything.

use thalweg::pipeline::config;

use super::{Failed, load};
use crate::cli::ConfigArgument;

pub(crate) fn validate(argument: &ConfigArgument) -> Result<(), Failed> {
    let problems = match load(argument) {
        Ok(loaded) => config::validate(&loaded, &thalweg::registry()),
        Err(problems) => problems.0,
    };
    let subject = argument.config.as_ref().map_or_else(
        || "the built-in pipeline".to_owned(),
        |path| path.display().to_string(),
    );
    if problems.is_empty() {
        println!("Validation passed: {subject}");
        return Ok(());
    }
    println!("Validation failed: {subject}");
    for problem in problems {
        println!("- {problem}");
    }
    Err(Failed::silently(1))
}
