//! What the system allows this process.

use rustix::process::{Resource, getrlimit};

/// A resource the system limits per process or user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedResource {
    /// Bytes that may be locked into memory.
    LockedMemory,
    /// Open file descriptors.
    Descriptors,
    /// Highest real-time priority that may be asked for.
    RealtimePriority,
}

/// A limit; `None` means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In force now.
    pub current: Option<u64>,
    /// How far the process may raise it by itself.
    pub maximum: Option<u64>,
}

/// The limit of `resource` for the calling process.
pub fn limit(resource: LimitedResource) -> Limit {
    let found = getrlimit(match resource {
        LimitedResource::LockedMemory => Resource::Memlock,
        LimitedResource::Descriptors => Resource::Nofile,
        LimitedResource::RealtimePriority => Resource::Rtprio,
    });
    Limit {
        current: found.current,
        maximum: found.maximum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_limit_is_not_above_the_maximum() {
        for resource in [
            LimitedResource::LockedMemory,
            LimitedResource::Descriptors,
            LimitedResource::RealtimePriority,
        ] {
            let Limit { current, maximum } = limit(resource);
            let unlimited = u64::MAX;
            assert!(
                current.unwrap_or(unlimited) <= maximum.unwrap_or(unlimited),
                "{resource:?}"
            );
        }
        let descriptors = limit(LimitedResource::Descriptors);
        assert!(descriptors.current.is_none_or(|current| current > 3));
    }
}
