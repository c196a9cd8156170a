//! Secrets that are planted in every check, and given back by servers: none of them is told, whole or in part.

use std::fs;

use crate::Stage;
use crate::support::client;

/// Each begins with three characters of its own, in the open, in base64 or in hexadecimal; a part that is told is found.
pub(crate) const PASSWORD: &str = "Zq1-pass-w0rd-1f\"3";
pub(crate) const BEARER: &str = "Zq2-bearer-5c0ffee";
pub(crate) const KEY: &str = "Zq3\"own\\key-77";
pub(crate) const COOKIE: &str = "Zq4-cookie-9b";
pub(crate) const QUERY: &str = "Zq5-query-3e";
pub(crate) const BODY: &str = "Zq6-body-4d";
pub(crate) const TOLD_SCRIPT: &str = "Zq7-script-2a";
pub(crate) const TOLD_COMMAND: &str = "Zq8-command-8c";
pub(crate) const TOLD_AGENT: &str = "Zq9-agent-6e";

/// What a careless server says to whoever asks: all that it was told, in every form, and cut anywhere by who quotes it.
pub(crate) const ECHO: &str = "you sent Zq2-bearer-5c0ffee, Zq3\"own\\key-77, Zq4-cookie-9b, Zq5-query-3e, Zq6-body-4d; \
     WnEyLWJlYXJlci01YzBmZmVl 5a71322d6265617265722d35633066666565 {\"key\":\"Zq3\\\"own\\\\key-77\"} Zq2-bearer-5";

/// The beginnings of `Zq1` to `Zq9`: in the open, in base64, in hexadecimal.
fn beginnings() -> impl Iterator<Item = [String; 3]> {
    let in_base64 = ["WnEx", "WnEy", "WnEz", "WnE0", "WnE1", "WnE2", "WnE3", "WnE4", "WnE5"];
    (1..=9).zip(in_base64).map(|(number, base64)| [format!("Zq{number}"), base64.to_owned(), format!("5a713{number}")])
}

#[track_caller]
fn assert_free(what: &str, text: &str) {
    for forms in beginnings() {
        for form in forms {
            if let Some(at) = text.find(&form) {
                let around: String = text[at.saturating_sub(80)..].chars().take(160).collect();
                panic!("{what} tells {form}: …{around}…");
            }
        }
    }
}

/// Looks at everything that the program shows.
#[track_caller]
pub(crate) fn assert_untold(stage: &Stage) {
    let admin = stage.balancer.admin();
    let pcapng = stage.balancer.folder().join("all.pcapng");
    for fault in &stage.scene.faults {
        let name = fault.name;
        let commands: [&[&str]; 4] = [
            &["why", &format!("{name}/b"), "--all"],
            &["why", &format!("{name}/b"), "--hex"],
            &["why", &format!("{name}/b"), "--pcapng", pcapng.to_str().unwrap()],
            &["why", name, "--json"],
        ];
        for command in commands {
            let ran = stage.ask(command);
            let shown = crate::text(&ran.stdout) + &crate::text(&ran.stderr);
            assert!(ran.status.success(), "{command:?}: {shown}");
            // A dump of bytes has them apart.
            assert_free(&format!("{command:?}"), &shown);
            assert_free(&format!("{command:?}, joined"), &shown.replace(' ', ""));
        }
        assert_free(&format!("pcapng of {name}"), &String::from_utf8_lossy(&fs::read(&pcapng).unwrap()));
    }
    let probed = stage.ask(&["probe", "wrong-body", "--all"]);
    assert_eq!(probed.status.code(), Some(1), "a probe failed");
    assert_free("probe", &crate::text(&probed.stdout));
    for command in ["status", "events"] {
        assert_free(command, &crate::text(&stage.ask(&[command]).stdout));
        assert_free(command, &crate::text(&stage.ask(&[command, "--json"]).stdout));
    }
    for path in ["/metrics", "/api/v1/pools", "/api/v1/events", "/api/v1/overrides"] {
        assert_free(path, &client::get(admin, path).text());
    }
    let log = stage.balancer.stderr() + &stage.balancer.stdout();
    assert!(log.contains("backend is down") && log.contains("wrong-body"), "the log is there: {log}");
    assert_free("the log", &log);
    let config = stage.balancer.config_path();
    let checked = crate::support::process::run(&["check", "--probe", config.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(1), "no backend would be up");
    assert_free("check --probe", &(crate::text(&checked.stdout) + &crate::text(&checked.stderr)));
}
