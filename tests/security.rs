//! As whom the program runs and what it can still reach: it becomes the user that the configuration names, keeps files and
//! calls out of its own reach, goes on reloading and handing over, and says of itself how well it is protected.
//!
//! Becoming somebody else takes root. Whoever runs these tests without is shown the refusal instead.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
use serde_json::Value;
use support::eventually::DEADLINE;
use support::process::{PROGRAM, free_address, run};
use support::{Origin, Process, client, eventually};
use tempfile::TempDir;

/// A user that is nobody in particular, by number: it needs no name here.
const STRANGER: u32 = 65_534;
const BECOME: &str = "user = '65534'\ngroup = '65534'\n";

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether this kernel has Landlock as `required` wants it.
fn has_landlock() -> bool {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    rules.handle_access(AccessFs::from_all(ABI::V3)).and_then(Ruleset::create).is_ok()
}

/// A folder that every user may look into, with one in it that is the stranger's.
fn folder() -> TempDir {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    if is_root() {
        chown(&own, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    folder
}

fn config(process: &str, web: SocketAddr, rest: &str) -> String {
    format!(
        "state_file = 'own/state.json'\n[process]\n{process}[listener.web]\nbind = '{web}'\npool = 'p'\n\
         log = {{ access = 'common', to = {{ file = 'own/access.log' }} }}\n{rest}"
    )
}

fn pool(backend: SocketAddr) -> String {
    format!("[pool.p]\nbackends = ['{backend}']\n")
}

fn told(process: &Process, arguments: &[&str]) -> Output {
    let admin = format!("http://{}", process.admin());
    run(&[arguments, &["--admin", &admin]].concat())
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the kernel says of each thread.
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // One that has just ended says nothing.
    tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok()).collect()
}

#[track_caller]
fn every_thread(pid: u32, key: &str, value: &str) {
    let all = threads(pid);
    assert!(all.len() > 2, "workers and control have threads of their own");
    for status in all {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
        assert!(line.is_some_and(|line| line.split_whitespace().all(|word| word == value)), "{key}: {line:?}");
    }
}

/// It ends at once and says this.
#[track_caller]
fn refuses(mut process: Process, words: &[&str]) {
    let status = process.wait(DEADLINE);
    let said = process.stderr();
    assert!(!status.success() && words.iter().all(|word| said.contains(word)), "{status}: {said}");
}

#[test]
fn it_becomes_the_user_that_is_named_and_goes_on_reloading() {
    let folder = folder();
    let (state, log) = (folder.path().join("own/state.json"), folder.path().join("own/access.log"));
    let (origin, free) = (Origin::http().reply("a").start(), free_address());
    let low = |port| SocketAddr::new(free.ip(), port);
    let text = |port| config(BECOME, low(port), &pool(origin.addr()));
    if !is_root() {
        return refuses(
            Process::spawn_in(folder, Path::new(PROGRAM), &text(81)),
            &["cannot become another one", "start it as root"],
        );
    }
    // As an evenkeel that stayed root has left them.
    fs::write(&state, "{\"version\": 1, \"overrides\": [], \"active\": {}}").unwrap();
    fs::write(&log, "").unwrap();
    let process = Process::spawn_in(folder, Path::new(PROGRAM), &text(81)).ready();
    for (key, value) in [("Uid", "65534"), ("Gid", "65534"), ("NoNewPrivs", "1"), ("CapEff", "0000000000000400")] {
        every_thread(process.pid(), key, value);
    }
    assert_eq!(client::get(low(81), "/").text(), "a");
    for path in [&state, &log] {
        assert_eq!(fs::metadata(path).unwrap().uid(), STRANGER, "{}", path.display());
    }
    let moved = process.reload(&text(82));
    assert!(moved.status.success(), "a reload binds ports below 1024: {}", errors(&moved));
    assert_eq!(client::get(low(82), "/").text(), "a");
    let kept = fs::metadata(process.folder().join("own/state.generations/1.json")).unwrap();
    assert_eq!((kept.uid(), kept.gid()), (STRANGER, STRANGER));
}

#[test]
fn what_somebody_put_there_as_a_trap_is_not_handed_over() {
    let (folder, elsewhere) = (folder(), tempfile::tempdir_in("/tmp").unwrap());
    let own = folder.path().join("own");
    let precious = elsewhere.path().join("7.json");
    fs::write(&precious, "").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), own.join("state.generations")).unwrap();
    std::os::unix::fs::symlink(&precious, own.join("access.log")).unwrap();
    let twice = own.join("state.changes.json");
    fs::hard_link(&precious, &twice).unwrap();
    let text = config(BECOME, free_address(), &pool(free_address()));
    let process = Process::spawn_in(folder, Path::new(PROGRAM), &text);
    // It cannot write there, which is said.
    refuses(process, &[if is_root() { "the access log: `" } else { "cannot become another one" }]);
    let about = fs::metadata(&precious).unwrap();
    assert_eq!((about.uid(), about.nlink()), (nix::unistd::geteuid().as_raw(), 1 + u64::from(twice.exists())));
}

