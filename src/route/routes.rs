//! Finding the route of a request: by host, then by path, then by what else it asks for. The first route of the file
//! that matches wins, and finding it costs the same with ten routes as with ten thousand.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::FixedState;

use crate::config::model::{HostPattern, PathMatch, Route, ValueMatch};

/// Longest host name that can match (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 255;

/// What a route looks at.
pub trait Question {
    /// The method.
    fn method(&self) -> &[u8];
    /// `Host` as it came, with port and in any case; empty where there is none.
    fn host(&self) -> &[u8];
    /// The target's path, without query.
    fn path(&self) -> &[u8];
    /// The client.
    fn client(&self) -> IpAddr;
    /// Whether a condition on headers holds.
    fn header_holds(&self, condition: &ValueMatch) -> bool;
    /// The same for cookies.
    fn cookie_holds(&self, condition: &ValueMatch) -> bool;
    /// The same for what stands behind the `?` of the target.
    fn query_holds(&self, condition: &ValueMatch) -> bool;
}

/// The routes of one listener, laid out for finding.
#[derive(Debug, Default)]
pub struct Routes {
    list: Vec<Route>,
    exact: HashMap<Box<[u8]>, Group, FixedState>,
    suffix: HashMap<Box<[u8]>, Group, FixedState>,
    any: Group,
}

/// The routes of one host, by path.
#[derive(Debug, Default)]
struct Group {
    by_path: HashMap<Box<[u8]>, Vec<u32>, FixedState>,
    /// The lengths that prefixes have, each once: a path is looked up at these and at no others.
    lengths: Vec<usize>,
    any: Vec<u32>,
}

impl Routes {
    /// Lays out `routes`.
    pub fn new(routes: &[Route]) -> Self {
        let mut all = Self { list: routes.to_vec(), ..Self::default() };
        for (index, route) in routes.iter().enumerate() {
            let index = index as u32;
            if route.hosts.is_empty() {
                all.any.add(route, index);
            }
            for host in &route.hosts {
                let (map, name) = match host {
                    HostPattern::Exact(name) => (&mut all.exact, name),
                    HostPattern::Suffix(name) => (&mut all.suffix, name),
                };
                map.entry(name.as_bytes().into()).or_default().add(route, index);
            }
        }
        all
    }

    /// Whether any route looks at the host.
    #[inline]
    pub fn look_at_hosts(&self) -> bool {
        !self.exact.is_empty() || !self.suffix.is_empty()
    }

    /// Whether some route is for this host, whatever else it asks for. `host` as it came, with port and in any case.
    pub fn name(&self, host: &[u8]) -> bool {
        let mut room = [0; MAX_HOST];
        let Some(host) = canonical_host(host, &mut room) else { return false };
        let dots = host.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'.');
        self.exact.contains_key(host) || dots.into_iter().any(|(at, _)| self.suffix.contains_key(&host[at..]))
    }

    /// The first route that matches.
    #[inline]
    pub fn find(&self, question: &impl Question) -> Option<&Route> {
        self.at(self.position(question)?)
    }

    /// The route at a [`Routes::position`].
    #[inline]
    pub fn at(&self, position: usize) -> Option<&Route> {
        self.list.get(position)
    }

    /// Position of the first route that matches.
    #[inline]
    pub fn position(&self, question: &impl Question) -> Option<usize> {
        if self.list.is_empty() {
            return None;
        }
        let mut best = u32::MAX;
        let mut room = [0; MAX_HOST];
        if let Some(host) = canonical_host(question.host(), &mut room) {
            if let Some(group) = self.exact.get(host) {
                group.best(&self.list, question, &mut best);
            }
            if !self.suffix.is_empty() {
                for (at, _) in host.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'.') {
                    if let Some(group) = self.suffix.get(&host[at..]) {
                        group.best(&self.list, question, &mut best);
                    }
                }
            }
        }
        self.any.best(&self.list, question, &mut best);
        (best != u32::MAX).then_some(best as usize)
    }
}

impl Group {
    fn add(&mut self, route: &Route, index: u32) {
        // A pattern may be for any path.
        if route.paths.is_empty() || route.paths.iter().any(|path| matches!(path, PathMatch::Regex(_))) {
            self.any.push(index);
            return;
        }
        for path in &route.paths {
            let (PathMatch::Prefix(text) | PathMatch::Exact(text)) = path else { continue };
            self.by_path.entry(text.as_bytes().into()).or_default().push(index);
            if !self.lengths.contains(&text.len()) {
                self.lengths.push(text.len());
            }
        }
    }

