//! `evenkeel drill`: a fault in the way to a backend, watched, and reported in the figures of an incident.
//!
//! The drill lives as long as this command's connection: Ctrl-C, or a terminal that is closed, ends it.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use evenkeel::admin::drills::{DrillBody, DrillLine, DrillProgress};
use evenkeel::admin::incidents::IncidentView;
use evenkeel::config;

use super::Ending;
use super::client::AdminPort;
use super::form::Form;
use super::incidents::length;
use super::order::{Of, Owner};
use super::terminal::{Ink, Paint, complain, say};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The backend
    #[arg(value_name = "POOL/BACKEND", value_parser = Of::read)]
    of: Of,
    /// What requests and probes meet there
    #[arg(long, value_enum, value_name = "FAULT")]
    mode: Mode,
    /// For how long, such as 30s; 9m at most
    #[arg(long = "for", value_name = "TIME", value_parser = config::duration)]
    lasts: Duration,
    /// How much later answers come, with `slow` [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    delay: Option<Duration>,
    /// What requests are answered with, with `errors` [default: 503]
    #[arg(long, value_name = "CODE")]
    status: Option<u16>,
    /// End it before its time when the pool's numbers say so, such as "errors > 0.1%, p99 > 2x"
    #[arg(long, value_name = "CONDITION", default_value = "", hide_default_value = true)]
    abort_if: String,
    /// Why, in a few words, for whoever looks at `status`
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Who does it [default: your user name]
    #[arg(long, value_name = "NAME", env = "EVENKEEL_OWNER")]
    owner: Option<String>,
    /// Even if nobody else of the pool is up
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    port: AdminPort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Connections are refused, as by a process that is gone
    Refuse,
    /// Connections get no answer, as from a machine that is gone
    Blackhole,
    /// Answers come late
    Slow,
    /// Requests are answered with an error
    Errors,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Blackhole => "blackhole",
            Self::Slow => "slow",
            Self::Errors => "errors",
        }
    }
}

const USUAL_DELAY: Duration = Duration::from_secs(1);

pub(super) fn drill(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let slow = arguments.mode == Mode::Slow;
    let delay = arguments.delay.or(slow.then_some(USUAL_DELAY));
    let body = DrillBody {
        mode: arguments.mode.word().to_owned(),
        for_seconds: arguments.lasts.as_secs_f64(),
        delay_seconds: delay.map(|delay| delay.as_secs_f64()),
        status: arguments.status,
        abort_if: arguments.abort_if.clone(),
        owner: Owner::name(arguments.owner.clone()),
        reason: arguments.reason.clone(),
        force: arguments.force,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(watch(arguments, &body, form))
}

async fn watch(arguments: &Arguments, body: &DrillBody, form: Form) -> anyhow::Result<Ending> {
    let path = format!("{}/drill", arguments.of.path());
    let mut last = None;
    let mut ended = None;
    let answer = {
        let following = arguments.port.follow(&path, body, |line| {
            if form == Form::Json {
                say(&format!("{line}\n"));
            }
            let heard = serde_json::from_str(line).context("the answer is not what an evenkeel says")?;
            hear(arguments, heard, &mut last, &mut ended, form);
            Ok(())
        });
        tokio::select! {
            answer = following => Some(answer?),
            // Where the signal cannot be heard, it ends this command, and with it the drill.
            Ok(()) = tokio::signal::ctrl_c() => None,
        }
    };
    match answer {
        None => {
            complain("evenkeel: the drill is ended, and its fault is gone\n");
            if let Some(progress) = &last {
                complain(&format!("{}\n", counted(progress)));
            }
            Ok(Ending::Bad)
        }
        Some(answer) if !answer.status.is_success() => {
            let is_refused = answer.status.is_client_error();
            match answer.good() {
                Err(why) if is_refused => bail!("refused: {why}"),
                Err(why) => Err(why),
                Ok(_) => bail!("nothing was drilled"),
            }
        }
        Some(_) => match ended.as_deref() {
            Some("over") => Ok(Ending::Good),
            Some(_) => Ok(Ending::Bad),
            None => bail!("the balancer has ended before the drill; its fault has ended with it"),
        },
    }
}

/// Says what a line says.
fn hear(
    arguments: &Arguments,
    line: DrillLine,
    last: &mut Option<DrillProgress>,
    ended: &mut Option<String>,
    form: Form,
) {
    let (of, paint) = (&arguments.of, Paint::of_output());
    let text = match line {
        DrillLine::Progress(progress) => {
            let text = if last.is_none() {
                let (lasts, mode) = (length(arguments.lasts.as_secs_f64()), arguments.mode.word());
                format!("{of} meets {} for {lasts}; Ctrl-C ends it\n", Ink::Yellow.on(mode, paint))
            } else {
                format!("{:5.0} s  {:<5} {}\n", progress.elapsed_seconds, progress.state, counted(&progress))
            };
            *last = Some(progress);
            text
        }
        DrillLine::Over { because, .. } => format!("{because}; the fault is gone, and {of} may come back\n"),
        DrillLine::Report { ending, because, counted, incident } => {
            *ended = Some(ending);
            report(&because, &counted, incident.as_deref())
        }
    };
    form.words(&text);
}

fn counted(progress: &DrillProgress) -> String {
    format!(
        "{} requests, {} errors; of this backend: failed {}, retried {}, held {}, connections cut {}",
        progress.requests,
        progress.errors,
        progress.requests_failed,
        progress.requests_retried,
        progress.requests_held,
        progress.connections_cut
    )
}

fn report(because: &str, progress: &DrillProgress, incident: Option<&IncidentView>) -> String {
    let mut text = format!("\nended      {because}\ncounted    {}\n", counted(progress));
    let Some(incident) = incident else {
        text.push_str("verdict    it stayed up: neither its checks nor traffic took it out\n");
        return text;
    };
    let or_dash = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), length);
    let back = match incident.ended {
        Some(_) => format!("{} after the first sign", length(incident.duration_seconds)),
        None => "not yet".to_owned(),
    };
    let (found, out) = (length(incident.detection_seconds), or_dash(incident.out_of_rotation_seconds));
    text + &format!(
        "found in   {found}: {}\nout in     {out}\nup again   {back}\nincident   {} of `evenkeel incidents`\n",
        incident.because, incident.number
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_became_of_the_backend() {
        let progress = DrillProgress {
            elapsed_seconds: 30.0,
            state: "up".into(),
            is_out: false,
            requests: 900,
            errors: 0,
            requests_failed: 0,
            requests_retried: 3,
            requests_held: 0,
            connections_cut: 0,
        };
        let text = report("its time was over", &progress, None);
        assert!(text.contains("it stayed up") && text.contains("900 requests, 0 errors"), "{text}");
    }
}
