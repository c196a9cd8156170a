//! Checks that run a command: what it is told, what it says, and that nothing of it is left behind, whatever it does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use evenkeel::probe::transcript::Event;
use evenkeel::probe::{Layer, Question, Report, attempt};
use support::asking::{LONG, SHORT, bad, good, question_with};
use support::eventually::{DEADLINE, eventually};
use support::{Balancer, Origin, client};
use tokio::sync::RwLock;

/// There are only so many places for commands in a process: one test wants them all for itself.
static PLACES: RwLock<()> = RwLock::const_new(());

const ALLOW: &str = "[exec]\nallow = ['/bin', '/usr/bin']";

fn asked(timing: &str, command: &[&str]) -> Arc<Question> {
    let at: SocketAddr = "127.0.0.9:4711".parse().unwrap();
    question_with(&format!("{timing}type = 'exec'\ncommand = {command:?}"), ALLOW, at)
}

fn shell(timing: &str, script: &str) -> Arc<Question> {
    asked(timing, &["/bin/sh", "-c", script])
}

async fn run(question: Arc<Question>) -> Report {
    let at: SocketAddr = "127.0.0.9:4711".parse().unwrap();
    attempt(question, at).await
}

fn output(report: &Report) -> String {
    let mut text = String::new();
    for step in &report.transcript.steps {
        if let Event::Received(bytes) = &step.event {
            write!(text, "{}", String::from_utf8_lossy(bytes)).unwrap();
        }
    }
    text
}

