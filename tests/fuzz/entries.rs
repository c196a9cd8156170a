//! What each fuzz target does with its input, and what inputs may begin with. `tests/parsers.rs` runs the same functions
//! over mutated inputs in every run of the tests, so that no target can rot.

pub mod by_others;

use std::sync::Arc;

use evenkeel::config::import::{Imported, haproxy, nginx};
use evenkeel::config::{self, Color, Source};
use evenkeel::health::Expression;
use evenkeel::net::buffer::Buffer;
use evenkeel::net::client_hello::{self, Hello};
use evenkeel::net::proxy_protocol;
use evenkeel::path::{self, Slashes, Verdict};
use evenkeel::probe::parsers;
use evenkeel::proxy::http::http1::answer::{Answer, Asked};
use evenkeel::proxy::http::http1::chunked::Chunked;
use evenkeel::proxy::http::http1::request::{Limits, Proof, Request, Sender};
use evenkeel::proxy::http::http1::{Framing, fields};

/// One parser.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name, which its target has, too.
    pub name: &'static str,
    /// Panics where the parser does, or where what it says cannot be.
    pub run: fn(&[u8]),
    /// What may be found at its door, to be changed at random.
    pub seeds: &'static [&'static [u8]],
}

/// All of them.
pub const ALL: &[Entry] = &[
    Entry { name: "request", run: request, seeds: REQUESTS },
    Entry { name: "request_by_hyper", run: request_by_hyper, seeds: REQUESTS },
    Entry { name: "client_hello", run: hello, seeds: HELLOS },
    Entry { name: "path", run: path, seeds: PATHS },
    Entry { name: "answer", run: answer, seeds: ANSWERS },
    Entry { name: "chunked", run: chunked, seeds: CHUNKS },
    Entry { name: "proxy_header", run: proxy_header, seeds: PROXY_HEADERS },
    Entry { name: "expression", run: expression, seeds: EXPRESSIONS },
    Entry { name: "config", run: config, seeds: CONFIGS },
    Entry { name: "import_haproxy", run: import_haproxy, seeds: HAPROXY },
    Entry { name: "import_nginx", run: import_nginx, seeds: NGINX },
    Entry { name: "agent", run: |said| probe("agent", said), seeds: AGENTS },
    Entry { name: "apache", run: |said| probe("apache", said), seeds: PAGES },
    Entry { name: "ldap", run: |said| probe("ldap", said), seeds: DIRECTORIES },
    Entry { name: "mysql", run: |said| probe("mysql", said), seeds: DATABASES },
    Entry { name: "postgres", run: |said| probe("postgres", said), seeds: MESSAGES },
    Entry { name: "redis", run: |said| probe("redis", said), seeds: REPLIES },
    Entry { name: "smtp", run: |said| probe("smtp", said), seeds: MAILS },
];

/// Runs the entry of this name.
pub fn run(name: &str, input: &[u8]) {
    let entry = ALL.iter().find(|entry| entry.name == name).expect("each target has its entry");
    (entry.run)(input);
}

fn probe(name: &str, said: &[u8]) {
    let (_, feed) = parsers::ALL.iter().find(|(known, _)| *known == name).expect("each type has its parser");
    feed(said);
}

const LIMITS: Limits = Limits { head_bytes: 8192, target_bytes: 2048, headers: 64 };

