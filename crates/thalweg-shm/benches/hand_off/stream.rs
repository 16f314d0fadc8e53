//! A connection of two streams, one there and one back.

use thalweg_shm::{
    ArrayRef, DType, Patience, PublishOptions, Stream, StreamOptions, WaitPolicy, WriteLock,
};

use crate::Outcome;
use crate::pair::Role;
use crate::ping_pong::Side;

/// Creates the stream `name` with frames of `bytes` bytes, removed when dropped.
pub(crate) fn create(name: &str, bytes: usize) -> Outcome<OwnedStream> {
    let options = StreamOptions {
        ends_with_creator: true,
        ..StreamOptions::new(DType::Float32, &[bytes / 4])
    };
    Ok(OwnedStream(Stream::create(name, &options)?))
}

/// A stream that goes with its handle.
#[derive(Debug)]
pub(crate) struct OwnedStream(pub(crate) Stream);

impl Drop for OwnedStream {
    fn drop(&mut self) {
        // Debris of a creator that is gone: the next purge takes what cannot be removed now.
        self.0.unlink().ok();
    }
}

/// The two streams that carry frames of one size.
#[derive(Debug)]
pub(crate) struct Connection {
    sent: OwnedStream,
    received: OwnedStream,
}

impl Connection {
    pub(crate) fn create(prefix: &str, bytes: usize) -> Outcome<Self> {
        Ok(Self {
            sent: create(&name(prefix, bytes, Role::Leader), bytes)?,
            received: create(&name(prefix, bytes, Role::Partner), bytes)?,
        })
    }

    /// The partner's end; what was created in the other process goes with this end, too.
    pub(crate) fn open(prefix: &str, bytes: usize) -> Outcome<Self> {
        let open = |sender| Stream::open(&name(prefix, bytes, sender)).map(OwnedStream);
        Ok(Self {
            sent: open(Role::Partner)?,
            received: open(Role::Leader)?,
        })
    }
}

fn name(prefix: &str, bytes: usize, sender: Role) -> String {
    format!("{prefix}.{bytes}.{}", sender.index())
}

/// One end, ready for numbered frames.
#[derive(Debug)]
pub(crate) struct End<'a> {
    connection: &'a Connection,
    policy: WaitPolicy,
    /// Whether frames are read, or only noticed.
    is_read: bool,
    frame: Vec<f32>,
    received: Vec<u8>,
    /// Count of the incoming stream before the first frame.
    before: u64,
    /// Held for as long as the connection is used, where writers do so.
    _lock: Option<WriteLock>,
}

impl<'a> End<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        policy: WaitPolicy,
        is_read: bool,
        is_locked: bool,
    ) -> Outcome<Self> {
        let bytes = connection.sent.0.payload_bytes();
        let lock = match is_locked {
            true => Some(connection.sent.0.lock(Patience::ENDLESS)?),
            false => None,
        };
        Ok(Self {
            connection,
            policy,
            is_read,
            frame: vec![1.0; bytes / 4],
            received: vec![0; bytes],
            before: connection.received.0.count(),
            _lock: lock,
        })
    }
}

impl Side for End<'_> {
    fn send(&mut self, _number: u64) -> Outcome<()> {
        let stream = &self.connection.sent.0;
        let frame = ArrayRef::from_slice(&self.frame, stream.shape());
        stream.write(frame, PublishOptions::default(), Patience::ENDLESS)?;
        Ok(())
    }

    fn receive(&mut self, number: u64) -> Outcome<()> {
        let stream = &self.connection.received.0;
        stream.wait_after(self.before + number - 1, self.policy, Patience::ENDLESS)?;
        if self.is_read {
            stream.read_into(&mut self.received, None)?;
            std::hint::black_box(&self.received);
        }
        Ok(())
    }
}
