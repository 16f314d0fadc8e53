//! The findings as a table people read.

use std::fmt::Write as _;

use super::machine::Machine;
use super::rounds::{Finding, Measured};
use super::statistics::{Estimate, significant};

const HEADINGS: [&str; 7] = [
    "",
    "payload",
    "ours",
    "beside",
    "which is",
    "ours/that [95 %]",
    "goal",
];

/// All groups, one line per row.
pub(super) fn render(measured: &[Measured<'_>], machine: &Machine) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for group in measured {
        let mut title = vec![group.group.name.to_uppercase()];
        title.extend(HEADINGS.iter().skip(1).map(|&heading| heading.to_owned()));
        lines.push(Vec::new());
        lines.push(title);
        lines.extend(group.group.rows.iter().map(|row| {
            let Finding { ours, other, ratio } = group.find(row);
            let payload = match row.is_payload_touched {
                Some(true) => "touched",
                Some(false) => "untouched",
                None => "",
            };
            vec![
                row.what.to_owned(),
                payload.to_owned(),
                cell(&ours, row.unit),
                other.map_or_else(String::new, |other| cell(&other, row.unit)),
                row.other.map_or("", |(_, name)| name).to_owned(),
                ratio.map_or_else(String::new, interval),
                row.goal.to_owned(),
            ]
        }));
    }
    let mut text = aligned(&lines);
    let disturbances = || measured.iter().flat_map(|group| &group.disturbances);
    let disturbed = disturbances()
        .filter(|disturbance| disturbance.is_worth_mentioning())
        .count();
    let _infallible = write!(
        text,
        "\n{}, {} CPUs, load {:.1} at the start; values are medians of the rounds, ratios medians \
         of the rounds' ratios\n{disturbed} of {} rounds shared the machine with others\n",
        machine.cpu,
        machine.cpus,
        machine.load,
        disturbances().count()
    );
    text
}

fn cell(value: &Result<Estimate, String>, unit: &str) -> String {
    match value {
        Ok(estimate) => format!("{} {unit}", significant(estimate.median))
            .trim_end()
            .to_owned(),
        Err(_) => "skipped".to_owned(),
    }
}

fn interval(ratio: Estimate) -> String {
    format!(
        "{} [{}, {}]",
        significant(ratio.median),
        significant(ratio.low),
        significant(ratio.high)
    )
}

fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column));
        widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let line = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = aligned(&[line(["a", "b"]), line(["long", ""]), Vec::new()]);
        assert_eq!(text, "a     b\nlong\n\n");
    }
}
