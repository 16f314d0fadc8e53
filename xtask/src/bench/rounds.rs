//! Measuring a group: every series once per round, in turns.

use std::collections::BTreeMap;

use super::group::{Group, Program, Row, Value};
use super::machine::{Disturbance, Ticks};
use super::party::{Answer, Parties};
use super::statistics::{Estimate, estimate};

/// What came out of a group.
#[derive(Debug)]
pub(super) struct Measured<'a> {
    pub(super) group: &'a Group,
    /// For every series the answers of all rounds, or why there are none.
    pub(super) series: Vec<Result<Vec<Answer>, String>>,
    pub(super) disturbances: Vec<Disturbance>,
}

/// What came out for a row.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) ours: Result<Estimate, String>,
    pub(super) other: Option<Result<Estimate, String>>,
    /// Of the ratios of the rounds, ours over the other.
    pub(super) ratio: Option<Estimate>,
}

/// Measures all series of a group, one round after the other. Every second round runs backwards,
/// so that a drift of the machine favours nobody.
pub(super) fn measure<'a>(group: &'a Group, parties: &mut Parties<'_>) -> Measured<'a> {
    let mut missing: BTreeMap<Program, String> = BTreeMap::new();
    for (program, request) in &group.setup {
        if !missing.contains_key(program)
            && let Err(reason) = parties.ask(*program, request)
        {
            eprintln!("skipped: {request}: {reason}");
            missing.insert(*program, reason);
        }
    }
    let mut series: Vec<Result<Vec<Answer>, String>> = group
        .series
        .iter()
        .map(|series| match missing.get(&series.program) {
            Some(reason) => Err(reason.clone()),
            None => Ok(Vec::new()),
        })
        .collect();
    let mut disturbances = Vec::new();
    for round in 0..group.rounds {
        let before = Ticks::look();
        let mut order: Vec<usize> = (0..series.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let asked = &group.series[index];
            if let Ok(answers) = &mut series[index] {
                match parties.ask(asked.program, &asked.request) {
                    Ok(answer) => answers.push(answer),
                    // Ratios need both sides of every round, so one failure ends the series.
                    Err(reason) => {
                        eprintln!("skipped: {}: {reason}", asked.key);
                        series[index] = Err(reason);
                    }
                }
            }
        }
        disturbances.push(before.disturbance());
    }
    for (program, request) in &group.teardown {
        if !missing.contains_key(program)
            && let Err(reason) = parties.ask(*program, request)
        {
            eprintln!("{request}: {reason}");
        }
    }
    Measured {
        group,
        series,
        disturbances,
    }
}

impl Measured<'_> {
    /// What a row of this group has to tell.
    pub(super) fn find(&self, row: &Row) -> Finding {
        let ours = self.samples(row.ours);
        let other = row.other.map(|(value, _)| self.samples(value));
        let ratio = match (&ours, &other) {
            (Ok(ours), Some(Ok(other))) => {
                let ratios: Vec<f64> = ours.iter().zip(other).map(|(a, b)| a / b).collect();
                estimate(&ratios)
            }
            _ => None,
        };
        Finding {
            ours: ours.and_then(|samples| known(&samples)),
            other: other.map(|other| other.and_then(|samples| known(&samples))),
            ratio,
        }
    }

    fn samples(&self, value: Value) -> Result<Vec<f64>, String> {
        let index = self
            .group
            .series
            .iter()
            .position(|series| series.key == value.key)
            .ok_or_else(|| format!("no series `{}`", value.key))?;
        let answers = self.series[index].as_ref().map_err(String::clone)?;
        answers
            .iter()
            .map(|answer| {
                let found = answer.get(value.field).copied();
                found.ok_or_else(|| format!("no field `{}`", value.field))
            })
            .collect()
    }
}

fn known(samples: &[f64]) -> Result<Estimate, String> {
    estimate(samples).ok_or_else(|| "no round succeeded".to_owned())
}