#[test]
fn what_only_root_can_read_is_told_at_the_start_and_at_the_reload() {
    let folder = folder();
    let secret = folder.path().join("password");
    fs::write(&secret, "Basic abc").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let origin = Origin::http().start();
    let check = "check.c = { type = 'http', headers = { Authorization = '${file:password}' } }\n";
    let text = config(BECOME, free_address(), &format!("{}{check}", pool(origin.addr())));
    let process = Process::spawn_in(folder, Path::new(PROGRAM), &text);
    if !is_root() {
        return refuses(process, &["cannot become another one"]);
    }
    let process = process.ready();
    let cause = "who may not read it: setfacl -m u:";
    assert!(
        process.stderr().contains("a reload will not be able to") && process.stderr().contains(cause),
        "{}",
        process.stderr()
    );
    let reload = process.reload(&text);
    assert!(!reload.status.success() && errors(&reload).contains(cause), "{}", errors(&reload));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(process.reload(&text).status.success());
}

#[test]
fn it_does_not_start_as_somebody_who_could_not_work() {
    let root = ["may not write to", "state_file", "the access log", "upgrade.socket", "install -d -o"];
    let stays = ["cannot become another one"];
    let closed = folder();
    let own = closed.path().join("own");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o555)).unwrap();
    let text = config(BECOME, free_address(), &format!("{}[upgrade]\nsocket = 'own/up.sock'\n", pool(free_address())));
    let process = Process::spawn_in(closed, Path::new(PROGRAM), &text);
    refuses(process, if is_root() { &root } else { &stays });

    let unknown = config("user = 'no-such-user-here'\n", free_address(), &pool(free_address()));
    refuses(Process::spawn(&unknown), &["this machine has no such user", "useradd --system"]);
}

#[test]
fn who_is_not_root_becomes_nobody_else() {
    let folder = folder();
    let file = folder.path().join("evenkeel.toml");
    let text = config("user = '4242'\ngroup = '4242'\n", free_address(), &pool(free_address()));
    fs::write(&file, text).unwrap();
    let program = copied(folder.path());
    let mut command = Command::new(program);
    command.arg("run").arg(&file).current_dir(folder.path()).stdin(Stdio::null());
    if is_root() {
        command.uid(STRANGER).gid(STRANGER);
    }
    let output = command.output().unwrap();
    let said = errors(&output);
    assert!(
        output.status.code() == Some(1) && said.contains("cannot become another one; start it as root, or as `4242`"),
        "{said}"
    );
}

