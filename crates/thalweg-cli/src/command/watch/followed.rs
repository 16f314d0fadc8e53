//! The streams that are watched, while they come and go.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};
use thalweg::StreamDirectory;
use thalweg::shm::stream::error::{OpenError, StaleReason};

use super::pace::Pace;
use crate::command::facts::{Facts, did_you_mean, liveness_word, process_word, seconds};
use crate::table::{Table, age, bytes, duration, rate};

/// Attached processes that a row names.
const NAMED_PROCESSES: usize = 3;

/// Streams followed from look to look.
#[derive(Debug, Default)]
pub(super) struct Followed {
    names: Vec<String>,
    streams: BTreeMap<String, Stream>,
}

#[derive(Debug)]
struct Stream {
    facts: Facts,
    pace: Pace,
    new_frames: Option<u64>,
}

/// What one look found, by name.
#[derive(Debug)]
pub(super) struct Look<'a> {
    rows: Vec<(&'a str, Row<'a>)>,
}

#[derive(Debug)]
enum Row<'a> {
    Stream(&'a Stream),
    /// There is none of this name.
    Absent,
    /// The file is no stream, or not for this user.
    Unreadable(String),
}

impl Followed {
    /// Follows the streams called `names`, or whatever streams there are if there is no name.
    pub(super) fn new(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            streams: BTreeMap::new(),
        }
    }

    /// Looks at every stream once.
    pub(super) fn look(&mut self, directory: &StreamDirectory) -> io::Result<Look<'_>> {
        let names = if self.names.is_empty() {
            directory.list()?
        } else {
            self.names.clone()
        };
        // Those that vanished are shown once more, with what became of them.
        self.streams
            .retain(|_, stream| !is_gone(stream.facts.seen.stale));
        let mut refused = BTreeMap::new();
        for stream in self.streams.values_mut() {
            stream.facts.seen = stream.facts.observer.look();
            stream.new_frames = stream.pace.learn(&stream.facts.seen);
        }
        for name in &names {
            let is_followed = self
                .streams
                .get(name)
                .is_some_and(|stream| stream.facts.seen.stale != Some(StaleReason::Replaced));
            if is_followed {
                continue;
            }
            match Facts::of(directory, name) {
                Ok(facts) => {
                    let mut pace = Pace::default();
                    let new_frames = pace.learn(&facts.seen);
                    let stream = Stream {
                        facts,
                        pace,
                        new_frames,
                    };
                    self.streams.insert(name.clone(), stream);
                }
                Err(OpenError::Missing { .. }) => {}
                Err(error) => {
                    refused.insert(name.clone(), error.to_string());
                }
            }
        }
        let mut rows: Vec<(&str, Row<'_>)> = self
            .streams
            .iter()
            .map(|(name, stream)| (name.as_str(), Row::Stream(stream)))
            .collect();
        for name in &self.names {
            if self.streams.contains_key(name) {
                continue;
            }
            let row = refused.remove(name).map_or(Row::Absent, Row::Unreadable);
            rows.push((name, row));
        }
        rows.sort_by_key(|&(name, _)| name);
        rows.dedup_by_key(|(name, _)| *name);
        Ok(Look { rows })
    }
}

fn is_gone(stale: Option<StaleReason>) -> bool {
    matches!(stale, Some(StaleReason::Unlinked | StaleReason::Replaced))
}

