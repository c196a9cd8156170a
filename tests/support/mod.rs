//! What the tests stand on: origins that misbehave by name, clients that look at bytes, the real program, and waiting.
//!
//! Every `tests/*.rs` file includes this module whole and uses a part of it. Nothing here sleeps: whatever waits,
//! waits for a condition with a deadline, or for a moment that stopping the origin ends at once.

#![allow(dead_code, unused_imports, reason = "each test file uses a part, and expect would fail where all is used")]
#![allow(clippy::unwrap_used, reason = "support fails by panicking, as tests do")]
#![allow(unreachable_pub, reason = "a test file is a crate of its own, and what is pub here is pub for it")]

pub mod asking;
pub mod backend_process;
pub mod balancer;
pub mod certificates;
pub mod client;
pub mod eventually;
pub mod fake;
pub mod frames;
pub mod h2;
pub mod h2_origin;
pub mod json_schema;
pub mod load;
pub mod mysql;
pub mod open_loop;
pub mod origin;
pub mod probing;
pub mod process;
pub mod real;
pub mod real_galera;
pub mod real_postgres;
pub mod real_redis;
pub mod real_slapd;
pub mod systems;
pub mod tls;
pub mod yaml;

pub use backend_process::BackendProcess;
pub use balancer::Balancer;
pub use client::Client;
pub use eventually::eventually;
pub use load::Load;
pub use open_loop::OpenLoop;
pub use origin::Origin;
pub use process::Process;