/// A head that is let in is one that is let in again as it is written for the backend, with the same body; and a head is
/// the same however much of what follows has come.
fn request(input: &[u8]) {
    let mut room = fields::room();
    let Ok(Some(read)) = Request::parse(input, &mut room, LIMITS) else { return };
    assert!(read.length <= input.len() && read.head.len() <= read.length);
    let mut room = fields::room();
    let alone = Request::parse(&input[..read.length], &mut room, LIMITS);
    assert!(matches!(&alone, Ok(Some(alone)) if alone.length == read.length && alone.framing == read.framing));
    if read.length > 0 {
        let mut room = fields::room();
        let cut = Request::parse(&input[..read.length - 1], &mut room, LIMITS);
        assert!(!matches!(cut, Ok(Some(_))), "a head is whole before its end");
    }
    let out = written(&read);
    let mut room = fields::room();
    let generous = Limits { head_bytes: 65_536, target_bytes: 65_536, headers: 128 };
    let again = Request::parse(out.filled(), &mut room, generous);
    let Ok(Some(again)) = again else {
        panic!("written anew, it is refused: {}", String::from_utf8_lossy(out.filled()));
    };
    assert_eq!(again.length, out.filled().len(), "something follows the head");
    // Without a body there is nothing that could be read in two ways.
    assert!(again.framing == read.framing || (is_empty(again.framing) && is_empty(read.framing)));
    assert_eq!(again.method, read.method);
}

/// The head as a backend gets it.
fn written(read: &Request<'_>) -> Buffer {
    let sender = Sender {
        client: b"192.0.2.1",
        scheme: b"http",
        host: None,
        request_id: b"0123456789abcdef0123456789abcdef",
        fallback_host: b"fallback.example",
        proof: Proof::Untold,
    };
    let mut out = Buffer::empty();
    out.make_room(2 * read.length + 1024);
    read.write(&mut out, &sender, None);
    out
}

/// What a backend is sent, hyper understands as it was understood here: the same method, target and body.
fn request_by_hyper(input: &[u8]) {
    let mut room = fields::room();
    let Ok(Some(read)) = Request::parse(input, &mut room, LIMITS) else { return };
    let (head, rest) = (written(&read), &input[read.length..]);
    let Some(body) = content(read.framing, rest) else { return };
    let sent = [head.filled(), rest].concat();
    let Some(understood) = by_others::by_hyper(&sent) else {
        let named = http::Method::from_bytes(read.method.as_bytes()).is_ok();
        let readable = read.origin_target.parse::<http::Uri>().is_ok();
        assert!(!named || !readable, "hyper refuses: {}", sent.escape_ascii());
        return;
    };
    assert_eq!(understood.method, read.method);
    assert_eq!(understood.body.as_ref(), Some(&body), "another body in: {}", sent.escape_ascii());
    let hosts: Vec<_> = understood.fields.iter().filter(|(name, _)| name == "host").collect();
    assert!(hosts.len() <= 1, "more than one host in: {}", sent.escape_ascii());
    if read.origin_target.starts_with('/') {
        let target = read.origin_target.split('#').next().unwrap_or_default();
        assert!(understood.target.ends_with(target), "another target in: {}", sent.escape_ascii());
    }
}

/// The body without its framing; `None` where it is not whole, or broken.
fn content(framing: Framing, rest: &[u8]) -> Option<Vec<u8>> {
    match framing {
        Framing::Empty => Some(Vec::new()),
        Framing::Length(length) => rest.get(..usize::try_from(length).ok()?).map(<[u8]>::to_vec),
        Framing::Chunked => {
            let (mut chunks, mut content) = (Chunked::new(), Vec::new());
            chunks.decode(rest, |part| content.extend_from_slice(part)).ok()?;
            chunks.is_done().then_some(content)
        }
        Framing::UntilClose => None,
    }
}

/// A hello says no more when more comes, and its name is the one that rustls finds.
fn hello(input: &[u8]) {
    let whole = client_hello::read(input);
    // Where it is cut is as good as chance.
    let at = input.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let cut = client_hello::read(&input[..at % (input.len() + 1)]);
    assert!(cut == Hello::Incomplete || cut == whole, "{cut:?} became {whole:?}");
    if let (Hello::Whole(name), Some(found)) = (&whole, by_others::name_by_rustls(input)) {
        assert_eq!(Some(&*found), name.as_deref(), "in: {}", input.escape_ascii());
    }
}

