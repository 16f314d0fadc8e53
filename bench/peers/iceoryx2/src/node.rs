//! Everything that is made through iceoryx2: nodes, services and their ends, all with its defaults.

use iceoryx2::node::Node;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::{Outcome, footprint};

pub(crate) type Samples = Publisher<ipc::Service, [u8], ()>;
pub(crate) type Taken = Subscriber<ipc::Service, [u8], ()>;
pub(crate) type Ring = Notifier<ipc::Service>;
pub(crate) type Ears = Listener<ipc::Service>;

/// The service of these names and sizes, in files whose names begin with a prefix of our own.
pub(crate) fn node(prefix: &str) -> Outcome<Node<ipc::Service>> {
    let mut config = Config::default();
    config.global.prefix = FileName::new(prefix.as_bytes())
        .map_err(|error| format!("prefix `{prefix}`: {error:?}"))?;
    let root = root(prefix);
    config.global.set_root_path(
        &iceoryx2::prelude::Path::new(root.as_bytes())
            .map_err(|error| format!("folder `{root}`: {error:?}"))?,
    );
    Ok(NodeBuilder::new()
        .config(&config)
        // Ctrl-C ends the benchmark, not only what waits in it.
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<ipc::Service>()?)
}

/// Where files go that are not shared memory.
fn root(prefix: &str) -> String {
    std::env::temp_dir().join(prefix).display().to_string()
}

/// Removes what is left when the last node has ended: a folder, and the node's own segment.
pub(crate) fn remove_rest(prefix: &str) {
    std::fs::remove_dir_all(root(prefix)).ok();
    let entries = std::fs::read_dir(footprint::SHARED_MEMORY)
        .into_iter()
        .flatten();
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

pub(crate) fn publisher(
    node: &Node<ipc::Service>,
    service: &str,
    bytes: usize,
) -> Outcome<Samples> {
    let service = node
        .service_builder(&service.try_into()?)
        .publish_subscribe::<[u8]>()
        .open_or_create()?;
    Ok(service
        .publisher_builder()
        .initial_max_slice_len(bytes)
        .create()?)
}

pub(crate) fn subscriber(node: &Node<ipc::Service>, service: &str) -> Outcome<Taken> {
    let service = node
        .service_builder(&service.try_into()?)
        .publish_subscribe::<[u8]>()
        .open_or_create()?;
    Ok(service.subscriber_builder().create()?)
}

pub(crate) fn notifier(node: &Node<ipc::Service>, service: &str) -> Outcome<Ring> {
    let service = node
        .service_builder(&service.try_into()?)
        .event()
        .open_or_create()?;
    Ok(service.notifier_builder().create()?)
}

pub(crate) fn listener(node: &Node<ipc::Service>, service: &str) -> Outcome<Ears> {
    let service = node
        .service_builder(&service.try_into()?)
        .event()
        .open_or_create()?;
    Ok(service.listener_builder().create()?)
}
