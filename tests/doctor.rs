//! What `evenkeel doctor` says of machines that are as tests make them: the kernel's files in a folder of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::Process;
use support::process::PROGRAM;

/// A machine on which nothing is amiss.
const SOUND: &[(&str, &str)] = &[
    (
        "proc/self/limits",
        "Limit  Soft Limit  Hard Limit  Units\nMax open files            1048576              1048576              files\n",
    ),
    ("proc/self/status", "Name:\tevenkeel\nCapEff:\t0000000000000400\n"),
    ("proc/self/cgroup", "0::/\n"),
    ("proc/1/comm", "systemd\n"),
    ("proc/77/comm", "chronyd\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
    ("proc/sys/net/ipv4/ip_unprivileged_port_start", "1024\n"),
    ("proc/sys/net/ipv4/tcp_tw_reuse", "2\n"),
    ("proc/sys/net/ipv4/tcp_mtu_probing", "0\n"),
    ("proc/sys/net/ipv4/conf/all/rp_filter", "2\n"),
    ("proc/sys/net/netfilter/nf_conntrack_count", "100\n"),
    ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
    ("proc/sys/vm/overcommit_memory", "0\n"),
    ("proc/net/sockstat", "sockets: used 10\nTCP: inuse 5 orphan 0 tw 3 alloc 8 mem 1\n"),
    ("proc/net/netstat", "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 0 0\n"),
    ("proc/net/tcp", "  sl  local_address rem_address   st\n"),
    ("proc/net/route", "Iface\tDestination\tGateway\tFlags\neth0\t00000000\t010011AC\t0003\n"),
    ("sys/class/net/eth0/mtu", "1500\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/docker0/mtu", "1500\n"),
    ("sys/class/net/docker0/operstate", "up\n"),
    ("sys/fs/cgroup/cpu.max", "200000 100000\n"),
    ("sys/fs/cgroup/cpu.stat", "usage_usec 1\nnr_throttled 0\n"),
    ("sys/fs/cgroup/memory.max", "1073741824\n"),
    ("sys/fs/cgroup/memory.current", "104857600\n"),
    ("sys/fs/cgroup/memory.events", "low 0\noom 0\noom_kill 0\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
];

const CONFIG: &str = "[listener.web]\nbind = '127.0.0.1:8080'\npool = 'p'\n[pool.p]\nbackends = ['127.0.0.1:9001']\ncheck.a.type = 'tcp'\n";

/// The machine, changed: files with other contents, or with none, which are not there.
fn machine(folder: &Path, changes: &[(&str, &str)]) {
    for (path, text) in SOUND.iter().chain(changes) {
        let path = folder.join(path);
        if text.is_empty() {
            fs::remove_file(&path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

struct Told {
    code: Option<i32>,
    findings: Vec<Value>,
    text: String,
}

fn doctor(config: &str, changes: &[(&str, &str)], arguments: &[&str]) -> Told {
    let folder = tempfile::tempdir().unwrap();
    machine(folder.path(), changes);
    for link in changes.iter().filter_map(|(path, target)| path.strip_suffix("/fd/socket").map(|_| (path, target))) {
        let path = folder.path().join(link.0);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(link.1, path).unwrap();
    }
    let file = folder.path().join("evenkeel.toml");
    fs::write(&file, config).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("doctor").arg(&file).arg("--root").arg(folder.path()).args(["--admin", "127.0.0.1:1"]);
        command.args(arguments).args(more).env_remove("EVENKEEL_ADMIN").output().unwrap()
    };
    let (json, text) = (run(&["--json"]), run(&[]));
    assert_eq!(json.status.code(), text.status.code());
    Told {
        code: text.status.code(),
        findings: serde_json::from_slice(&json.stdout).unwrap(),
        text: String::from_utf8(text.stdout).unwrap(),
    }
}

#[test]
fn a_sound_machine_gets_no_advice_but_to_start() {
    let told = doctor(CONFIG, &[], &[]);
    assert_eq!(told.code, Some(0), "{}", told.text);
    let amiss: Vec<_> = told.findings.iter().filter(|finding| finding["level"] != "ok").collect();
    assert!(amiss.len() == 1 && amiss[0]["topic"] == "admin", "nothing answers at the port given: {amiss:?}");
    assert!(told.text.contains("nothing is in the way; advice: 1"), "{}", told.text);
    for topic in [
        "configuration",
        "descriptors",
        "ports",
        "backlog",
        "outgoing",
        "conntrack",
        "processors",
        "memory",
        "packets",
        "clock",
    ] {
        assert!(told.findings.iter().any(|finding| finding["topic"] == topic), "{topic} is not in\n{}", told.text);
    }
}

/// A machine with a fault, the level of what is said of it, and words of the sentence and of the remedy.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);

const LISTENS: &str =
    "  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 4711 1\n";
const GATEWAY: &str = "  sl  local_address rem_address   st\n   0: 020011AC:1F90 010011AC:C000 01 0:0 00:0 0 0 0 4712 1\n   1: 020011AC:1F90 010011AC:C001 01 0:0 00:0 0 0 0 4713 1\n";

const ROWS: &[Row<'_>] = &[
    (
        &[("proc/self/limits", "Max open files            1024              524288              files\n")],
        "advice",
        "may open 1024 files",
        "LimitNOFILE=",
    ),
    (
        &[
            ("proc/9/comm", "evenkeel\n"),
            ("proc/9/cmdline", "evenkeel\0run\0"),
            ("proc/9/limits", "Max open files            1024              1024              files\n"),
        ],
        "fault",
        "evenkeel (process 9) may open 1024 files",
        "hard limit",
    ),
    (
        &[("proc/net/tcp", LISTENS), ("proc/12/comm", "apache2\n"), ("proc/12/fd/socket", "socket:[4711]")],
        "fault",
        "127.0.0.1:8080 is held by apache2 (process 12)",
        "stop apache2",
    ),
    (
        &[("proc/net/tcp", LISTENS), ("proc/12/comm", "docker-proxy\n"), ("proc/12/fd/socket", "socket:[4711]")],
        "fault",
        "held by Docker's proxy",
        "publish another port",
    ),
    (&[("proc/net/tcp", LISTENS)], "fault", "cannot be seen", "ss -lnp"),
    (
        &[("proc/net/tcp", GATEWAY), (".dockerenv", "x")],
        "advice",
        "2 of 2 connected clients seem to be 172.17.0.1",
        "userland-proxy",
    ),
    (&[("proc/sys/net/core/somaxconn", "128\n")], "advice", "128 new connections may wait", "somaxconn=4096"),
    (
        &[("proc/net/netstat", "TcpExt: ListenOverflows\nTcpExt: 7\n")],
        "advice",
        "7 connections were turned away",
        "CPUs",
    ),
    (
        &[("proc/sys/net/ipv4/ip_local_port_range", "50000\t51000\n")],
        "advice",
        "pool p: 20000 connections",
        "ip_local_port_range",
    ),
    (
        &[("proc/sys/net/ipv4/ip_local_port_range", "1024\t65535\n")],
        "advice",
        "8080 is one of 1024-65535",
        "ip_local_reserved_ports=8080",
    ),
    (
        &[("proc/net/sockstat", "TCP: inuse 5 orphan 0 tw 20000 alloc 8\n")],
        "advice",
        "20000 connections that have ended",
        "tcp_tw_reuse=1",
    ),
    (
        &[("proc/sys/net/netfilter/nf_conntrack_count", "260000\n")],
        "fault",
        "260000 connections of 262144",
        "nf_conntrack_max=",
    ),
    (&[("proc/sys/net/netfilter/nf_conntrack_max", "8192\n")], "advice", "40000 are allowed", "nf_conntrack_max="),
    (&[("proc/sys/vm/overcommit_memory", "2\n")], "advice", "promises no more memory", "overcommit_memory=0"),
    (
        &[("sys/class/net/eth0/mtu", "1450\n")],
        "advice",
        "docker0 takes packets of 1500 bytes, and eth0 sends 1450",
        "\"mtu\": 1450",
    ),
    (&[("sys/class/net/eth0/mtu", "576\n")], "advice", "IPv6 wants 1280", "ip link set eth0"),
    (&[("sys/fs/cgroup/cpu.stat", "nr_throttled 12\n")], "advice", "stopped 12 times", "more CPUs"),
    (&[("sys/fs/cgroup/memory.current", "1073000000\n")], "advice", "uses 1073000000 bytes", "raise its limit"),
    (&[("sys/fs/cgroup/memory.events", "oom_kill 3\n")], "fault", "3 processes", "raise its limit"),
    (&[("proc/77/comm", "sleep\n")], "advice", "no program that is known to keep it", "chrony"),
];

#[test]
fn each_fault_of_a_machine_is_told_with_its_remedy() {
    for (changes, level, what, remedy) in ROWS {
        let told = doctor(CONFIG, changes, &[]);
        let found = told.findings.iter().find(|finding| finding["what"].as_str().unwrap().contains(what));
        let finding = found.unwrap_or_else(|| panic!("{what} is not in\n{}", told.text));
        assert_eq!(finding["level"], *level, "{finding}");
        assert!(finding["remedy"].as_str().unwrap().contains(remedy), "{finding}");
        assert_eq!(told.code, Some(i32::from(*level == "fault")), "{}", told.text);
        assert!(told.text.contains(&format!("-> {}", finding["remedy"].as_str().unwrap())), "{}", told.text);
    }
}

#[test]
fn what_a_configuration_asks_of_a_machine_is_what_is_looked_at() {
    let pools = "[pool.p]\nbackends = ['nosuch.invalid:1', 'localhost:2']\ncheck.a.type = 'tcp'\n";
    let told = doctor(
        &format!(
            "state_file = '/nosuch/folder/state.json'\n[listener.low]\nbind = '127.0.0.1:80'\npool = 'p'\n{pools}"
        ),
        &[("proc/self/status", "CapEff:\t0000000000000000\n")],
        &[],
    );
    assert_eq!(told.code, Some(1));
    for words in [
        "`nosuch.invalid` has no address",
        "/nosuch/folder",
        "ports below 1024 are not for this user",
        "`localhost` is ",
    ] {
        assert!(told.text.contains(words), "{words} is not in\n{}", told.text);
    }
    let source = "source = '127.0.0.1'\n";
    let told = doctor(
        &format!("{CONFIG}\n[pool.q]\n{source}backends = ['127.0.0.1:9002']\n"),
        &[("proc/sys/net/ipv4/conf/all/rp_filter", "1\n")],
        &[],
    );
    assert!(told.text.contains("pool q chooses by which way"), "{}", told.text);
    let told = doctor(&format!("workers = 8\n{CONFIG}"), &[], &[]);
    assert!(told.text.contains("workers = 8, and the control group has 2 CPUs"), "{}", told.text);
}

#[test]
fn a_configuration_with_problems_is_the_first_fault() {
    let told = doctor(&CONFIG.replace("pool = 'p'", "pool = 'q'"), &[], &[]);
    assert_eq!(
        (told.code, &told.findings[0]["topic"], &told.findings[0]["level"]),
        (Some(1), &"configuration".into(), &"fault".into())
    );
    assert!(told.findings[0]["what"].as_str().unwrap().starts_with("line 3: "), "{}", told.text);
}

#[test]
fn a_running_evenkeel_is_found_and_its_own_ports_are_no_fault() {
    let process =
        Process::start("[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['127.0.0.1:1']\n");
    let config = process.config_path();
    let told = Command::new(PROGRAM)
        .arg("doctor")
        .arg(&config)
        .args(["--admin", &process.admin().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains("an evenkeel answers and is ready"), "{text}");
    assert!(
        text.contains(&format!("admin: {} is held by evenkeel (process {})", process.admin(), process.pid())),
        "{text}"
    );
}
