//! The verbs about streams as a user meets them: exit status, what is printed where, what is left.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod doctor;
mod dump;
mod support;
mod terminal;
mod watch;