    fn best(&self, routes: &[Route], question: &impl Question, best: &mut u32) {
        first(&self.any, routes, question, best);
        let path = question.path();
        for &length in &self.lengths {
            let ends_segment = match path.len().cmp(&length) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Equal => true,
                std::cmp::Ordering::Greater => length == 1 || path[length] == b'/',
            };
            if ends_segment && let Some(list) = self.by_path.get(&path[..length]) {
                first(list, routes, question, best);
            }
        }
    }
}

/// The lists are in the order of the file, so the first that matches is the best of its list.
fn first(list: &[u32], routes: &[Route], question: &impl Question, best: &mut u32) {
    for &index in list {
        if index >= *best {
            return;
        }
        if matches(&routes[index as usize], question) {
            *best = index;
            return;
        }
    }
}

fn matches(route: &Route, question: &impl Question) -> bool {
    // A prefix has been compared already: it is how the route was found.
    (route.paths.iter().all(|path| matches!(path, PathMatch::Prefix(_)))
        || route.paths.iter().any(|path| path.fits(question.path())))
        && (route.methods.is_empty() || route.methods.iter().any(|method| method.as_bytes() == question.method()))
        && route.headers.iter().all(|condition| question.header_holds(condition))
        && route.cookies.iter().all(|condition| question.cookie_holds(condition))
        && route.queries.iter().all(|condition| question.query_holds(condition))
        && (route.clients.is_empty() || {
            let client = question.client();
            route.clients.iter().any(|network| network.contains(&client))
        })
}

