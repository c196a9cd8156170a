//! Redis for Grafana Live: clients are with the master, and move with it.

use crate::support::client::Ending;
use crate::support::eventually::DEADLINE;
use crate::support::systems::RedisNode;
use crate::support::{Balancer, Client, eventually};

/// The master and the one that stands in for it, behind these keys of the pool.
fn pair(keys: &str) -> ([RedisNode; 2], Balancer) {
    let nodes = ["redis-0", "redis-1"].map(RedisNode::start);
    nodes[0].set_master(true);
    let balancer = Balancer::tcp(&[nodes[0].addr(), nodes[1].addr()], keys);
    (nodes, balancer)
}

/// Which server a session meets.
fn asks_name(session: &mut Client) -> String {
    let _ = session.try_send("GET name\r\n");
    let answer = session.try_read_exact("$7\r\nredis-0\r\n".len()).unwrap_or_default();
    String::from_utf8_lossy(&answer).lines().nth(1).unwrap_or_default().to_owned()
}

/// A session, where somebody takes it.
fn session(balancer: &Balancer) -> Option<(Client, String)> {
    let mut session = Client::try_connect(balancer.addr("web")).ok()?;
    let name = asks_name(&mut session);
    Some((session, name))
}

/// The other one is the master now; sessions with the old one end, and new ones meet the new one.
#[track_caller]
fn moves(nodes: &[RedisNode; 2], balancer: &Balancer, to: usize) {
    let (mut old, name) = session(balancer).unwrap();
    assert_eq!(name, format!("redis-{}", 1 - to));
    nodes[1 - to].set_master(false);
    nodes[to].set_master(true);
    assert_eq!(old.ending(DEADLINE), Ending::Reset, "whoever stays writes to a replica");
    eventually("the new master has the work", DEADLINE, || {
        session(balancer).is_some_and(|(_, name)| name == format!("redis-{to}"))
    });
}

#[test]
fn clients_follow_the_master_by_its_own_words() {
    let check = "check.role = { type = 'redis', role = true, interval = '100ms', rise = 1, fall = 2 }\n";
    let (nodes, balancer) = pair(&format!("mode = 'leader'\non_role_loss = 'close'\n{check}"));
    moves(&nodes, &balancer, 1);
    moves(&nodes, &balancer, 0);
    // With no master, a client is turned away and no replica gets its writes.
    nodes[0].set_master(false);
    balancer.is_active(None);
    assert!(session(&balancer).is_none_or(|(_, name)| name.is_empty()));
}

#[test]
fn a_script_finds_the_master_which_needs_ten_good_answers_to_be_trusted_and_two_bad_ones_to_fall() {
    let check = "[pool.p.check.master]\ntype = 'script'\ninterval = '100ms'\nfast_interval = '50ms'\nrise = 10\nfall = 2\n\
                 steps = [{ send = \"AUTH secret\\r\\n\" }, { expect = '+OK' }, { send = \"PING\\r\\n\" }, \
                 { expect = '+PONG' }, { send = \"info replication\\r\\n\" }, { expect = 'role:master' }, \
                 { send = \"QUIT\\r\\n\" }, { expect = '+OK' }]\n";
    let keys = "mode = 'active-standby'\nfailback = 'at once'\non_down = 'close'\non_role_loss = 'close'\n";
    let (nodes, balancer) = pair(&format!("{keys}{check}"));
    let asked = nodes[1].asked();
    moves(&nodes, &balancer, 1);
    assert!(nodes[1].asked() >= asked + 10, "{} good answers", nodes[1].asked() - asked);
    // The sessions of the one that stood in end when the first is back.
    moves(&nodes, &balancer, 0);
}
