//! An identity that anybody may have written: what is accepted lies inside its file.

use arbitrary::{Result, Unstructured};
use thalweg_os::process::ProcessIdentity;
use thalweg_shm::DType;
use thalweg_shm::protocol::words::{MAX_SLOTS, MIN_SLOTS};
use thalweg_shm::segment::geometry::Geometry;
use thalweg_shm::segment::header::{HEADER_BYTES, Header};
use thalweg_shm::segment::name::MAX_NAME_BYTES;

/// Where a header keeps the FNV-1a of what comes before.
const CHECKSUM: usize = HEADER_BYTES - 8;

/// Damages a valid header as `bytes` say, makes the checksum fit, and checks what is accepted.
pub(crate) fn check(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    // An input that ends early ends the case early.
    check_one(&mut input).ok();
}

fn check_one(input: &mut Unstructured<'_>) -> Result<()> {
    let mut bytes = valid(input)?;
    let mut file_bytes: u64 = u64::from_le_bytes(eight(&bytes, 120));
    if input.ratio(1, 4)? {
        file_bytes = input.arbitrary()?;
    }
    for _ in 0..input.int_in_range(0..=6)? {
        let at = input.int_in_range(0..=HEADER_BYTES - 8)?;
        let value = match input.int_in_range(0..=2)? {
            0 => input.arbitrary::<u64>()?,
            1 => u64::from(input.arbitrary::<u8>()?),
            _ => u64::MAX - u64::from(input.arbitrary::<u8>()?),
        };
        let width = *input.choose(&[1, 2, 4, 8])?;
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
    if input.ratio(9, 10)? {
        let checksum = fnv1a(&bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    }
    if let Ok(header) = Header::check(&bytes, file_bytes) {
        check_accepted(&header, &bytes, file_bytes);
    }
    Ok(())
}

/// Everything that is used of an accepted header.
fn check_accepted(header: &Header, bytes: &[u8; HEADER_BYTES], file_bytes: u64) {
    let geometry = &header.geometry;
    assert!((MIN_SLOTS..=MAX_SLOTS).contains(&geometry.slots));
    assert!(header.name.len() <= MAX_NAME_BYTES);
    let last = geometry.payload_offset_of(geometry.slots - 1);
    assert!(last + geometry.payload_bytes <= geometry.file_bytes);
    assert!(geometry.file_bytes as u64 <= file_bytes);
    let elements: usize = geometry.shape.iter().product();
    assert_eq!(
        elements * geometry.dtype.size_bytes(),
        geometry.payload_bytes
    );
    // Any process may be named; asking whether it lives must not fail.
    header.creator_liveness();
    let again = header.encode();
    assert_eq!(Header::check(&again, file_bytes).as_ref(), Ok(header));
    // Bytes nothing is read from may differ: behind the name, and behind the last axis.
    assert_eq!(again[..128], bytes[..128]);
}

fn valid(input: &mut Unstructured<'_>) -> Result<[u8; HEADER_BYTES]> {
    let axes = input.int_in_range(1..=4)?;
    let shape: Vec<usize> = (0..axes)
        .map(|_| input.int_in_range(1..=300))
        .collect::<Result<_>>()?;
    let slots = input.int_in_range(MIN_SLOTS..=MAX_SLOTS)?;
    let dtype = DType::from_code(input.int_in_range(0..=13)?).unwrap_or(DType::Uint8);
    let header = Header {
        name: "x".repeat(input.int_in_range(1..=MAX_NAME_BYTES)?),
        instance: input.arbitrary()?,
        boot: thalweg_os::process::boot_id(),
        creator: ProcessIdentity {
            pid: input.arbitrary()?,
            start_ticks: input.arbitrary()?,
            pid_namespace: thalweg_os::process::pid_namespace(),
        },
        flags: input.int_in_range(0..=7)?,
        created_wall_ns: input.arbitrary()?,
        geometry: Geometry::new(dtype, &shape, slots)
            .map_err(|_geometry| arbitrary::Error::IncorrectFormat)?,
    };
    Ok(header.encode())
}

fn eight(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; 8] {
    std::array::from_fn(|index| bytes[at + index])
}

/// Written down once more, as `docs/segment-format.md` has it, to forge checksums.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
