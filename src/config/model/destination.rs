//! Where requests go: to a pool, to one of several by share, to another address, or to nobody.

use std::sync::Arc;

use super::{PoolIndex, Template};

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To a backend of this pool.
    Pool(PoolIndex),
    /// To a backend of one of these pools.
    Split(Arc<Split>),
    /// To nobody: the balancer answers by itself.
    Respond(Arc<Respond>),
    /// To nobody: the client is told where to ask instead.
    Redirect(Arc<Redirect>),
}

impl Destination {
    /// The pools that it may lead to.
    pub fn pools(&self) -> impl Iterator<Item = PoolIndex> {
        let (pool, split) = match self {
            Self::Pool(pool) => (Some(*pool), None),
            Self::Split(split) => (None, Some(split)),
            Self::Respond(_) | Self::Redirect(_) => (None, None),
        };
        pool.into_iter().chain(split.into_iter().flat_map(|split| split.shares.iter().map(|share| share.pool)))
    }
}

/// `split = { a = 90, b = 10 }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// At least one; those without a share are left out.
    pub shares: Vec<Share>,
    /// What decides.
    pub by: SplitBy,
}

/// A pool and its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The pool.
    pub pool: PoolIndex,
    /// The sum of all shares up to and with this one.
    pub up_to: u32,
}

/// `split_by`: what decides which pool a request goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitBy {
    /// Chance, for each request anew.
    Request,
    /// The client's address.
    Client,
    /// The value of a header, by its name in lower case; chance where there is none.
    Header(Arc<str>),
    /// The value of a cookie; chance where there is none.
    Cookie(Arc<str>),
}

impl Split {
    /// The position of the share that an evenly spread number falls into.
    pub fn position(&self, number: u64) -> usize {
        let total = self.shares.last().map_or(1, |share| share.up_to).max(1);
        let number = (number % u64::from(total)) as u32;
        self.shares.iter().position(|share| number < share.up_to).unwrap_or(0)
    }
}

/// `respond = { … }`: an answer from the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// `Content-Type`.
    pub kind: Arc<str>,
    /// The body.
    pub body: Arc<[u8]>,
}

/// `redirect = …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Where the client shall ask.
    pub to: Location,
}

/// An address to be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// The same host, path and query by https, on its usual port.
    Https,
    /// This. What stands in front of its path is text and the host that was asked for, and nothing else that a client
    /// says.
    Template(Template),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pool_gets_its_share() {
        let share = |pool, up_to| Share { pool: PoolIndex(pool), up_to };
        let split = Split { shares: vec![share(4, 90), share(7, 100)], by: SplitBy::Request };
        let given = |position| (0..1000).filter(|number| split.position(*number) == position).count();
        assert_eq!([given(0), given(1)], [900, 100]);
        let pools: Vec<_> = Destination::Split(Arc::new(split)).pools().map(|pool| pool.0).collect();
        assert_eq!(pools, [4, 7]);
    }
}
