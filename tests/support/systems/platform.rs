//! Yugabyte Platform: one active instance, passive ones that serve their pages all the same, and promotions by hand.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::support::Origin;
use crate::support::origin::{Received, Script};

/// Instances of one platform; instance `i` answers pages with `platform-i`, its Prometheus with `metrics-i`.
pub struct Platform {
    /// Their port 443.
    pub instances: Vec<Origin>,
    /// Their port 9090, the same for all of them.
    pub prometheus: Vec<Origin>,
    roles: Arc<Mutex<Vec<Role>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Active,
    Standby,
    /// No high availability set up: the answer is the one of a standby.
    Alone,
    /// Its own configuration cannot be read.
    Broken,
}

impl Platform {
    /// Instances at these addresses; the first is the active one.
    pub fn start(ips: &[IpAddr]) -> Self {
        let roles = ips.iter().enumerate().map(|(number, _)| if number == 0 { Role::Active } else { Role::Standby });
        let roles = Arc::new(Mutex::new(roles.collect::<Vec<_>>()));
        let port = super::common_port(ips);
        let instance = |(number, ip): (usize, &IpAddr)| {
            let roles = Arc::clone(&roles);
            let role = move || roles.lock().unwrap()[number];
            Origin::http().on(*ip).by(move |request| answer(number, role(), request)).start()
        };
        let metrics = |(number, ip): (usize, &IpAddr)| {
            Origin::http().on(*ip).at_port(port).reply(format!("metrics-{number}")).start()
        };
        // First, or the system could give the common port to somebody else.
        let prometheus = ips.iter().enumerate().map(metrics).collect();
        Self { instances: ips.iter().enumerate().map(instance).collect(), prometheus, roles }
    }

    /// The port of every Prometheus.
    pub fn metrics_port(&self) -> u16 {
        self.prometheus[0].port()
    }

    /// The first half of a promotion: whoever was active is so no more, and nobody is yet.
    pub fn begin_promotion(&self) {
        self.become_all(Role::Active, Role::Standby);
    }

    /// The second half of one, or the whole of a forced one: the instance is active, whatever the others are.
    pub fn activate(&self, instance: usize) {
        self.roles.lock().unwrap()[instance] = Role::Active;
    }

    /// The active one learns that it is one no more.
    pub fn demote(&self, instance: usize) {
        self.roles.lock().unwrap()[instance] = Role::Standby;
    }

    /// High availability is taken apart.
    pub fn forget_ha(&self) {
        self.become_all(Role::Active, Role::Alone);
        self.become_all(Role::Standby, Role::Alone);
    }

    /// An instance can no longer read its own configuration.
    pub fn break_down(&self, instance: usize) {
        self.roles.lock().unwrap()[instance] = Role::Broken;
    }

    /// Requests at an instance that were not about its health.
    pub fn work_at(&self, instance: usize) -> usize {
        let instance = &self.instances[instance];
        instance.request_count() - instance.requests_for("/api/v1/ha_leader")
    }

    fn become_all(&self, from: Role, to: Role) {
        for role in self.roles.lock().unwrap().iter_mut().filter(|role| **role == from) {
            *role = to;
        }
    }
}

fn answer(number: usize, role: Role, request: &Received) -> Script {
    if request.path() != "/api/v1/ha_leader" {
        return Origin::http().reply(format!("platform-{number}"));
    }
    let (status, body) = match role {
        Role::Active => (200, "{\"isHALeader\":true}"),
        Role::Standby => (404, "{\"success\":false,\"error\":\"YBA instance is HA follower\"}"),
        Role::Alone => (404, "{\"success\":false,\"error\":\"No HA Config exists\"}"),
        Role::Broken => (500, "{\"success\":false,\"error\":\"Error retrieving HA config\"}"),
    };
    Origin::http().status(status).header("Content-Type", "application/json").reply(body)
}
