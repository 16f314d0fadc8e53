//! `thalweg validate`: every problem of a configuration, without making anything.

use thalweg::pipeline::config;
use thalweg::pipeline::runtime::Plan;

use super::{Failed, load};
use crate::cli::ConfigArgument;

pub(crate) fn validate(argument: &ConfigArgument) -> Result<(), Failed> {
    let problems = match load(argument) {
        Ok(loaded) => {
            let mut problems = config::validate(&loaded, &thalweg::registry());
            problems.extend(Plan::new(&loaded).err().into_iter().flatten());
            problems
        }
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
