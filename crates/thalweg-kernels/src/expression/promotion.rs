//! Which dtype an operation on several dtypes is computed in: NumPy's rules (NEP 50).

use thalweg_shm::DType;

/// The smallest dtype that holds both, as NumPy defines it: `int8` with `uint8` is `int16`,
/// `int64` with `uint64` or `float32` is `float64`.
pub(crate) fn promote(a: DType, b: DType) -> DType {
    if a == b {
        return a;
    }
    let (low, high) = if rank(a) <= rank(b) { (a, b) } else { (b, a) };
    match (kind(low), kind(high)) {
        (Kind::Bool, _) => high,
        (Kind::Unsigned, Kind::Unsigned)
        | (Kind::Signed, Kind::Signed)
        | (Kind::Float, Kind::Float) => high,
        (Kind::Unsigned, Kind::Signed) if low.size_bytes() < high.size_bytes() => high,
        (Kind::Unsigned, Kind::Signed) => match low.size_bytes() {
            1 => DType::Int16,
            2 => DType::Int32,
            4 => DType::Int64,
            _ => DType::Float64,
        },
        _ => {
            // An integer needs a float of twice its size, up to double precision.
            match (2 * low.size_bytes()).max(high.size_bytes()) {
                2 => DType::Float16,
                4 => DType::Float32,
                _ => DType::Float64,
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
}

fn kind(dtype: DType) -> Kind {
    match dtype {
        DType::Bool => Kind::Bool,
        DType::Uint8 | DType::Uint16 | DType::Uint32 | DType::Uint64 => Kind::Unsigned,
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => Kind::Signed,
        // Complex streams never get this far.
        _ => Kind::Float,
    }
}

/// First the kind, then the size.
fn rank(dtype: DType) -> (Kind, usize) {
    (kind(dtype), dtype.size_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.result_type` for every pair, in the order of `REAL`; one letter per dtype.
    const REAL: [(DType, char); 12] = [
        (DType::Bool, '?'),
        (DType::Uint8, 'B'),
        (DType::Uint16, 'H'),
        (DType::Uint32, 'I'),
        (DType::Uint64, 'Q'),
        (DType::Int8, 'b'),
        (DType::Int16, 'h'),
        (DType::Int32, 'i'),
        (DType::Int64, 'q'),
        (DType::Float16, 'e'),
        (DType::Float32, 'f'),
        (DType::Float64, 'd'),
    ];

    const TABLE: [&str; 12] = [
        "?BHIQbhiqefd",
        "BBHIQhhiqefd",
        "HHHIQiiiqffd",
        "IIIIQqqqqddd",
        "QQQQQddddddd",
        "bhiqdbhiqefd",
        "hhiqdhhiqffd",
        "iiiqdiiiqddd",
        "qqqqdqqqqddd",
        "eefddefddefd",
        "fffddffddffd",
        "dddddddddddd",
    ];

    #[test]
    fn every_pair_is_numpy_s() {
        for ((a, _), row) in REAL.iter().zip(TABLE) {
            for ((b, _), letter) in REAL.iter().zip(row.chars()) {
                let expected = REAL.iter().find(|(_, known)| *known == letter).unwrap().0;
                assert_eq!(promote(*a, *b), expected, "{a} with {b}");
            }
        }
    }
}
