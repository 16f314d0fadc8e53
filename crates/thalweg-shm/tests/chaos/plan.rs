//! How many kills, which streams, and who takes part.

use std::fmt;

use thalweg_os::clock::monotonic_ns;
use thalweg_shm::{DType, StreamOptions};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) kills: u64,
    pub(crate) seed: u64,
    /// Longest time for all of it.
    pub(crate) seconds: u64,
}

impl Plan {
    /// The bounded form unless the environment says otherwise.
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            let parsed = text.parse();
            Some(parsed.unwrap_or_else(|_| panic!("{name}: expected a number, found {text:?}")))
        };
        Self {
            kills: number("THALWEG_CHAOS_KILLS").unwrap_or(600),
            seed: number("THALWEG_CHAOS_SEED").unwrap_or_else(|| monotonic_ns() % 1_000_000_007),
            seconds: number("THALWEG_CHAOS_SECONDS").unwrap_or(120),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills, seed {}, at most {} s",
            self.kills, self.seed, self.seconds
        )
    }
}

/// One kind of stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) slots: usize,
    /// Eight-byte words of a frame.
    pub(crate) words: usize,
    pub(crate) is_strict: bool,
    /// One process reads every frame, and writers wait for it.
    pub(crate) is_lossless: bool,
    /// One process reads the first half of a frame while the other is written.
    pub(crate) is_progressive: bool,
}

impl Setting {
    pub(crate) fn options(self) -> StreamOptions {
        StreamOptions {
            slots: self.slots,
            strict: self.is_strict,
            progressive: self.is_progressive,
            ..StreamOptions::new(DType::Uint64, &[self.words])
        }
    }
}

/// More than 64 KiB, so payloads lie on pages of their own.
const LARGE: usize = 12_289;
/// Just enough for copies to take the path of large frames.
const SMALL: usize = 17;

const fn setting(slots: usize, words: usize) -> Setting {
    Setting {
        slots,
        words,
        is_strict: false,
        is_lossless: false,
        is_progressive: false,
    }
}

/// The streams that take turns.
pub(crate) const SETTINGS: [Setting; 7] = [
    Setting {
        is_lossless: true,
        ..setting(2, SMALL)
    },
    setting(3, SMALL),
    Setting {
        is_progressive: true,
        ..setting(3, LARGE)
    },
    setting(4, SMALL),
    Setting {
        is_lossless: true,
        ..setting(4, SMALL)
    },
    Setting {
        is_strict: true,
        ..setting(4, SMALL)
    },
    setting(7, LARGE),
];

/// What a process does all its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Copies frames in, lends slots, aborts.
    Writer,
    /// Changes a copy of the last frame in place.
    InPlaceWriter,
    /// Holds the lock, and now and then writes under it.
    LockHolder,
    /// Copies frames out.
    Reader,
    /// Looks at frames in place.
    Borrower,
    /// Sleeps until the next frame.
    Waiter,
    /// Gets every frame.
    Subscriber,
    /// Reads frames while they are written.
    RowReader,
    /// Attaches and leaves.
    Opener,
    /// Creates, uses and unlinks other streams.
    Sider,
}

impl Role {
    /// Whether it may publish frames.
    pub(crate) fn publishes(self) -> bool {
        matches!(self, Self::Writer | Self::InPlaceWriter | Self::LockHolder)
    }
}

/// The processes around one stream. Half of them may hold the lock.
pub(crate) const CAST: [Role; 13] = [
    Role::Writer,
    Role::Writer,
    Role::InPlaceWriter,
    Role::LockHolder,
    Role::Reader,
    Role::Reader,
    Role::Borrower,
    Role::Borrower,
    Role::Waiter,
    Role::Waiter,
    Role::Opener,
    Role::Sider,
    Role::Sider,
];

/// What the process on `line` does around a stream of this kind.
pub(crate) fn role(setting: Setting, line: usize) -> Role {
    let is_second = CAST[..line].contains(&CAST[line]);
    match CAST[line] {
        Role::Waiter if is_second && setting.is_lossless => Role::Subscriber,
        Role::Waiter if is_second && setting.is_progressive => Role::RowReader,
        role => role,
    }
}
