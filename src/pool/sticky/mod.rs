//! Clients that stay with the backend that they have: by a cookie of the balancer's own, or by what is remembered of them.
//!
//! Made by control with the table; `proxy` asks it who a request belongs to, and what its answer must say. A cookie costs
//! one lookup: its values are made with the table, and so are the lines that set them. Pools without `sticky` have none
//! of this.
//!
//! # What is in a cookie?
//!
//! HMAC-SHA256 of pool and backend (or zone) by the secret, half of it, in hexadecimal digits. It says nothing of
//! addresses, nobody can make one for a backend of his choice, and every balancer with the same secret and names honours
//! it. What no backend of the pool is named by counts as none.

mod learned;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use foldhash::fast::FixedState;

use self::learned::Table;
use super::preferences::{Near, Preferences};
use super::{Backend, Pool};
use crate::config::model::{
    self, HttpOnly, Learned, LearnedBy, Secure, StickyCookie, StickyScope, StickySecret, ZoneIndex,
};

/// Where a request belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stick {
    /// Anywhere.
    #[default]
    Free,
    /// To the backend with this position in the pool.
    To(u32),
    /// To any backend of this zone.
    In(Near),
}

/// What became of a client's wish to stay; positions of [`crate::metrics::PoolStats::sticky`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// It is where it was.
    Kept = 0,
    /// It was nowhere yet.
    New = 1,
    /// It had to go elsewhere.
    Moved = 2,
}

/// How the clients of a pool stay.
#[derive(Debug)]
pub struct Sticky {
    how: How,
    /// Position of each backend by the serial number of its slot.
    positions: HashMap<u64, u32, FixedState>,
}

#[derive(Debug)]
enum How {
    Cookie(Cookie),
    Learned(Learned, Arc<Table>),
}

/// What a client is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<'s> {
    /// The value of this cookie.
    Cookie(&'s str),
    /// The value of this header.
    Header(&'s str),
    /// Its address.
    Source,
}

/// How a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// By http.
    Plain,
    /// By https, to this balancer or to a proxy that is trusted.
    Secure,
}

#[derive(Debug)]
struct Cookie {
    name: Arc<str>,
    secure: Secure,
    stays: HashMap<Box<[u8]>, Stick, FixedState>,
    /// The field lines that set it, for each backend by position; empty where it has nothing to name.
    lines: Vec<Lines>,
}

#[derive(Debug, Default, Clone)]
struct Lines {
    plain: Box<[u8]>,
    secure: Box<[u8]>,
}

impl Sticky {
    /// How the clients of this pool stay; what is remembered of them goes on where `before` remembers the same.
    pub(super) fn new(
        config: &model::Pool,
        backends: &[Arc<Backend>],
        preferences: &Preferences,
        before: Option<&Self>,
    ) -> Option<Self> {
        let how = match config.sticky.as_ref()? {
            model::Sticky::Cookie(cookie) => How::Cookie(Cookie::new(cookie, config, preferences)),
            model::Sticky::Learned(learned) => {
                let kept = before.and_then(|before| match &before.how {
                    How::Learned(known, table) if known == learned => Some(Arc::clone(table)),
                    _ => None,
                });
                let table = || Arc::new(Table::new(learned.entries.get() as usize, learned.expire));
                How::Learned(learned.clone(), kept.unwrap_or_else(table))
            }
        };
        let positions = backends.iter().zip(0..).map(|(backend, at)| (backend.slot.serial, at)).collect();
        Some(Self { how, positions })
    }

