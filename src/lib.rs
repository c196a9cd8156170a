//! Evenkeel, a health-checking layer-4/7 load balancer.
//!
//! The library exists for the program in `main.rs` and for its tests; it promises no stable interface.
//! Rooms, floors and walks are described in ARCHITECTURE.md. Imports go down only:
//!
//! ```text
//! 8 main, cli      7 server      6 admin      5 proxy | control      4 route | probe
//! 3 pool           2 net         1 config, health, balance, path, log, trace, metrics, drain, clock
//! ```

pub mod admin;
pub mod balance;
pub mod clock;
pub mod config;
pub mod confinement;
pub mod control;
pub mod health;
pub mod log;
pub mod metrics;
pub mod net;
pub mod path;
pub mod pool;
pub mod probe;
pub mod proxy;
pub mod route;
pub mod server;
pub mod trace;
