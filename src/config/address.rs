//! Addresses: binds, backends, client networks, host patterns and paths of routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::model::{Address, HostPattern, NO_ADDRESS, Site};
use super::units::Fault;
use super::unix;

/// `0.0.0.0:80`, `[::]:80`, `unix:/run/web.sock`: where a listener or the admin port accepts.
pub(super) fn bind(text: &str) -> Result<Site, Fault> {
    if let Ok(address) = text.parse() {
        return Ok(Site::Ip(address));
    }
    if let Some(name) = unix::name(text) {
        return name.map(Site::Unix);
    }
    let fault = |label: &str| Fault::new("address", format!("`{text}` is not an address to bind"), label);
    let form = "write an IP address and a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"";
    if let Some(rest) = after_scheme(text) {
        return Err(fault("no scheme here").help(format!("write \"{}\"", rest.trim_end_matches('/'))));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        port(text)?;
        return Err(
            fault("only a port").help(format!("write \"0.0.0.0:{text}\", or \"127.0.0.1:{text}\" for this machine"))
        );
    }
    let (host, digits) = split(text).map_err(|fault| fault.help_if_none(form))?;
    let number = port_or_zero(digits)?;
    if let Some(ip) = bare_ip(host) {
        return Err(fault("IPv6 needs brackets").help(format!("write \"[{ip}]:{number}\"")));
    }
    Err(match host {
        "" | "*" => {
            fault("which address?").help(format!("write \"0.0.0.0:{number}\" for all of this machine's addresses"))
        }
        "localhost" => fault("a name, not an address").help(format!("write \"127.0.0.1:{number}\"")),
        _ if looks_like_ipv4(host) => fault("not an IPv4 address").help("each of its four numbers goes from 0 to 255"),
        _ => fault("not an IP address").help(form),
    })
}

/// `10.0.0.1:80`, `[2001:db8::1]:80`, `web.example.com:80`, `unix:/run/app.sock`: where a backend answers.
pub(super) fn backend(text: &str) -> Result<Address, Fault> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(port_fault("0")) } else { Ok(Address::Socket(address)) };
    }
    if let Some(name) = unix::name(text) {
        return name.map(Address::Unix);
    }
    let fault = |label: &str| Fault::new("address", format!("`{text}` is not the address of a backend"), label);
    if let Some(rest) = after_scheme(text) {
        let host = rest.split('/').next().unwrap_or(rest);
        let port = if text.starts_with("https") { 443 } else { 80 };
        let host = if split(host).is_ok() { host.to_owned() } else { format!("{host}:{port}") };
        return Err(fault("a backend is host:port, without scheme and path")
            .help(format!("write \"{host}\"; a path for the check goes into [pool.NAME.check.NAME]")));
    }
    if let Some((host, _)) = text.split_once('/') {
        return Err(fault("a backend has no path")
            .help(format!("write \"{host}\"; a path for the check goes into [pool.NAME.check.NAME]")));
    }
    let (host, digits) = split(text).map_err(|fault| {
        fault.help_if_none("write the host and the port, such as \"10.0.0.11:3000\" or \"[2001:db8::1]:3000\"")
    })?;
    let number = port(digits)?;
    if let Some(ip) = bare_ip(host) {
        return Err(fault("IPv6 needs brackets").help(format!("write \"[{ip}]:{number}\"")));
    }
    host_name(host).map_err(|(label, help)| fault(label).help(help))?;
    Ok(Address::Name(host.into(), number))
}

impl Fault {
    fn help_if_none(self, help: &str) -> Self {
        if self.help.is_some() { self } else { self.help(help) }
    }
}

fn after_scheme(text: &str) -> Option<&str> {
    text.split_once("://").map(|(_, rest)| rest)
}

/// Host and port of `host:port`.
fn split(text: &str) -> Result<(&str, &str), Fault> {
    let fault = |label: &str| Fault::new("address", format!("`{text}` is not an address with a port"), label);
    if text.parse::<Ipv6Addr>().is_ok() && !text.ends_with(']') {
        return Err(fault("the port is missing").help(format!("write \"[{text}]:PORT\"")));
    }
    match text.rsplit_once(':') {
        Some((_, "")) => Err(fault("the port is missing")),
        Some((host, digits)) if !host.ends_with(':') && !digits.ends_with(']') => Ok((host, digits)),
        _ => Err(fault("the port is missing").help(format!("write \"{text}:PORT\""))),
    }
}

fn bare_ip(host: &str) -> Option<Ipv6Addr> {
    host.parse().ok()
}

fn port_fault(digits: &str) -> Fault {
    Fault::new("port", format!("port {digits} is out of range"), "ports go from 1 to 65535")
        .help("write the port that the server listens on, from 1 to 65535")
}

fn port_or_zero(digits: &str) -> Result<u16, Fault> {
    if digits == "0" { Ok(0) } else { port(digits) }
}

fn port(digits: &str) -> Result<u16, Fault> {
    match digits.parse::<u16>() {
        Ok(0) => Err(port_fault(digits)),
        Ok(port) => Ok(port),
        Err(_) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Err(port_fault(digits)),
        Err(_) => Err(Fault::new("port", format!("`{digits}` is not a port"), "after the last colon stands the port")
            .help("ports are numbers from 1 to 65535")),
    }
}

