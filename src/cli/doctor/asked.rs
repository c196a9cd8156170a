//! What must be asked for: the configuration itself, names of backends, folders that are written to, the admin port.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use evenkeel::config::Problems;
use hyper::Method;

use super::finding::Finding;
use crate::cli::client::AdminPort;

/// Longest wait for all names together: name servers that do not answer are given up after five seconds each.
const NAMES_PATIENCE: Duration = Duration::from_secs(6);
/// Longest wait for the admin port.
const ADMIN_PATIENCE: Duration = Duration::from_millis(1_500);

/// Faults and warnings of the file, those of certificates among them.
pub(super) fn configuration(problems: &Problems, path: &Path) -> Vec<Finding> {
    let mut findings: Vec<Finding> = (problems.report().into_iter())
        .map(|problem| {
            let place = match problem.line {
                Some(line) => format!("line {line}: {}", problem.message),
                None => problem.message,
            };
            let remedy = problem.help.unwrap_or_else(|| format!("see `evenkeel check {}`", path.display()));
            let build = if problem.severity == "error" { Finding::fault } else { Finding::advice };
            build("configuration", place, remedy)
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok("configuration", format!("{} is good", path.display())));
    }
    findings
}

/// Each name is asked by a thread of its own: the system's resolver cannot be interrupted.
pub(super) fn names(names: &[(Arc<str>, Arc<str>)]) -> Vec<Finding> {
    let (sender, receiver) = mpsc::channel();
    for (index, (name, _)) in names.iter().enumerate() {
        let (sender, name) = (sender.clone(), Arc::clone(name));
        std::thread::spawn(move || {
            let found = (&*name, 0).to_socket_addrs().map(|all| all.map(|address| address.ip()).collect::<Vec<_>>());
            // Nobody waits for a late one.
            let _ = sender.send((index, found.map_err(|error| error.to_string())));
        });
    }
    drop(sender);
    let begun = std::time::Instant::now();
    let mut found: Vec<Option<Result<Vec<IpAddr>, String>>> = vec![None; names.len()];
    while let Ok((index, answer)) = receiver.recv_timeout(NAMES_PATIENCE.saturating_sub(begun.elapsed())) {
        found[index] = Some(answer);
    }
    names.iter().zip(found).map(|((name, pool), found)| named(name, pool, found)).collect()
}

fn named(name: &str, pool: &str, found: Option<Result<Vec<IpAddr>, String>>) -> Finding {
    const TOPIC: &str = "names";
    let fault = |why: &str| {
        Finding::fault(
            TOPIC,
            format!("pool {pool}: `{name}` has no address: {why}"),
            format!("look at `getent hosts {name}` and /etc/resolv.conf, or write the address into `backends`"),
        )
    };
    let mut addresses = match found {
        None => return fault("no answer within six seconds"),
        Some(Err(why)) => return fault(&why),
        Some(Ok(addresses)) => addresses,
    };
    addresses.sort();
    addresses.dedup();
    match addresses.as_slice() {
        [] => fault("an empty answer"),
        [address] => Finding::ok(TOPIC, format!("pool {pool}: `{name}` is {address}")),
        several => {
            let families = several.iter().filter(|address| address.is_ipv4()).count();
            // One of each family is one machine, most likely.
            if several.len() == 2 && families == 1 {
                Finding::ok(TOPIC, format!("pool {pool}: `{name}` is {} and {}", several[0], several[1]))
            } else {
                Finding::advice(
                    TOPIC,
                    format!("pool {pool}: `{name}` has {} addresses, and is one backend at one of them", several.len()),
                    "write each address into `backends`, so that all get work and each is checked",
                )
            }
        }
    }
}

/// Whether a file can be written there, by whoever asks.
pub(super) fn folders(folders: &[(&'static str, PathBuf)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, folder) in folders {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let probe = folder.join(format!(".evenkeel-doctor-{}", std::process::id()));
        let written = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe);
        findings.push(match written {
            Ok(_) => {
                // What cannot be removed was not to be written either; the next line of the report is not about that.
                let _ = std::fs::remove_file(&probe);
                Finding::ok("folders", format!("{key}: {} can be written to", folder.display()))
            }
            Err(error) => Finding::fault(
                "folders",
                format!("{key}: nothing can be written to {}: {error}", folder.display()),
                "make the folder and give it to the user that evenkeel runs as; the unit does, by StateDirectory",
            ),
        });
    }
    findings
}

pub(super) fn admin(port: &AdminPort) -> Finding {
    const TOPIC: &str = "admin";
    match port.ask(Method::GET, "/readyz", ADMIN_PATIENCE) {
        Ok(answer) if answer.status.is_success() => Finding::ok(TOPIC, "an evenkeel answers and is ready"),
        Ok(answer) => Finding::advice(
            TOPIC,
            format!("an evenkeel answers, and is not ready: {}", answer.body.trim()),
            "`evenkeel status` and `evenkeel events` say what it waits for",
        ),
        Err(error) => Finding::advice(
            TOPIC,
            format!("{error:#}"),
            "start it, or say with --admin where its admin port is; before the first start this is as it should be",
        ),
    }
}
