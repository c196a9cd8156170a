//! What no other file of this folder reads: lines that mean nothing to ours are left out, all others are lost with a
//! reason. Words that are in neither list are lost, so that a word of a later HAProxy is never left out silently.

use super::super::draft::Draft;
use super::Section;
use super::words::Line;

/// First words that are read elsewhere (`front`, `back`, `server` and `checks` say themselves what is lost), that ours do
/// anyhow, or that are about HAProxy itself.
const KNOWN: &str = "\
    acl backlog balance bind block compression cookie default-server default_backend errorfile errorloc \
    errorloc302 errorloc303 filter fullconn http-check http-request http-response log-format maxconn mode \
    monitor-uri redirect reqadd reqdel reqirep reqrep retries retry-on rspadd rspdel rspirep rsprep server \
    server-template source stats stick stick-table tcp-check tcp-request timeout unique-id-format use_backend \
    bind-process description enabled guid hash-balance-factor hash-type http-reuse id log-tag max-keep-alive-queue \
    no unique-id-header";

/// The same for the words behind `option`: ours try elsewhere, keep connections, watch them and splice by themselves.
const OPTIONS: &str = "\
    allbackups external-check forwardfor httpchk httplog ldap-check mysql-check pgsql-check redis-check smtpchk \
    spop-check ssl-hello-chk tcp-check tcplog clitcpka contstats dontlog-normal dontlognull http-buffer-request \
    http-ignore-probes http-keep-alive http-no-delay http-pretend-keepalive http-server-close http-use-htx \
    idle-close-on-response log-health-checks log-separate-errors logasap prefer-last-server redispatch \
    socket-stats splice-auto splice-request splice-response srvtcpka tcp-smart-accept tcp-smart-connect tcpka";

/// Deadlines that are read; the others of HAProxy have none of ours beside them.
const TIMEOUTS: &str = "check client connect http-keep-alive http-request queue server tunnel";

pub(super) fn read(draft: &mut Draft, section: &Section) {
    for line in section.lines() {
        if let Some(why) = lost(line, section) {
            draft.lose(line.at, &line.shown(), why);
        }
    }
}

fn lost(line: &Line, section: &Section) -> Option<&'static str> {
    let http = section.is_http();
    match (line.word(0), line.word(1)) {
        ("option", "httpclose" | "forceclose" | "http-tunnel") => {
            Some("ours keep connections, each way as long as its side wants")
        }
        ("option", "abortonclose") => Some("a request whose client has gone is always given up"),
        (
            "option",
            "accept-invalid-http-request" | "accept-invalid-http-response" | "accept-unsafe-violations-in-http-request",
        ) => Some("what two programs could read in two ways is refused, always"),
        ("option", "originalto") => Some("the address that a client came to is not told"),
        ("option", word) if is_in(OPTIONS, word) => None,
        ("option", _) => Some("ours have no such option"),
        ("timeout", word) if is_in(TIMEOUTS, word) => None,
        ("timeout", _) => Some("ours have no such deadline"),
        ("log", "global") => Some("access logs are off by default: see `access` in [log]"),
        ("log" | "log-format-sd" | "log-steps", _) => Some("see `access` and `to` in [log]"),
        ("mode", "http" | "tcp") | ("compression", "algo") => None,
        ("mode", _) => Some("ours speak http, tcp and udp"),
        ("disabled", _) => Some("HAProxy leaves the whole section out: take it out here, too"),
        ("cookie", _) if !http => Some("a connection of TCP has no cookies: see sticky = { by = \"source\" }"),
        ("compression", _) => Some("ours compress what is worth it; see `compress`"),
        ("dispatch" | "use-server" | "force-persist" | "ignore-persist" | "persist", _) => {
            Some("who has the work is said by `mode`, `sticky` and routes")
        }
        ("rate-limit", _) => Some("see `rate`, and `connections_per_client` of [listener.NAME.limits]"),
        ("http-error" | "errorfiles", _) => Some("see `errors`, which take the body alone"),
        ("monitor" | "monitor-net", _) => {
            Some("whoever asks whether ours is well asks /readyz?pool=NAME of the admin port")
        }
        ("load-server-state-from-file" | "server-state-file-name", _) => Some("see `state_file`"),
        ("email-alert", _) => Some("alerts are Prometheus' to send: see `evenkeel_pool_alarm`"),
        (word, _) if is_in(KNOWN, word) => None,
        _ => Some("ours have nothing like it"),
    }
}

fn is_in(words: &str, word: &str) -> bool {
    words.split_ascii_whitespace().any(|known| known == word)
}
