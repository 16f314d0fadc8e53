//! mv
pub mod lanes;
pub mod level;
pub mod prefetch;
pub mod product;
#[cfg(target_arch = "x86_64")]
pub mod x86;
pub use level::SimdLevel;
