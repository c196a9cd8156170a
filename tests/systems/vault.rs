//! Vault: the leader by the status of its health page.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::MANY;
use crate::support::eventually::DEADLINE;
use crate::support::systems::{Vault, VaultNode};
use crate::support::{Balancer, Client, Load, client, eventually};

/// Plain HTTP where the preset asks within TLS, and asked more often.
const QUICK: &str = "tls = false, interval = '200ms', timeout = '200ms', fast_interval = '50ms'";

fn addresses(vault: &Vault) -> Vec<SocketAddr> {
    vault.nodes.iter().map(crate::support::Origin::addr).collect()
}

fn in_front_of(vault: &Vault, more: &str) -> Balancer {
    Balancer::web(&addresses(vault), &format!("preset = 'vault'\ncheck.health = {{ {QUICK} }}\n{more}"))
}

#[test]
fn each_status_of_the_health_page_is_a_state_and_a_role() {
    use VaultNode::*;
    for (node, state, role) in [
        (Active, "up", Some("active")),
        (Standby, "up", Some("standby")),
        (DrSecondary, "up", Some("standby")),
        (PerformanceStandby, "up", Some("read")),
        (CutOff, "up", Some("standby")),
        (Uninitialised, "down", None),
        (Sealed, "down", None),
        (Removed, "down", None),
        (Broken, "down", None),
    ] {
        let vault = Vault::start(1);
        vault.set(0, node);
        let balancer = in_front_of(&vault, "");
        let backend = &balancer.pool().backends[0];
        assert_eq!((&*backend.state, backend.role.as_deref()), (state, role), "{node:?}");
    }
}

#[test]
fn the_leader_gets_all_work_and_standbys_none() {
    let vault = Vault::start(3);
    let balancer = in_front_of(&vault, "");
    let load = Load::start(balancer.addr("web"), "/v1/secret/data/a", 4);
    load.wait_for(MANY / 4);
    assert!((load.stop().share("vault-0") - 1.0).abs() < f64::EPSILON);
    assert_eq!((vault.work_at(1), vault.work_at(2)), (0, 0));
}

#[test]
fn no_request_fails_while_the_leader_moves() {
    let vault = Vault::start(3);
    let balancer = in_front_of(&vault, "");
    let load = Load::start(balancer.addr("web"), "/v1/secret/data/a", 4);
    for leader in [1, 2, 0, 2] {
        load.wait_for(MANY / 4);
        // Until the next probe, the old leader gets requests and passes them on to the new one.
        vault.elect(leader);
        balancer.is_active(Some(&addresses(&vault)[leader].to_string()));
    }
    load.wait_for(MANY / 4);
    load.stop().assert_none_failed();
}

#[test]
fn requests_wait_for_the_end_of_an_election() {
    let vault = Vault::start(3);
    let balancer = in_front_of(&vault, "");
    for leader in [1, 0] {
        vault.step_down();
        balancer.is_active(None);
        // Any node would answer 503 now.
        let load = Load::start(balancer.addr("web"), "/v1/secret/data/a", 4);
        balancer.counts("evenkeel_pool_waiting{pool=p}", 4.0);
        vault.elect(leader);
        load.wait_for(100);
        let tally = load.stop();
        tally.assert_none_failed();
        assert!((tally.share(&format!("vault-{leader}")) - 1.0).abs() < f64::EPSILON, "{tally:?}");
    }
}

#[test]
fn the_next_leader_has_the_work_within_one_interval() {
    let vault = Vault::start(2);
    let balancer = in_front_of(&vault, "");
    let mut client = Client::connect(balancer.addr("web"));
    for leader in [1, 0, 1] {
        vault.elect(leader);
        let elected = Instant::now();
        let name = format!("vault-{leader}");
        eventually("the next leader has the work", DEADLINE, || client.get("/v1/a").text() == name);
        // One interval of the checks of each of the two, and what a busy machine adds.
        assert!(elected.elapsed() < Duration::from_secs(2), "{:?}", elected.elapsed());
    }
}

#[test]
fn sessions_of_a_leader_that_is_one_no_more_end() {
    let vault = Vault::start(2);
    let more = format!("preset = 'vault'\ncheck.health = {{ {QUICK} }}\n");
    let balancer = Balancer::tcp(&addresses(&vault), &more);
    let mut session = Client::connect(balancer.addr("web"));
    assert_eq!(session.get("/v1/a").text(), "vault-0");
    vault.elect(1);
    assert!(session.closed());
    assert_eq!(Client::connect(balancer.addr("web")).get("/v1/a").text(), "vault-1");
}

