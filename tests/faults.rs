//! What clients notice of a backend's fault: three backends, 200 requests/s in an open loop, half of them over kept
//! connections, a check every 500 ms, and for two seconds one backend (or two, or all) fails in the way the row names.
//!
//! *Lost* is a request without the right answer within 5 s, *slow* one that took more than a second. The table is
//! printed (`cargo test --test faults -- --nocapture`), and each row has its goal. The goals are those that `HAProxy` 3.4
//! and nginx 1.31 were measured against, for a fault of 5 s: a hang of one backend cost them 94 and 68 slow requests, two
//! that hang 187 and 139, half bodies 334 lost requests each, all killed 1,073 and 1,112.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use support::open_loop::Sent;
use support::origin::Script;
use support::process::free_address;
use support::{BackendProcess, OpenLoop, Origin, Process, client};

const RATE: u32 = 200;
/// Requests before the fault, during it, and after it.
const BEFORE: usize = 160;
const DURING: usize = 400;
const AFTER: usize = 200;
const SLOW: Duration = Duration::from_secs(1);
/// Evidence brings the verdict on a killed backend within this.
const VERDICT: Duration = Duration::from_millis(50);
/// Rows measured at once: two cores carry that without delays of their own.
const ROWS_AT_ONCE: usize = 4;
const HOLD: &str = "hold = '8s'\n";
const RETRY_STATUS: &str = "retry.status = [500, 503]\n";

/// A fault with what it may cost.
struct Row {
    name: &'static str,
    fault: Fault,
    /// Further options of the pool.
    options: &'static str,
    lost_max: usize,
    slow_max: usize,
    /// Until the first backend that fails is out; `None`: it need not leave.
    detected_within: Option<Duration>,
}

const fn row(name: &'static str, fault: Fault) -> Row {
    Row { name, fault, options: "", lost_max: 0, slow_max: 0, detected_within: None }
}

const ONE_SECOND: Option<Duration> = Some(Duration::from_secs(1));

/// What is done to the backends.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// To the first of three scripted ones.
    Becomes(fn() -> Script),
    /// The same, and connections that stand are closed.
    BecomesAnew(fn() -> Script),
    /// To the first two.
    TwoBecome(fn() -> Script),
    /// Connections that stand are closed again and again.
    LosesConnections,
    /// It stops and starts again and again.
    Flaps,
    /// To the first of three processes.
    Kill,
    Terminate,
    Stop,
    /// To all three.
    KillAll,
}

fn rows() -> Vec<Row> {
    vec![
        Row { detected_within: Some(VERDICT), ..row("kill -9", Fault::Kill) },
        Row { detected_within: Some(VERDICT), ..row("TERM", Fault::Terminate) },
        row("RST on accept", Fault::BecomesAnew(|| reply().resets_on_accept())),
        row("close on accept", Fault::BecomesAnew(|| reply().closes_on_accept())),
        row("connections killed", Fault::LosesConnections),
        row("flapping", Fault::Flaps),
        Row { slow_max: 20, detected_within: ONE_SECOND, ..row("SIGSTOP", Fault::Stop) },
        Row { slow_max: 20, detected_within: ONE_SECOND, ..row("hang after accept", Fault::Becomes(hangs)) },
        Row {
            slow_max: 20,
            detected_within: ONE_SECOND,
            ..row("answers after 3 s", Fault::Becomes(|| reply().delay(Duration::from_secs(3))))
        },
        Row {
            slow_max: 20,
            detected_within: ONE_SECOND,
            ..row("drip", Fault::Becomes(|| reply().drips(Duration::from_millis(100))))
        },
        Row {
            slow_max: 20,
            detected_within: ONE_SECOND,
            ..row("drip, fast", Fault::Becomes(|| reply().drips(Duration::from_millis(10))))
        },
        Row { slow_max: 40, detected_within: ONE_SECOND, ..row("two of three hang", Fault::TwoBecome(hangs)) },
        Row { options: RETRY_STATUS, ..row("answers 500", Fault::Becomes(|| reply().status(500))) },
        Row { options: RETRY_STATUS, ..row("answers 503", Fault::Becomes(|| reply().status(503))) },
        row("garbage", Fault::Becomes(|| with_good_health(reply().garbage()))),
        Row {
            lost_max: 10,
            detected_within: ONE_SECOND,
            ..row("half a body, then close", Fault::Becomes(|| with_good_health(reply().truncates_body())))
        },
        Row { options: HOLD, slow_max: usize::MAX, ..row("all killed, with hold", Fault::KillAll) },
        Row { lost_max: usize::MAX, ..row("all killed", Fault::KillAll) },
    ]
}

