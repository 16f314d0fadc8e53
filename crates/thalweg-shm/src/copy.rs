//! Copying bytes that another process may be writing.
//!
//! A reader copies first and checks afterwards whether the writer came by; until then the bytes
//! may change under the copy, which would be undefined behaviour for an ordinary `memcpy`. The
//! transfer itself therefore happens where the compiler cannot reason about it: relaxed atomics
//! for small sizes, inline assembly (`rep movsb`, as fast as the C library's copy from about 128
//! bytes) above, and atomics throughout under loom, miri, sanitizers and on other processors.

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
        return;
    }
    // SAFETY: as for this function.
    unsafe { copy_atomically(source, target, count) };
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
        let source: Vec<u8> = (0..600u32).map(|i| i as u8).collect();
        for count in (0..40).chain([120, 127, 128, 129, 300, 512]) {
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
