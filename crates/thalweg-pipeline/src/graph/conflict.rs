//! Streams that more than one node writes.

use std::fmt;

use crate::config::NodeConfig;

/// A stream with more than one producer. A stream has one writer at a time, so which of them
/// wins would depend on who comes first.
#[derive(Clone, Debug)]
pub struct ProducerConflict<'config> {
    /// The stream.
    pub stream: &'config str,
    /// Everybody who writes it, in the order of [`crate::config::PipelineConfig::nodes`].
    pub producers: Vec<NodeConfig<'config>>,
}

impl fmt::Display for ProducerConflict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = self.producers.first().map(|producer| producer.noun());
        let uniform = role.filter(|role| self.producers.iter().all(|node| node.noun() == *role));
        let mut names: Vec<String> = self
            .producers
            .iter()
            .map(|node| match uniform {
                Some(_) => node.name().to_owned(),
                None => format!("{} {}", node.noun(), node.name()),
            })
            .collect();
        names.sort();
        let what = uniform.map_or_else(
            || "producers".to_owned(),
            |role| format!("producer {role}s"),
        );
        write!(
            f,
            "shared memory '{}' has multiple {what}: {}",
            self.stream,
            names.join(", ")
        )
    }
}
