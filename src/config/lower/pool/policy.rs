//! What a pool decides by: when a backend is up, who of those that are up gets work, and what happens when nobody is left.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::config::lower::nonzero;
use crate::config::model::{Check, Member};
use crate::config::problem::Problem;
use crate::config::section::{Choice, Section};
use crate::config::tree::Value;
use crate::config::units::{self, Fault};
use crate::config::vocabulary::{ALL_DOWN, FLAPS};
use crate::health::{AllDown, Failback, Failover, Flaps, Mode, Policy, Settle, Succession, TwoLeaders};

use super::{expression, outliers};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ActiveActive,
    ActiveStandby,
    Leader,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::ActiveActive => "active-active",
            Self::ActiveStandby => "active-standby",
            Self::Leader => "leader",
        }
    }
}

const MODE: Choice<Kind> = Choice {
    words: &[("active-active", Kind::ActiveActive), ("active-standby", Kind::ActiveStandby), ("leader", Kind::Leader)],
    foreign: &[
        ("active-passive", "active-standby"),
        ("primary-standby", "active-standby"),
        ("failover", "active-standby"),
        ("backup", "active-standby"),
        ("single", "active-standby"),
        ("primary", "leader"),
        ("primary-replica", "leader"),
        ("master-slave", "leader"),
        ("master", "leader"),
        ("http", "the protocol belongs into [listener.NAME]"),
        ("tcp", "the protocol belongs into [listener.NAME]"),
    ],
    later: &[],
};

const FAILOVER: Choice<Failover> = Choice {
    words: &[("automatic", Failover::Automatic), ("manual", Failover::Manual)],
    foreign: &[("auto", "automatic"), ("always", "automatic"), ("never", "manual"), ("operator", "manual")],
    later: &[],
};

const FAILBACK: Choice<Failback> = Choice {
    words: &[
        ("never", Failback::Never),
        ("manual", Failback::Manual),
        ("at once", Failback::AtOnce),
        // With a time in place of TIME, which `failback` reads.
        ("after TIME", Failback::AtOnce),
    ],
    foreign: &[
        ("at-once", "at once"),
        ("automatic", "at once"),
        ("auto", "at once"),
        ("immediate", "at once"),
        ("always", "at once"),
        ("off", "never"),
        ("none", "never"),
        ("sticky", "never"),
        ("operator", "manual"),
        ("after TIME", "write a time, such as \"after 10m\""),
    ],
    later: &[],
};

const TWO_LEADERS: Choice<TwoLeaders> = Choice {
    words: &[("keep", TwoLeaders::Keep), ("refuse", TwoLeaders::Refuse), ("newest", TwoLeaders::Newest)],
    foreign: &[("incumbent", "keep"), ("first", "keep"), ("none", "refuse"), ("latest", "newest"), ("epoch", "newest")],
    later: &[],
};

/// Damping where `flaps` says no more.
const FLAPS_USUAL: Flaps = Flaps {
    max: NonZeroU32::new(6).expect("six is not zero"),
    within: Duration::from_secs(60),
    hold: Duration::from_secs(60),
};

/// The policy of a pool whose requests wait for `hold` when nobody may serve.
pub(super) fn policy(
    section: &Section<'_>,
    members: Option<&[Member]>,
    checks: &[(String, Option<Check>)],
    hold: Duration,
) -> Option<Policy> {
    let names: Vec<Arc<str>> = checks.iter().map(|(name, _)| name.as_str().into()).collect();
    let known = section.choice("mode", &MODE);
    let kind = known.unwrap_or(Kind::ActiveActive);
    if known.is_some() || !section.has("mode") {
        report_other_modes(section, kind);
    }
    if kind == Kind::Leader {
        report_leaderless(section, checks);
    }
    let healthy_when = expression::healthy_when(section, &names);
    let all_down = all_down(section, &names, kind, hold);
    if let (Some(healthy_when), Some(all_down)) = (&healthy_when, &all_down) {
        let mut asked = vec![healthy_when];
        asked.extend(match all_down {
            AllDown::ServeWhen(expression) => Some(expression),
            _ => None,
        });
        // A check that tells a role is asked for that, whatever its answer means otherwise.
        let decides = |check: usize| {
            let tells = checks[check].1.as_ref().is_none_or(|check| check.kind.tells_role());
            tells || asked.iter().any(|expression| expression.mentions(check))
        };
        expression::report_unused(section, &names, decides);
    }
    let time = |key: &str| section.duration(key).unwrap_or(Duration::ZERO);
    let policy = Policy {
        mode: mode(section, kind),
        min_healthy: min_healthy(section, members),
        settle: Settle { up: time("up_after"), down: time("down_after") },
        flaps: flaps(section),
        slow_start: slow_start(section, kind),
        outliers: outliers::outliers(section),
        disagree: outliers::disagree(section),
        all_down: all_down?,
        healthy_when: healthy_when?,
    };
    Some(policy)
}

