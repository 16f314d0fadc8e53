//! Aligned columns for people.

/// Rows of cells, the first row being the heading. Numbers are aligned to the right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|&text| text.to_owned()).collect()],
        }
    }

    /// Adds a row with as many cells as there are headings.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text, without a line end after the last row. The first column, and columns
    /// without a digit in their first cell, are aligned to the left.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let is_number: Vec<bool> = (0..columns)
            .map(|column| {
                column > 0
                    && self.rows.iter().skip(1).all(|row| {
                        row.get(column).is_none_or(|cell| {
                            cell.starts_with(|first: char| first.is_ascii_digit() || first == '-')
                        })
                    })
            })
            .collect();
        let lines: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let cells: Vec<String> = row
                    .iter()
                    .zip(widths.iter().zip(&is_number))
                    .map(|(cell, (&width, &is_number))| {
                        if is_number {
                            format!("{cell:>width$}")
                        } else {
                            format!("{cell:<width$}")
                        }
                    })
                    .collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect();
        lines.join("\n")
    }
}

/// A duration as people read it: `830 ns`, `12.3 us`, `4.56 ms`, `7.89 s`; `-` for none.
pub(crate) fn duration(value_ns: Option<u64>) -> String {
    let Some(value_ns) = value_ns else {
        return "-".to_owned();
    };
    let value = value_ns as f64;
    match value_ns {
        0..1_000 => format!("{value_ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

/// How long ago something was, as people say it: as [`duration`], and from two minutes on `3 min`,
/// `2.5 h`, `12 d`.
pub(crate) fn age(value_ns: Option<u64>) -> String {
    let minutes = value_ns.unwrap_or(0) as f64 / 60e9;
    match minutes {
        ..2.0 => duration(value_ns),
        ..120.0 => format!("{minutes:.0} min"),
        ..2880.0 => format!("{:.1} h", minutes / 60.0),
        _ => format!("{:.0} d", minutes / 1440.0),
    }
}

/// A rate as people read it.
pub(crate) fn rate(value_hz: f64) -> String {
    if value_hz >= 1000.0 {
        format!("{:.2} kHz", value_hz / 1000.0)
    } else {
        format!("{value_hz:.1} Hz")
    }
}

/// A number of bytes as people read it: `512 B`, `1.23 MB`.
pub(crate) fn bytes(value: f64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if value < 1000.0 {
        return format!("{value:.0} B");
    }
    let power = ((value.log10() / 3.0) as usize).clamp(1, units.len());
    format!(
        "{:.2} {}",
        value / 1000f64.powi(power as i32),
        units[power - 1]
    )
}

/// Values of at least 0 as bars, the highest being the largest of them.
pub(crate) fn bars(values: impl Iterator<Item = f64> + Clone) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = values.clone().fold(0.0, f64::max);
    let bar = |value: f64| {
        let share = if highest > 0.0 { value / highest } else { 0.0 };
        BARS[((share * 7.0).round() as usize).min(7)]
    };
    values.map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["stage", "frames", "health"]);
        table.row(vec!["a".into(), "7".into(), "active".into()]);
        table.row(vec!["longer".into(), "1234".into(), "idle".into()]);
        let expected = "stage   frames  health\na            7  active\nlonger    1234  idle";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn durations_and_rates_have_units() {
        let texts = [Some(999), Some(1500), Some(2_340_000), None].map(duration);
        assert_eq!(texts, ["999 ns", "1.5 us", "2.34 ms", "-"]);
        let ages = [119, 180, 9000, 864_000].map(|age_s| age(Some(age_s * 1_000_000_000)));
        assert_eq!(ages, ["119.00 s", "3 min", "2.5 h", "10 d"]);
        assert_eq!(rate(1234.0), "1.23 kHz");
        assert_eq!(rate(12.0), "12.0 Hz");
        let texts = [0.0, 999.0, 1000.0, 2.5e6, 1e9, 3e15].map(bytes);
        assert_eq!(
            texts,
            [
                "0 B",
                "999 B",
                "1.00 kB",
                "2.50 MB",
                "1.00 GB",
                "3000.00 TB"
            ]
        );
    }
}
