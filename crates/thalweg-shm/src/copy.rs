//! Copying bytes that another process may be writing.
//!
//! A reader copies first and checks afterwards whether the writer came by; until then the bytes
//! may change under the copy, which would be undefined behaviour for an ordinary `memcpy`. The
//! transfer itself therefore happens where the compiler cannot reason about it: relaxed atomics
//! for small sizes, inline assembly above, and atomics throughout under loom, miri, sanitizers and on other
//! processors.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Copies `count` bytes from `source` to `target`.
///
/// # Safety
///
/// `source` is readable and `target` writable for `count` bytes, and the two do not overlap.
/// Either may be written or read by other processes meanwhile; then the copied bytes are
/// unspecified, not undefined.
pub unsafe fn copy_bytes(source: *const u8, target: *mut u8, count: usize) {
    // Sanitizers do not see into assembly: builds for them say `fuzzing`.
    #[cfg(all(target_arch = "x86_64", not(miri), not(fuzzing)))]
    if count > 128 {
        // `rep movsb` is as fast as anything where both sides lie alike in their cache lines, and half
        // as fast otherwise: arrays of NumPy begin 16 bytes into a line.
        if (source.addr() ^ target.addr()).is_multiple_of(LINE_BYTES) {
            // SAFETY: as for this function.
            unsafe { copy_string(source, target, count) };
        } else {
            // SAFETY: as for this function, and longer than 128 bytes.
            unsafe { copy_vectors(source, target, count) };
        }
        return;
    }
    // SAFETY: as for this function.
    unsafe { copy_atomically(source, target, count) };
}

#[cfg(all(target_arch = "x86_64", not(miri), not(fuzzing)))]
const LINE_BYTES: usize = 64;

/// One instruction for all of it.
///
/// # Safety
///
/// As [`copy_bytes`].
#[cfg(all(target_arch = "x86_64", not(miri), not(fuzzing)))]
unsafe fn copy_string(source: *const u8, target: *mut u8, count: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear in the ABI.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") count => _,
            inout("rsi") source => _,
            inout("rdi") target => _,
            options(nostack, preserves_flags),
        );
    };
}

/// A line at a time, with aligned stores; the first and the last bytes are copied twice.
///
/// # Safety
///
/// As [`copy_bytes`], and `count` is at least 128.
#[cfg(all(target_arch = "x86_64", not(miri), not(fuzzing)))]
unsafe fn copy_vectors(source: *const u8, target: *mut u8, count: usize) {
    // The first 16 bytes unaligned; then from the target's next multiple of 16 on.
    let skipped = 16 - target.addr() % 16;
    let lines = (count - skipped) / LINE_BYTES;
    let last = count - LINE_BYTES;
    // SAFETY: the caller vouches for both ranges. The loop covers `skipped..skipped + 64 * lines`, which
    // is at most `count` and at least one line; the last line begins at `count - 64`.
    unsafe {
        std::arch::asm!(
            "movdqu xmm0, [{source}]",
            "movdqu [{target}], xmm0",
            "2:",
            "movdqu xmm0, [{from}]",
            "movdqu xmm1, [{from} + 16]",
            "movdqu xmm2, [{from} + 32]",
            "movdqu xmm3, [{from} + 48]",
            "movdqa [{to}], xmm0",
            "movdqa [{to} + 16], xmm1",
            "movdqa [{to} + 32], xmm2",
            "movdqa [{to} + 48], xmm3",
            "add {from}, 64",
            "add {to}, 64",
            "dec {lines}",
            "jnz 2b",
            "movdqu xmm0, [{source} + {last}]",
            "movdqu xmm1, [{source} + {last} + 16]",
            "movdqu xmm2, [{source} + {last} + 32]",
            "movdqu xmm3, [{source} + {last} + 48]",
            "movdqu [{target} + {last}], xmm0",
            "movdqu [{target} + {last} + 16], xmm1",
            "movdqu [{target} + {last} + 32], xmm2",
            "movdqu [{target} + {last} + 48], xmm3",
            source = in(reg) source,
            target = in(reg) target,
            last = in(reg) last,
            from = inout(reg) source.wrapping_add(skipped) => _,
            to = inout(reg) target.wrapping_add(skipped) => _,
            lines = inout(reg) lines => _,
            out("xmm0") _,
            out("xmm1") _,
            out("xmm2") _,
            out("xmm3") _,
            options(nostack),
        );
    };
}

/// Word-wise relaxed copy; bytes where the two sides are not equally aligned.
///
/// # Safety
///
/// As [`copy_bytes`].
unsafe fn copy_atomically(source: *const u8, target: *mut u8, count: usize) {
    let word = size_of::<u64>();
    let mut done = 0;
    if (source.addr() | target.addr()).is_multiple_of(word) {
        while done + word <= count {
            // SAFETY: `done + word <= count` bytes are readable; both sides are word aligned.
            let from = unsafe { AtomicU64::from_ptr(source.wrapping_add(done).cast_mut().cast()) };
            // SAFETY: likewise writable.
            let to = unsafe { AtomicU64::from_ptr(target.wrapping_add(done).cast()) };
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            done += word;
        }
    }
    while done < count {
        // SAFETY: `done < count`; bytes have no alignment.
        let from = unsafe { AtomicU8::from_ptr(source.wrapping_add(done).cast_mut()) };
        // SAFETY: likewise writable.
        let to = unsafe { AtomicU8::from_ptr(target.wrapping_add(done)) };
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        done += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_every_length_and_offset() {
        let source: Vec<u8> = (0..600u32).map(|i| (i * 7 + i / 256) as u8).collect();
        for count in (0..40).chain(120..330).chain([512]) {
            for offset in 0..9 {
                let mut target = vec![0xffu8; 640];
                let (from, to) = (source[offset..].as_ptr(), target[8..].as_mut_ptr());
                // SAFETY: both slices hold at least `count` bytes.
                unsafe { copy_bytes(from, to, count) };
                assert_eq!(target[8..8 + count], source[offset..offset + count]);
                assert!(target[8 + count..].iter().all(|&byte| byte == 0xff));
            }
        }
    }
}
