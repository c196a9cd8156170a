//! How often somebody may ask the admin port: `admin.rate`, for each token or certificate that is known, and for everybody
//! else of an address, or a user of this machine, together.
//!
//! Paths that say whether the balancer is well do not count: whoever watches over it must not be kept from seeing it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::callers::Peer;
use crate::config::model::Rate;
use crate::route::rate::Limiter;

/// The rate in force, at work.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<(Arc<Rate>, Arc<Limiter>)>>);

impl Pace {
    /// Counts a request.
    ///
    /// # Errors
    /// It comes too early, by so much.
    pub(super) fn ask(&self, rate: Option<&Arc<Rate>>, peer: &Peer, who: Option<&str>) -> Result<(), Duration> {
        let Some(rate) = rate else { return Ok(()) };
        let limiter = self.limiter(rate);
        match who {
            Some(name) => peer.ask_as(name, &limiter),
            None => peer.ask(&limiter),
        }
    }

    /// Whoever changes the rate has everybody start anew.
    fn limiter(&self, rate: &Arc<Rate>) -> Arc<Limiter> {
        // Whoever panicked here, which nobody does, would have left a whole pair.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((by, limiter)) = &*kept
            && by == rate
        {
            return Arc::clone(limiter);
        }
        let limiter = Arc::new(Limiter::new(rate));
        *kept = Some((Arc::clone(rate), Arc::clone(&limiter)));
        limiter
    }
}
