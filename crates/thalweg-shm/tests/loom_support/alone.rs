//! Writers that wait for nobody.

use thalweg_shm::protocol::room::RoomEnvironment;
use thalweg_shm::protocol::sync::AtomicU32;
use thalweg_shm::protocol::words::AttachmentId;

/// The environment of writers without lossless readers.
pub(crate) struct Alone;

impl RoomEnvironment for Alone {
    fn sleep(&self, _word: &AtomicU32, _expected: u32, _slice_ns: u64) -> bool {
        unreachable!("nobody to wait for")
    }

    fn clear_if_dead(&self, _owner: AttachmentId) -> bool {
        unreachable!("nobody to wait for")
    }

    fn gives_up(&self) -> bool {
        unreachable!("nobody to wait for")
    }
}
