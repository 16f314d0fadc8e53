//! The page of figures, `docs/performance.md`: everything measured on it is made from records.
//!
//! Between a line `<!-- KIND … -->` and the line `<!-- end -->` stands what this module writes there:
//!
//! ```text
//! table RECORD: GROUP     the rows of a group
//! origin RECORD           the command, the commit, the machine, the versions
//! missed RECORD           the rows that do not reach their goal
//! figure NAME: TEXT       the drawing, where there is one
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::goal::is_reached;
use super::statistics::significant;

const END: &str = "<!-- end -->";

/// The text with all its blocks made anew.
pub(super) fn fill(text: &str, records: &Path, figures: &Path) -> Result<String, String> {
    let mut sources = Sources {
        records,
        figures,
        read: BTreeMap::new(),
    };
    let mut filled = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        filled.push_str(line);
        filled.push('\n');
        let Some(block) = block_of(line) else {
            continue;
        };
        let content = sources
            .content(block)
            .map_err(|problem| format!("docs/performance.md:{}: {problem}", index + 1))?;
        if !lines.any(|(_, line)| line == END) {
            return Err(format!(
                "docs/performance.md:{}: expected `{END}` after `{line}`, found none",
                index + 1
            ));
        }
        write_block(&mut filled, &content);
    }
    Ok(filled)
}

fn write_block(filled: &mut String, content: &str) {
    if !content.is_empty() {
        filled.push('\n');
        filled.push_str(content.trim_end());
        filled.push_str("\n\n");
    }
    filled.push_str(END);
    filled.push('\n');
}

/// What a line asks for, if it begins a block.
fn block_of(line: &str) -> Option<&str> {
    let block = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    (line != END).then_some(block)
}

struct Sources<'a> {
    records: &'a Path,
    figures: &'a Path,
    read: BTreeMap<String, Value>,
}

