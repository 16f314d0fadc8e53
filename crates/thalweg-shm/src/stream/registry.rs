//! The attachments of this process, so that handles of one segment find each other, and the locks
//! that are held across a fork.
//!
//! A child must not find a lock held by a thread it does not have. So the thread that forks takes
//! the locks of this module and of every attachment first, which waits until no other thread is
//! inside, and gives them back on both sides. Locks that are not taken here are left alone by
//! children ([`super::reactor`]). Forks that bypass the C library call nothing; a process that has
//! other threads must not do that.

use std::cell::{Cell, UnsafeCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use thalweg_os::file::FileIdentity;
use thalweg_os::fork;

use super::attachment::{Attachment, LocalPin, lock_ignoring_poison};
use super::lent::Windows;
use super::lossless::Subscriptions;

type Attachments = BTreeMap<FileIdentity, Weak<Attachment>>;

/// Made at compile time: nothing is ever half made when another thread forks.
static ATTACHMENTS: Mutex<Attachments> = Mutex::new(BTreeMap::new());

/// The attachments. The locks of single ones are taken after this one, never before.
pub(crate) fn lock() -> MutexGuard<'static, Attachments> {
    hold_locks_across_forks();
    lock_ignoring_poison(&ATTACHMENTS)
}

/// Before the first lock is taken, so that there is no fork without.
fn hold_locks_across_forks() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Ordering::Acquire) {
        return;
    }
    // Threads that come at once may each do this, which does no harm: see `DEPTH`. Waiting for one
    // another would be one more lock.
    let registered = fork::call_around(prepare, give_back, give_back_in_child);
    // It fails for want of a few bytes of memory; the next caller tries again.
    DONE.store(registered.is_ok(), Ordering::Release);
}

/// What the forking thread holds.
struct Held {
    pins: Vec<MutexGuard<'static, Vec<LocalPin>>>,
    subscriptions: Vec<MutexGuard<'static, Subscriptions>>,
    windows: Vec<MutexGuard<'static, Windows>>,
    attachments: MutexGuard<'static, Attachments>,
    /// Keeps the locks of `pins`, `subscriptions` and `windows` alive; in their
    /// order.
    alive: Vec<Arc<Attachment>>,
}

/// A place for them between two calls of the C library.
struct HeldByForkingThread(UnsafeCell<Option<Held>>);

// SAFETY: used only by the thread that holds the lock of `ATTACHMENTS`, from `prepare` to
// `give_back`.
unsafe impl Sync for HeldByForkingThread {}

static HELD: HeldByForkingThread = HeldByForkingThread(UnsafeCell::new(None));

thread_local! {
    /// Calls of `prepare` by this thread: as many as the handlers were registered times.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

extern "C" fn prepare() {
    let depth = DEPTH.get();
    DEPTH.set(depth + 1);
    if depth > 0 {
        return;
    }
    let attachments = lock_ignoring_poison(&ATTACHMENTS);
    let alive: Vec<Arc<Attachment>> = attachments.values().filter_map(Weak::upgrade).collect();
    // Before the pins, as everywhere: who changes a subscription may have to register first.
    let subscriptions = alive
        .iter()
        .map(|attachment| {
            let subscriptions: *const Mutex<Subscriptions> = &raw const attachment.subscriptions;
            // SAFETY: `Held` keeps the attachment alive for longer than the guard.
            lock_ignoring_poison(unsafe { &*subscriptions })
        })
        .collect();
    let pins = alive
        .iter()
        .map(|attachment| {
            let pins: *const Mutex<Vec<LocalPin>> = &raw const attachment.pins;
            // SAFETY: `Held` keeps the attachment alive for longer than the guard.
            lock_ignoring_poison(unsafe { &*pins })
        })
        .collect();
    let windows = alive
        .iter()
        .map(|attachment| {
            let windows: *const Mutex<Windows> = &raw const attachment.windows;
            // SAFETY: `Held` keeps the attachment alive for longer than the guard.
            lock_ignoring_poison(unsafe { &*windows })
        })
        .collect();
    let held = Held {
        pins,
        subscriptions,
        windows,
        attachments,
        alive,
    };
    // SAFETY: this thread holds the lock.
    unsafe { *HELD.0.get() = Some(held) };
}

extern "C" fn give_back() {
    give_back_after(|_held| {});
}

extern "C" fn give_back_in_child() {
    give_back_after(|held| {
        for (windows, attachment) in held.windows.iter_mut().zip(&held.alive) {
            windows.leave_to_parent(attachment);
        }
    });
}

fn give_back_after(last: impl FnOnce(&mut Held)) {
    let depth = DEPTH.get();
    DEPTH.set(depth.saturating_sub(1));
    if depth != 1 {
        return;
    }
    // SAFETY: this thread, or in a child its copy, has held the lock since `prepare`. Taken out
    // first, because the lock is free as soon as its guard is dropped.
    let held = unsafe { (*HELD.0.get()).take() };
    if let Some(mut held) = held {
        last(&mut held);
        let Held {
            pins,
            subscriptions,
            windows,
            attachments,
            alive,
        } = held;
        drop((pins, subscriptions, windows));
        drop(attachments);
        // If these are the last owners, their handles went away during the fork.
        drop(alive);
    }
}
