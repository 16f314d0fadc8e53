//! Connections without any protocol: the least a hand-off can cost.

use std::hint::spin_loop;
use std::sync::atomic::Ordering;

use thalweg_os::clock::monotonic_ns;
use thalweg_os::futex;

use crate::Outcome;
use crate::arena::Arena;
use crate::pair::Role;
use crate::ping_pong::Side;

/// Two words; each side spins on the other's.
#[derive(Debug)]
pub(crate) struct Spinning<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) role: Role,
}

impl Side for Spinning<'_> {
    fn send(&mut self, number: u64) -> Outcome<()> {
        let flag = &self.arena.channel(self.role).flag.0;
        flag.store(number, Ordering::Release);
        Ok(())
    }

    fn receive(&mut self, number: u64) -> Outcome<()> {
        let flag = &self.arena.channel(self.role.other()).flag.0;
        while flag.load(Ordering::Acquire) != number {
            spin_loop();
        }
        Ok(())
    }
}

/// Two words and two buffers: a payload and a record are copied in and out, and the sender reads
/// the clock once, as everybody does who stamps a frame.
#[derive(Debug)]
pub(crate) struct Copying<'a> {
    flags: Spinning<'a>,
    sent: Vec<u8>,
    received: Vec<u8>,
    received_record: [u64; 5],
}

impl<'a> Copying<'a> {
    pub(crate) fn new(flags: Spinning<'a>, bytes: usize) -> Self {
        Self {
            flags,
            sent: vec![1; bytes],
            received: vec![0; bytes],
            received_record: [0; 5],
        }
    }
}

impl Side for Copying<'_> {
    fn send(&mut self, number: u64) -> Outcome<()> {
        let Spinning { arena, role } = self.flags;
        arena.copy_in(role.index(), &self.sent);
        let now_ns = monotonic_ns();
        let record = [number, number, now_ns, now_ns, now_ns];
        for (word, value) in arena.channel(role).record.0.iter().zip(record) {
            word.store(value, Ordering::Relaxed);
        }
        self.flags.send(number)
    }

    fn receive(&mut self, number: u64) -> Outcome<()> {
        self.flags.receive(number)?;
        let Spinning { arena, role } = self.flags;
        let record = &arena.channel(role.other()).record.0;
        for (value, word) in self.received_record.iter_mut().zip(record) {
            *value = word.load(Ordering::Relaxed);
        }
        arena.copy_out(role.other().index(), &mut self.received);
        // Nobody may leave the copies out because nobody looks at them.
        std::hint::black_box((&self.received, &self.received_record));
        Ok(())
    }
}

/// Two words; each side sleeps on the other's.
#[derive(Debug)]
pub(crate) struct Sleeping<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) role: Role,
}

impl Side for Sleeping<'_> {
    fn send(&mut self, number: u64) -> Outcome<()> {
        let word = &self.arena.channel(self.role).futex.0;
        word.store(number as u32, Ordering::Release);
        futex::wake(word, 1);
        Ok(())
    }

    fn receive(&mut self, number: u64) -> Outcome<()> {
        let word = &self.arena.channel(self.role.other()).futex.0;
        loop {
            let seen = word.load(Ordering::Acquire);
            if seen == number as u32 {
                return Ok(());
            }
            futex::wait(word, seen, None);
        }
    }
}
