//! ACLs and conditions: what `if` and `unless` ask, as things that a route can ask. Several lines of one name, and
//! several patterns of one line, are "or"; words of a condition side by side are "and".

use super::super::draft::{Conditions, Path};
use super::super::quote::quoted;
use super::Files;
use super::words::Line;

/// What one test comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    Always,
    Never,
    /// One of these must hold. `against` says the opposite where a route can.
    Asks {
        any: Vec<Conditions>,
        against: Option<Conditions>,
    },
    /// It depends on whether the client speaks TLS with us.
    Tls,
    /// Why no route can ask that.
    Unsayable(String),
}

/// A test, or its opposite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) tests: Vec<Test>,
    pub(super) negated: bool,
}

/// Alternatives, each of tests that must all hold. None: always.
pub(super) type Condition = Vec<Vec<Literal>>;

/// The ACLs of a section by their names.
pub(super) struct Acls<'a> {
    named: Vec<(String, Test)>,
    files: Files<'a>,
}

impl<'a> Acls<'a> {
    pub(super) fn read(lines: &[Line], files: Files<'a>) -> Self {
        let acls = lines.iter().filter(|line| line.word(0) == "acl" && line.words.len() >= 3);
        let named = acls.map(|line| (line.word(1).to_owned(), test(&with_patterns(line.from(2), files)))).collect();
        Self { named, files }
    }

    fn named(&self, name: &str) -> Vec<Test> {
        let own: Vec<Test> =
            self.named.iter().filter(|(known, _)| known == name).map(|(_, test)| test.clone()).collect();
        if !own.is_empty() {
            return own;
        }
        vec![match name {
            "TRUE" | "HTTP" => Test::Always,
            "FALSE" => Test::Never,
            "METH_GET" => methods(&["GET".to_owned(), "HEAD".to_owned()]),
            "METH_CONNECT" | "METH_DELETE" | "METH_HEAD" | "METH_OPTIONS" | "METH_POST" | "METH_PUT" | "METH_TRACE" => {
                methods(&[name.trim_start_matches("METH_").to_owned()])
            }
            "LOCALHOST" => clients(&["127.0.0.0/8".to_owned(), "::1".to_owned()]),
            _ => Test::Unsayable(format!("there is no ACL `{name}` here")),
        }]
    }

    /// The words behind `if` (or `unless`, which turns a single alternative around).
    pub(super) fn condition(&self, words: &[String]) -> Result<Condition, String> {
        let Some(first) = words.first() else { return Ok(vec![Vec::new()]) };
        let mut alternatives = vec![Vec::new()];
        let mut rest = words.get(1..).unwrap_or_default().iter();
        while let Some(word) = rest.next() {
            let (negated, word) = match word.strip_prefix('!') {
                Some("") => (true, rest.next().map_or("", String::as_str)),
                Some(name) => (true, name),
                None => (false, word.as_str()),
            };
            match word {
                "or" | "||" | "OR" => {
                    alternatives.push(Vec::new());
                    continue;
                }
                "and" | "AND" => continue,
                _ => {}
            }
            let tests = if word == "{" {
                let inner: Vec<String> = rest.by_ref().take_while(|word| *word != "}").cloned().collect();
                vec![test(&with_patterns(&inner, self.files))]
            } else {
                self.named(word)
            };
            if let Some(Test::Unsayable(why)) = tests.iter().find(|test| matches!(test, Test::Unsayable(_))) {
                return Err(why.clone());
            }
            if let Some(last) = alternatives.last_mut() {
                last.push(Literal { tests, negated });
            }
        }
        if first == "unless" { unless(alternatives) } else { Ok(alternatives) }
    }
}

/// Not (a and b) is not a, or not b; not (a or b) is both turned around.
fn unless(alternatives: Condition) -> Result<Condition, String> {
    let turned = |literal: Literal| Literal { negated: !literal.negated, ..literal };
    if alternatives.iter().all(|literals| literals.len() == 1) {
        return Ok(vec![alternatives.into_iter().flatten().map(turned).collect()]);
    }
    let mut alternatives = alternatives.into_iter();
    match (alternatives.next(), alternatives.next()) {
        (Some(only), None) => Ok(only.into_iter().map(|literal| vec![turned(literal)]).collect()),
        _ => Err("`unless` over both \"and\" and \"or\" is more than routes can say".into()),
    }
}

fn methods(methods: &[String]) -> Test {
    Test::Asks { any: vec![Conditions { method: Some(methods.to_vec()), ..Conditions::default() }], against: None }
}

