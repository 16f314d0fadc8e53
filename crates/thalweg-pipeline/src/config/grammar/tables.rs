//! The mappings and their keys.

use serde_json::json;
use thalweg_os::affinity::MAX_CPUS;
use thalweg_shm::WaitPolicy;
use thalweg_shm::protocol::words::{MAX_SLOTS, MIN_SLOTS};

use super::{Absent, Accepts, Choice, Key, Range, Table};
use crate::config::execution::EndpointProcess;
use crate::config::placement::{PlacementPolicy, Scheduler};
use crate::config::restart::{BACKOFF, BACKOFF_MAX, RestartPolicy, WINDOW};
use crate::config::stream::{Storage, StreamMode};
use crate::config::{SkewPolicy, SynchronizationMode, TriggerPolicy, endpoint, kernel};

const fn key(name: &'static str, accepts: Accepts, absent: Absent, doc: &'static str) -> Key {
    Key {
        name,
        accepts,
        absent,
        doc,
    }
}

const SLOTS: Range = Range {
    least: MIN_SLOTS as i128,
    most: MAX_SLOTS as i128,
};
pub(in crate::config) const CPUS: Range = Range {
    least: 0,
    most: MAX_CPUS as i128 - 1,
};

const PRIORITIES: Range = Range { least: 1, most: 99 };

const NO: Absent = Absent::Default(|| false.into());

const NAME: Key = key(
    "name",
    Accepts::Text,
    Absent::Required,
    "Unique among kernels, sources and sinks.",
);
const KIND: Key = key(
    "kind",
    Accepts::Kind,
    Absent::Required,
    "What it does; `thalweg kinds`, `sources` and `sinks` list what there is.",
);
const AUXILIARY: Key = key(
    "auxiliary",
    Accepts::Auxiliary,
    Absent::Unset("none"),
    "Streams it reads without waiting for them. A list names streams; a mapping gives each an alias, by which the kind knows it. No stream and no alias twice.",
);
const PARAMETERS: Key = key(
    "parameters",
    Accepts::Parameters,
    Absent::DefaultNotNull(|| json!({})),
    "Parameters of the kind; `thalweg kinds KIND` lists them.",
);
const PLACEMENT_KEY: Key = key(
    "placement",
    Accepts::Mapping(&PLACEMENT),
    Absent::Unset("that of the pipeline"),
    "On which CPUs and with which urgency it runs.",
);
const RESTART_KEY: Key = key(
    "restart",
    Accepts::ChoiceOrMapping(RestartPolicy::names, &RESTART),
    Absent::Default(|| "never".into()),
    "What happens when it has ended: the name of a policy, or a mapping.",
);
const WAIT: Key = key(
    "wait",
    Accepts::Choice(WaitPolicy::names),
    Absent::Default(|| "adaptive".into()),
    "How it waits for a frame: `park` sleeps, `spin` keeps a CPU busy, `adaptive` spins as long as frames usually take if a CPU is to spare.",
);
const PROCESS: Key = key(
    "process",
    Accepts::Choice(EndpointProcess::names),
    Absent::Unset("the program decides"),
    "Where it runs: on a thread of the program that manages the pipeline, or in a process of its own.",
);
const PAUSE_SLEEP: Key = key(
    "pause_sleep",
    Accepts::Seconds,
    Absent::DefaultNotNull(|| kernel::PAUSE_SLEEP.get().into()),
    "Interval of looking whether a pause has ended.",
);

/// The document.
pub(in crate::config) static ROOT: Table = Table {
    title: "pipeline",
    keys: &[
        key(
            "namespace",
            Accepts::Namespace,
            Absent::Unset("none"),
            "Prefix of the streams' names in the system, which become `NAMESPACE.NAME`; within the pipeline they keep their names. No `/`, `\\` and NUL.",
        ),
        key(
            "placement",
            Accepts::Mapping(&PIPELINE_PLACEMENT),
            Absent::Unset("round-robin"),
            "How nodes without CPUs of their own are spread over the CPUs.",
        ),
        key(
            "shared_memory",
            Accepts::SomeEntries(&STREAM),
            Absent::Required,
            "The streams.",
        ),
        key(
            "kernels",
            Accepts::Entries(&KERNEL),
            Absent::DefaultNotNull(|| json!([])),
            "The stages. At least one kernel, source or sink must be there.",
        ),
        key(
            "sources",
            Accepts::Entries(&SOURCE),
            Absent::DefaultNotNull(|| json!([])),
            "Where frames come from.",
        ),
        key(
            "sinks",
            Accepts::Entries(&SINK),
            Absent::DefaultNotNull(|| json!([])),
            "Where frames go to.",
        ),
    ],
    either: &[],
};

