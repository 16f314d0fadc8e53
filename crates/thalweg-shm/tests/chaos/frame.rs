//! Frames that tell whether they are whole.

/// Words of the frame with this tag; the first word is the tag.
pub(crate) fn fill(words: &mut [u64], tag: u64) {
    for (index, word) in words.iter_mut().enumerate() {
        *word = word_of(tag, index);
    }
}

/// The tag of a whole frame; `None` for a torn one.
pub(crate) fn tag_of(words: &[u64]) -> Option<u64> {
    let tag = words[0];
    let is_whole = words
        .iter()
        .enumerate()
        .all(|(index, &word)| word == word_of(tag, index));
    is_whole.then_some(tag)
}

fn word_of(tag: u64, index: usize) -> u64 {
    tag.wrapping_add((index as u64).wrapping_mul(0x2545_f491_4f6c_dd1d))
}

/// Marks tags of frames whose writer did not know their number.
pub(crate) const UNNUMBERED: u64 = 1 << 62;
/// Tag of what must never be published.
pub(crate) const GARBAGE: u64 = 1 << 63;

#[test]
fn torn_frames_are_told_from_whole_ones() {
    let (mut old, mut new) = ([0; 9], [0; 9]);
    fill(&mut old, 7);
    fill(&mut new, 8);
    assert_eq!((tag_of(&old), tag_of(&new)), (Some(7), Some(8)));
    for cut in 1..9 {
        let mut torn = new;
        torn[cut..].copy_from_slice(&old[cut..]);
        assert_eq!(tag_of(&torn), None);
    }
}