const NAME: &str = "all three scripted backends answer with this body";

fn reply() -> Script {
    Origin::http().reply(NAME)
}

fn with_good_health(script: Script) -> Script {
    script.at("/health", reply())
}

fn hangs() -> Script {
    reply().accepts_and_stalls().stalls_before_answer()
}

/// The backends of a row.
enum Backends {
    Scripted(Vec<Origin>),
    Processes(Vec<BackendProcess>),
}

impl Backends {
    fn of(fault: Fault) -> Self {
        match fault {
            Fault::Kill | Fault::Terminate | Fault::Stop | Fault::KillAll => {
                Self::Processes((0..3).map(|number| BackendProcess::http(&format!("process {number}"))).collect())
            }
            _ => Self::Scripted((0..3).map(|_| reply().start()).collect()),
        }
    }

    fn addresses(&self) -> Vec<String> {
        match self {
            Self::Scripted(origins) => origins.iter().map(|it| format!("'{}'", it.addr())).collect(),
            Self::Processes(processes) => processes.iter().map(|it| format!("'{}'", it.addr())).collect(),
        }
    }

    fn bodies(&self) -> Vec<String> {
        match self {
            Self::Scripted(_) => vec![NAME.to_owned()],
            Self::Processes(processes) => (0..processes.len()).map(|number| format!("process {number}")).collect(),
        }
    }

    /// Carries out the fault from now until the load has sent `until` requests, and ends it.
    fn suffer(&self, fault: Fault, load: &OpenLoop, until: usize) {
        match (self, fault) {
            (Self::Scripted(origins), Fault::Becomes(script)) => {
                origins[0].becomes(script());
                load.wait_for(until);
                origins[0].becomes(reply());
            }
            (Self::Scripted(origins), Fault::BecomesAnew(script)) => {
                origins[0].becomes(script());
                origins[0].drop_connections();
                load.wait_for(until);
                origins[0].becomes(reply());
            }
            (Self::Scripted(origins), Fault::TwoBecome(script)) => {
                origins[..2].iter().for_each(|origin| origin.becomes(script()));
                load.wait_for(until);
                origins[..2].iter().for_each(|origin| origin.becomes(reply()));
            }
            (Self::Scripted(origins), Fault::LosesConnections) => {
                for part in (0..DURING).step_by(20).rev() {
                    origins[0].drop_connections();
                    load.wait_for(until - part);
                }
            }
            (Self::Scripted(origins), Fault::Flaps) => {
                for part in (0..DURING).step_by(50).rev() {
                    if part % 100 == 0 {
                        origins[0].start_again();
                    } else {
                        origins[0].stop();
                    }
                    load.wait_for(until - part);
                }
                origins[0].start_again();
            }
            (Self::Processes(processes), Fault::Kill | Fault::Terminate) => {
                if matches!(fault, Fault::Kill) {
                    processes[0].kill();
                } else {
                    processes[0].terminate();
                }
                load.wait_for(until);
                processes[0].start_again();
            }
            (Self::Processes(processes), Fault::Stop) => {
                processes[0].signal("STOP");
                load.wait_for(until);
                processes[0].signal("CONT");
            }
            (Self::Processes(processes), Fault::KillAll) => {
                processes.iter().for_each(BackendProcess::kill);
                load.wait_for(until);
                processes.iter().for_each(BackendProcess::start_again);
            }
            _ => unreachable!("backends are made for their fault"),
        }
    }
}

/// What was measured.
struct Measured {
    sent: Vec<Sent>,
    lost: Vec<Sent>,
    slow: usize,
    detected: Option<Duration>,
    begun: Instant,
    returned: Instant,
    said: String,
}

fn measure(row: &Row) -> Measured {
    let backends = Backends::of(row.fault);
    let listener = free_address();
    let balancer = Process::start(&format!(
        "workers = 1\n[listener.web]\nbind = '{listener}'\npool = 'web'\n\
         [pool.web]\nbackends = [{}]\n{}\
         [pool.web.check.health]\ntype = 'http'\npath = '/health'\ninterval = '500ms'\n",
        backends.addresses().join(", "),
        row.options,
    ));
    let load = OpenLoop::start(listener, RATE, BEFORE + DURING + AFTER);
    load.wait_for(BEFORE);
    let (begun, begun_at) = (Instant::now(), SystemTime::now());
    backends.suffer(row.fault, &load, BEFORE + DURING);
    let returned = Instant::now();
    let sent = load.finish();
    let bodies = backends.bodies();
    let lost = sent.iter().filter(|sent| !sent.is_right(&bodies)).cloned().collect();
    let slow = sent.iter().filter(|sent| sent.is_right(&bodies) && sent.took > SLOW).count();
    let detected = first_down(&balancer, begun_at);
    Measured { sent, lost, slow, detected, begun, returned, said: balancer.stderr() }
}