/// The program in a place where everybody may run it.
fn copied(folder: &Path) -> PathBuf {
    let program = folder.join("evenkeel");
    fs::copy(PROGRAM, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn it_hands_over_as_that_user_and_from_the_same_sandbox_more_often_than_the_kernel_nests_them() {
    const MORE_THAN_NESTED: usize = 17;
    let folder = folder();
    let program = copied(folder.path());
    let (origin, free) = (Origin::http().reply("a").start(), free_address());
    let web = if is_root() { SocketAddr::new(free.ip(), 83) } else { free };
    let user = if is_root() { BECOME } else { "" };
    let limits = format!("{user}landlock = 'best-effort'\nseccomp = 'required'\n");
    let mut process = Process::spawn_in(folder, &program, &config(&limits, web, &pool(origin.addr()))).ready();
    let mut last = Last(process.pid().to_string());
    for _ in 0..MORE_THAN_NESTED {
        let generation = process.metric("evenkeel_config_generation").unwrap();
        assert!(Command::new("kill").args(["-USR2", &last.0]).status().unwrap().success());
        eventually("the next process has taken over", DEADLINE, || {
            process.metric("evenkeel_config_generation").is_some_and(|now| now > generation)
        });
        let view: Value = serde_json::from_slice(&told(&process, &["security", "--json"]).stdout).unwrap();
        let next = view["pid"].to_string();
        assert_ne!(next, last.0);
        std::mem::forget(std::mem::replace(&mut last, Last(next)));
        assert_eq!(client::get(web, "/").text(), "a");
    }
    let said = process.stderr();
    assert!(said.contains("seccomp: as the process before"), "{said}");
    assert_eq!(said.contains("landlock: as the process before"), has_landlock(), "{said}");
    if is_root() {
        every_thread(last.0.parse().unwrap(), "Uid", "65534");
        every_thread(last.0.parse().unwrap(), "CapEff", "0000000000000400");
        every_thread(last.0.parse().unwrap(), "CapAmb", "0000000000000000");
        let again = process.reload(&config(&limits, SocketAddr::new(free.ip(), 84), &pool(origin.addr())));
        assert!(again.status.success(), "{}", errors(&again));
    }
    assert!(process.wait(DEADLINE).success());
}

/// The process that has the work, which nobody else knows: ended with this.
struct Last(String);

impl Drop for Last {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0]).status();
    }
}

#[test]
fn files_that_the_configuration_does_not_name_are_out_of_reach() {
    let (folder, elsewhere) = (folder(), tempfile::tempdir_in("/tmp").unwrap());
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "Basic abc").unwrap();
    // A command lives in the same sandbox: it may read here, and not there.
    let checks = folder.path().join("checks");
    fs::create_dir(&checks).unwrap();
    let script = checks.join("look");
    let lines = format!("#!/bin/sh\ncat {} && ! cat {}\n", script.display(), secret.display());
    fs::write(&script, lines).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let (web, origin) = (free_address(), Origin::http().reply("a").start());
    let check = format!("check.look = {{ type = 'exec', command = '{}', fall = 1 }}\n", script.display());
    let exec = format!("[exec]\nallow = ['{}']\n", checks.display());
    let limits = "landlock = 'required'\n";
    let text = |more: &str| config(limits, web, &format!("{more}{}{check}{exec}", pool(origin.addr())));
    let process = Process::spawn_in(folder, Path::new(PROGRAM), &text(""));
    if !has_landlock() {
        return refuses(process, &["process.landlock = \"required\" cannot be had"]);
    }
    let process = process.ready();
    eventually("the command ends well", DEADLINE, || {
        client::try_get(web, "/").is_ok_and(|answer| answer.text() == "a")
    });
    let log = format!(
        "[listener.two]\nbind = '{}'\npool = 'p'\nlog.to = {{ file = '{}/log' }}\nlog.access = 'common'\n",
        free_address(),
        elsewhere.path().display()
    );
    let check = format!("headers = {{ Authorization = '${{file:{}}}' }}", secret.display());
    let named = format!("[pool.q]\nbackends = ['127.0.0.1:1']\ncheck.c = {{ type = 'http', {check} }}\n");
    for more in [named, log] {
        let refused = errors(&process.reload(&text(&more)));
        assert!(refused.contains("(process.landlock) keeps it out of reach"), "{refused}");
    }
    assert!(process.reload(&text("tcp = { user_timeout = '9s' }\n")).status.success(), "all else can change");
    let security = told(&process, &["security"]);
    let said = String::from_utf8_lossy(&security.stdout).into_owned();
    assert!(said.contains("files are out of reach but for") && said.contains(&checks.display().to_string()), "{said}");
}