/// The normal form of a path is its own, has no way up in it, and stays plain where it was; and so is all that is read in it.
fn path(input: &[u8]) {
    for slashes in [Slashes::Keep, Slashes::Merge] {
        let Ok(form) = path::normal(input, slashes) else { continue };
        is_normal(&form, slashes);
        if path::is_plain(input) {
            assert_eq!(form, input, "what is plain stays");
            assert!(!path::says_more(input));
        }
        let mut count = 0;
        let read = path::readings(&form, |reading| {
            is_normal(reading, Slashes::Merge);
            count += 1;
            Verdict::Same
        });
        assert!(count <= 6 && (count == 0 || !path::is_plain(&form)), "what is plain is read in one way");
        assert!(!path::is_plain(&form) || read.is_ok());
    }
}

fn is_normal(form: &[u8], slashes: Slashes) {
    assert!(form.starts_with(b"/") && form.is_ascii() && !form.iter().any(u8::is_ascii_control));
    assert!(form.split(|byte| *byte == b'/').all(|segment| segment != b"." && segment != b".."), "a way up");
    assert_eq!(path::normal(form, slashes).as_deref(), Ok(form), "twice is once");
}

fn is_empty(framing: Framing) -> bool {
    matches!(framing, Framing::Empty | Framing::Length(0))
}

fn answer(input: &[u8]) {
    for asked in [Asked { head: false, upgrade: false }, Asked { head: true, upgrade: true }] {
        let mut room = fields::room();
        let Ok(Some(read)) = Answer::parse(input, &mut room, asked) else { continue };
        assert!(read.length <= input.len());
        assert!((100..600).contains(&read.status));
    }
}

/// A body is the same in one piece and in two.
fn chunked(input: &[u8]) {
    let mut whole = Chunked::new();
    let mut content = Vec::new();
    let taken = whole.decode(input, |part| content.extend_from_slice(part));
    if let Ok(taken) = taken {
        assert!(taken <= input.len());
        assert_eq!(content.len() as u64, whole.data_bytes());
    }
    // Where it is cut is as good as chance.
    let at = input.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let at = at % (input.len() + 1);
    let mut parts = Chunked::new();
    let mut pieces = Vec::new();
    let first = parts.decode(&input[..at], |part| pieces.extend_from_slice(part));
    let second = first.and_then(|first| {
        let rest = parts.decode(&input[first..], |part| pieces.extend_from_slice(part))?;
        Ok(first + rest)
    });
    assert_eq!(second.is_ok(), taken.is_ok(), "cut at {at}");
    if let (Ok(taken), Ok(second)) = (taken, second) {
        assert_eq!((taken, &content, whole.is_done()), (second, &pieces, parts.is_done()), "cut at {at}");
    }
}

fn proxy_header(input: &[u8]) {
    let _ = proxy_protocol::understand(input);
}

fn expression(input: &[u8]) {
    let names: Vec<Arc<str>> = ["web", "db", "a", "b"].map(Arc::from).to_vec();
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = Expression::parse(text, &names);
    }
}

/// Whatever a peer's file holds, what comes of it is a report of lines that are there.
fn imported(input: &[u8], imported: &Imported) {
    let lines = input.split(|byte| *byte == b'\n').count();
    assert!(imported.lost.iter().all(|lost| lost.line <= lines));
}

fn import_haproxy(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    imported(input, &haproxy::import("haproxy.cfg", &text, &|_name| Some(text.to_string())));
}

fn import_nginx(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    imported(input, &nginx::import("nginx.conf", &text, &|_pattern| Vec::new()));
}

fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // No variable and no file of this machine.
    let loaded = config::load_with(&Source::text(text.replace("${file:", "${")), &|_| None);
    if let Err(problems) = loaded {
        assert!(!problems.render(Color::Plain, "").is_empty());
    }
}

const PATHS: &[&[u8]] = &[
    b"/a/b.c/~d?",
    b"/%61/./b/../c//d",
    b"/x/..;a=b/admin",
    b"/%2561dmin/%252e%252e%255c",
    b"/x%2F..%2Fadmin%3Bx%3f",
    b"/.well-known/%c3%a9/%c0%ae%e0%80%ae",
    b"//a///b//",
    b"/x\\..\\admin%00%",
];

