//! Three real Galera nodes, each on its own loopback address.
//!
//! They begin with copies of the same data, so that what a node lacks when it joins comes by Galera itself: the script
//! that would transfer all of it only tells each side what it waits for, and nothing beyond `MariaDB` and Galera has to be
//! installed.

#![allow(clippy::unwrap_used, reason = "support fails by panicking, as tests do")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::eventually::eventually;
use super::real::{Installed, RealMariaDb, demand, free_port};

const LIMIT: Duration = Duration::from_secs(60);
const ALONE: &str = "--wsrep-new-cluster";
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

/// The three nodes; the first one began.
pub struct RealGalera {
    /// In the order of their addresses.
    pub nodes: Vec<RealMariaDb>,
    _scripts: TempDir,
}

impl RealGalera {
    /// A cluster on these addresses; returns when every node is synced.
    pub async fn start(ips: [&str; 3]) -> Self {
        demand(PROVIDER);
        let installed = Installed::new();
        let scripts = scripts();
        let members = ips.map(|ip| format!("{ip}:{}", free_port(ip)));
        let cluster = members.join(",");
        let options = |number: usize| options(ips[number], &members[number], &cluster);
        let mut first = RealMariaDb::prepared(&installed, ips[0], options(0), Some(scripts.path().to_owned()));
        // What it has written down as its place in the cluster's history is copied with the data.
        first.launch_with(ALONE).await;
        first.stop();
        let (mut second, mut third) = (first.twin(ips[1], options(1)), first.twin(ips[2], options(2)));
        first.launch_with(ALONE).await;
        second.launch().await;
        third.launch().await;
        let nodes = vec![first, second, third];
        for node in &nodes {
            let synced = || (node.status("wsrep_cluster_size"), node.status("wsrep_local_state")) == (3, 4);
            eventually("the node is synced with two others", LIMIT, synced);
        }
        Self { nodes, _scripts: scripts }
    }
}

fn options(ip: &str, member: &str, cluster: &str) -> Vec<String> {
    let transfer = free_port(ip);
    vec![
        "--binlog-format=ROW".to_owned(),
        "--innodb-autoinc-lock-mode=2".to_owned(),
        "--wsrep-on=ON".to_owned(),
        format!("--wsrep-provider={PROVIDER}"),
        format!("--wsrep-cluster-address=gcomm://{cluster}"),
        format!("--wsrep-node-address={member}"),
        format!("--wsrep-node-name={ip}"),
        "--wsrep-sst-method=copied".to_owned(),
        format!(
            "--wsrep-provider-options=gmcast.listen_addr=tcp://{member};ist.recv_addr={ip}:{transfer};gcache.size=1M"
        ),
    ]
}

/// What Galera runs on both sides when a node joins. The data are there already.
fn scripts() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("wsrep_sst_copied");
    fs::write(&script, TRANSFER.replace("FOLDER", &folder.path().display().to_string())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

const TRANSFER: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
    --role) role=$2 ;;
    --address) address=${2%%[:/]*} ;;
    --gtid) gtid=$2 ;;
    esac
    shift
done
arrived=FOLDER/arrived-$address
if [ "$role" = joiner ]; then
    rm -f "$arrived"
    echo "ready $address"
    left=1200
    until [ -s "$arrived" ] || [ $left = 0 ]; do sleep 0.05; left=$((left - 1)); done
    cat "$arrived"
else
    echo continue
    echo "$gtid 0" >"$arrived.new"
    mv "$arrived.new" "$arrived"
    echo "done $gtid"
fi
"#;