/// `placement` of the document.
pub(in crate::config) static PIPELINE_PLACEMENT: Table = Table {
    title: "placement of the pipeline",
    keys: &[
        key(
            "policy",
            Accepts::Choice(PlacementPolicy::names),
            Absent::Default(|| "round-robin".into()),
            "`round-robin`: one after the other over the CPUs the program may use, in the order of the document; `none`: wherever the system puts them.",
        ),
        key(
            "offset",
            Accepts::Integer(Range::from(0)),
            Absent::Default(|| 0.into()),
            "CPUs to leave out at the start of the round.",
        ),
    ],
    either: &[],
};

/// An entry of `shared_memory`.
pub(in crate::config) static STREAM: Table = Table {
    title: "shared_memory",
    keys: &[
        key(
            "name",
            Accepts::Text,
            Absent::Required,
            "Unique among streams.",
        ),
        key(
            "shape",
            Accepts::Shape,
            Absent::Required,
            "Extent of every axis, slowest first; 1 to 32 positive integers.",
        ),
        key(
            "dtype",
            Accepts::DType,
            Absent::Default(|| "float64".into()),
            "Element type by any of NumPy's names for it, in the machine's byte order. Leaving it out is a warning.",
        ),
        key(
            "storage",
            Accepts::Choice(Storage::names),
            Absent::Default(|| "cpu".into()),
            "Memory of the host or of a device.",
        ),
        key(
            "gpu_device",
            Accepts::Text,
            Absent::Unset("none"),
            "The device, such as `cuda:0`; required with `storage: gpu`, refused without it.",
        ),
        key(
            "cpu_mirror",
            Accepts::Boolean,
            Absent::Unset("the system decides"),
            "Whether a GPU stream keeps a copy for readers on the host. Without effect on host streams, which is a warning.",
        ),
        key(
            "notify",
            Accepts::Boolean,
            Absent::Unset("exactly if a node waits for it"),
            "Whether a publication wakes sleeping readers.",
        ),
        key(
            "mode",
            Accepts::Choice(StreamMode::names),
            Absent::Default(|| "create_or_attach".into()),
            "What building does about an existing stream of that name: `create` refuses it, `attach` needs it, `create_or_attach` keeps a compatible one and its data, `replace` removes it.",
        ),
        key(
            "slots",
            Accepts::Integer(SLOTS),
            Absent::Unset("sized by its consumers"),
            "Frames it holds at once.",
        ),
        key(
            "initial",
            Accepts::Initial,
            Absent::Unset("zeros, not published"),
            "What is published when the pipeline is built, also into an existing stream.",
        ),
    ],
    either: &[],
};

/// An entry of `kernels`.
pub(in crate::config) static KERNEL: Table = Table {
    title: "kernels",
    keys: &[
        NAME,
        KIND,
        key(
            "input",
            Accepts::Stream,
            Absent::RequiredEither,
            "The stream whose frames make it compute. Either this or `inputs`.",
        ),
        key(
            "inputs",
            Accepts::Streams,
            Absent::RequiredEither,
            "Several such streams, in an order that has a meaning; none twice, none of its outputs.",
        ),
        key(
            "output",
            Accepts::Stream,
            Absent::RequiredEither,
            "The stream it writes. Either this or `outputs`.",
        ),
        key(
            "outputs",
            Accepts::Streams,
            Absent::RequiredEither,
            "Several such streams, in an order that has a meaning; none twice.",
        ),
        AUXILIARY,
        key(
            "operation",
            Accepts::Text,
            Absent::Unset("none"),
            "The expression of `cpu.custom_operation`; with other built-in kinds a warning.",
        ),
        PARAMETERS,
        key(
            "read_timeout",
            Accepts::Seconds,
            Absent::DefaultNotNull(|| kernel::READ_TIMEOUT.get().into()),
            "Longest single wait for a frame.",
        ),
        PAUSE_SLEEP,
        key(
            "poll_interval",
            Accepts::Seconds,
            Absent::DefaultNotNull(|| kernel::POLL_INTERVAL.get().into()),
            "Interval of looking at streams that do not notify.",
        ),
        key(
            "trigger_policy",
            Accepts::Choice(TriggerPolicy::names),
            Absent::Unset("`any_new` for one input, `all_new` for several"),
            "Whether one new frame is enough or every input needs one.",
        ),
        key(
            "propagate_frame_id",
            Accepts::Boolean,
            NO,
            "Whether outputs carry the frame id of the newest input.",
        ),
        key(
            "synchronization",
            Accepts::Mapping(&SYNCHRONIZATION),
            Absent::UnsetNotNull("none"),
            "Which frames of several inputs belong together.",
        ),
        WAIT,
        key(
            "deadline",
            Accepts::Seconds,
            Absent::Unset("none"),
            "Latency budget from the origin of the data to the publication of the outputs; frames that exceed it are counted.",
        ),
        key(
            "group",
            Accepts::Text,
            Absent::Unset("a process of its own"),
            "Kernels of one group share a process and hand over without a wake-up. They must agree in `placement`, `restart` and `wait`.",
        ),
        PLACEMENT_KEY,
        RESTART_KEY,
    ],
    either: &[("input", "inputs"), ("output", "outputs")],
};

