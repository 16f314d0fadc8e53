//! Names from anybody: every name that is accepted has one file name, and no two share one.

use thalweg_shm::segment::name::{MAX_NAME_BYTES, PREFIX, file_name};

/// Checks the file name of the name in `bytes`, and that of a neighbour.
pub(crate) fn check(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    let Ok(file) = file_name(&name) else {
        let is_bad = name.trim().is_empty() || name.contains('\0') || name.len() > MAX_NAME_BYTES;
        assert!(is_bad, "{name:?} was refused");
        return;
    };
    assert!(file.len() <= 255, "{file:?} is too long for a file system");
    let rest = file
        .strip_prefix(PREFIX)
        .expect("the prefix of all streams");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.%~".contains(&byte);
    assert!(
        rest.bytes().all(is_plain),
        "{file:?} means more than a name"
    );
    match rest.split_once('~') {
        None => assert_eq!(unescaped(rest), name.as_bytes()),
        Some((readable, hash)) => {
            assert_eq!((readable.len() + PREFIX.len(), hash.len()), (200, 16));
            let whole = readable
                .rsplit_once('%')
                .map_or(
                    readable,
                    |(before, last)| {
                        if last.len() < 2 { before } else { readable }
                    },
                );
            assert!(name.as_bytes().starts_with(&unescaped(whole)));
        }
    }
    let neighbour = format!("{name}x");
    if let Ok(other) = file_name(&neighbour) {
        assert_ne!(file, other, "{name:?} and {neighbour:?} share a file");
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}
