//! Frames that are handed over row by row: the other side reads the first while the last is written.

use std::hint::black_box;

use thalweg_shm::{DType, Patience, PublishOptions, Stream, StreamOptions, WaitPolicy};

use crate::Outcome;
use crate::pair::Role;
use crate::ping_pong::Side;
use crate::stream::OwnedStream;

/// Announced at once: small enough to overlap, large enough for announcing not to matter.
const ROW_BYTES: usize = 32 << 10;
const ROW_ELEMENTS: usize = ROW_BYTES / size_of::<f32>();

/// The two progressive streams that carry frames of one size.
#[derive(Debug)]
pub(crate) struct RowConnection {
    sent: OwnedStream,
    received: OwnedStream,
}

impl RowConnection {
    pub(crate) fn create(prefix: &str, bytes: usize) -> Outcome<Self> {
        if bytes < ROW_BYTES || !bytes.is_multiple_of(ROW_BYTES) {
            return Err(format!("{bytes} bytes: expected a multiple of {ROW_BYTES}").into());
        }
        let options = StreamOptions {
            ends_with_creator: true,
            progressive: true,
            ..StreamOptions::new(DType::Float32, &[bytes / ROW_BYTES, ROW_ELEMENTS])
        };
        let create = |sender| Stream::create(&name(prefix, bytes, sender), &options);
        Ok(Self {
            sent: OwnedStream(create(Role::Leader)?),
            received: OwnedStream(create(Role::Partner)?),
        })
    }

    pub(crate) fn open(prefix: &str, bytes: usize) -> Outcome<Self> {
        let open = |sender| Stream::open(&name(prefix, bytes, sender)).map(OwnedStream);
        Ok(Self {
            sent: open(Role::Partner)?,
            received: open(Role::Leader)?,
        })
    }
}

fn name(prefix: &str, bytes: usize, sender: Role) -> String {
    format!("{prefix}.rows-{bytes}.{}", sender.index())
}

/// One end, ready for numbered frames.
#[derive(Debug)]
pub(crate) struct RowEnd<'a> {
    connection: &'a RowConnection,
    policy: WaitPolicy,
    frame: Vec<f32>,
    received: Vec<u8>,
    /// Count of the incoming stream before the first frame.
    before: u64,
}

impl<'a> RowEnd<'a> {
    pub(crate) fn new(connection: &'a RowConnection, policy: WaitPolicy) -> Self {
        let bytes = connection.sent.0.payload_bytes();
        Self {
            connection,
            policy,
            frame: vec![1.0; bytes / size_of::<f32>()],
            received: vec![0; bytes],
            before: connection.received.0.count(),
        }
    }
}

impl Side for RowEnd<'_> {
    fn send(&mut self, _number: u64) -> Outcome<()> {
        let mut loan = self.connection.sent.0.loan(Patience::ENDLESS)?;
        for (index, row) in self.frame.chunks(ROW_ELEMENTS).enumerate() {
            loan.array()?.copy_range_from(index * ROW_ELEMENTS, row)?;
            loan.announce_rows(index + 1)?;
        }
        loan.publish(PublishOptions::default())?;
        Ok(())
    }

    fn receive(&mut self, number: u64) -> Outcome<()> {
        let stream = &self.connection.received.0;
        let of_rows = stream.shape()[0];
        let (policy, patience) = (self.policy, Patience::ENDLESS);
        let mut progress = stream.wait_rows(self.before + number - 1, 1, policy, patience)?;
        let mut read = 0;
        loop {
            let there = progress.rows();
            let target = &mut self.received[read * ROW_BYTES..there * ROW_BYTES];
            progress = stream.read_rows_into(&progress, read..there, target)?;
            read = there;
            if read == of_rows {
                break;
            }
            progress = stream.wait_more_rows(&progress, read + 1, policy, patience)?;
        }
        black_box(&self.received);
        Ok(())
    }
}
