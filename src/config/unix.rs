//! `unix:/run/app.sock`, `unix:@name`: names of unix sockets, in binds and of backends.

use std::str::FromStr;

use super::model::UnixName;
use super::units::Fault;

impl FromStr for UnixName {
    type Err = String;

    /// As a configuration has it, for whoever reads one from a command line.
    fn from_str(text: &str) -> Result<Self, String> {
        let read = name(text).unwrap_or_else(|| named(text, ""));
        read.map_err(|fault| format!("{}: {}", fault.message, fault.help.unwrap_or(fault.label)))
    }
}

/// The socket that a text names; `None` where it is meant for something else.
pub(super) fn name(text: &str) -> Option<Result<UnixName, Fault>> {
    if let Some(name) = text.strip_prefix("unix:") {
        return Some(named(text, name));
    }
    let meant = match text.split_once('@') {
        Some(("unix", path)) => path.to_owned(),
        Some(("abns" | "abnsz", name)) => format!("@{name}"),
        _ if text.starts_with('/') || text.starts_with('@') => text.to_owned(),
        _ => return None,
    };
    let fault = Fault::new("address", format!("`{text}` is not an address"), "a unix socket is written otherwise");
    Some(Err(fault.help(format!("write \"unix:{meant}\""))))
}

fn named(text: &str, name: &str) -> Result<UnixName, Fault> {
    let fault = |label: &str| Fault::new("address", format!("`{text}` is not a unix socket"), label);
    let form = "write a whole path, such as \"unix:/run/evenkeel/web.sock\", or \"unix:@name\" for one without a file";
    if name.starts_with("//") {
        return Err(
            fault("no slashes before the path").help(format!("write \"unix:/{}\"", name.trim_start_matches('/')))
        );
    }
    if name.is_empty() || name == "@" || name == "/" || name.ends_with('/') {
        return Err(fault("the name is missing").help(form));
    }
    if !name.starts_with(['/', '@']) {
        return Err(fault("not a whole path").help(form));
    }
    if name.len() > UnixName::MAX {
        return Err(fault("too long for the system").help(format!(
            "it has {} bytes of at most {}",
            name.len(),
            UnixName::MAX
        )));
    }
    if name.contains(char::is_control) {
        return Err(fault("a control character").help(form));
    }
    Ok(UnixName::new(name))
}

/// `0660`: the rights of a socket file, as `chmod` takes them.
pub(super) fn mode(text: &str) -> Result<u32, Fault> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let fault =
        || Fault::new("mode", format!("`{text}` is not a file mode"), "three octal digits, with a 0 before them");
    if !(3..=4).contains(&digits.len()) || !digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) {
        return Err(fault().help("write \"0660\" for owner and group, or \"0666\" for everybody on this machine"));
    }
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(fault().help("write \"0660\" for owner and group, or \"0666\" for everybody on this machine")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_abstract_names_are_sockets() {
        for text in ["unix:/run/app.sock", "unix:@app", "unix:/run/my app.sock"] {
            assert_eq!(name(text).unwrap().unwrap().to_string(), text);
        }
        for text in ["10.0.0.1:80", "web:80", "[::1]:80", "user@web:80", ""] {
            assert!(name(text).is_none(), "{text}");
        }
        let longest = format!("unix:/{}", "x".repeat(106));
        assert!(name(&longest).unwrap().is_ok());
        assert!(name(&format!("{longest}x")).unwrap().is_err());
    }

    #[test]
    fn a_wrong_socket_is_answered_with_the_right_one() {
        for (text, help) in [
            ("/run/app.sock", "write \"unix:/run/app.sock\""),
            ("unix@/run/app.sock", "write \"unix:/run/app.sock\""),
            ("abns@app", "write \"unix:@app\""),
            ("@app", "write \"unix:@app\""),
            ("unix:///run/app.sock", "write \"unix:/run/app.sock\""),
        ] {
            assert_eq!(name(text).unwrap().unwrap_err().help.as_deref(), Some(help), "{text}");
        }
        for text in ["unix:", "unix:@", "unix:/", "unix:/run/", "unix:run/app.sock", "unix:/run/a\nb"] {
            assert!(name(text).unwrap().is_err(), "{text}");
        }
    }

    #[test]
    fn modes_are_octal() {
        for (text, bits) in [("0660", 0o660), ("666", 0o666), ("0o600", 0o600), ("0777", 0o777)] {
            assert_eq!(mode(text).unwrap(), bits, "{text}");
        }
        for text in ["", "0", "0888", "1777", "rw-rw----", "00660", "-660", "+660"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