impl Look<'_> {
    /// Names that lead to no stream.
    pub(super) fn missing(&self, directory: &StreamDirectory) -> Vec<String> {
        let missing = self.rows.iter().filter_map(|(name, row)| match row {
            Row::Stream(_) => None,
            Row::Absent => Some(format!(
                "shared memory stream {name:?} does not exist{}",
                did_you_mean(directory, name)
            )),
            Row::Unreadable(message) => Some(message.clone()),
        });
        missing.collect()
    }

    /// How many streams were found.
    pub(super) fn stream_count(&self) -> usize {
        let is_stream = |row: &&(&str, Row<'_>)| matches!(row.1, Row::Stream(_));
        self.rows.iter().filter(is_stream).count()
    }

    /// One JSON object on one line.
    pub(super) fn to_json(&self, wall_ns: u64) -> Value {
        let streams: Vec<Value> = self
            .rows
            .iter()
            .map(|(name, row)| match row {
                Row::Stream(stream) => stream.to_json(),
                Row::Absent => json!({"name": name, "error": "it does not exist"}),
                Row::Unreadable(message) => json!({"name": name, "error": message}),
            })
            .collect();
        json!({"time": seconds(wall_ns), "streams": streams})
    }

    /// Aligned columns, the first line being the heading; `has_trend` adds bars of the last rates.
    pub(super) fn to_table(&self, has_trend: bool) -> String {
        let mut headings = vec![
            "stream", "rate", "new", "age", "latency", "data", "layout", "writer", "lock",
            "borrowed", "attached", "creator", "state",
        ];
        if has_trend {
            headings.insert(2, "trend");
        }
        let mut table = Table::new(&headings);
        for (name, row) in &self.rows {
            let mut cells = match row {
                Row::Stream(stream) => stream.cells(has_trend),
                Row::Absent => state_only("absent"),
                Row::Unreadable(_) => state_only("unreadable"),
            };
            cells.insert(0, (*name).to_owned());
            cells.resize(headings.len(), String::new());
            // The state stands in the last column, whatever is missing before it.
            if !matches!(row, Row::Stream(_)) {
                cells.swap(1, headings.len() - 1);
                cells[1..headings.len() - 1].fill("-".to_owned());
            }
            table.row(cells);
        }
        table.render()
    }
}

fn state_only(word: &str) -> Vec<String> {
    vec![word.to_owned()]
}

impl Stream {
    fn cells(&self, has_trend: bool) -> Vec<String> {
        let (header, seen) = (self.facts.observer.header(), &self.facts.seen);
        let geometry = &header.geometry;
        let dash = || "-".to_owned();
        let rate_hz = self.pace.rate_hz();
        let mut cells = vec![rate_hz.map_or_else(dash, rate)];
        if has_trend {
            cells.push(self.pace.trend());
        }
        cells.extend([
            self.new_frames.map_or_else(dash, |count| count.to_string()),
            age(seen.age_ns()),
            duration(seen.latency_ns()),
            rate_hz.map_or_else(dash, |rate_hz| {
                format!("{}/s", bytes(rate_hz * geometry.payload_bytes as f64))
            }),
            format!("{}{:?}", geometry.dtype, geometry.shape),
            seen.last_writer.as_ref().map_or_else(dash, process_word),
            seen.lock_holder
                .as_ref()
                .map_or_else(|| "free".to_owned(), process_word),
            format!("{}/{}", seen.pins.len(), seen.pin_limit),
            self.attached(),
            liveness_word(seen.creator).to_owned(),
            self.state(),
        ]);
        cells
    }

    fn attached(&self) -> String {
        let attached = &self.facts.seen.attached;
        let mut words: Vec<String> = attached
            .iter()
            .take(NAMED_PROCESSES)
            .map(process_word)
            .collect();
        match attached.len().saturating_sub(NAMED_PROCESSES) {
            0 if words.is_empty() => words.push("nobody".to_owned()),
            0 => {}
            more => words.push(format!("+{more}")),
        }
        words.join(" ")
    }

    fn state(&self) -> String {
        let seen = &self.facts.seen;
        if seen.stale.is_none()
            && let Some(slow) = seen.holding_up().next()
        {
            return format!("held up by {}", process_word(&slow.process));
        }
        let word = match seen.stale {
            Some(StaleReason::Unlinked) => "unlinked",
            Some(StaleReason::Replaced) => "replaced",
            Some(StaleReason::Ended) => "ended",
            None if seen.is_inconsistent => "incomplete write",
            None if seen.newest.count == 0 => "empty",
            None => "ok",
        };
        match seen.unfinished {
            Some(frame) if seen.stale.is_none() => {
                format!("{word}, rows {}/{}", frame.rows, frame.of_rows)
            }
            _ => word.to_owned(),
        }
    }

    fn to_json(&self) -> Value {
        let mut object = self.facts.to_json();
        let payload_bytes = self.facts.observer.header().geometry.payload_bytes;
        let rate_hz = self.pace.rate_hz();
        object["rate_hz"] = json!(rate_hz);
        object["bytes_per_s"] = json!(rate_hz.map(|rate_hz| rate_hz * payload_bytes as f64));
        object["frames_since_last_look"] = json!(self.new_frames);
        object
    }
}