/// `synchronization` of a kernel.
pub(in crate::config) static SYNCHRONIZATION: Table = Table {
    title: "synchronization",
    keys: &[
        key(
            "mode",
            Accepts::Choice(SynchronizationMode::names),
            Absent::DefaultNotNull(|| "count".into()),
            "`count`: every input has a new frame; `matching_frame_id`: all carry the same frame id, which requires `trigger_policy: all_new`.",
        ),
        key(
            "on_skew",
            Accepts::Choice(SkewPolicy::names),
            Absent::DefaultNotNull(|| "drop_older".into()),
            "What happens to frames that do not fit together.",
        ),
        key(
            "max_skew_generations",
            Accepts::Integer(Range::from(1)),
            Absent::DefaultNotNull(|| 16.into()),
            "How far the newest input may be ahead before all of them are dropped.",
        ),
        key(
            "max_wait_s",
            Accepts::Seconds,
            Absent::Unset("for ever"),
            "How long an input that lags is waited for.",
        ),
        key(
            "timeout",
            Accepts::Seconds,
            Absent::Unset("for ever"),
            "Older name of `max_wait_s`, which wins.",
        ),
    ],
    either: &[],
};

/// An entry of `sources`.
pub(in crate::config) static SOURCE: Table = Table {
    title: "sources",
    keys: &[
        NAME,
        KIND,
        key(
            "stream",
            Accepts::Stream,
            Absent::RequiredEither,
            "The stream it writes. Either this or `streams`.",
        ),
        key(
            "streams",
            Accepts::Streams,
            Absent::RequiredEither,
            "Several such streams, in an order that has a meaning; none twice.",
        ),
        AUXILIARY,
        PARAMETERS,
        key(
            "poll_interval",
            Accepts::Seconds,
            Absent::DefaultNotNull(|| endpoint::POLL_INTERVAL.get().into()),
            "Pause after a call that produced nothing.",
        ),
        key(
            "read_timeout",
            Accepts::Seconds,
            Absent::Unset("unlimited"),
            "Longest time one call may take.",
        ),
        PROCESS,
        PLACEMENT_KEY,
        RESTART_KEY,
    ],
    either: &[("stream", "streams")],
};

/// An entry of `sinks`.
pub(in crate::config) static SINK: Table = Table {
    title: "sinks",
    keys: &[
        NAME,
        KIND,
        key(
            "stream",
            Accepts::Stream,
            Absent::Required,
            "The stream it consumes.",
        ),
        key(
            "outputs",
            Accepts::StreamsOrNone,
            Absent::Default(|| json!([])),
            "Streams it writes; none twice.",
        ),
        AUXILIARY,
        PARAMETERS,
        key(
            "read_timeout",
            Accepts::Seconds,
            Absent::DefaultNotNull(|| endpoint::READ_TIMEOUT.get().into()),
            "Longest single wait for a frame.",
        ),
        PAUSE_SLEEP,
        key(
            "consume_timeout",
            Accepts::Seconds,
            Absent::Unset("unlimited"),
            "Longest time one call may take.",
        ),
        WAIT,
        key(
            "deadline",
            Accepts::Seconds,
            Absent::Unset("none"),
            "Latency budget from the origin of the data to the end of consuming it; frames that exceed it are counted.",
        ),
        PROCESS,
        PLACEMENT_KEY,
        RESTART_KEY,
    ],
    either: &[],
};

