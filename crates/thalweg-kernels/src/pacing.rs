//! Producing frames at a rate.

use crate::node::SourceContext;

/// Absolute deadlines of a source, one period apart.
///
/// A frame that is late moves the deadlines after it: what was missed is not caught up.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// `None` for as fast as possible.
    period_ns: Option<f64>,
    due: Option<Due>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at_ns: u64,
    /// What rounding to whole nanoseconds left over.
    fraction_ns: f64,
}

impl Pacer {
    /// Deadlines at `rate_hz`, a positive number, or none at all.
    pub fn new(rate_hz: Option<f64>) -> Self {
        Self {
            period_ns: rate_hz.map(|rate_hz| 1e9 / rate_hz),
            due: None,
        }
    }

    /// Waits until the next frame is due; true when the pipeline wants to stop instead. The first
    /// frame is due at once. Call it when a frame begins, the one before having been written.
    pub fn wait(&mut self, context: &mut dyn SourceContext) -> bool {
        if context.stop_requested() {
            return true;
        }
        let Some(period_ns) = self.period_ns else {
            return false;
        };
        let now_ns = context.now_ns();
        let on_time = self.due.map(|due| {
            let exact_ns = due.fraction_ns + period_ns;
            // A period beyond 584 years saturates.
            let whole_ns = exact_ns.floor() as u64;
            Due {
                at_ns: due.at_ns.saturating_add(whole_ns),
                fraction_ns: exact_ns - exact_ns.floor(),
            }
        });
        let due = on_time.filter(|due| due.at_ns > now_ns).unwrap_or(Due {
            at_ns: now_ns,
            fraction_ns: 0.0,
        });
        if due.at_ns > now_ns && context.sleep_until(due.at_ns) {
            return true;
        }
        self.due = Some(due);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestContext;

    #[test]
    fn deadlines_do_not_drift() {
        let mut context = TestContext::at(1_000);
        let mut pacer = Pacer::new(Some(3e6));
        for frame in 0..100_000u32 {
            assert!(!pacer.wait(&mut context));
            let exact_ns = 1_000.0 + f64::from(frame) * 1e9 / 3e6;
            assert!(
                (context.now_ns as f64 - exact_ns).abs() < 2.0,
                "frame {frame}"
            );
            context.now_ns += 100;
        }
    }

    #[test]
    fn late_frames_are_not_caught_up() {
        let mut context = TestContext::at(0);
        let mut pacer = Pacer::new(Some(1e6));
        assert!(!pacer.wait(&mut context));
        context.now_ns = 5_500;
        assert!(!pacer.wait(&mut context));
        assert_eq!(context.now_ns, 5_500, "due at once");
        assert!(!pacer.wait(&mut context));
        assert_eq!(context.now_ns, 6_500);
    }

    #[test]
    fn without_a_rate_nothing_waits_and_a_stop_ends_the_wait() {
        let mut context = TestContext::at(7);
        let mut pacer = Pacer::new(None);
        assert!(!pacer.wait(&mut context) && !pacer.wait(&mut context));
        assert_eq!(context.now_ns, 7);
        let mut pacer = Pacer::new(Some(1.0));
        assert!(!pacer.wait(&mut context));
        context.stop = true;
        assert!(pacer.wait(&mut context));
    }
}
