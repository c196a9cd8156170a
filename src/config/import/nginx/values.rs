//! Values with nginx's variables, as texts with ours.

/// None: a variable that ours do not have.
pub(super) fn template(text: &str) -> Option<String> {
    let mut ours = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('$') {
        ours.push_str(before);
        let end = from.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(from.len());
        let (name, after) = from.split_at(end);
        ours.push_str(&variable(name)?);
        rest = after;
    }
    ours.push_str(rest);
    Some(ours)
}

fn variable(name: &str) -> Option<String> {
    Some(match name {
        "host" => "$hostname".into(),
        "http_host" => "$host".into(),
        "request_uri" => "$target".into(),
        "uri" | "document_uri" => "$path".into(),
        "args" | "query_string" => "$query".into(),
        "scheme" => "$scheme".into(),
        "remote_addr" => "$client_ip".into(),
        "remote_user" => "$user".into(),
        "request_id" => "$request_id".into(),
        "request_method" => "$method".into(),
        "ssl_protocol" => "$tls_version".into(),
        "ssl_cipher" => "$tls_cipher".into(),
        "ssl_server_name" => "$tls_server_name".into(),
        "ssl_client_s_dn" => "$tls_client_subject".into(),
        _ => match (name.strip_prefix("http_"), name.strip_prefix("cookie_")) {
            (Some(header), _) => format!("$header:{}", header.replace('_', "-")),
            (_, Some(cookie)) => format!("$cookie:{cookie}"),
            _ => return None,
        },
    })
}