/// `placement` of a kernel, source or sink.
pub(in crate::config) static PLACEMENT: Table = Table {
    title: "placement",
    keys: &[
        key(
            "cpus",
            Accepts::Cpus,
            Absent::Unset("the pipeline's policy"),
            "The number of the CPU it runs on, or a list of those it may run on.",
        ),
        key(
            "scheduler",
            Accepts::Choice(Scheduler::names),
            Absent::Default(|| "other".into()),
            "The ordinary class, or real time: first in first out, or taking turns.",
        ),
        key(
            "priority",
            Accepts::Integer(PRIORITIES),
            Absent::Unset("1 with `fifo` and `rr`"),
            "Priority among real-time nodes; refused with the ordinary class.",
        ),
        key(
            "lock_memory",
            Accepts::Boolean,
            NO,
            "Whether all memory of its process is locked and touched beforehand.",
        ),
        key(
            "strict",
            Accepts::Boolean,
            NO,
            "Whether what the system refuses makes the node fail, instead of being reported.",
        ),
    ],
    either: &[],
};

/// `restart` of a kernel, source or sink.
pub(in crate::config) static RESTART: Table = Table {
    title: "restart",
    keys: &[
        key(
            "policy",
            Accepts::Choice(RestartPolicy::names),
            Absent::Required,
            "`never`; `on-failure`: if it failed or was killed; `always`: however it ended.",
        ),
        key(
            "backoff_s",
            Accepts::Seconds,
            Absent::Default(|| BACKOFF.get().into()),
            "Wait before the first attempt; each further one waits twice as long.",
        ),
        key(
            "backoff_max_s",
            Accepts::Seconds,
            Absent::Default(|| BACKOFF_MAX.get().into()),
            "Longest wait before an attempt; not below `backoff_s`, which it follows if that is longer and this is not given.",
        ),
        key(
            "limit",
            Accepts::Integer(Range {
                least: 1,
                most: u32::MAX as i128,
            }),
            Absent::Unset("no limit"),
            "Attempts within the window after which it has failed for good.",
        ),
        key(
            "window_s",
            Accepts::Seconds,
            Absent::Default(|| WINDOW.get().into()),
            "The time over which attempts are counted.",
        ),
    ],
    either: &[],
};

const PATTERN: Key = key(
    "pattern",
    Accepts::Text,
    Absent::Required,
    "The name of the pattern, whatever its case.",
);

/// `initial` of a stream, by pattern; checked against dtype and shape by
/// [`thalweg_kernels::initial`], which a test keeps in step.
pub(in crate::config) static INITIAL: [(&str, Table); 5] = [
    (
        "constant",
        Table {
            title: "initial: constant",
            keys: &[
                PATTERN,
                key(
                    "value",
                    Accepts::Element,
                    Absent::Required,
                    "What every element is; fits the dtype.",
                ),
            ],
            either: &[],
        },
    ),
    (
        "normal",
        Table {
            title: "initial: normal",
            keys: &[
                PATTERN,
                key(
                    "seed",
                    Accepts::Integer(Range::from(0)),
                    Absent::DefaultNotNull(|| 0.into()),
                    "The numbers are those of NumPy's `default_rng(seed).standard_normal`. The dtype is a floating-point one.",
                ),
                key(
                    "mean",
                    Accepts::Number,
                    Absent::DefaultNotNull(|| 0.0.into()),
                    "Mean of the distribution.",
                ),
                key(
                    "std",
                    Accepts::Number,
                    Absent::DefaultNotNull(|| 1.0.into()),
                    "Standard deviation, at least 0.",
                ),
            ],
            either: &[],
        },
    ),
    (
        "values",
        Table {
            title: "initial: values",
            keys: &[
                PATTERN,
                key(
                    "values",
                    Accepts::Elements,
                    Absent::Required,
                    "Nested lists that have exactly the stream's shape.",
                ),
            ],
            either: &[],
        },
    ),
    (
        "identity",
        Table {
            title: "initial: identity",
            keys: &[
                PATTERN,
                key(
                    "scale",
                    Accepts::Element,
                    Absent::DefaultNotNull(|| 1.0.into()),
                    "What stands on the main diagonal; all else is 0. The stream has two axes, not necessarily of the same extent.",
                ),
            ],
            either: &[],
        },
    ),
    (
        "file",
        Table {
            title: "initial: file",
            keys: &[
                PATTERN,
                key(
                    "path",
                    Accepts::Text,
                    Absent::Required,
                    "A `.npy` file of exactly this dtype and shape, relative to the folder of the document.",
                ),
            ],
            either: &[],
        },
    ),
];

