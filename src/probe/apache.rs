//! `type = "apache"`: does Apache have idle workers left? Asked of `mod_status` in its machine form.
//!
//! Of its many lines, `IdleWorkers` and `BusyWorkers` count; where a version or a module leaves them out, the scoreboard
//! has them too, one letter for each worker.

use super::http;
use super::question::Question;
use super::report::{Failure, Finding, Layer};
use super::transcript::Log;
use crate::config::model::{ApacheCheck, ApacheWeights, Site};
use crate::health::Says;

/// What the workers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Workers {
    idle: u32,
    busy: u32,
}

pub(super) async fn ask(
    question: &Question,
    check: &ApacheCheck,
    address: &Site,
    log: &Log,
) -> Result<Finding, Failure> {
    let answer = http::fetch(question, address, log).await?;
    judge(answer.status, &answer.body, check.idle_workers_min, check.weights)
}

fn judge(status: u16, body: &[u8], wanted: u32, weights: ApacheWeights) -> Result<Finding, Failure> {
    if status != 200 {
        let remedy = match status {
            403 => "; let the balancer's address in with `Require ip` at its <Location>",
            404 => "; enable mod_status and give it a <Location>",
            _ => "",
        };
        return Err(Failure::new(Layer::Answer, format!("HTTP {status} instead of the server's status{remedy}")));
    }
    let Some(workers) = Workers::read(body) else {
        return Err(Failure::new(Layer::Protocol, "no `IdleWorkers` in the answer; does the path end in `?auto`?"));
    };
    let Workers { idle, .. } = workers;
    if idle < wanted {
        return Err(Failure::new(Layer::Answer, format!("{idle} idle workers, wanted at least {wanted}")));
    }
    Ok(match weights {
        ApacheWeights::Configured => Finding::new(format!("{idle} idle workers")),
        ApacheWeights::ByIdleWorkers => {
            let share = workers.share();
            let says = Says { share: Some(share), ..Says::default() };
            Finding::new(format!("{idle} idle workers of {}: weight {share} %", workers.all())).saying(says)
        }
    })
}

impl Workers {
    fn read(body: &[u8]) -> Option<Self> {
        let number = |key: &str| value(body, key)?.parse::<u32>().ok();
        let board = value(body, "Scoreboard:").map(Self::count);
        let idle = match value(body, "IdleWorkers:") {
            Some(text) => text.parse().ok()?,
            None => board?.idle,
        };
        let busy = number("BusyWorkers:").or(board.map(|board| board.busy)).unwrap_or(0);
        Some(Self { idle, busy })
    }

    /// `_` waits; a dot is a place without a worker, and `I` one that is being cleaned away; the rest works.
    fn count(board: &str) -> Self {
        let count = |is: fn(u8) -> bool| u32::try_from(board.bytes().filter(|letter| is(*letter)).count()).unwrap_or(0);
        Self { idle: count(|letter| letter == b'_'), busy: count(|letter| b"SRWKDCLG".contains(&letter)) }
    }

    fn all(self) -> u64 {
        u64::from(self.idle) + u64::from(self.busy)
    }

    /// Percent of its workers that are idle. Never nothing: that would be a wish to drain.
    fn share(self) -> u16 {
        let percent = u64::from(self.idle) * 100 / self.all().max(1);
        u16::try_from(percent.clamp(1, 100)).unwrap_or(100)
    }
}

/// What follows a key at the start of a line.
fn value<'a>(body: &'a [u8], key: &str) -> Option<&'a str> {
    let mut lines = body.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(key.as_bytes()))?;
    std::str::from_utf8(value).ok().map(str::trim)
}

/// For [`super::parsers`].
pub(super) fn feed(said: &[u8]) {
    let _ = judge(200, said, 1, ApacheWeights::ByIdleWorkers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_workers_decide() {
        let page = "localhost\nServerMPM: event\r\nBusyWorkers: 1\nIdleWorkers: 49\r\nScoreboard: __W_\n";
        let rows: &[(u16, &str, u32, Result<&str, Layer>)] = &[
            (200, page, 1, Ok("49 idle workers")),
            (200, page, 49, Ok("49 idle workers")),
            (200, page, 50, Err(Layer::Answer)),
            (200, page, 0, Ok("49 idle workers")),
            (200, "Scoreboard: __W_..K\n", 3, Ok("3 idle workers")),
            (200, "Scoreboard: WWW\n", 1, Err(Layer::Answer)),
            (200, "IdleWorkers: -3\n", 0, Err(Layer::Protocol)),
            (200, "IdleWorkers: 99999999999\nScoreboard: ___\n", 1, Err(Layer::Protocol)),
            (200, "xIdleWorkers: 9\n", 1, Err(Layer::Protocol)),
            (200, "<html>Apache Status</html>", 1, Err(Layer::Protocol)),
            (200, "", 1, Err(Layer::Protocol)),
            (403, page, 1, Err(Layer::Answer)),
            (404, page, 1, Err(Layer::Answer)),
            (500, page, 1, Err(Layer::Answer)),
        ];
        for (status, body, wanted, expected) in rows {
            let found = judge(*status, body.as_bytes(), *wanted, ApacheWeights::Configured);
            assert!(found.iter().all(|found| found.says == Says::default()));
            let found = found.as_ref().map(|found| &*found.what).map_err(|failure| failure.layer);
            assert_eq!(found, *expected, "HTTP {status} {body:?} {wanted}");
        }
    }

    #[test]
    fn idle_workers_are_a_share_of_the_work() {
        let rows = [
            ("BusyWorkers: 1\nIdleWorkers: 49\n", 98),
            ("BusyWorkers: 0\nIdleWorkers: 50\n", 100),
            ("BusyWorkers: 50\nIdleWorkers: 50\n", 50),
            ("BusyWorkers: 400\nIdleWorkers: 1\n", 1),
            ("BusyWorkers: 75\nIdleWorkers: 0\n", 1),
            ("BusyWorkers: 0\nIdleWorkers: 0\n", 1),
            ("BusyWorkers: 4294967295\nIdleWorkers: 4294967295\n", 50),
            ("Scoreboard: __W_SRKDCLG.I\n", 27),
            ("IdleWorkers: 3\nScoreboard: ___W\n", 75),
            ("IdleWorkers: 3\n", 100),
        ];
        for (body, share) in rows {
            let found = judge(200, body.as_bytes(), 0, ApacheWeights::ByIdleWorkers).unwrap();
            assert_eq!(found.says.share, Some(share), "{body:?}: {}", found.what);
            assert!(found.what.ends_with(&format!("weight {share} %")), "{}", found.what);
        }
        assert!(judge(200, b"IdleWorkers: 0\n", 1, ApacheWeights::ByIdleWorkers).is_err());
    }
}
