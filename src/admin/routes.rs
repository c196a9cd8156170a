//! The table of the admin port: each path, who may ask there, and what that is. The dispatcher and the list that `GET /`
//! prints both come from it, so that neither can know a path that the other does not.

use std::fmt::Write as _;
use std::sync::LazyLock;

use hyper::Method;

use super::orders::Verb;
use super::page::Asset;
use super::place::{Place, decoded};

/// A row of the table.
pub(super) struct Route {
    /// How it is asked.
    pub(super) how: How,
    /// `{pool}` stands for any word there, the first one of a row being number 0 in its [`Words`].
    pub(super) path: &'static str,
    /// Which place that is; none where a word is not what it must be.
    place: fn(&Words<'_>) -> Option<Place>,
    /// Who may ask.
    #[cfg_attr(not(test), expect(dead_code, reason = "who may ask is told apart by method until there are roles"))]
    pub(super) right: Right,
    /// What is sent there.
    pub(super) body: Body,
    /// What is there, in a line.
    pub(super) about: &'static str,
}

/// How a path is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// By GET or HEAD: it shows something.
    Get,
    /// By POST: it does something.
    Post,
}

/// What one needs to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Nothing.
    Open,
    /// To be allowed to read.
    Read,
    /// To be allowed to change something.
    Operate,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing, or a few words.
    None,
    /// Whose order it is, and why.
    Order,
    /// A whole configuration.
    Configuration,
}

/// All of them. Of two rows that fit a path, the first one counts.
pub(super) const ROUTES: &[Route] = &[
    get("/", |_| Some(Place::Index), "this list; a browser gets a page"),
    get("/page/{file}", |it| Asset::of(&it.name(0)).map(Place::Page), "a file of the page").open(),
    get("/metrics", |_| Some(Place::Metrics), "for Prometheus"),
    get("/livez", |_| Some(Place::Live), "200 while the program runs").open(),
    get(
        "/readyz",
        |_| Some(Place::Ready),
        "200 when it is ready for work, else 503; ?pool=NAME asks for a backend, too",
    )
    .open(),
    get("/healthz", |_| Some(Place::Ready), "the same as /readyz").open(),
    get("/api/v1/pools", |_| Some(Place::Pools), "pools, backends and checks"),
    get("/api/v1/pools/{pool}", |it| Some(Place::Pool(it.name(0))), "one pool"),
    get("/api/v1/pools/{pool}/why", |it| Some(Place::PoolWhy(it.name(0))), "why its backends are what they are"),
    get("/api/v1/pools/{pool}/backends/{backend}", |it| Some(Place::Backend(it.name(0), it.name(1))), "one backend"),
    get(
        "/api/v1/pools/{pool}/backends/{backend}/why",
        |it| Some(Place::Why(it.name(0), it.name(1))),
        "why it is what it is, with what the last probes saw",
    ),
    get("/api/v1/overrides", |_| Some(Place::Overrides), "what operators have ordered"),
    get(
        "/api/v1/events",
        |_| Some(Place::Events),
        "what happened lately; ?after=NUMBER&run=RUN&wait=SECONDS follows, ?pool=NAME chooses",
    ),
    get("/api/v1/incidents", |_| Some(Place::Incidents), "failures of backends, in figures; ?pool=NAME chooses"),
    get("/api/v1/changes", |_| Some(Place::Changes), "what reloads and upgrades meant for connections"),
    get("/api/v1/security", |_| Some(Place::Security), "how well this process is protected, with remedies"),
    get("/api/v1/live", |_| Some(Place::Stream), "pools and events as they change (server-sent events)"),
    get(
        "/api/v1/configuration",
        |_| Some(Place::Configuration),
        "what is in force, layer by layer; its ETag is for If-Match",
    ),
    get("/api/v1/generations", |_| Some(Place::Generations), "configurations that took effect"),
    get("/api/v1/generations/{number}", |it| it.number(0).map(Place::Generation), "one of them, with its text"),
    get(
        "/api/v1/generations/{from}/diff/{to}",
        |it| Some(Place::Difference(it.number(0)?, it.number(1)?)),
        "how the second differs from the first",
    ),
    post(
        "/api/v1/reload",
        |_| Some(Place::Reload),
        "read the configuration again; {\"owner\": \"me\", \"reason\": \"new disk\"}",
    ),
    post(
        "/api/v1/apply",
        |_| Some(Place::Apply),
        "make this one take effect; ?confirm=60s&guard=errors<1%25,p99<2x&owner=me&reason=new+pool",
    )
    .body(Body::Configuration),
    post("/api/v1/confirm", |_| Some(Place::Confirm), "the one that waits for its confirmation stays"),
    post("/api/v1/take-back", |_| Some(Place::TakeBack), "what was before it is in force again"),
    post("/api/v1/save", |_| Some(Place::Save), "what is in force is written into the file that it was started with"),
    post(
        "/api/v1/plan",
        |_| Some(Place::Plan),
        "what a configuration would change: TOML, or JSON {\"files\": [{\"name\", \"path\", \"text\"}]}",
    )
    .body(Body::Configuration),
    post(
        "/api/v1/generations/{number}/rollback",
        |it| it.number(0).map(Place::Rollback),
        "back to that one; {\"owner\": \"me\"}",
    ),
    post("/api/v1/pools/{pool}/probe", |it| Some(Place::Probe(it.name(0), None)), "ask all checks of its backends now"),
    post(
        "/api/v1/pools/{pool}/backends/{backend}/probe",
        |it| Some(Place::Probe(it.name(0), Some(it.name(1)))),
        "ask its checks now",
    ),
    order(
        "/api/v1/pools/{pool}/backends/{backend}/drain",
        |it| it.order(Verb::Drain),
        "no new work; {\"deadline_seconds\": 300}: then the rest is cut",
    ),
    order(
        "/api/v1/pools/{pool}/backends/{backend}/maintenance",
        |it| it.order(Verb::Maintenance),
        "no work, whatever the checks say",
    ),
    order(
        "/api/v1/pools/{pool}/backends/{backend}/ready",
        |it| it.order(Verb::Ready),
        "take back drain, maintenance and demote",
    ),
    order("/api/v1/pools/{pool}/backends/{backend}/promote", |it| it.order(Verb::Promote), "make it the active one"),
    order(
        "/api/v1/pools/{pool}/backends/{backend}/demote",
        |it| it.order(Verb::Demote),
        "make another one the active one",
    ),
    order(
        "/api/v1/pools/{pool}/backends/{backend}/weight",
        |it| it.order(Verb::Weight),
        "{\"percent\": 50} of its weight, or {\"reset\": true}",
    ),
    order(
        "/api/v1/pools/{pool}/backends/{backend}/drill",
        |it| Some(Place::Drill(it.name(0), it.name(1))),
        "a fault in its way: {\"mode\": \"refuse\", \"for_seconds\": 30, \"abort_if\": \"errors > 0.1%\"}",
    ),
    order(
        "/api/v1/pools/{pool}/promote",
        |it| Some(Place::Order(Verb::Promote, it.name(0), None)),
        "{\"reset\": true} takes the promotion back",
    ),
];