/// All tables but those of `initial`, as the guide lists them.
pub(in crate::config) static TABLES: [&Table; 9] = [
    &ROOT,
    &STREAM,
    &KERNEL,
    &SYNCHRONIZATION,
    &SOURCE,
    &SINK,
    &PLACEMENT,
    &RESTART,
    &PIPELINE_PLACEMENT,
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use thalweg_kernels::initial::Initial;
    use thalweg_shm::DType;

    use serde_json::Value as Json;

    use super::*;
    use crate::config::{PipelineConfig, normalize_entry};

    /// Entries that say only what they have to.
    fn minimal() -> Json {
        json!({
            "shared_memory": [{"name": "a", "shape": [1]}, {"name": "b", "shape": [1]}],
            "kernels": [{"name": "k", "kind": "k", "input": "a", "output": "b", "synchronization": {}}],
            "sources": [{"name": "s", "kind": "k", "stream": "a"}],
            "sinks": [{"name": "t", "kind": "k", "stream": "b"}],
        })
    }

    fn assert_defaults(table: &Table, complete: &Json) {
        for key in table.keys {
            let found = complete.get(key.name);
            match key.absent {
                Absent::Default(expected) | Absent::DefaultNotNull(expected) => {
                    let expected = expected();
                    let found = found.unwrap_or_else(|| panic!("no {} in {complete}", key.name));
                    // A policy by its name stands for the mapping with every default.
                    let found = match expected {
                        Json::String(_) => found.get("policy").unwrap_or(found),
                        _ => found,
                    };
                    assert_eq!(*found, expected, "{}: {}", table.title, key.name);
                }
                Absent::Unset(_) => match key.name {
                    "placement" => assert_defaults(&PLACEMENT, &complete["placement"]),
                    "trigger_policy" => assert_eq!(complete["trigger_policy"], "any_new"),
                    // The older name is never written.
                    "timeout" => assert_eq!(found, None),
                    "auxiliary" => assert_eq!(complete["auxiliary"], json!({})),
                    _ => assert_eq!(found, Some(&Json::Null), "{}: {}", table.title, key.name),
                },
                Absent::Required | Absent::RequiredEither | Absent::UnsetNotNull(_) => {}
            }
        }
    }

    #[test]
    fn the_table_says_what_reading_makes_of_absent_keys() {
        let document = minimal();
        let config = PipelineConfig::from_json(&document, Path::new("/")).expect("valid");
        let complete = config.to_json_complete();
        for (table, section) in [
            (&STREAM, "shared_memory"),
            (&KERNEL, "kernels"),
            (&SOURCE, "sources"),
            (&SINK, "sinks"),
        ] {
            assert_defaults(table, &complete[section][0]);
            let entry = normalize_entry(section, &document[section][0]);
            assert_eq!(entry.as_ref(), Ok(&complete[section][0]));
        }
        assert_defaults(&RESTART, &complete["kernels"][0]["restart"]);
        assert_defaults(&SYNCHRONIZATION, &complete["kernels"][0]["synchronization"]);
        assert_defaults(&PIPELINE_PLACEMENT, &complete["placement"]);
        // Every key of a complete entry is in its table.
        for (table, entry) in [
            (&ROOT, &complete),
            (&STREAM, &complete["shared_memory"][0]),
            (&KERNEL, &complete["kernels"][0]),
            (&SOURCE, &complete["sources"][0]),
            (&SINK, &complete["sinks"][0]),
        ] {
            for name in entry.as_object().expect("a mapping").keys() {
                assert!(table.key(name).is_some(), "{}: {name}", table.title);
            }
        }
    }

    #[test]
    fn the_table_has_the_keys_of_initial_patterns() {
        for (pattern, table) in &INITIAL {
            let json = json!({"pattern": pattern, "?": 0});
            let given = json.as_object().expect("a mapping");
            let problems = Initial::new(given, DType::Float32, &[2, 2], Path::new("/"));
            let problems = problems.expect_err("an unknown key");
            let unknown = problems
                .iter()
                .find(|it| it.message.contains("contains unsupported"));
            let message = &unknown.expect("a word about it").message;
            let keys: Vec<&str> = table.keys[1..].iter().map(|key| key.name).collect();
            let expected = format!("it takes {}", keys.join(", "));
            assert!(message.ends_with(&expected), "{message}");
        }
    }
}
