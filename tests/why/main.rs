//! `evenkeel why` tells the truth: for each fault that a backend can have it names the cause, the command that it
//! prints shows the same fault, and no secret is told anywhere.
//!
//! The real program has one pool for each fault of [`faults`]. Each file asks it for something else.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod capture;
mod descriptors;
mod faults;
mod secrets;
mod servers;

use std::collections::HashMap;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use evenkeel::admin::why::{CheckWhy, PoolWhy, Why};
use faults::{ByHand, Fault, Scene};
use support::process::{Process, run};
use support::{client, eventually};

/// Every probe has had its time, on a machine under load too.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program with every fault at once.
struct Stage {
    scene: Scene,
    balancer: Process,
}

impl Stage {
    /// Returns when each check has failed once.
    async fn set() -> Self {
        let scene = Scene::new().await;
        let balancer = Process::start(&scene.config());
        let stage = Self { scene, balancer };
        eventually("every check has failed", DEADLINE, || {
            let failed = |fault: &Fault| stage.why(fault).checks.iter().all(|check| check.last_bad.is_some());
            stage.scene.faults.iter().all(failed)
        });
        stage
    }

    fn why(&self, fault: &Fault) -> Why {
        let answer = client::get(self.balancer.admin(), &format!("/api/v1/pools/{}/why", fault.name));
        assert_eq!(answer.status, 200, "{}: {}", fault.name, answer.text());
        let pool: PoolWhy = serde_json::from_slice(&answer.body).unwrap();
        pool.backends.into_iter().next().unwrap()
    }

    /// Runs a command that asks the program.
    fn ask(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--admin", &self.balancer.admin().to_string()]].concat())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs what `why` prints, as whoever reads it would: in a shell, with the variables set that it names.
fn by_hand(command: &str, variables: &HashMap<&str, String>) -> (Option<i32>, String) {
    let ran = Command::new("sh").args(["-c", command]).envs(variables).stdin(Stdio::null()).output().unwrap();
    (ran.status.code(), text(&ran.stdout) + &text(&ran.stderr))
}

/// What is wrong with what is said of a fault; nothing, when all is as it should be.
fn complaints(stage: &Stage, fault: &Fault) -> Vec<String> {
    let mut wrong = Vec::new();
    let why = stage.why(fault);
    let check: &CheckWhy = &why.checks[0];
    let report = check.last_bad.as_ref().unwrap();
    let layer = report.layer.as_deref().unwrap_or("none");
    if !fault.layer.split(" or ").any(|word| word == layer) || !report.what.contains(fault.says) {
        wrong.push(format!("API says {layer}: {}", report.what));
    }
    if !["resolve", "connect"].contains(&layer) && report.steps.is_empty() && !fault.is_stepless {
        wrong.push("the transcript is empty".to_owned());
    }
    let page = stage.ask(&["why", &format!("{}/b", fault.name)]);
    let page = text(&page.stdout) + &text(&page.stderr);
    let headline: String = page.lines().take(4).collect::<Vec<_>>().join("\n");
    let sentence = if layer == "resolve" { "resolve: ".to_owned() } else { format!("check c: {layer}: ") };
    if !headline.contains(&sentence) || !headline.contains(fault.says) {
        wrong.push(format!("the page begins with {headline}"));
    }
    if !page.contains(&check.by_hand) {
        wrong.push(format!("the page does not show the command {}:\n{page}", check.by_hand));
    }
    let (code, output) = by_hand(&check.by_hand, &stage.scene.variables);
    let is_shown = match fault.by_hand {
        ByHand::Says(words) => output.contains(words),
        ByHand::SaysEither(one, other) => output.contains(one) || output.contains(other),
        ByHand::Ends(with) => code == Some(with),
    };
    if !is_shown {
        wrong.push(format!("by hand, {:?} expected: {}\n  {code:?} {output}", fault.by_hand, check.by_hand));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_named_and_its_command_shows_it_and_no_secret_is_told() {
    let stage = Stage::set().await;
    let faults = &stage.scene.faults;
    assert!(faults.len() >= 24, "{}", faults.len());
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let stage = &stage;
        let asking: Vec<_> =
            faults.iter().map(|fault| (fault, scope.spawn(move || complaints(stage, fault)))).collect();
        let told = asking.into_iter().map(|(fault, asked)| (fault, asked.join().unwrap()));
        told.flat_map(|(fault, wrong)| wrong.into_iter().map(move |one| format!("{}: {one}", fault.name))).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    secrets::assert_untold(&stage);
    capture::assert_sound(&stage);
}