/// What the words of a path are that its row leaves open.
pub(super) struct Words<'p>(Vec<&'p str>);

impl Words<'_> {
    /// A word, with its escapes resolved.
    fn name(&self, at: usize) -> String {
        decoded(self.0.get(at).copied().unwrap_or_default())
    }

    fn number(&self, at: usize) -> Option<u64> {
        self.0.get(at)?.parse().ok()
    }

    /// An order for the backend that the first two words name.
    #[expect(clippy::unnecessary_wraps, reason = "what a row of the table gives")]
    fn order(&self, verb: Verb) -> Option<Place> {
        Some(Place::Order(verb, self.name(0), Some(self.name(1))))
    }
}

/// Why a request is at no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// There is no such path.
    Path,
    /// The path takes these methods only.
    Method(&'static str),
}

/// The row and the place of a request.
pub(super) fn find(method: &Method, path: &str) -> Result<(&'static Route, Place), Missed> {
    let fits = ROUTES.iter().filter_map(|route| {
        let words = route.words(path)?;
        (route.place)(&words).map(|place| (route, place))
    });
    let mut missed = Missed::Path;
    for (route, place) in fits {
        if route.how.takes(method) {
            return Ok((route, place));
        }
        missed = match (missed, route.how) {
            (Missed::Path, how) => Missed::Method(how.methods()),
            (Missed::Method(known), how) if known == how.methods() => Missed::Method(known),
            (Missed::Method(_), _) => Missed::Method("GET, HEAD, POST"),
        };
    }
    Err(missed)
}

impl Route {
    const fn open(self) -> Self {
        Self { right: Right::Open, ..self }
    }

