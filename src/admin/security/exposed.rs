//! What other machines, and other users of this one, can connect to: listeners and the admin port.

use super::FindingView;
use crate::config::model::{Admin, Config, Listener, Protocol, Site, Token, TokenSecret};

/// A shorter token can be guessed: sixteen random letters are some 90 bits.
const MIN_TOKEN: usize = 16;

/// Everything that accepts.
pub(super) fn judge(config: &Config, admin: &Admin) -> Vec<FindingView> {
    let mut findings = listeners(&config.listeners);
    let door = match (admin.asks(), &admin.tls) {
        (false, _) => Door::Open,
        (true, None) => Door::Asks,
        (true, Some(_)) => Door::AsksOverTls,
    };
    findings.push(of_admin(admin.bind.as_ref(), admin.socket_mode, door));
    findings.extend(admin.tokens.iter().filter_map(short));
    findings
}

/// What whoever connects to the admin port must show, and over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Asks,
    AsksOverTls,
}

/// How long a hashed one is, nobody knows.
fn short(token: &Token) -> Option<FindingView> {
    let TokenSecret::Plain(text) = &token.secret else { return None };
    (text.len() < MIN_TOKEN).then(|| {
        FindingView::weak(
            "token",
            format!("the token `{}` of the admin port has {} characters", token.name, text.len()),
            "make a longer one: evenkeel token NAME",
        )
    })
}

fn listeners(listeners: &[Listener]) -> Vec<FindingView> {
    let reachable = listeners.iter().flat_map(|listener| {
        let binds = listener.binds.iter().filter(|site| !site.is_local());
        binds.map(move |site| (listener, site))
    });
    let findings: Vec<_> = reachable.map(|(listener, site)| open_to_others(listener, site)).collect();
    if findings.is_empty() {
        return vec![FindingView::ok("listeners", "none can be reached from other machines")];
    }
    findings
}

fn open_to_others(listener: &Listener, site: &Site) -> FindingView {
    let spoken = match (listener.protocol, &listener.tls) {
        (protocol, None) => protocol.word(),
        (Protocol::Http, Some(_)) => "https",
        (_, Some(_)) => "TLS",
    };
    FindingView::ok("listeners", format!("{} accepts {spoken} from other machines at {site}", listener.name))
}

fn of_admin(bind: Option<&Site>, mode: u32, door: Door) -> FindingView {
    const TOPIC: &str = "admin";
    let Some(site) = bind else { return FindingView::ok(TOPIC, "there is no admin port") };
    match (site, door) {
        (Site::Unix(name), _) if name.path().is_some() && mode & 0o002 == 0 => {
            FindingView::ok(TOPIC, format!("{site} is open to whom its rights ({mode:04o}) let in"))
        }
        (Site::Unix(_), Door::Open) => FindingView::weak(
            TOPIC,
            format!("whoever is on this machine may connect to {site}, and operate"),
            "give it socket_mode = \"0600\" and a file, or a token_file",
        ),
        (site, Door::Open) => FindingView::weak(
            TOPIC,
            format!("whoever is on this machine may operate by {site}, without a token"),
            "add token_file to [admin], or bind = \"unix:/run/evenkeel/admin.sock\"",
        ),
        (site, Door::AsksOverTls) => {
            FindingView::ok(TOPIC, format!("{site} speaks TLS, and asks for a token or a certificate"))
        }
        (site, Door::Asks) if site.is_local() => FindingView::ok(TOPIC, format!("{site} asks for a token")),
        (site, Door::Asks) => FindingView::weak(
            TOPIC,
            format!("{site} asks for a token, which crosses the network as it is"),
            "give it a certificate: [admin.tls] with cert and key; or bind it to 127.0.0.1 or a unix socket",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::security::Level;

    #[test]
    fn who_may_operate_is_told_apart() {
        let at = |site: &str| -> Site {
            site.strip_prefix("unix:")
                .map_or_else(|| Site::Ip(site.parse().unwrap()), |_| Site::Unix(site.parse().unwrap()))
        };
        for (site, mode, door, level) in [
            ("127.0.0.1:8404", 0, Door::Open, Level::Weak),
            ("127.0.0.1:8404", 0, Door::Asks, Level::Ok),
            ("0.0.0.0:8404", 0, Door::Asks, Level::Weak),
            ("0.0.0.0:8404", 0, Door::AsksOverTls, Level::Ok),
            ("unix:/run/a.sock", 0o600, Door::Open, Level::Ok),
            ("unix:/run/a.sock", 0o666, Door::Open, Level::Weak),
            ("unix:@admin", 0o600, Door::Open, Level::Weak),
            ("unix:@admin", 0o600, Door::Asks, Level::Ok),
        ] {
            let site = at(site);
            let found = of_admin(Some(&site), mode, door);
            assert_eq!((found.level, found.remedy.is_empty()), (level, level == Level::Ok), "{site}: {found:?}");
        }
        assert_eq!(of_admin(None, 0, Door::Open).level, Level::Ok);
    }
}