/// Whether a process does anything; one that waits to be taken in by its parent does not.
fn lives(id: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(id).join("stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// The children of this process.
fn children() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn the_exit_code_decides_and_the_first_line_says_why() {
    let _place = PLACES.read().await;
    good(&run(shell(LONG, "exit 0")).await, "exit code 0");
    good(&run(shell(LONG, "echo; echo all is well; echo more")).await, "exit code 0: all is well");
    bad(&run(shell(LONG, "echo queue is full; exit 3")).await, Layer::Answer, "exit code 3: queue is full");
    bad(&run(shell(LONG, "echo no luck >&2; exit 1")).await, Layer::Answer, "exit code 1: no luck");
    bad(&run(shell(LONG, "kill -9 $$")).await, Layer::Answer, "ended by signal 9");
    bad(&run(asked(LONG, &["/bin/there-is-no-such-command"])).await, Layer::Answer, "cannot run /bin/there-is");
}

#[tokio::test]
async fn a_command_sees_where_to_ask_and_nothing_else() {
    let _place = PLACES.read().await;
    let report = run(asked(LONG, &["/usr/bin/env"])).await;
    let output = output(&report);
    let names: BTreeSet<&str> = output.lines().map(|line| line.split('=').next().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["EVENKEEL_ADDRESS", "EVENKEEL_HOST", "EVENKEEL_PORT", "PATH"]), "{output}");
    for line in ["EVENKEEL_ADDRESS=127.0.0.9:4711", "EVENKEEL_HOST=127.0.0.9", "EVENKEEL_PORT=4711"] {
        assert!(output.lines().any(|found| found == line), "{output}");
    }
    let report = run(shell(LONG, "read line; echo \"<$line>\"; pwd")).await;
    good(&report, "<>");
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_all_its_children() {
    let _place = PLACES.read().await;
    let began = Instant::now();
    let report = run(shell(SHORT, "sleep 600 & echo $!; wait")).await;
    assert!(began.elapsed() < DEADLINE);
    bad(&report, Layer::Timeout, "not done within 300ms, and killed: ");
    let child = output(&report).trim().to_owned();
    assert!(child.parse::<u32>().is_ok(), "{child}");
    eventually("the child is gone", DEADLINE, || !lives(&child));
    // One that will not listen is killed all the same.
    let report = run(shell(SHORT, "trap '' TERM INT HUP; echo $$; while :; do sleep 1; done")).await;
    bad(&report, Layer::Timeout, "killed");
    let leader = output(&report).trim().to_owned();
    eventually("the command is gone", DEADLINE, || !lives(&leader));
}

#[tokio::test]
async fn whoever_holds_the_output_open_does_not_hold_the_probe() {
    let _place = PLACES.read().await;
    let began = Instant::now();
    let report = run(shell(LONG, "sleep 600 & echo $!; exit 0")).await;
    good(&report, "exit code 0");
    let child = output(&report).trim().to_owned();
    eventually("the child is gone", DEADLINE, || !lives(&child));
    // This one has left the group: it lives on, and nobody waits for it.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("id");
    let script = "setsid sh -c 'echo $$ >FILE; exec sleep 600' & while ! [ -s FILE ]; do sleep 0.01; done; cat FILE";
    let report = run(shell(LONG, &script.replace("FILE", file.to_str().unwrap()))).await;
    good(&report, "exit code 0");
    let escaped = output(&report).trim().to_owned();
    assert!(lives(&escaped), "it is in another session");
    assert!(began.elapsed() < DEADLINE);
    assert!(std::process::Command::new("kill").args(["-9", &escaped]).status().unwrap().success());
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_never_blocks_the_command() {
    let _place = PLACES.read().await;
    let report = run(shell(LONG, "head -c 5000000 /dev/zero; echo done >&2; exit 1")).await;
    bad(&report, Layer::Answer, "exit code 1");
    let report = run(shell(SHORT, "yes")).await;
    bad(&report, Layer::Timeout, "killed: y");
    assert!(output(&report).len() <= 64 * 1024);
}

#[tokio::test]
async fn no_more_than_four_commands_run_at_once() {
    let _places = PLACES.write().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display();
    let script = format!("f=$(mktemp -p {folder}); ls {folder} | wc -l; sleep 0.1; rm $f");
    let runs: Vec<_> = (0..12).map(|_| tokio::spawn(run(shell(LONG, &script)))).collect();
    let mut most = 0;
    for run in runs {
        let report = run.await.unwrap();
        good(&report, "exit code 0");
        most = most.max(output(&report).trim().parse::<usize>().unwrap());
    }
    assert!((2..=4).contains(&most), "{most} at once");

    // Who finds no place in time says nothing of the backend.
    let holders: Vec<_> =
        (0..4).map(|_| tokio::spawn(run(shell("interval = '3s'\ntimeout = '3s'\n", "sleep 600")))).collect();
    eventually_async(|| children().len() >= 4).await;
    bad(&run(shell(SHORT, "exit 0")).await, Layer::Local, "4 other commands are running");
    for holder in holders {
        bad(&holder.await.unwrap(), Layer::Timeout, "killed");
    }
}

async fn eventually_async(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come true");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn no_dead_process_is_left_behind() {
    let _places = PLACES.write().await;
    // Orphans come to us now, as they come to the first process of a container.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    for script in ["exit 0", "sleep 600 & sleep 600 & exit 0", "(sleep 600 & sleep 600) & exit 1", "kill -9 $$"] {
        let _ = run(shell(LONG, script)).await;
    }
    let _ = run(shell(SHORT, "sleep 600 & sleep 600")).await;
    let left: Vec<String> = children();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_command_takes_a_backend_out_and_brings_it_back() {
    let _place = PLACES.blocking_read();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serves");
    std::fs::write(&file, "").unwrap();
    let origin = Origin::http().reply("a").start();
    let check = format!(
        "[pool.p.check.c]\ntype = 'exec'\ncommand = ['/usr/bin/test', '-e', '{}']\ninterval = '100ms'\ntimeout = '100ms'\nrise = 1\nfall = 1\n{ALLOW}",
        file.display()
    );
    let lb = Balancer::web(&[origin.addr()], &check);
    let status = || client::get(lb.addr("web"), "/").status;
    eventually("it serves", DEADLINE, || status() == 200);
    std::fs::remove_file(&file).unwrap();
    eventually("it does not serve", DEADLINE, || status() == 503);
    std::fs::write(&file, "").unwrap();
    eventually("it serves again", DEADLINE, || status() == 200);
}
