//! Frames as a FITS image: big-endian, the fastest axis first, unsigned integers by an offset.

use std::io::{self, Write};

use fitsio_pure::BLOCK_SIZE;
use fitsio_pure::header::{Card, serialize_header};
use fitsio_pure::primary::build_primary_header;
use fitsio_pure::value::Value;
use thalweg::kernels::files::encoding::{Encoding, append_stored};
use thalweg::{DType, Publication};

use super::taken::Taken;
use crate::command::facts::utc;

/// Bytes converted at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// How FITS stores `dtype`, or why it cannot.
pub(super) fn encoding(dtype: DType) -> Result<Encoding, String> {
    Encoding::of(dtype)
        .ok_or_else(|| format!("a FITS image cannot hold {dtype}: use `--format npy`"))
}

/// Writes a file of one primary image.
pub(super) fn write(output: &mut impl Write, taken: &Taken, written_ns: u64) -> io::Result<()> {
    let encoding = encoding(taken.dtype).map_err(io::Error::other)?;
    let cards = cards(taken, encoding, written_ns).map_err(invalid)?;
    output.write_all(&serialize_header(&cards).map_err(invalid)?)?;
    let mut written = 0;
    let mut converted = Vec::with_capacity(2 * CHUNK_BYTES);
    for chunk in taken.bytes.chunks(CHUNK_BYTES) {
        converted.clear();
        append_stored(taken.dtype, chunk, &mut converted);
        output.write_all(&converted)?;
        written += converted.len();
    }
    let padding = written.next_multiple_of(BLOCK_SIZE) - written;
    output.write_all(&[0; BLOCK_SIZE][..padding])
}

fn invalid(error: fitsio_pure::Error) -> io::Error {
    io::Error::other(format!("cannot make a FITS header: {error}"))
}

fn cards(taken: &Taken, encoding: Encoding, written_ns: u64) -> fitsio_pure::Result<Vec<Card>> {
    let axes: Vec<usize> = taken.shape().into_iter().rev().collect();
    let mut cards = build_primary_header(encoding.bitpix, &axes)?;
    let mut add = |keyword: &str, value: Value, comment: &str| -> fitsio_pure::Result<()> {
        let mut card = Card::new(keyword, value)?;
        card.comment = Some(comment.to_owned());
        cards.push(card);
        Ok(())
    };
    if encoding.zero != 0.0 {
        add(
            "BSCALE",
            Value::Integer(1),
            "physical = stored * BSCALE + BZERO",
        )?;
        // The offset of 64 bits is beyond the integers of a card, but exact as a float.
        let zero = if encoding.zero < i64::MAX as f64 {
            Value::Integer(encoding.zero as i64)
        } else {
            Value::Float(encoding.zero)
        };
        add("BZERO", zero, "offset of stored integers")?;
    }
    add(
        "DATE",
        Value::String(utc(written_ns)),
        "when this file was written",
    )?;
    add(
        "TIMESYS",
        Value::String("UTC".to_owned()),
        "of every time in here",
    )?;
    let program = concat!("thalweg ", env!("CARGO_PKG_VERSION"));
    add(
        "CREATOR",
        Value::String(program.to_owned()),
        "who wrote this file",
    )?;
    add(
        "STREAM",
        Value::String(printable(&taken.name)),
        "name of the stream",
    )?;
    add(
        "INSTANCE",
        Value::String(taken.instance.clone()),
        "id of the stream",
    )?;
    add(
        "DTYPE",
        Value::String(taken.dtype.name().to_owned()),
        "element type of the stream",
    )?;
    let newest = taken.newest();
    add("COUNT", integer(newest.count), "number of the newest frame")?;
    add("FRAMEID", integer(newest.frame_id), "id its writer stamped")?;
    add(
        "DATE-OBS",
        Value::String(utc(newest.wall_ns)),
        "when it was published",
    )?;
    add(
        "LATENCY",
        Value::Float(latency_s(&newest)),
        "[s] from origin of its data to then",
    )?;
    if taken.is_history {
        for (index, one) in taken.publications.iter().enumerate() {
            let number = index + 1;
            let keyword = |word: &str| format!("{word}{number}");
            add(&keyword("COUNT"), integer(one.count), "number of the frame")?;
            add(
                &keyword("FRMID"),
                integer(one.frame_id),
                "id its writer stamped",
            )?;
            add(
                &keyword("UTC"),
                Value::String(utc(one.wall_ns)),
                "when it was published",
            )?;
            add(
                &keyword("LATEN"),
                Value::Float(latency_s(one)),
                "[s] from origin to then",
            )?;
        }
    }
    Ok(cards)
}

/// An integer as such where a card can hold it, else as its digits.
fn integer(value: u64) -> Value {
    i64::try_from(value).map_or_else(|_| Value::String(value.to_string()), Value::Integer)
}

