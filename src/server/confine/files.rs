//! Files out of reach: by Landlock, a process gives up whatever it does not need of the file system, root or not.
//!
//! # Why folders, and why all of /etc?
//! A certificate is renewed, and the resolver's file rewritten, by putting another file in its place: a rule for the file
//! would hold for the old one only. What the rights of files say holds as before.
//!
//! # Why no rules for the network?
//! The kernel's go by port. The next reload may name any port, for listeners and backends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};

use super::places::{Places, folder_of};
use crate::config::Loaded;
use crate::confinement::Reach;
use crate::server::Program;

/// What the resolver, the certificates of the system, times and the program's own numbers need.
const SYSTEM: &[&str] = &[
    "/etc",
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/connman",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
];
/// What commands of checks are made of.
const COMMANDS: &[&str] = &["/bin", "/sbin", "/usr", "/lib", "/lib64"];
/// Where the loader of a program lies that is not static.
const LOADERS: &[&str] = &["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// Without it a file could still be emptied, so that less is called missing.
const OLDEST: i32 = 3;

/// What a process with this configuration needs.
pub(super) fn reach(loaded: &Loaded, places: &Places, program: Option<&Program>) -> Reach {
    let (mut read, mut write, mut run) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    read.extend(SYSTEM.iter().filter_map(|path| Path::new(path).canonicalize().ok()));
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        read.extend(std::env::var_os(variable).and_then(|path| PathBuf::from(path).canonicalize().ok()));
    }
    for file in &loaded.files {
        read.extend(around(file));
        // What a link leads to is replaced in the folder that it lies in.
        read.extend(file.canonicalize().ok().as_deref().and_then(around));
    }
    let made = places.state.iter().chain(&places.logs).chain(places.sockets.iter().map(|(_, path)| path));
    write.extend(made.filter_map(|path| around(path)));
    write.extend(Path::new("/dev/null").canonicalize());
    let allowed = &loaded.config.exec_allowed;
    if !allowed.is_empty() {
        let commands = allowed.iter().map(PathBuf::as_path).chain(COMMANDS.iter().map(Path::new));
        run.extend(commands.filter_map(|path| path.canonicalize().ok()));
    }
    if let Some(program) = program {
        run.extend(around(&program.path));
        run.extend(LOADERS.iter().flat_map(|folder| loaders(Path::new(folder))));
    }
    let list = |set: BTreeSet<PathBuf>| set.into_iter().collect::<Vec<_>>();
    read.extend(write.iter().chain(&run).cloned());
    Reach { read: list(read), write: list(write), run: list(run) }
}

/// The folder of a file, which is the file itself where it lies in the root folder: that one holds everything.
fn around(file: &Path) -> Option<PathBuf> {
    let whole = if file.is_dir() { file } else { folder_of(file) };
    let whole = whole.canonicalize().ok()?;
    let holds_all = whole.parent().is_none() || whole == Path::new("/dev");
    if holds_all { file.canonicalize().ok() } else { Some(whole) }
}

/// The files by which the system starts programs.
fn loaders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let named = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"ld-"));
    named.filter_map(|entry| entry.path().canonicalize().ok()).filter(|path| path.is_file()).collect()
}

/// Gives up everything else, for this thread and all that come of it; says what holds, or why nothing does.
pub(super) fn limit(reach: &Reach) -> Result<String, String> {
    let status = restrict(reach).map_err(|error| format!("the kernel refuses Landlock: {error}"))?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => kernel_abi.unwrap_or(effective_abi as i32),
        LandlockStatus::NotEnabled => {
            return Err("this kernel has Landlock, and it is not switched on: boot with lsm=landlock,…".to_owned());
        }
        LandlockStatus::NotImplemented => {
            return Err("this kernel has no Landlock (Linux 5.13 and later have)".to_owned());
        }
    };
    if status.ruleset == RulesetStatus::NotEnforced || abi < OLDEST {
        return Err(format!("the Landlock of this kernel is too old (version {abi}; {OLDEST} is Linux 6.2)"));
    }
    Ok(format!(
        "files are out of reach but for {} to read, {} to write to and {} to run (Landlock {abi})",
        counted(&reach.read),
        counted(&reach.write),
        counted(&reach.run)
    ))
}

fn counted(list: &[PathBuf]) -> String {
    format!("{} place{}", list.len(), if list.len() == 1 { "" } else { "s" })
}

fn restrict(reach: &Reach) -> Result<landlock::RestrictionStatus, landlock::RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSock
        | AccessFs::RemoveFile;
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(ABI::V5))?.scope(Scope::Signal)?.create()?;
    for (list, access) in [(&reach.read, read), (&reach.write, write), (&reach.run, read | AccessFs::Execute)] {
        for path in list {
            // What is not there cannot be reached.
            if let Ok(descriptor) = PathFd::new(path) {
                rules = rules.add_rule(PathBeneath::new(descriptor, of_its_kind(path, access)))?;
            }
        }
    }
    rules.restrict_self()
}

/// What can be done with a file, where it is no folder.
fn of_its_kind(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V5) }
}

/// Whether files are out of this process's reach already: nobody may list the root folder then.
pub(super) fn are_out_of_reach() -> bool {
    std::fs::read_dir("/").is_err()
}
