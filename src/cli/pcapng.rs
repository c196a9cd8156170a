//! The exchanges of probes as a capture file that Wireshark opens (pcapng), with packets made from the bytes of the
//! transcript.
//!
//! What the probe saw is true: addresses, bytes, times. What it could not see is made up so that a reader of packets is
//! content: sequence numbers, handshakes, acknowledgements. Inside of TLS the bytes are those before encryption. Every
//! packet carries in its comment what the probe noted before it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use evenkeel::admin::why::{CheckWhy, ReportView, Why};
use jiff::Timestamp;

use super::transcript::unhex;

/// Raw IP, version 4 or 6 by its first bits.
const LINKTYPE_RAW: u16 = 101;
/// Bytes in a segment.
const SEGMENT: usize = 1_400;
/// Characters of a comment: an option has 64 KiB, and a character four bytes at most.
const MAX_COMMENT: usize = 16_000;
/// Where our ports begin when the probe did not see its own.
const FIRST_PORT: u16 = 49_152;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// A capture file of everything that is kept of these backends' probes.
pub(super) fn capture(backends: &[Why]) -> Vec<u8> {
    let mut file = File::new();
    let mut port = FIRST_PORT;
    // The same question of several backends to one address is one exchange.
    let mut written: Vec<&ReportView> = Vec::new();
    for why in backends {
        for check in &why.checks {
            let kept = [check.last_good.as_ref(), check.last_bad.as_ref()];
            for report in kept.into_iter().flatten() {
                if !report.steps.is_empty() && written.iter().any(|other| is_same(other, report)) {
                    continue;
                }
                written.push(report);
                exchange(&mut file, why, check, report, port);
                port = port.checked_add(1).unwrap_or(FIRST_PORT);
            }
        }
    }
    file.finish()
}

/// Their ages differ by the moment at which they were asked for.
fn is_same(one: &ReportView, other: &ReportView) -> bool {
    (&one.at, &one.what, &one.steps) == (&other.at, &other.what, &other.steps)
}

fn exchange(file: &mut File, why: &Why, check: &CheckWhy, report: &ReportView, port: u16) {
    let asked_at = check.asked_at.as_ref().and_then(|at| at.parse().ok());
    let fallback = asked_at.or_else(|| why.address.parse().ok());
    let ended = report.at.parse().map_or(0, nanos);
    let begun = ended.saturating_sub(from_seconds(report.took_seconds));
    let found = if report.good { "good answer" } else { "failure" };
    let mut notes = vec![format!("{}/{}, check {}, last {found}", why.pool, why.backend, check.name)];
    let mut flow: Option<Flow> = None;
    for step in &report.steps {
        let at = begun + from_seconds(step.at_seconds);
        let bytes = step.hex.as_deref().map(unhex);
        match (step.kind.as_str(), bytes) {
            ("connected", _) => {
                let end = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<SocketAddr>().ok());
                let socket = step.remote.as_ref().filter(|remote| remote.starts_with("unix:"));
                if let Some(socket) = socket {
                    notes.push(format!("{socket} has no packets: these stand for what went over it"));
                }
                let stand_in = socket.map(|_| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1));
                let Some(remote) = end(&step.remote).or(stand_in) else { continue };
                let mut next = Flow::new(end(&step.local).unwrap_or_else(|| made_up(remote, port)), remote);
                next.handshake(file, at, &mut notes);
                flow = Some(next);
            }
            (kind, Some(bytes)) => {
                let way = if kind == "sent" { Way::Out } else { Way::In };
                if let Some(flow) = &mut flow {
                    flow.send(file, at, &bytes, way, &mut notes);
                }
            }
            _ => notes.push(step.text.clone()),
        }
    }
    let layer = report.layer.as_ref().map_or_else(String::new, |layer| format!("{layer}: "));
    notes.push(format!("{layer}{}", report.what));
    match (flow, fallback) {
        (Some(mut flow), _) => flow.end(file, ended, &report.what, &mut notes),
        (None, Some(remote)) => Flow::new(made_up(remote, port), remote).fail(file, begun, ended, report, &mut notes),
        // Nothing was ever sent anywhere: there is no packet to show.
        (None, None) => {}
    }
}

