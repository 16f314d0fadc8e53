//! Linux.

pub mod account;
pub mod affinity;
pub mod arrivals;
pub mod clock;
pub mod descriptor;
pub mod file;
pub mod filesystem;
pub mod fork;
pub mod futex;
pub mod limits;
pub mod load;
pub mod locked_file;
pub mod mapping;
pub mod per_process;
pub mod process;
pub mod random;
pub mod scheduling;
pub mod set_once;
pub mod signal;
pub mod terminal;
