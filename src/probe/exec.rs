//! `type = "exec"`: runs a command; exit code 0 is good, and otherwise its first line of output says why.
//!
//! The command is the leader of a process group of its own, and the whole group is killed when it ends or its time is
//! over, so that nothing of it is left behind. It sees where it is to ask (`EVENKEEL_ADDRESS`, `EVENKEEL_HOST`,
//! `EVENKEEL_PORT`) and `PATH`, nothing else of our environment. A question that several pools ask is asked once, so it
//! is not told for which of them.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpgid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::question::Question;
use super::report::{Failure, Finding, Layer, plain};
use super::transcript::{Log, readable};
use crate::config::model::{ExecCheck, Site};

/// Commands at once, over all checks: they compete with traffic for the same processors.
const AT_ONCE: usize = 4;
static RUNNING: Semaphore = Semaphore::const_new(AT_ONCE);

/// Most output that is kept; the rest is read and thrown away, so that nobody waits for it.
const OUTPUT_MAX: usize = 64 * 1024;
/// How long what the command has left behind may take to die, or may hold its output open.
const AFTERMATH: Duration = Duration::from_millis(200);
/// Longest text of a command that is quoted.
const WIDTH: usize = 200;
/// Where commands are looked for when we have no path ourselves.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is said of a command's end.
#[derive(Debug)]
struct Outcome {
    /// `None`: its time was over.
    status: Option<ExitStatus>,
    out: Vec<u8>,
    err: Vec<u8>,
}

pub(super) async fn ask(question: &Question, check: &ExecCheck, address: &Site, log: &Log) -> Result<Finding, Failure> {
    // Waiting for the others takes nothing of the command's own time.
    let Ok(Ok(_permit)) = timeout(question.timeout, RUNNING.acquire()).await else {
        return Err(Failure::new(Layer::Local, format!("{AT_ONCE} other commands are running, which is the most")));
    };
    let Some((program, arguments)) = check.command.split_first() else {
        return Err(Failure::new(Layer::Local, "there is no command"));
    };
    let mut command = Command::new(&**program);
    command.args(arguments.iter().map(|argument| &**argument));
    surround(&mut command, question, address);
    log.note(format!("running {}", check.command.join(" ")));
    let child = command.spawn().map_err(|error| not_started(program, &error))?;
    let outcome = attend(child, Instant::now() + question.timeout).await;
    for output in [&outcome.out, &outcome.err] {
        log.received(output);
    }
    log.note(match outcome.status {
        Some(status) => end_of(status),
        None => "killed: its time was over".to_owned(),
    });
    judge(&outcome, question.timeout)
}

/// What the command sees of the world.
fn surround(command: &mut Command, question: &Question, address: &Site) {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()))
        .env("EVENKEEL_ADDRESS", address.to_string())
        .env("EVENKEEL_HOST", &*question.at.host())
        .env("EVENKEEL_PORT", address.ip().map_or_else(String::new, |address| address.port().to_string()))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
}

fn not_started(program: &str, error: &io::Error) -> Failure {
    // 11 EAGAIN, 12 ENOMEM, 23 ENFILE, 24 EMFILE, 26 ETXTBSY: it is just being replaced
    let layer = if matches!(error.raw_os_error(), Some(11 | 12 | 23 | 24 | 26)) { Layer::Local } else { Layer::Answer };
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "; is it there, and is what its first line names?",
        io::ErrorKind::PermissionDenied => "; may the balancer's user run it?",
        _ => "",
    };
    Failure::new(layer, format!("cannot run {program}: {}{remedy}", plain(error)))
}

/// Waits for the end of the command, or for its deadline, and leaves nothing of it behind.
async fn attend(mut child: Child, deadline: Instant) -> Outcome {
    let mut group = Group::of(&child);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let status;
    {
        let draining = async { tokio::join!(drain(stdout, &mut out), drain(stderr, &mut err)) };
        let mut draining = std::pin::pin!(draining);
        let mut is_drained = false;
        let ended = async {
            loop {
                tokio::select! {
                    ended = child.wait() => return ended.ok(),
                    _ = &mut draining, if !is_drained => is_drained = true,
                }
            }
        };
        status = timeout_at(deadline, ended).await.ok().flatten();
        group.kill();
        if status.is_none() {
            // A process that the kernel holds dies later; tokio takes it in then.
            let _ = timeout(AFTERMATH, child.wait()).await;
        }
        if !is_drained {
            // Whoever left the group may hold the output open for ever.
            let _ = timeout(AFTERMATH, draining).await;
        }
    }
    group.bury().await;
    Outcome { status, out, err }
}

/// Reads until the end, and keeps the beginning.
async fn drain(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut piece = Vec::with_capacity(4096);
    while matches!(from.read_buf(&mut piece).await, Ok(read) if read > 0) {
        let room = OUTPUT_MAX - kept.len();
        kept.extend_from_slice(&piece[..piece.len().min(room)]);
        piece.clear();
    }
}

/// The process group of a command; dropping it kills what is left.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Called at once after the leader has ended: its number is not given to another process so soon.
    fn kill(&self) {
        if let Some(group) = self.0 {
            // There is nobody left, as a rule.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Takes in those whose parent has died, where they came to us: that is, in a container whose first process we are.
    async fn bury(&mut self) {
        let Some(group) = self.0.take() else { return };
        let burying = async {
            loop {
                match waitpgid(group, WaitOptions::NOHANG) {
                    Ok(Some(_)) => {}
                    Ok(None) => tokio::time::sleep(Duration::from_millis(5)).await,
                    Err(_) => return,
                }
            }
        };
        let _ = timeout(AFTERMATH, burying).await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn judge(outcome: &Outcome, timeout: Duration) -> Result<Finding, Failure> {
    let line = first_line(&outcome.out).or_else(|| first_line(&outcome.err));
    let with_line = |what: String| match &line {
        Some(line) => format!("{what}: {line}"),
        None => what,
    };
    match outcome.status {
        Some(status) if status.success() => Ok(Finding::new(with_line(end_of(status)))),
        Some(status) => Err(Failure::new(Layer::Answer, with_line(end_of(status)))),
        None => Err(Failure::new(Layer::Timeout, with_line(format!("not done within {timeout:?}, and killed")))),
    }
}

fn end_of(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn first_line(output: &[u8]) -> Option<String> {
    let lines = output.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.map(<[u8]>::trim_ascii).find(|line| !line.is_empty()).map(|line| readable(line, WIDTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_with_something_in_it_counts() {
        let rows: &[(&[u8], Option<&str>)] = &[
            (b"", None),
            (b"\n \r\n", None),
            (b"queue is full\nmore\n", Some("queue is full")),
            (b"\n  indented\r\nmore", Some("indented")),
            (b"\xff\xfe", Some("\\xff\\xfe")),
        ];
        for (output, expected) in rows {
            assert_eq!(first_line(output).as_deref(), *expected);
        }
    }
}
