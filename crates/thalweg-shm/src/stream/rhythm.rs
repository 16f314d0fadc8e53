//! When the next frame of a stream with a steady pace will come.
//!
//! A frame each millisecond is too rare to spin for all the time between two, and a sleeper pays
//! for its wake with every one. But a producer that keeps a pace tells when it is worth spinning: a
//! waiter sleeps until shortly before the frame is due and spins for the moment around it.
//!
//! Nothing here reads a clock. It is fed with the times of publications and of the waiter's own
//! wakes, and answers with times.

/// The part of a period that a waiter may spin, one tenth: what it saves is a few microseconds.
const SPIN_SHARE: f64 = 0.1;
/// However long the period: somebody else may be in want of the CPU, and of the permit.
const LONGEST_SPIN_NS: f64 = 500_000.0;
/// Intervals that have to agree before anything is predicted.
const HEARD: usize = 8;
/// How many of them have to.
const AGREEING: usize = 6;
/// What a median of intervals may be: longer ones than this are pauses.
const LONGEST_PERIOD_NS: u64 = 10_000_000_000;
/// A window begins this many mean deviations before the beat, of arrivals and of wakes together, and
/// ends that many after it, of arrivals: what delays a frame is of all sizes, what advances one is not.
const LEAD_DEVIATIONS: f64 = 2.5;
const LAG_DEVIATIONS: f64 = 5.0;
/// An arrival this many mean deviations off the beat is a stray. It moves the beat as if it had been
/// no further off.
const STRAY_DEVIATIONS: f64 = 4.0;
/// No window is narrower, and no arrival nearer to the beat a stray: the clock readings that all
/// of this is made from are not better.
const LEAST_DEVIATION_NS: f64 = 500.0;
/// With so many strays among the last eight arrivals, the pace has changed.
const STRAYS_OF_A_NEW_PACE: u32 = 4;
/// A half of an error moves the beat: within a sixth of what is best for a producer whose delays
/// leave its later frames alone, and for one whose delays add up.
const BEAT_GAIN: f64 = 0.5;
/// What an error of the beat tells about the period.
const PERIOD_GAIN: f64 = 1.0 / 16.0;
/// Weight of a new sample in a mean.
const MEAN_GAIN: f64 = 1.0 / 8.0;
/// How much of the lateness of wakes is forgotten with each frame that could not be slept for.
const DOUBT_GAIN: f64 = 1.0 / 64.0;
/// The kernel may be late with a timer by 50 us unless told otherwise.
const FIRST_LATENESS_NS: f64 = 60_000.0;
const FIRST_LATENESS_DEVIATION_NS: f64 = 5_000.0;

/// When to spin for the next frame, in monotonic time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArrivalWindow {
    /// Until when to ask to sleep: the wake will be about as late as wakes have been. Not at all if
    /// that has passed.
    pub(crate) sleep_until_ns: u64,
    /// Spinning ends here.
    pub(crate) closes_ns: u64,
    /// Spinning ends after this long, too.
    pub(crate) budget_ns: u64,
}

/// The pace of one stream as one handle has seen it.
#[derive(Debug)]
pub(crate) struct Rhythm {
    last: Option<Arrival>,
    pace: Pace,
    lateness: Lateness,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    count: u64,
    publish_ns: u64,
}

#[derive(Debug)]
enum Pace {
    /// The intervals heard so far, oldest first.
    Unknown {
        intervals_ns: [u64; HEARD],
        heard: usize,
    },
    Known(Beat),
}

/// A grid of times at which frames are due.
#[derive(Clone, Copy, Debug)]
struct Beat {
    /// One of them, near the latest arrival.
    at_ns: u64,
    /// The rest of it below a nanosecond, which would add up.
    fraction_ns: f64,
    period_ns: f64,
    /// Mean absolute distance of the arrivals.
    deviation_ns: f64,
    /// The last eight arrivals, a bit each: 1 for a stray.
    strays: u8,
}

/// How late this waiter wakes after the time it asked for.
#[derive(Debug)]
struct Lateness {
    mean_ns: f64,
    deviation_ns: f64,
}

impl Rhythm {
    pub(crate) fn new() -> Self {
        Self {
            last: None,
            pace: Pace::UNKNOWN,
            lateness: Lateness {
                mean_ns: FIRST_LATENESS_NS,
                deviation_ns: FIRST_LATENESS_DEVIATION_NS,
            },
        }
    }

