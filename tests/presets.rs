//! The presets: each loads, pasted or named, and comes to the same; what a pool says itself wins.

use std::process::Command;
use std::time::Duration;

use evenkeel::config::model::Config;
use evenkeel::config::{self, Color, PRESETS, Preset, Source};
use evenkeel::health::{AllDown, Mode};

/// A listener in front of a pool of this name; the pool's text.
fn load(name: &str, pool: &str) -> Config {
    let listener = format!("[listener.front]\nbind = \"127.0.0.1:8080\"\nprotocol = \"tcp\"\npool = \"{name}\"\n\n");
    let loaded = config::load(&Source::text(listener + pool)).unwrap_or_else(|problems| panic!("{name}:\n{problems}"));
    assert!(loaded.warnings.is_empty(), "{name}:\n{}", loaded.warnings.render(Color::Plain, ""));
    loaded.config
}

/// A pool that names a preset, with further lines.
fn with(preset: &str, more: &str) -> Config {
    let pool = format!("[pool.front]\npreset = \"{preset}\"\nbackends = [\"10.0.0.1:1\", \"10.0.0.2:1\"]\n{more}\n");
    load("front", &pool)
}

/// The text of a preset with what only the operator knows.
fn pasted(preset: &Preset) -> String {
    let given = |line: &str| match line {
        line if line.starts_with("# backends = ") => "backends = [\"10.0.0.1:1\", \"10.0.0.2:1\"]".to_owned(),
        line if line.starts_with("# user = ") => "user = \"probe\"".to_owned(),
        line if line.starts_with("# password = ") => "password = \"secret\"".to_owned(),
        _ => line.to_owned(),
    };
    preset.text.lines().map(|line| given(line) + "\n").collect()
}

/// What only the operator knows, for a pool that names the preset.
fn known(preset: &Preset) -> &'static str {
    if preset.name == "galera" { "check.galera = { user = \"probe\", password = \"secret\" }" } else { "" }
}

#[test]
fn a_preset_comes_to_the_same_named_or_pasted() {
    for preset in PRESETS {
        let pasted = load(preset.name, &pasted(preset));
        let named = with(preset.name, known(preset));
        let shown =
            |config: &Config| format!("{:#?}", config.pools).replace("\"front\"", &format!("\"{}\"", preset.name));
        assert_eq!(shown(&pasted), shown(&named), "{}", preset.name);
    }
}

#[test]
fn what_a_pool_says_itself_wins() {
    let config = with(
        "grafana",
        "slow_start = \"5s\"\nall_down = \"fail\"\ntimeouts.connect = \"1s\"\n\
         check.api = { path = \"/grafana/api/health\", body = { contains = \"ok\" } }\n\
         check.alive = { type = \"tcp\" }\nhealthy_when = \"api and alive\"",
    );
    let pool = &config.pools[0];
    assert_eq!(pool.policy.slow_start, Duration::from_secs(5));
    assert_eq!(pool.policy.all_down, AllDown::Fail);
    // Of a section, only what is said changes.
    assert_eq!((pool.timeouts.connect, pool.timeouts.response), (Duration::from_secs(1), Duration::from_secs(60)));
    let check = |name: &str| format!("{:?}", pool.checks.iter().find(|check| &*check.name == name).unwrap().kind);
    assert!(check("api").contains("\"/grafana/api/health\""), "{}", check("api"));
    // Of a rule for the body, all of it; a check of another type is another check.
    assert!(check("api").contains("Contains") && !check("api").contains("/database"), "{}", check("api"));
    assert_eq!(check("alive"), "Tcp");
}

#[test]
fn another_mode_leaves_the_options_of_the_presets_mode_behind() {
    let config = with("grafana", "mode = \"active-standby\"\nfailback = \"never\"");
    assert!(matches!(config.pools[0].policy.mode, Mode::ActiveStandby(_)));
    assert_eq!(config.pools[0].policy.slow_start, Duration::ZERO);
}

#[test]
fn the_command_lists_and_prints_them() {
    let evenkeel = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_evenkeel")).args(arguments).output().unwrap();
    let list = String::from_utf8(evenkeel(&["preset"]).stdout).unwrap();
    for preset in PRESETS {
        assert!(list.contains(preset.summary()), "{list}");
        assert_eq!(String::from_utf8(evenkeel(&["preset", preset.name]).stdout).unwrap(), preset.text);
    }
    let wrong = evenkeel(&["preset", "nginx"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("the presets are grafana, vault"));
}