fn clients(networks: &[String]) -> Test {
    Test::Asks { any: vec![Conditions { client: Some(networks.to_vec()), ..Conditions::default() }], against: None }
}

fn hosts(hosts: Vec<String>) -> Test {
    let hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
    Test::Asks { any: vec![Conditions { host: Some(hosts), ..Conditions::default() }], against: None }
}

fn paths(paths: Vec<Path>) -> Test {
    let any = |path: &Path| matches!(path, Path::Prefix(prefix) if prefix == "/" || prefix.is_empty());
    if paths.iter().any(any) {
        return Test::Always;
    }
    Test::Asks { any: vec![Conditions { path: Some(paths), ..Conditions::default() }], against: None }
}

/// How patterns are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Is,
    Begins,
    Ends,
    Contains,
    Dir,
    Domain,
    Matches,
    Found,
}

fn how(word: &str) -> Option<How> {
    Some(match word {
        "str" | "" => How::Is,
        "beg" => How::Begins,
        "end" => How::Ends,
        "sub" => How::Contains,
        "dir" => How::Dir,
        "dom" => How::Domain,
        "reg" => How::Matches,
        "found" => How::Found,
        _ => return None,
    })
}

/// The same words with the patterns of files in the place of `-f FILE`, where such a file can be read.
fn with_patterns(words: &[String], files: Files<'_>) -> Vec<String> {
    let (mut said, mut patterns) = (Vec::new(), Vec::new());
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match (word.as_str(), rest.as_slice().first().and_then(|file| files(file))) {
            ("-f", Some(text)) => {
                rest.next();
                patterns.extend(meant(&text).map(str::to_owned));
            }
            _ => said.push(word.clone()),
        }
    }
    said.extend(patterns);
    said
}

/// Lines of a file of patterns that say something.
pub(super) fn meant(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).take(PATTERNS_MAX)
}

/// Patterns of a file that are read: more make no routes that anybody reads.
const PATTERNS_MAX: usize = 1000;

/// Whether a fetch is like a pattern, as `-m HOW` compares.
pub(super) fn alike(fetch: &str, how: &str, pattern: &str) -> Test {
    test(&[fetch, "-m", how, "--", pattern].map(str::to_owned))
}

