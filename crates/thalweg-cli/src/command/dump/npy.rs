//! Frames as NumPy's `.npy`.

use std::io::{self, Write};

use npyz::{DType as NpyDType, TypeStr, WriteOptions, WriterBuilder};
use thalweg::DType;

use super::taken::Taken;

/// Writes the frames, which lie in memory as the format wants them.
pub(super) fn write(output: &mut impl Write, taken: &Taken) -> io::Result<()> {
    let description: TypeStr = description(taken.dtype).parse().map_err(io::Error::other)?;
    let shape: Vec<u64> = taken.shape().iter().map(|&extent| extent as u64).collect();
    WriteOptions::new_header_only()
        .dtype(NpyDType::new_scalar(description))
        .shape(&shape)
        .writer(&mut *output)
        .write_header_only()?;
    output.write_all(&taken.bytes)
}

/// NumPy's description of the dtype in native byte order, such as `<f4`.
fn description(dtype: DType) -> String {
    let kind = match dtype {
        DType::Bool => 'b',
        _ if dtype.is_complex() => 'c',
        _ if dtype.is_float() => 'f',
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => 'i',
        _ => 'u',
    };
    let order = match dtype.size_bytes() {
        1 => '|',
        _ if cfg!(target_endian = "big") => '>',
        _ => '<',
    };
    format!("{order}{kind}{}", dtype.size_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::taken::tests::taken;
    use super::*;

    #[test]
    fn every_dtype_is_written_as_numpy_calls_it() {
        let descriptions: Vec<String> = DType::ALL.iter().map(|&one| description(one)).collect();
        let expected = [
            "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", "|b1",
            "<c8", "<c16",
        ];
        assert_eq!(
            descriptions,
            expected.map(|one| if cfg!(target_endian = "big") {
                one.replace('<', ">")
            } else {
                one.to_owned()
            })
        );
        for dtype in DType::ALL {
            let mut bytes = Vec::new();
            write(&mut bytes, &taken(dtype, &[7; 32], &[1])).unwrap();
            let read = npyz::NpyFile::new(&bytes[..]).unwrap();
            assert_eq!(read.shape(), [1, 2]);
            assert_eq!(read.dtype().descr(), format!("'{}'", description(dtype)));
            assert!(bytes.ends_with(&[7; 32]));
        }
    }
}
