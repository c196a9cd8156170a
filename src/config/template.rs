//! Text with variables: `$client_ip`, `$header:x-tenant`. `$$` stands for a plain `$`.
//!
//! Not `${…}`: that is replaced when the file is read (`substitute`); a template is filled in for each request.

use super::model::{Page, Piece, Template, Variable};
use super::units::Fault;
use super::unknown::nearest;
use crate::log::format::TlsFact;

/// Variables without an argument.
const PLAIN: &[(&str, Variable)] = &[
    ("client_ip", Variable::ClientIp),
    ("user", Variable::User),
    ("scheme", Variable::Scheme),
    ("host", Variable::Host),
    ("hostname", Variable::Hostname),
    ("method", Variable::Method),
    ("path", Variable::Path),
    ("query", Variable::Query),
    ("target", Variable::Target),
    ("backend_target", Variable::BackendTarget),
    ("backend_path", Variable::BackendPath),
    ("request_id", Variable::RequestId),
    ("listener", Variable::Listener),
    ("pool", Variable::Pool),
    ("tls_version", Variable::Tls(TlsFact::Version)),
    ("tls_cipher", Variable::Tls(TlsFact::Cipher)),
    ("tls_server_name", Variable::Tls(TlsFact::ServerName)),
    ("tls_client_subject", Variable::Tls(TlsFact::ClientSubject)),
    ("backend", Variable::Backend),
    ("status", Variable::Status),
];

/// What is known of every error.
const OF_ERRORS: &str = "pages know $request_id, $status, $client_ip and $listener; `$$` is a plain `$`";

/// When a template is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before a backend is picked.
    Request,
    /// When there is an answer.
    Answer,
    /// When there is an error, whatever is known of the request.
    Error,
}

/// Reads a template that is filled in at this moment.
pub(super) fn template(text: &str, moment: Moment) -> Result<Template, Fault> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        plain.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(behind) = rest.strip_prefix('$') {
            plain.push('$');
            rest = behind;
            continue;
        }
        let name = &rest[..name_length(rest)];
        rest = &rest[name.len()..];
        let variable = variable(text, name).map_err(|fault| match moment {
            // Of all that there are, these few.
            Moment::Error if !name.is_empty() => fault.help(OF_ERRORS),
            _ => fault,
        })?;
        if moment == Moment::Request && variable.is_of_answer() {
            let fault = Fault::new("template", format!("`${name}` is not known yet"), "there is no answer yet");
            return Err(fault.help("it can stand in response_headers"));
        }
        if moment == Moment::Error && !Page::knows(&variable) {
            let fault = Fault::new("template", format!("`${name}` is not known of every error"), "perhaps unreadable");
            return Err(fault.help(OF_ERRORS));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
        }
        pieces.push(Piece::Variable(variable));
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain.into()));
    }
    Ok(Template(pieces))
}

/// A word, and behind a colon the argument of those that take one.
fn name_length(text: &str) -> usize {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let word = text.find(|letter| !is_word(letter)).unwrap_or(text.len());
    if !matches!(&text[..word], "header" | "cookie") || !text[word..].starts_with(':') {
        return word;
    }
    let argument = &text[word + 1..];
    let length = argument.find(|letter| !is_word(letter) && letter != '-').unwrap_or(argument.len());
    word + 1 + length
}

fn variable(text: &str, name: &str) -> Result<Variable, Fault> {
    if let Some((_, variable)) = PLAIN.iter().find(|(known, _)| *known == name) {
        return Ok(variable.clone());
    }
    match name.split_once(':') {
        Some(("header", argument)) if !argument.is_empty() => {
            return Ok(Variable::Header(argument.to_ascii_lowercase().into()));
        }
        Some(("cookie", argument)) if !argument.is_empty() => return Ok(Variable::Cookie(argument.into())),
        _ => {}
    }
    if name.is_empty() {
        let fault = Fault::new("template", format!("`{text}` has a `$` without a name"), "which variable?");
        return Err(fault.help("write `$$` for a plain `$`"));
    }
    let fault = Fault::new("template", format!("there is no variable `${name}`"), "not known");
    let names = PLAIN.iter().map(|(name, _)| *name).chain(["header:NAME", "cookie:NAME"]);
    Err(match nearest(name, names.clone()) {
        Some(near) => fault.help(format!("did you mean `${near}`?")),
        None => fault.help(format!("the variables are ${}", names.collect::<Vec<_>>().join(", $"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    #[test]
    fn variables_stand_in_text() {
        use Variable::{ClientIp, Cookie, Header, Host};
        for (written, pieces) in [
            ("", vec![]),
            ("plain", vec![text("plain")]),
            ("$client_ip", vec![Piece::Variable(ClientIp)]),
            ("a $host, b", vec![text("a "), Piece::Variable(Host), text(", b")]),
            ("$$5", vec![text("$5")]),
            ("$header:X-Tenant.", vec![Piece::Variable(Header("x-tenant".into())), text(".")]),
            (
                "$cookie:id;$host:80",
                vec![Piece::Variable(Cookie("id".into())), text(";"), Piece::Variable(Host), text(":80")],
            ),
        ] {
            assert_eq!(template(written, Moment::Request), Ok(Template(pieces)), "{written}");
        }
    }

    #[test]
    fn what_is_no_variable_is_said_with_the_nearest() {
        let help = |written| template(written, Moment::Request).unwrap_err().help.unwrap();
        assert_eq!(help("$clientip"), "did you mean `$client_ip`?");
        assert!(help("a $ b").contains("`$$`"));
        assert!(help("$status").contains("response_headers"));
        assert!(template("$status", Moment::Answer).is_ok());
        assert!(template("$header:", Moment::Answer).is_err());
    }
}
