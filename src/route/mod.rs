//! The published table: everything that the data path reads, one immutable value, swapped whole.

pub mod table;

pub use table::{Listener, Published, Table};
