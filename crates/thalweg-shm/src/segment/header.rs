//! The identity a segment begins with: written once before the name appears, checked once by
//! whoever opens it. What is read is an allegation until [`Header::check`] accepted it.

use thalweg_os::process::{Liveness, ProcessIdentity, boot_id};

use super::geometry::{Geometry, MAX_AXES};
use super::name::{MAX_NAME_BYTES, fnv1a};
use crate::dtype::DType;
use crate::protocol::control::Control;

/// First bytes of every segment.
pub const MAGIC: [u8; 8] = *b"THALWEG\0";
/// Version of the format; other versions are refused.
pub const VERSION: u32 = 2;
/// Bytes of the identity.
pub const HEADER_BYTES: usize = Control::OFFSET;

/// Properties of a stream that are fixed at creation.
pub mod flags {
    /// After an abort or a writer's death readers get an error until the next complete frame.
    pub const STRICT: u32 = 1;
    /// Somebody may read without being allowed to write: he cannot announce his sleep, so every
    /// publication wakes.
    pub const WAKE_ALWAYS: u32 = 2;
    /// The stream belongs to a run of the creating process and is debris once that has ended.
    pub const ENDS_WITH_CREATOR: u32 = 4;
    /// Frames can be read while they are written, row by row.
    pub const PROGRESSIVE: u32 = 8;
    /// The creator asked for notification. Every stream has it; the flag is only remembered, so that a
    /// stream can be described and made again as it was asked for.
    pub const NOTIFY: u32 = 16;
    /// The writer goes back to the slots it used last, so that large frames stay in cache; only the
    /// last two frames are sure to be held.
    pub const REUSES_SLOTS: u32 = 32;
    /// All flags of this version.
    pub const KNOWN: u32 =
        STRICT | WAKE_ALWAYS | ENDS_WITH_CREATOR | PROGRESSIVE | NOTIFY | REUSES_SLOTS;
}

mod offset {
    pub(super) const MAGIC: usize = 0;
    pub(super) const VERSION: usize = 8;
    pub(super) const HEADER_BYTES: usize = 12;
    pub(super) const INSTANCE: usize = 16;
    pub(super) const BOOT: usize = 32;
    pub(super) const CREATOR_PID: usize = 48;
    pub(super) const FLAGS: usize = 52;
    pub(super) const CREATOR_START_TICKS: usize = 56;
    pub(super) const CREATOR_NAMESPACE: usize = 64;
    pub(super) const CREATED_WALL_NS: usize = 72;
    pub(super) const DTYPE: usize = 80;
    pub(super) const AXES: usize = 82;
    pub(super) const SLOTS: usize = 84;
    pub(super) const PAYLOAD_BYTES: usize = 88;
    pub(super) const SLOT_STRIDE_BYTES: usize = 96;
    pub(super) const HEADERS_OFFSET: usize = 104;
    pub(super) const PAYLOAD_OFFSET: usize = 112;
    pub(super) const FILE_BYTES: usize = 120;
    pub(super) const SHAPE: usize = 128;
    pub(super) const NAME_BYTES: usize = SHAPE + 8 * super::MAX_AXES;
    pub(super) const NAME: usize = NAME_BYTES + 8;
    pub(super) const CHECKSUM: usize = super::HEADER_BYTES - 8;
}

/// Why a file is not a stream this build can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Too short, or another magic.
    #[error("it does not begin with a supported thalweg metadata block")]
    NotASegment,
    /// A version of the format this build does not know.
    #[error("it has segment format {found}, this build supports format {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The identity was damaged.
    #[error("its metadata block is damaged (checksum mismatch)")]
    Checksum,
    /// The identity contradicts itself or the file.
    #[error("its metadata block is not valid: {0}")]
    Field(&'static str),
}

/// A checked identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The user's name of the stream.
    pub name: String,
    /// Random identity of this life of the name.
    pub instance: [u8; 16],
    /// Boot during which the segment was made.
    pub boot: [u8; 16],
    /// Who made it.
    pub creator: ProcessIdentity,
    /// Bits of [`flags`].
    pub flags: u32,
    /// When it was made, in ns since 1970.
    pub created_wall_ns: u64,
    /// What lies where.
    pub geometry: Geometry,
}

