//! What a route asks of a request, and what two such conditions are together: routes know "and" only between different
//! things, so two paths or two hosts become the narrower one, where that can be told.

use ipnet::IpNet;

/// A condition on the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Path {
    /// At a boundary of segments, as our own prefixes are.
    Segment(String),
    Exact(String),
    /// Letter by letter.
    Prefix(String),
    Pattern(String),
}

/// All that is given must hold; in a list of texts, one suffices; of tables all must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct Conditions {
    pub(in super::super) host: Option<Vec<String>>,
    pub(in super::super) path: Option<Vec<Path>>,
    pub(in super::super) method: Option<Vec<String>>,
    pub(in super::super) client: Option<Vec<String>>,
    /// Tables as they are written.
    pub(in super::super) header: Vec<String>,
    pub(in super::super) cookie: Vec<String>,
    pub(in super::super) query: Vec<String>,
}

/// What two conditions are together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Join {
    Both(Box<Conditions>),
    /// Nothing is like that.
    Never,
    /// No route can say it.
    Unsayable,
}

/// Which of two things lies within the other.
enum Within {
    First,
    Second,
    Apart,
    Unknown,
}

impl Conditions {
    pub(in super::super) fn is_any(&self) -> bool {
        *self == Self::default()
    }

    pub(in super::super) fn and(&self, other: &Self) -> Join {
        let both = || -> Result<Conditions, Join> {
            Ok(Conditions {
                host: narrow(self.host.as_deref(), other.host.as_deref(), hosts)?,
                path: narrow(self.path.as_deref(), other.path.as_deref(), paths)?,
                method: narrow(self.method.as_deref(), other.method.as_deref(), same)?,
                client: narrow(self.client.as_deref(), other.client.as_deref(), |one, other| networks(one, other))?,
                header: joined(&self.header, &other.header),
                cookie: joined(&self.cookie, &other.cookie),
                query: joined(&self.query, &other.query),
            })
        };
        match both() {
            Ok(both) => Join::Both(Box::new(both)),
            Err(join) => join,
        }
    }
}

fn joined(first: &[String], second: &[String]) -> Vec<String> {
    let new = second.iter().filter(|table| !first.contains(table));
    first.iter().chain(new).cloned().collect()
}

fn narrow<T: Clone + PartialEq>(
    first: Option<&[T]>,
    second: Option<&[T]>,
    within: impl Fn(&T, &T) -> Within,
) -> Result<Option<Vec<T>>, Join> {
    let (Some(first), Some(second)) = (first, second) else {
        return Ok(first.or(second).map(<[T]>::to_vec));
    };
    let mut both: Vec<T> = Vec::new();
    for one in first {
        for other in second {
            let narrower = match within(one, other) {
                Within::First => one,
                Within::Second => other,
                Within::Apart => continue,
                Within::Unknown => return Err(Join::Unsayable),
            };
            if !both.contains(narrower) {
                both.push(narrower.clone());
            }
        }
    }
    if both.is_empty() { Err(Join::Never) } else { Ok(Some(both)) }
}

fn same(first: &String, second: &String) -> Within {
    if first == second { Within::First } else { Within::Apart }
}

fn hosts(first: &String, second: &String) -> Within {
    let below = |inner: &str, outer: &str| outer.strip_prefix('*').is_some_and(|suffix| inner.ends_with(suffix));
    if first == second || below(first, second) {
        Within::First
    } else if below(second, first) {
        Within::Second
    } else {
        Within::Apart
    }
}

fn networks(first: &str, second: &str) -> Within {
    let (Ok(one), Ok(other)) = (network(first), network(second)) else { return Within::Unknown };
    if other.contains(&one) {
        Within::First
    } else if one.contains(&other) {
        Within::Second
    } else {
        Within::Apart
    }
}

fn network(text: &str) -> Result<IpNet, ipnet::AddrParseError> {
    text.parse::<IpNet>()
        .or_else(|error| text.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_not_either| error))
}

fn paths(first: &Path, second: &Path) -> Within {
    match (first, second) {
        (one, other) if one == other => Within::First,
        (Path::Exact(_), Path::Exact(_)) => Within::Apart,
        (Path::Exact(exact), other) => inside(exact, other, Within::First),
        (other, Path::Exact(exact)) => inside(exact, other, Within::Second),
        (Path::Segment(one), Path::Segment(other)) => segments(one, other),
        (Path::Prefix(one), Path::Prefix(other)) => {
            if one.starts_with(other.as_str()) {
                Within::First
            } else if other.starts_with(one.as_str()) {
                Within::Second
            } else {
                Within::Apart
            }
        }
        _ => Within::Unknown,
    }
}

fn segments(first: &str, second: &str) -> Within {
    let slash = |path: &str| format!("{}/", path.trim_end_matches('/'));
    let (first, second) = (slash(first), slash(second));
    if first.starts_with(&second) {
        Within::First
    } else if second.starts_with(&first) {
        Within::Second
    } else {
        Within::Apart
    }
}

/// Whether a whole path is one that another condition lets in.
fn inside(exact: &str, other: &Path, there: Within) -> Within {
    let is = match other {
        Path::Exact(other) => exact == other,
        Path::Prefix(prefix) => exact.starts_with(prefix.as_str()),
        Path::Segment(prefix) => {
            let rest = exact.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        Path::Pattern(pattern) => match regex::Regex::new(pattern) {
            Ok(pattern) => pattern.is_match(exact),
            Err(_) => return Within::Unknown,
        },
    };
    if is { there } else { Within::Apart }
}
