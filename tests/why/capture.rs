//! The file for Wireshark: sound block by block, its packets whole with true checksums, and their bytes those of the
//! transcripts.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use evenkeel::admin::why::ReportView;

use crate::Stage;
use crate::support::Origin;
use crate::support::process::{Process, run};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const LINKTYPE_RAW: u16 = 101;

/// One packet of TCP over IPv4.
struct Segment {
    /// Nanoseconds since 1970.
    at: u64,
    from: SocketAddr,
    to: SocketAddr,
    sequence: u32,
    flags: u8,
    data: Vec<u8>,
}

#[track_caller]
pub(crate) fn assert_sound(stage: &Stage) {
    let path = stage.balancer.folder().join("one.pcapng");
    for fault in &stage.scene.faults {
        let ran = stage.ask(&["why", &format!("{}/b", fault.name), "--pcapng", path.to_str().unwrap()]);
        assert!(ran.status.success(), "{}", crate::text(&ran.stderr));
        let segments = segments(&fs::read(&path).unwrap());
        let why = stage.why(fault);
        let check = &why.checks[0];
        let reports: Vec<&ReportView> = [&check.last_good, &check.last_bad].into_iter().flatten().collect();
        let (mut sent, mut received) = (0, 0);
        for step in reports.iter().flat_map(|report| &report.steps) {
            let bytes = step.hex.as_ref().map_or(0, |hex| hex.len() / 2);
            match step.kind.as_str() {
                "sent" => sent += bytes,
                "received" => received += bytes,
                _ => {}
            }
        }
        let is_exec = fault.name.starts_with("exec");
        let carried = |ours: bool| -> usize {
            let is_ours = |segment: &&Segment| (segment.from.port() != port(&why.address, check)) == ours;
            segments.iter().filter(is_ours).map(|segment| segment.data.len()).sum()
        };
        if !is_exec {
            assert_eq!((carried(true), carried(false)), (sent, received), "{}: bytes of the transcript", fault.name);
        }
        assert_flows(fault.name, &segments);
    }
}

/// Where several backends ask the same question of one address, its exchange stands in the file once; packets of
/// exchanges that overlap stand in the order of time.
#[tokio::test]
async fn what_was_asked_once_is_one_exchange_and_packets_are_in_order() {
    let origin = Origin::http().status(503).start();
    let (a, b) = (origin.addr(), Origin::http().status(503).start());
    let balancer = Process::start(&format!(
        "workers = 1\n[listener.l]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n\
         [pool.p]\nbackends = ['{a}', '{}']\n[pool.p.check.own]\ntype = 'http'\ninterval = '20s'\n\
         [pool.p.check.shared]\ntype = 'http'\npath = '/shared'\nhost = '{}'\nport = {}\ninterval = '20s'\n",
        b.addr(),
        a.ip(),
        a.port()
    ));
    let path = balancer.folder().join("pool.pcapng");
    let admin = balancer.admin().to_string();
    let ran = run(&["why", "p", "--pcapng", path.to_str().unwrap(), "--admin", &admin]);
    assert!(ran.status.success(), "{}", crate::text(&ran.stderr));
    let segments = segments(&fs::read(&path).unwrap());
    assert_flows("pool", &segments);
    let asked: Vec<String> = segments.iter().map(|segment| crate::text(&segment.data)).collect();
    let count = |words: &str| asked.iter().filter(|data| data.starts_with(words)).count();
    assert_eq!((count("GET /shared "), count("GET / ")), (1, 2));
    assert!(segments.is_sorted_by_key(|segment| segment.at), "in the order of time");
}

fn port(address: &str, check: &evenkeel::admin::why::CheckWhy) -> u16 {
    let at = check.asked_at.as_deref().unwrap_or(address);
    at.rsplit(':').next().unwrap().parse().unwrap()
}

/// In each direction the bytes follow each other without a gap, and a connection begins with SYN.
#[track_caller]
fn assert_flows(name: &str, segments: &[Segment]) {
    let mut next: BTreeMap<(SocketAddr, SocketAddr), u32> = BTreeMap::new();
    for segment in segments {
        let way = (segment.from, segment.to);
        let syn = segment.flags & 2 != 0;
        let starts = next.is_empty() || !next.contains_key(&way);
        assert!(syn || !starts || segment.flags & 4 != 0, "{name}: begins with {:#x}", segment.flags);
        if let (Some(expected), false) = (next.get(&way), syn) {
            assert_eq!(segment.sequence, *expected, "{name}: {way:?}");
        }
        let step = segment.data.len() as u32 + u32::from(segment.flags & 3 != 0);
        next.insert(way, segment.sequence.wrapping_add(step));
    }
}

/// The packets of a file whose every length must be right.
#[track_caller]
fn segments(file: &[u8]) -> Vec<Segment> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut at, mut segments, mut kinds) = (0, Vec::new(), Vec::new());
    while at < file.len() {
        let (kind, length) = (word(at), word(at + 4) as usize);
        assert_eq!(length % 4, 0, "blocks end at four bytes");
        assert_eq!(word(at + length - 4) as usize, length, "the length stands at both ends");
        let body = &file[at + 8..at + length - 4];
        match kind {
            SECTION => assert_eq!(body[..4], 0x1a2b_3c4d_u32.to_le_bytes()),
            INTERFACE => assert_eq!(body[..2], LINKTYPE_RAW.to_le_bytes()),
            PACKET => {
                let size = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap()) as usize;
                assert_eq!(size(12), size(16), "packets are whole");
                let at = (size(4) as u64) << 32 | size(8) as u64;
                segments.push(Segment { at, ..segment(&body[20..20 + size(12)]) });
                assert_options(&body[20 + size(12).next_multiple_of(4)..]);
            }
            other => panic!("block {other:#x}"),
        }
        kinds.push(kind);
        at += length;
    }
    assert_eq!(kinds[..2], [SECTION, INTERFACE]);
    segments
}

/// Options fill a block to its end, and the comment is text.
#[track_caller]
fn assert_options(mut options: &[u8]) {
    while let [a, b, c, d, rest @ ..] = options {
        let (code, length) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        assert!(code == 1 || (code, length) == (0, 0), "option {code} of {length} bytes");
        std::str::from_utf8(&rest[..length]).expect("a comment is text");
        options = &rest[length.next_multiple_of(4)..];
        assert!(code != 0 || options.is_empty(), "nothing follows the end of options");
    }
    assert!(options.is_empty());
}

#[track_caller]
fn segment(packet: &[u8]) -> Segment {
    assert_eq!(packet[0], 0x45, "IPv4 without options");
    assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    assert_eq!(sum(&packet[..20]), 0xffff, "checksum of IP");
    assert_eq!(packet[9], 6, "TCP");
    let tcp = &packet[20..];
    let pseudo = [&packet[12..20], &[0, 6], &(tcp.len() as u16).to_be_bytes(), tcp].concat();
    assert_eq!(sum(&pseudo), 0xffff, "checksum of TCP");
    assert_eq!(tcp[12], 5 << 4, "TCP without options");
    let end = |ip: usize, port: usize| {
        let ip: [u8; 4] = packet[ip..ip + 4].try_into().unwrap();
        SocketAddr::from((Ipv4Addr::from(ip), u16::from_be_bytes([tcp[port], tcp[port + 1]])))
    };
    Segment {
        at: 0,
        from: end(12, 0),
        to: end(16, 2),
        sequence: u32::from_be_bytes(tcp[4..8].try_into().unwrap()),
        flags: tcp[13],
        data: tcp[20..].to_vec(),
    }
}

/// The sum of RFC 1071 over what holds its own checksum: all ones, where that is right.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}