    /// The newest frame there is has this number and was published at this time. Frames in between
    /// may be left out; the same one again tells nothing.
    pub(crate) fn arrived(&mut self, count: u64, publish_ns: u64) {
        let arrival = Arrival { count, publish_ns };
        let Some(last) = self.last.replace(arrival) else {
            return;
        };
        let frames = count.wrapping_sub(last.count);
        if frames == 0 {
            return;
        }
        let elapsed_ns = publish_ns.wrapping_sub(last.publish_ns);
        // Also where time or count went backwards, which only a hostile peer can do.
        if frames > LONGEST_PERIOD_NS || elapsed_ns / frames > LONGEST_PERIOD_NS {
            self.pace = Pace::UNKNOWN;
            return;
        }
        match &mut self.pace {
            Pace::Unknown {
                intervals_ns,
                heard,
            } => {
                if *heard == HEARD {
                    intervals_ns.rotate_left(1);
                    *heard -= 1;
                }
                intervals_ns[*heard] = elapsed_ns / frames;
                *heard += 1;
                if *heard == HEARD
                    && let Some(beat) = Beat::found(intervals_ns, publish_ns)
                {
                    self.pace = Pace::Known(beat);
                }
            }
            Pace::Known(beat) => {
                beat.follow(frames, publish_ns);
                if beat.is_lost() {
                    self.pace = Pace::UNKNOWN;
                }
            }
        }
    }

    /// The waiter had asked to sleep until some time, and woke this much later.
    pub(crate) fn woke_late(&mut self, late_ns: u64) {
        self.lateness.learn(late_ns as f64);
    }

    /// When to spin for the frame that a waiter begins to wait for now. `None` where that would not
    /// bring it: the pace is unknown, or too irregular or too fast for the CPU time it may take, or
    /// the frame is due too soon to sleep and too late to spin until then.
    pub(crate) fn next_window(&mut self, now_ns: u64) -> Option<ArrivalWindow> {
        let Pace::Known(beat) = &self.pace else {
            return None;
        };
        let budget_ns = (beat.period_ns * SPIN_SHARE).min(LONGEST_SPIN_NS);
        let lag_ns = LAG_DEVIATIONS * beat.deviation_ns;
        // Frames and wakes are late independently of each other.
        let lead_ns = LEAD_DEVIATIONS * beat.deviation_ns.hypot(self.lateness.deviation_ns);
        // At least the likelier half of what comes late has to fit in.
        if lead_ns + beat.deviation_ns > budget_ns {
            self.lateness.doubt();
            return None;
        }
        let due_ns = beat.next_after(now_ns.saturating_sub(lag_ns as u64))?;
        let asks_early_ns = lead_ns + self.lateness.mean_ns;
        let sleep_until_ns = due_ns.checked_sub(asks_early_ns as u64)?;
        let window = ArrivalWindow {
            sleep_until_ns,
            closes_ns: due_ns.saturating_add(lag_ns as u64),
            budget_ns: budget_ns as u64,
        };
        let is_open = window.closes_ns.saturating_sub(now_ns) <= window.budget_ns;
        if sleep_until_ns <= now_ns && !is_open {
            self.lateness.doubt();
            return None;
        }
        Some(window)
    }
}

impl Pace {
    const UNKNOWN: Self = Self::Unknown {
        intervals_ns: [0; HEARD],
        heard: 0,
    };
}

impl Beat {
    /// The beat behind the last intervals, of which the latest ended at `now_ns`, if most agree.
    fn found(intervals_ns: &[u64; HEARD], now_ns: u64) -> Option<Self> {
        let period_ns = median(intervals_ns);
        let off = |interval_ns: u64| (interval_ns as f64 - period_ns).abs();
        let mut offs = intervals_ns.map(off);
        offs.sort_by(f64::total_cmp);
        let agreeing = &offs[..AGREEING];
        // Two arrivals make an interval, so this is more than their distance from the beat.
        let deviation_ns = agreeing.iter().sum::<f64>() / AGREEING as f64;
        if period_ns <= 0.0 || agreeing[AGREEING - 1] > period_ns / 4.0 {
            return None;
        }
        // The latest arrival may be the stray: the beat goes through the middle of all of them.
        let mut before_ns = 0.0;
        let mut steps = 0.0;
        let mut lates_ns = [0i64; HEARD];
        for (late_ns, &interval_ns) in lates_ns.iter_mut().zip(intervals_ns.iter().rev()) {
            *late_ns = (steps * period_ns - before_ns) as i64;
            before_ns += interval_ns as f64;
            steps += 1.0;
        }
        lates_ns.sort_unstable();
        let late_ns = i64::midpoint(lates_ns[HEARD / 2 - 1], lates_ns[HEARD / 2]);
        Some(Self {
            at_ns: now_ns.saturating_add_signed(late_ns),
            fraction_ns: 0.0,
            period_ns,
            deviation_ns: deviation_ns.max(LEAST_DEVIATION_NS),
            strays: 0,
        })
    }

