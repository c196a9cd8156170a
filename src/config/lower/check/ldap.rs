//! What a check of type `ldap` binds as.

use super::account::{needs, sendable};
use super::tls;
use crate::config::model::{LdapAccount, LdapCheck};
use crate::config::section::Section;

pub(super) fn ldap(section: &Section<'_>) -> Option<LdapCheck> {
    let tls = tls::tls(section);
    let user_help = "write user = \"cn=evenkeel,dc=example,dc=com\" too, or take both out to bind as nobody";
    let password_help = "write password = \"${LDAP_PASSWORD}\" too: a bind without one succeeds for any name";
    let whole =
        needs(section, &["password"], "user", user_help).and(needs(section, &["user"], "password", password_help));
    let account = section.has("user").then(|| {
        let user = section.parsed("user", sendable("user"));
        let password = section.parsed("password", sendable("password"));
        Some(LdapAccount { user: user?, password: password? })
    });
    whole?;
    Some(LdapCheck {
        account: match account {
            Some(account) => Some(account?),
            None => None,
        },
        tls: tls?,
    })
}