    /// What a client is known by.
    pub fn known_by(&self) -> Known<'_> {
        match &self.how {
            How::Cookie(cookie) => Known::Cookie(&cookie.name),
            How::Learned(Learned { by: LearnedBy::ApplicationCookie(name), .. }, _) => Known::Cookie(name),
            How::Learned(Learned { by: LearnedBy::Header(name), .. }, _) => Known::Header(name),
            How::Learned(Learned { by: LearnedBy::Source, .. }, _) => Known::Source,
        }
    }

    /// Where a request with this value belongs.
    pub fn find(&self, value: &[u8]) -> Stick {
        match &self.how {
            How::Cookie(cookie) => cookie.stays.get(value).copied().unwrap_or_default(),
            How::Learned(_, table) => {
                let serial = table.find(value);
                serial.and_then(|serial| self.positions.get(&serial)).map_or(Stick::Free, |at| Stick::To(*at))
            }
        }
    }

    /// The name of the cookie of the backends' own that says who is whose, where one does.
    pub fn application_cookie(&self) -> Option<&str> {
        match &self.how {
            How::Learned(Learned { by: LearnedBy::ApplicationCookie(name), .. }, _) => Some(name),
            _ => None,
        }
    }

    /// Whether something is remembered.
    pub fn is_learned(&self) -> bool {
        matches!(self.how, How::Learned(..))
    }

    /// Remembers that whoever has this value belongs to this backend.
    pub fn learn(&self, value: &[u8], backend: &Backend) {
        if let How::Learned(_, table) = &self.how
            && !value.is_empty()
        {
            table.learn(value, backend.slot.serial);
        }
    }

    /// The field lines of an answer that make its client stay with this backend; empty where something else does.
    pub fn lines(&self, backend: &Backend, channel: Channel) -> &[u8] {
        let How::Cookie(cookie) = &self.how else { return &[] };
        let at = self.positions.get(&backend.slot.serial);
        let Some(lines) = at.and_then(|at| cookie.lines.get(*at as usize)) else { return &[] };
        match (cookie.secure, channel) {
            (Secure::Always, _) | (Secure::AsClient, Channel::Secure) => &lines.secure,
            (Secure::Never, _) | (Secure::AsClient, Channel::Plain) => &lines.plain,
        }
    }
}

impl Pool {
    /// What became of a client that belongs where `stick` says, and was served by `backend`.
    pub fn stay(&self, stick: Stick, backend: &Backend) -> Stay {
        let same = |at: usize| self.backends.get(at).is_some_and(|own| own.slot.serial == backend.slot.serial);
        let is_there = match stick {
            Stick::Free => return Stay::New,
            Stick::To(at) => same(at as usize),
            Stick::In(near) => {
                let member = (0..self.backends.len()).find(|at| same(*at)).and_then(|at| self.config.members.get(at));
                member.is_some_and(|member| member.zone.is_some() && self.preferences.zone(near) == member.zone)
            }
        };
        if is_there { Stay::Kept } else { Stay::Moved }
    }
}

// === impl Cookie ===

impl Cookie {
    fn new(config: &StickyCookie, pool: &model::Pool, preferences: &Preferences) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret(&config.secret));
        let mut stays = HashMap::default();
        let mut lines = Vec::with_capacity(pool.members.len());
        for (member, at) in pool.members.iter().zip(0..) {
            let named = match config.scope {
                StickyScope::Pool => Some((value(&key, &["backend", &pool.name, &member.name]), Stick::To(at))),
                StickyScope::Zone => member.zone.and_then(|zone| {
                    let ZoneIndex(number) = zone;
                    let name = pool.zones.names.get(usize::from(number))?;
                    Some((value(&key, &["zone", &pool.name, name]), Stick::In(preferences.number_of(zone)?)))
                }),
            };
            lines.push(named.as_ref().map_or_else(Lines::default, |(value, _)| Lines::of(config, value)));
            stays.extend(named.map(|(value, stick)| (value.into_bytes().into_boxed_slice(), stick)));
        }
        Self { name: Arc::clone(&config.name), secure: config.secure, stays, lines }
    }
}

impl Lines {
    fn of(config: &StickyCookie, value: &str) -> Self {
        let mut text = format!("Set-Cookie: {}={value}; Path={}", config.name, config.path);
        // Writing to a string cannot fail.
        let _ = config.domain.as_ref().map(|domain| write!(text, "; Domain={domain}"));
        let _ = config.max_age.map(|age| write!(text, "; Max-Age={}", age.as_secs()));
        if config.http_only == HttpOnly::Yes {
            text.push_str("; HttpOnly");
        }
        let _ = config.same_site.map(|word| write!(text, "; SameSite={word}"));
        // A cache that kept the answer would give the cookie to everybody.
        let end = "\r\nCache-Control: private\r\n";
        let secure = format!("{text}; Secure{end}").into_bytes().into_boxed_slice();
        Self { plain: (text + end).into_bytes().into_boxed_slice(), secure }
    }
}

/// The parts are of any length: each is followed by what no name holds.
fn value(key: &hmac::Key, parts: &[&str]) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    let tag = context.sign();
    tag.as_ref().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What a client is known by where that is its address.
pub fn octets(client: IpAddr) -> [u8; 16] {
    match client {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// One for the process: a reload changes nothing.
static RANDOM: OnceLock<[u8; 32]> = OnceLock::new();

fn secret(secret: &StickySecret) -> &[u8] {
    match secret {
        StickySecret::Given(text) => text.as_bytes(),
        StickySecret::Random => RANDOM.get_or_init(|| {
            let mut bytes = [0; 32];
            aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random numbers, or TLS could not be either");
            bytes
        }),
    }
}
