//! The configuration of a story, as text: it takes the way of every configuration.
//!
//! Pool `main` has checks and the policy of the story, `shadow` follows it, `plain` has the same machines without checks.

use std::fmt::Write;
use std::sync::Arc;

use evenkeel::config::{self, Color, Source, model};

use super::chance::Chance;
use super::world::Roles;

/// Shorter than usual, so that a calm is longer.
const PLAIN: &str = "outliers = { time = \"2s\", time_max = \"10s\" }\n";

/// What stays the same through a story, and the machines that come and go.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    pub(crate) roles: Roles,
    checks: usize,
    options: String,
    /// The part of the options that a reload may change.
    moods: String,
    check: String,
    shadow: &'static str,
    zones: &'static str,
    backups: bool,
    /// The machines of the configuration, in its order.
    pub(crate) machines: Vec<u32>,
    next: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Shared,
    Standby,
    Leader,
}

impl Plot {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let mode = chance.of(&[Mode::Shared, Mode::Standby, Mode::Standby, Mode::Leader]);
        let checks = 1 + chance.below(2);
        let mut options = match mode {
            Mode::Shared => shared(chance),
            Mode::Standby => standby(chance),
            Mode::Leader => leader(chance),
        };
        options.push_str(&all_down(mode, checks, chance));
        if checks > 1 && chance.percent(30) {
            options.push_str("healthy_when = \"c0 or c1\"\n");
        }
        let shadow = if chance.percent(50) { "[pool.shadow]\nfollows = \"main\"\nport = 90\n" } else { "" };
        let zones = ["", "", "zone = \"za\"\n", "zone = \"za\"\nclient_zones = { \"10.9.0.0/16\" = \"zb\" }\n"];
        let zones = chance.of(&zones);
        let count = 2 + chance.below(6) as u32;
        Self {
            roles: if mode == Mode::Leader { Roles::Told } else { Roles::None },
            checks,
            options,
            moods: moods(chance),
            check: check(mode, chance),
            shadow,
            zones,
            backups: mode != Mode::Leader && chance.percent(30),
            machines: (0..count).collect(),
            next: count,
        }
    }

    /// A machine more.
    pub(crate) fn grow(&mut self, chance: &mut Chance) -> u32 {
        let at = chance.below(self.machines.len() + 1);
        self.machines.insert(at, self.next);
        self.next += 1;
        self.next - 1
    }

    /// Other options.
    pub(crate) fn change_mood(&mut self, chance: &mut Chance) {
        self.moods = moods(chance);
    }

    pub(crate) fn config(&self) -> Arc<model::Config> {
        let backends: Vec<String> = self.machines.iter().map(|number| self.backend(*number)).collect();
        let list = format!("backends = [{}]\n", backends.join(", "));
        let mut text = "[listener.web]\nbind = \"127.0.0.1:8080\"\nprotocol = \"http\"\npool = \"main\"\n".to_owned();
        for pool in ["shadow", "plain"] {
            if pool == "plain" || !self.shadow.is_empty() {
                let _ = write!(text, "[[listener.web.route]]\nhost = \"{pool}\"\npool = \"{pool}\"\n");
            }
        }
        let _ = write!(text, "[pool.main]\n{list}{}{}{}", self.options, self.moods, self.zones);
        for number in 0..self.checks {
            // Two checks of different ports are two questions.
            let _ = write!(text, "[pool.main.check.c{number}]\nport = {}\n{}", 80 + number, self.check);
        }
        let _ = write!(text, "{}[pool.plain]\n{list}{PLAIN}", self.shadow);
        match config::load(&Source::text(text)) {
            Ok(loaded) => Arc::new(loaded.config),
            Err(problems) => panic!("{}", problems.render(Color::Plain, "")),
        }
    }

    fn backend(&self, number: u32) -> String {
        let zone = if self.zones.is_empty() { "" } else { [", zone = \"za\"", ", zone = \"zb\""][number as usize % 2] };
        let backup = if self.backups && number % 3 == 1 { ", backup = true" } else { "" };
        format!("{{ name = \"m{number}\", address = \"10.0.0.{number}:80\"{zone}{backup} }}")
    }
}

