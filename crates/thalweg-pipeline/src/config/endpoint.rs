//! `sources[]` and `sinks[]`: where frames come from and go to.

use serde_json::{Map, Value as Json};
use thalweg_kernels::Parameters;

use super::Seconds;
use super::fields::{Fields, Item};
use super::wiring::{
    AuxiliaryBinding, Context, bindings_of, streams_of, write_auxiliary, write_one_or_many,
    write_parameters,
};

/// One entry of `sources`.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// Name, unique among kernels, sources and sinks.
    pub name: String,
    /// Kind, such as `synthetic.array`.
    pub kind: String,
    /// Streams it writes, in declared order, at least one.
    pub streams: Vec<String>,
    /// Auxiliary streams in declared order.
    pub auxiliary: Vec<AuxiliaryBinding>,
    /// Parameters of the kind.
    pub parameters: Parameters,
    /// Pause after a call that produced nothing; 10 ms unless given.
    pub poll_interval: Seconds,
    /// Longest time one call may take; `None` is unlimited.
    pub read_timeout: Option<Seconds>,
}

/// One entry of `sinks`.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    /// Name, unique among kernels, sources and sinks.
    pub name: String,
    /// Kind, such as `null.sink`.
    pub kind: String,
    /// The stream it consumes.
    pub stream: String,
    /// Streams it writes, in declared order; mostly none.
    pub outputs: Vec<String>,
    /// Auxiliary streams in declared order.
    pub auxiliary: Vec<AuxiliaryBinding>,
    /// Parameters of the kind.
    pub parameters: Parameters,
    /// Longest single wait for a publication; 1 s unless given.
    pub read_timeout: Seconds,
    /// Interval of looking whether a pause has ended; 10 ms unless given.
    pub pause_sleep: Seconds,
    /// Longest time one call may take; `None` is unlimited.
    pub consume_timeout: Option<Seconds>,
}

const POLL_INTERVAL: Seconds = Seconds::constant(0.01);
const READ_TIMEOUT: Seconds = Seconds::constant(1.0);
const PAUSE_SLEEP: Seconds = Seconds::constant(0.01);

impl SourceConfig {
    /// A source with every other field at its default.
    pub fn new(
        name: impl Into<String>,
        kind: impl Into<String>,
        streams: impl IntoIterator<Item: Into<String>>,
    ) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            streams: streams.into_iter().map(Into::into).collect(),
            auxiliary: Vec::new(),
            parameters: Parameters::new(),
            poll_interval: POLL_INTERVAL,
            read_timeout: None,
        }
    }

    pub(super) fn read(item: Item<'_>, context: &mut Context<'_>) -> Option<Self> {
        let (mut fields, name) = Fields::open_named("source", item, &mut context.problems)?;
        let kind = fields
            .required("kind", &mut context.problems)
            .and_then(|kind| kind.text(&mut context.problems));
        let streams = context.one_or_many(&mut fields, "stream", "streams");
        context.reject_repetition(
            streams.as_deref().unwrap_or_default(),
            "declare the same output stream",
        );
        let auxiliary = context.auxiliary(&mut fields);
        let parameters = context.parameters(&mut fields);
        let poll_interval = match fields.get("poll_interval") {
            Some(item) => item.seconds(&mut context.problems),
            None => Some(POLL_INTERVAL),
        };
        let read_timeout = fields
            .given("read_timeout")
            .and_then(|item| item.seconds(&mut context.problems));
        fields.finish(&mut context.problems);
        Some(Self {
            name: name?,
            kind: kind?.to_owned(),
            streams: streams_of(streams?),
            auxiliary: bindings_of(auxiliary?),
            parameters: parameters?,
            poll_interval: poll_interval?,
            read_timeout,
        })
    }

    pub(super) fn to_json(&self) -> Json {
        let mut entry = Map::new();
        entry.insert("name".to_owned(), self.name.as_str().into());
        entry.insert("kind".to_owned(), self.kind.as_str().into());
        write_one_or_many(&mut entry, "stream", "streams", &self.streams);
        write_auxiliary(&mut entry, &self.auxiliary);
        write_parameters(&mut entry, &self.parameters);
        if self.poll_interval != POLL_INTERVAL {
            entry.insert("poll_interval".to_owned(), self.poll_interval.get().into());
        }
        if let Some(timeout) = self.read_timeout {
            entry.insert("read_timeout".to_owned(), timeout.get().into());
        }
        Json::Object(entry)
    }
}

impl SinkConfig {
    /// A sink with every other field at its default.
    pub fn new(
        name: impl Into<String>,
        kind: impl Into<String>,
        stream: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            stream: stream.into(),
            outputs: Vec::new(),
            auxiliary: Vec::new(),
            parameters: Parameters::new(),
            read_timeout: READ_TIMEOUT,
            pause_sleep: PAUSE_SLEEP,
            consume_timeout: None,
        }
    }

    pub(super) fn read(item: Item<'_>, context: &mut Context<'_>) -> Option<Self> {
        let (mut fields, name) = Fields::open_named("sink", item, &mut context.problems)?;
        let kind = fields
            .required("kind", &mut context.problems)
            .and_then(|kind| kind.text(&mut context.problems));
        let stream = fields
            .required("stream", &mut context.problems)
            .and_then(|stream| context.reference(stream));
        let outputs = match fields.get("outputs") {
            Some(outputs) => context.references(&outputs),
            None => Some(Vec::new()),
        };
        context.reject_repetition(
            outputs.as_deref().unwrap_or_default(),
            "declare the same output stream",
        );
        let auxiliary = context.auxiliary(&mut fields);
        let parameters = context.parameters(&mut fields);
        let mut seconds = |key, default| match fields.get(key) {
            Some(item) => item.seconds(&mut context.problems),
            None => Some(default),
        };
        let read_timeout = seconds("read_timeout", READ_TIMEOUT);
        let pause_sleep = seconds("pause_sleep", PAUSE_SLEEP);
        let consume_timeout = fields
            .given("consume_timeout")
            .and_then(|item| item.seconds(&mut context.problems));
        fields.finish(&mut context.problems);
        Some(Self {
            name: name?,
            kind: kind?.to_owned(),
            stream: stream?.stream,
            outputs: streams_of(outputs?),
            auxiliary: bindings_of(auxiliary?),
            parameters: parameters?,
            read_timeout: read_timeout?,
            pause_sleep: pause_sleep?,
            consume_timeout,
        })
    }

    pub(super) fn to_json(&self) -> Json {
        let mut entry = Map::new();
        entry.insert("name".to_owned(), self.name.as_str().into());
        entry.insert("kind".to_owned(), self.kind.as_str().into());
        entry.insert("stream".to_owned(), self.stream.as_str().into());
        if !self.outputs.is_empty() {
            entry.insert("outputs".to_owned(), self.outputs.as_slice().into());
        }
        write_auxiliary(&mut entry, &self.auxiliary);
        write_parameters(&mut entry, &self.parameters);
        for (key, seconds, default) in [
            ("read_timeout", self.read_timeout, READ_TIMEOUT),
            ("pause_sleep", self.pause_sleep, PAUSE_SLEEP),
        ] {
            if seconds != default {
                entry.insert(key.to_owned(), seconds.get().into());
            }
        }
        if let Some(timeout) = self.consume_timeout {
            entry.insert("consume_timeout".to_owned(), timeout.get().into());
        }
        Json::Object(entry)
    }
}