impl Header {
    /// True when the flag is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether the creating process still runs. A segment of another boot has no living creator.
    pub fn creator_liveness(&self) -> Liveness {
        if self.boot == boot_id() {
            self.creator.liveness()
        } else {
            Liveness::Dead
        }
    }

    /// The bytes a segment begins with.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0u8; HEADER_BYTES];
        let geometry = &self.geometry;
        put(&mut bytes, offset::MAGIC, &MAGIC);
        put(&mut bytes, offset::VERSION, &VERSION.to_le_bytes());
        put(
            &mut bytes,
            offset::HEADER_BYTES,
            &(HEADER_BYTES as u32).to_le_bytes(),
        );
        put(&mut bytes, offset::INSTANCE, &self.instance);
        put(&mut bytes, offset::BOOT, &self.boot);
        put(
            &mut bytes,
            offset::CREATOR_PID,
            &self.creator.pid.to_le_bytes(),
        );
        put(&mut bytes, offset::FLAGS, &self.flags.to_le_bytes());
        put(
            &mut bytes,
            offset::DTYPE,
            &geometry.dtype.code().to_le_bytes(),
        );
        put(
            &mut bytes,
            offset::AXES,
            &(geometry.shape.len() as u16).to_le_bytes(),
        );
        put(
            &mut bytes,
            offset::SLOTS,
            &(geometry.slots as u32).to_le_bytes(),
        );
        let words = [
            (offset::CREATOR_START_TICKS, self.creator.start_ticks),
            (offset::CREATOR_NAMESPACE, self.creator.pid_namespace),
            (offset::CREATED_WALL_NS, self.created_wall_ns),
            (offset::PAYLOAD_BYTES, geometry.payload_bytes as u64),
            (offset::SLOT_STRIDE_BYTES, geometry.slot_stride_bytes as u64),
            (offset::HEADERS_OFFSET, geometry.headers_offset as u64),
            (offset::PAYLOAD_OFFSET, geometry.payload_offset as u64),
            (offset::FILE_BYTES, geometry.file_bytes as u64),
            (offset::NAME_BYTES, self.name.len() as u64),
        ];
        for (at, word) in words {
            put(&mut bytes, at, &word.to_le_bytes());
        }
        for (axis, &extent) in geometry.shape.iter().enumerate() {
            put(
                &mut bytes,
                offset::SHAPE + 8 * axis,
                &(extent as u64).to_le_bytes(),
            );
        }
        put(&mut bytes, offset::NAME, self.name.as_bytes());
        let checksum = fnv1a(&bytes[..offset::CHECKSUM]);
        put(&mut bytes, offset::CHECKSUM, &checksum.to_le_bytes());
        bytes
    }

    /// Accepts a private copy of the first bytes of a file of `file_bytes` bytes.
    pub fn check(bytes: &[u8; HEADER_BYTES], file_bytes: u64) -> Result<Self, HeaderError> {
        if bytes[..MAGIC.len()] != MAGIC {
            return Err(HeaderError::NotASegment);
        }
        let version = u32_at(bytes, offset::VERSION);
        if version != VERSION {
            return Err(HeaderError::Version { found: version });
        }
        if u32_at(bytes, offset::HEADER_BYTES) != HEADER_BYTES as u32 {
            return Err(HeaderError::Field("header size"));
        }
        if u64_at(bytes, offset::CHECKSUM) != fnv1a(&bytes[..offset::CHECKSUM]) {
            return Err(HeaderError::Checksum);
        }
        let flags = u32_at(bytes, offset::FLAGS);
        if flags & !flags::KNOWN != 0 {
            return Err(HeaderError::Field("flags"));
        }
        let name_bytes = usize_at(bytes, offset::NAME_BYTES)
            .filter(|&length| length <= MAX_NAME_BYTES)
            .ok_or(HeaderError::Field("name length"))?;
        let name = std::str::from_utf8(&bytes[offset::NAME..offset::NAME + name_bytes])
            .map_err(|_utf8| HeaderError::Field("name"))?
            .to_owned();
        Ok(Self {
            name,
            instance: id_at(bytes, offset::INSTANCE),
            boot: id_at(bytes, offset::BOOT),
            creator: ProcessIdentity {
                pid: u32_at(bytes, offset::CREATOR_PID),
                start_ticks: u64_at(bytes, offset::CREATOR_START_TICKS),
                pid_namespace: u64_at(bytes, offset::CREATOR_NAMESPACE),
            },
            flags,
            created_wall_ns: u64_at(bytes, offset::CREATED_WALL_NS),
            geometry: check_geometry(bytes, file_bytes)?,
        })
    }
}

