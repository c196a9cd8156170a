//! The examples in `config/`, as they stand but for addresses, do what their comments say.

use std::path::Path;

use crate::MANY;
use crate::support::client::Ending;
use crate::support::eventually::DEADLINE;
use crate::support::mysql::{FakeMysql, Method, Script};
use crate::support::systems::{Platform, Vault, VaultNode, addresses};
use crate::support::{Balancer, Client, Load, Origin, client, eventually};

const FOLDER: &str = "config";

/// The example, listening where the system chooses, with `changes` of its text.
fn example(name: &str, changes: &[(&str, &str)]) -> Balancer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER).join(format!("{name}.toml"));
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        text = text.replace(from, to);
    }
    let places = |line: &str| if line.starts_with("bind = ") { "bind = '127.0.0.1:0'" } else { line }.to_owned() + "\n";
    let text: String = text.lines().map(places).collect();
    assert!(!text.contains("\"10.0."), "an address is left:\n{text}");
    Balancer::start(&text)
}

/// What stands first in a session with this listener; nothing where nobody takes it.
fn greeting(balancer: &Balancer, listener: &str, length: usize) -> String {
    let greeting = Client::try_connect(balancer.addr(listener)).and_then(|mut client| client.try_read_exact(length));
    String::from_utf8_lossy(&greeting.unwrap_or_default()).into_owned()
}

/// How a session ends, whatever comes before.
fn end_of(session: &mut Client) -> Ending {
    loop {
        match session.ending(DEADLINE) {
            Ending::Data(_) => {}
            end => return end,
        }
    }
}

#[test]
fn quickstart_shares_the_work_of_two_web_servers() {
    let [a, b] = ["a", "b"].map(|name| Origin::http().reply(name).start());
    let at = [a.addr().to_string(), b.addr().to_string()];
    let balancer = example("quickstart", &[("127.0.0.1:9001", &at[0]), ("127.0.0.1:9002", &at[1])]);
    let load = Load::start(balancer.addr("web"), "/", 4);
    load.wait_for(MANY);
    b.stop();
    load.wait_for(MANY);
    let tally = load.stop();
    tally.assert_none_failed();
    assert!(tally.share("b") > 0.1 && tally.share("a") > 0.6, "{tally:?}");
}

#[test]
fn of_two_instances_the_first_has_the_work_while_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json").display().to_string();
    let apps = ["app1", "app2"].map(|name| Origin::tcp_banner(name).start());
    let at = [apps[0].addr().to_string(), apps[1].addr().to_string()];
    let balancer = example(
        "active-standby",
        &[("10.0.0.41:8443", &at[0]), ("10.0.0.42:8443", &at[1]), ("active-standby.state", &state)],
    );
    let meets = |name: &str| {
        eventually(&format!("{name} has the work"), DEADLINE, || greeting(&balancer, "app", 4) == name);
    };
    meets("app1");
    assert!((0..10).all(|_| greeting(&balancer, "app", 4) == "app1"));
    apps[0].stop();
    meets("app2");
    apps[0].start_again();
    balancer.counts("evenkeel_backend_up{pool=app,backend=app1}", 1.0);
    // Ten minutes are not over.
    assert!((0..10).all(|_| greeting(&balancer, "app", 4) == "app2"));
    balancer.order(&["promote", "app", "app1"]);
    meets("app1");
}

