//! The answer to a key that a section does not know: a later feature, another program's word, a slip of the pen, or a
//! key that belongs elsewhere.

use super::problem::Problem;
use super::section::one_of;
use super::tree::Entry;
use super::vocabulary::{CHECK_TCP, EVERY, FOREIGN, Words};

/// The problem with a key that a section does not know.
pub(super) fn refuse(entry: &Entry, path: &str, words: &Words) -> Problem {
    let key = entry.key.as_str();
    let section = if path.is_empty() { "at the top of the file".into() } else { format!("in [{path}]") };
    if words.later.contains(&key) {
        return Problem::error("not-supported-yet", entry.key_at, format!("`{key}` is not supported yet {section}"))
            .label("a later feature")
            .help("take it out: it would have no effect, and nothing here is ignored silently");
    }
    let unknown = |label: &str| {
        Problem::error("unknown-key", entry.key_at, format!("unknown key `{key}` {section}")).label(label.to_owned())
    };
    if let Some((_, ours)) = words.foreign.iter().find(|(word, _)| *word == key) {
        return unknown("another program's word, or nearly ours").help(format!("Evenkeel says {}", quoted(ours)));
    }
    if let Some(near) = nearest(key, words.keys.iter().copied()) {
        return unknown("no such key").help(format!("did you mean `{near}`?"));
    }
    if let Some((_, ours)) = FOREIGN.iter().find(|(word, _)| word.eq_ignore_ascii_case(key)) {
        return unknown("another program's word").help(format!("Evenkeel says {}", quoted(ours)));
    }
    let elsewhere = places_of(key);
    if !elsewhere.is_empty() {
        return unknown("not here").help(format!("it belongs into {}", one_of(elsewhere)));
    }
    if let Some(near) = nearest(key, words.later.iter().copied()) {
        return unknown("no such key").help(format!("`{near}` exists, but is not supported yet"));
    }
    unknown("no such key").help(format!("known here: {}", words.keys.join(", ")))
}

/// The sections that know a key.
fn places_of(key: &str) -> Vec<String> {
    // A check of type tcp has no keys of its own: what it knows, every check knows.
    if CHECK_TCP.keys.contains(&key) {
        return vec!["[pool.NAME.check.NAME]".into()];
    }
    EVERY.iter().filter(|words| words.keys.contains(&key)).map(|words| words.place.to_owned()).collect()
}

fn quoted(ours: &str) -> String {
    let bare = ours.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if bare { format!("`{ours}`") } else { ours.to_owned() }
}