    const fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// The open words of a path that has the form of this row.
    fn words<'p>(&self, path: &'p str) -> Option<Words<'p>> {
        let mut words = Vec::new();
        let mut form = self.path.split('/');
        for word in path.split('/') {
            match form.next()? {
                open if open.starts_with('{') && !word.is_empty() => words.push(word),
                fixed if fixed == word => {}
                _ => return None,
            }
        }
        form.next().is_none().then_some(Words(words))
    }

    /// As the list shows it: `/api/v1/pools/POOL`.
    fn listed(&self) -> String {
        let words = self.path.split('/').map(|word| match word.strip_prefix('{') {
            Some(open) => open.trim_end_matches('}').to_uppercase(),
            None => word.to_owned(),
        });
        words.collect::<Vec<_>>().join("/")
    }
}

impl How {
    fn takes(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
        }
    }

    /// As `Allow` says it.
    fn methods(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
        }
    }
}

const fn get(path: &'static str, place: fn(&Words<'_>) -> Option<Place>, about: &'static str) -> Route {
    Route { how: How::Get, path, place, right: Right::Read, body: Body::None, about }
}

const fn post(path: &'static str, place: fn(&Words<'_>) -> Option<Place>, about: &'static str) -> Route {
    Route { how: How::Post, path, place, right: Right::Operate, body: Body::None, about }
}

const fn order(path: &'static str, place: fn(&Words<'_>) -> Option<Place>, about: &'static str) -> Route {
    post(path, place, about).body(Body::Order)
}

/// What `GET /` prints.
pub(super) static LIST: LazyLock<String> = LazyLock::new(|| {
    let mut text = "evenkeel admin port; a browser gets a page here\n\n".to_owned();
    #[expect(clippy::type_complexity, reason = "a table that is read on the spot")]
    let chapters: [(&str, fn(&Route) -> bool); 3] = [
        ("", |route| route.how == How::Get && !route.path.starts_with("/page/")),
        ("\nThese take POST and the header X-Evenkeel-Request: 1\n", |route| {
            route.how == How::Post && route.body != Body::Order
        }),
        (ORDERS, |route| route.body == Body::Order),
    ];
    for (title, belongs) in chapters {
        text.push_str(title);
        for route in ROUTES.iter().filter(|route| belongs(route)) {
            let method = if route.how == How::Get { "GET" } else { "POST" };
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{method:4} {:<52} {}", route.listed(), route.about);
        }
    }
    text
});

/// What stands above the orders in the list.
const ORDERS: &str = "and these a JSON body such as \
    {\"owner\": \"me\", \"reason\": \"new disk\", \"for_seconds\": 7200, \"force\": false}\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_own_path_and_method_and_listed() {
        for route in ROUTES {
            let number = |word: &str| matches!(word, "NUMBER" | "FROM" | "TO");
            let words = route.listed();
            let words = words.split('/').map(|word| match word {
                "FILE" => "page.js",
                word if number(word) => "1",
                word => word,
            });
            let path = words.collect::<Vec<_>>().join("/");
            let method = if route.how == How::Get { Method::GET } else { Method::POST };
            let (found, _) = find(&method, &path).unwrap_or_else(|missed| panic!("{path}: {missed:?}"));
            assert_eq!((found.path, found.how), (route.path, route.how), "hidden by another row");
            assert_eq!(find(&Method::DELETE, &path).err(), Some(Missed::Method(route.how.methods())), "{path}");
            assert!(route.path.starts_with("/page/") || LIST.contains(&format!("{} ", route.listed())), "{path}");
        }
        assert!(LIST.contains("GET  /metrics "), "{}", *LIST);
    }

    #[test]
    fn what_is_not_in_the_table_is_nowhere() {
        for path in [
            "",
            "/api/v2/pools",
            "/metrics/",
            "/api/v1/pools/",
            "/api/v1/pools/p/backends",
            "/api/v1/pools/p/backends/b/explode",
            "/api/v1/generations/x",
            "/api/v1/generations/1/diff/-2",
            "/page/../Cargo.toml",
            "/page/page.rs",
        ] {
            assert_eq!(find(&Method::GET, path).err(), Some(Missed::Path), "{path}");
        }
    }

    #[test]
    fn names_in_paths_may_hold_anything() {
        let (_, place) = find(&Method::GET, "/api/v1/pools/p/backends/%5B%3A%3A1%5D:80%2Fx/why").expect("it is one");
        assert_eq!(place, Place::Why("p".into(), "[::1]:80/x".into()));
    }

    #[test]
    fn whatever_changes_something_is_for_operators() {
        for route in ROUTES {
            assert_eq!(route.how == How::Post, route.right == Right::Operate, "{}", route.path);
        }
    }
}
