//! PURE: the clock. Certificates, cookies and logs go by it; deadlines do not.

use std::time::{Duration, Instant, SystemTime};

use super::facts::Clock;
use super::finding::Finding;

const TOPIC: &str = "clock";
/// Sources that cost a trip into the kernel, or to a device, for each look.
const SLOW: &[&str] = &["hpet", "acpi_pm", "jiffies", "refined-jiffies", "xen"];
/// What a clock that is only being drawn may differ by within a run: 500 ppm (adjtimex(2)) of a minute.
const DRAWN: Duration = Duration::from_millis(30);

/// The time of a run by both clocks, and when the configuration was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) begun: (Instant, SystemTime),
    pub(super) ended: (Instant, SystemTime),
    pub(super) written: Option<SystemTime>,
}

pub(super) fn judge(clock: &Clock, run: Run) -> Vec<Finding> {
    let mut findings = Vec::new();
    if run.written.is_some_and(|written| written > run.ended.1 + Duration::from_secs(60)) {
        findings.push(Finding::fault(
            TOPIC,
            "it is earlier than the configuration was written: certificates will be judged wrongly",
            "set it: `timedatectl set-ntp true`, or start chronyd",
        ));
    } else if let Some(jump) = jump(run).filter(|jump| *jump > DRAWN) {
        findings.push(Finding::advice(
            TOPIC,
            format!("it jumped by {} ms while this ran", jump.as_millis()),
            "let one program alone keep it, and draw it instead of setting it (chrony: makestep 1 3)",
        ));
    } else {
        findings.push(kept(clock));
    }
    if let Some(source) = clock.source.as_deref().filter(|source| SLOW.contains(source)) {
        findings.push(Finding::advice(
            TOPIC,
            format!("its source is {source}, which takes long to read"),
            "boot with clocksource=tsc, or kvm-clock in a guest, where the machine has it",
        ));
    }
    findings
}

/// What the wall clock went more, or less, than the time that passed.
fn jump(run: Run) -> Option<Duration> {
    let passed = run.ended.0.checked_duration_since(run.begun.0)?;
    Some(match run.ended.1.duration_since(run.begun.1) {
        Ok(shown) => shown.abs_diff(passed),
        Err(back) => back.duration() + passed,
    })
}

fn kept(clock: &Clock) -> Finding {
    match &clock.keeper {
        Some(keeper) if keeper.starts_with("systemd-time") && !clock.synchronized => Finding::advice(
            TOPIC,
            format!("{keeper} runs and has not heard from a server yet"),
            "look at `timedatectl timesync-status`: its servers may not be reached",
        ),
        Some(keeper) => Finding::ok(TOPIC, format!("kept by {keeper}")),
        None if clock.synchronized => Finding::ok(TOPIC, "kept by systemd-timesyncd"),
        None if clock.sees_all => Finding::advice(
            TOPIC,
            "no program that is known to keep it runs here",
            "`timedatectl set-ntp true`, or install chrony, unless the host of this machine keeps it",
        ),
        None => Finding::ok(TOPIC, "its keeper cannot be seen from a container"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn run(passed_ms: u64, shown_ms: i64) -> Run {
        let (instant, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let shown = Duration::from_millis(shown_ms.unsigned_abs());
        let ended = if shown_ms < 0 { wall - shown } else { wall + shown };
        Run { begun: (instant, wall), ended: (instant + Duration::from_millis(passed_ms), ended), written: None }
    }

    #[test]
    fn a_clock_is_said_to_be_what_can_be_known_of_it() {
        let kept = |keeper: &str, synchronized| Clock {
            keeper: Some(keeper.to_owned()),
            synchronized,
            sees_all: true,
            source: Some("tsc".to_owned()),
        };
        let nobody = |sees_all| Clock { sees_all, ..Clock::default() };
        let slow = Clock { source: Some("hpet".to_owned()), ..kept("chronyd", false) };
        for (clock, run, level, word) in [
            (kept("chronyd", false), run(100, 100), Level::Ok, "chronyd"),
            (kept("systemd-timesyn", true), run(100, 110), Level::Ok, "systemd"),
            (kept("systemd-timesyn", false), run(100, 100), Level::Advice, "not heard"),
            (nobody(true), run(100, 100), Level::Advice, "no program"),
            (nobody(false), run(100, 100), Level::Ok, "container"),
            (kept("chronyd", true), run(100, 3_100), Level::Advice, "jumped by 3000 ms"),
            (kept("chronyd", true), run(100, -900), Level::Advice, "jumped by 1000 ms"),
            (slow, run(100, 100), Level::Advice, "hpet"),
            (
                kept("chronyd", true),
                Run { written: Some(SystemTime::now()), ..run(1, 1) },
                Level::Fault,
                "earlier than the configuration",
            ),
        ] {
            let findings = judge(&clock, run);
            let worst = findings.iter().max_by_key(|finding| finding.level).unwrap();
            assert!(worst.level == level && worst.what.contains(word), "{word}: {findings:?}");
            assert!(findings.iter().all(|finding| finding.remedy.is_empty() == (finding.level == Level::Ok)));
        }
    }
}