/// The candidate that someone may have meant.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase().replace('-', "_");
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let plain = candidate.to_ascii_lowercase().replace('-', "_");
        let distance = strsim::damerau_levenshtein(&lower, &plain);
        // A third of the letters may be wrong, three at most.
        let allowed = (plain.len().max(lower.len()) / 3).clamp(1, 3);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["interval", "timeout", "rise", "fall"];
        assert_eq!(nearest("intervall", words.into_iter()), Some("interval"));
        assert_eq!(nearest("time_out", words.into_iter()), Some("timeout"));
        assert_eq!(nearest("Rise", words.into_iter()), Some("rise"));
        assert_eq!(nearest("colour", words.into_iter()), None);
    }

    #[test]
    fn no_key_is_known_and_later_or_foreign_at_once() {
        for words in EVERY {
            for key in words.keys {
                assert!(!words.later.contains(key), "{key} in {}", words.place);
                assert!(!words.foreign.iter().any(|(foreign, _)| foreign == key), "{key} in {}", words.place);
            }
        }
    }

    /// Where the reference explains the keys of a section.
    #[expect(clippy::too_many_lines, reason = "a table of like rows")]
    fn explained_in(words: &Words) -> &'static [&'static str] {
        match words.place {
            "the top of the file" => &[""],
            "[admin]" | "[admin] tokens" | "[admin.tls]" | "[admin] clients" | "[admin] rate" => &["[admin]"],
            "[log]" | "access = { ... }" | "to = { ... } of a log" => &["[log]"],
            "[listener.NAME.log]" => &["[listener.web.log]"],
            "[metrics]" => &["[metrics]"],
            "[tracing]" => &["[tracing]"],
            "[limits]" => &["[limits]"],
            "[shutdown]" => &["[shutdown]"],
            "[listener.NAME]"
            | "[listener.NAME.tls]"
            | "[listener.NAME.tls.clients]"
            | "tickets = { ... }"
            | "certificates = [{ ... }]"
            | "request_headers = { ... } and response_headers"
            | "hsts = { ... }"
            | "respond = { ... }"
            | "redirect = { ... }"
            | "rewrite = { ... }"
            | "rate = { ... }"
            | "cors = { ... }"
            | "basic_auth = { ... }"
            | "forward_auth = { ... }"
            | "compress = { ... }"
            | "errors = { ... }"
            | "mirror = { ... }" => &["[listener.web]"],
            "[listener.NAME.tcp]" | "keepalive = { ... }" => &["[listener.web.tcp]"],
            "[pool.NAME.tcp]" => &["[pool.web.tcp]"],
            "[listener.NAME.udp]" => &["[listener.names.udp]"],
            "[listener.NAME.limits]" => &["[listener.web.limits]", "[listener.names.limits]"],
            "[listener.NAME.timeouts]" => &["[listener.web.timeouts]", "[listener.names.timeouts]"],
            "[[listener.NAME.route]]" | "path = { ... }" | "header = { ... }, cookie and query" => {
                &["[[listener.web.route]]"]
            }
            "[pool.NAME]" => &["[pool.web]", "[pool.follower]"],
            "an entry of `backends`"
            | "send_proxy = { ... }"
            | "no_leader = { ... }"
            | "all_down = { ... }"
            | "flaps = { ... }"
            | "sticky = { ... }"
            | "outliers = { ... }"
            | "disagree = { ... }"
            | "[pool.NAME.tls]" => &["[pool.web]"],
            "[pool.NAME.retry]" => &["[pool.web.retry]"],
            "[pool.NAME.timeouts]" => &["[pool.web.timeouts]"],
            "a check of type \"tcp\"" | "tls = { ... } of a check" => &["[pool.web.check.home]"],
            "a check of type \"http\"" => &["[pool.web.check.home]", "[pool.web.check.role]"],
            "a check of type \"grpc\"" => &["[pool.web.check.home]", "[pool.web.check.service]"],
            "a check of type \"tls\"" => &["[pool.web.check.home]", "[pool.web.check.certificate]"],
            "a check of type \"mysql\"" => {
                &["[pool.web.check.home]", "[pool.web.check.login]", "[pool.other.check.database]"]
            }
            "a check of type \"apache\"" => &["[pool.web.check.home]", "[pool.web.check.server]"],
            "replica = { ... } of a check" => &["[pool.other.check.database]"],
            "[exec]" => &["[exec]"],
            "[upgrade]" => &["[upgrade]"],
            "[process]" => &["[process]"],
            "[[test]]" | "expect = { ... }" => &["[[test]]"],
            "a check of type \"postgres\"" => &["[pool.web.check.home]", "[pool.web.check.database]"],
            "a check of type \"redis\"" => &["[pool.web.check.home]", "[pool.web.check.cache]"],
            "a check of type \"smtp\"" => &["[pool.web.check.home]", "[pool.web.check.mail]"],
            "a check of type \"ldap\"" => &["[pool.web.check.home]", "[pool.web.check.directory]"],
            "a check of type \"script\"" | "a step of a check of type \"script\"" => {
                &["[pool.web.check.home]", "[pool.web.check.dialogue]"]
            }
            "a check of type \"agent\"" => &["[pool.web.check.home]", "[pool.web.check.agent]"],
            "a check of type \"exec\"" => &["[pool.web.check.home]", "[pool.web.check.command]"],
            "body = { ... }" => &["[pool.web.check.home]", "[pool.web.check.words]", "[pool.web.check.db]"],
            place => panic!("say where the reference explains {place}"),
        }
    }

    #[test]
    fn the_reference_explains_every_key() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let mut sections: Vec<(String, String)> = vec![(String::new(), String::new())];
        for line in text.lines() {
            if line.starts_with('[') {
                sections.push((line.split_whitespace().next().unwrap().to_owned(), String::new()));
            } else {
                // A comment that holds an option counts; prose does not.
                let line = line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line);
                let body = &mut sections.last_mut().unwrap().1;
                body.push_str(line);
                body.push('\n');
            }
        }
        for words in EVERY {
            for key in words.keys {
                let places = explained_in(words);
                let written =
                    sections.iter().filter(|(header, _)| places.contains(&header.as_str())).any(|(_, body)| {
                        body.match_indices(&format!("{key} = "))
                            .any(|(at, _)| at == 0 || body[..at].ends_with(['\n', ' ', '{', ',']))
                    });
                let inner =
                    |prefix: &str| sections.iter().any(|(header, _)| header.contains(&format!("{prefix}{key}")));
                let section = match words.place {
                    "the top of the file" => inner("["),
                    "[listener.NAME]" => inner("[listener.web.") || inner("[listener.names."),
                    "[pool.NAME]" => inner("[pool.web."),
                    _ => false,
                };
                assert!(written || section, "config/reference.toml does not explain `{key}` of {}", words.place);
            }
        }
    }
}