const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"POST /a/b?c=d HTTP/1.1\r\nHost: a.example:8080\r\nContent-Length: 5\r\nConnection: keep-alive, X-Y\r\nX-Y: z\r\n\r\nhello",
    b"\r\nPUT http://b.example/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n0\r\n\r\n",
    b"GET /live HTTP/1.1\r\nHost: [::1]\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2\r\nForwarded: for=\"[::1]\"\r\n\r\n",
    b"GET / HTTP/1.0\r\nX-Request-ID: abc\r\nCookie: a=b; c=d\r\nTE: trailers\r\n\r\n",
];

const HELLOS: &[&[u8]] = &[
    b"\x16\x03\x01\0\x43\x01\0\0\x3f\x03\x0301234567890123456789012345678901\0\0\x02\x13\x01\x01\0\0\x14\0\0\0\x08\0\x06\0\0\x03a.b\0\x0d\0\x04\0\x02\x04\x03",
    b"\x16\x03\x01\0\x10\x01\0\0\x3f\x03\x030123456789\x16\x03\x01\0\x3301234567890123456789AB\0\0\x02\x13\x01\x01\0\0\x14\0\x0d\0\x04\0\x02\x04\x03\0\0\0\x08\0\x06\0\0\x03A.B",
    b"\x16\x03\x01\0\x2d\x01\0\0\x29\x03\x0301234567890123456789012345678901\0\0\x02\x13\x01\x01\0",
];

const ANSWERS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.0 302 Found\r\nLocation: /x\r\nConnection: keep-alive\r\n\r\n",
];

const CHUNKS: &[&[u8]] = &[
    b"5\r\nhello\r\n0\r\n\r\n",
    b"a;name=\"value\"\r\n0123456789\r\n00\r\nX-Sum: 1\r\nY: z\r\n\r\nGET /",
    b"ffffffffffffffff\r\nx",
    b"1\r\na\r\n1\r\nb\r\n0\r\nContent-Length: 5\r\n\r\n",
];

const PROXY_HEADERS: &[&[u8]] = &[
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 65535 1\r\n",
    b"PROXY UNKNOWN anything at all\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x04\xd2\0\x50",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x04\xd2\0\x50",
];

const EXPRESSIONS: &[&[u8]] =
    &[b"web and db", b"not (a or b) and 2 of (web, db, a)", b"((((web))))", b"1 of (a, not b)"];

const CONFIGS: &[&[u8]] = &[
    b"[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[[listener.web.route]]\nhost = [\"a.b\", \"*.c\"]\npath = \"/v1\"\npool = \"p\"\n[pool.p]\nbackends = [\"10.0.0.1:80\", { name = \"b\", address = \"[::1]:1\", weight = 2 }]\ncheck.c = { type = \"http\", status = [200, \"204-299\"], interval = \"1s\" }\nhealthy_when = \"c\"\n",
    b"[listener.dns]\nbind = [\"0.0.0.0:53\", \"[::]:53\"]\nprotocol = \"udp\"\npool = \"p\"\nudp = { responses = 1 }\n[pool.p]\nbackends = [\"a.example:53\"]\nmode = \"leader\"\n[pool.p.check.x]\ntype = \"script\"\ntransport = \"udp\"\nsteps = [{ send_hex = \"00\" }, { expect_regex = \"a+\" }]\n",
    b"watch = true\nworkers = \"${W:-auto}\"\n[limits]\nconnections = 5\n[pool.p]\npreset = \"vault\"\nbackends = [\"x:1\"]\n[listener.l]\nbind = \"0.0.0.0:1\"\npool = \"p\"\nlimits = { head = \"1KiB\" }\n",
];

