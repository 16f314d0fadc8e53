//! What nodes of other programs print.

use std::fmt;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Where lines go that nodes of other programs print. The newest are kept for the failure of the
/// node as well.
#[derive(Clone)]
pub struct PluginOutput {
    print: Arc<TakeLine>,
    /// To the thread that prints; `None` before the first line.
    lines: Arc<Mutex<Option<SyncSender<Line>>>>,
}

/// Takes the name of a node and a line it has printed.
type TakeLine = dyn Fn(&str, &str) + Send + Sync;

struct Line {
    node: String,
    text: String,
}

/// Lines that wait to be printed. More are left out, and that is told.
const WAITING_LINES: usize = 1024;

impl PluginOutput {
    /// Calls `print` with the name of the node and the line, from a thread of its own, which may
    /// take its time.
    pub fn new(print: impl Fn(&str, &str) + Send + Sync + 'static) -> Self {
        Self {
            print: Arc::new(print),
            lines: Arc::new(Mutex::new(None)),
        }
    }

    /// Has a line printed; never waits.
    pub(super) fn print(&self, node: &str, text: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_none() {
            let (sender, receiver) = sync_channel(WAITING_LINES);
            let print = Arc::clone(&self.print);
            let printer = std::thread::Builder::new()
                .name("thalweg-print".to_owned())
                .spawn(move || print_all(&receiver, print.as_ref()));
            // Without a thread to print it the line is left out, like those of a flood.
            *lines = printer.is_ok().then_some(sender);
        }
        let line = Line {
            node: node.to_owned(),
            text: text.to_owned(),
        };
        if let Some(sender) = &*lines
            && let Err(TrySendError::Disconnected(_)) = sender.try_send(line)
        {
            // `print` has panicked; the next line begins anew.
            *lines = None;
        }
    }
}

/// Ends when nobody can print any more.
fn print_all(lines: &Receiver<Line>, print: &TakeLine) {
    while let Ok(Line { node, text }) = lines.recv() {
        print(&node, &text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_order() {
        let (sender, receiver) = sync_channel(2);
        let output = PluginOutput::new(move |node, line| {
            sender.send(format!("{node}: {line}")).unwrap();
        });
        output.print("camera", "one");
        output.print("camera", "two");
        assert_eq!(receiver.recv().unwrap(), "camera: one");
        assert_eq!(receiver.recv().unwrap(), "camera: two");
    }

    #[test]
    fn whoever_does_not_print_keeps_nobody() {
        let (hold, held) = sync_channel::<()>(0);
        let held = Mutex::new(held);
        let output = PluginOutput::new(move |_, _| {
            held.lock().unwrap().recv().ok();
        });
        for _ in 0..10 * WAITING_LINES {
            output.print("camera", "line");
        }
        drop(hold);
    }
}
