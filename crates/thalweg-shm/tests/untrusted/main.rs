//! Bytes and words from anybody: the functions the fuzz targets in `fuzz/` run, here over a bounded
//! number of cases.
#![cfg(not(loom))]

mod header;
mod name;
mod words;

use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_header_is_refused_or_fits_its_file(bytes in vec(any::<u8>(), 0..1400)) {
        header::check(&bytes);
    }

    #[test]
    fn any_name_is_refused_or_has_one_file(bytes in vec(any::<u8>(), 0..300)) {
        name::check(&bytes);
    }
}

proptest! {
    // A case is a whole life of a stream's words.
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn operations_end_whatever_the_words_say(bytes in vec(any::<u8>(), 0..3000)) {
        words::check(&bytes);
    }
}