    /// Takes an arrival into account, `frames` after the one before.
    fn follow(&mut self, frames: u64, publish_ns: u64) {
        let since_ns = signed_difference(publish_ns, self.at_ns) - self.fraction_ns;
        let steps = (since_ns / self.period_ns).round().max(0.0);
        let error_ns = since_ns - steps * self.period_ns;
        let bound_ns = STRAY_DEVIATIONS * self.deviation_ns;
        let bounded_ns = error_ns.clamp(-bound_ns, bound_ns);
        // A frame that was left out is off the beat as well: the window waited for it in vain.
        let is_stray = error_ns != bounded_ns || steps != frames as f64;
        self.strays = self.strays << 1 | u8::from(is_stray);
        self.deviation_ns += MEAN_GAIN * (bounded_ns.abs() - self.deviation_ns);
        self.deviation_ns = self.deviation_ns.max(LEAST_DEVIATION_NS);
        let moved_ns = steps * self.period_ns + BEAT_GAIN * bounded_ns + self.fraction_ns;
        self.period_ns += PERIOD_GAIN * bounded_ns / steps.max(1.0);
        let whole_ns = moved_ns.floor();
        self.at_ns = self.at_ns.saturating_add_signed(whole_ns as i64);
        self.fraction_ns = moved_ns - whole_ns;
    }

    fn is_lost(&self) -> bool {
        self.strays.count_ones() >= STRAYS_OF_A_NEW_PACE || self.period_ns < 1.0
    }

    /// The first beat after the latest one and after `time_ns`.
    fn next_after(&self, time_ns: u64) -> Option<u64> {
        let passed = signed_difference(time_ns, self.at_ns) / self.period_ns;
        let steps = (passed.floor() + 1.0).max(1.0);
        let ahead_ns = steps * self.period_ns + self.fraction_ns;
        self.at_ns.checked_add(ahead_ns as u64)
    }
}

impl Lateness {
    fn learn(&mut self, late_ns: f64) {
        // One preemption says nothing about the next wake.
        let bound_ns = STRAY_DEVIATIONS * self.deviation_ns + 1_000.0;
        let error_ns = (late_ns - self.mean_ns).clamp(-bound_ns, bound_ns);
        self.mean_ns += MEAN_GAIN * error_ns;
        self.deviation_ns += MEAN_GAIN * (error_ns.abs() - self.deviation_ns);
    }

    /// Nothing is slept for, so nothing can be learnt. Wakes that were late and unsteady on a busy
    /// machine would be believed to be so for ever, if this did not lead to another attempt.
    fn doubt(&mut self) {
        self.mean_ns -= DOUBT_GAIN * (self.mean_ns - FIRST_LATENESS_NS).max(0.0);
        self.deviation_ns -= DOUBT_GAIN * self.deviation_ns;
    }
}

fn median(intervals_ns: &[u64; HEARD]) -> f64 {
    let mut sorted_ns = *intervals_ns;
    sorted_ns.sort_unstable();
    (sorted_ns[HEARD / 2 - 1] as f64 + sorted_ns[HEARD / 2] as f64) / 2.0
}

