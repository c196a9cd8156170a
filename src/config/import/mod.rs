//! Configurations of other programs, turned into ours.

mod draft;
mod fields;
pub mod haproxy;
pub mod nginx;
mod quote;
pub mod uchiwa;

pub use draft::{Imported, Lost};

/// Why a file cannot be turned into ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {message}; {help}")]
pub struct ImportError {
    /// The file as it was named.
    pub file: String,
    /// The fault.
    pub message: String,
    /// What to do about it.
    pub help: String,
}
