//! What other machines, and other users of this one, can connect to: listeners and the admin port.

use super::FindingView;
use crate::config::model::{Config, Listener, Protocol, Site};

/// A shorter token can be guessed: sixteen random letters are some 90 bits.
const MIN_TOKEN: usize = 16;

/// Everything that accepts.
pub(super) fn judge(config: &Config, first_token: Option<&str>) -> Vec<FindingView> {
    let mut findings = listeners(&config.listeners);
    let token = config.admin.token.as_deref().or(first_token);
    findings.push(admin(config.admin.bind.as_ref(), config.admin.socket_mode, token));
    findings.extend(token.filter(|token| token.len() < MIN_TOKEN).map(|token| {
        FindingView::weak(
            "token",
            format!("the token of the admin port has {} characters", token.len()),
            "make a longer one: openssl rand -hex 32",
        )
    }));
    findings
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

fn admin(bind: Option<&Site>, mode: u32, token: Option<&str>) -> FindingView {
    const TOPIC: &str = "admin";
    let Some(site) = bind else { return FindingView::ok(TOPIC, "there is no admin port") };
    match (site, token) {
        (Site::Unix(name), _) if name.path().is_some() && mode & 0o002 == 0 => {
            FindingView::ok(TOPIC, format!("{site} is open to whom its rights ({mode:04o}) let in"))
        }
        (Site::Unix(_), None) => FindingView::weak(
            TOPIC,
            format!("whoever is on this machine may connect to {site}, and operate"),
            "give it socket_mode = \"0600\" and a file, or a token_file",
        ),
        (site, None) => FindingView::weak(
            TOPIC,
            format!("whoever is on this machine may operate by {site}, without a token"),
            "add token_file to [admin], or bind = \"unix:/run/evenkeel/admin.sock\"",
        ),
        (site, Some(_)) if site.is_local() => FindingView::ok(TOPIC, format!("{site} asks for a token")),
        (site, Some(_)) => FindingView::weak(
            TOPIC,
            format!("{site} asks for a token, which crosses the network as it is"),
            "bind it to 127.0.0.1 or a unix socket, and let a listener with TLS lead there",
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
        for (site, mode, token, level) in [
            ("127.0.0.1:8404", 0, None, Level::Weak),
            ("127.0.0.1:8404", 0, Some("x"), Level::Ok),
            ("0.0.0.0:8404", 0, Some("x"), Level::Weak),
            ("unix:/run/a.sock", 0o600, None, Level::Ok),
            ("unix:/run/a.sock", 0o666, None, Level::Weak),
            ("unix:@admin", 0o600, None, Level::Weak),
            ("unix:@admin", 0o600, Some("x"), Level::Ok),
        ] {
            let site = at(site);
            let found = admin(Some(&site), mode, token);
            assert_eq!((found.level, found.remedy.is_empty()), (level, level == Level::Ok), "{site}: {found:?}");
        }
        assert_eq!(admin(None, 0, None).level, Level::Ok);
    }
}
