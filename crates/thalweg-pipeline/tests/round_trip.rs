//! Whatever a configuration says survives every way there and back.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use thalweg_kernels::Parameters;
use thalweg_pipeline::config::{
    AuxiliaryBinding, EndpointProcess, KernelConfig, PipelineConfig, PipelinePlacement, Placement,
    PlacementPolicy, Restart, RestartPolicy, Scheduler, Seconds, SinkConfig, SkewPolicy,
    SourceConfig, Storage, StreamConfig, StreamMode, Synchronization, SynchronizationMode,
    TriggerPolicy, normalize_entry,
};
use thalweg_shm::{DType, WaitPolicy};

/// Streams of every generated configuration; nodes refer to them by index.
const STREAMS: usize = 6;

fn stream_name(index: usize) -> String {
    ["raw", "null", "1e5", "with space", "a.b[0]", "größe"][index].to_owned()
}

fn seconds() -> impl Strategy<Value = Seconds> {
    let number = prop_oneof![1e-9_f64..1e9, Just(f64::MIN_POSITIVE), Just(1.0), Just(5.0)];
    number.prop_map(|number| Seconds::new(number).expect("positive"))
}

fn maybe<T: std::fmt::Debug + Clone + 'static>(
    strategy: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Option<T>> {
    prop::option::of(strategy)
}