fn signed_difference(later_ns: u64, earlier_ns: u64) -> f64 {
    later_ns.wrapping_sub(earlier_ns).cast_signed() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND_NS: u64 = 1_000_000;

    /// What became of the waits for a number of frames.
    #[derive(Debug, Default)]
    struct Tally {
        windows: u32,
        /// Frames that came while spinning.
        hits: u32,
        /// Windows that passed before the frame.
        in_vain: u32,
        spun_ns: u64,
    }

    /// Numbers from 0 to `below`, the same in every run.
    struct Scatter(u64);

    impl Scatter {
        fn next(&mut self, below: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % below
        }
    }

    /// A waiter that waits for each frame from 10 us after the one before, and wakes about 58 us
    /// after what it asks for.
    fn follow(rhythm: &mut Rhythm, arrivals_ns: &[u64]) -> Tally {
        let mut tally = Tally::default();
        let mut scatter = Scatter(7);
        let first = rhythm.last.map_or(0, |last| last.count) + 1;
        for (index, pair) in arrivals_ns.windows(2).enumerate() {
            let &[previous_ns, arrival_ns] = pair else {
                continue;
            };
            let now_ns = previous_ns + 10_000;
            rhythm.arrived(first + index as u64, previous_ns);
            let Some(window) = rhythm.next_window(now_ns) else {
                continue;
            };
            tally.windows += 1;
            let mut began_ns = now_ns;
            if window.sleep_until_ns > now_ns {
                let late_ns = 55_000 + scatter.next(6_000);
                began_ns = window.sleep_until_ns + late_ns;
                if arrival_ns < began_ns {
                    let woken_ns = arrival_ns + 5_000;
                    if woken_ns > window.sleep_until_ns {
                        rhythm.woke_late(woken_ns - window.sleep_until_ns);
                    }
                    continue;
                }
                rhythm.woke_late(late_ns);
            }
            let end_ns = window.closes_ns.min(began_ns + window.budget_ns);
            if arrival_ns <= end_ns {
                tally.hits += 1;
            } else {
                tally.in_vain += 1;
            }
            tally.spun_ns += end_ns.min(arrival_ns).saturating_sub(began_ns);
        }
        tally
    }

    /// A producer with a schedule, late by up to `jitter_ns`.
    fn scheduled(start_ns: u64, period_ns: u64, jitter_ns: u64, frames: u64) -> Vec<u64> {
        let mut scatter = Scatter(3);
        (0..frames)
            .map(|frame| start_ns + frame * period_ns + scatter.next(jitter_ns.max(1)))
            .collect()
    }

    #[test]
    fn a_steady_pace_is_met_spinning_after_a_few_frames() {
        for jitter_ns in [0, 2_000, 15_000] {
            let mut rhythm = Rhythm::new();
            let frames = scheduled(MILLISECOND_NS, MILLISECOND_NS, jitter_ns, 1000);
            let tally = follow(&mut rhythm, &frames);
            assert!(tally.hits > 950, "jitter {jitter_ns} ns: {tally:?}");
            assert!(tally.spun_ns < 60 * MILLISECOND_NS, "{tally:?}");
        }
    }

    #[test]
    fn delays_that_add_up_are_followed() {
        let mut scatter = Scatter(11);
        let mut now_ns = MILLISECOND_NS;
        let frames: Vec<u64> = (0..1000)
            .map(|_| {
                now_ns += 995_000 + scatter.next(10_000);
                now_ns
            })
            .collect();
        let tally = follow(&mut Rhythm::new(), &frames);
        assert!(tally.hits > 900, "{tally:?}");
    }

    #[test]
    fn a_new_pace_is_learnt_and_the_old_one_forgotten() {
        let mut rhythm = Rhythm::new();
        let mut frames = scheduled(MILLISECOND_NS, MILLISECOND_NS, 2_000, 200);
        for period_ns in [2 * MILLISECOND_NS, MILLISECOND_NS / 2, 1_300_000] {
            let start_ns = frames.last().copied().unwrap_or_default() + period_ns;
            let next = scheduled(start_ns, period_ns, 2_000, 200);
            follow(&mut rhythm, &frames);
            let tally = follow(&mut rhythm, &next);
            assert!(tally.hits > 170, "{period_ns} ns: {tally:?}");
            assert!(tally.in_vain < 8, "{period_ns} ns: {tally:?}");
            frames = next;
        }
    }

    #[test]
    fn single_strays_move_nothing() {
        let mut frames = scheduled(MILLISECOND_NS, MILLISECOND_NS, 2_000, 1000);
        for frame in (20..1000).step_by(20) {
            frames[frame] += 300_000;
        }
        let tally = follow(&mut Rhythm::new(), &frames);
        assert!(tally.hits > 900, "{tally:?}");
        assert!(tally.in_vain <= 49, "{tally:?}");
    }

    #[test]
    fn frames_left_out_keep_the_beat() {
        let mut frames = scheduled(MILLISECOND_NS, MILLISECOND_NS, 2_000, 1000);
        let mut index = 0;
        frames.retain(|_| {
            index += 1;
            index % 10 != 0
        });
        let tally = follow(&mut Rhythm::new(), &frames);
        assert!(tally.hits > 750, "{tally:?}");
    }

    #[test]
    fn irregular_arrivals_are_slept_for() {
        let mut scatter = Scatter(5);
        let mut now_ns = MILLISECOND_NS;
        let frames: Vec<u64> = (0..2000)
            .map(|_| {
                now_ns += 200_000 + scatter.next(1_600_000);
                now_ns
            })
            .collect();
        let tally = follow(&mut Rhythm::new(), &frames);
        assert!(tally.windows < 100, "{tally:?}");
    }

    #[test]
    fn a_pace_too_fast_for_a_sleep_is_not_predicted() {
        let frames = scheduled(MILLISECOND_NS, 60_000, 1_000, 1000);
        let tally = follow(&mut Rhythm::new(), &frames);
        assert_eq!(tally.spun_ns, 0, "{tally:?}");
    }

    #[test]
    fn wakes_that_become_later_are_asked_for_earlier() {
        let mut rhythm = Rhythm::new();
        follow(
            &mut rhythm,
            &scheduled(MILLISECOND_NS, MILLISECOND_NS, 2_000, 50),
        );
        let now_ns = 60 * MILLISECOND_NS;
        let early = |rhythm: &mut Rhythm| {
            let window = rhythm.next_window(now_ns).expect("the pace is known");
            window.closes_ns - window.sleep_until_ns
        };
        let before_ns = early(&mut rhythm);
        (0..100).for_each(|_| rhythm.woke_late(75_000));
        assert!(early(&mut rhythm) > before_ns + 10_000);
        rhythm.woke_late(5 * MILLISECOND_NS);
        assert!(
            early(&mut rhythm) < before_ns + 40_000,
            "one preemption is not taken for the rule"
        );
    }

    #[test]
    fn wakes_that_were_unsteady_are_tried_again() {
        let mut rhythm = Rhythm::new();
        let frames =
            |start_ms: u64| scheduled(start_ms * MILLISECOND_NS, MILLISECOND_NS, 2_000, 300);
        follow(&mut rhythm, &frames(1));
        let mut scatter = Scatter(13);
        (0..200).for_each(|_| rhythm.woke_late(scatter.next(2 * MILLISECOND_NS)));
        assert_eq!(rhythm.next_window(300 * MILLISECOND_NS + 100_000), None);
        let tally = follow(&mut rhythm, &frames(301));
        assert!(tally.windows < 250, "{tally:?}");
        let tally = follow(&mut rhythm, &frames(601));
        assert!(tally.hits > 280, "{tally:?}");
    }

    #[test]
    fn the_same_frame_again_tells_nothing() {
        let mut rhythm = Rhythm::new();
        for frame in 1..=20 {
            (0..3).for_each(|_| rhythm.arrived(frame, frame * MILLISECOND_NS));
        }
        let window = rhythm
            .next_window(20 * MILLISECOND_NS + 1_000)
            .expect("the pace is known");
        assert!(window.closes_ns.abs_diff(21 * MILLISECOND_NS) < 10_000);
    }

    proptest! {
        /// Whatever comes, and whenever: no more of the time than its share is spun away.
        #[test]
        fn spinning_stays_within_its_share(
            intervals_ns in prop::collection::vec(
                prop_oneof![
                    4 => 950_000u64..1_050_000,
                    1 => 1_000u64..3_000_000,
                    1 => 199_000u64..201_000,
                ],
                10..400,
            ),
        ) {
            let mut now_ns = MILLISECOND_NS;
            let frames: Vec<u64> = intervals_ns
                .iter()
                .map(|interval_ns| { now_ns += interval_ns; now_ns })
                .collect();
            let elapsed_ns = now_ns - frames[0];
            let tally = follow(&mut Rhythm::new(), &frames);
            // The estimate of the period may be off by a little while it is learnt.
            prop_assert!(tally.spun_ns as f64 <= 1.5 * SPIN_SHARE * elapsed_ns as f64 + 200_000.0);
        }

        /// Words that another process may write: nothing overflows, and no window is absurd.
        #[test]
        fn any_record_is_borne(records in prop::collection::vec(any::<(u64, u64, u64)>(), 1..64)) {
            let mut rhythm = Rhythm::new();
            for (count, publish_ns, now_ns) in records {
                rhythm.arrived(count, publish_ns);
                rhythm.arrived(count.wrapping_add(1), publish_ns.wrapping_add(MILLISECOND_NS));
                rhythm.woke_late(now_ns);
                if let Some(window) = rhythm.next_window(now_ns) {
                    prop_assert!(window.budget_ns <= LONGEST_SPIN_NS as u64);
                }
            }
        }
    }
}
