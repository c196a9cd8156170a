//! The balancer itself has no descriptor left: that is said, and not held against the backend.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, Stdio};

use evenkeel::admin::why::Why;

use crate::support::eventually::{DEADLINE, eventually};
use crate::support::process::{PROGRAM, free_address, run};
use crate::support::{Client, Origin, client};

struct Starved(Child);

impl Drop for Starved {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_lack_of_descriptors_is_told_as_the_balancers_own() {
    let origin = Origin::http().reply("fine").start();
    let (web, admin) = (free_address(), free_address());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("evenkeel.toml");
    let text = format!(
        "workers = 1\n[admin]\nbind = '{admin}'\n[listener.web]\nbind = '{web}'\npool = 'p'\n\
         [pool.p]\nbackends = [{{ name = 'b', address = '{}' }}]\n[pool.p.check.home]\ntype = 'http'\n\
         interval = '100ms'\ntimeout = '100ms'\n",
        origin.addr()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -n 64; exec \"$0\" run --config \"$1\"", PROGRAM]).arg(&config);
    let _starved = Starved(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("the program is ready", DEADLINE, || {
        client::try_get(admin, "/readyz").is_ok_and(|answer| answer.status == 200)
    });
    // It has its descriptor before the others come.
    let mut asking = Client::connect(admin);
    assert_eq!(asking.get("/livez").status, 200);
    let hungry: Vec<Client> = (0..200).filter_map(|_| Client::try_connect(web).ok()).collect();
    eventually("a probe has had no descriptor", DEADLINE, || {
        let why: Why = serde_json::from_slice(&asking.get("/api/v1/pools/p/backends/b/why").body).unwrap();
        let layer = why.checks[0].last_bad.as_ref().and_then(|report| report.layer.clone());
        layer.as_deref() == Some("local")
    });
    drop(hungry);
    let mut page = String::new();
    eventually("it answers others again", DEADLINE, || {
        let ran = run(&["why", "p/b", "--all", "--admin", &admin.to_string()]);
        page = crate::text(&ran.stdout);
        ran.status.success()
    });
    assert!(page.contains("local: ") && page.contains("oo many open files"), "{page}");
    let why: Why = serde_json::from_slice(&client::get(admin, "/api/v1/pools/p/backends/b/why").body).unwrap();
    let (code, output) = crate::by_hand(&why.checks[0].by_hand, &HashMap::new());
    assert!(code == Some(0) && output.contains("200"), "by hand the backend is well: {code:?} {output}");
}
