//! A short text in shared memory, with one writer.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A text of at most `8 * WORDS` bytes. A sequence lock with one writer.
#[derive(Debug)]
#[repr(C)]
pub struct Text<const WORDS: usize> {
    /// Odd while it is written.
    version: AtomicU64,
    length_bytes: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Text<WORDS> {
    /// Replaces the text; what does not fit is left out. Only its owner does this.
    pub fn set(&self, text: &str) {
        let text = &text[..text.floor_char_boundary(8 * WORDS)];
        let writing = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(writing, Ordering::Relaxed);
        // Pairs with the Acquire fence in `get`.
        fence(Ordering::Release);
        self.length_bytes
            .store(text.len() as u64, Ordering::Relaxed);
        for (word, bytes) in self.words.iter().zip(text.as_bytes().chunks(8)) {
            let mut padded = [0u8; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
        }
        // Pairs with the first Acquire load in `get`.
        self.version
            .store(writing.wrapping_add(1), Ordering::Release);
    }

    /// The text; `None` while its owner keeps changing it or died doing so, and when what is there
    /// is no text.
    pub fn get(&self) -> Option<String> {
        (0..1000).find_map(|_| {
            let before = self.version.load(Ordering::Acquire);
            let length = self.length_bytes.load(Ordering::Relaxed) as usize;
            let mut bytes: Vec<u8> = self
                .words
                .iter()
                .take(length.div_ceil(8))
                .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
                .collect();
            bytes.truncate(length);
            fence(Ordering::Acquire);
            let after = self.version.load(Ordering::Relaxed);
            let is_whole = before == after && before.is_multiple_of(2);
            is_whole.then(|| String::from_utf8(bytes).ok())
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Text<2> {
        Text {
            version: AtomicU64::new(0),
            length_bytes: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    #[test]
    fn what_fits_comes_back() {
        let text = text();
        assert_eq!(text.get().as_deref(), Some(""));
        text.set("centroids");
        assert_eq!(text.get().as_deref(), Some("centroids"));
        text.set("fifteen bytes: \u{e9}\u{e9}");
        assert_eq!(
            text.get().as_deref(),
            Some("fifteen bytes: "),
            "no half characters"
        );
    }

    #[test]
    fn a_writer_that_died_is_noticed_and_followed() {
        let text = text();
        text.set("whole");
        text.version.fetch_add(1, Ordering::Relaxed);
        assert_eq!(text.get(), None);
        text.set("again");
        assert_eq!(text.get().as_deref(), Some("again"));
    }

    #[test]
    fn nonsense_is_no_text() {
        let text = text();
        text.set("ab");
        text.words[0].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(text.get(), None);
        text.length_bytes.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(text.get(), None);
    }
}