#[test]
fn calls_that_no_balancer_needs_are_refused() {
    let folder = folder();
    let script = folder.path().join("call");
    // Root may do it, unless it is held to less.
    fs::write(&script, "#!/bin/sh\ngrep -q '^Seccomp:.2' /proc/self/status && ! chroot / /bin/true\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let (web, origin) = (free_address(), Origin::http().reply("a").start());
    let check = format!("check.call = {{ type = 'exec', command = '{}' }}\n", script.display());
    let exec = format!("[exec]\nallow = ['{}']\n", folder.path().display());
    let text = config("seccomp = 'required'\n", web, &format!("{}{check}{exec}", pool(origin.addr())));
    let process = Process::spawn_in(folder, Path::new(PROGRAM), &text).ready();
    every_thread(process.pid(), "Seccomp", "2");
    eventually("the command ends well", DEADLINE, || {
        client::try_get(web, "/").is_ok_and(|answer| answer.text() == "a")
    });
}

#[test]
fn a_process_says_how_well_it_is_protected() {
    let (folder, origin) = (folder(), Origin::http().start());
    let token = folder.path().join("token");
    fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    let user = if is_root() { BECOME } else { "" };
    let limits = format!("{user}landlock = 'best-effort'\nseccomp = 'required'\n");
    let admin = free_address();
    let admin_port = format!("[admin]\nbind = \"{admin}\"\ntoken_file = 'token'\n");
    let text = config(&limits, free_address(), &format!("{}{admin_port}", pool(origin.addr())));
    let process = Process::spawn_in(folder, Path::new(PROGRAM), &text).ready();
    let asked = || told(&process, &["security", "--json", "--token-file", token.to_str().unwrap()]);
    let weak = |output: &Output| -> Vec<String> {
        let view: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = view["findings"].as_array().unwrap().clone();
        let weak = all.iter().filter(|finding| finding["level"] == "weak");
        weak.map(|finding| finding["topic"].as_str().unwrap().to_owned()).collect()
    };
    let well = asked();
    // Whatever rights somebody who is not root was given for these tests are his own business.
    let expected: Vec<String> = if has_landlock() { Vec::new() } else { vec!["landlock".to_owned()] };
    let left: Vec<String> = weak(&well).into_iter().filter(|topic| is_root() || topic != "capabilities").collect();
    assert_eq!(left, expected, "{}", String::from_utf8_lossy(&well.stdout));
    assert_eq!(well.status.code(), Some(i32::from(!weak(&well).is_empty())));
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let open = asked();
    assert!(
        open.status.code() == Some(1) && weak(&open).contains(&"secrets".to_owned()),
        "{}",
        String::from_utf8_lossy(&open.stdout)
    );

    let bare =
        Process::start(&format!("[listener.web]\nbind = '{}'\npool = 'p'\n{}", free_address(), pool(origin.addr())));
    let said = told(&bare, &["security"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.code() == Some(1) && text.contains("-> [process] landlock = \"best-effort\""), "{text}");
    assert_eq!(text.contains("runs as root"), is_root(), "{text}");
}

#[test]
fn a_sandbox_leaves_the_configuration_alone_and_says_so() {
    let (folder, origin, admin) = (folder(), Origin::http().start(), free_address());
    let token = folder.path().join("token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let rest = format!("{}[admin]\nbind = \"{admin}\"\ntoken_file = 'token'\n", pool(origin.addr()));
    let text = config("landlock = 'best-effort'\n", free_address(), &rest);
    let process = Process::spawn_in(folder, Path::new(PROGRAM), &text).ready();
    let draft = process.folder().join("draft.toml");
    fs::write(&draft, format!("{text}\n# saved\n")).unwrap();
    let arguments = ["apply", draft.to_str().unwrap(), "--save", "--token-file", token.to_str().unwrap()];
    let saved = told(&process, &arguments);
    let file = fs::read_to_string(process.config_path()).unwrap();
    let refused = errors(&saved).contains("(process.landlock) keeps it out of reach");
    assert_eq!((refused, file.contains("# saved")), (has_landlock(), !has_landlock()), "{}", errors(&saved));
}
