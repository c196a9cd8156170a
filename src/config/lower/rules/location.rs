//! Where a redirect leads: a template whose first part no client can choose.
//!
//! A place of which a client says the host is a gift to whoever sends others a link (CWE-601). So the scheme and the host
//! are text, or the host that was asked for; variables of any kind may follow behind the first slash.

use super::super::super::model::{Location, Piece, Template, Variable};
use super::super::super::template::{self, Moment};
use super::super::super::units::Fault;

/// `"https"`, or a template.
pub(super) fn location(text: &str) -> Result<Location, Fault> {
    if text == "https" {
        return Ok(Location::Https);
    }
    let fault = |label: &str| Fault::new("redirect", format!("`{text}` is no place to be sent to"), label);
    if matches!(text, "301" | "302" | "303" | "307" | "308" | "tls" | "ssl" | "true") {
        return Err(fault("not a place").help("write \"https\", or { to = \"https://other.example.com$target\" }"));
    }
    if let Some(bad) = text.chars().find(|letter| !letter.is_ascii_graphic()) {
        let code = bad.to_string().bytes().fold(String::new(), |code, byte| format!("{code}%{byte:02X}"));
        return Err(fault("a character that no address holds").help(format!("write `{code}` for it")));
    }
    let template = template::template(text, Moment::Request)?;
    let is_of_backend =
        |piece: &Piece| matches!(piece, Piece::Variable(Variable::BackendTarget | Variable::BackendPath));
    if template.0.iter().any(is_of_backend) {
        return Err(fault("no backend is asked here").help("write $target or $path: what the client has asked for"));
    }
    match head_of(&template) {
        HeadOf::Address => Ok(Location::Template(template)),
        HeadOf::Unfinished => {
            Err(fault("without a host").help("write \"/path\", or \"https://other.example.com$target\""))
        }
        HeadOf::Clients => Err(fault("a client could choose the host").help(
            "in front of the path, only text and $host, $hostname and $scheme: \"https://other.example.com$target\"",
        )),
    }
}

/// What scheme and host of a template are.
enum HeadOf {
    /// An address, or a path on the same host.
    Address,
    /// Neither.
    Unfinished,
    /// Of the client's choosing.
    Clients,
}

fn head_of(template: &Template) -> HeadOf {
    let mut pieces = template.0.iter();
    let authority = match pieces.next() {
        Some(Piece::Variable(Variable::Target | Variable::Path)) => return HeadOf::Address,
        Some(Piece::Text(text)) if text.starts_with('/') && !text.starts_with("//") => return HeadOf::Address,
        Some(Piece::Text(text)) => text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")),
        Some(Piece::Variable(Variable::Scheme)) => match pieces.next() {
            Some(Piece::Text(text)) => text.strip_prefix("://"),
            _ => None,
        },
        Some(Piece::Variable(_)) => return HeadOf::Clients,
        None => None,
    };
    let Some(authority) = authority else { return HeadOf::Unfinished };
    let mut host = String::new();
    let mut next = Some(authority);
    loop {
        if let Some(text) = next {
            let end = text.find(['/', '?', '#']).unwrap_or(text.len());
            host.push_str(&text[..end]);
            if end < text.len() {
                break;
            }
        }
        next = match pieces.next() {
            None | Some(Piece::Variable(Variable::Target | Variable::Path)) => break,
            Some(Piece::Text(text)) => Some(text),
            Some(Piece::Variable(Variable::Host | Variable::Hostname)) => {
                host.push('h');
                None
            }
            Some(Piece::Variable(_)) => return HeadOf::Clients,
        };
    }
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_of_host) || host.starts_with(':') {
        return HeadOf::Unfinished;
    }
    HeadOf::Address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_host_that_no_client_chooses() {
        for good in [
            "https",
            "/",
            "/new$path?$query",
            "$target",
            "https://other.example.com$target",
            "https://other.example.com",
            "https://$host$target",
            "https://$hostname:8443$target",
            "$scheme://www.$host/",
            "https://[2001:db8::1]:8443/",
            "https://a.example/?next=$header:x",
        ] {
            assert!(location(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "301",
            "other.example.com",
            "//evil.example",
            "ftp://a/",
            "https://",
            "https:///a",
            "https://u@a/",
            "https://a b/",
            "$header:x",
            "https://$header:x/",
            "https://a.example$query",
            "$cookie:next",
            "https://$method$target",
            "$scheme$target",
        ] {
            assert!(location(bad).is_err(), "{bad}");
        }
    }
}
