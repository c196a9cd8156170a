//! The configuration of a story, as text: it takes the way of every configuration.

use std::fmt::Write;
use std::sync::Arc;

use evenkeel::config::{self, Color, Source, model};

use super::chance::Chance;

/// What stays the same through a story, and the machines that come and go.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    pub(crate) has_roles: bool,
    checks: usize,
    options: String,
    check: String,
    others: String,
    /// The machines of the configuration, in its order.
    pub(crate) machines: Vec<u32>,
    next: u32,
}

impl Plot {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let mode = chance.below(3);
        let mut options = match mode {
            0 => "mode = \"active-active\"\n".to_owned(),
            1 => {
                let rule = chance.of(&["keep", "refuse", "newest"]);
                format!("mode = \"leader\"\ntwo_leaders = \"{rule}\"\n")
            }
            _ => {
                let failover = chance.of(&["automatic", "automatic", "manual"]);
                let failback = chance.of(&["at once", "after 5s", "after 20s", "manual", "never"]);
                format!("mode = \"active-standby\"\nfailover = \"{failover}\"\nfailback = \"{failback}\"\n")
            }
        };
        if mode == 0 {
            let _ = writeln!(options, "slow_start = \"{}\"", chance.of(&["0s", "0s", "4s", "30s"]));
            let latency = chance.of(&["", ", latency = 4.0", ", errors = \"30%\", requests = 10, window = \"5s\""]);
            let failures = chance.of(&["5", "3", "false"]);
            let most = chance.of(&["50%", "34%", "100%"]);
            let _ = writeln!(
                options,
                "outliers = {{ failures = {failures}, time = \"2s\", time_max = \"10s\", max_ejected = \"{most}\"{latency} }}"
            );
            let _ = writeln!(options, "balance = \"{}\"", chance.of(&["round-robin", "least-requests", "p2c"]));
        } else {
            options.push_str("outliers = { failures = 5, time = \"2s\", time_max = \"10s\" }\n");
            let _ = writeln!(options, "on_role_loss = \"{}\"", chance.of(&["keep", "close"]));
        }
        let _ = writeln!(options, "on_down = \"{}\"", chance.of(&["keep", "close"]));
        let settle = chance.of(&[("0s", "0s"), ("0s", "0s"), ("3s", "0s"), ("2s", "1s")]);
        let _ = writeln!(options, "up_after = \"{}\"\ndown_after = \"{}\"", settle.0, settle.1);
        if chance.percent(40) {
            options.push_str("flaps = { max = 4, within = \"20s\", hold = \"2s\" }\n");
        }
        // A pool with a leader cannot serve without one.
        let all_down =
            if mode == 1 { chance.of(&["fail", "hold"]) } else { chance.of(&["fail", "hold", "serve-anyway"]) };
        let _ = writeln!(options, "all_down = \"{all_down}\"");
        let _ = writeln!(options, "min_healthy = {}", chance.below(3));
        let fails = chance.of(&["down", "down", "keep"]);
        let traffic = chance.of(&["eject", "eject", "report"]);
        let _ = writeln!(options, "disagree = {{ probe_fails = \"{fails}\", traffic_fails = \"{traffic}\" }}");
        let interval = chance.of(&[(200, 100, 100), (1_000, 250, 500), (2_000, 500, 1_000)]);
        let check = format!(
            "type = \"tcp\"\ninterval = \"{}ms\"\nfast_interval = \"{}ms\"\ntimeout = \"{}ms\"\nrise = {}\nfall = {}\n",
            interval.0,
            interval.1,
            interval.2,
            1 + chance.below(3),
            1 + chance.below(3)
        );
        let mut others = String::new();
        if chance.percent(50) {
            others.push_str("[pool.shadow]\nfollows = \"main\"\nport = 90\n");
        }
        let count = 2 + chance.below(4) as u32;
        Self {
            has_roles: mode == 1,
            checks: 1 + chance.below(2),
            options,
            check,
            others,
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

    pub(crate) fn config(&self) -> Arc<model::Config> {
        let backends: Vec<String> = self.machines.iter().map(|number| format!("\"10.0.0.{number}:80\"")).collect();
        let list = format!("backends = [{}]\n", backends.join(", "));
        let mut text = "[listener.web]\nbind = \"127.0.0.1:8080\"\nprotocol = \"http\"\npool = \"main\"\n".to_owned();
        for pool in ["shadow", "plain"] {
            if pool == "plain" || !self.others.is_empty() {
                let _ = write!(text, "[[listener.web.route]]\nhost = \"{pool}\"\npool = \"{pool}\"\n");
            }
        }
        let _ = write!(text, "[pool.main]\n{list}{}", self.options);
        for number in 0..self.checks {
            // Two checks of different names and ports are two questions.
            let _ = write!(text, "[pool.main.check.c{number}]\nport = {}\n{}", 80 + number, self.check);
        }
        text.push_str(&self.others);
        let _ = write!(text, "[pool.plain]\n{list}");
        match config::load(&Source::text(text)) {
            Ok(loaded) => Arc::new(loaded.config),
            Err(problems) => panic!("{}", problems.render(Color::Plain, "")),
        }
    }
}