#[test]
fn galera_writes_to_one_node_and_reads_from_all_that_are_synced() {
    let node = |name: &str, state: &str| {
        let script = Script::new().version(name).account("evenkeel", "secret", Method::Native);
        script.galera("ON", "Primary", state)
    };
    let nodes = ["node-0", "node-1", "node-2"].map(|name| FakeMysql::start(node(name, "4")));
    let at: Vec<String> = nodes.iter().map(|node| node.addr().to_string()).collect();
    let addresses = ["10.0.0.51:3306", "10.0.0.52:3306", "10.0.0.53:3306"];
    let mut changes: Vec<(&str, &str)> = addresses.into_iter().zip(at.iter().map(String::as_str)).collect();
    changes.extend([("${GALERA_PASSWORD:-}", "secret"), ("${file:certs/mysql.password}", "secret")]);
    let balancer = example("galera", &changes);
    // The version in a server's greeting: after the header and the version of the protocol.
    let meets = |listener: &str| greeting(&balancer, listener, 11).get(5..).unwrap_or_default().to_owned();
    assert!((0..10).all(|_| meets("write") == "node-0"));
    let read: Vec<String> = (0..30).map(|_| meets("read")).collect();
    assert!(["node-0", "node-1", "node-2"].iter().all(|name| read.iter().any(|met| met == name)), "{read:?}");

    let mut session = Client::connect(balancer.addr("write"));
    session.read_exact(11);
    nodes[0].becomes(node("node-0", "2"));
    assert_eq!(end_of(&mut session), Ending::Reset);
    eventually("writes have moved", DEADLINE, || meets("write") == "node-1");
    balancer.counts(&format!("evenkeel_backend_up{{pool=read,backend={}}}", at[0]), 0.0);
    assert!((0..10).all(|_| meets("read") != "node-0"));
    nodes[0].becomes(node("node-0", "4"));
    for pool in ["write", "read"] {
        balancer.counts(&format!("evenkeel_backend_up{{pool={pool},backend={}}}", at[0]), 1.0);
    }
    assert!((0..10).all(|_| meets("write") == "node-1"), "it does not come back by itself");
}

#[test]
fn vault_is_reached_at_its_leader_and_waits_for_the_next() {
    let vault = Vault::that_demands_forwarded_for(3);
    let at: Vec<String> = vault.nodes.iter().map(|node| node.addr().to_string()).collect();
    let addresses = ["10.0.0.21:8200", "10.0.0.22:8200", "10.0.0.23:8200"];
    let mut changes: Vec<(&str, &str)> = addresses.into_iter().zip(at.iter().map(String::as_str)).collect();
    changes.push(("tls = { server_name = \"vault.example.com\", verify = false }", "tls = false"));
    vault.set(2, VaultNode::DrSecondary);
    let balancer = example("vault", &changes);
    balancer.counts("evenkeel_pool_backends_up{pool=vault}", 3.0);
    // The header is for a Vault that is told to insist on one.
    let request = "GET /v1/a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
    let asks = |client: &mut Client| {
        client.send(request);
        client.read_response().text()
    };
    let mut session = Client::connect(balancer.addr("vault"));
    assert_eq!(asks(&mut session), "vault-0");
    vault.step_down();
    assert!(session.closed());
    balancer.counts("evenkeel_pool_alarm{pool=vault,alarm=no_leader}", 1.0);
    let mut waits = Client::connect(balancer.addr("vault"));
    waits.send(request);
    balancer.counts("evenkeel_pool_waiting{pool=vault}", 1.0);
    vault.elect(1);
    assert_eq!(waits.read_response().text(), "vault-1");
    assert_eq!((vault.work_at(1), vault.work_at(2)), (1, 0));
}

#[test]
fn yugabyte_platform_is_reached_with_its_metrics_at_the_active_one() {
    let ips = addresses(47, 2);
    let platform = Platform::start(&ips);
    let at: Vec<String> = platform.instances.iter().map(|node| node.addr().to_string()).collect();
    let port = format!("port = {}\n", platform.metrics_port());
    let balancer = example(
        "yugabyte-platform",
        &[
            ("10.0.0.31:443", &at[0]),
            ("10.0.0.32:443", &at[1]),
            ("port = 9090\n", &port),
            ("tls = { verify = false }", "tls = false"),
            ("preset = \"yugabyte-platform\" ", "preset = \"yugabyte-platform\"\ncheck.leader.tls = false #"),
        ],
    );
    // A session that is under way as the role is lost is cut.
    let ask =
        |listener: &str| client::try_get(balancer.addr(listener), "/").map(|answer| answer.text()).unwrap_or_default();
    let both = |number: usize| {
        let wanted = (format!("platform-{number}"), format!("metrics-{number}"));
        eventually(&format!("both are at {number}"), DEADLINE, || (ask("platform"), ask("platform-metrics")) == wanted);
    };
    both(0);
    let mut sessions = ["platform", "platform-metrics"].map(|listener| Client::connect(balancer.addr(listener)));
    for session in &mut sessions {
        assert_eq!(session.get("/").status, 200);
    }
    platform.activate(1);
    balancer.counts("evenkeel_pool_alarm{pool=platform,alarm=two_leaders}", 1.0);
    both(0);
    platform.demote(0);
    assert!(sessions.iter_mut().all(Client::closed));
    both(1);
    balancer.counts("evenkeel_pool_alarm{pool=platform,alarm=two_leaders}", 0.0);
}
