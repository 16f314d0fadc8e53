//! What nodes of other programs print.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

/// Where lines go that nodes of other programs print. The newest are kept for the failure of the
/// node as well.
#[derive(Clone)]
pub struct PluginOutput(Arc<TakeLine>);

/// Takes the name of a node and a line it has printed.
type TakeLine = dyn Fn(&str, &str) + Send + Sync;

impl PluginOutput {
    /// Calls `print` with the name of the node and the line, from the thread that watches the
    /// workers: it must not wait for anything.
    pub fn new(print: impl Fn(&str, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(print))
    }

    pub(super) fn print(&self, node: &str, line: &str) {
        (self.0)(node, line);
    }
}

impl Default for PluginOutput {
    /// Standard error, each line after the name of its node.
    fn default() -> Self {
        Self::new(|node, line| {
            // Nobody may be left to read it.
            writeln!(std::io::stderr().lock(), "[{node}] {line}").ok();
        })
    }
}

impl fmt::Debug for PluginOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PluginOutput")
    }
}
