//! An origin's HTTP side: reads requests without judging them, and answers as its script says.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use super::script::{BeforeBody, DripsFrom, Fault, Framing, Script};
use super::wire::{Wire, find};
use super::{Received, Run, Shared, reset};

/// What becomes of the connection after an answer.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    End,
}

/// Serves one connection until either side ends it.
pub(super) fn serve(wire: &mut Wire, connection: usize, run: &Run, shared: &Shared) -> io::Result<()> {
    for earlier in 0_usize.. {
        let Some(head) = wire.read_head()? else { return Ok(()) };
        let mut request = parse(connection, head);
        let script = script_for(shared, &request);
        if earlier > 0 {
            match script.fault {
                Fault::CloseOnReuse => return Ok(()),
                Fault::ResetOnReuse => {
                    reset(&wire.stream);
                    return Ok(());
                }
                _ => {}
            }
        }
        let early = script.before_body == BeforeBody::Answer;
        if script.before_body == BeforeBody::Continue {
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut next = Next::Request;
        if early {
            next = answer(wire, &script, &request, run)?;
        }
        read_body(wire, &mut request)?;
        let number = shared.record(request.clone());
        if script.stalls_after.is_some_and(|served| number > served) {
            return wire.discard();
        }
        if !early {
            next = answer(wire, &script, &request, run)?;
        }
        if next == Next::End {
            return Ok(());
        }
    }
    Ok(())
}

fn parse(connection: usize, raw: Vec<u8>) -> Received {
    let head = String::from_utf8_lossy(&raw).into_owned();
    let mut words = head.lines().next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Received { connection, method, target, head, body: Vec::new(), raw }
}

fn script_for(shared: &Shared, request: &Received) -> Script {
    let script = shared.script();
    if let Some(judge) = &script.by {
        return judge(request);
    }
    let path = request.target.split('?').next().unwrap_or_default();
    let special = script.paths.iter().find(|(special, _)| special == path).map(|(_, script)| script.clone());
    special.unwrap_or(script)
}

fn read_body(wire: &mut Wire, request: &mut Received) -> io::Result<()> {
    if request.header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked")) {
        let (body, raw) = wire.read_chunked()?;
        request.body = body;
        request.raw.extend_from_slice(&raw);
    } else if let Some(length) = request.header("content-length").and_then(|value| value.parse().ok()) {
        request.body = wire.read_exact(length)?;
        request.raw.extend_from_slice(&request.body);
    }
    Ok(())
}

fn answer(wire: &mut Wire, script: &Script, request: &Received, run: &Run) -> io::Result<Next> {
    run.wait(script.delay);
    match script.fault {
        Fault::StallBeforeAnswer => return wire.discard().map(|()| Next::End),
        Fault::CloseBeforeAnswer => return Ok(Next::End),
        Fault::ResetBeforeAnswer => {
            reset(&wire.stream);
            return Ok(Next::End);
        }
        Fault::Garbage => {
            return wire.write(b"\x16\x03\x01\x00\xff\0\0 this is no HTTP \xfe\xff\r\n\r\n").map(|()| Next::End);
        }
        Fault::HugeHead => return huge_head(wire),
        Fault::EndlessBody => return endless_body(wire),
        Fault::UpgradeEcho if request.header("upgrade").is_some() => return upgrade_echo(wire, request),
        _ => {}
    }
    for code in &script.interim {
        wire.write(format!("HTTP/1.1 {code} Interim\r\nLink: </a.css>\r\n\r\n").as_bytes())?;
    }
    let (bytes, body_at) = render(script, &request.method);
    send(wire, script, &bytes, body_at, run)?;
    after(wire, script, request)
}

/// What comes after a whole answer.
fn after(wire: &mut Wire, script: &Script, request: &Received) -> io::Result<Next> {
    if script.fault == Fault::HalfClose {
        wire.stream.shutdown(Shutdown::Write)?;
        return wire.discard().map(|()| Next::End);
    }
    let asked_to_close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let ends = asked_to_close || matches!(script.framing, Framing::Close) || script.fault == Fault::CloseAfter;
    Ok(if ends { Next::End } else { Next::Request })
}

/// The whole answer, and where its body starts.
fn render(script: &Script, method: &str) -> (Vec<u8>, usize) {
    if let Framing::Raw(bytes) = &script.framing {
        return (bytes.to_vec(), find(bytes, b"\r\n\r\n").map_or(0, |end| end + 4));
    }
    let bodiless = method == "HEAD" || matches!(script.status, 204 | 304);
    let mut bytes = format!("HTTP/1.1 {} {}\r\n", script.status, reason(script.status)).into_bytes();
    for (name, value) in &script.headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    match &script.framing {
        Framing::Chunked(_) => bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::Length if script.status != 204 => {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", script.body.len()).as_bytes());
        }
        _ => {}
    }
    bytes.extend_from_slice(b"\r\n");
    let body_at = bytes.len();
    match &script.framing {
        _ if bodiless => {}
        Framing::Chunked(parts) => {
            for part in parts {
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        _ => bytes.extend_from_slice(&script.body),
    }
    (bytes, body_at)
}

fn send(wire: &mut Wire, script: &Script, bytes: &[u8], body_at: usize, run: &Run) -> io::Result<()> {
    let mid_body = usize::midpoint(body_at, bytes.len());
    let part = match script.fault {
        Fault::ResetMidHead | Fault::StallMidHead => body_at / 2,
        Fault::ResetMidBody | Fault::StallMidBody | Fault::TruncateBody => mid_body,
        _ => bytes.len(),
    };
    let at_once = match (script.drip, script.drips_from) {
        (None, _) => part,
        (Some(_), DripsFrom::Body) => part.min(body_at),
        (Some(_), DripsFrom::Head) => 0,
    };
    wire.write(&bytes[..at_once])?;
    for byte in &bytes[at_once..part] {
        run.wait(script.drip.unwrap_or(Duration::ZERO));
        wire.write(std::slice::from_ref(byte))?;
    }
    match script.fault {
        Fault::ResetMidHead | Fault::ResetMidBody => {
            reset(&wire.stream);
            Err(io::ErrorKind::ConnectionReset.into())
        }
        Fault::StallMidHead | Fault::StallMidBody => {
            wire.discard()?;
            Err(io::ErrorKind::UnexpectedEof.into())
        }
        Fault::TruncateBody => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn huge_head(wire: &mut Wire) -> io::Result<Next> {
    wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")?;
    let line = format!("X-Filler: {}\r\n", "x".repeat(1_012));
    for _ in 0..1_024 {
        wire.write(line.as_bytes())?;
    }
    wire.write(b"\r\n")?;
    Ok(Next::Request)
}

fn endless_body(wire: &mut Wire) -> io::Result<Next> {
    wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let chunk = format!("4000\r\n{}\r\n", "e".repeat(0x4000));
    loop {
        wire.write(chunk.as_bytes())?;
    }
}

fn upgrade_echo(wire: &mut Wire, request: &Received) -> io::Result<Next> {
    let protocol = request.header("upgrade").unwrap_or("websocket");
    wire.write(
        format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n").as_bytes(),
    )?;
    super::tcp::echo(wire)?;
    Ok(Next::End)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
