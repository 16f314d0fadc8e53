//! Names: what users call a stream and what its file is called.

/// Prefix of every stream's file.
pub const PREFIX: &str = "thalweg.";
/// Longest user name in UTF-8 bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Longest file name on every file system we use.
const MAX_FILE_NAME_BYTES: usize = 255;
/// How much of an escaped name stays readable when the whole is too long.
const READABLE_BYTES: usize = 200;

/// A name that cannot be a stream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or nothing but white space.
    #[error("stream name must be a non-empty string")]
    Blank,
    /// Too long.
    #[error("stream name is too long: {bytes} UTF-8 bytes, at most {MAX_NAME_BYTES} allowed")]
    TooLong {
        /// Bytes of the name.
        bytes: usize,
    },
    /// A NUL character.
    #[error("stream name {name:?} contains a NUL character")]
    Nul {
        /// The name.
        name: String,
    },
}

/// File name of the stream `name`: readable, with everything but letters, digits, `-`, `_` and `.`
/// escaped as `%XX`; shortened and completed by a hash only when too long for a file name.
pub fn file_name(name: &str) -> Result<String, NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    if name.contains('\0') {
        return Err(NameError::Nul {
            name: name.to_owned(),
        });
    }
    let mut escaped = String::from(PREFIX);
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    if escaped.len() > MAX_FILE_NAME_BYTES {
        escaped.truncate(READABLE_BYTES);
        // `~` is escaped above, so no other name's file looks like this. Two names with one hash
        // are told apart by the name in the header.
        escaped.push_str(&format!("~{:016x}", fnv1a(name.as_bytes())));
    }
    Ok(escaped)
}

/// 64-bit FNV-1a (Fowler, Noll, Vo): against accidents, not against attackers.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_names_stay_readable() {
        assert_eq!(
            file_name("wfs_image-2.raw").unwrap(),
            "thalweg.wfs_image-2.raw"
        );
        assert_eq!(file_name("a/b é").unwrap(), "thalweg.a%2Fb%20%C3%A9");
        assert_eq!(file_name("..").unwrap(), "thalweg...");
    }

    #[test]
    fn long_names_are_hashed_and_distinct() {
        let (first, second) = ("/".repeat(100), format!("{}x", "/".repeat(100)));
        let (first, second) = (file_name(&first).unwrap(), file_name(&second).unwrap());
        assert!(first.len() <= MAX_FILE_NAME_BYTES && first.contains('~'));
        assert_ne!(first, second);
    }

    #[test]
    fn bad_names_are_refused() {
        assert_eq!(file_name("  "), Err(NameError::Blank));
        assert!(matches!(file_name("a\0"), Err(NameError::Nul { .. })));
        assert!(matches!(
            file_name(&"x".repeat(257)),
            Err(NameError::TooLong { bytes: 257 })
        ));
    }
}