fn shared(chance: &mut Chance) -> String {
    let slow_start = chance.of(&["0s", "0s", "4s", "30s"]);
    let balance = chance.of(&["round-robin", "least-requests", "p2c", "peak-ewma"]);
    format!("mode = \"active-active\"\nslow_start = \"{slow_start}\"\nbalance = \"{balance}\"\n")
}

fn standby(chance: &mut Chance) -> String {
    let failover = chance.of(&["automatic", "automatic", "manual"]);
    let failback = chance.of(&["at once", "at once", "after 3s", "after 9s", "manual", "never"]);
    format!("mode = \"active-standby\"\nfailover = \"{failover}\"\nfailback = \"{failback}\"\n")
}

fn leader(chance: &mut Chance) -> String {
    let rule = chance.of(&["keep", "refuse", "newest"]);
    format!("mode = \"leader\"\ntwo_leaders = \"{rule}\"\n")
}

fn all_down(mode: Mode, checks: usize, chance: &mut Chance) -> String {
    let words: &[&str] = match (mode, checks) {
        (Mode::Leader, _) => &["all_down = \"fail\"", "all_down = \"hold\"", "no_leader = { hold = \"5s\" }"],
        (_, 1) => &["all_down = \"fail\"", "all_down = \"hold\"", "all_down = \"serve-anyway\""],
        _ => &["all_down = \"fail\"", "all_down = \"serve-anyway\"", "all_down = { serve_when = \"c1\" }"],
    };
    format!("{}\n", chance.of(words))
}

fn moods(chance: &mut Chance) -> String {
    let mut text = String::new();
    let settle = chance.of(&[("0s", "0s"), ("0s", "0s"), ("3s", "0s"), ("2s", "1s")]);
    let _ = writeln!(text, "up_after = \"{}\"\ndown_after = \"{}\"", settle.0, settle.1);
    if chance.percent(50) {
        text.push_str("flaps = { max = 4, within = \"20s\", hold = \"2s\" }\n");
    }
    let _ = writeln!(text, "on_down = \"{}\"", chance.of(&["keep", "close"]));
    let _ = writeln!(text, "on_role_loss = \"{}\"", chance.of(&["keep", "close"]));
    let _ = writeln!(text, "min_healthy = {}", chance.below(3));
    let fails = chance.of(&["down", "down", "keep"]);
    let traffic = chance.of(&["eject", "eject", "report"]);
    let _ = writeln!(text, "disagree = {{ probe_fails = \"{fails}\", traffic_fails = \"{traffic}\" }}");
    let window = chance.of(&["", ", latency = 4.0", ", errors = \"30%\", requests = 10, window = \"5s\""]);
    let failures = chance.of(&["5", "3", "false"]);
    let most = chance.of(&["50%", "34%", "100%"]);
    let _ = writeln!(
        text,
        "outliers = {{ failures = {failures}, time = \"2s\", time_max = \"10s\", max_ejected = \"{most}\"{window} }}"
    );
    text
}

fn check(mode: Mode, chance: &mut Chance) -> String {
    let kind = match mode {
        Mode::Leader => "type = \"http\"\nstatus = { 200 = \"active\", 429 = \"standby\" }",
        _ => "type = \"tcp\"",
    };
    let (interval, fast, timeout) = chance.of(&[(200, 100, 100), (1_000, 250, 500), (2_000, 500, 1_000)]);
    let down = chance.of(&[interval, 2 * interval]);
    let initial = chance.of(&["unknown", "unknown", "unknown", "up", "down"]);
    let (rise, fall) = (1 + chance.below(3), 1 + chance.below(3));
    format!(
        "{kind}\ninterval = \"{interval}ms\"\nfast_interval = \"{fast}ms\"\ndown_interval = \"{down}ms\"\n\
         timeout = \"{timeout}ms\"\nrise = {rise}\nfall = {fall}\ninitial = \"{initial}\"\n"
    )
}