fn looks_like_ipv4(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// The name of a host as the resolver takes it.
fn host_name(host: &str) -> Result<(), (&'static str, &'static str)> {
    if host.is_empty() {
        return Err(("the host is missing", "write the host before the colon, such as \"10.0.0.11:3000\""));
    }
    if looks_like_ipv4(host) && host.parse::<Ipv4Addr>().is_err() {
        return Err(("not an IPv4 address", "an IPv4 address has four numbers from 0 to 255"));
    }
    if host.starts_with('[') {
        return Err(("not an IPv6 address", "an IPv6 address stands in brackets, such as \"[2001:db8::1]:3000\""));
    }
    if host.contains('*') {
        return Err(("no wildcard here", "name each backend; give the list of them in `backends`"));
    }
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let bare = host.strip_suffix('.').unwrap_or(host);
    if bare.len() > 253 || !bare.split('.').all(label_is_good) {
        return Err(("not a host name", "host names are letters, digits, `-` and `_`, in parts separated by dots"));
    }
    Ok(())
}

/// `10.0.0.0/24`, or one address; `unix:` is who comes by a unix socket.
pub(super) fn network(text: &str) -> Result<IpNet, Fault> {
    if text == "unix:" {
        return Ok(IpNet::from(NO_ADDRESS));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip));
    }
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(network.trunc());
    }
    let fault = |label: &str| Fault::new("network", format!("`{text}` is not a network"), label);
    let form = "write an address and a prefix length, such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
    match text.split_once('/') {
        Some((ip, prefix)) => match ip.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) if prefix.parse::<u32>().is_ok() => {
                Err(fault("prefix out of range").help("the prefix of an IPv4 network goes from 0 to 32"))
            }
            Ok(IpAddr::V6(_)) if prefix.parse::<u32>().is_ok() => {
                Err(fault("prefix out of range").help("the prefix of an IPv6 network goes from 0 to 128"))
            }
            Ok(_) => Err(fault("the prefix is not a number").help(form)),
            Err(_) => Err(fault("not an IP address before the `/`").help(form)),
        },
        None => Err(fault("neither an address nor a network").help(form)),
    }
}

/// `example.com`, `*.example.com`: hosts of a route.
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, Fault> {
    let fault = |label: &str| Fault::new("host", format!("`{text}` is not a host name"), label);
    if let Some(rest) = after_scheme(text) {
        let host = rest.split(['/', ':']).next().unwrap_or(rest);
        return Err(fault("a name, not a URL").help(format!("write \"{host}\"; a path goes into `path`")));
    }
    let lower = text.to_ascii_lowercase();
    if text == "*" {
        return Err(fault("every host").help("leave `host` out to match any host"));
    }
    if lower.starts_with('[') && lower.ends_with(']') && lower[1..lower.len() - 1].parse::<Ipv6Addr>().is_ok() {
        return Ok(HostPattern::Exact(lower.into()));
    }
    if let Some((host, digits)) = text.rsplit_once(':').filter(|(_, digits)| digits.parse::<u32>().is_ok()) {
        return Err(fault("with a port").help(format!("write \"{host}\": the port {digits} is not part of the host")));
    }
    if let Some((host, path)) = text.split_once('/') {
        return Err(fault("with a path").help(format!("write host = \"{host}\" and path = \"/{path}\"")));
    }
    let (bare, wildcard) = match lower.strip_prefix("*.") {
        Some(bare) => (bare, true),
        None => (lower.as_str(), false),
    };
    if bare.contains('*') {
        return Err(fault("`*` in the middle").help("a wildcard is the whole first part: \"*.example.com\""));
    }
    host_name(bare).map_err(|(label, help)| fault(label).help(help))?;
    Ok(if wildcard { HostPattern::Suffix(format!(".{bare}").into()) } else { HostPattern::Exact(bare.into()) })
}

/// `/v1`: a prefix that ends at a segment boundary, so a slash at its end says nothing and goes.
pub(super) fn route_path(text: &str) -> Result<Arc<str>, Fault> {
    let fault = |label: &str| Fault::new("path", format!("`{text}` is not a path for a route"), label);
    if let Some(bare) = text.strip_suffix("/*").or_else(|| text.strip_suffix('*')) {
        let bare = if bare.is_empty() { "/" } else { bare };
        return Err(fault("no `*` needed").help(format!("write \"{bare}\": a path matches all that is below it")));
    }
    if text.starts_with('~') || text.starts_with('^') {
        return Err(fault("a regular expression")
            .help("a path is a prefix such as \"/v1\"; write { regex = \"...\" } for a pattern"));
    }
    if text.contains(['?', '#']) {
        return Err(fault("with a query")
            .help("leave out `?` and what follows, and write query = { name = \"v\", value = \"2\" }"));
    }
    path(text)?;
    let bare = text.trim_end_matches('/');
    Ok(if bare.is_empty() { "/" } else { bare }.into())
}