#[test]
fn probes_carry_the_header_that_some_listeners_demand() {
    let vault = Vault::that_demands_forwarded_for(2);
    let balancer = in_front_of(&vault, "");
    balancer.wait_for_up(2);
    assert_eq!(balancer.get("/v1/a").text(), "vault-0");
    // Without it, no node would count as well.
    let bare = Balancer::web(
        &addresses(&vault),
        &format!(
            "mode = 'leader'\ncheck.health = {{ type = 'http', path = '/v1/sys/health', status = {{ 200 = 'active', 429 = 'standby' }}, {QUICK} }}\n"
        ),
    );
    bare.wait_for_up(0);
}

#[test]
fn a_sealed_node_is_reached_by_a_pool_of_its_own() {
    let vault = Vault::start(2);
    vault.set(1, VaultNode::Sealed);
    let backends = addresses(&vault);
    let balancer = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n\
         [[listener.web.route]]\nhost = 'vault-1.example.com'\npool = 'vault-1'\n\
         [pool.p]\npreset = 'vault'\nbackends = ['{}', '{}']\ncheck.health = {{ {QUICK} }}\n\
         [pool.vault-1]\npreset = 'vault'\nmode = 'active-active'\nall_down = 'serve-anyway'\nbackends = ['{}']\n\
         check.health = {{ {QUICK} }}\n",
        backends[0], backends[1], backends[1]
    ));
    let ask = |host: &str, request: &str| {
        let request = format!("{request} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        client::try_request(balancer.addr("web"), &request).unwrap()
    };
    let status = ask("vault-1.example.com", "GET /v1/sys/seal-status");
    assert_eq!((status.status, status.text()), (200, "{\"sealed\":true}".to_owned()));
    assert_eq!(ask("vault.example.com", "GET /v1/sys/seal-status").text(), "{\"sealed\":false}");
}

#[test]
fn any_unsealed_node_will_do_where_the_question_says_so_and_its_redirects_pass() {
    let vault = Vault::start(3);
    vault.set(2, VaultNode::Sealed);
    let keys = "preset = 'vault'\nmode = 'active-active'\n";
    let health = format!("check.health = {{ path = '/v1/sys/health?standbyok=true', {QUICK} }}\n");
    let balancer = Balancer::web(&addresses(&vault), &format!("{keys}{health}"));
    balancer.wait_for_up(2);
    let mut client = Client::connect(balancer.addr("web"));
    for _ in 0..10 {
        assert_eq!(client.get("/v1/a").text(), "vault-0", "a standby passes it on");
    }
    assert!(vault.work_at(0) > 0 && vault.work_at(1) > 0 && vault.work_at(2) == 0);
    let request = "GET /v1/a?b=c HTTP/1.1\r\nHost: a\r\nX-Vault-No-Request-Forwarding: true\r\n\r\n";
    let answers = [0, 1].map(|_| {
        client.send(request);
        client.read_response()
    });
    let redirect = answers.iter().find(|answer| answer.status == 307).expect("a standby was asked");
    assert_eq!(redirect.header("location"), Some("https://vault-0/v1/a?b=c"));
    assert!(answers.iter().any(|answer| answer.status == 200));
}

#[test]
fn unknown_methods_and_vaults_own_headers_pass() {
    let vault = Vault::start(1);
    let balancer = in_front_of(&vault, "");
    let request = "LIST /v1/secret/metadata HTTP/1.1\r\nHost: a\r\nX-Vault-Token: t\r\nX-Vault-Index: i\r\nConnection: close\r\n\r\n";
    assert_eq!(client::try_request(balancer.addr("web"), request).unwrap().status, 200);
    let requests = vault.nodes[0].requests();
    let listed = requests.iter().find(|request| request.method == "LIST").unwrap();
    assert_eq!((listed.header("x-vault-token"), listed.header("x-vault-index")), (Some("t"), Some("i")));
}

#[test]
fn reads_may_go_to_performance_standbys() {
    let vault = Vault::start(5);
    vault.set(1, VaultNode::PerformanceStandby);
    vault.set(2, VaultNode::Sealed);
    vault.set(3, VaultNode::DrSecondary);
    vault.set(4, VaultNode::CutOff);
    let backends: Vec<String> = addresses(&vault).iter().map(|address| format!("'{address}'")).collect();
    let balancer = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n\
         [[listener.web.route]]\nmethod = ['GET', 'HEAD', 'LIST']\npool = 'p'\nreads = 'standby'\n\
         [pool.p]\npreset = 'vault'\nbackends = [{}]\n\
         check.health = {{ status = {{ 472 = 'down', 474 = 'down' }}, {QUICK} }}\n",
        backends.join(", ")
    ));
    let mut client = Client::connect(balancer.addr("web"));
    for _ in 0..10 {
        assert_eq!(client.get("/v1/a").text(), "vault-1");
        assert_eq!(client.post("/v1/a", "{}").text(), "vault-0");
    }
}