/// Refuses options of other modes.
fn report_other_modes(section: &Section<'_>, kind: Kind) {
    for (key, needed) in [
        ("failover", Kind::ActiveStandby),
        ("failback", Kind::ActiveStandby),
        ("two_leaders", Kind::Leader),
        ("no_leader", Kind::Leader),
    ] {
        if kind != needed {
            other_mode(section, key, kind, needed);
        }
    }
}

/// A pool with a leader needs someone who says who that is.
fn report_leaderless(section: &Section<'_>, checks: &[(String, Option<Check>)]) {
    let tells = checks.iter().any(|(_, check)| check.as_ref().is_none_or(|check| check.kind.tells_role()));
    let Some(mode) = section.entry("mode").filter(|_| !tells) else { return };
    section.cx.report(
        Problem::error("no-role", mode.node.at, format!("no check of [{}] says who leads", section.path))
            .label("needs a check that tells a role")
            .help(
                "give each status of an http check a meaning, status = { 200 = \"active\", 429 = \"standby\" }, or ask \
                 a database for its role; where no backend knows, mode = \"active-standby\" goes by their order",
            ),
    );
}

fn mode(section: &Section<'_>, kind: Kind) -> Mode {
    let failover = section.choice("failover", &FAILOVER).unwrap_or(Failover::Automatic);
    let failback = section.parsed("failback", failback).unwrap_or(Failback::AtOnce);
    let two_leaders = section.choice("two_leaders", &TWO_LEADERS).unwrap_or(TwoLeaders::Keep);
    match kind {
        Kind::ActiveActive => Mode::ActiveActive,
        Kind::ActiveStandby => Mode::ActiveStandby(Succession { failover, failback }),
        Kind::Leader => Mode::Leader(two_leaders),
    }
}

/// An error and not a warning: whoever writes `failback` counts on one backend at a time.
fn other_mode(section: &Section<'_>, key: &str, kind: Kind, needed: Kind) {
    let Some(entry) = section.table.get(key) else { return };
    let (own, needed) = (kind.word(), needed.word());
    let problem = Problem::error("other-mode", entry.key_at, format!("`{key}` needs mode = \"{needed}\""))
        .help(format!("write mode = \"{needed}\", or take `{key}` out"));
    section.cx.report(match section.entry("mode") {
        Some(mode) => problem.label("not in this mode").second(mode.node.at, "the mode"),
        None => problem.label(format!("the mode is {own} where none is given")),
    });
}

/// `never`, `manual`, `at once` or `after 10m`.
fn failback(text: &str) -> Result<Failback, Fault> {
    let Some(time) = text.strip_prefix("after ").filter(|time| *time != "TIME") else {
        let fault = |_| FAILBACK.find("failback", text);
        return match units::duration(text) {
            Ok(_) => {
                let fault = Fault::new("unknown-word", format!("`failback` knows no `{text}`"), "not one of its words");
                Err(fault.help(format!("write \"after {text}\"")))
            }
            Err(error) => fault(error),
        };
    };
    units::duration(time).map(|time| if time.is_zero() { Failback::AtOnce } else { Failback::After(time) }).map_err(
        |mut fault| {
            let help = fault.help.take().map(|help| help.replace("write \"", "write \"after "));
            Fault { help, ..fault }
        },
    )
}

