//! How fast a stream is written, learnt from one look after the other.

use std::collections::VecDeque;

use thalweg::Publication;
use thalweg::shm::stream::observe::Observation;

use crate::table::bars;

/// Looks the trend goes back.
const TREND_LOOKS: usize = 12;

/// What the looks so far have taught about a stream's rate.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Publication>,
    rate_hz: Option<f64>,
    trend: VecDeque<f64>,
}

impl Pace {
    /// Learns from one more look. Returns the frames published since the last; `None` for the first.
    pub(super) fn learn(&mut self, seen: &Observation) -> Option<u64> {
        let newest = seen.newest;
        let new_frames = self
            .last
            .map(|last| newest.count.saturating_sub(last.count));
        let measured = match self.last {
            Some(last) => rate_between(last, newest),
            // A single look can still compare the frames in the slots. One that was pinned long ago
            // says little about now.
            None => seen
                .held()
                .iter()
                .find(|frame| frame.count + seen.slots.len() as u64 > newest.count)
                .and_then(|&oldest| rate_between(oldest, newest)),
        };
        self.rate_hz = measured.or(self.rate_hz);
        // When frames fail to come, the rate cannot be more than one in the time since the last.
        if let (Some(rate_hz), Some(age_ns)) = (self.rate_hz, seen.age_ns()) {
            let age_s = age_ns as f64 * 1e-9;
            if age_s * rate_hz > 2.0 {
                self.rate_hz = Some(1.0 / age_s);
            }
        }
        self.last = Some(newest);
        if self.trend.len() == TREND_LOOKS {
            self.trend.pop_front();
        }
        self.trend.push_back(self.rate_hz.unwrap_or(0.0));
        new_frames
    }

    /// Frames per second, if two frames were seen.
    pub(super) fn rate_hz(&self) -> Option<f64> {
        self.rate_hz
    }

    /// The rates of the last looks as bars, the highest being the fastest of them.
    pub(super) fn trend(&self) -> String {
        bars(self.trend.iter().copied())
    }
}

/// Frames per second between two publications; `None` if no frame or no time lies between them.
fn rate_between(earlier: Publication, later: Publication) -> Option<f64> {
    let frames = later.count.checked_sub(earlier.count)?;
    let time_ns = later.publish_ns.checked_sub(earlier.publish_ns)?;
    let is_measurable = frames > 0 && time_ns > 0 && earlier.count > 0;
    is_measurable.then(|| frames as f64 * 1e9 / time_ns as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::shm::stream::observe::ObservedSlot;
    use thalweg_os::process::Liveness;

    fn frame(count: u64, publish_ns: u64) -> Publication {
        Publication {
            count,
            publish_ns,
            ..Publication::default()
        }
    }

    fn look(observed_ns: u64, frames: &[Publication]) -> Observation {
        let newest = frames.last().copied().unwrap_or_default();
        Observation {
            observed_ns,
            newest,
            slots: frames.iter().copied().map(ObservedSlot::Frame).collect(),
            unfinished: None,
            attached: Vec::new(),
            pins: Vec::new(),
            pin_limit: 2,
            reserved_pins: 0,
            lossless: Vec::new(),
            writer_waits_for_room: false,
            lock_holder: None,
            lock_is_contended: false,
            last_writer: None,
            creator: Liveness::Alive,
            abandoned_frames: 0,
            is_inconsistent: false,
            sleeps: 0,
            stale: None,
        }
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn one_look_measures_between_the_slots() {
        let mut pace = Pace::default();
        let seen = look(
            41 * MS,
            &[frame(6, 10 * MS), frame(7, 20 * MS), frame(9, 40 * MS)],
        );
        assert_eq!(pace.learn(&seen), None);
        assert_eq!(pace.rate_hz(), Some(100.0));
        assert_eq!(Pace::default().rate_hz(), None);
    }

    #[test]
    fn a_frame_pinned_long_ago_does_not_count() {
        let mut pace = Pace::default();
        pace.learn(&look(
            1001 * MS,
            &[frame(1, 0), frame(98, 999 * MS), frame(99, 1000 * MS)],
        ));
        assert_eq!(pace.rate_hz(), Some(1000.0));
    }

    #[test]
    fn later_looks_measure_between_looks_and_fade_when_nothing_comes() {
        let mut pace = Pace::default();
        pace.learn(&look(MS, &[frame(1, MS)]));
        assert_eq!(pace.rate_hz(), None, "one frame has no rate");
        assert_eq!(
            pace.learn(&look(102 * MS, &[frame(51, 101 * MS)])),
            Some(50)
        );
        assert_eq!(pace.rate_hz(), Some(500.0));
        assert_eq!(pace.learn(&look(104 * MS, &[frame(51, 101 * MS)])), Some(0));
        assert_eq!(pace.rate_hz(), Some(500.0), "the next frame is hardly late");
        pace.learn(&look(2101 * MS, &[frame(51, 101 * MS)]));
        assert_eq!(pace.rate_hz(), Some(0.5));
        assert_eq!(pace.trend(), "▁██▁");
    }

    #[test]
    fn the_trend_goes_back_a_few_looks_only() {
        let mut pace = Pace::default();
        for index in 1..=50 {
            pace.learn(&look(index * MS, &[frame(index, index * MS)]));
        }
        assert_eq!(pace.trend(), "█".repeat(TREND_LOOKS));
    }
}