/// A fetch, its flags and its patterns.
fn test(words: &[String]) -> Test {
    let Some(fetch) = words.first() else { return Test::Unsayable("a condition without a test".into()) };
    let (mut matched, mut any_case, mut patterns) = (None, false, Vec::new());
    let mut rest = words.get(1..).unwrap_or_default().iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-i" => any_case = true,
            "-m" => matched = rest.next().map(String::as_str),
            "-n" | "-u" => {}
            "-f" | "-M" => return Test::Unsayable("patterns in a file: write them into the route".into()),
            "--" => patterns.extend(rest.by_ref().cloned()),
            _ => patterns.push(word.clone()),
        }
    }
    let (fetch, lower) = (fetch.trim_end_matches(",lower"), fetch.ends_with(",lower"));
    let (name, argument) = fetch.split_once('(').map_or((fetch, ""), |(name, rest)| (name, rest.trim_end_matches(')')));
    if argument.contains(')') || name.contains(',') {
        return Test::Unsayable(format!("`{fetch}` is computed by converters"));
    }
    let case = if any_case || lower { Case::Any } else { Case::Same };
    named(name, argument, matched, case, patterns)
        .unwrap_or_else(|| Test::Unsayable(format!("routes do not look at `{fetch}`")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Any,
    Same,
}

fn named(name: &str, argument: &str, matched: Option<&str>, case: Case, patterns: Vec<String>) -> Option<Test> {
    let (base, suffix) = match name.rsplit_once('_') {
        Some((base, suffix)) if how(suffix).is_some_and(|how| how != How::Is) => (base, suffix),
        _ => (name, ""),
    };
    let compared = how(matched.unwrap_or(suffix));
    Some(match base {
        "always_true" => Test::Always,
        "always_false" => Test::Never,
        "ssl_fc" => Test::Tls,
        "req_ssl_hello_type" | "req.ssl_hello_type" | "rep_ssl_hello_type" | "req_proto_http" | "req.proto_http" => {
            Test::Always
        }
        "src" => clients(&patterns),
        "method" => methods(&patterns),
        "ssl_fc_sni" | "req_ssl_sni" | "req.ssl_sni" => host(compared?, case, patterns)?,
        "hdr" | "req.hdr" | "req.fhdr" | "hdr_val" if argument.eq_ignore_ascii_case("host") => {
            host(compared?, Case::Any, patterns)?
        }
        "hdr" | "req.hdr" | "req.fhdr" => field("header", argument, compared?, case, &patterns)?,
        "cook" | "req.cook" => field("cookie", argument, compared?, case, &patterns)?,
        "urlp" | "url_param" => field("query", argument, compared?, case, &patterns)?,
        "hdr_cnt" | "req.hdr_cnt" => field("header", argument, How::Found, case, &[])?,
        "path" => paths(patterns.into_iter().map(|pattern| path(compared?, case, pattern)).collect::<Option<_>>()?),
        // Of a request to a server, the URL is path and query.
        "url" if matches!(compared?, How::Begins) => {
            paths(patterns.into_iter().map(|pattern| path(How::Begins, case, pattern)).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn path(how: How, case: Case, pattern: String) -> Option<Path> {
    let escaped = regex::escape(&pattern);
    let written = match (how, case) {
        (How::Is, Case::Same) => return Some(Path::Exact(pattern)),
        (How::Begins, Case::Same) => return Some(Path::Prefix(pattern)),
        (How::Is, Case::Any) => format!("^{escaped}$"),
        (How::Begins, Case::Any) => format!("^{escaped}"),
        (How::Ends, _) => format!("{escaped}$"),
        (How::Contains, _) => escaped,
        (How::Dir, _) => format!("/{}(/|$)", regex::escape(pattern.trim_matches('/'))),
        (How::Matches, _) => pattern,
        (How::Domain | How::Found, _) => return None,
    };
    let written = if case == Case::Any { format!("(?i){written}") } else { written };
    regex::Regex::new(&written).ok().map(|_valid| Path::Pattern(written))
}

fn host(how: How, case: Case, patterns: Vec<String>) -> Option<Test> {
    Some(match how {
        // A port behind the name is not looked at by ours.
        How::Is => hosts(patterns.into_iter().map(|host| without_port(&host)).collect()),
        // HAProxy finds the parts anywhere, in shop.example.net, too; who writes it means a domain and what is below.
        How::Domain => hosts(patterns.into_iter().flat_map(|host| [host.clone(), format!("*.{host}")]).collect()),
        How::Ends if patterns.iter().all(|host| host.starts_with('.')) => {
            hosts(patterns.into_iter().map(|host| format!("*{}", without_port(&host))).collect())
        }
        _ => field("header", "Host", how, case, &patterns)?,
    })
}

fn without_port(host: &str) -> String {
    host.split_once(':').map_or(host, |(name, _)| name).to_owned()
}

/// A condition on a header, a cookie or a key of the query, as the table of it.
fn field(kind: &str, name: &str, how: How, case: Case, patterns: &[String]) -> Option<Test> {
    if name.is_empty() || name.contains(',') {
        return None;
    }
    let table = |rule: &str| {
        let name = quoted(name);
        let one = |rule: &str| match kind {
            "header" => Conditions { header: vec![format!("{{ name = {name}{rule} }}")], ..Conditions::default() },
            "cookie" => Conditions { cookie: vec![format!("{{ name = {name}{rule} }}")], ..Conditions::default() },
            _ => Conditions { query: vec![format!("{{ name = {name}{rule} }}")], ..Conditions::default() },
        };
        (one(rule), one(&format!("{rule}, not = true")))
    };
    if how == How::Found {
        let (asks, against) = table("");
        return Some(Test::Asks { any: vec![asks], against: Some(against) });
    }
    let rules: Vec<String> = patterns.iter().map(|pattern| rule(how, case, pattern)).collect::<Option<_>>()?;
    let (any, against): (Vec<_>, Vec<_>) = rules.iter().map(|rule| table(rule)).unzip();
    let against = match against.as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    };
    Some(Test::Asks { any, against })
}

fn rule(how: How, case: Case, pattern: &str) -> Option<String> {
    let escaped = regex::escape(pattern);
    let written = match (how, case) {
        (How::Is, Case::Same) => return Some(format!(", value = {}", quoted(pattern))),
        (How::Begins, Case::Same) => return Some(format!(", prefix = {}", quoted(pattern))),
        (How::Contains, Case::Same) => return Some(format!(", contains = {}", quoted(pattern))),
        (How::Is, Case::Any) => format!("^{escaped}$"),
        (How::Begins, Case::Any) => format!("^{escaped}"),
        (How::Contains, Case::Any) => escaped,
        (How::Ends, _) => format!("{escaped}$"),
        (How::Matches, _) => pattern.to_owned(),
        (How::Dir | How::Domain | How::Found, _) => return None,
    };
    let written = if case == Case::Any { format!("(?i){written}") } else { written };
    regex::Regex::new(&written).ok()?;
    Some(format!(", regex = {}", quoted(&written)))
}
