//! Rules in their order as routes in theirs. Routes know no "not": what a rule leaves out is routed before it, to where
//! the rules behind it say. So "deny if admin !office" becomes: admin and office go on, then admin is denied.

use super::super::draft::{At, Conditions, Draft, Join, Keys, Route};
use super::acl::{Literal, Test};

/// Routes that one listener may become; more are too many to read.
const ROUTES_MAX: usize = 500;

/// A rule that decides where a request goes.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) at: At,
    pub(super) shown: String,
    /// Tests that must all hold.
    pub(super) when: Vec<Literal>,
    /// What a route to there has, such as `pool`.
    pub(super) does: Keys,
}

/// Whether clients of the listener speak TLS with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clients {
    Plain,
    Tls,
}

pub(super) struct Order<'a> {
    pub(super) draft: &'a mut Draft,
    pub(super) clients: Clients,
    pub(super) routes: Vec<Route>,
    /// Rules that may still be looked at: exceptions of exceptions grow without end.
    pub(super) left: usize,
    pub(super) deep: usize,
}

/// Rules that are looked at for one listener.
pub(super) const LOOKS_MAX: usize = 20_000;

/// Exceptions within exceptions.
const DEPTH_MAX: usize = 20;

impl Order<'_> {
    /// Appends the routes for requests of which `among` holds. True: what comes behind is never reached by those.
    pub(super) fn flatten(&mut self, rules: &[Rule], among: &Conditions) -> Rest {
        for (index, rule) in rules.iter().enumerate() {
            if self.left == 0 || self.deep > DEPTH_MAX {
                self.draft.lose(rule.at, &rule.shown, "this and what follows: too many exceptions from rules");
                return Rest::Open;
            }
            self.left -= 1;
            let behind = rules.get(index + 1..).unwrap_or_default();
            match self.rule(rule, behind, among) {
                Ok(Rest::Decided) => return Rest::Decided,
                Ok(Rest::Open) => {}
                Err(why) => self.draft.lose(rule.at, &rule.shown, why),
            }
        }
        Rest::Open
    }

    fn rule(&mut self, rule: &Rule, behind: &[Rule], among: &Conditions) -> Result<Rest, &'static str> {
        let Some((whens, exceptions)) = expand(&rule.when, self.clients)? else { return Ok(Rest::Open) };
        let mut decided = Rest::Open;
        let before = self.routes.len();
        for when in whens {
            let when = match among.and(&when) {
                Join::Both(when) => *when,
                Join::Never => continue,
                Join::Unsayable => {
                    self.routes.truncate(before);
                    return Err("two conditions on the same thing that no route can say together");
                }
            };
            for exception in &exceptions {
                match when.and(exception) {
                    Join::Both(left_out) => {
                        self.deep += 1;
                        let rest = self.flatten(behind, &left_out);
                        self.deep -= 1;
                        if rest == Rest::Open && !left_out.is_any() {
                            let mut nowhere = Keys::default();
                            nowhere.written("respond", "503", rule.at);
                            self.push(Route { when: *left_out, keys: nowhere, at: rule.at })?;
                        }
                    }
                    Join::Never => {}
                    Join::Unsayable => {
                        self.routes.truncate(before);
                        return Err("routes have no \"not\" for that, and what it leaves out cannot be said either");
                    }
                }
            }
            if when == *among {
                decided = Rest::Decided;
            }
            self.push(Route { when, keys: rule.does.clone(), at: rule.at })?;
        }
        Ok(decided)
    }

    fn push(&mut self, route: Route) -> Result<(), &'static str> {
        if self.routes.len() >= ROUTES_MAX {
            return Err("more routes than can be read would come of it");
        }
        // The first one has all that a later one like it would get.
        if self.routes.iter().all(|earlier| earlier.when != route.when) {
            self.routes.push(route);
        }
        Ok(())
    }
}

/// Whether anything is left for the rules behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Decided,
    Open,
}

type Expanded = Option<(Vec<Conditions>, Vec<Conditions>)>;

/// What must hold, as alternatives, and what must not. None: it never holds.
fn expand(literals: &[Literal], clients: Clients) -> Result<Expanded, &'static str> {
    let mut whens = vec![Conditions::default()];
    let mut exceptions = Vec::new();
    for literal in literals {
        let (mut any, mut constant) = (Vec::new(), None);
        for test in &literal.tests {
            match (test, clients) {
                (Test::Always, _) | (Test::Tls, Clients::Tls) => constant = Some(!literal.negated),
                (Test::Never, _) | (Test::Tls, Clients::Plain) => {
                    constant = constant.or(Some(literal.negated));
                }
                (Test::Asks { any: asks, against }, _) => match against {
                    Some(against) if literal.negated => whens = product(&whens, std::slice::from_ref(against))?,
                    _ => any.extend(asks.iter().cloned()),
                },
                (Test::Unsayable(_), _) => return Err("routes cannot ask that"),
            }
        }
        match (constant, literal.negated) {
            (Some(false), _) if any.is_empty() || literal.negated => return Ok(None),
            (Some(true), false) => {}
            _ if literal.negated => exceptions.extend(any),
            _ if any.is_empty() => {}
            _ => whens = product(&whens, &any)?,
        }
    }
    Ok((!whens.is_empty()).then_some((whens, exceptions)))
}

fn product(whens: &[Conditions], any: &[Conditions]) -> Result<Vec<Conditions>, &'static str> {
    let mut both = Vec::new();
    for when in whens {
        for one in any {
            match when.and(one) {
                Join::Both(joined) => both.push(*joined),
                Join::Never => {}
                Join::Unsayable => return Err("two conditions on the same thing that no route can say together"),
            }
        }
    }
    if both.len() > ROUTES_MAX { Err("more routes than can be read would come of it") } else { Ok(both) }
}

/// Whether tests hold for every client of such a listener, or none; otherwise they ask something.
pub(super) fn constant(literals: &[Literal], clients: Clients) -> Option<bool> {
    match expand(literals, clients) {
        Ok(None) => Some(false),
        Ok(Some((whens, exceptions))) => {
            (exceptions.is_empty() && whens.iter().any(Conditions::is_any)).then_some(true)
        }
        Err(_) => None,
    }
}
