//! `sources[]` and `sinks[]`: where frames come from and go to.

use serde_json::Value as Json;
use thalweg_kernels::Parameters;
use thalweg_shm::WaitPolicy;

use super::document::Value;
use super::entry_writer::{EntryWriter, Extent};
use super::fields::{Fields, Item};
use super::grammar::{SINK, SOURCE};
use super::wiring::{
    AuxiliaryBinding, Context, bindings_of, streams_of, write_auxiliary, write_one_or_many,
    write_parameters,
};
use super::{EndpointProcess, Placement, Restart, Seconds, kernel};

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
    /// Where it runs; `None` leaves it to the program that runs the pipeline.
    pub process: Option<EndpointProcess>,
    /// On which CPUs and with which urgency it runs.
    pub placement: Placement,
    /// What happens when it has ended; nothing unless given.
    pub restart: Restart,
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
    /// How it passes the time until a publication comes; adaptive unless given.
    pub wait: WaitPolicy,
    /// Latency budget from the origin of the data to the end of consuming it. Frames that exceed it
    /// are counted, nothing else happens to them; `None` unless given.
    pub deadline: Option<Seconds>,
    /// Where it runs; `None` leaves it to the program that runs the pipeline.
    pub process: Option<EndpointProcess>,
    /// On which CPUs and with which urgency it runs.
    pub placement: Placement,
    /// What happens when it has ended; nothing unless given.
    pub restart: Restart,
}

pub(super) const POLL_INTERVAL: Seconds = Seconds::constant(0.01);
pub(super) const READ_TIMEOUT: Seconds = Seconds::constant(1.0);

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
            process: None,
            placement: Placement::default(),
            restart: Restart::default(),
        }
    }

    pub(super) fn read(item: Item<'_>, context: &mut Context<'_>) -> Option<Self> {
        let problems = &mut context.problems;
        let (fields, name) = Fields::open_named("source", item, &SOURCE, problems)?;
        let kind = fields
            .required("kind", problems)
            .and_then(|kind| kind.text(problems));
        let streams = context.one_or_many(&fields, "stream", "streams");
        context.reject_repetition(
            streams.as_deref().unwrap_or_default(),
            "declare the same output stream",
        );
        let auxiliary = context.auxiliary(&fields);
        let parameters = context.parameters(&fields);
        let problems = &mut context.problems;
        let poll_interval = fields.seconds_or("poll_interval", POLL_INTERVAL, problems);
        let read_timeout = fields.seconds("read_timeout", problems);
        let process = fields.process(problems);
        let placement = fields.placement(problems);
        let restart = fields.restart(problems);
        fields.finish(problems);
        Some(Self {
            name: name?,
            kind: kind?.to_owned(),
            streams: streams_of(streams?),
            auxiliary: bindings_of(auxiliary?),
            parameters: parameters?,
            poll_interval: poll_interval?,
            read_timeout: read_timeout?,
            process: process?,
            placement: placement?,
            restart: restart?,
        })
    }

    pub(super) fn to_json(&self, extent: Extent) -> Json {
        let mut entry = EntryWriter::new(extent);
        entry.put("name", self.name.as_str());
        entry.put("kind", self.kind.as_str());
        write_one_or_many(&mut entry, "stream", "streams", &self.streams);
        write_auxiliary(&mut entry, &self.auxiliary);
        write_parameters(&mut entry, &self.parameters);
        entry.put_seconds("poll_interval", self.poll_interval, POLL_INTERVAL);
        entry.put_option("read_timeout", self.read_timeout.map(Seconds::get));
        entry.put_process(self.process);
        entry.put_placement(&self.placement);
        entry.put_restart(self.restart);
        entry.finish()
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
            pause_sleep: kernel::PAUSE_SLEEP,
            consume_timeout: None,
            wait: WaitPolicy::default(),
            deadline: None,
            process: None,
            placement: Placement::default(),
            restart: Restart::default(),
        }
    }

    pub(super) fn read(item: Item<'_>, context: &mut Context<'_>) -> Option<Self> {
        let problems = &mut context.problems;
        let (fields, name) = Fields::open_named("sink", item, &SINK, problems)?;
        let kind = fields
            .required("kind", problems)
            .and_then(|kind| kind.text(problems));
        let stream = fields
            .required("stream", problems)
            .and_then(|stream| context.reference(stream));
        let outputs = match fields.get("outputs") {
            // Said as plainly as by leaving the key out, and complete documents say it.
            Some(outputs) if outputs.node.value == Value::Sequence(Vec::new()) => Some(Vec::new()),
            Some(outputs) => context.references(&outputs),
            None => Some(Vec::new()),
        };
        context.reject_repetition(
            outputs.as_deref().unwrap_or_default(),
            "declare the same output stream",
        );
        let auxiliary = context.auxiliary(&fields);
        let parameters = context.parameters(&fields);
        let problems = &mut context.problems;
        let read_timeout = fields.seconds_or("read_timeout", READ_TIMEOUT, problems);
        let pause_sleep = fields.seconds_or("pause_sleep", kernel::PAUSE_SLEEP, problems);
        let consume_timeout = fields.seconds("consume_timeout", problems);
        let wait = fields.choice_or("wait", WaitPolicy::default(), problems);
        let deadline = fields.seconds("deadline", problems);
        let process = fields.process(problems);
        let placement = fields.placement(problems);
        let restart = fields.restart(problems);
        fields.finish(problems);
        Some(Self {
            name: name?,
            kind: kind?.to_owned(),
            stream: stream?.stream,
            outputs: streams_of(outputs?),
            auxiliary: bindings_of(auxiliary?),
            parameters: parameters?,
            read_timeout: read_timeout?,
            pause_sleep: pause_sleep?,
            consume_timeout: consume_timeout?,
            wait: wait?,
            deadline: deadline?,
            process: process?,
            placement: placement?,
            restart: restart?,
        })
    }

    pub(super) fn to_json(&self, extent: Extent) -> Json {
        let mut entry = EntryWriter::new(extent);
        entry.put("name", self.name.as_str());
        entry.put("kind", self.kind.as_str());
        entry.put("stream", self.stream.as_str());
        entry.put_unless(self.outputs.is_empty(), "outputs", self.outputs.as_slice());
        write_auxiliary(&mut entry, &self.auxiliary);
        write_parameters(&mut entry, &self.parameters);
        entry.put_seconds("read_timeout", self.read_timeout, READ_TIMEOUT);
        entry.put_seconds("pause_sleep", self.pause_sleep, kernel::PAUSE_SLEEP);
        entry.put_option("consume_timeout", self.consume_timeout.map(Seconds::get));
        entry.put_wait_policy(self.wait);
        entry.put_deadline(self.deadline);
        entry.put_process(self.process);
        entry.put_placement(&self.placement);
        entry.put_restart(self.restart);
        entry.finish()
    }
}
