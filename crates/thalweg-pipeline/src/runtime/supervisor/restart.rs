//! How often and how soon a node is started again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::{Restart, RestartPolicy};

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It came to its end.
    Finished,
    /// Otherwise.
    Failed,
}

/// The attempts made for one node so far.
#[derive(Debug, Default)]
pub(super) struct RestartHistory {
    /// Within the window, oldest first.
    attempts: VecDeque<Instant>,
    /// Without the node having run through a whole window in between.
    in_a_row: u32,
}

impl RestartHistory {
    /// How long to wait before the node that ended at `now`, having been ready since
    /// `ready_since`, is started again; `None` if it is not.
    pub(super) fn next(
        &mut self,
        rule: &Restart,
        ending: Ending,
        ready_since: Option<Instant>,
        now: Instant,
    ) -> Option<Duration> {
        let is_wanted = match rule.policy {
            RestartPolicy::Never => false,
            RestartPolicy::OnFailure => ending == Ending::Failed,
            RestartPolicy::Always => true,
        };
        if !is_wanted {
            return None;
        }
        let window = rule.window.duration();
        while let Some(&oldest) = self.attempts.front()
            && now.duration_since(oldest) > window
        {
            self.attempts.pop_front();
        }
        let limit = rule.limit.map_or(usize::MAX, |limit| limit as usize);
        if self.attempts.len() >= limit {
            return None;
        }
        if ready_since.is_some_and(|since| now.duration_since(since) >= window) {
            self.in_a_row = 0;
        }
        let factor = 2f64.powi(i32::try_from(self.in_a_row.min(64)).unwrap_or(64));
        let delay_s = (rule.backoff.get() * factor).min(rule.backoff_max.get());
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.attempts.push_back(now);
        // Bounded by `backoff_max`, a duration.
        Some(Duration::try_from_secs_f64(delay_s).unwrap_or(rule.backoff_max.duration()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECONDS: Duration = Duration::from_millis(1);

    fn delays(rule: &Restart, gap: Duration, attempts: usize) -> Vec<Option<Duration>> {
        let mut history = RestartHistory::default();
        let mut now = Instant::now();
        (0..attempts)
            .map(|_| {
                now += gap;
                history.next(rule, Ending::Failed, None, now)
            })
            .collect()
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let rule = Restart::new(RestartPolicy::OnFailure);
        let waits = delays(&rule, MILLISECONDS, 8);
        let expected = [100, 200, 400, 800, 1600, 3200, 5000, 5000];
        assert_eq!(waits, expected.map(|wait| Some(wait * MILLISECONDS)));
    }

    #[test]
    fn the_limit_counts_within_the_window() {
        let rule = Restart {
            limit: Some(2),
            ..Restart::new(RestartPolicy::OnFailure)
        };
        assert_eq!(
            delays(&rule, Duration::from_secs(1), 3),
            [Some(100 * MILLISECONDS), Some(200 * MILLISECONDS), None]
        );
        let spread = delays(&rule, Duration::from_secs(31), 6);
        assert!(spread.iter().all(Option::is_some), "{spread:?}");
    }

    #[test]
    fn a_node_that_ran_through_is_trusted_again() {
        let rule = Restart::new(RestartPolicy::OnFailure);
        let mut history = RestartHistory::default();
        let began = Instant::now();
        assert_eq!(
            history.next(&rule, Ending::Failed, Some(began), began),
            Some(100 * MILLISECONDS)
        );
        let soon = began + Duration::from_secs(5);
        assert_eq!(
            history.next(&rule, Ending::Failed, Some(began), soon),
            Some(200 * MILLISECONDS)
        );
        let late = soon + Duration::from_secs(61);
        assert_eq!(
            history.next(&rule, Ending::Failed, Some(soon), late),
            Some(100 * MILLISECONDS)
        );
    }

    #[test]
    fn who_came_to_the_end_is_only_started_again_if_always() {
        let now = Instant::now();
        for (policy, expected) in [
            (RestartPolicy::Never, [false, false]),
            (RestartPolicy::OnFailure, [false, true]),
            (RestartPolicy::Always, [true, true]),
        ] {
            let rule = Restart::new(policy);
            let found = [Ending::Finished, Ending::Failed].map(|ending| {
                let mut history = RestartHistory::default();
                history.next(&rule, ending, None, now).is_some()
            });
            assert_eq!(found, expected, "{policy:?}");
        }
    }
}
