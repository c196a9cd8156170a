//! The paths of the admin port. [`PATHS`] is what `GET /` prints; a test holds that each of them is one.

use hyper::Method;

use super::orders::Verb;
use super::page::Asset;

pub(super) const PATHS: &str = "\
evenkeel admin port; a browser gets a page here

GET  /metrics             for Prometheus
GET  /livez               200 while the program runs
GET  /readyz              200 when it is ready for work, else 503; ?pool=NAME also asks for a backend that is up
GET  /healthz             the same as /readyz
GET  /api/v1/pools        pools, backends and checks
GET  /api/v1/pools/POOL   one pool
GET  /api/v1/pools/POOL/why                           why its backends are what they are
GET  /api/v1/pools/POOL/backends/BACKEND              one backend
GET  /api/v1/pools/POOL/backends/BACKEND/why          why it is what it is, with what the last probes saw
GET  /api/v1/overrides    what operators have ordered
GET  /api/v1/events       what happened lately; ?after=NUMBER&run=RUN&wait=SECONDS follows, ?pool=NAME chooses
GET  /api/v1/generations  configurations that took effect
GET  /api/v1/generations/NUMBER                       one of them, with its text
GET  /api/v1/generations/NUMBER/diff/NUMBER           how the second differs from the first
GET  /api/v1/live         pools and events as they change (server-sent events)

These take POST and the header X-Evenkeel-Request: 1
POST /api/v1/reload       read the configuration again
POST /api/v1/plan         what a configuration would change: TOML, or JSON {\"files\": [{\"name\", \"path\", \"text\"}]}
POST /api/v1/generations/NUMBER/rollback              back to that one; {\"owner\": \"me\"}
POST /api/v1/pools/POOL/probe                         ask all checks of its backends now
POST /api/v1/pools/POOL/backends/BACKEND/probe        ask its checks now
and these a JSON body such as {\"owner\": \"me\", \"reason\": \"new disk\", \"for_seconds\": 7200, \"force\": false}
POST /api/v1/pools/POOL/backends/BACKEND/drain        no new work; {\"deadline_seconds\": 300}: then the rest is cut
POST /api/v1/pools/POOL/backends/BACKEND/maintenance  no work, whatever the checks say
POST /api/v1/pools/POOL/backends/BACKEND/ready        take back drain, maintenance and demote
POST /api/v1/pools/POOL/backends/BACKEND/promote      make it the active one
POST /api/v1/pools/POOL/backends/BACKEND/demote       make another one the active one
POST /api/v1/pools/POOL/backends/BACKEND/weight       {\"percent\": 50} of its weight, or {\"reset\": true}
POST /api/v1/pools/POOL/promote                       {\"reset\": true} takes the promotion back
";

/// A path of the admin port.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Index,
    Page(Asset),
    Stream,
    Live,
    Ready,
    Metrics,
    Pools,
    Pool(String),
    PoolWhy(String),
    Backend(String, String),
    Why(String, String),
    Overrides,
    Events,
    Generations,
    Generation(u64),
    Difference(u64, u64),
    Rollback(u64),
    Plan,
    Reload,
    Probe(String, Option<String>),
    Order(Verb, String, Option<String>),
}

impl Place {
    /// The place of a path.
    pub(super) fn of(path: &str) -> Option<Self> {
        if let Some(name) = path.strip_prefix("/page/") {
            return Asset::of(name).map(Self::Page);
        }
        Some(match path {
            "/" => Self::Index,
            "/livez" => Self::Live,
            "/readyz" | "/healthz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/api/v1/pools" => Self::Pools,
            "/api/v1/overrides" => Self::Overrides,
            "/api/v1/events" => Self::Events,
            "/api/v1/live" => Self::Stream,
            "/api/v1/reload" => Self::Reload,
            "/api/v1/plan" => Self::Plan,
            "/api/v1/generations" => Self::Generations,
            _ if path.starts_with("/api/v1/generations/") => Self::below_generations(path)?,
            _ => return Self::below_pools(path.strip_prefix("/api/v1/pools/")?),
        })
    }

    fn below_generations(path: &str) -> Option<Self> {
        let number = |text: &str| text.parse().ok();
        let words: Vec<&str> = path.strip_prefix("/api/v1/generations/")?.split('/').collect();
        Some(match words.as_slice() {
            [one] => Self::Generation(number(one)?),
            [one, "rollback"] => Self::Rollback(number(one)?),
            [one, "diff", other] => Self::Difference(number(one)?, number(other)?),
            _ => return None,
        })
    }

    fn below_pools(rest: &str) -> Option<Self> {
        let parts: Vec<String> = rest.split('/').map(decoded).collect();
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        let name = |at: usize| parts[at].clone();
        Some(match words.as_slice() {
            [_] => Self::Pool(name(0)),
            [_, "why"] => Self::PoolWhy(name(0)),
            [_, "probe"] => Self::Probe(name(0), None),
            [_, "promote"] => Self::Order(Verb::Promote, name(0), None),
            [_, "backends", _] => Self::Backend(name(0), name(2)),
            [_, "backends", _, "why"] => Self::Why(name(0), name(2)),
            [_, "backends", _, "probe"] => Self::Probe(name(0), Some(name(2))),
            [_, "backends", _, verb] => Self::Order(Verb::of(verb)?, name(0), Some(name(2))),
            _ => return None,
        })
    }

    /// Whether asking there changes something.
    pub(super) fn acts(&self) -> bool {
        matches!(self, Self::Reload | Self::Plan | Self::Rollback(_) | Self::Probe(..) | Self::Order(..))
    }

    /// Whether it takes this method.
    pub(super) fn allows(&self, method: &Method) -> bool {
        if self.acts() { method == Method::POST } else { method == Method::GET || method == Method::HEAD }
    }
}

/// `%41` as `A`; what is no escape stays as it is, and what is no UTF-8 matches no name.
pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let escape = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| bytes[at] == b'%');
        out.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_path_is_a_place() {
        let lines = PATHS.lines().filter(|line| line.starts_with("GET ") || line.starts_with("POST "));
        let mut count = 0;
        for line in lines {
            let mut words = line.split_whitespace();
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let path = &path.replace("NUMBER", "1");
            let place = Place::of(path).unwrap_or_else(|| panic!("{path}"));
            assert!(place.allows(&Method::from_bytes(method.as_bytes()).unwrap()), "{method} {path}");
            count += 1;
        }
        assert!(count > 20, "{count}");
        for path in ["/api/v2/pools", "/metrics/", "/api/v1/pools/p/backends/b/explode", "/api/v1/pools/p/backends"] {
            assert_eq!(Place::of(path), None, "{path}");
        }
    }

    #[test]
    fn names_in_paths_may_hold_anything() {
        let place = Place::of("/api/v1/pools/p/backends/%5B%3A%3A1%5D:80%2Fx/why");
        assert_eq!(place, Some(Place::Why("p".into(), "[::1]:80/x".into())));
    }

    #[test]
    fn escapes_in_names_are_read() {
        for (written, read) in
            [("web", "web"), ("us%2Deast", "us-east"), ("100%", "100%"), ("%zz", "%zz"), ("%C3%A9", "é"), ("é%", "é%")]
        {
            assert_eq!(decoded(written), read);
        }
    }
}
