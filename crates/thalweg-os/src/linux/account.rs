//! Groups of users, by name.

use std::ffi::CString;
use std::io;

/// Why a text names no group.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The system knows no group of this name, and it is no number.
    #[error(
        "there is no group {text:?} on this system: name one that `getent group` lists, or give its number"
    )]
    Unknown {
        /// What was asked for.
        text: String,
    },
    /// The system could not tell.
    #[error("cannot look up group {text:?}: {source}")]
    System {
        /// What was asked for.
        text: String,
        /// What it said.
        source: io::Error,
    },
}

/// Room for the members of a group; most need a fraction. Doubled as often as it takes.
const FIRST_BUFFER_BYTES: usize = 1024;
/// No group needs more.
const LARGEST_BUFFER_BYTES: usize = 16 << 20;

/// Id of the group that `text` says: a name, or a number. A name that is a number wins, as in
/// `chown`.
pub fn group_id(text: &str) -> Result<u32, GroupError> {
    let unknown = || GroupError::Unknown {
        text: text.to_owned(),
    };
    let Ok(name) = CString::new(text) else {
        return Err(unknown());
    };
    let mut buffer = vec![0; FIRST_BUFFER_BYTES];
    loop {
        // SAFETY: the record consists of integers and pointers, for which zeros are values.
        let mut record: libc::group = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: the name ends with a NUL; the record, the buffer of the length given and the
        // result outlive the call, and what the record points to is not used.
        let refused = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                &raw mut record,
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        match refused {
            0 if !found.is_null() => return Ok(record.gr_gid),
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < LARGEST_BUFFER_BYTES => {
                buffer.resize(2 * buffer.len(), 0);
            }
            // Systems differ in how they say that there is no such group.
            0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => {
                return text.parse().map_err(|_number| unknown());
            }
            code => {
                return Err(GroupError::System {
                    text: text.to_owned(),
                    source: io::Error::from_raw_os_error(code),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_groups() {
        let groups = std::fs::read_to_string("/etc/group").unwrap();
        let mut fields = groups.lines().next().unwrap().split(':');
        let name = fields.next().unwrap();
        let id: u32 = fields.nth(1).unwrap().parse().unwrap();
        assert_eq!(group_id(name).unwrap(), id);
        assert_eq!(group_id("4294967").unwrap(), 4_294_967);
        let error = group_id("no such group\u{1}").unwrap_err();
        assert!(error.to_string().contains("no such group"), "{error}");
        for text in ["", "-1", "a\0b", "99999999999"] {
            assert!(
                matches!(group_id(text), Err(GroupError::Unknown { .. })),
                "{text:?}"
            );
        }
    }
}
