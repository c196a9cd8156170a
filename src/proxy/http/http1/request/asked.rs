//! A request as routes look at it.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::net::IpAddr;

use super::Request;
use crate::config::model::ValueMatch;
use crate::route::routes::Question;

/// What a route may look at.
#[derive(Debug)]
pub struct Asked<'a, 'b> {
    /// The request.
    pub request: &'a Request<'b>,
    /// Its path, or another way to read it.
    pub path: &'a [u8],
    /// Who sent it.
    pub client: IpAddr,
}

impl Question for Asked<'_, '_> {
    fn method(&self) -> &[u8] {
        self.request.method.as_bytes()
    }
    fn host(&self) -> &[u8] {
        self.request.host.unwrap_or_default().as_bytes()
    }
    fn path(&self) -> &[u8] {
        self.path
    }
    fn client(&self) -> IpAddr {
        self.client
    }
    fn header_holds(&self, condition: &ValueMatch) -> bool {
        let named = self.request.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(&condition.name));
        condition.holds(named.map(|field| field.value))
    }
    fn cookie_holds(&self, condition: &ValueMatch) -> bool {
        condition.holds(self.request.cookies(&condition.name))
    }
    fn query_holds(&self, condition: &ValueMatch) -> bool {
        condition.holds_in_query(self.request.query())
    }
}
