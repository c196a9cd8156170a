//! The table of the admin port: each path, who may ask there, and what that is. The dispatcher and the list that `GET /`
//! prints both come from it, so that neither can know a path that the other does not.

use std::fmt::Write as _;
use std::sync::LazyLock;

use hyper::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::changes::{self, InForceView};
use super::drills::DrillLine;
use super::events::EventsView;
use super::generations::{HistoryView, PlanView, TextView};
use super::incidents::IncidentsView;
use super::live::News;
use super::openapi::OpenApi;
use super::orders::{self, OverridesView, Verb};
use super::page::Asset;
use super::place::{Place, decoded};
use super::records::ChangesView;
use super::security::SecurityView;
use super::view::{BackendView, Overview, PoolView};
use super::whoami::WhoView;
use super::why::{PoolWhy, ProbesView, Why};

/// A row of the table.
pub(super) struct Route {
    /// How it is asked.
    pub(super) how: How,
    /// `{pool}` stands for any word there, the first one of a row being number 0 in its [`Words`].
    pub(super) path: &'static str,
    /// Which place that is; none where a word is not what it must be.
    place: fn(&Words<'_>) -> Option<Place>,
    /// Who may ask.
    pub(super) right: Right,
    /// What is sent there.
    pub(super) body: Body,
    /// What is there, in a line.
    pub(super) about: &'static str,
    /// What comes back where all is well.
    pub(super) says: Says,
    /// What may be asked for behind a `?`, each key with what it means.
    pub(super) query: &'static [(&'static str, &'static str)],
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
    /// Nothing.
    None,
    /// Who wants it, and why; or nothing.
    Who,
    /// Whose order it is, and why.
    Order,
    /// The same for a drill.
    Drill,
    /// A whole configuration.
    Configuration,
}

impl Body {
    fn is_order(self) -> bool {
        matches!(self, Self::Order | Self::Drill)
    }
}

/// The form of what is said, made from the type that says it.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What comes back where all is well.
pub(super) enum Says {
    /// Text, or files, of these types.
    Text(&'static [&'static str]),
    /// JSON.
    Json(Shape),
    /// Of this type, piece by piece, each of one of these kinds.
    Pieces(&'static str, &'static [(&'static str, Shape)]),
}

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// All of them. Of two rows that fit a path, the first one counts.
pub(super) const ROUTES: &[Route] = &[
    get("/", |_| Some(Place::Index), "this list; a browser gets a page").text(&["text/plain", "text/html"]),
    get("/page/{file}", |it| Asset::of(&it.name(0)).map(Place::Page), "a file of the page")
        .open()
        .text(&["text/css", "text/javascript", "image/svg+xml"]),
    get("/metrics", |_| Some(Place::Metrics), "for Prometheus")
        .text(&["text/plain", "application/openmetrics-text"])
        .query(&[
            ("format", "prometheus, openmetrics or haproxy"),
            ("backends", "how much is said of each backend: all, brief or none"),
        ]),
    get("/livez", |_| Some(Place::Live), "200 while the program runs").open().text(&["text/plain"]),
    get(
        "/readyz",
        |_| Some(Place::Ready),
        "200 when it is ready for work, else 503; ?pool=NAME asks for a backend, too",
    )
    .open()
    .text(&["text/plain"])
    .query(&[("pool", "a pool that must have a backend that is up")]),
    get("/healthz", |_| Some(Place::Ready), "the same as /readyz")
        .open()
        .text(&["text/plain"])
        .query(&[("pool", "a pool that must have a backend that is up")]),
    get("/api/v1/openapi.json", |_| Some(Place::OpenApi), "all of this as OpenAPI 3.1").says::<OpenApi>(),
    get("/api/v1/whoami", |_| Some(Place::WhoAmI), "whom this port takes you for, and your role").says::<WhoView>(),
    get("/api/v1/pools", |_| Some(Place::Pools), "pools, backends and checks").says::<Overview>(),
    get("/api/v1/pools/{pool}", |it| Some(Place::Pool(it.name(0))), "one pool").says::<PoolView>(),
    get("/api/v1/pools/{pool}/why", |it| Some(Place::PoolWhy(it.name(0))), "why its backends are what they are")
        .says::<PoolWhy>(),
    get("/api/v1/pools/{pool}/backends/{backend}", |it| Some(Place::Backend(it.name(0), it.name(1))), "one backend")
        .says::<BackendView>(),
    get(
        "/api/v1/pools/{pool}/backends/{backend}/why",
        |it| Some(Place::Why(it.name(0), it.name(1))),
        "why it is what it is, with what the last probes saw",
    )
    .says::<Why>(),
    get("/api/v1/overrides", |_| Some(Place::Overrides), "what operators have ordered").says::<OverridesView>(),
    get(
        "/api/v1/events",
        |_| Some(Place::Events),
        "what happened lately; ?after=NUMBER&run=RUN&wait=SECONDS follows, ?pool=NAME chooses",
    )
    .says::<EventsView>()
    .query(&[
        ("after", "the number of the last event that was seen"),
        ("run", "the run that this number is of, as the answer with it said"),
        ("wait", "seconds to wait for an event where there is none, 30 at most"),
        ("pool", "events of this pool, and those of no pool"),
    ]),
    get("/api/v1/incidents", |_| Some(Place::Incidents), "failures of backends, in figures; ?pool=NAME chooses")
        .says::<IncidentsView>()
        .query(&[("pool", "those of this pool")]),
    get("/api/v1/changes", |_| Some(Place::Changes), "what reloads and upgrades meant for connections")
        .says::<ChangesView>(),
    get("/api/v1/security", |_| Some(Place::Security), "how well this process is protected, with remedies")
        .says::<SecurityView>(),
    get("/api/v1/live", |_| Some(Place::Stream), "pools and events as they change (server-sent events)")
        .pieces("text/event-stream", &[("events", shape::<News>), ("overview", shape::<Overview>)]),
    get(
        "/api/v1/configuration",
        |_| Some(Place::Configuration),
        "what is in force, layer by layer; its ETag is for If-Match",
    )
    .says::<InForceView>(),
    get("/api/v1/generations", |_| Some(Place::Generations), "configurations that took effect").says::<HistoryView>(),
    get("/api/v1/generations/{number}", |it| it.number(0).map(Place::Generation), "one of them, with its text")
        .says::<TextView>(),
    get(
        "/api/v1/generations/{from}/diff/{to}",
        |it| Some(Place::Difference(it.number(0)?, it.number(1)?)),
        "how the second differs from the first",
    )
    .says::<PlanView>(),
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
    .body(Body::Configuration)
    .query(&[
        ("confirm", "how long it waits for its confirmation before it is taken back, 1s to 24h"),
        ("guard", "what must hold meanwhile"),
        ("owner", "who wants it"),
        ("reason", "why"),
    ]),
    post("/api/v1/confirm", |_| Some(Place::Confirm), "the one that waits for its confirmation stays"),
    post("/api/v1/take-back", |_| Some(Place::TakeBack), "what was before it is in force again"),
    post("/api/v1/save", |_| Some(Place::Save), "what is in force is written into the file that it was started with"),
    post(
        "/api/v1/plan",
        |_| Some(Place::Plan),
        "what a configuration would change: TOML, or JSON {\"files\": [{\"name\", \"path\", \"text\"}]}",
    )
    .body(Body::Configuration)
    .says::<PlanView>(),
    post(
        "/api/v1/generations/{number}/rollback",
        |it| it.number(0).map(Place::Rollback),
        "back to that one; {\"owner\": \"me\"}",
    ),
    post("/api/v1/pools/{pool}/probe", |it| Some(Place::Probe(it.name(0), None)), "ask all checks of its backends now")
        .body(Body::None)
        .says::<ProbesView>(),
    post(
        "/api/v1/pools/{pool}/backends/{backend}/probe",
        |it| Some(Place::Probe(it.name(0), Some(it.name(1)))),
        "ask its checks now",
    )
    .body(Body::None)
    .says::<ProbesView>(),
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
    )
    .body(Body::Drill)
    .pieces("application/x-ndjson", &[("line", shape::<DrillLine>)]),
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

    const fn says<T: JsonSchema>(self) -> Self {
        Self { says: Says::Json(shape::<T>), ..self }
    }

    const fn text(self, types: &'static [&'static str]) -> Self {
        Self { says: Says::Text(types), ..self }
    }

    const fn pieces(self, kind: &'static str, pieces: &'static [(&'static str, Shape)]) -> Self {
        Self { says: Says::Pieces(kind, pieces), ..self }
    }

    const fn query(self, query: &'static [(&'static str, &'static str)]) -> Self {
        Self { query, ..self }
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
    let says = Says::Text(&["text/plain"]);
    Route { how: How::Get, path, place, right: Right::Read, body: Body::None, about, says, query: &[] }
}

const fn post(path: &'static str, place: fn(&Words<'_>) -> Option<Place>, about: &'static str) -> Route {
    let says = Says::Json(shape::<changes::DoneView>);
    Route { how: How::Post, path, place, right: Right::Operate, body: Body::Who, about, says, query: &[] }
}

const fn order(path: &'static str, place: fn(&Words<'_>) -> Option<Place>, about: &'static str) -> Route {
    post(path, place, about).body(Body::Order).says::<orders::DoneView>()
}

/// What `GET /` prints.
pub(super) static LIST: LazyLock<String> = LazyLock::new(|| {
    let mut text = "evenkeel admin port; a browser gets a page here\n\n".to_owned();
    #[expect(clippy::type_complexity, reason = "a table that is read on the spot")]
    let chapters: [(&str, fn(&Route) -> bool); 3] = [
        ("", |route| route.how == How::Get && !route.path.starts_with("/page/")),
        ("\nThese take POST and the header X-Evenkeel-Request: 1\n", |route| {
            route.how == How::Post && !route.body.is_order()
        }),
        (ORDERS, |route| route.body.is_order()),
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