fn latency_s(publication: &Publication) -> f64 {
    let latency_ns = publication.publish_ns.saturating_sub(publication.origin_ns);
    latency_ns as f64 / 1e9
}

/// The text with everything escaped that a card cannot hold.
fn printable(text: &str) -> String {
    let mut printable = String::new();
    for character in text.chars() {
        if matches!(character, ' '..='~') {
            printable.push(character);
        } else {
            printable.extend(character.escape_default());
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::super::taken::tests::taken;
    use super::*;

    fn file(taken: &Taken) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, taken, 0).unwrap();
        assert!(bytes.len().is_multiple_of(2880), "{} bytes", bytes.len());
        bytes
    }

    /// The cards up to END, and what follows the header.
    fn split(file: &[u8]) -> (Vec<String>, Vec<u8>) {
        let cards: Vec<String> = file
            .chunks(80)
            .map(|card| String::from_utf8_lossy(card).trim_end().to_owned())
            .take_while(|card| card != "END")
            .collect();
        let header_bytes = ((cards.len() + 1) * 80).next_multiple_of(2880);
        (cards, file[header_bytes..].to_vec())
    }

    fn value<'a>(cards: &'a [String], keyword: &str) -> &'a str {
        let start = format!("{keyword:<8}= ");
        let card = cards.iter().find(|card| card.starts_with(&start));
        let text = card.unwrap_or_else(|| panic!("no {keyword} in {cards:#?}"));
        text[10..].split(" / ").next().unwrap().trim()
    }

    #[test]
    fn the_header_says_what_and_when() {
        let bytes: Vec<u8> = [1.5f32, -2.0]
            .iter()
            .flat_map(|one| one.to_ne_bytes())
            .collect();
        let file = file(&taken(DType::Float32, &bytes, &[42]));
        let (cards, data) = split(&file);
        assert_eq!(
            cards[0],
            "SIMPLE  =                    T / conforms to FITS standard"
        );
        assert_eq!(
            cards[1],
            "BITPIX  =                  -32 / bits per data value"
        );
        assert_eq!(cards[2], "NAXIS   =                    2 / number of axes");
        assert_eq!(cards[3], "NAXIS1  =                    2");
        assert_eq!(cards[4], "NAXIS2  =                    1");
        assert_eq!(value(&cards, "STREAM"), "'camera/1'");
        assert_eq!(value(&cards, "COUNT"), "42");
        assert_eq!(value(&cards, "FRAMEID"), "420");
        assert_eq!(value(&cards, "DATE-OBS"), "'2024-02-29T12:34:56.000000789'");
        assert_eq!(value(&cards, "DATE"), "'1970-01-01T00:00:00.000000000'");
        assert_eq!(value(&cards, "LATENCY").parse::<f64>().unwrap(), 0.0025);
        assert!(!cards.iter().any(|card| card.starts_with("BZERO")));
        assert_eq!(data[..8], [0x3f, 0xc0, 0, 0, 0xc0, 0, 0, 0]);
        assert!(data[8..].iter().all(|&byte| byte == 0), "padding");
    }

    #[test]
    fn frames_of_a_history_lie_along_the_last_axis_with_a_card_each() {
        let history = taken(DType::Uint16, &[0; 12], &[4, 5, 9]);
        let (cards, data) = split(&file(&history));
        assert_eq!(value(&cards, "NAXIS3"), "3");
        assert_eq!(value(&cards, "BZERO"), "32768");
        let counts = ["COUNT1", "COUNT2", "COUNT3"].map(|one| value(&cards, one));
        assert_eq!(counts, ["4", "5", "9"]);
        assert_eq!(value(&cards, "FRMID3"), "90");
        assert_eq!(value(&cards, "LATEN1").parse::<f64>().unwrap(), 0.0025);
        assert_eq!(data[..12], [0x80, 0].repeat(6));
    }

    #[test]
    fn what_a_card_cannot_hold_is_written_otherwise() {
        let mut odd = taken(DType::Uint64, &[0; 16], &[1]);
        odd.name = format!("it's é {}", "x".repeat(120));
        odd.publications[0].frame_id = u64::MAX;
        let (cards, _) = split(&file(&odd));
        assert!(cards.iter().all(|card| card.is_ascii() && card.len() <= 80));
        assert_eq!(value(&cards, "FRAMEID"), "'18446744073709551615'");
        assert!(value(&cards, "STREAM").starts_with("'it''s \\u{e9} xxx"));
        let zero: f64 = value(&cards, "BZERO").parse().unwrap();
        assert_eq!(zero, 2f64.powi(63));
        let refused = encoding(DType::Complex64).unwrap_err();
        assert!(refused.contains("complex64") && refused.contains("npy"));
    }
}
