//! What is published beside the payload.

use crate::protocol::publish::Record;

/// Facts about one frame, all taken from the frame's own slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// Number of the frame, from 1; 0 for a stream nobody wrote yet.
    pub count: u64,
    /// Id its writer stamped; 0 when nobody did.
    pub frame_id: u64,
    /// Wall time of publication in ns since 1970; late by up to a second after a clock step.
    pub wall_ns: u64,
    /// Monotonic time of publication in ns.
    pub publish_ns: u64,
    /// Monotonic time in ns at which the data entered the system; a stage copies it from its
    /// trigger, so `publish_ns - origin_ns` is true input-to-here latency.
    pub origin_ns: u64,
}

impl Publication {
    pub(crate) fn new(count: u64, record: Record) -> Self {
        Self {
            count,
            frame_id: record.frame_id,
            wall_ns: record.wall_ns,
            publish_ns: record.publish_ns,
            origin_ns: record.origin_ns,
        }
    }
}

/// What a writer may say about its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// Id to stamp; `None` repeats the id of the frame before.
    pub frame_id: Option<u64>,
    /// Monotonic time in ns at which the data entered the system; `None` means now.
    pub origin_ns: Option<u64>,
}
