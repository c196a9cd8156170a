//! What rules of HAProxy do, in keys of ours: redirects, answers, refusals and header fields.

use super::super::draft::{At, Keys};
use super::super::quote::quoted;
use super::words::Line;

/// Cuts off the condition.
pub(super) fn divide(words: &[String]) -> (&[String], &[String]) {
    let at = words.iter().position(|word| word == "if" || word == "unless").unwrap_or(words.len());
    words.split_at(at)
}

/// `redirect scheme|location|prefix TO [code N]`.
pub(super) fn redirect(words: &[String], at: At) -> Result<Keys, String> {
    let kind = words.first().map_or("", String::as_str);
    let to = words.get(1).map_or("", String::as_str);
    let code = words.iter().position(|word| word == "code").and_then(|at| words.get(at + 1));
    let to = match kind {
        "scheme" if to == "https" => "https".to_owned(),
        "scheme" => return Err("ours redirect to https, or to a place".into()),
        "prefix" => format!("{}$target", template(to.trim_end_matches('/'))?),
        "location" => template(to)?,
        _ => return Err("a kind of redirect that ours do not have".into()),
    };
    // HAProxy answers 302 where nothing is said.
    let status = code.map_or("302", String::as_str);
    let mut keys = Keys::default();
    keys.written("redirect", format!("{{ to = {}, status = {} }}", quoted(&to), number(status)?), at);
    Ok(keys)
}

fn number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_not_a_number| format!("`{text}` is not a number"))
}

/// `http-request return|deny` as an answer of our own.
pub(super) fn answer(words: &[String], otherwise: &str, at: At) -> Result<Keys, String> {
    let (mut status, mut kind, mut text, mut file) = (otherwise.to_owned(), None, None, None);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().cloned().unwrap_or_default();
        match word.as_str() {
            "status" | "deny_status" => status = value(),
            "content-type" => kind = Some(value()),
            "string" | "lf-string" => text = Some(value()),
            "file" => file = Some(value()),
            other => return Err(format!("ours do not know `{other}` of an answer")),
        }
    }
    let mut table = vec![format!("status = {}", number(&status)?)];
    table.extend(text.map(|text| format!("text = {}", quoted(&text))));
    table.extend(file.map(|file| format!("file = {}", quoted(&file))));
    table.extend(kind.map(|kind| format!("type = {}", quoted(&kind))));
    let mut keys = Keys::default();
    let written = if table.len() == 1 { number(&status)?.to_string() } else { format!("{{ {} }}", table.join(", ")) };
    keys.written("respond", written, at);
    Ok(keys)
}

/// Fields that ours writes itself.
fn is_own(name: &str) -> bool {
    let own = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];
    own.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// `set-header`, `add-header`, `del-header` of requests or responses. Nothing: ours does that anyhow.
pub(super) fn header(which: Which, line: &Line, words: &[String]) -> Result<Keys, String> {
    let (verb, name) = (words.first().map_or("", String::as_str), words.get(1).map_or("", String::as_str));
    let mut keys = Keys::default();
    if which == Which::Request && is_own(name) {
        return Ok(keys);
    }
    let table = match which {
        Which::Request => "request_headers",
        Which::Response => "response_headers",
    };
    match verb {
        "del-header" if words.len() == 2 => keys.item(&format!("{table}.remove"), name, line.at),
        "set-header" | "add-header" => {
            let value = template(words.get(2).map_or("", String::as_str))?;
            let verb = verb.trim_end_matches("-header");
            keys.text(&format!("{table}.{verb}.{}", quoted(name)), &value, line.at);
        }
        _ => return Err("ours do not change header fields in that way".into()),
    }
    Ok(keys)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Request,
    Response,
}

/// A log format as a text with our variables.
pub(super) fn template(text: &str) -> Result<String, String> {
    let mut ours = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['%', '$']) {
        let (before, from) = rest.split_at(at);
        ours.push_str(before);
        if let Some(after) = from.strip_prefix("%%") {
            ours.push('%');
            rest = after;
        } else if let Some(after) = from.strip_prefix('$') {
            ours.push_str("$$");
            rest = after;
        } else if let Some(inner) = from.strip_prefix("%[") {
            let (sample, after) = inner.split_once(']').ok_or("a `%[` without its `]`")?;
            ours.push_str(&variable(sample)?);
            rest = after;
        } else {
            let known = [("%ci", "$client_ip"), ("%ID", "$request_id"), ("%HM", "$method"), ("%HP", "$path")];
            let (name, variable) = (known.iter().find(|(name, _)| from.starts_with(name)))
                .ok_or_else(|| format!("ours have no variable for `{}`", from.split(' ').next().unwrap_or(from)))?;
            ours.push_str(variable);
            rest = &from[name.len()..];
        }
    }
    ours.push_str(rest);
    Ok(ours)
}

fn variable(sample: &str) -> Result<String, String> {
    let sample = sample.trim_end_matches(",lower");
    let inside =
        |names: &[&str]| names.iter().find_map(|name| sample.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')'));
    Ok(match sample {
        "src" => "$client_ip".into(),
        "ssl_fc_sni" => "$tls_server_name".into(),
        "ssl_fc_protocol" => "$tls_version".into(),
        "ssl_fc_cipher" => "$tls_cipher".into(),
        "ssl_c_s_dn" => "$tls_client_subject".into(),
        "method" => "$method".into(),
        "path" => "$path".into(),
        "query" => "$query".into(),
        "capture.req.uri" | "url" | "pathq" => "$target".into(),
        "unique-id" | "uuid()" => "$request_id".into(),
        "req.hdr(host)" | "hdr(host)" | "req.hdr(Host)" | "hdr(Host)" => "$host".into(),
        _ => match (inside(&["req.hdr", "hdr", "req.fhdr"]), inside(&["req.cook", "cook"])) {
            (Some(name), _) => format!("$header:{name}"),
            (_, Some(name)) => format!("$cookie:{name}"),
            _ => return Err(format!("ours have no variable for `%[{sample}]`")),
        },
    })
}
