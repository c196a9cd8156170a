//! What a check of type `redis` asks.

use super::account::{needs, password, sendable};
use super::tls;
use crate::config::model::{MasterLink, RedisCheck, Telling};
use crate::config::section::{Choice, Section};

const MASTER_LINK: Choice<MasterLink> = Choice {
    words: &[("up", MasterLink::Up), ("any", MasterLink::Any)],
    foreign: &[("connected", "up"), ("down", "any")],
    later: &[],
};

pub(super) fn redis(section: &Section<'_>) -> Option<RedisCheck> {
    let tls = tls::tls(section);
    let login = needs(section, &["user"], "password", "write password = \"${REDIS_PASSWORD}\" too");
    let user = section.parsed("user", sendable("user"));
    let password = password(section);
    let role = section.boolean("role").unwrap_or(false);
    let master_link = section.choice("master_link", &MASTER_LINK).unwrap_or(MasterLink::Any);
    login?;
    let password = password?;
    Some(RedisCheck {
        user: user.filter(|_| password.is_some()),
        password,
        role: if role { Telling::Told } else { Telling::Untold },
        master_link,
        tls: tls?,
    })
}
