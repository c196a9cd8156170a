//! The rights of the process itself, as the kernel says them in `/proc/self/status`, and its sandbox.

use rustix::process::{DumpableBehavior, dumpable_behavior};
use rustix::thread::CapabilitySet;

use super::FindingView;
use crate::config::model::Config;
use crate::confinement::{self, Confined, Layer};

/// Everything that is known of the process.
pub(super) fn judge(status: &str, config: &Config) -> Vec<FindingView> {
    let confined = confinement::here().cloned().unwrap_or_default();
    vec![
        user(status),
        capabilities(status, config),
        new_rights(status),
        calls(status, &confined),
        files(&confined),
        memory(dumpable_behavior().is_ok_and(|it| it == DumpableBehavior::NotDumpable)),
    ]
}

/// What a line of the status says.
fn line<'s>(status: &'s str, key: &str) -> &'s str {
    let found = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    found.unwrap_or_default().trim()
}

fn user(status: &str) -> FindingView {
    let first = |key| line(status, key).split_whitespace().next().unwrap_or("?").to_owned();
    let (uid, gid) = (first("Uid"), first("Gid"));
    let others: Vec<&str> = line(status, "Groups").split_whitespace().filter(|group| *group != gid).collect();
    let groups = if others.is_empty() { String::new() } else { format!(", further groups {}", others.join(", ")) };
    if uid == "0" {
        return FindingView::weak(
            "user",
            format!("runs as root, with group {gid}{groups}"),
            "name a user of its own: [process] user = \"evenkeel\" (it still binds low ports), or User= of systemd, or --user of Docker",
        );
    }
    let name = confinement::here().and_then(|here| here.user.clone()).filter(|name| *name != uid);
    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
    FindingView::ok("user", format!("runs as user {uid}{name}, group {gid}{groups}"))
}

fn capabilities(status: &str, config: &Config) -> FindingView {
    let bits = |key| u64::from_str_radix(line(status, key), 16).unwrap_or(0);
    let held = CapabilitySet::from_bits_retain(bits("CapPrm") | bits("CapEff"));
    let needed = needed(config);
    let names =
        |set: CapabilitySet| set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect::<Vec<_>>().join(", ");
    let more = held.difference(needed);
    if !more.is_empty() {
        let all = held.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::SYS_PTRACE);
        let what = if all { "all rights of root".to_owned() } else { names(more) };
        return FindingView::weak(
            "capabilities",
            format!("holds more than it needs: {what}"),
            "[process] user = \"evenkeel\" keeps what is needed and nothing else; or CapabilityBoundingSet= of systemd, or --cap-drop ALL of Docker",
        );
    }
    FindingView::ok(
        "capabilities",
        if held.is_empty() { "holds none".to_owned() } else { format!("holds {}", names(held)) },
    )
}

/// Rights of root that a process with this configuration has a use for.
fn needed(config: &Config) -> CapabilitySet {
    let listeners = config.listeners.iter().map(|listener| &listener.tcp.options);
    let options: Vec<_> =
        listeners.chain(config.pools.iter().filter_map(|pool| Some(&pool.way.as_deref()?.options))).collect();
    let mut needed = CapabilitySet::NET_BIND_SERVICE;
    needed.set(CapabilitySet::NET_ADMIN, options.iter().any(|options| options.mark.is_some()));
    needed.set(CapabilitySet::NET_RAW, options.iter().any(|options| options.interface.is_some()));
    needed
}

fn new_rights(status: &str) -> FindingView {
    if line(status, "NoNewPrivs") == "1" {
        return FindingView::ok("no_new_privs", "neither it nor what it starts can gain rights");
    }
    FindingView::weak(
        "no_new_privs",
        "what it starts can gain rights by a setuid program",
        "set `user`, `landlock` or `seccomp` in [process], or NoNewPrivileges=yes of systemd, or --security-opt no-new-privileges of Docker",
    )
}

fn calls(status: &str, confined: &Confined) -> FindingView {
    const TOPIC: &str = "seccomp";
    match (&confined.calls, line(status, "Seccomp")) {
        (Layer::On(what), "2") => FindingView::ok(TOPIC, what),
        (_, "2") => FindingView::ok(TOPIC, "calls are filtered by whoever started it"),
        (_, "1") => FindingView::ok(TOPIC, "calls are refused but for four"),
        (Layer::Missing(why), _) => FindingView::weak(TOPIC, why, "use a kernel with seccomp filters"),
        _ => FindingView::weak(
            TOPIC,
            "every call of the kernel is open to it",
            "[process] seccomp = \"best-effort\", or SystemCallFilter= of systemd",
        ),
    }
}

fn files(confined: &Confined) -> FindingView {
    const TOPIC: &str = "landlock";
    match &confined.files {
        Layer::On(what) => FindingView::ok(TOPIC, what),
        Layer::Missing(why) => {
            FindingView::weak(TOPIC, why, "use a kernel that has it: Linux 6.2 or later, booted with lsm=landlock,…")
        }
        Layer::Off => FindingView::weak(
            TOPIC,
            "every file that its user may read or write is within reach",
            "[process] landlock = \"best-effort\"",
        ),
    }
}

fn memory(is_closed: bool) -> FindingView {
    if is_closed {
        return FindingView::ok("memory", "is neither dumped nor read by other processes of its user");
    }
    FindingView::weak(
        "memory",
        "keys of certificates can be read out of it by other processes of its user, and stand in core dumps",
        "set `user`, `landlock` or `seccomp` in [process]",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::security::Level;
    use crate::config::{Source, load};

    const ROOT: &str = "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t0 27\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n";
    const CONFINED: &str = "Uid:\t993\t993\t993\t993\nGid:\t990\t990\t990\t990\nGroups:\t990 5\nCapPrm:\t0000000000000400\nCapEff:\t0000000000000400\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    #[test]
    fn rights_are_read_from_the_kernels_words() {
        let text = "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['127.0.0.1:1']\n";
        let config = load(&Source::text(text)).unwrap().config;
        let on = |status: &str| {
            [user(status), capabilities(status, &config), new_rights(status), calls(status, &Confined::default())]
        };
        for finding in on(ROOT) {
            assert!(finding.level == Level::Weak && !finding.remedy.is_empty(), "{finding:?}");
        }
        assert!(user(ROOT).what.contains("further groups 27"), "{:?}", user(ROOT));
        assert!(capabilities(ROOT, &config).what.contains("all rights of root"));
        for finding in on(CONFINED) {
            assert!(finding.level == Level::Ok && finding.remedy.is_empty(), "{finding:?}");
        }
        let some = CONFINED.replace("0000000000000400", "0000000000003400");
        assert!(
            capabilities(&some, &config).what.ends_with("CAP_NET_ADMIN, CAP_NET_RAW"),
            "{:?}",
            capabilities(&some, &config)
        );
        let marked = load(&Source::text(format!("{text}tcp = {{ mark = 1, interface = 'lo' }}\n"))).unwrap().config;
        assert_eq!(capabilities(&some, &marked).level, Level::Ok);
    }

    #[test]
    fn what_the_kernel_lacks_is_told() {
        let missing = Confined { files: Layer::Missing("this kernel has no Landlock".into()), ..Confined::default() };
        assert!(files(&missing).level == Level::Weak && files(&missing).what.contains("no Landlock"));
        assert_eq!(files(&Confined { files: Layer::On("9 places".into()), ..missing }).level, Level::Ok);
    }
}
