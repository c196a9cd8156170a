//! The systems that the presets are for, as fakes: they answer health questions as the real ones do, and fail the way
//! the real ones fail. What they serve besides is only what a test must see: who answered, and whether it should have.

mod grafana;
mod patroni;
mod platform;
mod portal;
mod redis;
mod sensu;
mod uchiwa;
mod vault;

use std::net::{IpAddr, TcpListener};

pub use grafana::{Database, Grafana};
pub use patroni::{Patroni, PostgresNode};
pub use platform::Platform;
pub use portal::{Portal, Sessions};
pub use redis::RedisNode;
pub use sensu::SensuApi;
pub use uchiwa::{Datacenters, Uchiwa};
pub use vault::{Vault, VaultNode};

/// A port that is free on all of these addresses: a check, or a pool that follows, has one port for all backends.
pub fn common_port(ips: &[IpAddr]) -> u16 {
    loop {
        let first = TcpListener::bind((ips[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if ips[1..].iter().all(|ip| TcpListener::bind((*ip, port)).is_ok()) {
            return port;
        }
    }
}

/// Loopback addresses of one's own: `127.0.NET.1`, `127.0.NET.2`, …
pub fn addresses(net: u8, count: u8) -> Vec<IpAddr> {
    (1..=count).map(|host| IpAddr::from([127, 0, net, host])).collect()
}