/// How long after `begun` the first backend went down.
fn first_down(balancer: &Process, begun: SystemTime) -> Option<Duration> {
    let events = client::get(balancer.admin(), "/api/v1/events").text();
    let events: serde_json::Value = serde_json::from_str(&events).unwrap();
    let begun = jiff::Timestamp::try_from(begun).unwrap();
    let downs = events["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "down");
    let after =
        downs.map(|event| event["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().duration_since(begun));
    after.filter(|after| !after.is_negative()).map(jiff::SignedDuration::unsigned_abs).min()
}

impl Measured {
    /// What breaks the row's promise.
    fn faults(&self, row: &Row) -> Vec<String> {
        let mut faults = self.late(row);
        if self.lost.len() > row.lost_max {
            let some: Vec<_> = self.lost.iter().take(5).map(|sent| (&sent.end, sent.took)).collect();
            faults.push(format!("lost {}: {some:?}", self.lost.len()));
        }
        if matches!(row.fault, Fault::KillAll) && row.options.is_empty() {
            faults.extend(self.honest_refusals());
        }
        faults
    }

    /// What took longer than the row allows.
    fn late(&self, row: &Row) -> Vec<String> {
        let mut late = Vec::new();
        if self.slow > row.slow_max {
            late.push(format!("{} slow", self.slow));
        }
        if let Some(limit) = row.detected_within
            && self.detected.is_none_or(|detected| detected > limit)
        {
            late.push(format!("detected after {:?}, not within {limit:?}", self.detected));
        }
        late
    }

    /// With nobody left, each client is told 503 and when to come again (until the verdict stands: that it was refused);
    /// and never after somebody has come back.
    fn honest_refusals(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let is_honest = |sent: &Sent| {
            sent.end.as_ref().is_ok_and(|answer| match answer.status {
                503 => answer.head.contains("\r\nretry-after: "),
                502 => sent.at < self.begun + VERDICT,
                _ => false,
            })
        };
        if let Some(sent) = self.lost.iter().find(|sent| !is_honest(sent)) {
            faults.push(format!("told {:?}", sent.end));
        }
        let bad = |sent: &&Sent| self.lost.iter().any(|lost| lost.at == sent.at);
        let back = self.sent.iter().filter(|sent| sent.at > self.returned).position(|sent| !bad(&sent));
        let after = self.sent.iter().filter(|sent| sent.at > self.returned).skip(back.unwrap_or(0));
        let failed = after.filter(bad).count();
        if back.is_none() || failed > 0 {
            faults.push(format!("{failed} failed after the return, which came with request {back:?}"));
        }
        faults
    }
}

#[test]
fn faults_of_backends_cost_clients_what_the_table_allows() {
    let rows = rows();
    let results: Mutex<Vec<(usize, Measured)>> = Mutex::default();
    let next = Mutex::new(0..rows.len());
    std::thread::scope(|scope| {
        for _ in 0..ROWS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(number) = next.lock().unwrap().next() else { return };
                    let measured = measure(&rows[number]);
                    results.lock().unwrap().push((number, measured));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(number, _)| *number);
    for (number, measured) in &mut results {
        // The machine may have been busy with something else. Lost requests have no such excuse.
        if !measured.late(&rows[*number]).is_empty() && measured.lost.len() <= rows[*number].lost_max {
            *measured = measure(&rows[*number]);
        }
    }
    let mut table = String::from("fault                    | lost | slow | longest | detected\n");
    let mut faults = String::new();
    for (number, measured) in &results {
        let row = &rows[*number];
        let longest = measured.sent.iter().map(|sent| sent.took).max().unwrap_or_default();
        let detected = measured.detected.map_or_else(|| "-".to_owned(), |after| format!("{} ms", after.as_millis()));
        let (name, lost, slow, longest) = (row.name, measured.lost.len(), measured.slow, longest.as_millis());
        writeln!(table, "{name:24} | {lost:4} | {slow:4} | {longest:4} ms | {detected}").unwrap();
        for fault in measured.faults(row) {
            writeln!(faults, "{name}: {fault}\n{}", measured.said).unwrap();
        }
    }
    // Standard error, for whoever runs this with `--nocapture` to read the table.
    let _ = writeln!(std::io::stderr(), "{table}");
    assert!(faults.is_empty(), "{table}\n{faults}");
}
