use super::*;
use crate::config::{Source, load_with};

const OLD: &str = r#"
[admin]
bind = "127.0.0.1:8404"
[listener.web]
bind = "127.0.0.1:8080"
pool = "portal"
[[listener.web.route]]
host = "old.example.com"
pool = "old"
[pool.portal]
backends = [{ name = "b1", address = "10.0.0.1:80" }, { name = "b2", address = "10.0.0.2:80" }]
[pool.portal.check.web]
type = "http"
path = "/health"
interval = "2s"
timeout = "1s"
[pool.portal.check.db]
type = "mysql"
user = "check"
password = "${PASSWORD}"
port = 3306
[pool.old]
backends = ["10.0.0.9:80"]
"#;

fn load(text: &str, password: &str) -> crate::config::Loaded {
    let loaded = load_with(&Source::text(text), &|name| (name == "PASSWORD").then(|| password.to_owned()));
    loaded.unwrap_or_else(|problems| panic!("{}", problems.render(crate::config::Color::Plain, "")))
}

fn told(new: &str, password: &str) -> String {
    let (old, new) = (load(OLD, "hunter2"), load(new, password));
    let masks = Masks::of(&[("${PASSWORD}".to_owned(), "hunter2".to_owned())]);
    let mut under_way = UnderWay::default();
    under_way.backends.insert(("old".to_owned(), "10.0.0.9:80".to_owned()), 37);
    under_way.backends.insert(("portal".to_owned(), "b2".to_owned()), 2);
    plan(&old.config, &new.config, &masks, &under_way).to_string()
}

fn check(rows: &[(&str, &str, &str)]) {
    for (from, to, wanted) in rows {
        assert!(OLD.contains(from), "{from}");
        let said = told(&OLD.replace(from, to), "hunter2");
        assert!(said.lines().any(|line| line == *wanted), "{wanted}\nis none of\n{said}");
    }
}

#[test]
fn nothing_changes_where_the_same_is_said_otherwise() {
    for (from, to) in [
        ("interval = \"2s\"", "interval = \"2000ms\""),
        ("[pool.old]", "# a remark\n[pool.old]"),
        ("bind = \"127.0.0.1:8404\"", ""),
        ("\"10.0.0.1:80\" }", "\"10.0.0.1:80\", weight = 1 }"),
    ] {
        let new = OLD.replace(from, to);
        assert_eq!(told(&new, "hunter2"), "nothing changes\n", "{to}");
        assert_eq!(hash(&load(&new, "hunter2").config), hash(&load(OLD, "hunter2").config), "{to}");
    }
}

#[test]
fn pools_are_not_known_by_their_position() {
    let (head, tail) = OLD.split_once("[pool.old]").unwrap();
    let (head, portal) = head.split_once("[pool.portal]").unwrap();
    assert_eq!(told(&format!("{head}[pool.old]{tail}[pool.portal]{portal}"), "hunter2"), "nothing changes\n");
}

#[test]
fn changes_are_told_by_name() {
    check(&[
        (
            "{ name = \"b2\"",
            "{ name = \"b3\", address = \"10.0.0.3:80\" }, { name = \"b2\"",
            "pool portal: +1 backend b3",
        ),
        ("\"10.0.0.1:80\" }", "\"10.0.0.1:80\", weight = 2 }", "pool portal: weight of b1 1 -> 2"),
        (", { name = \"b2\", address = \"10.0.0.2:80\" }", "", "pool portal: -1 backend b2 (2 connections finish)"),
        (
            "address = \"10.0.0.1:80\"",
            "address = \"10.0.0.7:80\"",
            "pool portal: address of b1 10.0.0.1:80 -> 10.0.0.7:80",
        ),
        ("path = \"/health\"", "path = \"/ready\"", "pool portal: check web: path /health -> /ready"),
        (
            "backends = [\"10.0.0.9:80\"]",
            "backends = [\"10.0.0.9:80\"]\nbalance = \"least-requests\"",
            "pool old: balance round-robin -> least-requests",
        ),
        (
            "host = \"old.example.com\"",
            "host = [\"old.example.com\", \"new.example.com\"]",
            "listener web: route 1: + host new.example.com",
        ),
        ("bind = \"127.0.0.1:8080\"", "bind = \"127.0.0.1:8081\"", "bound anew: 127.0.0.1:8081"),
        ("bind = \"127.0.0.1:8080\"", "bind = \"127.0.0.1:8081\"", "bound no more: 127.0.0.1:8080"),
        ("[admin]", "workers = 2\n[admin]", "only at the next start: workers none -> 2"),
        ("127.0.0.1:8404", "127.0.0.1:8405", "only at the next start: admin.bind 127.0.0.1:8404 -> 127.0.0.1:8405"),
        ("[admin]", "[limits]\nconnections = 7\n[admin]", "process: limits.connections 20000 -> 7"),
        (
            "[pool.old]",
            "[listener.api]\nbind = \"127.0.0.1:8081\"\npool = \"old\"\n[pool.old]",
            "listener api: new, binds 127.0.0.1:8081",
        ),
        (
            "[pool.old]",
            "[listener.api]\nbind = \"127.0.0.1:8081\"\npool = \"old\"\n[pool.old]",
            "listener web unchanged",
        ),
        ("user = \"check\"", "user = \"probe\"", "nothing is bound anew"),
    ]);
}

#[test]
fn a_change_of_interval_says_both() {
    let said = told(&OLD.replace("interval = \"2s\"", "interval = \"5s\""), "hunter2");
    assert!(said.contains("check web: interval 2s -> 5s"), "{said}");
}

#[test]
fn what_is_gone_says_how_much_drains() {
    let new = OLD.replace("[[listener.web.route]]\nhost = \"old.example.com\"\npool = \"old\"\n", "");
    let said = told(new.split("[pool.old]").next().unwrap(), "hunter2");
    assert!(said.contains("pool old: gone, 37 connections will drain\n"), "{said}");
    assert!(said.contains("listener web: - route host old.example.com destination old"), "{said}");
}

#[test]
fn secrets_change_and_are_not_shown() {
    for (new, password) in [(OLD.to_owned(), "swordfish"), (OLD.replace("${PASSWORD}", "swordfish"), "hunter2")] {
        let said = told(&new, password);
        assert!(
            said.contains("check db: account.password has another value") || said.contains("password has"),
            "{said}"
        );
        assert!(!said.contains("hunter2") && !said.contains("swordfish"), "{said}");
    }
}

#[test]
fn checks_are_called_by_their_names() {
    let said = told(
        &OLD.replace("backends = [{ name = \"b1\"", "healthy_when = \"web\"\nbackends = [{ name = \"b1\""),
        "hunter2",
    );
    let line = said.lines().find(|line| line.starts_with("pool portal:")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("web") && line.contains("db") && !line.contains('0'), "{line}");
}

#[test]
fn another_secret_is_told_and_neither_is_shown() {
    let with = |secret: &str| {
        let sticky = format!("[pool.portal]\nsticky = {{ cookie = \"node\", secret = \"{secret}\" }}\n");
        load(&OLD.replace("[pool.portal]\n", &sticky), "hunter2").config
    };
    let (old, new) = (with("the first secret of all"), with("another secret than that"));
    let said = plan(&old, &new, &Masks::default(), &UnderWay::default()).to_string();
    assert!(said.contains("pool portal: sticky.secret has another value"), "{said}");
    for shown in ["first", "another secret", "secret#"] {
        assert!(!said.contains(shown), "{said}");
    }
    assert_ne!(hash(&old), hash(&new));
    assert_eq!(hash(&old), hash(&with("the first secret of all")), "the same over a restart");
}
