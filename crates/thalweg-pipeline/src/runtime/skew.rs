//! Putting together frames that belong to each other: triggers whose frame ids have to match.
//!
//! A trigger keeps the frame it has until the others have caught up with it or have passed it. Only
//! triggers that are behind take another: the frame with the id that is looked for if their stream
//! still has it, else the newest. Before anything is given up, those ahead look whether their
//! streams still hold the frame that the others have got. What cannot be put together is given up and counted, whether or
//! not anything ever comes through.

use thalweg_os::clock::monotonic_ns;
use thalweg_shm::counters::NodeCounters;

use super::input::{Input, InputError};
use super::message::Matching;
use super::worker::add;

/// How long what is at hand has been waiting for its partners.
#[derive(Debug, Default)]
pub(super) struct Skew {
    /// Since when something but not everything is at hand (monotonic, ns).
    pub(super) since_ns: Option<u64>,
}

/// Takes what `triggers` have; true when all of them are at one frame id.
pub(super) fn take_matching(
    triggers: &mut [Input],
    matching: Matching,
    skew: &mut Skew,
    counters: &NodeCounters,
) -> Result<bool, InputError> {
    loop {
        let target = newest_id(triggers);
        let mut missed = 0;
        for input in triggers.iter_mut().filter(|input| !input.is_at_hand()) {
            missed += input.take(target)?.unwrap_or(0);
        }
        add(&counters.missed, missed);
        let at_hand = triggers.iter().filter(|input| input.is_at_hand()).count();
        if at_hand == 0 {
            skew.since_ns = None;
            return Ok(false);
        }
        let now_ns = monotonic_ns();
        let since_ns = *skew.since_ns.get_or_insert(now_ns);
        let is_complete = at_hand == triggers.len();
        let ids = || {
            triggers
                .iter()
                .filter(|input| input.is_at_hand())
                .map(|input| input.publication().frame_id)
        };
        let (oldest, newest) = (ids().min().unwrap_or(0), ids().max().unwrap_or(0));
        if is_complete && oldest == newest {
            skew.since_ns = None;
            return Ok(true);
        }
        if is_complete {
            add(&counters.skew_events, 1);
        }
        let is_too_long = matching
            .max_wait_ns
            .is_some_and(|max_wait_ns| now_ns.saturating_sub(since_ns) >= max_wait_ns);
        if newest - oldest > matching.max_skew || is_too_long {
            triggers.iter_mut().for_each(Input::release);
            add(&counters.skew_timeouts, 1);
            skew.since_ns = None;
            return Ok(false);
        }
        if !is_complete {
            return Ok(false);
        }
        if step_back(triggers, oldest)? {
            skew.since_ns = None;
            return Ok(true);
        }
        // Those behind are given up; perhaps something newer is there already.
        for input in triggers.iter_mut() {
            let id = input.publication().frame_id;
            if id < newest {
                add(&counters.skew_skipped, newest - id);
                input.release();
            }
        }
    }
}

/// Has all triggers at `frame_id`, the oldest at hand, if the streams of those that are ahead still
/// hold it. If only some do, those wait at it, which is as good as any other frame that is given up.
fn step_back(triggers: &mut [Input], frame_id: u64) -> Result<bool, InputError> {
    for input in triggers.iter_mut() {
        if input.publication().frame_id != frame_id && !input.step_back(frame_id)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The id that triggers without a frame have to look for: the newest of those at hand.
fn newest_id(triggers: &[Input]) -> Option<u64> {
    let at_hand = triggers.iter().filter(|input| input.is_at_hand());
    at_hand.map(|input| input.publication().frame_id).max()
}