fn made_up(remote: SocketAddr, port: u16) -> SocketAddr {
    match remote.ip() {
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
        IpAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

#[expect(clippy::cast_sign_loss, reason = "negative times become zero")]
fn from_seconds(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e9) as u64
}

/// Which way a segment goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

/// One connection.
struct Flow {
    local: SocketAddr,
    remote: SocketAddr,
    /// The next sequence number of each side.
    ours: u32,
    theirs: u32,
}

impl Flow {
    fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local, remote, ours: 1_000, theirs: 5_000 }
    }

    fn handshake(&mut self, file: &mut File, at: u64, notes: &mut Vec<String>) {
        self.segment(file, at, Way::Out, SYN, &[], notes);
        self.segment(file, at, Way::In, SYN | ACK, &[], notes);
        self.segment(file, at, Way::Out, ACK, &[], notes);
    }

    fn send(&mut self, file: &mut File, at: u64, bytes: &[u8], way: Way, notes: &mut Vec<String>) {
        for segment in bytes.chunks(SEGMENT) {
            self.segment(file, at, way, PSH | ACK, segment, notes);
        }
        let back = if way == Way::Out { Way::In } else { Way::Out };
        self.segment(file, at, back, ACK, &[], notes);
    }

    /// How the connection ended, as far as the finding says.
    fn end(&mut self, file: &mut File, at: u64, what: &str, notes: &mut Vec<String>) {
        if what.contains("connection reset") {
            self.segment(file, at, Way::In, RST | ACK, &[], notes);
            return;
        }
        let (first, second) = if what.contains("closed") { (Way::In, Way::Out) } else { (Way::Out, Way::In) };
        self.segment(file, at, first, FIN | ACK, &[], notes);
        self.segment(file, at, second, FIN | ACK, &[], notes);
        self.segment(file, at, first, ACK, &[], notes);
    }

    /// No connection came about, or one of which the probe wrote nothing down.
    fn fail(&mut self, file: &mut File, begun: u64, ended: u64, report: &ReportView, notes: &mut Vec<String>) {
        if report.good {
            self.handshake(file, begun, notes);
            self.segment(file, ended, Way::Out, RST | ACK, &[], notes);
            return;
        }
        self.segment(file, begun, Way::Out, SYN, &[], notes);
        if report.what.contains("refused") {
            self.segment(file, ended, Way::In, RST | ACK, &[], notes);
        }
    }

    fn segment(&mut self, file: &mut File, at: u64, way: Way, flags: u8, data: &[u8], notes: &mut Vec<String>) {
        let (from, to, seq, acked) = match way {
            Way::Out => (self.local, self.remote, self.ours, self.theirs),
            Way::In => (self.remote, self.local, self.theirs, self.ours),
        };
        let ack = if flags & ACK == 0 { 0 } else { acked };
        let tcp = tcp(from, to, seq, ack, flags, data);
        file.packet(at, &ip(from.ip(), to.ip(), &tcp), &std::mem::take(notes).join("\n"));
        // A SYN and a FIN count as one byte.
        let step = data.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        match way {
            Way::Out => self.ours = self.ours.wrapping_add(step),
            Way::In => self.theirs = self.theirs.wrapping_add(step),
        }
    }
}

fn tcp(from: SocketAddr, to: SocketAddr, seq: u32, ack: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20 + data.len());
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    // Header of five words; window; checksum and urgent pointer.
    segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(data);
    let mut pseudo = Vec::with_capacity(40 + segment.len());
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => pseudo.extend([from.octets(), to.octets()].concat()),
        (from, to) => pseudo.extend([wide(from), wide(to)].concat()),
    }
    pseudo.extend([0, 6]);
    pseudo.extend((segment.len() as u32).to_be_bytes());
    pseudo.extend(&segment);
    let sum = checksum(&pseudo);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn ip(from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + payload.len());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
            // Version and header length; no fragments; a life of 64; TCP; checksum.
            packet.extend([0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, 6, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = checksum(&packet).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
        }
        (from, to) => {
            let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
            packet.extend([0x60, 0, 0, 0, length[0], length[1], 6, 64]);
            packet.extend(wide(from));
            packet.extend(wide(to));
        }
    }
    packet.extend(payload);
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Blocks of a pcapng file, in the byte order of little ends.
struct File {
    bytes: Vec<u8>,
    /// Blocks of packets, each with its time: exchanges overlap, and readers want them in order.
    packets: Vec<(u64, Vec<u8>)>,
}

impl File {
    fn new() -> Self {
        let mut file = Self { bytes: Vec::new(), packets: Vec::new() };
        let mut section = Vec::new();
        section.extend(0x1a2b_3c4d_u32.to_le_bytes());
        section.extend([1, 0, 0, 0]);
        section.extend((-1_i64).to_le_bytes());
        option(&mut section, 4, concat!("evenkeel ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(&mut section, 0, b"");
        file.bytes.extend(block(0x0a0d_0d0a, &section));
        let mut interface = Vec::new();
        interface.extend(LINKTYPE_RAW.to_le_bytes());
        interface.extend([0; 6]);
        option(&mut interface, 2, b"probes");
        option(&mut interface, 3, b"packets made from the transcripts of probes");
        // Times in nanoseconds.
        option(&mut interface, 9, &[9]);
        option(&mut interface, 0, b"");
        file.bytes.extend(block(1, &interface));
        file
    }

    fn packet(&mut self, at: u64, packet: &[u8], comment: &str) {
        let mut body = Vec::with_capacity(packet.len() + comment.len() + 40);
        body.extend(0_u32.to_le_bytes());
        body.extend(((at >> 32) as u32).to_le_bytes());
        body.extend((at as u32).to_le_bytes());
        body.extend((packet.len() as u32).to_le_bytes());
        body.extend((packet.len() as u32).to_le_bytes());
        body.extend(packet);
        pad(&mut body);
        if !comment.is_empty() {
            let fits: String = comment.chars().take(MAX_COMMENT).collect();
            option(&mut body, 1, fits.as_bytes());
            option(&mut body, 0, b"");
        }
        self.packets.push((at, block(6, &body)));
    }

    fn finish(mut self) -> Vec<u8> {
        // Those of one moment stay in their order.
        self.packets.sort_by_key(|(at, _)| *at);
        self.packets.into_iter().for_each(|(_, packet)| self.bytes.extend(packet));
        self.bytes
    }
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 12) as u32;
    [&kind.to_le_bytes(), &length.to_le_bytes(), body, &length.to_le_bytes()].concat()
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

/// To a multiple of four bytes.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}
