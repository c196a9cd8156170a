//! `type = "apache"`: does Apache have idle workers left? Asked of `mod_status` in its machine form.

use std::net::SocketAddr;

use super::http;
use super::question::Question;
use super::report::{Failure, Finding, Layer};
use super::transcript::Log;
use crate::config::model::ApacheCheck;

pub(super) async fn ask(
    question: &Question,
    check: &ApacheCheck,
    address: SocketAddr,
    log: &Log,
) -> Result<Finding, Failure> {
    let answer = http::fetch(question, address, log).await?;
    judge(answer.status, &answer.body, check.idle_workers_min)
}

fn judge(status: u16, body: &[u8], wanted: u32) -> Result<Finding, Failure> {
    if status != 200 {
        let remedy = match status {
            403 => "; let the balancer's address in with `Require ip` at its <Location>",
            404 => "; enable mod_status and give it a <Location>",
            _ => "",
        };
        return Err(Failure::new(Layer::Answer, format!("HTTP {status} instead of the server's status{remedy}")));
    }
    let idle = body.split(|byte| *byte == b'\n').find_map(|line| {
        let value = std::str::from_utf8(line.strip_prefix(b"IdleWorkers:")?).ok()?;
        value.trim().parse::<u32>().ok()
    });
    match idle {
        None => Err(Failure::new(Layer::Protocol, "no `IdleWorkers` in the answer; does the path end in `?auto`?")),
        Some(idle) if idle < wanted => {
            Err(Failure::new(Layer::Answer, format!("{idle} idle workers, wanted at least {wanted}")))
        }
        Some(idle) => Ok(Finding::new(format!("{idle} idle workers"))),
    }
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
            (200, "IdleWorkers: -3\n", 0, Err(Layer::Protocol)),
            (200, "IdleWorkers: 99999999999\n", 1, Err(Layer::Protocol)),
            (200, "xIdleWorkers: 9\n", 1, Err(Layer::Protocol)),
            (200, "<html>Apache Status</html>", 1, Err(Layer::Protocol)),
            (200, "", 1, Err(Layer::Protocol)),
            (403, page, 1, Err(Layer::Answer)),
            (404, page, 1, Err(Layer::Answer)),
            (500, page, 1, Err(Layer::Answer)),
        ];
        for (status, body, wanted, expected) in rows {
            let found = judge(*status, body.as_bytes(), *wanted);
            let found = found.as_ref().map(|found| &*found.what).map_err(|failure| failure.layer);
            assert_eq!(found, *expected, "HTTP {status} {body:?} {wanted}");
        }
    }
}