impl Sources<'_> {
    fn content(&mut self, block: &str) -> Result<String, String> {
        let (kind, rest) = block.split_once(' ').unwrap_or((block, ""));
        let (subject, detail) = rest.split_once(": ").unwrap_or((rest, ""));
        match kind {
            "table" => Ok(table(self.record(subject)?, subject, detail)),
            "origin" => Ok(origin(self.record(subject)?)),
            "missed" => Ok(missed(self.record(subject)?)),
            "figure" if self.figures.join(format!("{subject}.svg")).exists() => {
                Ok(format!("![{detail}](figures/{subject}.svg)"))
            }
            "figure" => Ok(String::new()),
            _ => Err(format!(
                "expected `table`, `origin`, `missed` or `figure`, found `{block}`"
            )),
        }
    }

    fn record(&mut self, name: &str) -> Result<&Value, String> {
        if !self.read.contains_key(name) {
            let path = self.records.join(format!("{name}.json"));
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let record = serde_json::from_str(&text)
                .map_err(|error| format!("{} is no record: {error}", path.display()))?;
            self.read.insert(name.to_owned(), record);
        }
        self.read
            .get(name)
            .ok_or_else(|| format!("no record `{name}`"))
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn table(record: &Value, name: &str, wanted: &str) -> String {
    let Some(group) = array(&record["groups"])
        .iter()
        .find(|group| group["name"] == wanted)
    else {
        return format!("Not in the record: `cargo xtask bench {name}` measures it.");
    };
    let mut text = "| what | payload | thalweg | beside it | which is | ratio, 95 % | goal |\n\
                    | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in array(&group["rows"]) {
        let payload = match row["is_payload_touched"].as_bool() {
            Some(true) => "touched",
            Some(false) => "untouched",
            None => "",
        };
        let has_other = !row["which_is"].is_null();
        let cells = [
            word(&row["what"]).to_owned(),
            payload.to_owned(),
            cell(&row["ours"], word(&row["unit"]), true),
            cell(&row["beside"], word(&row["unit"]), has_other),
            word(&row["which_is"]).to_owned(),
            interval(&row["ratio"]),
            goal(row),
        ];
        let _infallible = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

fn median(estimate: &Value) -> Option<f64> {
    estimate["median"].as_f64()
}

fn cell(estimate: &Value, unit: &str, is_expected: bool) -> String {
    match median(estimate) {
        Some(value) => in_fitting_unit(value, unit),
        None if is_expected => "skipped".to_owned(),
        None => String::new(),
    }
}

/// Durations in the largest unit of which there is at least one.
fn in_fitting_unit(value: f64, unit: &str) -> String {
    const DURATIONS: [&str; 4] = ["ns", "us", "ms", "s"];
    let (mut value, mut unit) = (value, unit);
    while let Some(index) = DURATIONS.iter().position(|&duration| duration == unit)
        && let Some(larger) = DURATIONS.get(index + 1)
        && value >= 1000.0
    {
        value /= 1000.0;
        unit = larger;
    }
    format!("{} {unit}", significant(value))
        .trim_end()
        .to_owned()
}

fn interval(ratio: &Value) -> String {
    let bounds = (ratio["low"].as_f64(), ratio["high"].as_f64());
    let (Some(median), (Some(low), Some(high))) = (median(ratio), bounds) else {
        return String::new();
    };
    format!(
        "{} ({} to {})",
        significant(median),
        significant(low),
        significant(high)
    )
}

fn verdict(row: &Value) -> Option<bool> {
    is_reached(
        word(&row["goal"]),
        median(&row["ours"]),
        median(&row["ratio"]),
    )
}

fn goal(row: &Value) -> String {
    let goal = word(&row["goal"]);
    match verdict(row) {
        Some(true) => format!("{goal}: reached"),
        Some(false) => format!("{goal}: **missed**"),
        None => goal.to_owned(),
    }
}

fn missed(record: &Value) -> String {
    let mut text = String::new();
    for group in array(&record["groups"]) {
        for row in array(&group["rows"]) {
            if verdict(row) == Some(false) {
                let _infallible = writeln!(
                    text,
                    "- {}, {}: {}, {} of {}; goal {}",
                    word(&group["name"]),
                    word(&row["what"]),
                    cell(&row["ours"], word(&row["unit"]), true),
                    interval(&row["ratio"]),
                    word(&row["which_is"]),
                    word(&row["goal"]),
                );
            }
        }
    }
    match text.is_empty() {
        true => "None.".to_owned(),
        false => text,
    }
}

fn origin(record: &Value) -> String {
    let machine = &record["machine"];
    let shares: Vec<f64> = array(&record["groups"])
        .iter()
        .flat_map(|group| array(&group["processor_shares_of_others"]))
        .map(|one| {
            let share = |name: &str| one[name].as_f64().unwrap_or(0.0);
            share("other_processes") + share("hypervisor")
        })
        .collect();
    let disturbed = shares.iter().filter(|&&share| share > 0.05).count();
    let versions: Vec<String> = record["versions"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, version)| match word(version) {
            // Programs name themselves when they are asked.
            version if version.starts_with(char::is_alphabetic) => version.to_owned(),
            version => format!("{name} {version}"),
        })
        .collect();
    let changes = match record["has_uncommitted_changes"].as_bool() {
        Some(false) => "",
        _ => ", with uncommitted changes",
    };
    let revision = word(&record["revision"]);
    format!(
        "`{}` at commit `{}`{changes}: {}, {} CPUs, {} GiB of memory, Linux {}. {disturbed} of {} \
         rounds shared the machine with others. Versions: {}.",
        word(&record["command"]),
        revision.get(..12).unwrap_or(revision),
        word(&machine["cpu"]),
        machine["cpus"],
        machine["memory_bytes"].as_u64().unwrap_or(0) >> 30,
        word(&machine["kernel"]),
        shares.len(),
        versions.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn estimate(median: f64) -> Value {
        json!({"median": median, "low": median / 2.0, "high": median * 2.0})
    }

    fn row(ours: f64, beside: f64, goal: &str) -> Value {
        json!({
            "what": "write",
            "is_payload_touched": true,
            "unit": "us",
            "ours": estimate(ours),
            "beside": estimate(beside),
            "which_is": "memcpy",
            "ratio": estimate(ours / beside),
            "goal": goal,
        })
    }

    #[test]
    fn the_page_says_what_the_records_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = fs::read_to_string(root.join("docs/performance.md")).unwrap();
        let filled = fill(
            &text,
            &root.join("bench/results"),
            &root.join("docs/figures"),
        )
        .unwrap();
        for (index, (found, expected)) in text.lines().zip(filled.lines()).enumerate() {
            assert_eq!(
                found,
                expected,
                "docs/performance.md:{}: run `cargo xtask bench plots`",
                index + 1
            );
        }
        assert_eq!(text.len(), filled.len());
    }

    #[test]
    fn rows_become_lines() {
        let record = json!({"groups": [{"name": "g", "rows": [row(2500.0, 1000.0, "<= 2")]}]});
        let text = table(&record, "streams", "g");
        let line = text.lines().last().unwrap();
        assert_eq!(
            line,
            "| write | touched | 2.50 ms | 1.00 ms | memcpy | 2.50 (1.25 to 5.00) | <= 2: **missed** |"
        );
        assert!(missed(&record).starts_with("- g, write: 2.50 ms, 2.50 (1.25 to 5.00) of memcpy"));
        assert!(table(&record, "streams", "other").contains("`cargo xtask bench streams`"));
    }

    #[test]
    fn blocks_are_replaced_and_the_rest_is_kept() {
        let nowhere = Path::new("no such folder");
        let text = "before\n<!-- figure x: A drawing. -->\nold\n<!-- end -->\nafter\n";
        let filled = fill(text, nowhere, nowhere).unwrap();
        assert_eq!(filled, text.replace("old\n", ""));
        assert_eq!(fill(&filled, nowhere, nowhere).unwrap(), filled);

        let problem = fill("<!-- figure x: A drawing. -->\n", nowhere, nowhere).unwrap_err();
        assert!(problem.contains("performance.md:1:"), "{problem}");
        let problem = fill("a\n<!-- tabel x -->\n<!-- end -->\n", nowhere, nowhere).unwrap_err();
        assert!(problem.contains("performance.md:2:"), "{problem}");
    }
}
