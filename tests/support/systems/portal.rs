//! API Portal: Apache with a shared store of sessions, each bound to the `X-Forwarded-For` that it began with.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::support::Origin;
use crate::support::origin::{Received, Script};

/// Sessions of all instances by number, with the `X-Forwarded-For` of their first request.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<String, Option<String>>>>);

/// The host names that an instance answers to.
const HOST: &str = "portal.example.com";

/// The Apache of one instance, which answers pages with its name.
pub struct Portal {
    /// Its port 80.
    pub apache: Origin,
}

impl Portal {
    /// An instance with these sessions. Attachments that are posted to it stay with it.
    pub fn start(name: &str, ip: IpAddr, sessions: &Sessions) -> Self {
        let (name, sessions, attachments) = (name.to_owned(), sessions.clone(), Mutex::new(HashMap::new()));
        let judge = move |request: &Received| answer(&name, &sessions, &attachments, request);
        Self { apache: Origin::http().on(ip).by(judge).start() }
    }
}

fn answer(
    name: &str,
    sessions: &Sessions,
    attachments: &Mutex<HashMap<String, Vec<u8>>>,
    request: &Received,
) -> Script {
    let host = request.header("host").unwrap_or_default().split(':').next().unwrap_or_default();
    let writes = matches!(&*request.method, "POST" | "PUT");
    if !writes && !matches!(&*request.method, "GET" | "HEAD") {
        return Origin::http().status(405);
    }
    if host != HOST {
        return Origin::http().status(301).header("Location", &format!("https://{HOST}{}", request.target));
    }
    if writes && request.header("content-type").is_none() {
        return Origin::http().status(415);
    }
    match request.path().strip_prefix("/attachments/") {
        Some(file) if writes => {
            // An attachment's content does not matter here, only where it is; bodies come after this answer is chosen.
            attachments.lock().unwrap().insert(file.to_owned(), Vec::new());
            Origin::http().status(201).reply(name)
        }
        Some(file) if !attachments.lock().unwrap().contains_key(file) => Origin::http().status(404),
        Some(_) => Origin::http().reply(name),
        None => page(name, sessions, request),
    }
}

fn page(name: &str, sessions: &Sessions, request: &Received) -> Script {
    let forwarded_for = request.header("x-forwarded-for").map(str::to_owned);
    let mut sessions = sessions.0.lock().unwrap();
    let cookie = request.header("cookie").and_then(|cookie| cookie.strip_prefix("portal_session="));
    let Some(session) = cookie.filter(|session| sessions.contains_key(*session)) else {
        let number = format!("{}", sessions.len() + 1);
        sessions.insert(number.clone(), forwarded_for);
        return Origin::http().header("Set-Cookie", &format!("portal_session={number}")).reply(name);
    };
    if sessions[session] == forwarded_for {
        return Origin::http().reply(name);
    }
    // The plugin against stolen sessions: whoever comes from elsewhere is signed out.
    sessions.remove(session);
    Origin::http().status(302).header("Location", "/sign-in")
}