/// Computes the layout anew from dtype, shape and slots, and accepts the recorded one only if it
/// is the same: no offset from the file is ever used.
fn check_geometry(bytes: &[u8; HEADER_BYTES], file_bytes: u64) -> Result<Geometry, HeaderError> {
    let dtype =
        DType::from_code(u16_at(bytes, offset::DTYPE)).ok_or(HeaderError::Field("dtype"))?;
    let axes = usize::from(u16_at(bytes, offset::AXES));
    if axes > MAX_AXES {
        return Err(HeaderError::Field("number of dimensions"));
    }
    let shape: Vec<usize> = (0..axes)
        .map(|axis| usize_at(bytes, offset::SHAPE + 8 * axis))
        .collect::<Option<_>>()
        .ok_or(HeaderError::Field("shape"))?;
    let slots = u32_at(bytes, offset::SLOTS) as usize;
    let geometry = Geometry::new(dtype, &shape, slots)
        .map_err(|_geometry| HeaderError::Field("shape or slots"))?;
    let recorded = [
        (offset::PAYLOAD_BYTES, geometry.payload_bytes),
        (offset::SLOT_STRIDE_BYTES, geometry.slot_stride_bytes),
        (offset::HEADERS_OFFSET, geometry.headers_offset),
        (offset::PAYLOAD_OFFSET, geometry.payload_offset),
        (offset::FILE_BYTES, geometry.file_bytes),
    ];
    for (at, expected) in recorded {
        if usize_at(bytes, at) != Some(expected) {
            return Err(HeaderError::Field("layout"));
        }
    }
    if file_bytes < geometry.file_bytes as u64 {
        return Err(HeaderError::Field("the file is shorter than its layout"));
    }
    Ok(geometry)
}

fn put(bytes: &mut [u8; HEADER_BYTES], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn array_at<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

fn u16_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn usize_at(bytes: &[u8; HEADER_BYTES], at: usize) -> Option<usize> {
    usize::try_from(u64_at(bytes, at)).ok()
}

fn id_at(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; 16] {
    array_at(bytes, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            name: "wfs image".into(),
            instance: [7; 16],
            boot: boot_id(),
            creator: ProcessIdentity::current().unwrap(),
            flags: flags::STRICT,
            created_wall_ns: 1,
            geometry: Geometry::new(DType::Uint16, &[480, 640], 4).unwrap(),
        }
    }

    #[test]
    fn survives_a_round_trip() {
        let header = header();
        let bytes = header.encode();
        let file_bytes = header.geometry.file_bytes as u64;
        assert_eq!(Header::check(&bytes, file_bytes).as_ref(), Ok(&header));
        assert_eq!(header.creator_liveness(), Liveness::Alive);
        assert_eq!(
            Header::check(&bytes, file_bytes - 1),
            Err(HeaderError::Field("the file is shorter than its layout"))
        );
    }

    proptest! {
        /// Whatever is changed, either the checksum or a check of the field notices, also when
        /// the checksum was made to fit.
        #[test]
        fn damage_is_noticed(at in 0..offset::CHECKSUM, value: u8, forge: bool) {
            let header = header();
            let mut bytes = header.encode();
            prop_assume!(bytes[at] != value);
            bytes[at] = value;
            if forge {
                let checksum = fnv1a(&bytes[..offset::CHECKSUM]);
                put(&mut bytes, offset::CHECKSUM, &checksum.to_le_bytes());
            }
            // A forged header may be another valid header; its layout still fits the file.
            if let Ok(other) = Header::check(&bytes, header.geometry.file_bytes as u64) {
                prop_assert!(forge);
                prop_assert!(other.geometry.file_bytes <= header.geometry.file_bytes);
            }
        }

        #[test]
        fn noise_is_never_accepted(bytes: [u8; 32], length: u64) {
            let mut noise = [0u8; HEADER_BYTES];
            noise[..32].copy_from_slice(&bytes);
            prop_assert!(Header::check(&noise, length).is_err());
        }
    }
}