const ALL_DOWN_WORDS: Choice<Simple> = Choice {
    words: &[("fail", Simple::Fail), ("hold", Simple::Hold), ("serve-anyway", Simple::ServeAnyway)],
    foreign: &[
        ("fail-closed", "fail"),
        ("closed", "fail"),
        ("503", "fail"),
        ("refuse", "fail"),
        ("fail-open", "serve-anyway"),
        ("open", "serve-anyway"),
        ("panic", "serve-anyway"),
        ("serve_anyway", "serve-anyway"),
        ("all", "serve-anyway"),
        ("queue", "hold"),
        ("wait", "hold"),
        ("serve_when", "write all_down = { serve_when = \"CHECK\" }"),
        ("serve-when", "write all_down = { serve_when = \"CHECK\" }"),
    ],
    later: &[],
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Simple {
    Fail,
    Hold,
    ServeAnyway,
}

/// Requests are refused when all are down, unless something is said of it: `hold` alone says that they wait.
fn all_down(section: &Section<'_>, names: &[Arc<str>], kind: Kind, hold: Duration) -> Option<AllDown> {
    let Some(entry) = section.entry("all_down") else {
        let usual = if hold.is_zero() { AllDown::Fail } else { AllDown::Hold };
        return (!section.has("all_down")).then_some(usual);
    };
    let read = match &entry.node.value {
        Value::Table(_) => {
            let table = section.section("all_down", &ALL_DOWN)?;
            if !table.has("serve_when") {
                table.missing("serve_when", "write all_down = { serve_when = \"CHECK\" } with the name of a check");
            }
            AllDown::ServeWhen(expression::over(&table, "serve_when", names)?)
        }
        Value::String(_) => match section.choice("all_down", &ALL_DOWN_WORDS)? {
            Simple::Fail => AllDown::Fail,
            Simple::Hold => AllDown::Hold,
            Simple::ServeAnyway => AllDown::ServeAnyway,
        },
        _ => {
            let help = "write \"fail\", \"hold\", \"serve-anyway\" or { serve_when = \"CHECK\" }";
            section.wrong_type(&entry.node, "all_down", "a word or a table", help);
            return None;
        }
    };
    let conflict = |message: &str, label: &str, other: &str, help: &str| {
        let problem = Problem::error("conflict", entry.node.at, message).label(label).help(help);
        section.cx.report(match section.table.get(other) {
            Some(other) => problem.second(other.key_at, "given here"),
            None => problem,
        });
    };
    match (&read, kind) {
        (AllDown::ServeAnyway | AllDown::ServeWhen(_), Kind::Leader) => conflict(
            "a pool with a leader cannot serve without one",
            "would give work to whoever is not the leader",
            "mode",
            "write \"fail\" or \"hold\"; reads may go to standbys by reads = \"standby\" on a listener or route",
        ),
        (AllDown::Fail, _) if !hold.is_zero() => conflict(
            "all_down = \"fail\" and a time to wait exclude each other",
            "says that nobody waits",
            if section.has("hold") { "hold" } else { "no_leader" },
            "take one of the two out",
        ),
        _ => {}
    }
    Some(read)
}

fn min_healthy(section: &Section<'_>, members: Option<&[Member]>) -> u32 {
    let Some(least) = section.integer("min_healthy", 0..=1_000_000) else { return 0 };
    let least = u32::try_from(least).unwrap_or(u32::MAX);
    if let Some(count) = members.map(<[_]>::len).filter(|count| (*count as u64) < u64::from(least)) {
        let at = section.entry("min_healthy").map_or(section.at, |entry| entry.node.at);
        let all = section.entry("backends").map_or(section.at, |entry| entry.key_at);
        section.cx.report(
            Problem::error("range", at, format!("`min_healthy` = {least} can never be reached"))
                .label("the alarm would never end")
                .second(all, if count == 1 { "one backend".to_owned() } else { format!("{count} backends") })
                .help(format!("write {count} or less")),
        );
    }
    least
}

fn flaps(section: &Section<'_>) -> Option<Flaps> {
    let node = &section.entry("flaps")?.node;
    match node.value {
        Value::Boolean(on) => return on.then_some(FLAPS_USUAL),
        Value::Table(_) => {}
        _ => {
            let help = "write flaps = { max = 6, within = \"1m\", hold = \"1m\" }, or false";
            section.wrong_type(node, "flaps", "a table or false", help);
            return None;
        }
    }
    let flaps = section.section("flaps", &FLAPS)?;
    let max = flaps.integer("max", 2..=1000).map(|max| nonzero(u32::try_from(max).unwrap_or(u32::MAX)));
    Some(Flaps {
        max: max.unwrap_or(FLAPS_USUAL.max),
        within: flaps.positive_duration("within").unwrap_or(FLAPS_USUAL.within),
        hold: flaps.positive_duration("hold").unwrap_or(FLAPS_USUAL.hold),
    })
}

fn slow_start(section: &Section<'_>, kind: Kind) -> Duration {
    let time = section.duration("slow_start").unwrap_or(Duration::ZERO);
    if let Some(entry) = section.entry("slow_start").filter(|_| kind != Kind::ActiveActive && !time.is_zero()) {
        let mode = section.entry("mode").map_or(entry.key_at, |mode| mode.node.at);
        section.cx.report(
            Problem::warning(
                "no-effect",
                entry.key_at,
                "`slow_start` has no effect where one backend has all the work",
            )
            .label("there is nobody to share with")
            .second(mode, "one at a time")
            .help("take it out"),
        );
    }
    time
}
