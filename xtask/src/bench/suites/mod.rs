//! What is compared: the figures the design asks for, as data.

mod hand_offs;
mod pipelines;
mod python_streams;
mod readers;

use super::group::{Group, Program, Row, Series, Value};

pub(super) use pipelines::pipeline;

/// How much time is spent.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Effort {
    is_quick: bool,
}

impl Effort {
    pub(in crate::bench) fn new(is_quick: bool) -> Self {
        Self { is_quick }
    }

    fn rounds(self, thorough: usize) -> usize {
        if self.is_quick { 2 } else { thorough }
    }

    fn count(self, thorough: usize) -> usize {
        if self.is_quick {
            thorough.div_ceil(10)
        } else {
            thorough
        }
    }

    fn seconds(self, thorough: f64) -> f64 {
        if self.is_quick { 0.3 } else { thorough }
    }
}

fn series(key: &'static str, program: Program, request: impl Into<String>) -> Series {
    Series {
        key,
        program,
        request: request.into(),
    }
}

fn value(key: &'static str, field: &'static str) -> Value {
    Value { key, field }
}

/// A row that compares the same field of two series.
fn beside(
    what: &'static str,
    unit: &'static str,
    field: &'static str,
    (ours, other, other_name): (&'static str, &'static str, &'static str),
    goal: &'static str,
) -> Row {
    Row {
        what,
        is_payload_touched: Some(true),
        unit,
        ours: value(ours, field),
        other: Some((value(other, field), other_name)),
        goal,
    }
}

fn untouched(row: Row) -> Row {
    Row {
        is_payload_touched: Some(false),
        ..row
    }
}

/// Of something that nobody receives.
fn unreceived(row: Row) -> Row {
    Row {
        is_payload_touched: None,
        ..row
    }
}
/// `cargo xtask bench streams`.
pub(super) fn streams(effort: Effort) -> Vec<Group> {
    let mut groups = hand_offs::groups(effort);
    groups.extend(readers::groups(effort));
    groups.extend(python_streams::groups(effort));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_refer_to_series_that_exist() {
        let effort = Effort::new(true);
        for group in streams(effort).into_iter().chain(pipeline(effort)) {
            let known: Vec<&str> = group.series.iter().map(|series| series.key).collect();
            for row in &group.rows {
                let keys = [Some(row.ours.key), row.other.map(|(value, _)| value.key)];
                for key in keys.into_iter().flatten() {
                    assert!(known.contains(&key), "{}: {key}", group.name);
                }
            }
            let mut unique = known.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), known.len(), "{}: keys repeat", group.name);
        }
    }
}
