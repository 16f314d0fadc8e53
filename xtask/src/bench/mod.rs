//! `cargo xtask bench`: thalweg beside what the machine can do and beside today's libraries.
//!
//! Everything that is compared runs in one session, in alternating rounds, on optimised builds;
//! what is reported is the median of the ratios of the rounds. [`suites`] says what is compared,
//! [`rounds`] how; the measured programs are the benchmarks of the crates and the scripts in
//! `bench/`. Nothing is asserted: a figure is information, not a verdict.

mod environment;
mod goal;
mod group;
mod machine;
mod page;
mod party;
mod plots;
mod record;
mod rounds;
mod statistics;
mod suites;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::{BenchOptions, Suite};
use environment::Environment;
use group::Group;
use machine::Machine;
use party::Parties;
use rounds::Measured;
use suites::Effort;

/// Measures a suite, prints its table and writes its record.
pub(crate) fn run(options: &BenchOptions) -> ExitCode {
    match measure(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &BenchOptions) -> Result<(), String> {
    let effort = Effort::new(options.quick);
    let mut groups: Vec<Group> = match options.suite {
        Suite::Streams => suites::streams(effort),
        Suite::Pipeline => suites::pipeline(effort),
        Suite::Plots => return plots::make(options.quick),
    };
    if let Some(words) = &options.only {
        keep_only(&mut groups, words)?;
    }
    let environment = Environment::prepare(options.suite)?;
    for note in &environment.notes {
        eprintln!("note: {note}");
    }
    let machine_before = Machine::look();

    let mut measured = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        eprintln!("==> [{}/{}] {}", index + 1, groups.len(), group.name);
        // A fresh set for each group: what one leaves running would disturb the next.
        let mut parties = Parties::new(&environment);
        measured.push(rounds::measure(group, &mut parties));
    }

    let path = record::write(options, &environment, &machine_before, &measured)?;
    print(&measured, &machine_before)?;
    eprintln!("written to {path}");
    Ok(())
}

/// Keeps the groups whose names contain `words`.
fn keep_only(groups: &mut Vec<Group>, words: &str) -> Result<(), String> {
    let names: Vec<&str> = groups.iter().map(|group| group.name).collect();
    if !names.iter().any(|name| name.contains(words)) {
        let names = names.join("\n  ");
        return Err(format!(
            "--only: no table is called `{words}`, nor part of that; there are\n  {names}"
        ));
    }
    groups.retain(|group| group.name.contains(words));
    Ok(())
}

fn print(measured: &[Measured<'_>], machine: &Machine) -> Result<(), String> {
    let text = table::render(measured, machine);
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| format!("cannot print the table: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_chosen_by_a_part_of_their_titles() {
        let mut groups = suites::streams(Effort::new(true));
        let refused = keep_only(&mut groups, "no such table").expect_err("none is called that");
        assert!(refused.contains("every millisecond"), "{refused}");
        keep_only(&mut groups, "every millisecond").expect("there is one");
        let names: Vec<&str> = groups.iter().map(|group| group.name).collect();
        assert_eq!(
            names,
            ["a frame of 64 B every millisecond, adaptive waiting"]
        );
    }
}
