//! The user that the program becomes: found by name or number, and become for good.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist, getresuid, setgid, setgroups, setuid};

/// A user with its groups.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    groups: Vec<Gid>,
}

/// The user of this name or number.
pub(super) fn find(user: &str, group: Option<&str>) -> Result<Account, String> {
    // A machine without /etc/passwd has no names: numbers will do.
    let known = match user.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(user),
    };
    let known = known.ok().flatten();
    let own = group.map(group_named).transpose()?;
    match (known, user.parse(), own) {
        (Some(User { uid, .. }), _, _) if uid.is_root() => {
            Err(format!("process.user = \"{user}\" is root by another name; name a user of its own"))
        }
        (Some(User { name, uid, .. }), _, Some(gid)) => Ok(Account { name, uid, gid, groups: vec![gid] }),
        (Some(User { name, uid, gid, .. }), _, None) => {
            let groups = CString::new(name.as_str()).ok().and_then(|name| getgrouplist(&name, gid).ok());
            Ok(Account { name, uid, gid, groups: groups.unwrap_or_else(|| vec![gid]) })
        }
        (None, Ok(uid), Some(gid)) => {
            Ok(Account { name: user.to_owned(), uid: Uid::from_raw(uid), gid, groups: vec![gid] })
        }
        (None, Ok(_), None) => Err(format!(
            "process.user = \"{user}\" has no name here, so its groups are not known; add group = \"{user}\" to [process]"
        )),
        (None, Err(_), _) => Err(format!(
            "process.user = \"{user}\": this machine has no such user; make it (useradd --system --no-create-home \
             --shell /usr/sbin/nologin {user}), or name another one, or a number"
        )),
    }
}

fn group_named(group: &str) -> Result<Gid, String> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(group).ok().flatten();
    found.map(|group| group.gid).ok_or_else(|| {
        format!("process.group = \"{group}\": this machine has no such group; make it (groupadd --system {group}), or name another one")
    })
}

impl Account {
    /// Whether this process runs as that user.
    pub(super) fn is_here(&self) -> bool {
        geteuid() == self.uid
    }

    /// Whether this process may become it.
    pub(super) fn may_be_become(&self) -> Result<(), String> {
        if geteuid().is_root() {
            return Ok(());
        }
        let (name, ours) = (&self.name, geteuid());
        Err(format!(
            "process.user = \"{name}\": this process runs as user {ours} and cannot become another one; start it as root, \
             or as `{name}` (systemd: User={name}; Docker: --user), or take `user` out of [process]"
        ))
    }

    /// Becomes it, with all threads, and for good.
    pub(super) fn become_it(&self) -> Result<(), String> {
        let refused = |what: &str, error: nix::errno::Errno| {
            format!(
                "this process cannot become `{}`: {what}: {error}; being root is not enough, it takes CAP_SETUID and \
                 CAP_SETGID (Docker: --cap-add SETUID --cap-add SETGID, or --user {}:{} instead of process.user)",
                self.name, self.uid, self.gid
            )
        };
        setgroups(&self.groups).map_err(|error| refused("its groups", error))?;
        setgid(self.gid).map_err(|error| refused("its group", error))?;
        setuid(self.uid).map_err(|error| refused("itself", error))
    }

    /// Whether there is no way back.
    pub(super) fn is_final(&self) -> Result<(), String> {
        let all = getresuid().is_ok_and(|all| [all.real, all.effective, all.saved].iter().all(|uid| *uid == self.uid));
        if all && getegid() == self.gid && setuid(Uid::from_raw(0)).is_err() {
            return Ok(());
        }
        Err(format!("this process has become `{}` and could become root again; it does not start so", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let root = find("root", None).unwrap_err();
        assert!(root.contains("is root by another name"), "{root}");
        let nobody = find("no-such-user-here", None).unwrap_err();
        assert!(nobody.contains("useradd --system"), "{nobody}");
        let number = find("4242424", None).unwrap_err();
        assert!(number.contains("add group = \"4242424\""), "{number}");
        let account = find("4242424", Some("4242425")).unwrap();
        assert_eq!((account.uid.as_raw(), account.gid.as_raw()), (4_242_424, 4_242_425));
        assert!(!account.is_here());
        let group = find("4242424", Some("no-such-group-here")).unwrap_err();
        assert!(group.contains("groupadd --system"), "{group}");
    }
}