/// A path with or without query, as a request line can carry it.
pub(super) fn path(text: &str) -> Result<Arc<str>, Fault> {
    let fault = |label: &str| Fault::new("path", format!("`{text}` is not a path"), label);
    if let Some(rest) = after_scheme(text) {
        let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
        return Err(fault("a URL").help(format!("write \"{path}\": the host is the backend's own")));
    }
    if !text.starts_with('/') {
        return Err(fault("a path starts with `/`").help(format!("write \"/{text}\"")));
    }
    if let Some(bad) = text.chars().find(|letter| !letter.is_ascii_graphic()) {
        let code = bad.to_string().bytes().fold(String::new(), |code, byte| format!("{code}%{byte:02X}"));
        return Err(fault("a character that a request line cannot carry").help(format!("write `{code}` for it")));
    }
    if text.contains('#') {
        return Err(fault("`#` never leaves the browser").help("leave out `#` and what follows, or write `%23`"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_are_taken() {
        for text in ["0.0.0.0:80", "[::]:0", "unix:/run/web.sock", "unix:@web"] {
            assert_eq!(bind(text).unwrap().to_string(), text);
        }
        for text in [
            "unix:/run/app.sock",
            "10.0.0.1:80",
            "[2001:db8::1]:443",
            "web:80",
            "a_b.example.com:8080",
            "fqdn.example.:1",
        ] {
            assert_eq!(backend(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_bind_is_answered_with_the_right_one() {
        for (text, help) in [
            ("8080", "write \"0.0.0.0:8080\", or \"127.0.0.1:8080\" for this machine"),
            (":8080", "write \"0.0.0.0:8080\" for all of this machine's addresses"),
            ("*:80", "write \"0.0.0.0:80\" for all of this machine's addresses"),
            ("localhost:80", "write \"127.0.0.1:80\""),
            ("::1:80", "write \"[::1:80]:PORT\""),
            ("0.0.0.0", "write \"0.0.0.0:PORT\""),
            ("0.0.0.0:99999", "write the port that the server listens on, from 1 to 65535"),
            ("http://0.0.0.0:80/", "write \"0.0.0.0:80\""),
            ("10.0.0.300:80", "each of its four numbers goes from 0 to 255"),
            ("/run/x.sock", "write \"unix:/run/x.sock\""),
        ] {
            assert_eq!(bind(text).unwrap_err().help.as_deref(), Some(help), "{text}");
        }
    }

    #[test]
    fn a_wrong_backend_is_answered_with_the_right_one() {
        for (text, help) in [
            ("10.0.0.1", "write \"10.0.0.1:PORT\""),
            ("10.0.0.1:0", "write the port that the server listens on, from 1 to 65535"),
            ("10.0.0.1:99999", "write the port that the server listens on, from 1 to 65535"),
            ("10.0.0.1:http", "ports are numbers from 1 to 65535"),
            ("10.0.0.300:80", "an IPv4 address has four numbers from 0 to 255"),
            ("http://a:80/x", "write \"a:80\"; a path for the check goes into [pool.NAME.check.NAME]"),
            ("https://a", "write \"a:443\"; a path for the check goes into [pool.NAME.check.NAME]"),
            ("a:80/x", "write \"a:80\"; a path for the check goes into [pool.NAME.check.NAME]"),
            (":80", "write the host before the colon, such as \"10.0.0.11:3000\""),
            ("a b:80", "host names are letters, digits, `-` and `_`, in parts separated by dots"),
            ("2001:db8::1", "write \"[2001:db8::1]:PORT\""),
        ] {
            assert_eq!(backend(text).unwrap_err().help.as_deref(), Some(help), "{text}");
        }
    }

    #[test]
    fn networks_are_prefixes_or_single_addresses() {
        assert_eq!(network("10.0.0.5/24").unwrap().to_string(), "10.0.0.0/24");
        assert_eq!(network("10.0.0.5").unwrap().to_string(), "10.0.0.5/32");
        assert_eq!(network("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert_eq!(
            network("10.0.0.0/33").unwrap_err().help.as_deref(),
            Some("the prefix of an IPv4 network goes from 0 to 32")
        );
        for text in ["", "x", "10.0.0.0/", "10.0.0/8", "::/129"] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_names_or_wildcards_of_one_front_part() {
        assert_eq!(host_pattern("Example.COM").unwrap(), HostPattern::Exact("example.com".into()));
        assert_eq!(host_pattern("*.example.com").unwrap(), HostPattern::Suffix(".example.com".into()));
        assert_eq!(host_pattern("[::1]").unwrap(), HostPattern::Exact("[::1]".into()));
        for text in ["*", "a.*.com", "http://a/", "a:80", "a/b", "", "a b", "*.*.x"] {
            assert!(host_pattern(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_route_path_ends_at_a_segment_boundary() {
        assert_eq!(&*route_path("/v1/").unwrap(), "/v1");
        assert_eq!(&*route_path("/").unwrap(), "/");
        for text in ["v1", "/v1/*", "/v1*", "~ ^/x", "/a?b=1", "/ä", "http://x/y"] {
            assert!(route_path(text).is_err(), "{text}");
        }
    }
}