fn stream(index: usize) -> impl Strategy<Value = StreamConfig> {
    let places = prop_oneof![
        Just((Storage::Cpu, None)),
        (0_u8..4).prop_map(|device| (Storage::Gpu, Some(format!("cuda:{device}")))),
    ];
    let modes = prop::sample::select(vec![
        StreamMode::Create,
        StreamMode::Attach,
        StreamMode::CreateOrAttach,
        StreamMode::Replace,
    ]);
    let initials = prop_oneof![
        Just(None),
        Just(Some(json!({"pattern": "constant", "value": 1}))),
        Just(Some(json!({"pattern": "file", "path": "dark.npy"}))),
    ];
    (
        prop::collection::vec(1_usize..5, 1..4),
        prop::sample::select(DType::ALL.to_vec()),
        places,
        (maybe(any::<bool>()), maybe(any::<bool>()), modes),
        maybe(2_usize..=127),
        initials,
    )
        .prop_map(move |(shape, dtype, place, flags, slots, initial)| {
            let (storage, gpu_device) = place;
            let (cpu_mirror, notify, mode) = flags;
            StreamConfig {
                storage,
                gpu_device,
                cpu_mirror,
                notify,
                mode,
                slots,
                initial: initial.and_then(|initial| initial.as_object().cloned()),
                ..StreamConfig::new(stream_name(index), shape, dtype)
            }
        })
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        prop::num::f64::NORMAL.prop_map(Json::from),
        "\\PC{0,12}".prop_map(Json::from),
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::btree_map("[a-z ]{1,6}", inner, 0..3)
                .prop_map(|entries| Json::Object(entries.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-z_:#]{1,8}", value, 0..3)
        .prop_map(|entries| entries.into_iter().collect::<Map<_, _>>())
}

fn placement() -> impl Strategy<Value = Placement> {
    let cpus = prop::sample::subsequence((0..1024).collect::<Vec<usize>>(), 1..4).prop_shuffle();
    let urgency = prop_oneof![
        Just((Scheduler::Other, None)),
        (1_u8..=99).prop_map(|priority| (Scheduler::Fifo, Some(priority))),
        (1_u8..=99).prop_map(|priority| (Scheduler::RoundRobin, Some(priority))),
    ];
    (maybe(cpus), urgency, any::<bool>(), any::<bool>()).prop_map(
        |(cpus, (scheduler, priority), lock_memory, strict)| Placement {
            cpus,
            scheduler,
            priority,
            lock_memory,
            strict,
        },
    )
}

fn restart() -> impl Strategy<Value = Restart> {
    let policies = prop::sample::select(vec![
        RestartPolicy::Never,
        RestartPolicy::OnFailure,
        RestartPolicy::Always,
    ]);
    let details = maybe((seconds(), seconds(), maybe(1..=u32::MAX), seconds()));
    (policies, details).prop_map(|(policy, details)| match details {
        None => Restart::new(policy),
        Some((one, other, limit, window)) => Restart {
            policy,
            backoff: if one <= other { one } else { other },
            backoff_max: if one <= other { other } else { one },
            limit,
            window,
        },
    })
}

fn wait() -> impl Strategy<Value = WaitPolicy> {
    prop::sample::select(vec![
        WaitPolicy::Park,
        WaitPolicy::Spin,
        WaitPolicy::Adaptive,
    ])
}

fn process() -> impl Strategy<Value = Option<EndpointProcess>> {
    prop::sample::select(vec![
        None,
        Some(EndpointProcess::Manager),
        Some(EndpointProcess::Own),
    ])
}

/// Bindings of the streams `indices`, by alias or by name.
fn bindings(indices: &[usize], by_alias: bool) -> Vec<AuxiliaryBinding> {
    let binding = |&index: &usize| AuxiliaryBinding {
        alias: if by_alias {
            format!("alias {index}")
        } else {
            stream_name(index)
        },
        stream: stream_name(index),
    };
    indices.iter().map(binding).collect()
}

/// How the streams, shuffled, are dealt: triggers, outputs, auxiliary.
fn wiring() -> impl Strategy<Value = (Vec<usize>, usize, usize, usize, bool)> {
    (
        Just((0..STREAMS).collect::<Vec<_>>()).prop_shuffle(),
        1_usize..3,
        1_usize..3,
        0_usize..3,
        any::<bool>(),
    )
}

fn kernel(index: usize) -> impl Strategy<Value = KernelConfig> {
    let synchronization = maybe((any::<bool>(), 1..=u64::MAX, maybe(seconds())));
    let behaviour = (
        maybe("[a-z+* ]{0,8}[a-z]"),
        any::<bool>(),
        any::<bool>(),
        synchronization,
    );
    let execution = (
        wait(),
        maybe(seconds()),
        any::<bool>(),
        placement(),
        restart(),
    );
    let times = (seconds(), seconds(), seconds());
    (wiring(), parameters(), times, behaviour, execution).prop_map(
        move |(wiring, parameters, times, behaviour, execution)| {
            let (order, triggers, outputs, auxiliary, by_alias) = wiring;
            let name = |&index: &usize| stream_name(index);
            let (triggers, rest) = order.split_at(triggers);
            let (outputs, rest) = rest.split_at(outputs);
            let (operation, all_new, propagate_frame_id, synchronization) = behaviour;
            let (wait, deadline, grouped, placement, restart) = execution;
            KernelConfig {
                auxiliary: bindings(&rest[..auxiliary], by_alias),
                operation: operation.map(|operation| operation.trim().to_owned()),
                parameters,
                read_timeout: times.0,
                pause_sleep: times.1,
                poll_interval: times.2,
                trigger_policy: if all_new {
                    TriggerPolicy::AllNew
                } else {
                    TriggerPolicy::AnyNew
                },
                propagate_frame_id,
                synchronization: synchronization.map(|(matching, generations, max_wait)| {
                    Synchronization {
                        mode: if matching && all_new {
                            SynchronizationMode::MatchingFrameId
                        } else {
                            SynchronizationMode::Count
                        },
                        on_skew: SkewPolicy::DropOlder,
                        max_skew_generations: generations,
                        max_wait,
                    }
                }),
                wait,
                deadline,
                group: grouped.then(|| format!("group {index}")),
                placement,
                restart,
                ..KernelConfig::new(
                    format!("kernel {index}"),
                    "example.kernel",
                    triggers.iter().map(name),
                    outputs.iter().map(name),
                )
            }
        },
    )
}

fn source() -> impl Strategy<Value = SourceConfig> {
    let execution = (process(), placement(), restart());
    let times = (seconds(), maybe(seconds()));
    (wiring(), parameters(), times, execution).prop_map(|(wiring, parameters, times, execution)| {
        let (order, _, outputs, auxiliary, by_alias) = wiring;
        let (outputs, rest) = order.split_at(outputs);
        let (process, placement, restart) = execution;
        SourceConfig {
            auxiliary: bindings(&rest[..auxiliary], by_alias),
            parameters,
            poll_interval: times.0,
            read_timeout: times.1,
            process,
            placement,
            restart,
            ..SourceConfig::new(
                "source",
                "example.source",
                outputs.iter().map(|&index| stream_name(index)),
            )
        }
    })
}

fn sink() -> impl Strategy<Value = SinkConfig> {
    let execution = (wait(), maybe(seconds()), process(), placement(), restart());
    let times = (seconds(), seconds(), maybe(seconds()));
    (wiring(), parameters(), times, execution).prop_map(|(wiring, parameters, times, execution)| {
        let (order, _, outputs, auxiliary, by_alias) = wiring;
        let (wait, deadline, process, placement, restart) = execution;
        SinkConfig {
            // One may have none.
            outputs: order[1..outputs]
                .iter()
                .map(|&index| stream_name(index))
                .collect(),
            auxiliary: bindings(&order[3..3 + auxiliary], by_alias),
            parameters,
            read_timeout: times.0,
            pause_sleep: times.1,
            consume_timeout: times.2,
            wait,
            deadline,
            process,
            placement,
            restart,
            ..SinkConfig::new("sink", "example.sink", stream_name(order[0]))
        }
    })
}

fn config() -> impl Strategy<Value = PipelineConfig> {
    let streams: Vec<_> = (0..STREAMS).map(stream).collect();
    let placement = (any::<bool>(), 0_usize..1000).prop_map(|(none, offset)| PipelinePlacement {
        policy: if none {
            PlacementPolicy::None
        } else {
            PlacementPolicy::RoundRobin
        },
        offset,
    });
    (
        maybe("[a-z][a-z ]{0,5}[a-z.]"),
        placement,
        streams,
        (kernel(0), kernel(1)),
        maybe(source()),
        maybe(sink()),
    )
        .prop_map(
            |(namespace, placement, streams, kernels, source, sink)| PipelineConfig {
                namespace,
                placement,
                streams,
                kernels: vec![kernels.0, kernels.1],
                sources: source.into_iter().collect(),
                sinks: sink.into_iter().collect(),
                ..PipelineConfig::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_configuration_survives_every_way_there_and_back(config in config()) {
        for json in [config.to_json(), config.to_json_complete()] {
            let read = PipelineConfig::from_json(&json, Path::new("/"));
            prop_assert_eq!(read.as_ref(), Ok(&config), "{:#}", json);
        }
        let yaml = config.to_yaml().expect("writable");
        let read = PipelineConfig::from_yaml_str(&yaml, Path::new("p.yaml"));
        prop_assert_eq!(read.as_ref(), Ok(&config), "{}", yaml);
        let complete = config.to_json_complete();
        for section in ["shared_memory", "sources", "kernels", "sinks"] {
            for entry in complete[section].as_array().expect("a list") {
                prop_assert_eq!(normalize_entry(section, entry), Ok(entry.clone()));
            }
        }
    }
}
