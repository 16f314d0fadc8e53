//! The table at the end: what happened, what must be 0, and the worst times.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::board::{Board, Tally};
use super::plan::{Plan, Setting};

/// What became of one stream.
struct Column {
    setting: Setting,
    happened: Vec<u64>,
    findings: Vec<u64>,
    worst_lock_ns: u64,
    worst_pause_ns: u64,
}

/// What became of all of them.
pub(crate) struct Report {
    plan: Plan,
    columns: Vec<Column>,
    took: Duration,
}

impl Report {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            columns: Vec::new(),
            took: Duration::ZERO,
        }
    }

    pub(crate) fn add(&mut self, setting: Setting, board: &Board) {
        let tallies = |of: &[(Tally, &str)]| of.iter().map(|&(t, _)| board.tally(t)).collect();
        self.columns.push(Column {
            setting,
            happened: tallies(&Tally::HAPPENED),
            findings: tallies(&Tally::FINDINGS),
            worst_lock_ns: board.worst_lock_ns.load(Ordering::Relaxed),
            worst_pause_ns: board.worst_pause_ns.load(Ordering::Relaxed),
        });
    }

    pub(crate) fn took(&mut self, took: Duration) {
        self.took = took;
    }

    pub(crate) fn kills(&self) -> u64 {
        self.columns.iter().map(|column| column.happened[0]).sum()
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.columns
            .iter()
            .all(|column| column.findings.iter().all(|&found| found == 0))
    }

    fn row(
        &self,
        f: &mut fmt::Formatter<'_>,
        title: &str,
        cell: impl Fn(&Column) -> String,
        total: &str,
    ) -> fmt::Result {
        write!(f, "{title:<36}")?;
        for column in &self.columns {
            write!(f, "{:>12}", cell(column))?;
        }
        writeln!(f, "{total:>12}")
    }

    fn counts(
        &self,
        f: &mut fmt::Formatter<'_>,
        titles: &[(Tally, &str)],
        counts: impl Fn(&Column) -> &[u64],
    ) -> fmt::Result {
        for (index, (_, title)) in titles.iter().enumerate() {
            let total: u64 = self.columns.iter().map(|c| counts(c)[index]).sum();
            let cell = |column: &Column| counts(column)[index].to_string();
            self.row(f, title, cell, &total.to_string())?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |ns: u64| format!("{:.1}", ns as f64 / 1e6);
        let kind = |column: &Column| {
            let Setting {
                slots,
                is_strict,
                is_lossless,
                is_progressive,
                ..
            } = column.setting;
            let kinds = [
                (is_strict, " strict"),
                (is_lossless, " lossless"),
                (is_progressive, " rows"),
            ];
            let chosen = kinds
                .into_iter()
                .filter_map(|(is, kind)| is.then_some(kind));
            format!("{slots}{}", chosen.collect::<String>())
        };
        let payload = |column: &Column| match column.setting.words * 8 {
            bytes if bytes < 1024 => format!("{bytes} B"),
            bytes => format!("{} KiB", bytes / 1024),
        };
        writeln!(f)?;
        self.row(f, "slots", kind, "all")?;
        self.row(f, "payload", payload, "")?;
        writeln!(f)?;
        self.counts(f, &Tally::HAPPENED, |column| &column.happened)?;
        writeln!(f, "\nmust be 0:")?;
        self.counts(f, &Tally::FINDINGS, |column| &column.findings)?;
        writeln!(f, "\nworst, in ms:")?;
        let worst = |of: fn(&Column) -> u64| self.columns.iter().map(of).max().unwrap_or(0);
        let lock = |column: &Column| column.worst_lock_ns;
        self.row(
            f,
            "lock back after its holder's death",
            |column| milliseconds(lock(column)),
            &milliseconds(worst(lock)),
        )?;
        let pause = |column: &Column| column.worst_pause_ns;
        self.row(
            f,
            "everybody's next step",
            |column| milliseconds(pause(column)),
            &milliseconds(worst(pause)),
        )?;
        let verdict = if self.is_clean() {
            "clean"
        } else {
            "NOT CLEAN"
        };
        write!(
            f,
            "\n{verdict}: {} kills in {:.1} s, seed {}",
            self.kills(),
            self.took.as_secs_f64(),
            self.plan.seed
        )
    }
}
