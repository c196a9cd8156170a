//! The configuration: as written (`file`), made valid (`lower`), as used (`model`), and what is wrong with it (`problem`).

pub mod model;