/// Lower case, without port and without the dot at the end (RFC 9110, section 4.2.3).
fn canonical_host<'a>(host: &[u8], room: &'a mut [u8; MAX_HOST]) -> Option<&'a [u8]> {
    let name = if host.first() == Some(&b'[') {
        &host[..=memchr::memchr(b']', host)?]
    } else {
        &host[..memchr::memchr(b':', host).unwrap_or(host.len())]
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || name.len() > MAX_HOST {
        return None;
    }
    let room = &mut room[..name.len()];
    room.copy_from_slice(name);
    room.make_ascii_lowercase();
    Some(room)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::model::Reads;
    use crate::config::model::{Destination, Pattern, PoolIndex, Sense, Test};

    struct Asked<'a>(&'a str, &'a str, &'a str, &'a str);

    impl Question for Asked<'_> {
        fn method(&self) -> &[u8] {
            self.0.as_bytes()
        }
        fn host(&self) -> &[u8] {
            self.1.as_bytes()
        }
        fn path(&self) -> &[u8] {
            self.2.as_bytes()
        }
        fn client(&self) -> IpAddr {
            self.3.parse().unwrap()
        }
        fn header_holds(&self, condition: &ValueMatch) -> bool {
            condition.holds((&*condition.name == "x-beta").then_some("1").into_iter())
        }
        fn cookie_holds(&self, condition: &ValueMatch) -> bool {
            condition.holds(std::iter::empty::<&[u8]>())
        }
        fn query_holds(&self, condition: &ValueMatch) -> bool {
            condition.holds_in_query(b"v=2")
        }
    }

    fn route(hosts: &[HostPattern], path: Option<&str>, pool: u32) -> Route {
        Route {
            hosts: hosts.to_vec(),
            paths: path.into_iter().map(|path| PathMatch::Prefix(path.into())).collect(),
            methods: vec![],
            headers: vec![],
            cookies: vec![],
            queries: vec![],
            clients: vec![],
            destination: Destination::Pool(PoolIndex(pool)),
            reads: Reads::Active,
            rules: None,
        }
    }

    fn exact(name: &str) -> HostPattern {
        HostPattern::Exact(name.into())
    }

    fn found(routes: &Routes, host: &str, path: &str) -> Option<u32> {
        routes.find(&Asked("GET", host, path, "10.1.2.3")).and_then(pool)
    }

    fn pool(route: &Route) -> Option<u32> {
        route.destination.pools().next().map(|pool| pool.0)
    }

    #[test]
    fn a_host_matches_in_any_case_with_port_and_with_a_dot_at_its_end() {
        let routes = Routes::new(&[route(&[exact("a.example")], None, 7)]);
        for host in ["a.example", "A.Example", "a.example:8080", "a.example.", "a.example.:80"] {
            assert_eq!(found(&routes, host, "/"), Some(7), "{host}");
        }
        for host in ["b.a.example", "example", "", ":80", "aa.example"] {
            assert_eq!(found(&routes, host, "/"), None, "{host}");
        }
    }

    #[test]
    fn a_wildcard_takes_one_label_or_more_but_not_the_bare_name() {
        let routes = Routes::new(&[route(&[HostPattern::Suffix(".example.com".into())], None, 1)]);
        assert_eq!(found(&routes, "a.example.com", "/"), Some(1));
        assert_eq!(found(&routes, "a.b.example.com", "/"), Some(1));
        assert_eq!(found(&routes, "example.com", "/"), None);
        assert_eq!(found(&routes, "aexample.com", "/"), None);
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let routes = Routes::new(&[route(&[], Some("/v1"), 1), route(&[], Some("/"), 2)]);
        assert_eq!(found(&routes, "x", "/v1"), Some(1));
        assert_eq!(found(&routes, "x", "/v1/secrets"), Some(1));
        assert_eq!(found(&routes, "x", "/v1x"), Some(2));
        assert_eq!(found(&routes, "x", "*"), None);
    }

    #[test]
    fn the_first_route_of_the_file_wins_whatever_is_more_specific() {
        let routes = Routes::new(&[
            route(&[], Some("/api"), 1),
            route(&[exact("a")], None, 2),
            route(&[exact("a")], Some("/api/v2"), 3),
        ]);
        assert_eq!(found(&routes, "a", "/api/v2"), Some(1));
        assert_eq!(found(&routes, "a", "/other"), Some(2));
        assert_eq!(found(&routes, "b", "/other"), None);
    }

    #[test]
    fn method_header_and_client_narrow_a_route() {
        let mut narrow = route(&[], None, 1);
        narrow.methods = vec![Arc::from("GET")];
        let is = |name: &str, value: &str| ValueMatch {
            name: name.into(),
            test: Test::Is(value.into()),
            sense: Sense::Wanted,
        };
        narrow.headers = vec![is("x-beta", "1")];
        narrow.queries = vec![is("v", "2")];
        narrow.cookies = vec![ValueMatch { sense: Sense::Unwanted, ..is("old", "1") }];
        narrow.clients = vec!["10.1.0.0/16".parse().unwrap()];
        let routes = Routes::new(&[narrow]);
        let pool = |asked: Asked| routes.find(&asked).and_then(pool);
        assert_eq!(pool(Asked("GET", "x", "/", "10.1.9.9")), Some(1));
        assert_eq!(pool(Asked("POST", "x", "/", "10.1.9.9")), None);
        assert_eq!(pool(Asked("GET", "x", "/", "10.2.9.9")), None);
    }

    #[test]
    fn a_path_may_be_exact_or_a_pattern_or_one_of_several() {
        let mut exact = route(&[], Some("/a"), 1);
        exact.paths.push(PathMatch::Exact("/b".into()));
        let mut pattern = route(&[], Some("/p"), 2);
        pattern.paths.push(PathMatch::Regex(Pattern(regex::bytes::Regex::new("^/c[0-9]$").unwrap())));
        let routes = Routes::new(&[exact, pattern]);
        for (path, pool) in [("/a", 1), ("/a/x", 1), ("/b", 1), ("/p/x", 2), ("/c7", 2)] {
            assert_eq!(found(&routes, "x", path), Some(pool), "{path}");
        }
        for path in ["/", "/b/x", "/ax", "/c77", "/c", "/px"] {
            assert_eq!(found(&routes, "x", path), None, "{path}");
        }
    }

    #[test]
    fn ten_thousand_routes_are_looked_up_not_walked() {
        let many: Vec<Route> = (0..10_000).map(|n| route(&[exact(&format!("h{n}.example"))], Some("/a"), n)).collect();
        let routes = Routes::new(&many);
        assert_eq!(found(&routes, "h9999.example", "/a/b"), Some(9999));
    }
}