const HAPROXY: &[&[u8]] = &[
    b"defaults\n mode http\n timeout client 5s\nfrontend w\n bind *:80,[::]:81 accept-proxy\n acl a path_beg /x /y\n acl b hdr_dom(host) -i c.d\n http-request deny if a !b or { src 10.0.0.0/8 }\n use_backend p unless b !a\n redirect scheme https code 301 if !{ ssl_fc }\n http-request set-header X \"%[src] %ci $\\x41\"\n default_backend p\nbackend p\n balance hdr(X)\n cookie S insert domain .e maxlife 5\n option httpchk GET /h HTTP/1.1\\r\\nHost:\\ x\n http-check expect ! rstring ^a\n default-server inter 2s rise 2\n server s1 10.0.0.1:80 check weight 3 backup ssl verify none\n server s2 /run/s check port 9 agent-check agent-port 7\n",
    b"global\n maxconn 9\nlisten l\n bind :5\n option tcp-check\n tcp-check send PING\\r\\n\n tcp-check expect string +PONG\n stick on src\n timeout check 9s\n server-template t 3 h:5 check\n use_backend x if { req_ssl_sni -m end .a.b }\n",
];

const NGINX: &[&[u8]] = &[
    b"http { gzip on; upstream u { least_conn; server a:1 weight=2 down; server unix:/s backup; hash $http_x; } server { listen 80 default_server; listen [::]:443 ssl http2; server_name .a.b ~^x$ c.*; ssl_certificate c; ssl_certificate_key k; location = /p { return 200 \"x\"; } location ^~ /q/ { proxy_pass http://u/r/; allow 10.0.0.0/8; deny all; } location ~* \\.(png|jpg)$ { proxy_pass https://h; } rewrite ^ / last; error_page 500 502 /50x.html; } }",
    b"stream { map $ssl_preread_server_name $n { a.b u; default v:1; } server { listen 53 udp; proxy_pass u:53; proxy_timeout 5s; } server { listen 1; proxy_pass $n; } } include x; # end\n",
];

const AGENTS: &[&[u8]] =
    &[b"up ready 50%\n", b"down#the disk is full\r\n", b"maint,drain 100% maxconn:30", b"weight:5% stopped\n"];

const PAGES: &[&[u8]] =
    &[b"BusyWorkers: 1\nIdleWorkers: 49\nScoreboard: __W_KRS...I\n", b"Total Accesses: 1\r\nScoreboard: WWW\r\n"];

const DIRECTORIES: &[&[u8]] = &[
    b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
    b"\x30\x84\0\0\0\x10\x02\x01\x01\x61\x84\0\0\0\x07\x0a\x01\x31\x04\x00\x04\x00",
];

const DATABASES: &[&[u8]] = &[
    b"\x4a\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xf7\xff\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0caching_sha2_password\0",
    b"\x17\xff\x15\x04#28000Access denied xx",
    b"\x01\x02\x11\x03def\0\0\0\x01a\0\x0c\x3f\0\x0b\0\0\0\x03\0\0\0\0\0\x05\xfe\0\0\x02\0\x04\x011\x012\x05\xfe\0\0\x02\0",
];

const MESSAGES: &[&[u8]] = &[
    b"R\0\0\0\x0c\0\0\0\x05abcd",
    b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0Z\0\0\0\x05I",
    b"E\0\0\0\x22SFATAL\0C53300\0Mtoo many\0\0\0\0\0\0\0\0",
    b"T\0\0\0\x1b\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0D\0\0\0\x0b\0\x01\0\0\0\x01tC\0\0\0\x0dSELECT 1\0",
    b"r=abcdef,s=c2FsdA==,i=4096",
];

const REPLIES: &[&[u8]] = &[
    b"+PONG\r\n",
    b"-LOADING Redis is loading\r\n",
    b"*3\r\n$6\r\nmaster\r\n:3129659\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n$7\r\n3129242\r\n",
    b"$-1\r\n*-1\r\n",
];

const MAILS: &[&[u8]] = &[b"220 mail.example ESMTP\r\n", b"250-mail.example\r\n250-SIZE 1\r\n250 HELP\r\n", b"421\r\n"];
