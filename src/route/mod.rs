//! The published table: everything that the data path reads, one immutable value, swapped whole.

pub mod build;
pub mod crowd;
pub mod door;
pub mod gates;
pub mod mark;
pub mod mirror;
pub mod proving;
pub mod rate;
pub mod routes;
pub mod table;

pub use build::Foundation;
pub use table::{Listener, Log, Published, Table, Tracing};
